"""A Debian root for arm64 with real aarch64 wheels, run by qemu's user-mode emulation.

Nothing is registered with the kernel: `qemu-aarch64-static -L ROOT` looks up every path below the root
first, and that is all that one process needs. Needs debootstrap (and so root) once; the root is kept in
the cache.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from places import CACHE, Unavailable, digest, execute, make_once

SUITE = "bookworm"
PYTHON = "3.11"
_PACKAGES = "python3.11,libpython3.11-stdlib,libgomp1,libstdc++6"
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
# A root without it shows x86's: the `cpuinfo` in onnxruntime does not survive that.
_CPUINFO = """\
processor	: 0
BogoMIPS	: 108.00
Features	: {features}
CPU implementer	: {implementer}
CPU architecture: 8
CPU variant	: {variant}
CPU part	: {part}
CPU revision	: 3

"""
_SIMD = "fp asimd evtstrm crc32 cpuid"
_N1 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_CORES = {
    "cortex-a72": (_SIMD, "0x41", "0x0", "0xd08"),
    "neoverse-n1": (_N1, "0x41", "0x3", "0xd0c"),
    "max": (f"{_N1} sve sve2 svei8mm svebf16 i8mm bf16", "0x41", "0x0", "0xd49"),
}


def command(cpu: str, requirements: tuple[str, ...]) -> tuple[str, ...]:
    """Return what starts Python on an emulated `cpu` with `requirements`; raises Unavailable.

    Without a `cpu` the process sees the /proc/cpuinfo of the machine that emulates it.
    """
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise Unavailable("qemu-aarch64-static is not installed")
    home = make_once(
        CACHE / f"arm64-{PYTHON}-{digest(requirements)}", lambda home: _install(home, requirements)
    )
    root = _root_of(cpu) if cpu else _root()
    return (emulator, "-cpu", cpu or "max", "-L", str(root), str(home / "bin" / "python"))


def _root_of(cpu: str) -> Path:
    """Return a root that shows `cpu`'s own /proc/cpuinfo: links into the one root, and those files."""
    core = cpu.partition(",")[0]

    def make(home: Path) -> None:
        for entry in _root().iterdir():
            if entry.name not in ("proc", "sys"):
                (home / entry.name).symlink_to(entry)
        features, implementer, variant, part = _CORES[core]
        (home / "proc").mkdir()
        (home / "proc/cpuinfo").write_text(
            _CPUINFO.format(features=features, implementer=implementer, variant=variant, part=part)
        )
        processors = home / "sys/devices/system/cpu"
        processors.mkdir(parents=True)
        for name in ("possible", "present"):
            (processors / name).write_text("0\n")

    return make_once(CACHE / f"arm64-{SUITE}-{core}", make)


def _root() -> Path:
    """Unpack Debian; nothing of it is configured, as nothing of it runs but Python."""

    def make(home: Path) -> None:
        program = shutil.which("debootstrap")
        if program is None:
            raise Unavailable("debootstrap is not installed")
        options = ("--foreign", "--arch=arm64", "--variant=minbase", f"--include={_PACKAGES}")
        execute([program, *options, SUITE, home])
        for package in sorted((home / "var/cache/apt/archives").glob("*.deb")):
            _unpack(package, home)

    return make_once(CACHE / f"arm64-{SUITE}", make)


def _unpack(package: Path, root: Path) -> None:
    """Unpack one package; what the root has as a link stays one."""
    content = root / "content.tar"
    with content.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=file, check=True, timeout=120)
    execute(["tar", "-x", "--keep-directory-symlink", "-C", root, "-f", content])
    content.unlink()


def _install(home: Path, requirements: tuple[str, ...]) -> None:
    """Lay out a virtual environment by hand: the host's pip can install for it, but not run it."""
    root = _root()
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to(root / "usr/bin/python3.11")
    (home / "pyvenv.cfg").write_text(
        f"home = {root}/usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    abis = [word for abi in ("cp311", "abi3", "none") for word in ("--abi", abi)]
    wheels = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *abis, *platforms]
    target = home / "lib/python3.11/site-packages"
    execute([sys.executable, "-m", "pip", "install", "-q", "--target", target, *wheels, *requirements])
