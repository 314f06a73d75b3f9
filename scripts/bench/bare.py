"""What a person would write instead of `envcheck smoke`: load the model, run the inputs, look at nothing.

python bare.py MODEL.onnx INPUTS.npz RUNS THREADS
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime


def main() -> None:
    model, inputs, runs, threads = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(inputs, allow_pickle=False) as archive:
        feed = {name: archive[name] for name in archive.files}
    for _ in range(int(runs)):
        outputs = session.run(None, feed)
    print([output.shape for output in outputs])


if __name__ == "__main__":
    main()
