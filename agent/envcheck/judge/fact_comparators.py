"""Comparators for facts: training's value beside the device's."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from envcheck.judge.comparison import Comparator, Comparison, Difference, NoOptions, shown
from envcheck.judge.paths import MISSING, fact_name, get

_MOST_PARTS = 16
_LOOK = {
    "": "run `envcheck capture` on the device to see why",
    "evidence": "run `envcheck smoke` on the device to see why",
}


class VersionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`precision`: how many parts of the release number must agree; None for all, pre-releases included."""

    precision: int | None = None

    def __post_init__(self) -> None:
        if self.precision is not None and not 1 <= self.precision <= _MOST_PARTS:
            raise ValueError(f"precision must be from 1 to {_MOST_PARTS}: with none, any version is as good")


class SpecifierOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`specifier`: like `>=1.20,<2`, whatever training had."""

    specifier: str

    def __post_init__(self) -> None:
        if not self.specifier.strip():
            raise ValueError("an empty specifier is satisfied by every version")
        try:
            SpecifierSet(self.specifier)
        except InvalidSpecifier:
            raise ValueError(f"{self.specifier!r} is not a version specifier") from None


class OneOfOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`values`: what is allowed, whatever training had."""

    values: list[Any]


class AtLeastOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`share` of training's number that must be there; or `value`, whatever training had."""

    share: float = 1.0
    value: float | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.share > 0:
            raise ValueError("share must be above 0: every number is at least none of training's")


def _what(comparison: Comparison) -> str:
    return fact_name(comparison.path)


def _absent(comparison: Comparison) -> Difference:
    """Nothing usable is here. That a package is missing is known; that a fact is missing is not."""
    package = comparison.path[0] == "packages" and _holder(comparison) is MISSING
    expected = "" if comparison.expected is MISSING else shown(comparison.expected)
    training = f", {expected} in training" if expected else ""
    lacking = "is not installed here" if package else "is not known here"
    return Difference(
        message=f"{_what(comparison)} {lacking}{training}",
        expected=expected,
        unknown=not package,
        hint=_mend(comparison.path, expected) if package else _LOOK.get(comparison.path[0], _LOOK[""]),
    )


def _holder(comparison: Comparison) -> Any:
    """The package that a path is about, on the device."""
    section = comparison.situation.device.sections.get("packages")
    return MISSING if section is None else get(section.facts, comparison.path[1:2])


def _unknown_in_training(comparison: Comparison, wanted: str) -> Difference:
    return Difference(
        message=f"{_what(comparison)} is not {wanted} in training: there is nothing to compare", unknown=True
    )


def _differs(comparison: Comparison, hint: str = "") -> Difference:
    expected, actual = shown(comparison.expected), shown(comparison.actual)
    return Difference(
        message=f"{_what(comparison)} {actual} here, {expected} in training",
        expected=expected,
        actual=actual,
        hint=hint,
    )


def equal(comparison: Comparison) -> Difference | None:
    """The values are the same."""
    if comparison.actual is MISSING:
        return _absent(comparison)
    return None if _same(comparison.expected, comparison.actual) else _differs(comparison)


def _same(one: Any, other: Any) -> bool:
    # To Python true is 1, to a person it is not.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def version(comparison: Comparison) -> Difference | None:
    """The versions are the same (PEP 440: 1.0 is 1.0.0), to `precision` parts. Local labels do not count."""
    if comparison.actual is MISSING or comparison.actual is None:
        return _absent(comparison)
    precision = comparison.options.precision
    if _version_key(comparison.expected, precision) == _version_key(comparison.actual, precision):
        return None
    return _differs(comparison, _mend(comparison.path, comparison.expected))


def _mend(path: tuple[str, ...], wanted: Any) -> str:
    if path[0] == "packages" and path[2:] == ("version",):
        return f"pip install {path[1]}=={wanted}" if wanted else f"pip install {path[1]}"
    if path == ("python", "version"):
        minor = ".".join(str(wanted).split(".")[:2])
        return f"serve the model with Python {minor}; --python names the interpreter that serves"
    return ""


