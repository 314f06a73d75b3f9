"""What of a fingerprint looks wrong before any model is known. Verdicts are the judge's. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envcheck.contract.fingerprint import Fingerprint, Section
from envcheck.output.opaque import items, mapping, number, strings
from envcheck.output.remark import Remark, some
from envcheck.output.remarks_cuda import about_cuda
from envcheck.output.remarks_machine import about_cpu, about_memory, about_system


def remarks(fingerprint: Fingerprint) -> list[Remark]:
    """Return what looks wrong, in the order of the sections."""
    sections = fingerprint.sections
    found = [*_incomplete(sections)]
    for name, look in _LOOKS.items():
        if name in sections and sections[name].status in ("ok", "absent"):
            found += look(sections)
    order = list(sections)
    return sorted(found, key=lambda remark: order.index(remark.section))


# Reasons of a section that was not gathered by asking: see `facts/tree.py`.
_FOREIGN = ("it is built for ", "its loader ")


def _incomplete(sections: dict[str, Section]) -> Iterator[Remark]:
    hints = {
        "unreadable": "run it as a user who may look, or give this user's group access",
        "error": "without this section a verdict is unknown",
    }
    for name, section in sections.items():
        if section.status in hints:
            yield Remark(section=name, text=f"{section.status}: {section.reason}", hint=hints[section.status])
        # Of a tree nothing is run; on the machine itself what can't be run can't serve.
        if name == "python" and section.status == "skipped" and section.reason.startswith(_FOREIGN):
            yield Remark(
                section=name,
                text=f"the interpreter can't be run on this machine: {section.reason}",
                hint="install one that is built for it, or name the one that serves: --python",
            )


def _packages(sections: dict[str, Section]) -> Iterator[Remark]:
    entries = {name: entry for name, entry in sections["packages"].shared.items() if isinstance(entry, dict)}
    broken = [f"{name} ({entry['broken']})" for name, entry in entries.items() if entry.get("broken")]
    if broken:
        yield Remark(
            section="packages",
            text=f"broken: {some(broken)}",
            hint="install them again with --force-reinstall",
        )
    hidden = [name for name, entry in entries.items() if _differs(entry)]
    if hidden:
        yield Remark(
            section="packages",
            text=f"another version is hidden behind the one that is imported: {some(hidden)}",
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
                text = f"{name}: {count:g} {_FILES[kind]} ({some(strings(named.get('names')))})"
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
    "system": about_system,
    "cpu": about_cpu,
    "memory": about_memory,
    "cuda": about_cuda,
    "onnxruntime": _onnxruntime,
}
