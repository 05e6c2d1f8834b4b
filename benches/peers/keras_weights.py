"""Weights between Keras' files and safetensors, for `unroll import` and from `unroll export --to keras`.

    python keras_weights.py to-safetensors MODEL.keras|WEIGHTS.weights.h5|OLD.h5 WEIGHTS.safetensors
    python keras_weights.py to-keras WEIGHTS.safetensors MODEL.keras OUT.keras

`to-safetensors` wants h5py and NumPy alone, no TensorFlow, and runs nothing of what the file contains. It reads what Keras 3
saves and what Keras 2 saved, CuDNNLSTM and CuDNNGRU among it, whose weights become those of LSTM and of GRU with reset_after.
A tensor is named layer/variable as Keras names it: `lstm/lstm_cell/kernel`, `bidirectional/forward_lstm/lstm_cell/bias`.

`to-keras` wants Keras: it sets the tensors into MODEL, whose layers are those of the file by their names or, where names differ,
by their order among those of their kind, and saves it as OUT.
"""

import io
import re
import sys
import zipfile

import numpy as np

from common import read_safetensors, write_safetensors

CELL = ["kernel", "recurrent_kernel", "bias"]


def natural(name):
    """`lstm_10` after `lstm_9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# ---- from Keras


def read_keras(path):
    """The variables of a file of Keras: name -> array."""
    import h5py

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents = io.BytesIO(archive.read("model.weights.h5"))
    else:
        contents = path
    with h5py.File(contents, "r") as file:
        group = file["model_weights"] if "model_weights" in file else file
        found = dict(keras2(group) if "layer_names" in group.attrs else keras3(group))
    if not found:
        raise SystemExit(f"{path}: there are no weights in it")
    for name, tensor in found.items():
        if tensor.dtype != np.float32:
            raise SystemExit(f"{path}: {name} is {tensor.dtype}, only float32 is read here")
    return found


def text(name):
    return name.decode() if isinstance(name, bytes) else name


def keras2(file):
    """Keras 1 and 2: the file says its layers, and each layer its weights."""
    for layer in map(text, file.attrs["layer_names"]):
        group = file[layer]
        names = [text(name) for name in group.attrs["weight_names"]]
        tensors = {name.removesuffix(":0"): np.asarray(group[name]) for name in names}
        for prefix in {name.rpartition("/")[0] for name in tensors}:
            plain_cudnn(tensors, prefix)
        for name, tensor in tensors.items():
            yield name if "/" in name else f"{layer}/{name}", tensor


def plain_cudnn(tensors, prefix):
    """Turns the weights of a cuDNN layer into those of the plain one: they have two biases in one axis, and matrices by gate."""
    kernel, recurrent, bias = (tensors.get(f"{prefix}/{part}") for part in CELL)
    if recurrent is None or bias is None or bias.ndim != 1 or len(bias) != 2 * recurrent.shape[1]:
        return
    gates = recurrent.shape[1] // recurrent.shape[0]

    def by_gate(matrix, turn):
        return np.hstack([turn(part) for part in np.hsplit(matrix, gates)])

    tensors[f"{prefix}/kernel"] = by_gate(kernel, lambda part: part.T.reshape(part.shape, order="F"))
    tensors[f"{prefix}/recurrent_kernel"] = by_gate(recurrent, np.transpose)
    two = bias.reshape(2, -1)
    tensors[f"{prefix}/bias"] = two if gates == 3 else two.sum(0)


def keras3(file):
    """Keras 3: a folder a layer, by its class and number, with its variables by number; a layer's own name beside them."""
    folders = {}

    def visit(path, item):
        if hasattr(item, "shape"):
            folder, _, number = path.rpartition("/vars/")
            folders.setdefault(folder, {})[int(number)] = np.asarray(item)

    file.visititems(lambda path, item: visit(path, item) if "/vars/" in path else None)
    for folder in sorted(folders, key=natural):
        tensors = [folders[folder][number] for number in sorted(folders[folder])]
        parts = [part for part in folder.split("/") if part not in ("layers", "_layer_checkpoint_dependencies")]
        if parts[0] in ("optimizer", "seed_generator") or parts[-1] == "seed_generator":
            continue
        parts = [{"forward_layer": "forward", "backward_layer": "backward"}.get(part, part) for part in parts]
        recurrent = parts[-1] == "cell"
        name = "/".join(parts)
        if recurrent:
            names = CELL
        elif parts[-1].startswith("embedding"):
            names = ["embeddings"]
        else:
            names = ["kernel", "bias"]
        if len(tensors) > len(names):
            names = [f"variable_{number}" for number in range(len(tensors))]
        yield from ((f"{name}/{variable}", tensor) for variable, tensor in zip(names, tensors))


# ---- to Keras


def direction(name):
    return next((way for way in ("forward", "backward") if re.search(rf"(^|/){way}(_|/)", name)), "")


def modules(names, shape):
    """The tensors of each layer, or direction of one, by what the layer is apart from its name, in the order of `names`."""
    folders = {}
    for name in names:
        folder, leaf = name.rsplit("/", 1)
        folders.setdefault(folder, {})[leaf.removesuffix(":0")] = name
    kinds = {}
    for folder, leaves in folders.items():
        gates = 0
        if "recurrent_kernel" in leaves:
            units, columns = shape(leaves["recurrent_kernel"])
            gates = columns // units
        kinds.setdefault((gates, direction(f"{folder}/"), *sorted(leaves)), []).append(leaves)
    return kinds


def pair(file, variables):
    """For each variable of a model, by its path, the name of its tensor in the file: the same, or that of the layer in its place
    among the layers of its kind."""
    if all(path in file for path in variables):
        pairs = {path: path for path in variables}
    else:
        pairs = {}
        theirs = modules(file, lambda name: file[name].shape)
        for kind, ours in modules(variables, lambda path: variables[path].shape).items():
            found = theirs.get(kind, [])
            if len(ours) != len(found):
                listed = [[sorted(leaves.values()) for leaves in layers] for layers in (ours, found)]
                raise SystemExit(f"the model has {listed[0]}, the file has {listed[1]}")
            for own, other in zip(ours, found):
                pairs.update((own[leaf], other[leaf]) for leaf in own)
    for path, name in pairs.items():
        if tuple(variables[path].shape) != file[name].shape:
            raise SystemExit(f"{path} is {tuple(variables[path].shape)} in the model, {name} {file[name].shape} in the file")
    left = sorted(set(file) - set(pairs.values()))
    if left:
        raise SystemExit(f"the model has no place for {', '.join(left)}")
    return pairs


def to_keras(weights, model, out):
    """Sets the tensors of a file into a model and saves it."""
    import keras

    file, model = read_safetensors(weights), keras.models.load_model(model)
    variables = {variable.path: variable for variable in model.trainable_variables}
    for path, name in pair(file, variables).items():
        variables[path].assign(file[name])
    model.save(out)


def main(arguments):
    match arguments:
        case ["to-safetensors", source, out]:
            tensors = read_keras(source)
            write_safetensors(out, tensors)
            for name, tensor in tensors.items():
                print(f"{name} {list(tensor.shape)}")
        case ["to-keras", weights, model, out]:
            to_keras(weights, model, out)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
