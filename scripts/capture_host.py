"""Copy the files that `envcheck capture` reads from this device into a test fixture, without its identity.

    python scripts/capture_host.py tests/hosts/NAME [--python /opt/app/venv/bin/python]

What is copied is what a capture asked for, and nothing else; with an interpreter also what it would import
(`capture_host_python.py`). Serials, addresses, ids, host and user names, paths below /home and the like are
replaced; look through the result before you share it all the same. Then the capture of the copy is held to
that of the device.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from capture_host_python import kept, look, make_elf, shortened, texts_changed

from envcheck.contract.fingerprint import SECTION_NAMES, Fingerprint, shared_fingerprint
from envcheck.facts.asking import Asking
from envcheck.facts.auxv import make_auxv, parse_auxv
from envcheck.facts.elf import parse_elf
from envcheck.facts.gather import capture
from envcheck.facts.host import FILE_LIMIT, Host, Target, resolve_target
from envcheck.facts.interpreter import parse_answer
from envcheck.facts.loader import ld_cache_paths
from envcheck.facts.tree import ANSWER
from envcheck.facts.variables import NOT_INHERITED, allowed

# Of large environments the records take a megabyte each.
_LIMIT = 64 * 1024 * 1024
_DEADLINE_S = 60.0
_PROCESS = ("/proc/self", "/proc/thread-self")
# Of large folders only the names that a capture looks for are kept, of /dev only the nodes it asked about.
_MANY = 64
_LOOKED_FOR = ("ld-musl-", "libcu", "libnv")
_HEX = re.compile(rb"\b[0-9a-f]{12,64}\b")
# systemd names a port without a place of its own by its address.
_ADDRESS_IN_NAME = re.compile(rb"\b((?:en|wl|ww)x)[0-9a-f]{12}\b")
_UUID = re.compile(rb"\b(GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@dataclass
class Asked:
    """What a capture asked of a host, and was told."""

    root: Path
    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    answers: dict[str, bytes] = field(default_factory=dict)
    # Of these the names are already those that a capture looks for.
    searched: dict[str, list[str]] = field(default_factory=dict)


def recording(asked: Asked) -> Host:
    """Return a host that notes everything it is asked."""

    class Recorder(Host):
        def read(self, path: str, limit: int = FILE_LIMIT, at: int = 0) -> bytes:
            data = super().read(path, limit, at)
            if at == 0:
                asked.files[path] = _linkage(self, path) if shortened(path, data) else data
            return data

        def names(self, path: str) -> list[str]:
            asked.folders[path] = super().names(path)
            return asked.folders[path]

        def link(self, path: str) -> str:
            leads = super().link(path)
            asked.links.add(path)
            return leads

        def is_device(self, path: str) -> bool:
            found = super().is_device(path)
            if found:
                asked.devices.add(path)
            return found

        def answer(self, name: str, ask: Callable[[], bytes]) -> bytes:
            asked.answers[name] = super().answer(name, ask)
            return asked.answers[name]

    live = asked.root == Path("/")
    return Recorder(root=asked.root, environ=os.environ if live else {})


def _linkage(host: Host, path: str) -> bytes:
    elf = parse_elf(lambda at, length: Host.read(host, path, length, at) if at >= 0 else b"")
    return make_elf(elf) if elf else b""


def ask_python(asked: Asked, target: Target, host: Host, asking: Asking) -> None:
    """Note what the target's interpreter told of itself, and the files of what it would import."""
    told = parse_answer(asking.wait().stdout)
    if told is None:
        sys.exit(f"{target.python} gave no answer that can be read: see `envcheck capture --section python`")
    looked = look(told, Host(host.base))
    asked.files.update(looked.files)
    asked.searched.update(looked.folders)
    asked.answers[ANSWER] = kept(target.python, told, _anonymous_text)


def scrub(path: str, data: bytes) -> bytes | None:
    """Return what of a file may leave the device; None to leave the file out."""
    for pattern, change in _SCRUBBED:
        if re.fullmatch(pattern, path):
            return change(data)
    return anonymous(data)


def anonymous(data: bytes) -> bytes:
    """Replace what identifies a device or its user in any text or path."""
    if data.startswith(b"/sys/fs/cgroup/"):
        data = _HEX.sub(b"0" * 12, data)
    data = re.sub(rb"(?<=/home/)[^/\s\0:]+", b"user", data)
    data = _ADDRESS_IN_NAME.sub(rb"\g<1>020000000001", data)
    data = _UUID.sub(rb"\1-00000000-0000-4000-8000-000000000000", data)
    for name in (os.uname().nodename, os.environ.get("USER", "")):
        # Short ones are part of other words.
        if len(name) >= 4 and name != "root":
            data = data.replace(name.encode(), b"device")
    return data


