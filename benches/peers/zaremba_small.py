#!/usr/bin/env python3
"""Unroll's recipe zaremba-small in PyTorch: the same model, batches, optimiser and evaluation.

usage: zaremba_small.py TRAIN VALID TEST [--epochs 13] [--weights FILE] [--write-initial FILE] [--against RUN] ...

Words of a text in the Penn Treebank's form (one sentence a line, <unk> in it); embedding 200, 2 x LSTM 200 with two
biases, linear; every weight and bias uniform in [-0.1, 0.1]; SGD at rate 1, halved each epoch after the fifth (where
main.lua's counter first exceeds its max_epoch of 4); the gradient of the loss summed
over 20 steps and averaged over 20 streams, cut to norm 5; the state carried through an epoch. W. Zaremba, I.
Sutskever and O. Vinyals, Recurrent Neural Network Regularization (2014).

A line an epoch: training and validation perplexity, seconds. The last line is the test perplexity, every word scored once.
"""

import argparse
import math

import torch
from torch import nn

from common import by_count, evaluation, ids, training, words
from language_model import Beside, LanguageModel, Recipe, add_options, evaluate, train_epoch


def recipe(paths, batch=20, steps=20, hidden=200, embedding=200):
    """The recipe with the texts at `paths` (the first trains, the second validates), and how the others are evaluated.

    The weights are drawn anew.
    """
    texts = [words(path) for path in paths]
    vocabulary = by_count(texts[0])
    if "<unk>" not in vocabulary:
        vocabulary.append("<unk>")
    known, eos = set(vocabulary), vocabulary.index("<eos>")
    texts = [ids([word if word in known else "<unk>" for word in text], vocabulary) for text in texts]
    model = LanguageModel(len(vocabulary), embedding, hidden, 2)
    model.initialize(0.1)
    valid, *others = (evaluation(text, 0, batch, steps, first_input=eos) for text in texts[1:])
    made = Recipe(
        model,
        training(texts[0], len(texts[0]), batch, steps),
        valid,
        torch.optim.SGD(model.parameters(), lr=1.0),
        clip=lambda parameters: nn.utils.clip_grad_norm_(parameters, 5.0),
        rate=lambda epoch: 0.5 ** max(0, epoch - 5),
        keeps_state=False,
    )
    return made, others


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["train", "valid", "test"]:
        parser.add_argument(name)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--embedding", type=int, default=200)
    add_options(parser, epochs=13)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    paths = [args.train, args.valid, args.test]
    trained, (test,) = recipe(paths, args.batch, args.steps, args.hidden, args.embedding)
    model, train, valid = trained.model, trained.train, trained.valid
    if args.weights:
        model.load(args.weights)
    if args.write_initial:
        return model.save(args.write_initial)

    beside = Beside(args.against)
    print(f"{model.vocabulary} words; {train.scored} to train on, {valid.scored} to validate, {test.scored} to test")
    for epoch in range(1, args.epochs + 1):
        loss, seconds, _ = train_epoch(trained, epoch, None)
        valid_loss = evaluate(model, valid)
        line = f"epoch {epoch}: train {math.exp(loss):.2f}, valid {math.exp(valid_loss):.2f}, {seconds:.1f} s, "
        line += f"{train.scored / seconds:.0f} words/s"
        print(line + beside.text(epoch, lambda loss: f"{math.exp(loss):.2f}"), flush=True)
    print(f"test: {math.exp(evaluate(model, test)):.2f}")


if __name__ == "__main__":
    main()
