"""Word vectors of `unroll vectors train` and of gensim on the same text: words a second, analogies and similarities.

    python benches/peers/train_vectors.py cbow --corpus TEXT --questions questions-words.txt --pairs wordsim353.tsv

Both train with the same settings, which are gensim's defaults: 100 elements, five neighbours on a side, five words of noise, sample 1e-3,
words that are seen five times, a rate that falls from 0.025; once for each seed. `unroll vectors analogy` and `similarity` ask both the
same (that they answer as gensim does is what word_vectors.py shows). The words a second are those of the training alone, without the
vocabulary; gensim's text is split into words before the clock starts, and it runs on as many threads as ours, which makes its vectors differ
from run to run.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["cbow", "skipgram"])
    parser.add_argument("--corpus", required=True, help="a sentence a line")
    parser.add_argument("--questions", required=True, help="analogies, as questions-words.txt has them")
    parser.add_argument("--pairs", required=True, help="pairs of words and how alike people find them")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the text")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one training here and one there for each")
    parser.add_argument("--restrict-vocab", type=int, default=30000, help="analogies are asked of so many frequent words")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both (default: all cores)")
    parser.add_argument("--unroll", default="target/release/unroll", help="the built command")
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        vectors = os.path.join(folder, "vectors.bin")
        for seed in args.seeds:
            for name, train in (("unroll", train_unroll), ("gensim", train_gensim)):
                speed = train(args, seed, vectors)
                found.setdefault(name, []).append((speed, *judge(args, vectors)))
                print(f"{name:7} seed {seed}  " + "  ".join(show(*found[name][-1])), flush=True)
    for name, rows in found.items():
        means, spreads = zip(*((statistics.mean(column), deviation(column)) for column in zip(*rows)))
        print(f"{name:7} mean    " + "  ".join(show(*means)))
        print(f"{name:7} spread  " + "  ".join(show(*spreads)))
    named = {name: [dict(zip(("words_per_s", "analogies", "spearman"), row)) for row in rows] for name, rows in found.items()}
    print(json.dumps({"model": args.model, "epochs": args.epochs, "seeds": args.seeds, "threads": args.threads, **named}))


def deviation(column):
    return statistics.stdev(column) if len(column) > 1 else 0.0


def show(speed, analogies, spearman):
    return f"{speed:11,.0f} words/s", f"analogies {100 * analogies:5.2f} %", f"Spearman {spearman:.4f}"


def train_unroll(args, seed, vectors):
    """Words a second of the training alone, as its last line tells."""
    line = [args.unroll, "vectors", "train", args.corpus, "--out", vectors, "--model", args.model, "--json"]
    line += ["--epochs", str(args.epochs), "--seed", str(seed), "--threads", str(args.threads)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if event["event"] == "epoch"][-1]["words_per_s"]


def train_gensim(args, seed, vectors):
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    sentences = list(LineSentence(args.corpus))
    settings = {"vector_size": 100, "window": 5, "min_count": 5, "negative": 5, "sample": 1e-3, "alpha": 0.025}
    model = Word2Vec(**settings, sg=int(args.model == "skipgram"), workers=args.threads, seed=seed)
    model.build_vocab(sentences)
    start = time.perf_counter()
    _, words = model.train(sentences, total_examples=len(sentences), epochs=args.epochs)
    speed = words / (time.perf_counter() - start)
    model.wv.save_word2vec_format(vectors, binary=True)
    return speed


def judge(args, vectors):
    """The share of analogies that are answered right, and Spearman's coefficient."""

    def ask(what, *options):
        line = [args.unroll, "vectors", what, vectors, "--json", *options]
        return json.loads(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0])

    analogies = ask("analogy", "--questions", args.questions, "--restrict-vocab", str(args.restrict_vocab))
    return analogies["total"]["accuracy"], ask("similarity", "--pairs", args.pairs)["spearman"]


if __name__ == "__main__":
    main()
