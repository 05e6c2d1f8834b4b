"""Exports runs to Keras and back, and compares what both compute.

    cargo build --release
    target/peers/keras/bin/python benches/peers/keras_round_trip.py [--unroll target/release/unroll]

One model of every layer that has weights in Keras: embedding, LSTM, GRU with its reset after and before, simple RNN, both
directions, dense, each step's dense (TimeDistributed). Each is trained for some steps, exported (`unroll export --to keras`), set
into a model of Keras that was drawn otherwise (`keras_weights.py to-keras`), and computed there: the loss of a text (rtol 1e-5)
or the probabilities of texts (atol 1e-5). What `keras_weights.py to-safetensors` reads of Keras' file is imported, and its export
must be the first one's to the bit. Ends with exit code 1 where something differs.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile

import numpy as np

import keras_weights
from common import read_safetensors, read_vocabulary

LINES = "the quick brown fox jumps over the lazy dog\n" * 10
LABELS = "".join(f"ham\tthe quick brown fox {i}\nspam\tyou have won a prize {i}\n" for i in range(40))
TEXTS = ["the quick prize", "won 3", "brown fox jumps over a dog 12 13"]
TASK = """
[data]
valid_fraction = 0.1
[task]
kind = "classify"
format = "tsv"
label = "0"
text = "1"
classes = ["ham", "spam"]
[task.prepare]
oov_token = "<oov>"
maxlen = 8
"""
# Language models: the recurrent layers, and whether the last layer is applied to each step by a wrapper.
LANGUAGE = {
    "lstm": ['type = "lstm", units = 9'],
    "gru, reset after": ['type = "gru", units = 9'],
    "gru, reset before": ['type = "gru", units = 9, reset_after = false'],
    "simple rnn": ['type = "simple_rnn", units = 9'],
    "lstm on gru": ['type = "lstm", units = 9', 'type = "gru", units = 6', 'type = "lstm", units = 9'],
}
# Classifiers: the layer within each direction.
CLASSIFIERS = {
    "lstm both ways": 'type = "lstm", units = 5',
    "gru both ways": 'type = "gru", units = 5',
    "gru before both ways": 'type = "gru", units = 5, reset_after = false',
    "simple rnn both ways": 'type = "simple_rnn", units = 5',
}


class Place:
    """A folder with the commands that are run in it."""

    def __init__(self, folder, unroll):
        self.folder, self.program = folder, unroll

    def file(self, name, contents):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(contents)

    def tensors(self, name):
        return read_safetensors(os.path.join(self.folder, name))

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def unroll(self, *arguments):
        return self.run(self.program, *arguments)

    def keras_weights(self, what, *files):
        with contextlib.redirect_stdout(None):
            keras_weights.main([what, *(os.path.join(self.folder, name) for name in files)])


def round_trip(place, model):
    """Exports the run, sets the weights into a model of Keras, imports them again; returns the model as Keras reads it."""
    import keras

    path = lambda name: os.path.join(place.folder, name)
    model.save(path("drawn.keras"))
    place.unroll("export", "run", "--to", "keras", "--out", "there.safetensors")
    place.keras_weights("to-keras", "there.safetensors", "drawn.keras", "theirs.keras")
    place.keras_weights("to-safetensors", "theirs.keras", "back.safetensors")
    place.unroll("import", "back.safetensors", "--like", "run", "--out", "back")
    place.unroll("export", "back", "--to", "keras", "--out", "again.safetensors")
    there, again = place.tensors("there.safetensors"), place.tensors("again.safetensors")
    if list(there) != list(again) or any(there[name].tobytes() != again[name].tobytes() for name in there):
        raise SystemExit(f"other weights came back: {list(there)} {list(again)}")
    return keras.models.load_model(path("theirs.keras"))


def recurrent(declared, **more):
    """The layer of Keras that a line of TOML declares."""
    from keras import layers

    options = {key.strip(): json.loads(value) for key, value in (part.split("=") for part in declared.split(","))}
    make = {"lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN}[options.pop("type")]
    return make(**options, **more)


def language(place, declared, wrapped):
    """A model of characters; the largest difference of the losses of a text, as a share of them."""
    import keras

    head = 'type = "dense", activation = "softmax"'
    head = f'type = "time_distributed", layer = {{ {head} }}' if wrapped else head
    cells = [f"{cell}, return_sequences = true, stateful = true" for cell in declared]
    layers = ['type = "embedding", output_dim = 7', *cells, head]
    place.file("model.toml", "[model.graph]\nlayers = [\n" + "".join(f"  {{ {layer} }},\n" for layer in layers) + "]\n")
    place.file("text.txt", LINES)
    training = ["--batch", "4", "--bptt", "10", "--max-steps", "30", "--sample-length", "1", "--out", "run"]
    place.unroll("train", "--data", "text.txt", "--config", "model.toml", *training)
    vocabulary = read_vocabulary(os.path.join(place.folder, "run"))
    size = len(vocabulary)
    dense = keras.layers.Dense(size, activation="softmax")
    stack = [recurrent(cell, return_sequences=True) for cell in declared]
    last = keras.layers.TimeDistributed(dense) if wrapped else dense
    model = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(size, 7), *stack, last])
    model = round_trip(place, model)
    ids = np.array([vocabulary.index(character) for character in LINES])
    probabilities = np.asarray(model(ids[None, :-1]))[0]
    theirs = -np.log(probabilities[np.arange(len(ids) - 1), ids[1:]].astype("f8")).mean()
    ours = json.loads(place.unroll("eval", "run", "--data", "text.txt", "--batch", "1", "--json"))["loss"]
    return abs(theirs / ours - 1) / 1e-5


def classifier(place, declared, merge):
    """A classifier of texts; the largest difference of probabilities."""
    import keras

    layers = [
        'type = "embedding", output_dim = 6, mask_zero = true',
        f'type = "bidirectional", merge_mode = "{merge}", layer = {{ {declared} }}',
        'type = "dense", units = 4, activation = "relu"',
        'type = "dense", units = 1, activation = "sigmoid"',
    ]
    graph = "".join(f"  {{ {layer} }},\n" for layer in layers)
    place.file("model.toml", f'{TASK}[model.graph]\nloss = "binary_cross_entropy"\nlayers = [\n{graph}]\n')
    place.file("labels.tsv", LABELS)
    place.unroll("train", "--data", "labels.tsv", "--config", "model.toml", "--batch", "4", "--max-steps", "30", "--out", "run")
    with open(os.path.join(place.folder, "run", "task.json")) as file:
        words = [word for word, _ in json.load(file)["words"]]
    both = keras.layers.Bidirectional(recurrent(declared), merge_mode=merge)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Embedding(len(words) + 1, 6, mask_zero=True),
            both,
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model = round_trip(place, model)
    asked = [argument for text in TEXTS for argument in ("--text", text)]
    predicted = [json.loads(line) for line in place.unroll("predict", "run", *asked, "--json").splitlines()]
    ours = np.array([prediction["probabilities"]["spam"] for prediction in predicted])
    # Words have the ids from 1 on in the order of the run; 0 fills up, and the first is the unknown one's.
    ids = [[1 + words.index(word if word in words else "<oov>") for word in text.split()] for text in TEXTS]
    padded = np.array([[0] * (8 - len(row)) + row for row in ids])
    theirs = np.asarray(model(padded))[:, 0]
    return float(np.abs(ours - theirs).max()) / 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unroll", default="target/release/unroll", help="the built command")
    program = os.path.abspath(parser.parse_args().unroll)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cases = [(f"{name}{', each step' * wrapped}", language, cells, wrapped) for name, cells in LANGUAGE.items() for wrapped in (0, 1)]
    cases += [(f"{name}, {merge}", classifier, cell, merge) for name, cell in CLASSIFIERS.items() for merge in ("concat", "sum")]
    worst = 0.0
    for name, compare, declared, form in cases:
        with tempfile.TemporaryDirectory() as folder:
            share = compare(Place(folder, program), declared, form)
        worst = max(worst, share)
        print(f"{name:<34} {share:.4f} of the tolerance", flush=True)
    print(f"{len(cases)} models, {worst:.4f} of the tolerance at most")
    if not worst <= 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
