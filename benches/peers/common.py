"""What the scripts of this folder share: the files of an Unroll run, and Unroll's way of cutting a text into batches."""

import json
import os
import struct

import numpy as np

IGNORE = -100  # a target that is not scored; PyTorch's own default


# ---- files of a run


def read_safetensors(path):
    """The tensors of a safetensors file: name -> array. A header of JSON behind its length in 8 bytes, then the data."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        if info["dtype"] != "F32":
            raise SystemExit(f"{path}: {name} is {info['dtype']}, only F32 is read here")
        start, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], dtype="<f4").reshape(info["shape"])
    return tensors


def write_safetensors(path, tensors):
    """Writes arrays as f32, in a form that `unroll train --init-weights` reads."""
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        blob = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read_vocabulary(run):
    """The tokens of a run folder's vocabulary file, in the order of their ids."""
    with open(os.path.join(run, "vocabulary"), encoding="utf-8", newline="\n") as file:
        head, _, body = file.read().partition("\n\n")
    if not head.startswith("unroll vocabulary 1\n"):
        raise SystemExit(f"{run}/vocabulary: not a vocabulary file of version 1")
    return [unescape(line.split("\t", 1)[1]) for line in body.split("\n") if line]


def unescape(token):
    """Undoes the escapes of a vocabulary file: \\\\ \\n \\r \\t and \\u{hexadecimal}."""
    out, at = [], 0
    while at < len(token):
        if token[at] != "\\":
            out.append(token[at])
            at += 1
        elif token[at + 1] == "u":
            end = token.index("}", at)
            out.append(chr(int(token[at + 3 : end], 16)))
            at = end + 1
        else:
            out.append({"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}[token[at + 1]])
            at += 2
    return "".join(out)


def read_metrics(run, kind):
    """The lines of one kind (train, epoch, valid) in a run folder's metrics.jsonl."""
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["kind"] == kind]


# ---- text to ids


def by_count(tokens):
    """The distinct tokens as Unroll orders them: most frequent first, equal counts by their UTF-8 bytes."""
    counts = {}
    for token in tokens:
        counts[token] = counts.get(token, 0) + 1
    return sorted(counts, key=lambda token: (-counts[token], token.encode()))


def characters(path):
    """The characters of a UTF-8 file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(file.read())


def words(path):
    """The words of a file, and <eos> for each line's end."""
    with open(path, encoding="utf-8") as file:
        return [token for line in file for token in line.split() + ["<eos>"]]


def ids(tokens, vocabulary):
    """The ids of tokens that are all in the vocabulary (a list)."""
    number = {token: i for i, token in enumerate(vocabulary)}
    return np.array([number[token] for token in tokens], dtype=np.int64)


# ---- batches: rows of (first target, length, steps that only warm up), as Unroll's corpus/streams.rs cuts them


class Streams:
    """Batches of at most `steps` steps of parallel rows; `batch` gives inputs and targets, (T, N)."""

    def __init__(self, tokens, rows, steps, end, first_input=None):
        self.steps = steps
        longest = max(length for _, length, _ in rows)
        self.inputs = np.zeros((longest, len(rows)), dtype=np.int64)
        self.targets = np.full((longest, len(rows)), IGNORE, dtype=np.int64)
        for n, (target, length, warmup) in enumerate(rows):
            at = np.arange(target, target + length)
            self.inputs[:length, n] = tokens[np.maximum(at - 1, 0)]
            if first_input is not None and length and target == 0:
                self.inputs[0, n] = first_input
            scored = (at < end) & (np.arange(length) >= warmup)
            self.targets[:length, n][scored] = tokens[at[scored]]
        self.scored = int((self.targets != IGNORE).sum())

    def __len__(self):
        return -(-len(self.inputs) // self.steps)

    def batch(self, index):
        part = slice(index * self.steps, (index + 1) * self.steps)
        return self.inputs[part], self.targets[part]


def training(tokens, length, rows, steps):
    """The first `length` tokens, cut into `rows` rows of the same length."""
    each = length // rows
    return Streams(tokens, [(n * each + 1, each, 0) for n in range(rows)], steps, length)


def evaluation(tokens, start, rows, steps, first_input=None, warmup=1000):
    """Every token from `start` on, scored once; all rows but the first are fed `warmup` tokens before their own."""
    skipped = int(start == 0 and first_input is None)
    scored = len(tokens) - start - skipped
    used = max(min(rows, scored - warmup), 1)
    total, at, cut = scored + (used - 1) * warmup, start + skipped, []
    for n in range(used):
        length, warm = total // used + (n < total % used), warmup if n else 0
        cut.append((at - warm, length, warm))
        at += length - warm
    return Streams(tokens, cut, steps, len(tokens), first_input)


def split_streams(tokens, rows, steps, fraction):
    """char-rnn's split: the text as `rows` rows of whole batches, of which the last part validates."""
    batches = len(tokens) // (rows * steps)
    train = int(batches * (1 - fraction) + 1e-6)

    def columns(first, last):
        return [((n * batches + first) * steps + 1, (last - first) * steps, 0) for n in range(rows)]

    return tuple(Streams(tokens, columns(*part), steps, len(tokens)) for part in [(0, train), (train, batches)])


def split_tail(tokens, rows, steps, fraction):
    """The last part of the text validates."""
    train = int(len(tokens) * (1 - fraction) + 1e-6)
    return training(tokens, train, rows, steps), evaluation(tokens, train, rows, steps)
