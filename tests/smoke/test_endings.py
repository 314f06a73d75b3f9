"""Ways to end that are made to happen: real signals, real limits, real old onnxruntimes."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from support.interpreters import interpreters, newest_onnxruntime, venv_with
from support.tiny_models import classifier, classifier_bundle
from support.tools import missing, need

from envcheck.contract.bundle import Bundle
from envcheck.contract.evidence import Evidence
from envcheck.facts.host import Target
from envcheck.smoke.run import run_smoke

# An instruction that no processor of this kind has, by agreement of their makers.
UNDEFINED = {"x86_64": b"\x0f\x0b", "aarch64": b"\0\0\0\0"}

ILLEGAL = """
import ctypes, mmap
__version__ = "1"
class SessionOptions: pass
class GraphOptimizationLevel: ORT_ENABLE_ALL = 0
def get_available_providers(): return []
class InferenceSession:
    def __init__(self, *args, **options):
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write({code!r})
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
# Memory that is touched, so that it is really there.
HUNGRY = """
taken = []
while True:
    taken.append(bytearray(b"x" * (16 << 20)))
"""


def smoke(bundle: Bundle, target: Target, deadline_s: float = 120.0) -> Evidence:
    return run_smoke(bundle, target, fingerprint="f", quick=True, deadline_s=deadline_s).evidence


def fake_package(directory: Path, code: str) -> Target:
    """A target whose onnxruntime is a file of ours."""
    (directory / "onnxruntime.py").write_text(code, encoding="ascii")
    return Target(environ={"PYTHONPATH": str(directory)})


def test_an_illegal_instruction_is_told_with_where_it_was(digits: Bundle, tmp_path: Path) -> None:
    code = UNDEFINED.get(platform.machine())
    if code is None:
        missing(f"no undefined instruction is known for {platform.machine()}")
    ending = smoke(digits, fake_package(tmp_path, ILLEGAL.format(code=code))).ending
    assert (ending.status, ending.stage, ending.signal) == ("crash", "session", signal.SIGILL)
    assert ending.reason.startswith(
        "ended by an illegal instruction at the stage 'session model', in __init__ of"
    )
    assert "onnxruntime.py" in ending.reason
    assert "install a build for this CPU" in ending.hint


@pytest.mark.slow
def test_a_library_that_this_cpu_cannot_run_is_named(digits: Bundle, wrapper: Callable[[str], str]) -> None:
    """numpy's wheels want SSE4.2, which this processor never had."""
    emulator = need("qemu-x86_64-static")
    ending = smoke(digits, Target(wrapper(f'exec {emulator} -cpu core2duo {sys.executable} "$@"'))).ending
    assert (ending.status, ending.stage, ending.signal) == ("crash", "import", signal.SIGILL)
    assert "an illegal instruction" in ending.reason
    assert "multiarray.py" in ending.reason


@pytest.mark.slow
def test_a_cpu_without_what_numpy_was_built_for_is_named(
    digits: Bundle, wrapper: Callable[[str], str]
) -> None:
    """onnxruntime, which imports numpy, would only say that it failed."""
    emulator = need("qemu-x86_64-static")
    ending = smoke(digits, Target(wrapper(f'exec {emulator} -cpu Penryn {sys.executable} "$@"'))).ending
    assert (ending.status, ending.stage) == ("error", "import")
    assert ending.reason == "this numpy was built for instructions that this CPU lacks (X86_V2)"


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group of its own with 200 MB of memory: only root makes one."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    base = Path("/sys/fs/cgroup") if unified else Path("/sys/fs/cgroup/memory")
    group = base / f"envcheck-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        missing(f"no control group can be made here: {error.strerror}")
    try:
        limit = "memory.max" if unified else "memory.limit_in_bytes"
        try:
            (group / limit).write_text(str(200 << 20), encoding="ascii")
        except OSError as error:
            missing(f"control groups have no memory limit here: {error.strerror}")
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_as_that(
    digits: Bundle, tmp_path: Path, wrapper: Callable[[str], str], memory_group: Path
) -> None:
    if "oom_kill " not in Path("/proc/vmstat").read_text(encoding="ascii"):
        missing("this kernel does not count out-of-memory kills")
    target = fake_package(tmp_path, HUNGRY)
    within = wrapper(f'echo $$ > {memory_group}/cgroup.procs && exec {sys.executable} "$@"')
    ending = smoke(digits, Target(within, environ=target.environ)).ending
    assert (ending.status, ending.stage, ending.signal) == ("memory", "import", signal.SIGKILL)
    assert ending.reason == "killed by the kernel at the stage 'import': out of memory"
    assert "smaller model or batch" in ending.hint


def test_a_hang_in_an_import_ends_at_the_deadline(digits: Bundle, tmp_path: Path) -> None:
    target = fake_package(tmp_path, "import time; time.sleep(300)")
    ending = smoke(digits, target, deadline_s=1.0).ending
    assert (ending.status, ending.stage) == ("timeout", "import")
    assert ending.reason == "still at the stage 'import' after 1 s, and was stopped"


def newer_model(opset: int, ir_version: int) -> bytes:
    model = onnx.load_from_string(classifier())
    model.opset_import[0].version = opset
    model.ir_version = ir_version
    return bytes(model.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opset", "ir_version", "hint"),
    [
        (24, 10, "opset 24 of ai.onnx needs onnxruntime 1.24.1 or later"),
        (21, 12, "IR version 12 needs onnxruntime 1.24.1 or later"),
    ],
)
def test_an_old_python_is_told_which_one_a_newer_model_needs(opset: int, ir_version: int, hint: str) -> None:
    if "3.8" not in interpreters():
        missing("there is no Python 3.8 here")
    python = venv_with(interpreters()["3.8"], [newest_onnxruntime("3.8")])
    bundle = classifier_bundle(model=newer_model(opset, ir_version))
    ending = smoke(bundle, Target(str(python))).ending
    assert (ending.status, ending.stage) == ("error", "session")
    assert ending.hint.startswith(hint)
    assert "Python 3.8 can have 1.19.2 at most: use Python 3.11 or later" in ending.hint
