"""Baselines created in this interpreter, each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.example_models import example

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.material import Material
from envcheck.contract.bundle import Bundle, build_bundle, read_bundle
from envcheck.contract.fingerprint import Fingerprint
from envcheck.facts.gather import capture
from envcheck.facts.host import Target

Create = Callable[..., Bundle]


@pytest.fixture(scope="session")
def here() -> Fingerprint:
    return capture(Target(), sections=["python", "packages", "cpu"])


@pytest.fixture(scope="session")
def create(here: Fingerprint) -> Create:
    """Create a baseline in this interpreter and open it as a bundle."""

    def make(material: Material, release: str = "digits@1.0", **changes: Any) -> Bundle:
        known = {name: changes.pop(name) for name in ("notice", "progress", "created_at") if name in changes}
        options = Options(**{"quick": True, **changes})
        members = create_baseline(material, release, Target(), here, options, **known)
        return read_bundle(build_bundle(release, members), "new.envcheck")

    return make


@pytest.fixture(scope="session")
def cnn(create: Create) -> Bundle:
    return create(example("cnn.onnx"))


@pytest.fixture(scope="session")
def int8(create: Create) -> Bundle:
    return create(example("transformer-int8.onnx", "transformer.onnx"))
