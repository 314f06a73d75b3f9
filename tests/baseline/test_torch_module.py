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
from envcheck.facts.gather import capture
from envcheck.facts.host import Target

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
    bundle = freeze(module, labels=torch.arange(20) % 5)
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


def in_part_training() -> Net:
    module = Net().eval()
    module.norm.train()
    return module


class Talking(nn.Module):
    """Gives more than numbers."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, str]:
        return image, "seen"


class Branching(nn.Module):
    """Decides by what it sees, which no exporter follows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.sum().item() > 0 else -image


@pytest.mark.parametrize(
    ("module", "changes", "said"),
    [
        (Net().train(), {}, "in training mode"),
        (in_part_training(), {}, r"the module's part 'norm' \(BatchNorm2d\) is in training mode"),
        (Net().eval(), {"outputs": ["a", "b"]}, r"returns 1 tensors \(output\), not a, b"),
        (Net().eval().half(), {}, "the module can't be run on these inputs: RuntimeError: Input type"),
        (nn.Linear(8, 2, device="meta").eval(), {}, "can't be copied to the CPU"),
        (Talking().eval(), {}, "returns a str as 'output_1', which is no tensor"),
        (Branching().eval(), {}, "torch can't export the module"),
    ],
)
def test_what_can_not_be_frozen_is_refused(
    module: nn.Module, changes: dict[str, Any], said: str, freeze: FromTorch
) -> None:
    with pytest.raises(BadInput, match=said):
        freeze(module, **changes)


class Named(nn.Module):
    """Takes two inputs, one of them optional, and gives a mapping; casts as many modules do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.linear, self.other = nn.Linear(64, 4), nn.Linear(3, 4)

    def forward(
        self, image: torch.Tensor, mask: torch.Tensor | None = None, extra: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        scores = self.linear(image.float().flatten(1))
        if mask is not None:
            scores = scores * mask
        if extra is not None:
            scores = scores - self.other(extra)
        return {"scores": scores, "probabilities": scores.softmax(-1)}


EXTRA = np.random.default_rng(7).normal(size=(20, 3)).astype(np.float32)


def test_inputs_go_by_the_names_of_arguments_and_outputs_by_their_own(here: Fingerprint) -> None:
    module = Named().eval()
    given = {"extra": EXTRA, "image": torch.from_numpy(IMAGES)}
    data = from_torch(module, given, "net@1", here, options=Options(quick=True))
    bundle = read_bundle(data, "it")
    baseline = bundle.baseline()
    assert [spec.name for spec in baseline.graph.inputs] == ["extra", "image"]
    assert {name: output.probabilities for name, output in baseline.outputs.items()} == {
        "scores": False,
        "probabilities": True,
    }
    # The casts inside make the module's own double precision impossible; the exported graph's is taken.
    floor = baseline.outputs["scores"].floor
    assert floor is not None
    assert floor.basis == "float64"
    with np.load(io.BytesIO(bundle.members["reference.npz"])) as archive, torch.no_grad():
        wanted = module(torch.from_numpy(IMAGES), extra=torch.from_numpy(EXTRA))["scores"].numpy()
        np.testing.assert_allclose(archive["scores"], wanted, rtol=1e-4, atol=1e-5)


def test_arrays_without_names_are_named_as_the_arguments(here: Fingerprint) -> None:
    data = from_torch(Net().eval(), IMAGES, "net@1", here, options=Options(quick=True))
    baseline = read_bundle(data, "it").baseline()
    assert [spec.name for spec in baseline.graph.inputs] == ["image"]
    assert list(baseline.outputs) == ["output"]
    with pytest.raises(BadInput, match=r"2 inputs are given, forward\(\) takes 1"):
        from_torch(Net().eval(), [IMAGES, IMAGES], "net@1", here)
    with pytest.raises(BadInput, match="the input 'image' is a str"):
        from_torch(Net().eval(), "image.png", "net@1", here)
    with pytest.raises(BadInput, match="the input 'image' is bfloat16"):
        from_torch(Net().eval(), torch.from_numpy(IMAGES).bfloat16(), "net@1", here)


def test_a_module_in_half_precision_is_held_to_double(freeze: FromTorch, here: Fingerprint) -> None:
    half = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval().half()
    data = from_torch(half, IMAGES.astype(np.float16), "net@1", here, options=Options(quick=True))
    (output,) = read_bundle(data, "it").baseline().outputs.values()
    assert output.floor is not None
    assert (output.dtype, output.floor.basis) == ("float16", "float64")
    assert 2.0**-13 < output.floor.rms / output.floor.scale < 2.0**-9


@pytest.mark.parametrize("dynamic", [True, False])
def test_edge_cases_go_through_the_module_too(freeze: FromTorch, dynamic: bool) -> None:
    module = Net().eval()
    bundle = freeze(module, dynamic_batch=dynamic, options=Options(quick=True, edge_cases=True))
    baseline = bundle.baseline()
    added = 3 if dynamic else 20
    assert (baseline.samples, baseline.edge_cases) == (20 + added, added)
    with np.load(io.BytesIO(bundle.members["reference.npz"])) as archive:
        zeros = module.double()(torch.zeros(1, 1, 8, 8).double()).detach().numpy()
        np.testing.assert_allclose(archive["logits"][20], zeros[0], rtol=1e-12)


def test_this_environment_is_captured_when_no_other_is_given() -> None:
    data = from_torch(Net().eval(), IMAGES, "net@1", options=Options(quick=True))
    bundle = read_bundle(data, "it")
    assert bundle.fingerprint().digest == capture(Target()).digest == bundle.baseline().evidence.fingerprint
