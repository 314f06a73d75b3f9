from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.elf_files import ld_cache
from support.interpreter_answers import told
from support.tools import need

from envcheck.facts import cuda, nvml
from envcheck.facts.cuda import parse_driver, parse_toolkit, parse_torch
from envcheck.facts.gpus import Nvml, gpus, parse_information, parse_nvml
from envcheck.facts.host import Host, Target
from envcheck.facts.loader import parse_ld_cache
from envcheck.facts.section import Scene
from envcheck.facts.tegra import parse_l4t, parse_power_mode

DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n"


@pytest.mark.parametrize(
    ("text", "version"), [(DRIVER, "535.129.03"), (OPEN_DRIVER, "540.4.0"), ("hello", "")]
)
def test_driver(text: str, version: str) -> None:
    assert parse_driver(text) == version


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "36.4.3"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref", "32.7.1"),
        ("# R36", ""),
    ],
)
def test_l4t(text: str, release: str) -> None:
    assert parse_l4t(text) == release


def test_absence_is_no_node_and_no_driver(tree: Callable[..., Host], scene: Callable[..., Scene]) -> None:
    found = cuda.gather(scene(tree({"dev/null": "", "etc/keep": ""}), told()))
    assert (found.status, found.reason) == ("absent", "there is no NVIDIA device node")


