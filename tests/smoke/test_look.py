"""What the child finds in its process: libraries with place and version, what is missing, thread pools."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.elf_files import make_elf
from support.tools import missing

from envcheck.smoke import child_look


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/usr/lib/libstdc++.so.6.0.30", "6.0.30"),
        ("/opt/lib/libcudnn.so.9", "9"),
        ("/opt/lib/libopenblas-r0-f650aae0.3.21.so", ""),
        ("/lib/libfoo-2.31.so", "2.31"),
        ("/usr/lib/libc.so.6", child_look.c_library_version()),
        ("/usr/lib/ld-linux-x86-64.so.2", child_look.c_library_version()),
        ("/v/site-packages/numpy.libs/libscipy_openblas64_-6bb31eeb.so", np.__version__),
        ("/v/site-packages/numpy/linalg/_umath_linalg.cpython-311-x86_64-linux-gnu.so", np.__version__),
        ("/v/site-packages/unheard_of/x.so", ""),
    ],
)
def test_a_version_is_that_of_the_file_or_of_its_package(path: str, version: str) -> None:
    assert child_look.library_version(path) == version


def test_what_lies_in_the_environment_is_placed_below_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "venv").symlink_to(real)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert child_look.placed(f"{real}/lib/x.so") == "{prefix}/lib/x.so"
    assert child_look.placed(f"{real}-other/lib/x.so") == f"{real}-other/lib/x.so"
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert child_look.placed("/usr/lib/x.so") == "/usr/lib/x.so"


@pytest.mark.parametrize(("width", "machine"), [(8, "aarch64"), (4, "armv7l")])
def test_a_narrow_system_on_a_wide_kernel_is_what_counts(
    width: int, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Raspberry Pi OS has it; the kernel and the pointers stand in for it."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    monkeypatch.setattr(struct, "calcsize", lambda _: width)
    assert child_look.platform().startswith(f"{machine}-glibc")


def test_the_libraries_of_this_process_are_described() -> None:
    found = {one["name"]: one for one in child_look.describe_libraries(child_look.loaded_libraries())}
    assert found["libc.so.6"]["version"] == child_look.c_library_version()
    umath = next(one for name, one in found.items() if name.startswith("_multiarray_umath"))
    assert umath["path"].startswith("{prefix}/lib/")
    assert umath["version"] == np.__version__
    assert len(umath["build_id"]) == 40


def test_a_module_that_computes_its_version_is_not_made_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some warn, some import more: a look changes nothing in the process that it looks at."""
    lazy = types.ModuleType("lazy")
    lazy.__getattr__ = lambda name: pytest.fail(f"{name} was computed")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    assert child_look.library_version(str(tmp_path / "site-packages/lazy/_speedups.so")) == ""


@given(st.lists(st.text("abcdefgh.-_0123", min_size=1, max_size=12), max_size=5))
def test_what_a_library_needs_is_read_from_its_file(tmp_path_factory: Any, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("elf") / "x.so"
    path.write_bytes(make_elf(64, "little", needed=names, build_id=b"\1" * 20))
    assert child_look.needed_libraries(str(path)) == names
    assert child_look.elf_build_id(str(path)) == "01" * 20


def test_every_library_that_the_loader_cannot_find_is_named(tmp_path: Path) -> None:
    needed = ["libnothere.so.7", "libc.so.6", "libbeside.so", "libnorthis.so.1"]
    provider = tmp_path / "libonnxruntime_providers_cuda.so"
    provider.write_bytes(make_elf(64, "little", needed=needed, build_id=b""))
    (tmp_path / "libbeside.so").write_bytes(b"")
    found = child_look.missing_libraries(str(tmp_path), "CUDAExecutionProvider")
    assert found == ["libnothere.so.7", "libnorthis.so.1"]


def test_a_provider_whose_own_library_is_not_there_is_named(tmp_path: Path) -> None:
    found = child_look.missing_libraries(str(tmp_path), "TensorrtExecutionProvider")
    assert found == ["libonnxruntime_providers_tensorrt.so"]


@pytest.mark.parametrize("data", [b"", b"not an ELF file at all", b"\x7fELF\x02\x01" + b"\xff" * 80])
def test_a_damaged_library_is_no_reason_to_fail(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "libonnxruntime_providers_cuda.so"
    path.write_bytes(data)
    assert child_look.missing_libraries(str(tmp_path), "CUDAExecutionProvider") == []
    assert child_look.elf_build_id(str(path)) == ""


POOLS = """
import ctypes, json, sys
if sys.argv[1] == "numpy":
    import numpy
else:
    ctypes.CDLL(sys.argv[1])
from envcheck.smoke import child_look
before = child_look.loaded_libraries()
found = child_look.thread_pools([*before, *sys.argv[2:]])
print(json.dumps([found, child_look.loaded_libraries() == before]))
"""


def pools(*arguments: str, **environ: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", POOLS, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    found, same = json.loads(done.stdout)
    assert same, "asking for thread pools loaded a library"
    return list(found)


def gomp() -> str:
    """The OpenMP that torch brings along, or the system's."""
    spec = find_spec("torch")
    folders = [Path(spec.origin).parent / "lib"] if spec and spec.origin else []
    for folder in [*folders, *(Path(place) for place in ("/usr/lib/x86_64-linux-gnu", "/usr/lib"))]:
        for path in sorted(folder.glob("libgomp*.so*")):
            return str(path)
    missing("there is no libgomp here")
    return ""


def test_blas_tells_its_threads_version_and_kernels() -> None:
    (pool,) = pools("numpy", OPENBLAS_NUM_THREADS="1")
    assert (pool["kind"], pool["threads"]) == ("blas", 1)
    assert pool["version"].startswith("0.3.")
    assert pool["core"]


def test_openmp_tells_its_threads() -> None:
    (pool,) = pools(gomp(), OMP_NUM_THREADS="3")
    assert (pool["kind"], pool["threads"]) == ("openmp", 3)


def test_what_is_not_loaded_stays_unloaded_and_says_nothing() -> None:
    found = pools("numpy", gomp(), "/nowhere/libmkl_rt.so.2")
    quiet = [pool for pool in found if pool["kind"] == "openmp" or "mkl" in pool["library"]]
    assert len(quiet) == 2
    assert all("threads" not in pool for pool in quiet)
