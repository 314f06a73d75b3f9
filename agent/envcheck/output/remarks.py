"""What of a fingerprint looks wrong before any model is known. Verdicts are the judge's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from envcheck.contract.document import Value
from envcheck.contract.fingerprint import Fingerprint, Section
from envcheck.output.opaque import items, mapping, number, strings

_MAX_NAMED = 4
_CUDA = re.compile(r"(\d{1,3})(?:\.(\d{1,3}))?")


class Remark(Value, frozen=True, kw_only=True):
    """One thing that looks wrong: in which section, what, and what to do next."""

    section: str
    text: str
    hint: str = ""


def remarks(fingerprint: Fingerprint) -> list[Remark]:
    """Return what looks wrong, in the order of the sections."""
    sections = fingerprint.sections
    found = [*_incomplete(sections)]
    for name, look in _LOOKS.items():
        if name in sections and sections[name].status in ("ok", "absent"):
            found += look(sections)
    order = list(sections)
    return sorted(found, key=lambda remark: order.index(remark.section))


def _incomplete(sections: dict[str, Section]) -> Iterator[Remark]:
    hints = {
        "unreadable": "run it as a user who may look, or give this user's group access",
        "error": "without this section a verdict is unknown",
    }
    for name, section in sections.items():
        if section.status in hints:
            yield Remark(section=name, text=f"{section.status}: {section.reason}", hint=hints[section.status])


def _packages(sections: dict[str, Section]) -> Iterator[Remark]:
    entries = {name: entry for name, entry in sections["packages"].shared.items() if isinstance(entry, dict)}
    broken = [f"{name} ({entry['broken']})" for name, entry in entries.items() if entry.get("broken")]
    if broken:
        yield Remark(
            section="packages",
            text=f"broken: {_some(broken)}",
            hint="install them again with --force-reinstall",
        )
    hidden = [name for name, entry in entries.items() if _differs(entry)]
    if hidden:
        yield Remark(
            section="packages",
            text=f"another version is hidden behind the one that is imported: {_some(hidden)}",
            hint="uninstall the copy that is not meant",
        )
    yield from _verified(sections["packages"])


def _verified(section: Section) -> Iterator[Remark]:
    """Tell what `--verify` found: files that are not as they were installed."""
    told = mapping(section.device.get("verified"))
    if told.get("problem"):
        yield Remark(section="packages", text=f"the files were not verified: {told['problem']}")
    elif told and not told.get("complete"):
        yield Remark(
            section="packages",
            text="not all files were verified before the deadline",
            hint="give it more time: --deadline 120",
        )
    for fault in map(mapping, items(told.get("found"))):
        name = str(fault.get("file", "")).rpartition(".")[0]
        for kind in ("modified", "missing", "extra", "unread"):
            named = mapping(fault.get(kind))
            count = number(named.get("count"))
            if count:
                text = f"{name}: {count:g} {_FILES[kind]} ({_some(strings(named.get('names')))})"
                yield Remark(section="packages", text=text, hint=_HINTS.get(kind, ""))


_FILES = {
    "modified": "files are not as they were installed",
    "missing": "files are missing",
    "extra": "files were not installed with it",
    "unread": "files could not be verified",
}
_HINTS = {
    "modified": "install it again: pip install --force-reinstall --no-deps",
    "missing": "install it again: pip install --force-reinstall --no-deps",
}


def _differs(entry: dict[str, Any]) -> bool:
    copies = [mapping(copy) for copy in items(entry.get("shadowed"))]
    return any(copy.get(part) != entry.get(part) for copy in copies for part in ("version", "local"))


def _system(sections: dict[str, Section]) -> Iterator[Remark]:
    if sections["system"].readings.get("clock_synchronised") is False:
        yield Remark(
            section="system",
            text="the clock is not synchronised: reports may be refused or look stale",
            hint="timedatectl set-ntp true",
        )


def _cpu(sections: dict[str, Section]) -> Iterator[Remark]:
    facts = sections["cpu"].shared
    isa = set(strings(facts.get("isa")))
    if "avx2" in isa and not isa & {"avx512_vnni", "avx_vnni"}:
        yield Remark(
            section="cpu",
            text="AVX2 without VNNI: int8 products of U8S8 models saturate here without any error",
            hint="quantise with uint8 weights or reduce_range; envcheck smoke shows whether a model suffers",
        )
    quota, affinity = number(facts.get("quota")), number(facts.get("affinity"))
    if quota is not None and affinity is not None and quota < affinity:
        yield Remark(
            section="cpu",
            text=f"the control group grants {quota:g} CPUs of the {affinity:g} that threads are made for",
            hint="set intra_op_num_threads to the quota, or tails are throttled",
        )


def _cuda(sections: dict[str, Section]) -> Iterator[Remark]:
    cuda = sections["cuda"]
    runtime = sections.get("onnxruntime")
    wanted = {
        "torch": str(mapping(cuda.shared.get("torch")).get("cuda") or ""),
        "onnxruntime": str(runtime.shared.get("cuda") or "") if runtime else "",
    }
    if runtime and cuda.status == "absent" and "cuda" in strings(runtime.shared.get("providers")):
        yield Remark(
            section="cuda",
            text="onnxruntime is built for CUDA, but there is no GPU: it runs on the CPU and does not say so",
            hint="install onnxruntime instead of onnxruntime-gpu, or make the GPU visible here",
        )
    offered = _cuda_version(str(cuda.shared.get("driver_cuda") or ""))
    for name, text in wanted.items():
        needed = _cuda_version(text)
        # Within one major version CUDA promises to work on an older driver.
        if offered and needed and offered[0] < needed[0]:
            yield Remark(
                section="cuda",
                text=f"{name} is built for CUDA {text}, the driver supports only {offered[0]}.{offered[1]}",
                hint="upgrade the driver, or install a build for the older CUDA",
            )


def _onnxruntime(sections: dict[str, Section]) -> Iterator[Remark]:
    section = sections["onnxruntime"]
    if section.status == "absent":
        yield Remark(
            section="onnxruntime",
            text="nothing here can run a model: onnxruntime is not installed",
            hint="name the serving interpreter: envcheck capture --python /opt/app/venv/bin/python",
        )
    for conflict in strings(section.shared.get("conflicts")):
        yield Remark(
            section="onnxruntime",
            text=conflict,
            hint="uninstall every flavour of onnxruntime, then install the one that is meant",
        )


_LOOKS = {
    "packages": _packages,
    "system": _system,
    "cpu": _cpu,
    "cuda": _cuda,
    "onnxruntime": _onnxruntime,
}


def _cuda_version(text: str) -> tuple[int, int] | None:
    match = _CUDA.match(text)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


def _some(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
