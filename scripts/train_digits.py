"""Train the example models on the UCI digits and export them to ONNX.

    pip install -e '.[training]' scikit-learn
    python scripts/train_digits.py [-o examples/digits]

Two models, both small on purpose and both trained on four fifths of the 1797 images that scikit-learn
carries: a convolutional network, and a transformer of four layers that reads an image as eight rows. The
transformer is also quantised dynamically to int8 weights, one scale a column: its products are U8S8, which
saturate without any error on x86 CPUs that have AVX2 but no VNNI.

Seeded and on one thread: the same versions on the same kind of CPU give the same files. What was measured
is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

SEED = 20
HELD_OUT = 360
GOLDEN = 180
# The oldest that torch's exporter writes; every onnxruntime from 1.14 on reads both.
OPSET = 18
IR_VERSION = 8


@dataclass(frozen=True)
class Digits:
    """Images as float32 [n, 1, 8, 8] from 0 to 1, labels as int64 [n]; `test_*` is held out."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


class Cnn(nn.Module):
    """Three convolutions and a linear layer, 15 338 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Block(nn.Module):
    """Attention and a feed-forward part, each after a layer norm and beside a residual path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.norm_forward = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.forward_in = nn.Linear(width, 2 * width)
        self.forward_out = nn.Linear(2 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.project(self.attend(self.norm_attention(tokens)))
        hidden = torch.relu(self.forward_in(self.norm_forward(tokens)))
        return tokens + self.forward_out(hidden)

    def attend(self, tokens: torch.Tensor) -> torch.Tensor:
        length, width = tokens.shape[1], tokens.shape[2]
        parts = self.query_key_value(tokens).reshape(-1, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5
        return (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(-1, length, width)


class Transformer(nn.Module):
    """Four blocks over the image's eight rows as tokens."""

    def __init__(self, width: int = 48, heads: int = 4, layers: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(1, 8, width) * 0.1)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(image.reshape(-1, 8, 8)) + self.position
        return self.classify(self.norm(self.blocks(tokens)).mean(dim=1))


def load_digits() -> Digits:
    """Split scikit-learn's digits, shuffled by the seed."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(labels))
    scaled = torch.tensor(images[order] / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    targets = torch.tensor(labels[order], dtype=torch.int64)
    return Digits(scaled[HELD_OUT:], targets[HELD_OUT:], scaled[:HELD_OUT], targets[:HELD_OUT])


def train(model: nn.Module, digits: Digits, epochs: int, rate: float, batch: int = 64) -> nn.Module:
    """Train with AdamW under one cosine of the learning rate; returns the model in evaluation mode."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(digits.train_labels) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(digits.train_labels)).split(batch):
            loss = nn.functional.cross_entropy(
                model(digits.train_images[chosen]), digits.train_labels[chosen]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def export(model: nn.Module, path: Path) -> None:
    """Write `model` as one ONNX file with a dynamic batch axis and its weights inside."""
    with quiet():
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 1, 8, 8),),
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
        )
    write(program.model_proto, path)


def quantise(path: Path, target: Path) -> None:
    """Quantise the weights of `path` to int8, one scale a column; activations become uint8 as they come."""
    with quiet():
        quantize_dynamic(path, target, weight_type=QuantType.QInt8, per_channel=True)
    write(onnx.load(target), target)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the exporters' remarks on their own internals."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def write(proto: Any, path: Path) -> None:
    """Check and write a model, without remarks that name source lines of the machine that exported it."""
    proto.ir_version = IR_VERSION
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an npz whose bytes depend on the arrays alone: `numpy.savez` writes the time of day too."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def run(path: Path, images: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the logits [n, 10] of the exported model."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"image": images.numpy()})[0])


def report(path: Path, digits: Digits, origin: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Print what `path` reaches on the held-out images and how far it is from `origin`; return its logits."""
    logits = run(path, digits.test_images)
    right = int((logits.argmax(axis=1) == digits.test_labels.numpy()).sum())
    distance = float(np.sqrt(np.mean((logits - origin) ** 2) / np.mean(origin**2)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    print(
        f"{path.name:22} {path.stat().st_size:7} bytes  {sha256[:16]}  "
        f"held-out accuracy {right / len(logits):.4f} ({right} of {len(logits)})  "
        f"RMSE to its origin {distance:.1e} of the RMS"
    )
    return logits


def make(model: nn.Module, digits: Digits, path: Path) -> np.ndarray[Any, Any]:
    """Export a trained model and report on it beside torch; returns onnxruntime's logits."""
    with torch.no_grad():
        origin = model(digits.test_images).numpy()
    export(model, path)
    return report(path, digits, origin)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and export the example models.")
    parser.add_argument("-o", "--output", type=Path, default=Path("examples/digits"))
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    print(f"{len(digits.train_labels)} images to train on, {len(digits.test_labels)} held out")

    torch.manual_seed(SEED)
    make(train(Cnn(), digits, epochs=15, rate=3e-3), digits, output / "cnn.onnx")
    torch.manual_seed(SEED)
    transformer = train(Transformer(), digits, epochs=30, rate=5e-4)
    logits = make(transformer, digits, output / "transformer.onnx")
    quantise(output / "transformer.onnx", output / "transformer-int8.onnx")
    report(output / "transformer-int8.onnx", digits, logits)

    write_arrays(output / "inputs.npz", {"image": digits.test_images[:GOLDEN].numpy()})
    write_arrays(output / "labels.npz", {"labels": digits.test_labels[:GOLDEN].numpy()})
    print(f"{GOLDEN} of the held-out images and their labels in inputs.npz and labels.npz")


if __name__ == "__main__":
    main()
