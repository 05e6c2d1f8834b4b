"""The language model of char_rnn.py and zaremba_small.py in PyTorch, and its training, as Unroll's recipes have them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import IGNORE, Streams, read_metrics, read_safetensors, write_safetensors


class LanguageModel(nn.Module):
    """One-hot tokens (embedding = 0) or an embedding, LSTM layers with the two biases of Torch's cells, and logits."""

    def __init__(self, vocabulary, embedding, hidden, layers):
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, embedding) if embedding else None
        self.lstm = nn.LSTM(embedding or vocabulary, hidden, layers)
        self.dense = nn.Linear(hidden, vocabulary)

    def forward(self, tokens, state):
        x = self.embedding(tokens) if self.embedding else F.one_hot(tokens, self.vocabulary).to(self.dense.weight.dtype)
        y, state = self.lstm(x, state)
        return self.dense(y), state

    def initialize(self, scale):
        """Uniform in [-scale, scale], biases too."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -scale, scale)

    def named_as_unroll(self):
        """Unroll's name of each parameter -> (the parameter, whether Unroll stores its transpose)."""
        names = {"embedding/embeddings": (self.embedding.weight, False)} if self.embedding else {}
        for layer in range(self.lstm.num_layers):
            name = f"lstm_{layer}" if layer else "lstm"
            names[f"{name}/kernel"] = (getattr(self.lstm, f"weight_ih_l{layer}"), True)
            names[f"{name}/recurrent_kernel"] = (getattr(self.lstm, f"weight_hh_l{layer}"), True)
            names[f"{name}/bias"] = (getattr(self.lstm, f"bias_ih_l{layer}"), False)
            names[f"{name}/recurrent_bias"] = (getattr(self.lstm, f"bias_hh_l{layer}"), False)
        names["dense/kernel"] = (self.dense.weight, True)
        names["dense/bias"] = (self.dense.bias, False)
        return names

    def load(self, path):
        """Sets the parameters from a file of Unroll's."""
        tensors = read_safetensors(path)
        if tensors.keys() != self.named_as_unroll().keys():
            raise SystemExit(f"{path} has {', '.join(tensors)}; this model has {', '.join(self.named_as_unroll())}")
        with torch.no_grad():
            for name, (parameter, transposed) in self.named_as_unroll().items():
                tensor = torch.from_numpy(tensors[name].copy())
                parameter.copy_(tensor.T if transposed else tensor)

    def save(self, path):
        """Writes the parameters for `unroll train --init-weights`."""
        tensors = {n: p.detach().T if t else p.detach() for n, (p, t) in self.named_as_unroll().items()}
        write_safetensors(path, {name: tensor.contiguous().numpy() for name, tensor in tensors.items()})


def summed_loss(model, inputs, targets, state):
    """The loss of a batch summed over all its targets, how many there are, and the state behind it."""
    logits, state = model(torch.from_numpy(inputs), state)
    targets = torch.from_numpy(targets)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")
    return loss, int((targets != IGNORE).sum()), tuple(s.detach() for s in state)


@torch.no_grad()
def evaluate(model, streams):
    """The mean loss of all targets in nats, the state carried from zero on."""
    model.eval()
    total, count, state = 0.0, 0, None
    for index in range(len(streams)):
        loss, scored, state = summed_loss(model, *streams.batch(index), state)
        total, count = total + float(loss), count + scored
    return total / count


@dataclass
class Recipe:
    """A model and how it is trained."""

    model: LanguageModel
    train: Streams
    valid: Streams
    optimizer: torch.optim.Optimizer
    clip: Callable  # cuts the gradients of these parameters
    rate: Callable  # the learning rate of an epoch, counted from 1
    keeps_state: bool  # from one epoch to the next


def train_step(recipe, index, state):
    """One step. The gradient is that of the loss summed over time, averaged over rows. Returns summed loss, count, state."""
    inputs, targets = recipe.train.batch(index)
    loss, scored, state = summed_loss(recipe.model, inputs, targets, state)
    recipe.optimizer.zero_grad(set_to_none=True)
    (loss / inputs.shape[1]).backward()
    recipe.clip(recipe.model.parameters())
    recipe.optimizer.step()
    return float(loss.detach()), scored, state


def train_epoch(recipe, epoch, state):
    """One pass. Returns loss, seconds, state."""
    recipe.model.train()
    recipe.optimizer.param_groups[0]["lr"] = recipe.rate(epoch)
    state = state if recipe.keeps_state else None
    total, count, start = 0.0, 0, time.perf_counter()
    for index in range(len(recipe.train)):
        loss, scored, state = train_step(recipe, index, state)
        total, count = total + loss, count + scored
    return total / count, time.perf_counter() - start, state


def add_options(parser, epochs):
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=None, help="PyTorch's own choice unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", help="begin with these weights (safetensors, Unroll's names)")
    parser.add_argument("--write-initial", metavar="FILE", help="write the initial weights for Unroll, and end")
    parser.add_argument("--against", metavar="RUN", help="print the losses of this run of Unroll beside")


class Beside:
    """The losses of a run of Unroll, epoch by epoch."""

    def __init__(self, run):
        self.train = {m["epoch"]: m["loss"] for m in read_metrics(run, "epoch")} if run else {}
        self.valid = {m["epoch"]: m["loss"] for m in read_metrics(run, "valid")} if run else {}

    def text(self, epoch, show=lambda loss: f"{loss:.4f}"):
        if epoch not in self.train:
            return ""
        return f"   unroll: train {show(self.train[epoch])}, valid {show(self.valid.get(epoch, np.nan))}"
