"""Exchanges weights with PyTorch or Keras on random models and compares what both compute.

    cargo build --release --example exchange
    target/peers/torch/bin/python benches/peers/exchange.py torch
    target/peers/keras/bin/python benches/peers/exchange.py keras

Every cell, direction and mask (none; padding behind, in front, anywhere; a row that is masked wholly) is drawn once a round,
with one layer or two, all steps or the last, embeddings, one-hot tokens or vectors, and two or one bias; then the other layers, as
graphs (graphs.py): normalisation, each step's dense, sums and joins, windows, masking, states that other layers begin from,
repeated vectors, functions. The peer draws the weights; they go through a safetensors file into Unroll's model. Compared are the numbers before the softmax (rtol 1e-5, atol
1e-6) and the gradient of the mean cross-entropy by every weight (rtol 1e-4, atol 1e-6), in f32 on both sides; the weights that
Unroll writes again, bit for bit; and a row alone, without padding, with the same row in its batch, bit for bit. Ends with
exit code 1 where something differs. The figures are shares of the tolerance.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np

from common import read_safetensors, write_safetensors
from graphs import ALONE_IN_KERAS, KINDS, Graph, keras_graph, torch_graph

CELLS = {
    "torch": ["lstm", "lstm two biases", "lstm no bias", "gru", "gru no bias", "rnn tanh", "rnn relu", "rnn two biases"],
    "keras": ["lstm", "lstm no bias", "gru", "gru before", "gru no bias", "rnn tanh", "rnn relu"],
}
DIRECTIONS = ["forward", "backward", "concat", "sum", "mul", "ave"]
MASKS = ["none", "post", "pre", "holes", "row"]
VOCABULARY, CLASSES = 11, 5
OUTPUT, GRADIENT = (1e-5, 1e-6), (1e-4, 1e-6)


class Case:
    """A random model and a batch for it."""

    def __init__(self, random, cell, direction, mask):
        self.cell, self.direction, self.mask_kind = cell, direction, mask
        self.steps, self.rows = int(random.integers(3, 8)), int(random.integers(2, 5))
        self.input = str(random.choice(["embedding", "one_hot", "vectors"]))
        self.width = VOCABULARY if self.input == "one_hot" else int(random.integers(2, 7))
        # Keras hands the mask of a layer that reads from the end on unturned, so that nothing sensible stands behind it.
        self.layers = 1 if direction == "backward" else int(random.integers(1, 3))
        last = bool(random.integers(0, 2))
        self.sequences = not last and (direction != "backward" or mask == "none")
        self.units = [int(random.integers(2, 8)) for _ in range(self.layers)]
        if random.integers(0, 2):
            self.units = self.units[:1] * self.layers
        shape = (self.steps, self.rows)
        self.mask = np.ones(shape, bool)
        for n in range(self.rows):
            valid = int(random.integers(1, self.steps + 1))
            if mask in ("post", "row"):
                self.mask[valid:, n] = False
            elif mask == "pre":
                self.mask[: self.steps - valid, n] = False
            elif mask == "holes":
                self.mask[:, n] = random.integers(0, 3, self.steps) > 0
                self.mask[int(random.integers(0, self.steps)), n] = True
        if mask == "row":
            self.mask[:, int(random.integers(0, self.rows))] = False
        self.tokens = random.integers(1, VOCABULARY, shape)
        if self.input == "embedding" and mask != "none":
            self.tokens[~self.mask] = 0
        self.vectors = random.normal(0, 1, (*shape, self.width)).astype("f4")
        self.targets = random.integers(0, CLASSES, shape if self.sequences else self.rows)
        if self.sequences:
            self.targets[~self.mask] = -1

    @property
    def bidirectional(self):
        return self.direction not in ("forward", "backward")

    @property
    def kind(self):
        return {"lstm": "lstm", "gru": "gru", "rnn": "simple_rnn"}[self.cell.split()[0]]

    @property
    def returns(self):
        """Whether each layer gives all steps."""
        return [True] * (self.layers - 1) + [self.sequences]

    def toml(self, names):
        """The model in Unroll's words."""
        layers = []
        if self.input == "embedding":
            masked = "true" if self.mask_kind != "none" else "false"
            layers.append(f'type = "embedding", name = "embedding", output_dim = {self.width}, mask_zero = {masked}')
        elif self.input == "one_hot":
            layers.append('type = "one_hot"')
        else:
            layers.append(f'type = "input", width = {self.width}')
        for name, units, returns in zip(names, self.units, self.returns):
            layer = f'type = "{self.kind}", units = {units}, return_sequences = {str(returns).lower()}'
            layer += {
                "two biases": ", recurrent_bias = true",
                "no bias": ", use_bias = false",
                "before": ", reset_after = false",
                "relu": ', activation = "relu"',
            }.get(self.cell.partition(" ")[2], "")
            if self.bidirectional:
                layer = f'type = "bidirectional", name = "{name}", merge_mode = "{self.direction}", layer = {{ {layer} }}'
            else:
                layer += f', name = "{name}"' + (", go_backwards = true" if self.direction == "backward" else "")
            layers.append(layer)
        layers.append('type = "dense", name = "head", activation = "softmax"')
        return "layers = [\n" + "".join(f"  {{ {layer} }},\n" for layer in layers) + "]\n"

    def batch(self, row=None):
        """The batch's tensors, or those of one row without its padding."""
        rows = slice(None) if row is None else slice(row, row + 1)
        steps = slice(None) if row is None else self.mask[:, row]
        tensors = {}
        if self.input == "vectors":
            tensors["vectors.0"] = self.vectors[:, rows][steps]
        else:
            tensors["inputs"] = self.tokens[:, rows][steps]
        tensors["targets"] = self.targets[:, rows][steps] if self.sequences else self.targets[rows]
        # Where an embedding masks, its tokens say all.
        if row is None and self.mask_kind != "none" and self.input != "embedding":
            tensors["mask"] = self.mask
        return tensors


