#!/usr/bin/env python3
"""Times one of Unroll's standard cases in PyTorch (minchar: NumPy), and prints one line of JSON.

usage: time_case.py CASE [--threads N] [--seconds S]     CASE: see CASES below, or README.md beside this file

The best of the library's own settings counts: one thread and N (PyTorch also with and without oneDNN), each tried for a
moment in a process of its own; the fastest is then timed for S seconds. `per_s` is from the median step after two that
are not counted. A step is a whole training step: forward, loss, backward, clipping, update; or, for gen512 and gen650,
the choice of 50 tokens one after the other. Tokens are drawn anew for every step.
"""

import argparse
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
CASES = [*LANGUAGE, "minchar", "bilstm", *NNLM, *GENERATION]


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


def language_case(case):
    import torch
    from torch import nn

    cell, words, embedding, hidden, rows, steps = LANGUAGE[case]
    network = language_network(cell, words, embedding, hidden)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    carried = None

    def step():
        nonlocal carried
        text = torch.randint(words, (steps + 1, rows))
        logits, state = network(text[:-1], carried)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), text[1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        carried = tuple(s.detach() for s in state) if cell == "LSTM" else state.detach()

    return step, rows * steps


def generation_case(case):
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


def bilstm_case(_):
    import torch
    from torch import nn

    rows, steps = 64, 200

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.look_up = nn.Embedding(1000, 64)
            self.cells = nn.LSTM(64, 64, bidirectional=True)
            self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

        def forward(self, tokens):
            _, (last, _) = self.cells(self.look_up(tokens))
            return self.head(torch.cat((last[0], last[1]), dim=1)).flatten()

    network = Network()
    optimizer = torch.optim.Adam(network.parameters())

    def step():
        tokens, labels = torch.randint(1000, (steps, rows)), torch.randint(2, (rows,)).float()
        loss = nn.functional.binary_cross_entropy_with_logits(network(tokens), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, rows


def nnlm_case(case):
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
        loss = nn.functional.cross_entropy(network(context), word)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, rows


def minchar_case(_):
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


def make(case):
    """The step of a case, and how many of its units a step does."""
    if case in LANGUAGE:
        return language_case(case)
    if case in GENERATION:
        return generation_case(case)
    if case in NNLM:
        return nnlm_case(case)
    return {"minchar": minchar_case, "bilstm": bilstm_case}[case](case)


# ---- settings


def here(args):
    """Times the case in this process, by the settings that it was started with."""
    if args.case != "minchar":
        import torch

        torch.set_num_threads(args.threads)
        torch.manual_seed(1)
        torch.backends.mkldnn.enabled = args.onednn == "on"
    step, units = make(args.case)
    return units / median_seconds(step, args.seconds)


def apart(args, threads, onednn, seconds):
    """Times the case in a process of its own."""
    command = [sys.executable, __file__, args.case, "--here", "--threads", str(threads), "--onednn", onednn]
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}}
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--onednn", choices=["on", "off"], default="on", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(here(args))
        return
    numpy = args.case == "minchar"
    settings = [(n, on) for n in sorted({1, args.threads}) for on in (["off"] if numpy else ["on", "off"])]
    threads, onednn = max(settings, key=lambda setting: apart(args, *setting, min(args.seconds, 0.5)))
    per_s = apart(args, threads, onednn, args.seconds)
    library = {"peer": "numpy", "precision": "f64"} if numpy else {"peer": "torch", "precision": "f32", "onednn": onednn}
    print(json.dumps({"case": args.case, **library, "threads": threads, "per_s": round(per_s, 2)}))


if __name__ == "__main__":
    main()
