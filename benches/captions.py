#!/usr/bin/env python3
"""Composes captions of digit images: one to four digits side by side, and their words in order.

    python3 benches/captions.py digits.csv.gz FOLDER [--train 100000] [--held-out 2000] [--seed 1]

The images are the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships (UCI, Optical Recognition of Handwritten
Digits, Alpaydin and Kaynak 1998, CC BY 4.0): the file sklearn/datasets/data/digits.csv.gz of the wheel scikit-learn 1.9.1,
sha256 09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22; a row an image, 64 numbers from 0 to 16 and the digit.

300 images are kept for test, 300 others for validation, and no image of one part is seen in another. A vector is four places of
64 numbers, the digits from the left, zeros in the places that stay empty. Each part is two files: PART.txt, a caption a line,
and PART.npy, an array of bytes (n, 256). Only Python itself is needed.
"""

import argparse
import gzip
import hashlib
import pathlib
import random
import sys

SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
WORDS = "zero one two three four five six seven eight nine".split()
PLACES, PIXELS = 4, 64


def digits(path):
    """The images and what they show."""
    try:
        packed = pathlib.Path(path).read_bytes()
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}; benches/DATA.md says where to get it")
    found = hashlib.sha256(packed).hexdigest()
    if found != SHA256:
        sys.exit(f"{path} has sha256 {found}, not {SHA256}")
    rows = [[int(float(number)) for number in row.split(",")] for row in gzip.decompress(packed).decode().splitlines()]
    return [(bytes(row[:PIXELS]), row[PIXELS]) for row in rows]


def compose(images, count, chance):
    """Vectors and captions of one to four images."""
    vectors, captions = [], []
    for _ in range(count):
        chosen = [chance.choice(images) for _ in range(chance.randint(1, PLACES))]
        vectors.append(b"".join(pixels for pixels, _ in chosen).ljust(PLACES * PIXELS, b"\0"))
        captions.append(" ".join(WORDS[digit] for _, digit in chosen))
    return vectors, captions


def save(folder, name, vectors, captions):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(vectors)}, {PLACES * PIXELS}), }}"
    header = header.ljust(128 - 11) + "\n"
    (folder / f"{name}.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"".join(vectors)
    )
    (folder / f"{name}.txt").write_text("".join(f"{caption}\n" for caption in captions))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digits", help="digits.csv.gz")
    parser.add_argument("folder", type=pathlib.Path, help="where the six files are written")
    parser.add_argument("--train", type=int, default=100_000, help="captions to train on")
    parser.add_argument("--held-out", type=int, default=2_000, help="captions to validate on, and as many to test on")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of images")
    options = parser.parse_args()
    images, chance = digits(options.digits), random.Random(options.seed)
    chance.shuffle(images)
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = {"test": images[:300], "valid": images[300:600], "train": images[600:]}
    for name, of_part in parts.items():
        count = options.train if name == "train" else options.held_out
        save(options.folder, name, *compose(of_part, count, chance))
        print(f"{name}: {count} captions of {len(of_part)} images")


if __name__ == "__main__":
    main()
