"""Random models as graphs of layers, in Unroll's words, and the same in Keras and in PyTorch.

A model is a list of nodes, each a dictionary of the keys of a layer of Unroll, which are Keras' keys too. `Graph` draws one of a
kind with a batch for it; `keras_graph` and `torch_graph` compute it. exchange.py compares them.
"""

import json

import numpy as np


def layer_normalization(draw):
    return [draw.embedding(), draw.recurrent("a"), {"type": "layer_normalization", "name": "norm", "epsilon": 0.01}, *draw.end()]


def time_distributed(draw):
    dense = {"type": "dense", "units": draw.width(), "activation": "relu"}
    return [draw.vectors(), draw.recurrent("a"), {"type": "time_distributed", "name": "each", "layer": dense}, *draw.end()]


def sums_and_joins(draw):
    units = draw.width()
    return [
        draw.embedding(),
        draw.recurrent("a", units=units, inputs=["in"]),
        draw.recurrent("b", units=units, inputs=["in"]),
        {"type": "add", "name": "sum", "inputs": ["a", "b"]},
        {"type": "concatenate", "name": "joined", "inputs": ["sum", "in"]},
        *draw.end(),
    ]


def window(draw):
    draw.mask_kind = "none"
    hidden = {"type": "dense", "name": "hidden", "units": draw.width(), "activation": "tanh"}
    return [draw.embedding(), {"type": "reshape", "name": "flat", "target_shape": [draw.steps * draw.inputs]}, hidden, draw.head()]


def masking(draw):
    return [draw.vectors(), {"type": "masking", "name": "masked"}, draw.recurrent("a"), *draw.end()]


def states(draw):
    units, cell = draw.width(), draw.cell()
    parts = ["first/h", "first/c"] if cell == "lstm" else ["first/h"]
    first = draw.recurrent("first", cell, units=units, return_state=True, return_sequences=False)
    second = draw.recurrent("second", cell, units=units, inputs=["in"], initial_state=parts, return_sequences=True)
    return [draw.embedding(), first, second, draw.head()]


def states_of_both(draw):
    units, cell = draw.width(), draw.cell()
    parts = ["h", "c"] if cell == "lstm" else ["h"]
    inner = draw.recurrent(None, cell, units=units, return_state=True, return_sequences=False)
    both = {"type": "bidirectional", "name": "first", "layer": inner}
    joined = [{"type": "concatenate", "name": f"all_{p}", "inputs": [f"first/forward/{p}", f"first/backward/{p}"]} for p in parts]
    second = draw.recurrent(
        "second", cell, units=2 * units, inputs=["in"], initial_state=[node["name"] for node in joined], return_sequences=True
    )
    return [draw.embedding(), both, *joined, second, draw.head()]


def repeated(draw):
    draw.mask_kind = "none"
    first = draw.recurrent("first", return_sequences=False)
    return [draw.embedding(), first, {"type": "repeat_vector", "name": "again"}, draw.recurrent("a"), *draw.end()]


def functions(draw):
    of = lambda *names: str(draw.random.choice(names))
    cell = draw.cell()
    chosen = {"activation": of("tanh", "softsign", "relu", "linear", "sigmoid")}
    if cell != "simple_rnn":
        chosen["recurrent_activation"] = of("sigmoid", "hard_sigmoid_6", "softsign")
    return [draw.embedding(), draw.recurrent("a", cell, **chosen), *draw.end()]


def functions_of_layers(draw):
    dense = {"type": "dense", "name": "hidden", "units": draw.width(), "activation": "hard_sigmoid_6"}
    return [draw.vectors(), dense, {"type": "activation", "name": "bent", "activation": "softsign"}, draw.recurrent("a"), *draw.end()]


KINDS = {kind.__name__.replace("_", " "): kind for kind in (
    layer_normalization, time_distributed, sums_and_joins, window, masking, states, states_of_both, repeated, functions,
    functions_of_layers,
)}
# What PyTorch's cells have not.
ALONE_IN_KERAS = ["functions"]