class Unroll:
    """The example `exchange` with its files."""

    def __init__(self, program, form, folder):
        self.program, self.form, self.folder = program, form, folder

    def run(self, toml, weights, batch, names):
        path = lambda name: os.path.join(self.folder, name)
        with open(path("model.toml"), "w") as file:
            file.write(toml)
        write_safetensors(path("weights.safetensors"), weights)
        write_safetensors(path("batch.safetensors"), batch)
        files = [path(name) for name in ("weights.safetensors", "batch.safetensors", "out.safetensors")]
        command = [self.program, path("model.toml"), str(VOCABULARY), str(CLASSES), self.form, *files]
        command += [f"{layer}={name}" for layer, name in names.items() if f'name = "{layer}"' in toml]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{done.stderr}\n{toml}\n{ {name: w.shape for name, w in weights.items()} }")
        return read_safetensors(files[-1])


# ---- PyTorch


class Torch:
    """Models of torch.nn; a mask by running each row's own steps."""

    form = "pytorch"

    def __init__(self, seed):
        import torch

        self.torch = torch
        torch.manual_seed(seed)

    def model(self, case):
        nn = self.torch.nn
        make = {"lstm": nn.LSTM, "gru": nn.GRU, "simple_rnn": nn.RNN}[case.kind]
        options = {"bidirectional": case.bidirectional, "bias": "no bias" not in case.cell}
        if "relu" in case.cell:
            options["nonlinearity"] = "relu"
        modules = nn.ModuleDict()
        if case.input == "embedding":
            modules["encoder"] = nn.Embedding(VOCABULARY, case.width)
        # Equal layers that read as PyTorch's do are one module.
        twice = case.direction in ("forward", "concat") and len(set(case.units)) == 1
        width, join = case.width, 2 if case.direction == "concat" else 1
        if twice:
            modules["rnn"] = make(width, case.units[0], case.layers, **options)
            names = [f"rnn_{i}" for i in range(case.layers)]
        else:
            names = [f"part_{i}" for i in range(case.layers)]
            for name, units in zip(names, case.units):
                modules[name] = make(width, units, **options)
                width = join * units
        modules["head"] = nn.Linear(join * case.units[-1], CLASSES)
        return modules, names, twice

    def compute(self, case):
        if isinstance(case, Graph):
            modules, row = torch_graph(case, self.torch)
            return self.compared(case, list(modules), modules, [row(n) for n in range(case.rows)])
        torch = self.torch
        modules, names, twice = self.model(case)
        outputs = []
        for n in range(case.rows):
            steps = torch.tensor(np.flatnonzero(case.mask[:, n]))
            tokens = torch.tensor(case.tokens[:, n])[steps]
            if case.input == "embedding":
                x = modules["encoder"](tokens)
            elif case.input == "one_hot":
                x = torch.nn.functional.one_hot(tokens, VOCABULARY).float()
            else:
                x = torch.tensor(case.vectors[:, n])[steps]
            outputs.append(modules["head"](self.row(case, modules, names, twice, x)))
        return self.compared(case, names, modules, outputs)

    def compared(self, case, names, modules, outputs):
        """Names, weights, the outputs of all rows and the gradients of their loss."""
        torch = self.torch
        targets = torch.tensor(case.targets)
        if case.sequences:
            picked = [targets[:, n][case.mask[:, n]] for n in range(case.rows)]
            loss = torch.nn.functional.cross_entropy(torch.cat(outputs), torch.cat(picked))
            found = np.full((case.steps, case.rows, CLASSES), np.nan, "f4")
            for n, output in enumerate(outputs):
                found[case.mask[:, n], n] = output.detach().numpy()
        else:
            loss = torch.nn.functional.cross_entropy(torch.stack(outputs), targets)
            found = torch.stack(outputs).detach().numpy()
        loss.backward()
        named = dict(modules.named_parameters())
        weights = {name: p.detach().numpy() for name, p in named.items()}
        gradients = {name: np.zeros_like(weights[name]) if p.grad is None else p.grad.numpy() for name, p in named.items()}
        return names, weights, found, gradients

    def row(self, case, modules, names, twice, x):
        """The last layer's output for the steps of one row."""
        torch = self.torch
        layers = [modules["rnn"]] if twice else [modules[name] for name in names]
        for i, layer in enumerate(layers):
            sequences = case.sequences or i + 1 < len(layers)
            units, both = layer.hidden_size, layer.bidirectional
            if len(x) == 0:
                output = torch.zeros(0 if sequences else 1, (2 if both else 1) * units)
            else:
                # As Keras has it, outputs stand in the order of reading.
                y, _ = layer(x.flip(0) if case.direction == "backward" else x)
                output = y if sequences else torch.cat([y[-1:, :units], y[:1, units:]], 1) if both else y[-1:]
            if both and case.direction != "concat":
                a, b = output[:, :units], output[:, units:]
                output = {"sum": a + b, "mul": a * b, "ave": (a + b) / 2}[case.direction]
            x = output
        return x if case.sequences else x[0]

    def unread(self, case, name):
        """The second bias, where Unroll's layer has none."""
        if isinstance(case, Graph):
            module = name.split(".")[0]
            cells = {node["name"]: node.get("layer", node)["type"] for node in case.nodes}
            return "bias_hh" in name and cells[module] != "gru"
        return "bias_hh" in name and case.kind != "gru" and "two biases" not in case.cell

    def again(self, case, weights):
        """What Unroll writes of weights that it has read."""
        again = dict(weights)
        for name in weights:
            if self.unread(case, name):
                first = name.replace("bias_hh", "bias_ih")
                again[first] = weights[first] + weights[name]
                again[name] = np.zeros_like(weights[name])
        return again

    def names(self, case, names):
        """Layers of Unroll whose names are others here: those of a module of several."""
        if isinstance(case, Graph):
            return {name: name for name in names}
        stack = {name: f"rnn.l{i}" for i, name in enumerate(names) if name.startswith("rnn_")}
        return {**{name: name for name in names}, "head": "head", "embedding": "encoder", **stack}


