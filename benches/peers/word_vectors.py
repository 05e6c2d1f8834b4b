"""What `unroll vectors` says of word vectors, beside what gensim says of the same file.

    python benches/peers/word_vectors.py VECTORS.bin --questions questions-words.txt --pairs wordsim353.tsv simlex999.txt

VECTORS is a file of word2vec, binary where its name ends in .bin. Compared are the answers to every section of the questions,
the coefficients of every file of pairs, and the nearest words of the first hundred words, and the file itself: written again by
`unroll vectors export`, gensim must read the same bits of it. The script fails where anything differs by more than f32 allows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy
from gensim.models import KeyedVectors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", help="a file of word vectors in word2vec's binary form")
    parser.add_argument("--questions", help="analogies, as questions-words.txt has them")
    parser.add_argument("--pairs", nargs="*", default=[], help="files of pairs of words and how alike people find them")
    parser.add_argument("--restrict-vocab", type=int, default=30000, help="analogies are asked of so many frequent words")
    parser.add_argument("--unroll", default="target/release/unroll", help="the built command")
    arguments = parser.parse_args()
    theirs = load(arguments.vectors)
    command = Command(arguments.unroll, arguments.vectors)
    wrong = compare_files(command, theirs)
    wrong += compare_nearest(command, theirs)
    if arguments.questions:
        wrong += compare_questions(command, theirs, arguments.questions, arguments.restrict_vocab)
    for pairs in arguments.pairs:
        wrong += compare_pairs(command, theirs, pairs)
    sys.exit(f"{wrong} differences" if wrong else 0)


class Command:
    """`unroll vectors` on one file."""

    def __init__(self, unroll, vectors):
        self.unroll, self.vectors = unroll, vectors

    def run(self, what, *arguments, text=None):
        line = [self.unroll, "vectors", what, self.vectors, "--json", *arguments]
        done = subprocess.run(line, input=text, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


def load(path):
    return KeyedVectors.load_word2vec_format(path, binary=path.endswith(".bin"), unicode_errors="surrogateescape")


def compare_files(command, theirs):
    """Every format of word2vec, written by `unroll` and read by gensim."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, form in [("v.bin", "word2vec-binary"), ("g.bin", "gensim-binary"), ("v.txt", "word2vec-text")]:
            path = os.path.join(folder, name)
            command.run("export", "--out", path, "--to", form)
            again = load(path)
            same = again.index_to_key == theirs.index_to_key and numpy.array_equal(again.vectors, theirs.vectors)
            print(f"{form}: {len(again)} words, {'the same bits' if same else 'DIFFERENT'}")
            wrong += not same
    return wrong


def compare_nearest(command, theirs):
    words = theirs.index_to_key[:100]
    wrong = 0
    for ours, word in zip(command.run("near", "--top", "10", text="\n".join(words)), words, strict=True):
        expected = theirs.most_similar(word, topn=10)
        wrong += ours["query"] != word
        for near, (_, cosine) in zip(ours["nearest"], expected, strict=True):
            # Words whose cosines differ by less than rounding may change places.
            own = float(theirs.similarity(word, near["word"]))
            wrong += abs(near["cosine"] - cosine) > 1e-5 or abs(near["cosine"] - own) > 1e-5
    print(f"nearest words of {len(words)} words: {wrong} differences")
    return wrong


def compare_questions(command, theirs, path, restrict):
    ours = command.run("analogy", "--questions", path, "--restrict-vocab", str(restrict))[0]
    score, sections = theirs.evaluate_word_analogies(path, restrict_vocab=restrict, case_insensitive=True)
    expected = {section["section"]: (len(section["correct"]), len(section["incorrect"])) for section in sections}
    wrong = 0
    for section in ours["sections"]:
        right, asked = section["correct"], section["asked"]
        theirs_right, theirs_wrong = expected.get(section["section"], (0, 0))
        same = (right, asked) == (theirs_right, theirs_right + theirs_wrong)
        wrong += not same
        print(f"{section['section']}: {right} of {asked}" + ("" if same else f", GENSIM {theirs_right}, {theirs_wrong} wrong"))
    print(f"total: {ours['total']['accuracy']}, gensim {score}")
    return wrong


def compare_pairs(command, theirs, path):
    ours = command.run("similarity", "--pairs", path, "--restrict-vocab", "300000")[0]
    pearson, spearman, unknown = theirs.evaluate_word_pairs(path, case_insensitive=True)
    known = round(ours["pairs"] * (1 - unknown / 100))
    differences = abs(ours["pearson"] - pearson[0]), abs(ours["spearman"] - spearman[0])
    wrong = max(differences) > 1e-4 or known != ours["covered"]
    print(f"{os.path.basename(path)}: Spearman {ours['spearman']:.6f} (gensim {spearman[0]:.6f}), "
          f"Pearson {ours['pearson']:.6f} ({pearson[0]:.6f}), {ours['covered']} pairs ({known})")
    return int(wrong)


if __name__ == "__main__":
    main()
