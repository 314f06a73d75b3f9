from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interpreter_answers import told

from envcheck.facts.host import Target
from envcheck.facts.python import parse_libc, python_facts

ALONE, SERVED = Target(), Target(environ={})


@pytest.mark.parametrize(
    ("changed", "environment"),
    [
        ({}, "venv"),
        ({"prefix": "/usr"}, "system"),
        ({"prefix": "/usr", "conda": []}, "conda"),
    ],
)
def test_the_kind_of_environment(changed: dict[str, object], environment: str) -> None:
    assert python_facts(told(**changed), ALONE).environment == environment


def test_what_isolation_implies_is_said_once() -> None:
    flags = {"isolated": 1, "no_user_site": 1, "ignore_environment": 1, "safe_path": 1, "optimize": 2}
    facts = python_facts(told(flags=flags), ALONE)
    assert facts.isolated
    assert facts.flags == {"optimize": 2}
    assert python_facts(told(flags={"no_user_site": 1}), SERVED).flags == {"no_user_site": 1}


def test_free_threading() -> None:
    assert python_facts(told(abiflags="t", gil=False), ALONE).free_threaded
    assert python_facts(told(abiflags="", gil=True), ALONE).gil is True


def test_libc() -> None:
    libc = parse_libc("glibc 2.36")
    assert libc is not None
    assert (libc.name, libc.version) == ("glibc", "2.36")
    assert parse_libc("") is None
    musl = parse_libc("musl")
    assert musl is not None
    assert musl.version == ""


@given(st.text())
def test_any_libc_text_is_read(text: str) -> None:
    libc = parse_libc(text)
    assert libc is None or libc.name
