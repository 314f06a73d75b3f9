"""A policy: rules as data. What it says is checked by `judge`, which knows the comparators."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from envcheck.contract.document import Document, Value

Severity = Literal["block", "warn", "info"]
Need = Literal["required", "ignored"]


class Rule(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: which path, which comparator, which severity.

    `path` is dotted; `*` stands for every name at its place. A path that begins with a section's
    name (`python.version`, `packages.*.version`) reads facts, one that begins with `evidence`
    reads evidence. `scope: required` limits `packages.*` to the distributions that the model loads.
    `optional: true` says that the fact may be missing, which is then a value like another (a local label,
    say); otherwise a fact that is missing on either side is unknown. `options` are the comparator's own
    (`factor: 3`).
    """

    path: str
    compare: str
    severity: Severity
    scope: Literal["all", "required"] = "all"
    optional: bool = False
    options: dict[str, Any] = {}


class Budget(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stated limits for readings; None sets no limit. Exceeding one blocks.

    `throughput` is the least number of samples a second; the others are the most of each.
    """

    p50_ms: float | None = None
    p90_ms: float | None = None
    peak_memory_mb: float | None = None
    throughput: float | None = None


class Timing(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much slower than training's own figure for the same device class a device may be.

    `factor` times the median latency; a class that training has no figure for is not judged.
    """

    factor: Annotated[float, Meta(gt=0, le=1e6)] = 2.0
    severity: Severity = "warn"


class Policy(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules and limits, bound to a release on the collector.

    `evidence: ignored` is the inventory's way: facts alone are judged. `max_age` bounds how old a report
    may be (seconds, or like `24h`). `budgets` are for device classes (a board's or a CPU's name, as
    `envcheck smoke` tells it): what one says there stands in place of `budget`. `timing` holds latencies to
    those that the baseline has for the same device class.
    """

    FORMAT: ClassVar[str] = "envcheck.policy/1.0"

    name: str
    rules: list[Rule]
    description: str = ""
    evidence: Need = "required"
    max_age: str | int = "24h"
    budget: Budget = field(default_factory=Budget)
    budgets: dict[str, Budget] = {}
    timing: Timing | None = None
