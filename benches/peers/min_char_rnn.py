#!/usr/bin/env python3
"""min-char-rnn in NumPy and double precision, beside Unroll's recipe of that name.

usage: min_char_rnn.py check TEXT UNROLL [--steps N] [--seed N]
       min_char_rnn.py chaos TEXT [--steps N] [--seeds N]
       min_char_rnn.py init TEXT WEIGHTS.safetensors [--seed N]
       min_char_rnn.py train TEXT RUN WEIGHTS.safetensors [--steps N]
       min_char_rnn.py compare TEXT RUN WEIGHTS.safetensors [--steps N]
       min_char_rnn.py follow TEXT UNROLL [--steps N] [--seed N]

`check` runs the program UNROLL and compares its losses with those of this script, in two ways, because Adagrad at the
recipe's rate of 0.1 makes the first hundred steps chaotic: a difference grows about tenfold a step, whatever computes.
`chaos` shows that with this script alone, against itself in double precision with the hidden units in another order (the
same model; only sums are added up differently) and against itself in single precision.

  1. A free run at a rate of 0.01, where nothing grows: the same initial weights, then every loss on its own side.
  2. At the recipe's rate: each step in double precision from the weights, memory and state that UNROLL saved before it.

It exits with 1 if any loss differs by more than 1e-4 of it. The pieces: `init` draws initial weights (0.01 times normal,
biases zero) for `unroll train --init-weights`. `train` trains N steps of 25 characters from them (Adagrad, every entry of
the gradient cut to 5) at the rate of RUN and prints each step's smoothed and own loss; `compare` does the same silently and
sets the losses beside those in RUN/metrics.jsonl (a run with --print-every 1). `follow` is the second half of `check`.

The model and its training are those of A. Karpathy's min-char-rnn (2015): one tanh layer of 100 units, one stream, the
state carried from step to step and set to zero when the text begins anew.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

from common import by_count, characters, ids, read_metrics, read_safetensors, read_vocabulary, write_safetensors

UNITS, STEPS, CLIP, EPSILON = 100, 25, 5.0, 1e-8
NAMES = ["simple_rnn/kernel", "simple_rnn/recurrent_kernel", "simple_rnn/bias", "dense/kernel", "dense/bias"]
TOLERANCE = 1e-4


def draw(v, seed):
    """Initial weights for a vocabulary of v characters."""
    random = np.random.default_rng(seed)
    shapes = [(v, UNITS), (UNITS, UNITS), (UNITS,), (UNITS, v), (v,)]
    return [random.standard_normal(s) * 0.01 if len(s) == 2 else np.zeros(s) for s in shapes]


def init(text, path, seed):
    weights = draw(len(by_count(characters(text))), seed)
    write_safetensors(path, dict(zip(NAMES, weights)))


def gradient(params, tokens, targets, h):
    """The summed loss of one piece of text, its gradient, and the last state. Row vectors: y = x W + b."""
    kernel, recurrent, bias, out, out_bias = params
    states, before = [], h
    for token in tokens:
        h = np.tanh(kernel[token] + h @ recurrent + bias)
        states.append(h)
    states = np.array(states)
    logits = states @ out + out_bias
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    steps = np.arange(len(targets))
    loss = -logs[steps, targets].sum()

    d_logits = np.exp(logs)
    d_logits[steps, targets] -= 1
    d_kernel, d_recurrent, d_bias = np.zeros_like(kernel), np.zeros_like(recurrent), np.zeros_like(bias)
    through = np.zeros_like(h)
    for t in reversed(steps):
        d = (d_logits[t] @ out.T + through) * (1 - states[t] ** 2)
        d_kernel[tokens[t]] += d
        d_recurrent += np.outer(states[t - 1] if t else before, d)
        d_bias += d
        through = d @ recurrent.T
    return loss, [d_kernel, d_recurrent, d_bias, states.T @ d_logits, d_logits.sum(axis=0)], h


class Training:
    """The weights, Adagrad's memory, the carried state and the place in the text."""

    def __init__(self, tokens, params, rate):
        self.tokens = tokens
        self.params = params
        self.memory = [np.zeros_like(p) for p in params]
        self.state = np.zeros(UNITS, params[0].dtype)
        self.at = 0
        self.rate = rate

    @staticmethod
    def of_run(text, run, weights):
        """From these weights, on the text as RUN cut it, at the rate of RUN."""
        tokens = ids(characters(text), read_vocabulary(run))
        training = Training(tokens, [np.zeros(1)] * len(NAMES), rate_of(run))
        training.set(read_safetensors(weights))
        training.memory = [np.zeros_like(p) for p in training.params]
        return training

    def set(self, weights):
        self.params = [weights[name].astype(np.float64) for name in NAMES]

    def step(self):
        """One step; returns the mean loss of its characters and how many there are."""
        if self.at + 1 >= len(self.tokens):
            self.at, self.state = 0, np.zeros_like(self.state)
        targets = self.tokens[self.at + 1 : self.at + STEPS + 1]
        inputs = self.tokens[self.at : self.at + len(targets)]
        self.at += STEPS
        loss, grads, self.state = gradient(self.params, inputs, targets, self.state)
        for p, g, m in zip(self.params, grads, self.memory):
            np.clip(g, -CLIP, CLIP, out=g)
            m += g * g
            p -= self.rate * g / np.sqrt(m + EPSILON)
        return loss / len(targets), len(targets)


def rate_of(run):
    """The learning rate in a run's configuration."""
    with open(os.path.join(run, "config.toml"), encoding="utf-8") as file:
        return float(re.search(r"^lr = (\S+)$", file.read(), re.MULTILINE).group(1))


