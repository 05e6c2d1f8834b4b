#!/usr/bin/env python3
"""Unroll's recipe char-rnn in PyTorch: the same model, batches, optimiser and evaluation.

usage: char_rnn.py TEXT [--split streams|tail] [--epochs 20] [--weights FILE] [--write-initial FILE] [--against RUN] ...

One-hot characters, 2 x LSTM 128 with two biases, linear; every weight and bias uniform in [-0.08, 0.08];
RMSprop 2e-3 with alpha 0.95, times 0.97 each epoch from the eleventh on; every entry of the gradient cut to 5; 50
streams of 50 characters, the state carried through all epochs. A. Karpathy, char-rnn, train.lua (2015).

A line an epoch: training loss, validation loss (nats per character), seconds. The last line is the best epoch.
"""

import argparse

import torch
from torch import nn

from common import by_count, characters, ids, split_streams, split_tail
from language_model import Beside, LanguageModel, Recipe, add_options, evaluate, train_epoch

SPLITS = {"streams": split_streams, "tail": split_tail}


def recipe(path, split="streams", fraction=0.05, batch=50, steps=50, hidden=128, layers=2):
    """The recipe with the text at `path`; the weights are drawn anew."""
    text = characters(path)
    vocabulary = by_count(text)
    model = LanguageModel(len(vocabulary), 0, hidden, layers)
    model.initialize(0.08)
    train, valid = SPLITS[split](ids(text, vocabulary), batch, steps, fraction)
    return Recipe(
        model,
        train,
        valid,
        torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95, eps=1e-8),
        clip=lambda parameters: nn.utils.clip_grad_value_(parameters, 5.0),
        rate=lambda epoch: 2e-3 * 0.97 ** max(0, epoch - 10),
        keeps_state=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--split", choices=SPLITS, default="streams")
    parser.add_argument("--fraction", type=float, default=0.05, help="share that validates")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    add_options(parser, epochs=20)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    trained = recipe(args.text, args.split, args.fraction, args.batch, args.steps, args.hidden, args.layers)
    model, train, valid = trained.model, trained.train, trained.valid
    if args.weights:
        model.load(args.weights)
    if args.write_initial:
        return model.save(args.write_initial)

    state, best, beside = None, (float("inf"), 0), Beside(args.against)
    print(f"{model.vocabulary} characters; {train.scored} to train on in {len(train)} batches, {valid.scored} to validate")
    for epoch in range(1, args.epochs + 1):
        loss, seconds, state = train_epoch(trained, epoch, state)
        valid_loss = evaluate(model, valid)
        best = min(best, (valid_loss, epoch))
        line = f"epoch {epoch}: train {loss:.4f}, valid {valid_loss:.4f}, {seconds:.1f} s, {train.scored / seconds:.0f} chars/s"
        print(line + beside.text(epoch), flush=True)
    print(f"best: {best[0]:.4f} after epoch {best[1]}")


if __name__ == "__main__":
    main()
