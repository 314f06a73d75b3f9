"""py-cpuinfo, in a process of its own that may hang or crash; what it tells is kept until the next boot.

Never its `get_cpu_info`, which sleeps a second to count ticks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec

from envcheck.facts.cpu_identity import Identity
from envcheck.facts.host import Host
from envcheck.facts.isa import arm_isa, arm_level, x86_isa, x86_level

_DEADLINE_S = 3.0
_MAX_THREADS = 65536
_BEGIN = """\
import json, os, sys
sys.path[:0] = [sys.argv[1]]
os.environ["PATH"] = os.environ.get("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin"
import cpuinfo.cpuinfo as source
def tried(ask, *arguments):
    try:
        return ask(*arguments)
    except Exception:
        return None
cpuid = None
if tried(source._parse_arch, source.DataSource.arch_string_raw) in (("X86_64", 64), ("X86_32", 32)):
    cpuid = tried(source.CPUID)
    if cpuid is not None and cpuid.is_selinux_enforcing:
        cpuid = None
flags = [] if cpuid is None else list(tried(cpuid.get_flags, cpuid.get_max_extension_support()) or [])
"""
_FLAGS = _BEGIN + """os.write(1, json.dumps({"flags": flags}).encode("ascii"))"""
# In py-cpuinfo's own order, without those that only repeat CPUID or sleep.
_WHOLE = (
    _BEGIN
    + """\
found = {}
for name in ("wmic registry cpufreq_info lscpu sysctl kstat dmesg cat_var_run_dmesg_boot ibm_pa_features "
             "sysinfo platform_uname").split():
    found = {**(tried(getattr(source, "_get_cpu_info_from_" + name, dict)) or {}), **found}
if cpuid is not None:
    brand = tried(cpuid.get_processor_brand, cpuid.get_max_extension_support())
    found = {"vendor_id_raw": tried(cpuid.get_vendor_id), "brand_raw": brand, "flags": flags, **found}
arch = tried(source._parse_arch, source.DataSource.arch_string_raw) or ("", 0)
told = {name: found[name] for name in ("vendor_id_raw", "brand_raw", "flags") if found.get(name)}
count = found.get("count") or source.DataSource.cpu_count
os.write(1, json.dumps({**told, "arch": arch[0], "bits": arch[1], "count": int(count)}).encode("ascii"))
"""
)
# py-cpuinfo's and Apple's names of instruction sets where they are others.
_NAMES = {
    "sha": "sha_ni", "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq", "avx1_0": "avx", "em64t": "lm",
}  # fmt: skip


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What py-cpuinfo told, by its own names: `arch` is X86_64, X86_32, ARM_8, ARM_7 ..."""

    arch: str = ""
    bits: int = 0
    count: int = 0
    vendor_id_raw: str = ""
    brand_raw: str = ""
    flags: list[str] = []


def ask_flags(host: Host, boot_id: str) -> bytes:
    """Ask which instruction sets CPUID tells, as JSON; b"" when nobody tells."""
    return _kept(host, "cpuid.json", boot_id, _FLAGS)


def ask_identity(host: Host, boot_id: str) -> bytes:
    """Ask a machine without /proc/cpuinfo for its processor, as JSON; b"" when nobody tells."""
    return _kept(host, "cpu.json", boot_id or _boot_time(), _WHOLE)


def parse_identity(data: bytes) -> Identity | None:
    """Read what `ask_identity` was told; None when it names no processor."""
    try:
        told = msgspec.json.decode(data, type=Told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    flags = set(named(told.flags))
    x86, arm = told.arch.startswith("X86"), told.arch.startswith("ARM")
    if told.arch == "X86_64":
        flags.add("lm")
    isa = x86_isa(flags) if x86 else arm_isa(flags) if arm else sorted(flags)
    if not (told.brand_raw or told.flags or told.vendor_id_raw):
        return None
    name = {"X86_64": "x86_64", "X86_32": "x86", "ARM_8": "aarch64", "ARM_7": "arm"}.get(told.arch)
    return Identity(
        architecture=name or told.arch.lower(),
        vendor=told.vendor_id_raw,
        model=" ".join(told.brand_raw.split()),
        isa=isa,
        level=x86_level(isa) if x86 else arm_level(isa) if arm else "",
        threads=told.count if 0 < told.count < _MAX_THREADS else 0,
    )


def named(flags: Iterable[str]) -> list[str]:
    """Return flags by the names that they have here."""
    lowered = [flag.lower().replace(".", "_") for flag in flags]
    return [_NAMES.get(flag, flag) for flag in lowered]


def _kept(host: Host, name: str, boot: str, script: str) -> bytes:
    from importlib.util import find_spec
    from pathlib import Path

    from envcheck.facts.boot_cache import kept_until_boot

    spec = find_spec("cpuinfo")
    if spec is None or spec.origin is None:
        return b""
    folder = str(Path(spec.origin).parent.parent)

    def ask() -> bytes:
        command = [sys.executable, "-I", "-S", "-B", "-c", script, folder]
        ended = host.run(command, environ=host.environ, deadline_s=_DEADLINE_S)
        return ended.stdout if ended.returncode == 0 and parse_identity(ended.stdout) else b""

    return kept_until_boot(host.environ, name, boot, ask)


def _boot_time() -> str:
    """Return when this machine was booted, "" when nobody tells: then nothing is kept."""
    import psutil

    try:
        return f"booted at {psutil.boot_time():.0f}"
    except (OSError, RuntimeError):
        return ""