class Graph:
    """A random model of a kind and a batch for it."""

    def __init__(self, random, kind, mask, sizes):
        self.random, self.mask_kind = random, mask
        self.vocabulary, self.classes = sizes
        self.steps, self.rows = int(random.integers(3, 8)), int(random.integers(2, 5))
        self.inputs = self.width()
        self.sequences = bool(random.integers(0, 2))
        self.nodes = KINDS[kind](self)
        last = [node for node in self.nodes if "return_sequences" in node or node["type"] == "reshape"][-1]
        self.sequences = last.get("return_sequences", False)
        self.input = "vectors" if self.nodes[0]["type"] == "input" else "embedding"
        if self.input == "vectors" and not any(node["type"] == "masking" for node in self.nodes):
            self.mask_kind = "none"
        shape = (self.steps, self.rows)
        self.mask = np.ones(shape, bool)
        for n in range(self.rows):
            there = int(random.integers(1, self.steps + 1))
            if self.mask_kind in ("post", "row"):
                self.mask[there:, n] = False
            elif self.mask_kind == "pre":
                self.mask[: self.steps - there, n] = False
            elif self.mask_kind == "holes":
                self.mask[:, n] = random.integers(0, 3, self.steps) > 0
                self.mask[int(random.integers(0, self.steps)), n] = True
        if self.mask_kind == "row":
            self.mask[:, int(random.integers(0, self.rows))] = False
        self.tokens = random.integers(1, self.vocabulary, shape)
        self.vector = random.normal(0, 1, (*shape, self.inputs)).astype("f4")
        self.tokens[~self.mask], self.vector[~self.mask] = 0, 0.0
        self.targets = random.integers(0, self.classes, shape if self.sequences else self.rows)
        if self.sequences:
            self.targets[~self.mask] = -1

    def width(self):
        return int(self.random.integers(2, 8))

    def cell(self):
        return str(self.random.choice(["lstm", "gru", "simple_rnn"]))

    def embedding(self):
        masked = self.mask_kind != "none"
        return {"type": "embedding", "name": "in", "output_dim": self.inputs, "mask_zero": masked}

    def vectors(self):
        return {"type": "input", "name": "in", "width": self.inputs}

    def recurrent(self, name, cell=None, **options):
        layer = {"type": cell or self.cell(), "units": self.width(), "return_sequences": True, **options}
        return {"name": name, **layer} if name else layer

    def head(self):
        return {"type": "dense", "name": "head", "activation": "softmax"}

    def end(self):
        """A recurrent layer that gives all steps or the last, and the head."""
        return [self.recurrent("end", return_sequences=self.sequences), self.head()]

    def toml(self, _names):
        value = lambda v: "{ " + pairs(v) + " }" if isinstance(v, dict) else json.dumps(v)
        pairs = lambda node: ", ".join(f"{key} = {value(v)}" for key, v in node.items())
        length = f"input_length = {self.steps}\n" if any(n["type"] == "reshape" for n in self.nodes) else ""
        return length + "layers = [\n" + "".join(f"  {{ {pairs(node)} }},\n" for node in self.nodes) + "]\n"

    def batch(self, row=None):
        rows = slice(None) if row is None else slice(row, row + 1)
        steps = slice(None) if row is None else self.mask[:, row]
        tokens = {"inputs": self.tokens} if self.input == "embedding" else {"vectors.0": self.vector}
        targets = self.targets[:, rows][steps] if self.sequences else self.targets[rows]
        return {**{name: t[:, rows][steps] for name, t in tokens.items()}, "targets": targets}


# ---- Keras


def keras_graph(case, keras):
    """A function of no arguments that computes the logits, and the layers that have weights."""
    layers = keras.layers
    kinds = {
        "lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN, "dense": layers.Dense, "add": layers.Add,
        "concatenate": layers.Concatenate, "layer_normalization": layers.LayerNormalization, "activation": layers.Activation,
        "reshape": layers.Reshape, "masking": layers.Masking,
    }
    drawn = keras.initializers.RandomNormal(stddev=0.3)

    def build(node, name):
        options = {key: value for key, value in node.items() if key not in ("type", "name", "inputs", "initial_state", "layer")}
        for key in ("activation", "recurrent_activation"):
            # What is so called in Keras 3.
            options.update({key: "hard_sigmoid"} if options.get(key) == "hard_sigmoid_6" else {})
        kind = node["type"]
        if kind == "embedding":
            return layers.Embedding(case.vocabulary, node["output_dim"], mask_zero=node["mask_zero"], name=name)
        if kind in ("lstm", "gru", "simple_rnn"):
            return kinds[kind](name=name, bias_initializer=drawn, **options)
        if kind == "bidirectional":
            return layers.Bidirectional(build(node["layer"], node["layer"]["type"]), name=name)
        if kind == "time_distributed":
            return layers.TimeDistributed(build(node["layer"], "inner"), name=name)
        if kind == "layer_normalization":
            return kinds[kind](name=name, gamma_initializer=drawn, beta_initializer=drawn, **options)
        if kind == "repeat_vector":
            return layers.RepeatVector(case.steps, name=name)
        if name == "head":
            return layers.Dense(case.classes, name=name, bias_initializer=drawn)
        return kinds[kind](name=name, **options)

    tokens = case.input == "embedding"
    first = keras.Input((case.steps,), dtype="int32") if tokens else keras.Input((case.steps, case.inputs))
    values, x = {}, first
    for node in case.nodes:
        name = node["name"]
        if node["type"] != "input":
            inputs = [values[i] for i in node.get("inputs", [])] or [x]
            start = [values[i] for i in node.get("initial_state", [])]
            # Keras 3 does not hand its mask to a layer that is called with states, unless it is given too.
            mask = {"mask": keras.ops.not_equal(first, 0)} if tokens and case.mask_kind != "none" else {}
            more = {"initial_state": start, **mask} if start else {}
            x = build(node, name)(inputs if len(inputs) > 1 else inputs[0], **more)
        if isinstance(x, (list, tuple)):
            both = ["forward/", "backward/"] if node["type"] == "bidirectional" else [""]
            cell = node.get("layer", node)["type"]
            parts = [f"{name}/{way}{part}" for way in both for part in (["h", "c"] if cell == "lstm" else ["h"])]
            values.update(zip(parts, x[1:]))
            x = x[0]
        values[name] = x
    return keras.Model(first, x), (case.tokens.T if tokens else case.vector.transpose(1, 0, 2))