# ---- Keras


class Keras:
    """Keras' own layers and masks."""

    form = "keras"

    def __init__(self, seed):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
        import tensorflow

        self.keras, self.tf = keras, tensorflow
        keras.utils.set_random_seed(seed)

    def compute(self, case):
        if isinstance(case, Graph):
            model, inputs = keras_graph(case, self.keras)
            found = self.compared(case, lambda: model(self.tf.constant(inputs)), model.trainable_variables)
            return [layer.name for layer in model.layers], *found
        keras, tf, layers = self.keras, self.tf, self.keras.layers
        make = {"lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN}[case.kind]
        names = [f"part_{i}" for i in range(case.layers)]
        options = {"use_bias": "no bias" not in case.cell, "bias_initializer": keras.initializers.RandomNormal(stddev=0.3)}
        if case.kind == "gru":
            options["reset_after"] = "before" not in case.cell
        if case.kind == "simple_rnn":
            options["activation"] = "relu" if "relu" in case.cell else "tanh"
        built = []
        for name, units, returns in zip(names, case.units, case.returns):
            backward = case.direction == "backward"
            inner = case.kind if case.bidirectional else name
            layer = make(units, return_sequences=returns, go_backwards=backward, name=inner, **options)
            built.append(layers.Bidirectional(layer, merge_mode=case.direction, name=name) if case.bidirectional else layer)
        embedding = layers.Embedding(VOCABULARY, case.width, mask_zero=case.mask_kind != "none", name="embedding")
        head = layers.Dense(CLASSES, name="head", bias_initializer=options["bias_initializer"])
        mask = None if case.mask_kind == "none" else tf.constant(case.mask.T)

        def forward():
            tokens = tf.constant(case.tokens.T)
            if case.input == "embedding":
                x = embedding(tokens)
            elif case.input == "one_hot":
                x = tf.one_hot(tokens, VOCABULARY)
            else:
                x = tf.constant(case.vectors.transpose(1, 0, 2))
            for layer in built:
                x = layer(x, mask=mask)
            return head(x)

        forward()
        used = ([embedding] if case.input == "embedding" else []) + built + [head]
        variables = [v for layer in used for v in layer.trainable_variables]
        return names, *self.compared(case, forward, variables)

    def compared(self, case, forward, variables):
        """Weights, outputs and the gradients of their loss."""
        tf = self.tf
        with tf.GradientTape() as tape:
            output = forward()
            targets = tf.constant(case.targets.T)
            scored = targets >= 0
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets, 0), output)
            loss = tf.reduce_mean(tf.boolean_mask(losses, scored))
        found = tape.gradient(loss, [v.value for v in variables])
        dense = [tf.zeros_like(v.value) if g is None else tf.convert_to_tensor(g) for v, g in zip(variables, found)]
        # A wrapper that applies a layer to each step is one layer here.
        paths = [v.path.replace("/inner/", "/") for v in variables]
        gradients = {path: g.numpy() for path, g in zip(paths, dense)}
        weights = {path: v.numpy() for path, v in zip(paths, variables)}
        output = output.numpy()
        if case.sequences:
            output = output.transpose(1, 0, 2).copy()
            output[~case.mask] = np.nan
        return weights, output, gradients

    def unread(self, case, name):
        return False

    def again(self, case, weights):
        return weights

    def names(self, case, names):
        return {}


