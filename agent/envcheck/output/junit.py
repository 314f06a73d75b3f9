"""The gate's answer as JUnit XML: one case for the verdict, one for each group of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envcheck.contract.text import inert
from envcheck.contract.wire import GateAnswer, GateGroup
from envcheck.output.gate import WORDS, explain, named, title

if TYPE_CHECKING:
    from junitparser import TestCase
    from junitparser.junitparser import FinalResult

_LISTED = 50


def junit(answer: GateAnswer) -> bytes:
    """Return JUnit XML. Blocked groups are failures, unknown ones errors.

    Where the gate passes all the same, groups within the allowed shares are skipped, with their reason, so
    that a report viewer does not call a passed gate failed.
    """
    from junitparser import JUnitXml, TestSuite

    suite = TestSuite(f"envcheck gate {title(answer)}")
    suite.add_testcase(_case("verdict", _verdict(answer)))
    for group in answer.groups:
        name = f"{WORDS[group.outcome]}: {group.reason or 'as in training'} ({group.count})"
        suite.add_testcase(_case(inert(name), _problem(group, passed=answer.outcome == "pass")))
    suite.update_statistics()  # type: ignore[no-untyped-call]
    whole = JUnitXml("envcheck")
    whole.add_testsuite(suite)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    data: bytes = whole.tostring()  # type: ignore[no-untyped-call]
    return b"<?xml version='1.0' encoding='utf-8'?>\n" + data + b"\n"


def _case(name: str, problem: FinalResult | None) -> TestCase:
    from junitparser import TestCase

    case = TestCase(name, classname="envcheck.gate")
    if problem is not None:
        case.result = [problem]
    return case


def _verdict(answer: GateAnswer) -> FinalResult | None:
    from junitparser import Error, Failure

    if answer.outcome == "pass":
        return None
    kind = Failure if answer.outcome == "fail" else Error
    return kind(inert(explain(answer)), answer.outcome)


def _problem(group: GateGroup, *, passed: bool) -> FinalResult | None:
    from junitparser import Error, Failure, Skipped

    if group.outcome == "pass":
        return None
    if passed:
        return Skipped(inert(f"{WORDS[group.outcome]}, within the allowed share: {group.reason}"))
    kind = Failure if group.outcome == "fail" else Error
    problem = kind(inert(group.reason), inert(group.path) or None)
    lines = (group.cause, group.hint, f"devices: {named(group, _LISTED)}")
    problem.text = "\n".join(inert(line) for line in lines if line)
    return problem
