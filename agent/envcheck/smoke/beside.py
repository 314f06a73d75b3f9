"""Two models' outputs beside each other, summed up file by file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from envcheck.contract.canonical import significant
from envcheck.contract.evidence import Decisions
from envcheck.contract.shadow import ADDED, ShadowOutput
from envcheck.smoke.arrays import numpy, type_name
from envcheck.smoke.metrics import compare_decisions

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_HUGE = 1e308
_GONE = "only the model in service gives it"


@dataclass
class Beside:
    """One output of the model in service and of the candidate; give it each file's, then `result`.

    `decides` says that the set of its `top` best scores is a decision.
    """

    decides: bool
    top: int = 1
    dtype: str = ""
    problem: str = ""
    elements: int = 0
    equal: int = 0
    exact: bool = False
    decisions: Decisions | None = None
    squares: float = 0.0
    scale: float = 0.0
    largest: float = 0.0

    def add(self, service: Array | None, candidate: Array | None) -> int:
        """Take one file's outputs; returns how many decisions or exact elements differ in it."""
        known = service if service is not None else candidate
        if known is not None:
            self.dtype = self.dtype or type_name(known)
            self.elements += int(known.size)
        if service is None or candidate is None:
            self.problem = self.problem or (ADDED if service is None else _GONE)
            return 0
        self.problem = self.problem or _mismatch(service, candidate)
        if self.problem:
            return 0
        self.exact = service.dtype.kind not in "fc"
        return self._count(service, candidate) if self.exact else self._measure(service, candidate)

    def result(self) -> ShadowOutput:
        """Sum up what was added, to three significant digits."""
        output = ShadowOutput(dtype=self.dtype, elements=self.elements, problem=self.problem)
        if self.problem:
            return output
        if self.exact:
            return replace(output, agreement=_share(self.equal, self.elements))
        count = max(self.elements, 1)
        found = self.decisions
        return replace(
            output,
            agreement=None if found is None else _share(found.total - found.flipped, found.total),
            rmse=_rounded(math.sqrt(self.squares / count)),
            max_abs=_rounded(self.largest),
            scale=_rounded(math.sqrt(self.scale / count)),
            decisions=found,
        )

    def _count(self, service: Array, candidate: Array) -> int:
        equal = int(numpy().count_nonzero(service == candidate))
        self.equal += equal
        return int(service.size) - equal

    def _measure(self, service: Array, candidate: Array) -> int:
        np = numpy()
        finite = np.isfinite(service)
        wide = np.complex128 if service.dtype.kind == "c" else np.float64
        there, here = service[finite].astype(wide), candidate[finite].astype(wide)
        with np.errstate(over="ignore"):
            distance = np.abs(here - there)
            self.squares += float(np.square(distance).sum())
            self.scale += float(np.square(np.abs(there)).sum())
        self.largest = max(self.largest, float(distance.max(initial=0.0)))
        found = compare_decisions(candidate, service, self.top) if self.decides else None
        if found is None:
            return 0
        before = self.decisions or Decisions(total=0)
        self.decisions = Decisions(
            total=before.total + found.total,
            flipped=before.flipped + found.flipped,
            largest_margin=max(before.largest_margin, found.largest_margin),
            top=self.top,
        )
        return found.flipped


def _mismatch(service: Array, candidate: Array) -> str:
    """Say in words why two arrays can't be compared number by number, "" when they can."""
    np = numpy()
    kinds = [type_name(array) for array in (service, candidate)]
    floats = [array.dtype.kind in "fc" for array in (service, candidate)]
    if kinds[0] != kinds[1] and not all(floats):
        return f"it is {kinds[0]} in service, {kinds[1]} of the candidate"
    if service.shape != candidate.shape:
        return f"its shape is {list(service.shape)} in service, {list(candidate.shape)} of the candidate"
    if all(floats) and not _equal_non_finite(service, candidate):
        counts = [int(array.size - np.isfinite(array).sum()) for array in (service, candidate)]
        return f"{counts[0]} elements are NaN or infinite in service, {counts[1]} of the candidate, or others"
    return ""


def _equal_non_finite(service: Array, candidate: Array) -> bool:
    np = numpy()
    odd = ~np.isfinite(service)
    if not np.array_equal(odd, ~np.isfinite(candidate)):
        return False
    return bool(np.array_equal(service[odd], candidate[odd].astype(service.dtype), equal_nan=True))


def _share(part: int, whole: int) -> float | None:
    """A share that is 1 only when it is: three digits would make 1 of 0.9999."""
    if not whole:
        return None
    return 1.0 if part == whole else min(significant(part / whole, 6), 1 - 1e-6)


def _rounded(value: float) -> float:
    return significant(min(value, _HUGE))