def specifier(comparison: Comparison) -> Difference | None:
    """The device's version satisfies the policy's specifier."""
    if comparison.actual is MISSING or comparison.actual is None:
        return _absent(comparison)
    wanted = comparison.options.specifier
    try:
        satisfied = SpecifierSet(wanted).contains(Version(str(comparison.actual)), prereleases=True)
    except ValueError:  # not a version, or one with more digits than Python reads
        satisfied = False
    if satisfied:
        return None
    actual = shown(comparison.actual)
    return Difference(
        message=f"{_what(comparison)} {actual} here, {wanted} required", expected=wanted, actual=actual
    )


def one_of(comparison: Comparison) -> Difference | None:
    """The device's value is one that the policy allows."""
    if comparison.actual is MISSING:
        return _absent(comparison)
    allowed = comparison.options.values
    if any(_same(comparison.actual, value) for value in allowed):
        return None
    expected, actual = shown(allowed), shown(comparison.actual)
    return Difference(
        message=f"{_what(comparison)} {actual} here, one of {expected} required",
        expected=expected,
        actual=actual,
    )


def at_least(comparison: Comparison) -> Difference | None:
    """The device's number is at least the policy's, or a share of training's."""
    if not _is_number(comparison.actual):
        return _absent(comparison)
    wanted = comparison.options.value
    if wanted is None:
        if not _is_number(comparison.expected):
            return _unknown_in_training(comparison, "a number")
        wanted = comparison.expected * comparison.options.share
    if comparison.actual >= wanted:
        return None
    return Difference(
        message=f"{_what(comparison)} {comparison.actual:g} here, at least {wanted:g} wanted",
        expected=f"{wanted:g}",
        actual=f"{comparison.actual:g}",
    )


def superset(comparison: Comparison) -> Difference | None:
    """Everything in training's list is in the device's."""
    if not isinstance(comparison.actual, list):
        return _absent(comparison)
    if not isinstance(comparison.expected, list):
        return _unknown_in_training(comparison, "a list")
    lacking = [item for item in comparison.expected if item not in comparison.actual]
    if not lacking:
        return None
    return Difference(
        message=f"{_what(comparison)} lacks {_enumerate(lacking)}",
        expected=_enumerate(comparison.expected),
        actual=_enumerate(comparison.actual),
    )


def instruction_sets(comparison: Comparison) -> Difference | None:
    """Like `superset`, and it says whether lacking instruction sets matter to this model.

    They matter when the model has quantised nodes and integer dot products are lacking; to a float
    model a missing flag is information: one floor holds across instruction sets (docs/verdicts.md).
    """
    difference = superset(comparison)
    if difference is None:
        return None
    quantised = sum(comparison.situation.reference.baseline.graph.quantised.values())
    if not quantised:
        return msgspec.structs.replace(
            difference, at_most="info", impact="the model has no quantised nodes: only speed depends on it"
        )
    return msgspec.structs.replace(
        difference, impact=f"the model has {quantised} quantised nodes, whose kernels depend on it"
    )


def _version_key(value: Any, precision: int | None) -> Any:
    text = str(value)
    try:
        parsed = Version(text)
    except ValueError:  # not of PEP 440, or with more digits than Python reads
        parts = tuple(text.split("."))
        return parts if precision is None else parts[:precision]
    if precision is None:
        return Version(parsed.public)
    release = (*parsed.release, *[0] * precision)[:precision]
    return (parsed.epoch, *release)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _enumerate(items: list[Any]) -> str:
    texts = [shown(item) for item in items]
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")


FACT_COMPARATORS = {
    "equal": Comparator(equal, NoOptions),
    "version": Comparator(version, VersionOptions),
    "specifier": Comparator(specifier, SpecifierOptions, absolute=True),
    "one-of": Comparator(one_of, OneOfOptions, absolute=True),
    "at-least": Comparator(at_least, AtLeastOptions, absolute=True),
    "superset": Comparator(superset, NoOptions),
    "instruction-sets": Comparator(instruction_sets, NoOptions),
}
