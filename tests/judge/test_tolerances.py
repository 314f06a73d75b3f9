"""How far an output may be off: floors by provider, roundoffs by the compute type that a policy allows."""

from __future__ import annotations

import pytest
from support.builders import evidence, metrics, reference, shared

from envcheck.contract.baseline import Floor, OutputReference
from envcheck.judge.judge import judge
from envcheck.judge.policies import builtin_policy, load_policy

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def within(rmse: float, *, floor: float, scale: float, compute: str = "", provider: str = CPU) -> bool:
    """Tell whether an output with such an error passes."""
    policy = builtin_policy("default")
    if compute:
        rule = "path: evidence.outputs.*, compare: noise-floor, severity: block"
        options = f"options: {{compute: {compute}}}"
        policy = load_policy(f"name: own\nrules:\n- {{{rule}, {options}}}\n", "own.yaml")
    allowed = Floor(basis="float64", scale=scale, rms=floor, max=10 * floor)
    output = OutputReference(dtype="float32", shape=[180, 10], floor=allowed)
    measured = evidence(
        outputs={"logits": metrics(rmse=rmse, max_abs=rmse, decisions=None)},
        requested=[provider],
        registered=[provider],
    )
    found = judge(reference(outputs={"logits": output}), shared(), measured, policy)
    return not [one for one in found if one.path == "evidence.outputs.logits"]


@pytest.mark.parametrize(
    ("compute", "passes", "fails"),
    [("fp32", 4e-7, 6e-7), ("tf32", 3.8e-3, 4e-3), ("fp16", 3.8e-3, 4e-3), ("bf16", 3e-2, 3.3e-2)],
)
def test_a_policy_may_allow_coarser_products(compute: str, passes: float, fails: float) -> None:
    """Four roundoffs of the output's scale, of the type that is allowed; fp32 where none is named."""
    assert within(passes, floor=1e-9, scale=1.0, compute=compute)
    assert not within(fails, floor=1e-9, scale=1.0, compute=compute)
    assert within(passes, floor=1e-9, scale=1.0) == (compute == "fp32")


def test_tf32_fails_where_it_is_not_allowed() -> None:
    errors = {"floor": 1e-7, "scale": 1.0}
    assert [within(1e-3, **errors, compute=compute) for compute in ("fp32", "tf32")] == [False, True]


@pytest.mark.parametrize(
    ("provider", "floors", "passes"),
    [(CPU, 1.9, True), (CPU, 3, False), (CPU, 7, False), (CUDA, 3, True), (CUDA, 7, True), (CUDA, 9, False)],
)
def test_another_provider_is_allowed_more_floors(provider: str, floors: float, passes: bool) -> None:
    assert within(floors * 1e-5, floor=1e-5, scale=1e-3, provider=provider) is passes
