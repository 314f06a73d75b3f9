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


@pytest.mark.parametrize(
    ("kernel", "bits", "built_for"),
    [
        ("x86_64", 64, "x86_64"), ("x86_64", 32, "i686"), ("aarch64", 32, "armv7l"),
        ("armv7l", 32, "armv7l"), ("riscv64", 32, "riscv64"),
    ],
)  # fmt: skip
def test_what_it_is_built_for_is_not_what_the_kernel_is(kernel: str, bits: int, built_for: str) -> None:
    """A 32-bit Python runs on a 64-bit kernel, as on many a Raspberry Pi."""
    assert python_facts(told(machine=kernel, bits=bits), ALONE).machine == built_for


def test_a_user_site_counts_where_it_is_there() -> None:
    folder = "/home/me/.local/lib/python3.11/site-packages"
    allowed = {"user_site": True, "user_folder": folder}
    assert not python_facts(told(**allowed), SERVED).user_site
    assert python_facts(told(**allowed, path=[folder]), SERVED).user_site