def test_a_driver_without_a_node_is_unreadable(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    found = cuda.gather(scene(tree({"dev/null": "", "proc/driver/nvidia/version": DRIVER}), told()))
    assert found.status == "unreadable"
    assert found.shared["driver"] == "535.129.03"


class Asked(Exception):
    """Somebody asked the GPU's library."""


class NeverAsked(Host):
    """A tree whose GPU library must be left alone."""

    __slots__ = ()

    def answer(self, name: str, ask: Callable[[], bytes]) -> bytes:
        if name == "nvml.json":
            raise Asked
        return super().answer(name, ask)


@pytest.mark.parametrize("driver", [{}, {"proc/driver/nvidia/version": DRIVER}], ids=["none", "driver"])
def test_the_library_is_asked_only_where_a_device_node_is(
    driver: dict[str, str | bytes], tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    host = NeverAsked(root=tree({"dev/null": "", "dev/nvram": "", **driver}).root, environ={})
    assert cuda.gather(scene(host, told())).status == ("unreadable" if driver else "absent")
    tree({"dev/nvidia0": ""})
    with pytest.raises(Asked):
        cuda.gather(scene(host, told()))


GPU = b'{"driver":"535.129.03","cuda":"12.2","count":1,"gpus":[{"name":"NVIDIA T4"}]}'


@pytest.mark.parametrize("nodes", [[], ["nvidia0", "nvidiactl"]])
def test_what_the_first_use_of_cuda_makes_changes_no_shared_fact(
    nodes: list[str], tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    """The driver makes nvidia-uvm when the first program starts CUDA, and after a reboot anew."""
    files = {"proc/driver/nvidia/version": DRIVER, ".answers/nvml.json": GPU, "dev/null": ""}
    booted = cuda.gather(scene(tree({**files, **{f"dev/{name}": "" for name in nodes}}), told()))
    used = cuda.gather(scene(tree({"dev/nvidia-uvm": ""}), told()))
    assert (used.shared, used.device) == (booted.shared, booted.device)
    assert (used.status, used.reason) == (booted.status, booted.reason)
    assert used.status == ("ok" if nodes else "unreadable")
    assert booted.shared.get("nodes", []) == nodes
    assert "nodes" not in booted.readings
    assert used.readings["nodes"] == ["nvidia-uvm"]


def test_a_node_that_may_not_be_opened_is_unreadable(
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    scene: Callable[..., Scene],
) -> None:
    node = open_folder / "root/dev/nvidia0"
    node.parent.mkdir(parents=True)
    node.touch()
    node.chmod(0)
    with unprivileged():
        found = cuda.gather(scene(Host(root=open_folder / "root"), told()))
    assert found.status == "unreadable"
    assert "may not open" in found.reason


def test_what_torch_was_built_for_is_read_and_not_imported() -> None:
    source = "from typing import Optional\n__version__ = '2.8.0+cu126'\ncuda: Optional[str] = '12.6'\n"
    torch = parse_torch(told(files={"torch/version.py": source}))
    assert torch is not None
    assert (torch.version, torch.cuda) == ("2.8.0+cu126", "12.6")
    cpu = parse_torch(told(files={"torch/version.py": "__version__ = '2.8.0'\ncuda: Optional[str] = None\n"}))
    assert cpu is not None
    assert cpu.cuda == ""
    assert parse_torch(told()) is None


def test_libraries_that_the_loader_finds() -> None:
    data = ld_cache([b"libcudart.so.12", b"libc.so.6", b"libcudnn.so.9", b"libcudnn.so.9", b"libcuda.so.1"])
    assert parse_ld_cache(data) == ["libcuda.so.1", "libcudart.so.12", "libcudnn.so.9"]
    assert parse_ld_cache(b"ld.so-1.7.0\0" + b"\0" * 4 + data) == parse_ld_cache(data)


def test_this_machines_own_cache_is_read() -> None:
    assert parse_ld_cache(Path("/etc/ld.so.cache").read_bytes()) == sorted(
        set(parse_ld_cache(Path("/etc/ld.so.cache").read_bytes()))
    )


@given(st.binary(max_size=400), st.integers(0, 200))
def test_any_bytes_and_any_truncation_are_read(data: bytes, cut: int) -> None:
    whole = ld_cache([b"libcudart.so.12", b"libcudnn.so.9"])
    parse_ld_cache(data)
    parse_ld_cache(b"glibc-ld.so.cache1.1" + data + b"libcuda.so.1")
    parse_ld_cache(whole[:cut])
    parse_nvml(data)
    assert parse_nvml(b'{"driver":"\xff' + data).error
    text = data.decode("latin-1")
    parse_driver(text)
    parse_l4t(text)
    parse_toolkit(text)
    parse_power_mode(text, text)
    parse_information(text)


NVML = r"""
#include <string.h>
typedef unsigned int u; typedef unsigned long long ull;
#ifndef INIT
#define INIT 0
#endif
int nvmlInit_v2(void) { return INIT; }
int nvmlSystemGetDriverVersion(char *b, u n) { strncpy(b, "550.54.15", n); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12040; return 0; }
int nvmlDeviceGetCount_v2(u *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(u i, void **h) { *h = (void *)0x1234567890; return 0; }
static int ours(void *h) { return h == (void *)0x1234567890 ? 0 : 2; }
int nvmlDeviceGetName(void *h, char *b, u n) {
  if (h == (void *)0x99) { strncpy(b, "NVIDIA A100-SXM4-40GB MIG 3g.20gb", n); return 0; }
  strncpy(b, "NVIDIA L4", n); return ours(h);
}
int nvmlDeviceGetUUID(void *h, char *b, u n) { strncpy(b, "GPU-1", n); return ours(h); }
int nvmlDeviceGetMemoryInfo(void *h, ull *m) { m[0] = 24ull << 30; m[1] = m[2] = 12ull << 30; return 0; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 8; *b = 9; return ours(h); }
int nvmlDeviceGetEccMode(void *h, u *c, u *p) { *c = 1; *p = 1; return ours(h); }
#ifdef MIG
#define PART ((void *)0x99)
int nvmlDeviceGetMigMode(void *h, u *c, u *p) { *c = *p = 1; return ours(h); }
int nvmlDeviceGetMaxMigDeviceCount(void *h, u *n) { *n = 7; return ours(h); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, u i, void **m) { *m = PART; return i == 2 ? ours(h) : 6; }
int nvmlDeviceGetPersistenceMode(void *h, u *m) { *m = 1; return ours(h); }
int nvmlDeviceGetComputeMode(void *h, u *m) { *m = 3; return ours(h); }
int nvmlDeviceGetMaxClockInfo(void *h, u which, u *mhz) { *mhz = 1980; return which == 1 ? ours(h) : 2; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, ull *r) { *r = 0x25; return ours(h); }
#else
int nvmlDeviceGetMigMode(void *h, u *c, u *p) { return 3; }
#endif
int nvmlDeviceGetPowerManagementLimit(void *h, u *l) { *l = 72000; return ours(h); }
"""


def build_nvml(folder: Path, *flags: str) -> Path:
    """Build a library with NVML's own signatures; some of them missing, as on Jetsons."""
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    command = [need("gcc"), "-shared", "-fPIC", *flags, "-o", str(library), str(folder / "nvml.c")]
    subprocess.run(command, check=True)
    return library


def ask(*libraries: str) -> Nvml:
    command = [sys.executable, "-I", "-S", str(Path(str(nvml.__file__))), *libraries]
    return parse_nvml(subprocess.run(command, capture_output=True, check=True).stdout)


def test_the_library_is_asked_by_its_own_signatures(tmp_path: Path) -> None:
    told_by = ask(str(build_nvml(tmp_path)))
    assert (told_by.driver, told_by.cuda, told_by.count) == ("550.54.15", "12.4", 1)
    gpu = told_by.gpus[0]
    assert (gpu.name, gpu.uuid, gpu.capability, gpu.memory_mib) == ("NVIDIA L4", "GPU-1", "8.9", 24576)
    assert (gpu.ecc, gpu.power_limit_w) == (True, 72)
    # Unsupported and missing functions leave out one fact each.
    assert (gpu.mig, gpu.serial, gpu.persistence, gpu.celsius) == (None, None, None, None)


def test_partitions_are_told_with_their_profile(tmp_path: Path) -> None:
    told_by = ask(str(build_nvml(tmp_path, "-DMIG")))
    (gpu,) = gpus(told_by, [], "")
    assert gpu.mig is True
    assert [(part.profile, part.memory_mib) for part in gpu.partitions] == [("3g.20gb", 24576)]
    assert (gpu.compute_mode, gpu.max_mhz, gpu.persistence) == ("exclusive-process", 1980, True)
    assert told_by.gpus[0].slowed_by == ["power cap", "heat (software)"]


def test_where_the_library_is_missing_the_driver_tells_its_cuda(tmp_path: Path) -> None:
    source = tmp_path / "cuda.c"
    source.write_text("int cuDriverGetVersion(int *v) { *v = 10020; return 0; }\n")
    library = tmp_path / "libcuda.so.1"
    subprocess.run([need("gcc"), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    assert nvml.cuda_version((str(library),)) == "10.2"
    assert nvml.cuda_version(("/no/such/libcuda.so.1",)) is None
    assert ask(str(library)).error == "a library of another kind"


INFORMATION = """Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 421
GPU UUID: \t GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77
Video BIOS: \t 92.00.19.00.01
Bus Type: \t PCIe
DMA Size: \t 47 bits
DMA Mask: \t 0x7fffffffffff
Bus Location: \t 0000:07:00.0
Device Minor: \t 3
GPU Excluded:\t No
"""


def test_the_drivers_own_files_tell_where_the_library_does_not(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    mig = "proc/driver/nvidia/capabilities/gpu3/mig"
    host = tree(
        {
            "dev/nvidia3": "",
            "proc/driver/nvidia/version": DRIVER,
            "proc/driver/nvidia/gpus/0000:07:00.0/information": INFORMATION,
            f"{mig}/config": "",
            f"{mig}/gi1/access": "",
            f"{mig}/gi2/access": "",
        }
    )
    found = cuda.gather(scene(host, told()))
    assert found.status == "ok"
    assert found.shared["gpus"] == [{"name": "NVIDIA A100-SXM4-40GB", "mig": True, "partitions": [{}, {}]}]
    assert found.device["uuids"] == ["GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"]


def test_libraries_are_those_that_the_loader_takes_first(
    tree: Callable[..., Host], scene: Callable[..., Scene]
) -> None:
    site = "opt/app/venv/lib/python3.11/site-packages"
    cache = ld_cache([b"libcudart.so.12", b"libcudnn.so.9", b"libnvinfer.so.10"], b"/usr/local/cuda/lib64/")
    host = tree(
        {
            "etc/ld.so.cache": cache,
            "opt/cuda/lib/libcudart.so.12": "",
            "opt/cuda/lib/libc.so.6": "",
            f"{site}/nvidia/cudnn/lib/libcudnn.so.9": "",
            f"{site}/nvidia/cublas/lib/libcublas.so.12": "",
            "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}',
        }
    )
    (host.root / "usr/local/cuda/lib64").mkdir()
    for name in ("libcudnn.so.9", "libnvinfer.so.10"):
        (host.root / "usr/local/cuda/lib64" / name).symlink_to(f"{name}.1.0")
    target = Target("/opt/app/venv/bin/python", {"LD_LIBRARY_PATH": "/opt/cuda/lib::relative"})
    answer = told(folders={"nvidia": ["__pycache__", "cublas", "cudnn"]})
    found = cuda.gather(scene(host, answer, target))
    assert found.shared["libraries"] == ["libcudart.so.12", "libcudnn.so.9", "libnvinfer.so.10"]
    assert found.shared["runtimes"] == {
        "libcublas.so.12": {"version": "12", "origin": "pip"},
        "libcudart.so.12": {"version": "12", "origin": "LD_LIBRARY_PATH"},
        "libcudnn.so.9": {"version": "9.1.0", "origin": "ld.so.cache"},
        "libnvinfer.so.10": {"version": "10.1.0", "origin": "ld.so.cache"},
    }
    assert found.shared["toolkit"] == "12.4.1"
    assert found.device["places"]["libcudart.so.12"] == "/opt/cuda/lib/libcudart.so.12"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"cuda": {"version": "13.0.0"}}', "13.0.0"),
        ("CUDA Version 10.2.300\n", "10.2.300"),
        ('{"cuda": {"version": 13}}', ""),
        ('{"cuda": 1}', ""),
        ("[" * 9999, ""),
        ("", ""),
    ],
)
def test_toolkit(text: str, version: str) -> None:
    assert parse_toolkit(text) == version


MODES = "< PM_CONFIG DEFAULT=2 >\n< POWER_MODEL ID=0 NAME=MAXN >\nX\n< POWER_MODEL ID=1 NAME=5W >\n"


@pytest.mark.parametrize(
    ("status", "modes", "mode"),
    [
        ("pmode:0001 fmode:fanNull", MODES, (1, "5W")),
        ("pmode:0000\n", MODES, (0, "MAXN")),
        ("", MODES, (2, "")),
        ("pmode:0003", "", (3, "")),
        ("", "", (None, "")),
    ],
)
def test_power_modes(status: str, modes: str, mode: tuple[int | None, str]) -> None:
    assert parse_power_mode(status, modes) == mode


def test_a_library_that_refuses_says_why(tmp_path: Path) -> None:
    assert ask(str(build_nvml(tmp_path, "-DINIT=4"))).error == "no permission"


def test_without_a_library_there_is_no_answer_but_a_reason() -> None:
    assert ask("/no/such/libnvidia-ml.so.1").error == "no library"
    assert parse_nvml(json.dumps({"gpus": 3}).encode()).error
