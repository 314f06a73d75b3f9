"""Baselines straight from torch modules."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from envcheck.baseline import from_torch
from envcheck.baseline.create import Options
from envcheck.contract.bundle import Bundle, read_bundle
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput

IMAGES = np.random.default_rng(4).normal(size=(20, 1, 8, 8)).astype(np.float32)
FromTorch = Callable[..., Bundle]


@pytest.fixture(autouse=True)
def quiet_exporter() -> Iterator[None]:
    """The exporter warns of its own internals."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def freeze(here: Fingerprint) -> FromTorch:
    def run(module: nn.Module, **changes: Any) -> Bundle:
        settings: dict[str, Any] = {"outputs": ["logits"], "options": Options(quick=True), **changes}
        return read_bundle(from_torch(module, {"image": IMAGES}, "net@1", here, **settings), "it")

    return run


class Net(nn.Module):
    """A convolution, a norm with a state of its own, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.convolve, self.norm, self.classify = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 5)
        self.norm.running_mean = torch.arange(4.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(torch.relu(self.norm(self.convolve(image))).flatten(1))


def test_a_module_is_held_to_its_own_double_precision(freeze: FromTorch) -> None:
    module = Net().eval()
    bundle = freeze(module, labels=np.arange(20) % 5)
    output = bundle.baseline().outputs["logits"]
    assert output.floor is not None
    assert output.floor.basis == "float64"
    assert 2.0**-27 < output.floor.rms / output.floor.scale < 2.0**-20
    with np.load(io.BytesIO(bundle.members["reference.npz"])) as archive:
        wanted = module.double()(torch.from_numpy(IMAGES).double()).detach().numpy()
        np.testing.assert_allclose(archive["logits"], wanted, rtol=1e-12)
    assert bundle.baseline().graph.inputs[0].shape == ["batch", 1, 8, 8]
    assert bundle.baseline().evidence.accuracy is not None
    assert b".py" not in bundle.members["model.onnx"]


def test_the_callers_module_stays_as_it_is(freeze: FromTorch) -> None:
    module = Net().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    freeze(module)
    for name, kept in module.state_dict().items():
        assert kept.dtype == before[name].dtype
        assert torch.equal(kept, before[name])


class Shifty(nn.Module):
    """Gives something else when it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.linear(image.flatten(1))
        return found + 1 if torch.compiler.is_compiling() else found


def test_an_export_that_gives_something_else_is_refused(freeze: FromTorch) -> None:
    with pytest.raises(BadInput, match="does not give what the module gives"):
        freeze(Shifty().eval())


class Branching(nn.Module):
    """Decides by what it sees, which no exporter follows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.sum().item() > 0 else -image


@pytest.mark.parametrize(
    ("module", "changes", "said"),
    [
        (Net().train(), {}, "in training mode"),
        (Net().eval(), {"outputs": ["a", "b"]}, "returns 1 values, not the tensors a, b"),
        (Branching().eval(), {}, "torch can't export the module"),
    ],
)
def test_what_can_not_be_frozen_is_refused(
    module: nn.Module, changes: dict[str, Any], said: str, freeze: FromTorch
) -> None:
    with pytest.raises(BadInput, match=said):
        freeze(module, **changes)