# ---- comparison


def share(found, expected, tolerance):
    """The largest difference as a share of what is tolerated; NaN has to stand where NaN is expected."""
    if found.shape != expected.shape or (np.isnan(found) != np.isnan(expected)).any():
        return np.inf
    there = ~np.isnan(expected)
    rtol, atol = tolerance
    off = np.abs(found[there].astype("f8") - expected[there])
    return float((off / (atol + rtol * np.abs(expected[there]))).max(initial=0.0))


def compare(case, peer, unroll):
    """Shares of the tolerance of outputs and gradients, and how many rows were compared with themselves alone."""
    names, weights, outputs, gradients = peer.compute(case)
    toml = case.toml(names)
    named = peer.names(case, names)
    found = unroll.run(toml, weights, case.batch(), named)
    ours = {kind: {n[len(kind) + 1 :]: t for n, t in found.items() if n.startswith(f"{kind}.")} for kind in ("gradient", "weight")}
    for name, expected in peer.again(case, weights).items():
        if ours["weight"][name].tobytes() != np.ascontiguousarray(expected, "f4").tobytes():
            raise SystemExit(f"{name} was written otherwise than it was read\n{toml}")
    if set(ours["weight"]) != set(weights):
        raise SystemExit(f"other names came back: {sorted(set(ours['weight']) ^ set(weights))}\n{toml}")
    output = share(found["outputs"], outputs, OUTPUT)
    read = [name for name in gradients if not peer.unread(case, name)]
    gradient = max(share(ours["gradient"][name], gradients[name], GRADIENT) for name in read)
    alone = 0
    # Of several the shortest, which has the most padding in its batch.
    lengths = case.mask.sum(0)
    for n in np.flatnonzero(lengths)[np.argsort(lengths[lengths > 0])[:1]]:
        one = unroll.run(toml, weights, case.batch(n), named)["outputs"]
        same = found["outputs"][case.mask[:, n], n : n + 1] if case.sequences else found["outputs"][n : n + 1]
        if one.tobytes() != np.ascontiguousarray(same).tobytes():
            raise SystemExit(f"row {n} alone gives other numbers than in its batch\n{toml}")
        alone += 1
    if max(output, gradient) > 1:
        print(f"DIFFERS: outputs {output:.3g}, gradients {gradient:.3g} of the tolerance, mask {case.mask_kind}\n{toml}", file=sys.stderr)
    return output, gradient, alone


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["torch", "keras"])
    parser.add_argument("--rounds", type=int, default=1, help="models of each cell, direction and mask")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default="target/release/examples/exchange", help="the built example")
    args = parser.parse_args()
    if not os.path.exists(args.program):
        raise SystemExit(f"{args.program} is missing: cargo build --release --example exchange")
    peer = Torch(args.seed) if args.peer == "torch" else Keras(args.seed)
    random = np.random.default_rng(args.seed)
    rows, worst, alone = {}, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        unroll = Unroll(args.program, peer.form, folder)
        for _ in range(args.rounds):
            for cell, direction, mask in itertools.product(CELLS[args.peer], DIRECTIONS, MASKS):
                output, gradient, rows_alone = compare(Case(random, cell, direction, mask), peer, unroll)
                alone += rows_alone
                worst = max(worst, output, gradient)
                count, o, g = rows.get((cell, direction), (0, 0.0, 0.0))
                rows[cell, direction] = (count + 1, max(o, output), max(g, gradient))
            for kind, mask in itertools.product(KINDS, MASKS):
                if args.peer == "torch" and kind in ALONE_IN_KERAS:
                    continue
                case = Graph(random, kind, mask, (VOCABULARY, CLASSES))
                output, gradient, rows_alone = compare(case, peer, unroll)
                alone += rows_alone
                worst = max(worst, output, gradient)
                count, o, g = rows.get((kind, ""), (0, 0.0, 0.0))
                rows[kind, ""] = (count + 1, max(o, output), max(g, gradient))
    print(f"{'cell or graph':<19} {'direction':<10} {'models':>6} {'outputs':>8} {'gradients':>9}   (largest share of the tolerance)")
    for (cell, direction), (count, output, gradient) in rows.items():
        print(f"{cell:<19} {direction:<10} {count:>6} {output:>8.3f} {gradient:>9.3f}")
    models = sum(count for count, _, _ in rows.values())
    print(f"{models} models, {len(MASKS)} masks; {alone} rows alone gave the bits that they have in their batch")
    if worst > 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
