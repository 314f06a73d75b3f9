"""Which output tells ties among indices, and what a device that breaks them otherwise comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper
from support.tiny_models import SAMPLES, WEIGHTS, model_bytes, npz, value

from envcheck.baseline.material import Material, Source
from envcheck.contract.baseline import Ties
from envcheck.contract.bundle import BASELINE, MODEL, Bundle, build_bundle, read_bundle
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import shared_fingerprint
from envcheck.contract.verdict import Finding
from envcheck.facts.host import Target
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy
from envcheck.judge.reference import reference_of
from envcheck.smoke.graph import read_graph
from envcheck.smoke.run import run_smoke

Create = Callable[..., Bundle]
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
# The first and the third class always tie.
TIED = WEIGHTS[:, [0, 1, 0, 3]]
NUMBERS = {"k": 3, "two": 2, "one": 1, "axis": 0}
NODE = helper.make_node


def made_of(model: bytes, samples: Any = SAMPLES) -> Material:
    return Material(Source(model, "model"), Source(npz({"x": samples}), "inputs"))


def ranking(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, int],
    weights: Any = TIED,
    batch: int | str = "n",
) -> bytes:
    """Scores z [n, 4], and what is made of them."""
    return model_bytes(
        [NODE("MatMul", ["x", "w"], ["z"]), *nodes],
        [value("x", FLOAT, [batch, 8])],
        [value(name, kind, None) for name, kind in outputs.items()],
        {"w": weights, **{name: np.array([number]) for name, number in NUMBERS.items()}},
    )


TOPK = NODE("TopK", ["z", "k"], ["v", "i"])
BOTH = {"v": FLOAT, "i": INT64}


def found(create: Create, model: bytes, samples: Any = SAMPLES) -> tuple[dict[str, Ties], list[str]]:
    """What tells ties, by output, and what is remarked on the others."""
    told: list[str] = []
    bundle = create(made_of(model, samples), "tiny@1", notice=told.append, accept_constant=True)
    outputs = bundle.baseline().outputs
    ties = {name: one.ties for name, one in outputs.items() if one.ties is not None}
    return ties, [line for line in told if "ties can't be told" in line]


def test_a_list_s_own_scores_tell_its_ties_and_what_has_none_says_so(create: Create) -> None:
    nodes = [
        TOPK,
        NODE("TopK", ["z", "two"], ["tv", "ti"], axis=1),
        NODE("Identity", ["tv"], ["kept"]),
        NODE("Unsqueeze", ["ti", "axis"], ["t"]),
        NODE("Cast", ["t"], ["cast"], to=INT32),
        NODE("ArgMax", ["z"], ["best"], axis=1),
        NODE("TopK", ["z", "one"], ["first", "single"]),
        NODE("TopK", ["z", "k"], ["loose", "unsorted"], sorted=0),
    ]
    floats = dict.fromkeys(("v", "kept", "first", "loose"), FLOAT)
    indices = dict.fromkeys(("i", "best", "single", "unsorted"), INT64)
    ties, told = found(create, ranking(nodes, {**floats, **indices, "cast": INT32}))
    assert ties == {"i": Ties(scores="v", listed=3), "cast": Ties(scores="kept", listed=2)}
    assert [line.partition(":")[0] for line in told] == [
        "output best holds indices of ArgMax, whose scores are no output",
        "output single holds indices of TopK, whose scores are no output",
        "output unsorted holds indices of a TopK that does not sort",
    ]
    assert all("all must be equal on devices" in line for line in told)


def test_all_scores_tell_more_than_a_list_s(create: Create) -> None:
    nodes = [TOPK, NODE("ArgMax", ["z"], ["best"], axis=-1, keepdims=0)]
    ties, told = found(create, ranking(nodes, {**BOTH, "best": INT64, "z": FLOAT}))
    assert (ties, told) == (dict.fromkeys(("i", "best"), Ties(scores="z", axis=1)), [])


def test_lists_are_told_apart_where_batches_are_put_together(create: Create) -> None:
    flat = [NODE("Squeeze", [name, "axis"], [f"{name}s"]) for name in ("v", "i")]
    along_the_first = [
        NODE("Squeeze", ["z", "axis"], ["row"]),
        NODE("ArgMax", ["row"], ["best"], axis=0, keepdims=1),
    ]
    outputs = {"vs": FLOAT, "is": INT64, "row": FLOAT, "best": INT64}
    ties, told = found(create, ranking([TOPK, *flat, *along_the_first], outputs, batch=1))
    assert ties == {"is": Ties(scores="vs", listed=3)}
    assert len(told) == 1


def boxes() -> bytes:
    nodes = [
        NODE("Identity", ["x"], ["scores"]),
        NODE("NonMaxSuppression", ["all", "scores", "most"], ["i"]),
    ]
    corners = np.array([[[at, at, at + 1, at + 1] for at in range(0, 16, 2)]], np.float32)
    return model_bytes(
        nodes,
        [value("x", FLOAT, [1, 2, 8])],
        [value("i", INT64, [None, 3]), value("scores", FLOAT, [1, 2, 8])],
        {"all": corners, "most": np.array([8])},
    )


def test_what_suppresses_boxes_must_be_equal_and_says_so(create: Create) -> None:
    ties, (told,) = found(create, boxes(), np.abs(SAMPLES[:2].reshape(1, 2, 8)) + 0.1)
    assert ties == {}
    assert told.startswith("output i holds indices of NonMaxSuppression, whose scores are not compared: ")


def served(bundle: Bundle, model: bytes) -> list[Finding]:
    """What is found on the indices where `model` gives what a device gives."""
    graph = read_graph(model, "device")
    baseline = msgspec.structs.replace(bundle.baseline(), graph=graph)
    members = {**bundle.members, MODEL: model, BASELINE: encode(baseline)}
    device = read_bundle(build_bundle(baseline.release, members), "device")
    shared = shared_fingerprint(device.fingerprint())
    evidence = run_smoke(device, Target(), fingerprint=shared.digest, quick=True).evidence
    assert evidence.outputs["i"].differing
    findings = judge(reference_of(device), shared, evidence, builtin_policy("default"))
    return [one for one in findings if one.path == "evidence.outputs.i"]


def numbered(*nodes: onnx.NodeProto, weights: Any = TIED) -> bytes:
    return ranking([NODE("TopK", ["z", "k"], ["v", "t"]), *nodes], BOTH, weights)


def test_a_device_that_breaks_ties_otherwise_is_healthy_and_another_ranking_is_not(create: Create) -> None:
    bundle = create(made_of(ranking([TOPK], BOTH)), "tiny@1")
    # The classes in reverse, numbered as before: equal scores, the other one of those that tie first.
    reverse = numbered(NODE("Sub", ["k", "t"], ["i"]), weights=TIED[:, ::-1].copy())
    assert served(bundle, reverse) == []
    (finding,) = served(bundle, numbered(NODE("Add", ["t", "one"], ["i"])))
    assert (finding.severity, finding.unknown) == ("block", False)
    assert "indices differ from training, not by ties alone" in finding.message
