#!/usr/bin/env python3
"""Makes the texts that published figures are of from what their sources offer for download.

    python3 benches/prepare.py war-and-peace warandpeace.txt OUT
    python3 benches/prepare.py books CLONE OUT
    python3 benches/prepare.py brown brown.zip OUT
    python3 benches/prepare.py reviews aclImdb OUT

DATA.md, beside this, says where the sources are. The files are written into the folder OUT, each as it is called in the README, and
their sha256 compared with those of the figures: where one differs, so does the source. Only Python itself is needed.
"""

import argparse
import hashlib
import pathlib
import re
import sys
import zipfile

SHA256 = {
    "war-and-peace.txt": "dff5d95d71e419da1ce4b619c164c31b21499b82e157a7878f8c375e6b372665",
    "books.txt": "fb791379f3989182d877c3362b0765e6bc25a2c1c5875f2aba233d76e1f3c7fe",
    "brown.train.txt": "112988ffb24f995b8d45e9adb89d639b15af300992e3ba87ad1844208e4138fb",
    "brown.valid.txt": "b0087632465d35f478cf68f6f594b567dcc2e22fe4126b98230a9bd562e8219a",
    "brown.test.txt": "a3b638f40c8f4ea4f2eb484850a686cd6d4565f21be0505d100bc328267150d3",
    "train.tsv": "b1381c522ac0d5493b76ddb696db1e84ba5a651d5f3c2b7138ac9da89af27fbb",
    "test.tsv": "c0189b9fca2e4c466baa668465de066093cb96b4b72da06da10c5fe4b7011be4",
}
BOOKS_BYTES = 100_000_000
BROWN_WORDS = (800_000, 1_000_000)


def war_and_peace(source):
    """Project Gutenberg's text without its licence."""
    text = source.read_text(encoding="utf-8-sig")
    begins = re.search(r"^\*\*\* START OF .*$", text, re.MULTILINE)
    ends = re.search(r"^\*\*\* END OF ", text, re.MULTILINE)
    if not (begins and ends):
        sys.exit(f"{source} is not Project Gutenberg's: it has no lines `*** START OF` and `*** END OF`")
    yield "war-and-peace.txt", (text[begins.end():ends.start()].strip() + "\n").encode()


def books(clone):
    """The first 100 MB of the books, in the order of the sha256 of their paths, one after the other as they are."""
    paths = {book.relative_to(clone).as_posix(): book for book in clone.glob("*/*.md")}
    text = bytearray()
    for name in sorted(paths, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        text += paths[name].read_bytes()
        if len(text) >= BOOKS_BYTES:
            break
    yield "books.txt", bytes(text)


def brown(archive):
    """The words of ca01 to cr09 without their tags, a sentence a line, cut behind the sentences of the 800,000th and millionth word."""
    if not zipfile.is_zipfile(archive):
        sys.exit(f"{archive} is not a zip file; DATA.md says where to get it")
    parts, words = [[], [], []], 0
    with zipfile.ZipFile(archive) as files:
        for name in sorted(name for name in files.namelist() if re.search(r"/c[a-r]\d\d$", name)):
            for line in files.read(name).decode("ascii").splitlines():
                sentence = [token.rsplit("/", 1)[0] for token in line.split()]
                if sentence:
                    parts[sum(words >= cut for cut in BROWN_WORDS)].append(" ".join(sentence) + "\n")
                    words += len(sentence)
    for part, lines in zip(("train", "valid", "test"), parts):
        yield f"brown.{part}.txt", "".join(lines).encode()


def reviews(folder):
    """A review a row: class, number, rating, text; the negative ones first, in the order of their numbers."""
    for part in ("train", "test"):
        rows = []
        for label in ("neg", "pos"):
            files = {tuple(map(int, file.stem.split("_"))): file for file in (folder / part / label).glob("*.txt")}
            for (number, rating), file in sorted(files.items()):
                text = re.sub(r"[\t\r\n]", " ", file.read_text(encoding="utf-8"))
                rows.append(f"{label}\t{number}\t{rating}\t{text}\n")
        yield f"{part}.tsv", "".join(rows).encode()


TEXTS = {"war-and-peace": war_and_peace, "books": books, "brown": brown, "reviews": reviews}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", choices=TEXTS, help="what is made")
    parser.add_argument("source", type=pathlib.Path, metavar="SOURCE", help="the file or folder that it is made from")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="the folder that it is written into")
    args = parser.parse_args()
    if not args.source.exists():
        sys.exit(f"{args.source} does not exist; DATA.md says where to get it")
    args.out.mkdir(parents=True, exist_ok=True)
    wrong = []
    for name, contents in TEXTS[args.text](args.source):
        (args.out / name).write_bytes(contents)
        same = hashlib.sha256(contents).hexdigest() == SHA256[name]
        wrong += [] if same else [name]
        print(f"{args.out / name}: {len(contents):,} bytes, {'as published' if same else 'NOT the text of the figures'}")
    if wrong:
        sys.exit(f"other contents than those of the figures: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
