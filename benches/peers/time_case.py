#!/usr/bin/env python3
"""Times one of Unroll's standard cases in PyTorch, Keras, NumPy or gensim, and prints one line of JSON.

usage: time_case.py CASE [--peer torch|keras|numpy|gensim] [--precision f32|bf16] [--threads N] [--seconds S] [--setting N,on|off] [--corpus FILE]

CASE: see README.md beside this file. The best of the library's own settings counts: one thread and N (PyTorch and Keras
also with and without oneDNN), each tried for a moment in a process of its own; the fastest is then timed for S seconds.
`--setting 2,off` is two threads without oneDNN and tries nothing else. `per_s` is from the median step after two that
are not counted. A step is a whole training step: forward, loss, backward, clipping, update; or, for gen512 and gen650,
the choice of 50 tokens one after the other; or, for gemm:MxKxN, one product, counted in GFLOP/s. Tokens are drawn anew
for every step. ragged is packed (pack_padded_sequence), ragged-padded the same texts padded, the words behind them computed and left
out of the result; both count the words of the texts. cbow and skipgram are gensim's word vectors after two passes over the text --corpus, a sentence a line, the
vocabulary made beforehand; they count words read and have no steps. bf16 is PyTorch's autocast, and in gemm cases operands and result of that type.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

# A language model: cell, words, embedding (0: one-hot), hidden, rows, steps. Two layers each.
LANGUAGE = {
    "char256": ("LSTM", 65, 0, 256, 50, 50),
    "char512": ("LSTM", 65, 0, 512, 64, 100),
    "word650": ("LSTM", 10_000, 650, 650, 20, 35),
    "gru650": ("GRU", 10_000, 650, 650, 20, 35),
}
GENERATION = {"gen512": "char512", "gen650": "word650"}
NNLM = {"nnlm32": 32, "nnlm256": 256}
HEADS = {"head10k": 10_000, "head100k": 100_000}
KERAS = [*LANGUAGE, "bilstm", *NNLM]
RAGGED = {"ragged": True, "ragged-padded": False}
TRAINED_IN_BF16 = [*LANGUAGE, "bilstm", *RAGGED, *NNLM, *HEADS]


def median_seconds(step, seconds):
    for _ in range(2):
        step()
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


# ---- each case gives a step, and how many things of the unit that it is counted in a step does


def language_network(cell, words, embedding, hidden):
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.look_up = nn.Embedding(words, embedding) if embedding else None
            self.cells = getattr(nn, cell)(embedding or words, hidden, 2)
            self.dense = nn.Linear(hidden, words)

        def forward(self, tokens, state=None):
            one_hot = torch.nn.functional.one_hot
            x = self.look_up(tokens) if self.look_up else one_hot(tokens, words).float()
            y, state = self.cells(x, state)
            return self.dense(y), state

    return Network()


def low(precision):
    """The context in which PyTorch computes products in this precision."""
    import torch

    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def language_case(case, precision):
    import torch
    from torch import nn

    cell, words, embedding, hidden, rows, steps = LANGUAGE[case]
    network = language_network(cell, words, embedding, hidden)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    carried = None

    def step():
        nonlocal carried
        text = torch.randint(words, (steps + 1, rows))
        with low(precision):
            logits, state = network(text[:-1], carried)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), text[1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        carried = tuple(s.detach() for s in state) if cell == "LSTM" else state.detach()

    return step, rows * steps


def generation_case(case, _):
    import torch

    network = language_network(*LANGUAGE[GENERATION[case]][:4]).eval()
    token, state, count = torch.zeros(1, 1, dtype=torch.long), None, 50

    @torch.inference_mode()
    def step():
        nonlocal token, state
        for _ in range(count):
            logits, state = network(token, state)
            token = torch.multinomial(logits[0].softmax(-1), 1)

    return step, count


# Words of a review of the IMDB set: the least, each twentieth part of them and the most, as in engine/src/bench/models.rs.
QUANTILES = [10, 64, 91, 110, 120, 127, 134, 142, 151, 162, 174, 188, 206, 227, 252, 284, 325, 376, 458, 598, 2470]


def ragged_lengths(rows, most):
    """Lengths of so many texts as they are drawn from the IMDB set, cut at `most`: those of the case `ragged`, in another order."""
    import random

    lengths = []
    for row in range(rows):
        part, of_part = divmod((row + 0.5) / rows * (len(QUANTILES) - 1), 1)
        below, above = QUANTILES[int(part)], QUANTILES[int(part) + 1]
        lengths.append(min(below + int(of_part * (above - below)), most))
    random.Random(1).shuffle(lengths)
    return lengths


def bilstm_case(case, precision):
    """The classifier, on texts of one length or of very different ones, which are packed or padded."""
    import torch
    from torch import nn

    ragged, rows = case in RAGGED, 64
    lengths = torch.tensor(ragged_lengths(rows, 600) if ragged else [200] * rows)
    steps, units = int(lengths.max()), int(lengths.sum()) if ragged else rows
    # Each text turned about, with its padding behind it still.
    place = torch.arange(steps)[:, None].expand(steps, rows)
    turned = torch.where(place < lengths, lengths - 1 - place, place)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.look_up = nn.Embedding(1000, 64)
            padded = ragged and not RAGGED[case]
            # Padded, each direction is an LSTM of its own, so that the second can read the text turned about.
            self.cells = nn.LSTM(64, 64, bidirectional=not padded)
            self.back = nn.LSTM(64, 64) if padded else None
            self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

        def forward(self, tokens):
            x = self.look_up(tokens)
            if self.back:
                ends = (lengths - 1).view(1, rows, 1).expand(1, rows, 64)
                back = self.back(x.gather(0, turned[..., None].expand_as(x)))[0]
                last = [self.cells(x)[0].gather(0, ends)[0], back.gather(0, ends)[0]]
            else:
                if ragged:
                    x = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
                _, (last, _) = self.cells(x)
            return self.head(torch.cat((last[0], last[1]), dim=1)).flatten()

    network = Network()
    optimizer = torch.optim.Adam(network.parameters())

    def step():
        tokens, labels = torch.randint(1000, (steps, rows)), torch.randint(2, (rows,)).float()
        with low(precision):
            logits = network(tokens)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, units


def head_case(case, precision):
    """A linear layer over the words and its softmax, forward and backward; no optimiser."""
    import torch
    from torch import nn

    rows, width, words = 1024, 512, HEADS[case]
    x, dense = torch.randn(rows, width, requires_grad=True), nn.Linear(width, words)
    targets = torch.randint(words, (rows,))

    def step():
        dense.zero_grad(set_to_none=False)
        x.grad = None
        with low(precision):
            logits = dense(x)
        nn.functional.cross_entropy(logits.float(), targets).backward()

    return step, rows


def nnlm_case(case, precision):
    import torch
    from torch import nn

    rows, words = NNLM[case], 17_964

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.look_up = nn.Embedding(words, 100)
            self.hidden, self.dense, self.direct = nn.Linear(600, 60), nn.Linear(60, words), nn.Linear(600, words)

        def forward(self, context):
            x = self.look_up(context).flatten(1)
            return self.dense(torch.tanh(self.hidden(x))) + self.direct(x)

    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step():
        context, word = torch.randint(words, (rows, 6)), torch.randint(words, (rows,))
        with low(precision):
            logits = network(context)
        loss = nn.functional.cross_entropy(logits.float(), word)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, rows


def gemm_case(case, precision):
    import torch

    m, k, n = map(int, case.removeprefix("gemm:").split("x"))
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b, c = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind), torch.empty(m, n, dtype=kind)
    return lambda: torch.mm(a, b, out=c), 2e-9 * m * k * n


def keras_case(case, _):
    """The same in Keras; the state is not carried from step to step, which is less work."""
    import keras
    import numpy as np
    from keras import layers

    random = np.random.default_rng(1)
    if case == "bilstm":
        rows, steps, words = 64, 200, 1000
        network = [layers.Embedding(words, 64), layers.Bidirectional(layers.LSTM(64))]
        network += [layers.Dense(64, "relu"), layers.Dense(1)]
        loss, optimizer = keras.losses.BinaryCrossentropy(from_logits=True), keras.optimizers.Adam()
    elif case in NNLM:
        rows, steps, words = NNLM[case], 6, 17_964
        network, loss, optimizer = None, "sparse_categorical_crossentropy", keras.optimizers.SGD(0.1)
        window = keras.Input((steps,), dtype="int32")
        x = layers.Reshape((600,))(layers.Embedding(words, 100)(window))
        added = [layers.Dense(words)(layers.Dense(60, activation="tanh")(x)), layers.Dense(words)(x)]
        outputs = layers.Activation("softmax")(layers.Add()(added))
    else:
        cell, words, embedding, hidden, rows, steps = LANGUAGE[case]
        one_hot = layers.Lambda(lambda x: keras.ops.one_hot(x, words), output_shape=(steps, words))
        network = [layers.Embedding(words, embedding) if embedding else one_hot]
        network += [getattr(layers, cell)(hidden, return_sequences=True) for _ in range(2)] + [layers.Dense(words)]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.SGD(0.1, global_clipnorm=5.0)
    model = keras.Sequential([keras.Input((steps,), dtype="int32"), *network]) if network else keras.Model(window, outputs)
    model.compile(optimizer, loss)

    def step():
        text = random.integers(words, size=(rows, steps + 1))
        labels = random.integers(2, size=(rows, 1)) if case == "bilstm" else text[:, -1:] if case in NNLM else text[:, 1:]
        model.train_on_batch(text[:, :-1], labels)

    return step, rows if case == "bilstm" or case in NNLM else rows * steps


def minchar_case(*_):
    import numpy as np

    from min_char_rnn import CLIP, EPSILON, STEPS, UNITS, gradient

    words, random = 65, np.random.default_rng(1)
    shapes = [(words, UNITS), (UNITS, UNITS), (UNITS,), (UNITS, words), (words,)]
    params = [random.standard_normal(shape) * 0.01 for shape in shapes]
    memory = [np.zeros(shape) for shape in shapes]
    state = np.zeros(UNITS)

    def step():
        nonlocal state
        text = random.integers(words, size=STEPS + 1)
        _, grads, state = gradient(params, text[:-1], text[1:], state)
        for p, g, m in zip(params, grads, memory):
            np.clip(g, -CLIP, CLIP, out=g)
            m += g * g
            p -= 0.1 * g / np.sqrt(m + EPSILON)

    return step, STEPS


def gensim_words_per_second(case, corpus, threads):
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    model = Word2Vec(vector_size=100, window=5, min_count=5, workers=threads, sg=int(case == "skipgram"), negative=5, sample=1e-3)
    sentences = list(LineSentence(corpus))
    model.build_vocab(sentences)
    start = time.perf_counter()
    _, words = model.train(sentences, total_examples=len(sentences), epochs=2)
    return words / (time.perf_counter() - start)


def make(peer, case, precision):
    """The step of a case, and how many of its units a step does."""
    makers = {"keras": keras_case, "numpy": minchar_case}
    if peer == "torch":
        groups = [(LANGUAGE, language_case), (GENERATION, generation_case), (NNLM, nnlm_case), (HEADS, head_case)]
        groups.append((["bilstm", *RAGGED], bilstm_case))
        makers["torch"] = next((maker for cases, maker in groups if case in cases), gemm_case)
    return makers[peer](case, precision)


# ---- settings


def here(args):
    """Times the case in this process, by the setting that it was started with."""
    threads, onednn = args.setting
    if args.peer == "gensim":
        return gensim_words_per_second(args.case, args.corpus, threads)
    if args.peer == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(1)
        torch.backends.mkldnn.enabled = onednn == "on"
    elif args.peer == "keras":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    step, units = make(args.peer, args.case, args.precision)
    return units / median_seconds(step, args.seconds)


def apart(args, setting, seconds):
    """Times the case in a process of its own."""
    threads, onednn = setting
    command = [sys.executable, __file__, args.case, "--here", "--setting", f"{threads},{onednn}"]
    command += ["--peer", args.peer, "--precision", args.precision, "--seconds", str(seconds)]
    command += ["--corpus", args.corpus] if args.corpus else []
    variables = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    variables |= {"TF_ENABLE_ONEDNN_OPTS": "1" if onednn == "on" else "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def parse_setting(text):
    threads, onednn = text.split(",")
    if onednn not in ("on", "off"):
        raise ValueError
    return int(threads), onednn


def check(parser, args):
    """Refuses what no peer has."""
    args.peer = args.peer or {"minchar": "numpy", "cbow": "gensim", "skipgram": "gensim"}.get(args.case, "torch")
    known = {"torch": [*TRAINED_IN_BF16, *GENERATION], "keras": KERAS, "numpy": ["minchar"], "gensim": ["cbow", "skipgram"]}
    known = known[args.peer]
    if args.peer == "gensim":
        if not args.corpus:
            parser.error("gensim needs --corpus FILE: a sentence a line")
        # All of its threads are its fastest setting; a run is too long to try others.
        args.setting = args.setting or (args.threads, "off")
    gemm = args.peer == "torch" and args.case.startswith("gemm:")
    if not gemm and args.case not in known:
        parser.error(f"{args.peer} has the cases {', '.join(known)}{', gemm:MxKxN' * (args.peer == 'torch')}")
    if args.precision == "bf16" and not (gemm or args.peer == "torch" and args.case in TRAINED_IN_BF16):
        parser.error("bf16 is timed in PyTorch only, in training and in single products")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", help="one of the table in benches/peers/README.md, such as word650")
    parser.add_argument("--peer", choices=["torch", "keras", "numpy", "gensim"], help="(default: the first that has the case)")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="(default: f32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="at most (default: all cores)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long it measures (default: 3)")
    parser.add_argument("--setting", type=parse_setting, metavar="N,on|off", help="threads and oneDNN (default: the fastest)")
    parser.add_argument("--corpus", help="the text of cbow and skipgram")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    check(parser, args)
    if args.here:
        print(here(args))
        return
    settings = [(n, on) for n in sorted({1, args.threads}) for on in (["on", "off"] if args.peer != "numpy" else ["off"])]
    setting = args.setting or max(settings, key=lambda setting: apart(args, setting, min(args.seconds, 0.5)))
    per_s = apart(args, setting, args.seconds)
    threads, onednn = setting
    found = {"case": args.case, "peer": args.peer, "precision": "f64" if args.peer == "numpy" else args.precision}
    print(json.dumps({**found, "threads": threads, "onednn": onednn, "per_s": round(per_s, 2)}))


if __name__ == "__main__":
    main()
