"""A fingerprint on one screen: what this machine is, what would serve the model, what looks wrong already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from envcheck.contract.fingerprint import Fingerprint, Section
from envcheck.contract.text import inert
from envcheck.output.console import columns, console, print_trimmed, state, words
from envcheck.output.opaque import items, mapping, number, strings
from envcheck.output.remark import Remark
from envcheck.output.remarks import remarks

if TYPE_CHECKING:
    from rich.console import Console

# The packages that a model's process usually loads: named on the one screen, in this order.
_NAMED = ("onnxruntime", "onnxruntime-gpu", "numpy", "torch", "scipy", "opencv-python", "pillow")
_GIB_IN_MIB = 1024
# With two lines each they fit below the sections on a screen of 40 lines.
_MAX_REMARKS = 10
_NEXT = "nothing looks wrong; next: envcheck check BUNDLE, or envcheck capture --json"
_NEXT_SKIPPED = "nothing looks wrong so far; next: name what serves the model with --python EXE"


def print_capture(fingerprint: Fingerprint, out: Console | None = None, *, whole: bool = False) -> None:
    """Print the summary to stdout (or to `out`), on one screen; `whole` has every remark there is."""
    screen = out or console()
    screen.print(words(headline(fingerprint), style="bold"))
    screen.print()
    grid = columns()
    for name, section in fingerprint.sections.items():
        grid.add_row(_state(section), name, words(summary(name, section)))
    print_trimmed(screen, grid)
    found = remarks(fingerprint)
    if found:
        screen.print()
        screen.print(words("looks wrong already"))
        table = columns()
        shown = found if whole else first_remarks(found)
        for remark in shown:
            table.add_row(state("warn"), remark.section, words(remark.text))
            if remark.hint:
                table.add_row("", "", words(remark.hint, style="dim"))
        if more := len(found) - len(shown):
            table.add_row(state("warn"), f"{more} more", words("all of them: --format text -o FILE"))
        print_trimmed(screen, table)
    screen.print()
    screen.print(words(f"fingerprint {fingerprint.digest}", style="dim"))
    if not found:
        skipped = any(section.status == "skipped" for section in fingerprint.sections.values())
        screen.print(words(_NEXT_SKIPPED if skipped else _NEXT))


def first_remarks(found: list[Remark]) -> list[Remark]:
    """Return as many as fit on a screen: every section's first before any section's second."""
    ranks: list[tuple[int, int]] = []
    seen: Counter[str] = Counter()
    for place, remark in enumerate(found):
        ranks.append((seen[remark.section], place))
        seen[remark.section] += 1
    return [found[place] for place in sorted(place for _, place in sorted(ranks)[:_MAX_REMARKS])]


def headline(fingerprint: Fingerprint) -> str:
    """Return one line: host, board, operating system."""
    system = fingerprint.sections.get("system")
    if system is None:
        return "this machine"
    board = mapping(system.shared.get("board"))
    parts = [
        " ".join(str(board[key]) for key in ("vendor", "model") if board.get(key)),
        str(mapping(system.shared.get("os")).get("name") or ""),
    ]
    described = ", ".join(part for part in parts if part)
    name = str(system.device.get("hostname") or "this machine")
    return inert(f"{name}: {described}" if described else name)


def summary(name: str, section: Section) -> str:
    """Return what one section has to say in a line or two."""
    if section.status != "ok":
        known = _SUMMARIES[name](section) if section.shared and name in _SUMMARIES else ""
        return f"{section.reason}; {known}" if known else section.reason
    return _SUMMARIES[name](section) if name in _SUMMARIES else f"{len(section.shared)} facts"


def _python(section: Section) -> str:
    facts = section.shared
    kind = {"venv": "virtual environment", "conda": "conda environment"}.get(
        str(facts.get("environment")), "system"
    )
    parts = [
        f"{facts.get('implementation')} {facts.get('version')}",
        f"{kind} {section.device.get('prefix')}",
    ]
    libc = mapping(facts.get("libc"))
    if libc:
        parts.append(f"{libc.get('name')} {libc.get('version', '')}".strip())
    if section.device.get("container"):
        parts.append(f"in the container {section.device['container']}")
    if facts.get("isolated") and section.status == "ok":
        parts.append("asked alone (-I): no serving environment is configured")
    return ", ".join(parts)


def _packages(section: Section) -> str:
    named = []
    for name in _NAMED:
        entry = mapping(section.shared.get(name))
        if entry:
            local = f"+{entry['local']}" if entry.get("local") else ""
            named.append(f"{name} {entry.get('version', '')}{local}")
    libraries = sum(mapping(entry).get("kind") == "conda" for entry in section.shared.values())
    counted = f"{len(section.shared) - libraries} distributions"
    if libraries:
        counted += f" and {libraries} libraries of conda"
    if files := number(mapping(section.device.get("verified")).get("files")):
        counted += f" ({files:g} files verified)"
    return counted + (f": {', '.join(named)}" if named else "")


def _system(section: Section) -> str:
    facts = section.shared
    parts = [f"kernel {facts['kernel']}" if facts.get("kernel") else "", str(facts.get("machine", ""))]
    if facts.get("container"):
        parts.append(f"in a container ({facts['container']})")
    if facts.get("vm"):
        parts.append("virtual machine" + (f" ({facts['vm']})" if facts["vm"] != "unknown" else ""))
    uptime = number(section.readings.get("uptime_s"))
    if uptime is not None:
        parts.append(f"up {_duration(uptime)}")
    return ", ".join(part for part in parts if part)


def _cpu(section: Section) -> str:
    facts = section.shared
    parts = [str(facts.get("model") or facts.get("architecture", "")), str(facts.get("level", ""))]
    parts.append(f"{facts.get('threads')} threads")
    if facts.get("affinity") not in (None, facts.get("threads")):
        parts.append(f"{facts['affinity']} of them usable")
    if facts.get("quota") is not None:
        parts.append(f"quota of {facts['quota']} CPUs")
    if governors := strings(facts.get("governors")):
        parts.append(f"governor {' '.join(governors)}")
    return ", ".join(part for part in parts if part)


def _memory(section: Section) -> str:
    parts = [_gib(section.shared.get("total_mib"))]
    if section.shared.get("limit_mib") is not None:
        parts.append(f"limit {_gib(section.shared['limit_mib'])}")
    if section.readings.get("available_mib") is not None:
        parts.append(f"{_gib(section.readings['available_mib'])} available")
    if section.shared.get("swap_mib"):
        parts.append(f"swap {_gib(section.shared['swap_mib'])}")
    return ", ".join(part for part in parts if part)


def _cuda(section: Section) -> str:
    facts = section.shared
    names = [_gpu(mapping(gpu)) for gpu in items(facts.get("gpus"))]
    counts = {name: names.count(name) for name in names}
    parts = [", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())]
    if facts.get("l4t"):
        parts.append(f"L4T {facts['l4t']}")
    if facts.get("driver"):
        parts.append(f"driver {facts['driver']}")
    if facts.get("driver_cuda"):
        parts.append(f"up to CUDA {facts['driver_cuda']}")
    return ", ".join(part for part in parts if part)


def _gpu(gpu: dict[str, Any]) -> str:
    name = str(gpu.get("name") or "a GPU")
    profiles = [str(mapping(part).get("profile") or "") for part in items(gpu.get("partitions"))]
    told = " ".join(profile for profile in profiles if profile) or (
        f"{len(profiles)} parts" if profiles else ""
    )
    return f"{name} (MIG {told})" if told else name


def _onnxruntime(section: Section) -> str:
    facts = section.shared
    providers = ["cpu", *strings(facts.get("providers"))]
    flavours = " and ".join(mapping(facts.get("flavours"))) or "no distribution"
    return f"{facts.get('version', '')} from {flavours}, providers: {', '.join(providers)}"


def _variables(section: Section) -> str:
    parts = [f"{name}={str(value)[:60]}" for name, value in mapping(section.shared.get("values")).items()]
    parts = parts or ["none that changes numbers or speed"]
    unit = mapping(section.shared.get("unit"))
    if unit:
        running = f"process {section.device['pid']}" if section.device.get("pid") else "not running"
        parts.insert(0, f"of {unit.get('name')} ({running})")
    model = mapping(section.readings.get("model"))
    if model:
        parts.append(f"model {str(model.get('sha256') or model.get('status'))[:12]}")
    return ", ".join(parts)


_SUMMARIES: dict[str, Callable[[Section], str]] = {
    "python": _python,
    "packages": _packages,
    "system": _system,
    "cpu": _cpu,
    "memory": _memory,
    "cuda": _cuda,
    "onnxruntime": _onnxruntime,
    "variables": _variables,
}


def _state(section: Section) -> Any:
    return state(section.status)


def _gib(size: Any) -> str:
    mib = number(size)
    if mib is None:
        return ""
    return f"{mib / _GIB_IN_MIB:.1f} GiB" if mib >= _GIB_IN_MIB else f"{mib:.0f} MiB"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return (
        f"{hours / 24:.0f} days"
        if hours >= 48
        else f"{hours:.0f} h"
        if hours >= 2
        else f"{seconds / 60:.0f} min"
    )
