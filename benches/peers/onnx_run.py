"""Runs models of ONNX Runtime: python onnx_run.py FOLDER...

Each folder has `model.onnx` and `0.in`, `1.in`, ..., safetensors files (f32) of what the model takes, in turn. States are zero
before the first; those that the model gives as `NAME_next` are `NAME` of the one after. Its outputs go to `0.out`, `1.out`, ...
Needs onnxruntime and NumPy.
"""

import itertools
import os
import sys

import numpy as np
import onnxruntime

from common import read_safetensors, write_safetensors


def run(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = os.path.join(folder, "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = {}
    for number in itertools.count():
        source = os.path.join(folder, f"{number}.in")
        if not os.path.exists(source):
            return
        given, feed = read_safetensors(source), {}
        rows = next(tensor.shape[1] for tensor in given.values() if tensor.ndim > 1)
        for wanted in session.get_inputs():
            if wanted.name in given:
                kind = np.int64 if "int64" in wanted.type else np.float32
                feed[wanted.name] = given[wanted.name].astype(kind)
            else:
                zero = np.zeros((rows, wanted.shape[1]), np.float32)
                feed[wanted.name] = states.get(f"{wanted.name}_next", zero)
        states = dict(zip(names, session.run(None, feed)))
        write_safetensors(os.path.join(folder, f"{number}.out"), states)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        run(folder)