def verdict(differences):
    """Prints the largest of the differences; the exit code."""
    # A NaN counts as larger than everything.
    step = max(range(len(differences)), key=lambda i: np.nan_to_num(differences[i], nan=np.inf))
    worst = differences[step]
    print(f"{len(differences)} losses, largest relative difference {worst:.3g} (step {step + 1}); {TOLERANCE:g} is allowed")
    return 0 if worst <= TOLERANCE else 1


def compare(text, run, weights, steps):
    theirs = [line["loss"] for line in read_metrics(run, "train")][:steps]
    if len(theirs) < steps:
        raise SystemExit(f"{run} has {len(theirs)} losses, not {steps}; train it with --print-every 1")
    training = Training.of_run(text, run, weights)
    ours = [training.step()[0] for _ in range(steps)]
    return verdict([abs(a - b) / a for a, b in zip(ours, theirs)])


def follow(text, unroll, steps, seed):
    with tempfile.TemporaryDirectory() as folder:
        weights, run = os.path.join(folder, "weights.safetensors"), os.path.join(folder, "run")
        init(text, weights, seed)
        begin = ["--recipe", "min-char-rnn", "--data", text, "--init-weights", weights, "--out", run]
        begin += ["--print-every", "1", "--sample-every", "0"]
        training, differences, moved = None, [], 0.0
        for step in range(1, steps + 1):
            how = begin if step == 1 else ["--resume", run]
            command = [unroll, "train", *how, "--max-steps", str(step)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            training = training or Training.of_run(text, run, weights)
            loss, _ = training.step()
            theirs = read_metrics(run, "train")[-1]
            if theirs["step"] != step:
                raise SystemExit(f"the last loss in {run} is of step {theirs['step']}, not {step}")
            differences.append(abs(loss - theirs["loss"]) / loss)
            saved = os.path.join(run, "checkpoints", f"step-{step:08}")
            after = read_safetensors(os.path.join(saved, "weights.safetensors"))
            moved = max(moved, *(np.abs(p - after[name]).max() for p, name in zip(training.params, NAMES)))
            training.set(after)
            memory = read_safetensors(os.path.join(saved, "optimizer.safetensors"))
            training.memory = [memory[f"{name}/slot_0"].astype(np.float64) for name in NAMES]
            training.state = read_safetensors(os.path.join(saved, "carry.safetensors"))["simple_rnn/h"][0].astype(np.float64)
        print(f"largest difference of a weight after a step: {moved:.3g}, of a rate of {training.rate}")
        return verdict(differences)


def free(text, unroll, steps, seed, rate):
    with tempfile.TemporaryDirectory() as folder:
        weights, run = os.path.join(folder, "weights.safetensors"), os.path.join(folder, "run")
        init(text, weights, seed)
        command = [unroll, "train", "--recipe", "min-char-rnn", "--lr", str(rate), "--data", text, "--out", run]
        command += ["--init-weights", weights, "--max-steps", str(steps), "--print-every", "1", "--sample-every", "0"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return compare(text, run, weights, steps)


def check(text, unroll, steps, seed):
    print("free run at a rate of 0.01")
    failed = free(text, unroll, steps, seed, 0.01)
    print("step by step at the recipe's rate")
    return failed | follow(text, unroll, steps, seed)


def chaos(text, steps, seeds):
    """This script against itself: how far a hundred steps at the recipe's rate can be reproduced at all."""
    text = characters(text)
    vocabulary = by_count(text)
    tokens = ids(text[: steps * STEPS + 1], vocabulary)

    def losses(params):
        training = Training(tokens, params, 0.1)
        return np.array([training.step()[0] for _ in range(steps)])

    def parted(ours, theirs):
        difference = np.abs(ours - theirs) / ours
        first = np.argmax(difference > TOLERANCE) + 1 if (difference > TOLERANCE).any() else "none"
        return f"largest {difference.max():.2g}, first above {TOLERANCE:g} at step {first}"

    for seed in range(1, seeds + 1):
        params = draw(len(vocabulary), seed)
        order = np.random.default_rng(seed).permutation(UNITS)
        kernel, recurrent, bias, out, out_bias = params
        mixed = [kernel[:, order], recurrent[order][:, order], bias[order], out[order], out_bias]
        double = losses([p.copy() for p in params])
        reordered = losses([p.copy(order="C") for p in mixed])
        single = losses([p.astype(np.float32) for p in params])
        print(f"seed {seed}: in another order: {parted(double, reordered)}; in f32: {parted(double, single)}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    operands = {
        "check": ["unroll"],
        "chaos": [],
        "init": ["weights"],
        "train": ["run", "weights"],
        "compare": ["run", "weights"],
        "follow": ["unroll"],
    }
    for name, more in operands.items():
        command = commands.add_parser(name)
        for operand in ["text", *more]:
            command.add_argument(operand)
        if name == "chaos":
            command.add_argument("--seeds", type=int, default=6)
        if name in ("check", "init", "follow"):
            command.add_argument("--seed", type=int, default=1)
        if name != "init":
            command.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    if args.command == "check":
        return check(args.text, args.unroll, args.steps, args.seed)
    if args.command == "chaos":
        return chaos(args.text, args.steps, args.seeds)
    if args.command == "init":
        return init(args.text, args.weights, args.seed)
    if args.command == "compare":
        return compare(args.text, args.run, args.weights, args.steps)
    if args.command == "follow":
        return follow(args.text, args.unroll, args.steps, args.seed)
    training = Training.of_run(args.text, args.run, args.weights)
    smooth = STEPS * np.log(len(training.params[-1]))
    for step in range(args.steps):
        loss, count = training.step()
        smooth = 0.999 * smooth + 0.001 * loss * count
        print(f"iter {step}, loss: {smooth:.6f}, of this step: {loss * count:.6f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
