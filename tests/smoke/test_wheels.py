from __future__ import annotations

import pytest

from envcheck.smoke.wheels import install_hint, newest_hint

PIP = "install it there: python -m pip install "


@pytest.mark.parametrize(
    ("python", "platform", "hint"),
    [
        ("3.8.18", "x86_64-glibc2.31", PIP + "'onnxruntime==1.19.2' (the newest for Python 3.8)"),
        ("3.9.2", "aarch64-glibc2.31", PIP + "'onnxruntime==1.19.2' (the newest for Python 3.9)"),
        ("3.10.13", "aarch64-glibc2.35", PIP + "'onnxruntime==1.23.2' (the newest for Python 3.10)"),
        ("3.13.0", "x86_64-glibc2.36", PIP + "onnxruntime"),
        ("", "", PIP + "onnxruntime"),
        ("3.12.1", "x86_64-musl", "there is no onnxruntime wheel for x86_64 with musl: build it there"),
        (
            "3.11.2",
            "armv7l-glibc2.36",
            "there is no onnxruntime wheel for armv7l with glibc2.36: build it there",
        ),
        (
            "3.7.3",
            "x86_64-glibc2.28",
            "Python 3.7.3 is too old for any onnxruntime that envcheck supports: use 3.8 or later",
        ),
    ],
)
def test_what_to_install_depends_on_python_and_platform(python: str, platform: str, hint: str) -> None:
    assert install_hint("onnxruntime", python, platform) == hint


def test_other_packages_are_not_pinned() -> None:
    assert install_hint("numpy", "3.8.18", "x86_64-musl") == PIP + "numpy"


@pytest.mark.parametrize(
    ("python", "platform", "said"),
    [
        ("3.11.2", "x86_64-glibc2.36", "python -m pip install onnxruntime"),
        ("3.11.2", "x86_64-glibc2.27", "'onnxruntime==1.23.2' (the newest for glibc2.27)"),
        ("3.10.2", "aarch64-glibc2.27", "'onnxruntime==1.23.2' (the newest for Python 3.10)"),
        ("3.8.10", "aarch64-glibc2.27", "'onnxruntime==1.19.2' (the newest for Python 3.8)"),
        ("3.8.10", "x86_64-glibc2.17", "'onnxruntime==1.16.3' (the newest for glibc2.17)"),
        ("3.12.1", "x86_64-glibc2.17", "there is no onnxruntime wheel for Python 3.12 with glibc2.17"),
        ("3.8.10", "x86_64-glibc2.12", "there is no onnxruntime wheel for Python 3.8 with glibc2.12"),
        ("3.11.2", "armv7l-glibc2.36", "there is no onnxruntime wheel for armv7l with glibc2.36"),
    ],
)
def test_an_old_system_is_told_the_last_wheel_that_fits(python: str, platform: str, said: str) -> None:
    assert said in install_hint("onnxruntime", python, platform)


@pytest.mark.parametrize(
    ("python", "installed", "hint"),
    [
        ("3.11.7", "1.20.0", "install a newer onnxruntime there"),
        ("3.10.13", "1.20.0", "install a newer onnxruntime there (at most 1.23.2)"),
        ("3.10.13", "1.23.2", "Python 3.10 can have no newer onnxruntime than 1.23.2: use a newer Python"),
    ],
)
def test_what_is_newer_depends_on_python(python: str, installed: str, hint: str) -> None:
    assert newest_hint("onnxruntime", python, installed) == hint