def _anonymous_text(text: str) -> str:
    return anonymous(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _anonymous_json(data: bytes) -> bytes | None:
    try:
        return texts_changed(json.loads(data), _anonymous_text)
    except (ValueError, RecursionError):
        return None


def _cpuinfo(data: bytes) -> bytes:
    return re.sub(rb"(?m)^(Serial\s*: )\w+", rb"\g<1>1000000000000000", data)


def _only(*names: bytes) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(line + b"\n" for line in data.splitlines() if line.startswith(names))


def _auxv(data: bytes) -> bytes:
    """Keep what tells of the processor: the rest are addresses of one process."""
    auxv = parse_auxv(data)
    if auxv is None:
        return b""
    return make_auxv({key: auxv.entries[key] for key in [6, 16, 26] if key in auxv.entries}, auxv.bits)


def _ld_cache(data: bytes) -> bytes:
    """Write the cache anew with the libraries that a capture looks for."""
    paths = ld_cache_paths(data)
    head = 48 + 24 * len(paths)
    entries = strings = b""
    for name, path in paths.items():
        key = anonymous(path.encode()) + b"\0" + name.encode() + b"\0"
        value = head + len(strings)
        entries += struct.pack("=iIIIQ", 0x303, value + key.index(b"\0") + 1, value, 0, 0)
        strings += key
    sizes = struct.pack("=II", len(paths), len(strings))
    return b"glibc-ld.so.cache1.1" + sizes + b"\0" * 20 + entries + strings


def _nvml(data: bytes) -> bytes:
    told = json.loads(data)
    for gpu in told.get("gpus", []):
        gpu["serial"] = gpu.get("serial") and "1000000000000"
    return anonymous(json.dumps(told, indent=1).encode() + b"\n")


def _constant(text: str) -> Callable[[bytes], bytes]:
    return lambda _: text.encode()


_SCRUBBED: list[tuple[str, Callable[[bytes], bytes | None]]] = [
    (r"/proc/sys/kernel/random/boot_id", _constant("00000000-0000-4000-8000-000000000000\n")),
    (r"/etc/hostname", _constant("device\n")),
    (r"/etc/timezone", _constant("Etc/UTC\n")),
    (r"/proc/uptime", _constant("1000.00 1000.00\n")),
    (r"/proc/loadavg", _constant("0.10 0.10 0.10 1/100 1000\n")),
    (r"/proc/device-tree/serial-number", lambda data: b"1" + b"0" * (len(data.rstrip(b"\0")) - 1) + b"\0"),
    (r".*/address", _constant("02:00:00:00:00:01\n")),
    (r"/proc/cpuinfo", _cpuinfo),
    (r"/proc/(thread-)?self/status", _only(b"Cpus_allowed_list")),
    (r"/proc/(thread-)?self/mountinfo", lambda _: None),
    (r"/proc/(thread-)?self/cgroup", lambda data: _HEX.sub(b"0" * 12, anonymous(data))),
    (r"/proc/thread-self/auxv", _auxv),
    (r"/etc/ld\.so\.cache", _ld_cache),
    (r"/run/\.containerenv|/\.dockerenv", _constant("")),
    # Rows of a wheel, relative to it: changing one would change the build's identity.
    (r".*\.dist-info/RECORD|.*/onnxruntime/capi/.*|.*\.(egg|whl|zip|pyz)", lambda data: data),
    (r".*/direct_url\.json|/\.answers/(interpreter|variables)\.json", _anonymous_json),
    (r"/\.answers/nvml\.json", lambda data: _nvml(data) if data.startswith(b"{") else data),
]


def write_tree(asked: Asked, out: Path) -> None:
    """Write everything that was asked for below `out`."""
    for path, data in asked.files.items():
        left = scrub(path, data)
        if left is not None:
            _write(_placed(asked, out, path), left)
    for name, data in asked.answers.items():
        if left := scrub(f"/.answers/{name}", data):
            _write(out / ".answers" / name, left)
    _write(out / "etc/hostname", b"device\n")
    for path in asked.devices:
        _write(_placed(asked, out, path), b"")
    for path in sorted(asked.links):
        if "/etc/localtime" not in path:
            _placed(asked, out, f"{path}/x")
    for folder, names in asked.folders.items():
        _write_names(asked, out, folder, names)
    for folder, names in asked.searched.items():
        _placed(asked, out, f"{folder}/x").parent.mkdir(parents=True, exist_ok=True)
        _write_names(asked, out, folder, names, most=len(names))


def _write_names(asked: Asked, out: Path, folder: str, names: list[str], most: int = _MANY) -> None:
    if folder in ("/dev", "/dev/nvgpu"):
        return
    place = _placed(asked, out, f"{folder}/x").parent
    for name in names:
        source = asked.root / folder.lstrip("/") / name
        copy = place / os.fsdecode(anonymous(os.fsencode(name)))
        if (len(names) <= most or name.startswith(_LOOKED_FOR)) and not os.path.lexists(copy):
            if source.is_dir():
                copy.mkdir(parents=True)
            else:
                _write(copy, b"")


def _placed(asked: Asked, out: Path, path: str) -> Path:
    """Return where a file lies in the copy, links on the way made like the device's. /proc/self is none."""
    todo = [part for part in anonymous(path.encode()).decode().split("/") if part][::-1]
    named = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    for _ in range(200):
        if not todo:
            break
        part, real = todo.pop(), named.pop()
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        here = "/" + "/".join([*done[:-1], real])
        source = asked.root / here.lstrip("/")
        if not source.is_symlink() or here in _PROCESS:
            continue
        leads = source.readlink()
        copy = out.joinpath(*done)
        if not os.path.lexists(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(anonymous(os.fsencode(leads)).decode())
        done = [] if leads.is_absolute() else done[:-1]
        parts = [part for part in str(leads).split("/") if part and part != "."][::-1]
        named.extend(parts)
        todo.extend(anonymous(part.encode()).decode() for part in parts)
    return out.joinpath(*done)


def _write(path: Path, data: bytes) -> None:
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def differences(device: Fingerprint, copy: Fingerprint) -> list[str]:
    """Name what the copy tells otherwise than the device, of what both share."""
    ours, theirs = shared_fingerprint(device), shared_fingerprint(copy)
    told = {
        place: [{"status": section.status, **section.facts}.get(place[1]) for section in pair]
        for name, one in ours.sections.items()
        for pair in [(one, theirs.sections[name])]
        for place in [(name, key) for key in sorted({"status", *pair[0].facts, *pair[1].facts})]
    }
    return [
        f"{name}.{key}: {here!r} here, {there!r} in the copy"
        for (name, key), (here, there) in told.items()
        if here != there
    ]


def _target(python: str | None, host: Host) -> Target:
    return resolve_target(python, None, host=host) if python else Target("")


def _captured(asked: Asked, target: Target, host: Host) -> Fingerprint:
    asking = Asking(target, host, time.monotonic() + _DEADLINE_S, SECTION_NAMES)
    found = capture(target, host=host, deadline_s=_DEADLINE_S, asking=asking)
    if host.live:
        own = {key: value for key, value in allowed(os.environ).items() if key not in NOT_INHERITED}
        asked.answers["variables.json"] = texts_changed(own, _anonymous_text)
    if target.python:
        ask_python(asked, target, host, asking)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Copy, then compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the new fixture, like tests/hosts/my-device")
    parser.add_argument("--root", default="/", help="copy from a tree instead of this machine")
    parser.add_argument("--python", help="an interpreter whose packages are copied too")
    parser.add_argument("--what", default="", help="one line that says what the device is")
    options = parser.parse_args(arguments)
    out: Path = options.folder / "root"
    if out.exists():
        parser.error(f"{out} is there already")
    asked = Asked(Path(options.root).resolve())
    host = recording(asked)
    target = _target(options.python, host)
    device = _captured(asked, target, host)
    size = sum(map(len, asked.files.values()))
    if size > _LIMIT:
        parser.error(f"too much to copy: {size / 2**20:.0f} MiB of at most {_LIMIT / 2**20:.0f}")
    write_tree(asked, out)
    what = options.what or "A device."
    (options.folder / "SOURCE.md").write_text(
        f"{what}\n\nCaptured from it by scripts/capture_host.py on {date.today()}; identities are replaced.\n"
    )
    tree = Host(root=out.resolve(), environ={})
    copy = capture(_target(_anonymous_text(target.python), tree), host=tree)
    found = differences(device, copy)
    for line in found:
        print(f"differs: {line}", file=sys.stderr)
    print(f"{out}: {sum(path.is_file() for path in out.rglob('*'))} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
