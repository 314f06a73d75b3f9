from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from support.elf_files import make_elf
from support.interpreter_answers import told

from envcheck.facts import onnxruntime
from envcheck.facts.host import Host
from envcheck.facts.linkage import Library, libraries, majors
from envcheck.facts.section import Scene

SITE = "opt/app/venv/lib/python3.11/site-packages"
CAPI = f"{SITE}/onnxruntime/capi"
CUDA = "libonnxruntime_providers_cuda.so"
TENSORRT = "libonnxruntime_providers_tensorrt.so"


def provider(*needed: str) -> bytes:
    return make_elf(64, "little", needed=list(needed), build_id=b"\x01\x02")


def test_what_each_provider_is_linked_against(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    host = tree(
        {
            f"{CAPI}/{CUDA}": provider("libcublasLt.so.12", "libcudnn.so.9", "libc.so.6"),
            f"{CAPI}/{TENSORRT}": provider("libnvinfer.so.10", "libcudart.so.12"),
            f"{CAPI}/libonnxruntime.so.1.23.2": b"not an ELF file",
        }
    )
    answer = told(folders={"onnxruntime/capi": [CUDA, TENSORRT, "libonnxruntime.so.1.23.2", "x.py"]})
    answer = msgspec.structs.replace(answer, files={"onnxruntime/__init__.py": '__version__ = "1.23.2"\n'})
    facts = onnxruntime.gather(scene(host, answer)).shared
    assert facts["needs"] == {"cuda": ["12"], "cudnn": ["9"], "tensorrt": ["10"]}
    assert set(facts["libraries"]) == {CUDA, TENSORRT}
    assert facts["libraries"][CUDA] == {
        "needs": ["libcublasLt.so.12", "libcudnn.so.9", "libc.so.6"],
        "build_id": "0102",
    }


def test_providers_of_two_builds_contradict_each_other(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    host = tree(
        {f"{CAPI}/{CUDA}": provider("libcudart.so.11.0"), f"{CAPI}/{TENSORRT}": provider("libcudart.so.12")}
    )
    answer = told(
        folders={"onnxruntime/capi": [CUDA, TENSORRT]},
        files={"onnxruntime/__init__.py": '__version__ = "1.23.2"\n'},
    )
    conflicts = onnxruntime.gather(scene(host, answer)).shared["conflicts"]
    assert "its files are linked against CUDA 11 and 12 at once" in conflicts


def test_majors_are_sorted_as_numbers() -> None:
    found = [Library(needs=["libcublas.so.9", "libcublas.so.10.2", "libcudart.so", "libcudartX.so.3"])]
    assert majors(found) == {"cuda": ["9", "10"]}


def test_what_may_not_be_read_is_noted_and_what_is_not_there_is_not(
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    scene: Callable[..., Scene],
) -> None:
    root = open_folder / "root"
    root.mkdir()
    (root / "a.so").write_bytes(provider("libc.so.6"))
    (root / "a.so").chmod(0)
    (root / "folder.so").mkdir()
    here = scene(Host(root=root))
    with unprivileged():
        assert libraries(here, "", ["a.so", "none.so", "folder.so"]) == {}
    assert here.unreadable == ["/a.so"]