# ---- PyTorch


def torch_graph(case, torch):
    """The modules of the nodes, and a function that computes the logits of one row's own steps."""
    nn = torch.nn
    widths, modules, width = {}, nn.ModuleDict(), 0
    cells = {"lstm": nn.LSTM, "gru": nn.GRU, "simple_rnn": nn.RNN}
    for node in case.nodes:
        kind, name = node["type"], node["name"]
        inputs = [widths[i] for i in node.get("inputs", [])] or [width]
        width = sum(inputs) if kind == "concatenate" else inputs[0]
        if kind in ("embedding", "input"):
            width = case.inputs
            if kind == "embedding":
                modules[name] = nn.Embedding(case.vocabulary, width)
        elif kind in cells or kind == "bidirectional":
            inner = node.get("layer", node)
            modules[name] = cells[inner["type"]](width, inner["units"], bidirectional=kind == "bidirectional")
            width = inner["units"]
            ways = ["forward/", "backward/"] if kind == "bidirectional" else [""]
            widths.update({f"{name}/{way}{part}": width for way in ways for part in "hc"})
            width *= len(ways)
        elif kind in ("dense", "time_distributed"):
            units = node.get("layer", node).get("units", case.classes)
            modules[name], width = nn.Linear(width, units), units
        elif kind == "layer_normalization":
            modules[name] = nn.LayerNorm(width, eps=node["epsilon"])
            nn.init.normal_(modules[name].weight, 1.0, 0.3)
            nn.init.normal_(modules[name].bias, 0.0, 0.3)
        elif kind == "reshape":
            width = node["target_shape"][0]
        widths[name] = width
    bend = {
        "relu": torch.relu, "tanh": torch.tanh, "softsign": nn.functional.softsign, "hard_sigmoid_6": nn.functional.hardsigmoid,
    }

    def recurrent(node, module, x, start):
        inner = node.get("layer", node)
        ways, units = 2 if node["type"] == "bidirectional" else 1, inner["units"]
        if len(x) == 0:
            given = start or [torch.zeros(1, units)] * 2
            return x.new_zeros(0, units) if inner["return_sequences"] else given[0], given * ways
        start = tuple(start) if len(start) > 1 else start[0] if start else None
        y, state = module(x, start)
        state = state if isinstance(state, tuple) else (state,)
        states = [part[way : way + 1] for way in range(ways) for part in state]
        if inner["return_sequences"]:
            return y, states
        return torch.cat([y[-1:, :units], y[:1, units:]], 1), states

    def row(n):
        there = torch.tensor(np.flatnonzero(case.mask[:, n]))
        values, x = {}, None
        for node in case.nodes:
            kind, name = node["type"], node["name"]
            inputs = [values[i] for i in node.get("inputs", [])] or [x]
            x = inputs[0]
            if kind == "embedding":
                x = modules[name](torch.tensor(case.tokens[:, n])[there])
            elif kind == "input":
                x = torch.tensor(case.vector[:, n])[there]
            elif kind in cells or kind == "bidirectional":
                x, states = recurrent(node, modules[name], x, [values[i] for i in node.get("initial_state", [])])
                ways = ["forward/", "backward/"] if kind == "bidirectional" else [""]
                parts = "hc" if node.get("layer", node)["type"] == "lstm" else "h"
                values.update(zip([f"{name}/{way}{part}" for way in ways for part in parts], states))
            elif kind in ("dense", "time_distributed"):
                function = node.get("layer", node).get("activation", "softmax")
                x = bend.get(function, lambda y: y)(modules[name](x))
            elif kind == "layer_normalization":
                x = modules[name](x)
            elif kind == "activation":
                x = bend[node["activation"]](x)
            elif kind == "add":
                x = sum(inputs)
            elif kind == "concatenate":
                x = torch.cat(inputs, -1)
            elif kind == "reshape":
                x = x.reshape(1, -1)
            elif kind == "repeat_vector":
                x = x.expand(case.steps, -1)
            values[name] = x
        return x if case.sequences else x[0]

    return modules, row
