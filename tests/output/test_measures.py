"""What people see of the numbers behind a verdict."""

from __future__ import annotations

from envcheck.contract.verdict import Measure
from envcheck.output.measures import measure_lines


def of(output: str, metric: str, state: str, value: float | None = 1e-7, tolerance: float = 4e-7) -> Measure:
    return Measure(output=output, metric=metric, state=state, value=value, tolerance=tolerance)  # type: ignore[arg-type]


def test_a_number_stands_beside_its_tolerance_also_when_it_passes() -> None:
    (line,) = measure_lines([of("logits", "rmse", "pass"), of("logits", "max_abs", "drift", 3e-6, 4e-6)])
    assert line == (
        "drift",
        "logits",
        "RMSE 1e-07 (4e-07 allowed), largest error 3e-06 (4e-06 allowed)",
    )


def test_the_worst_come_first_and_no_flood_follows() -> None:
    told = [*(of(f"o{number}", "rmse", "pass") for number in range(20)), of("z", "rmse", "fail")]
    lines = list(measure_lines(told))
    assert lines[0][:2] == ("fail", "z")
    assert len(lines) == 9
    assert lines[-1][2] == "and 13 other outputs (--json has them all)"


def test_what_a_quick_run_leaves_out_takes_nothing_from_the_rest() -> None:
    told = [of("logits", "rmse", "pass"), of("logits", "batching_rms", "unknown", None)]
    assert list(measure_lines(told)) == [("pass", "logits", "RMSE 1e-07 (4e-07 allowed)")]


def test_what_is_of_no_output_has_a_line_of_its_own_elsewhere() -> None:
    assert list(measure_lines([Measure(metric="accuracy", state="pass", value=0.9, tolerance=0.8)])) == []
