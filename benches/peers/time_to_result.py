#!/usr/bin/env python3
"""Trains a recipe here and in PyTorch to the same validation loss, and prints both times.

usage: time_to_result.py char-rnn TEXT [--target 2.0] [--every 100] [--precisions f32 bf16] [--unroll PROGRAM]
       time_to_result.py zaremba-small TRAIN VALID [--target 6.3] [--every 500] ...

Both begin with the same weights, see the same batches in the same order by the same schedule, evaluate the whole
validation text after every so many steps, and end at the first evaluation that is no worse than the target. Neither
drops out. PyTorch trains in the fastest of its settings (one thread or all, oneDNN on or off), tried for a few steps
beforehand. Unroll's time is that of the whole command, from its start until it reports that evaluation; PyTorch's begins
when the text is read, the model stands and the setting is found.

The first 50 losses in f32 are compared with PyTorch's in f32, and with PyTorch's in double precision, which is nearer to
the truth than both. The script fails where one of Unroll's is off by more than 1e-4, and by more than PyTorch's: the first
steps of zaremba-small, at a rate of 1 with gradients of norm 90, enlarge any difference a thousandfold. The last line is all of
it in JSON. Nothing else should run meanwhile.
"""

import argparse
import copy
import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import time

import torch

import char_rnn
import zaremba_small
from language_model import evaluate, train_step

# The target, in nats a token, and the steps between two evaluations.
RECIPES = {"char-rnn": (2.0, 100), "zaremba-small": (6.3, 500)}
COMPARED, TOLERANCE = 50, 1e-4
TRIED_STEPS = 20
UNROLL = pathlib.Path(__file__).resolve().parents[2] / "target/release/unroll"


def recipe_of(args):
    return char_rnn.recipe(*args.texts) if args.recipe == "char-rnn" else zaremba_small.recipe(args.texts)[0]


def choose(setting):
    threads, onednn = setting
    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = onednn


def fastest_setting(recipe):
    """The setting in which a few steps take least; the recipe is left as it was."""
    kept = copy.deepcopy((recipe.model.state_dict(), recipe.optimizer.state_dict()))

    def seconds(setting):
        choose(setting)
        train_step(recipe, 0, None)
        start = time.perf_counter()
        for index in range(TRIED_STEPS):
            train_step(recipe, index, None)
        return time.perf_counter() - start

    best = min(itertools.product(sorted({1, os.cpu_count()}), [True, False]), key=seconds)
    recipe.model.load_state_dict(kept[0])
    recipe.optimizer.load_state_dict(kept[1])
    return best


def in_pytorch(recipe, args):
    """Seconds to the target, steps, and the loss of each step, a target."""
    losses, state, start = [], None, time.perf_counter()
    for epoch in itertools.count(1):
        recipe.optimizer.param_groups[0]["lr"] = recipe.rate(epoch)
        state = state if recipe.keeps_state else None
        for index in range(len(recipe.train)):
            loss, scored, state = train_step(recipe, index, state)
            losses.append(loss / scored)
            if len(losses) % args.every == 0:
                valid = evaluate(recipe.model, recipe.valid)
                recipe.model.train()
                if valid <= args.target:
                    return time.perf_counter() - start, len(losses), losses


def first_losses_in_double(args, weights):
    """The losses of the first steps of PyTorch in double precision."""
    recipe, losses, state = recipe_of(args), [], None
    recipe.model.load(weights)
    recipe.model.double()
    recipe.optimizer.param_groups[0]["lr"] = recipe.rate(1)
    for index in range(COMPARED):
        loss, scored, state = train_step(recipe, index, state)
        losses.append(loss / scored)
    return losses


def apart(losses, others):
    """The largest difference of the first losses."""
    return max(abs(a - b) for a, b in zip(losses[:COMPARED], others, strict=False))


def here(args, weights, precision, run):
    """The same of `unroll train`."""
    names = ["--data", "--valid"]
    texts = [word for pair in zip(names, args.texts) for word in pair]
    command = [args.unroll, "train", "--recipe", args.recipe, *texts, "--init-weights", weights, "--out", run]
    command += ["--precision", precision, "--eval-every", str(args.every), "--print-every", "1", "--json"]
    losses, start = [], time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        for line in map(json.loads, training.stdout):
            if line["event"] == "step":
                losses.append(line["loss"])
            elif line["event"] == "evaluated" and line["loss"] <= args.target:
                seconds = time.perf_counter() - start
                training.kill()
                return seconds, line["step"], losses
    raise SystemExit(f"unroll ended with code {training.returncode} before a validation loss of {args.target}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--target", type=float, help="validation loss in nats a token")
    parser.add_argument("--every", type=int, help="steps between two evaluations")
    parser.add_argument("--precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"], help="Unroll's (default: both)")
    parser.add_argument("--unroll", default=UNROLL, metavar="PROGRAM", help="the built command")
    args = parser.parse_args()
    if not pathlib.Path(args.unroll).exists():
        parser.error(f"{args.unroll} does not exist; `cargo build --release` makes it")
    target, every = RECIPES[args.recipe]
    args.target, args.every = args.target or target, args.every or every
    if len(args.texts) != (1 if args.recipe == "char-rnn" else 2):
        parser.error("char-rnn wants one text, zaremba-small two")
    torch.manual_seed(1)

    recipe = recipe_of(args)
    found = {"recipe": args.recipe, "target": args.target, "every": args.every}
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, "weights.safetensors")
        recipe.model.save(weights)
        ours = {precision: here(args, weights, precision, os.path.join(folder, precision)) for precision in args.precisions}
        truth = first_losses_in_double(args, weights)
    setting = fastest_setting(recipe)
    choose(setting)
    seconds, steps, losses = in_pytorch(recipe, args)

    found["pytorch"] = {"seconds": seconds, "steps": steps, "threads": setting[0], "onednn": setting[1]}
    found["pytorch"]["apart"] = apart(losses, truth)
    print(f"PyTorch f32: {seconds:.1f} s, {steps} steps")
    for precision, (own_seconds, own_steps, own_losses) in ours.items():
        found[precision] = {"seconds": own_seconds, "steps": own_steps, "apart": apart(own_losses, truth)}
        print(f"Unroll {precision}: {own_seconds:.1f} s, {own_steps} steps, {seconds / own_seconds:.2f} times as fast")
    ways = {name: one["apart"] for name, one in found.items() if isinstance(one, dict)}
    print(f"The first {COMPARED} losses differ from those in double precision by "
          + ", ".join(f"{difference:.0e} ({name})" for name, difference in ways.items()))
    print(json.dumps(found))
    if ways.get("f32", 0) > max(TOLERANCE, ways["pytorch"]):
        raise SystemExit(f"Unroll's first losses are off by more than {TOLERANCE} and by more than PyTorch's")


if __name__ == "__main__":
    main()
