"""Unit files as systemd reads them, where no systemd can be asked: in an image, or without a bus."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from envcheck.errors import BadInput
from envcheck.facts.host import Host

# Earlier folders win; drop-ins of one file name likewise.
FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_SECTION = re.compile(r"\[([^\]]+)\]")
_SPECIFIER = re.compile(r"%(.)")
Settings = dict[str, list[str]]


def read_unit(name: str, host: Host) -> Settings:
    """Return the settings of section [Service], every one as the list of what was assigned to it.

    Assigning nothing empties the list, as systemd has it. Specifiers of the unit's own name are filled in.
    Raises BadInput for a unit that is not there, is masked, or whose files can't be read.
    """
    fragment = _fragment(name, host)
    settings: Settings = {}
    for path in [fragment, *_drop_ins(name, host)]:
        for section, key, value in parse_unit(_text(path, host)):
            if section != "Service":
                continue
            if value:
                settings.setdefault(key, []).append(_specified(value, name))
            else:
                settings[key] = []
    return settings


def parse_unit(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of every assignment; comments and what is no assignment are skipped."""
    section = ""
    for line in _joined(text):
        if match := _SECTION.fullmatch(line):
            section = match.group(1)
            continue
        key, separator, value = line.partition("=")
        if separator and section:
            yield section, key.strip(), value.strip()


def _joined(text: str) -> Iterator[str]:
    """Yield lines, those that end with a backslash joined with the next; comments in between are dropped."""
    kept = ""
    for raw in text.replace("\r\n", "\n").split("\n"):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not kept):
            continue
        if line.endswith("\\"):
            kept += line[:-1] + " "
            continue
        yield (kept + line).strip()
        kept = ""
    if kept.strip():
        yield kept.strip()


def _fragment(name: str, host: Host) -> str:
    for candidate in _names(name):
        for folder in FOLDERS:
            path = f"{folder}/{candidate}"
            try:
                if host.link(path) == "/dev/null":
                    raise BadInput(f"the unit {name} is masked ({path})", f"systemctl unmask {name}")
            except OSError:
                pass
            if _is_there(path, host):
                return path
    where = "" if host.live else f" below {host.root}"
    raise BadInput(f"there is no unit {name}{where}", "see: systemctl list-units --type=service")


def _names(name: str) -> list[str]:
    """Return the names of a unit's own file, and of its template if it is an instance."""
    stem, at, rest = name.partition("@")
    return [name, f"{stem}@.{rest.rpartition('.')[2]}"] if at else [name]


def _drop_ins(name: str, host: Host) -> list[str]:
    kind = name.rpartition(".")[2]
    dashes = name.rpartition(".")[0].split("-")
    prefixes = ["-".join(dashes[:count]) + f"-.{kind}" for count in range(1, len(dashes))]
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for owner in (*_names(name), *prefixes, kind):
            try:
                names = host.names(f"{folder}/{owner}.d")
            except OSError:
                continue
            for file in fnmatch.filter(names, "*.conf"):
                found.setdefault(file, f"{folder}/{owner}.d/{file}")
    return [found[file] for file in sorted(found)]


def _is_there(path: str, host: Host) -> bool:
    try:
        host.read(path, 1)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _text(path: str, host: Host) -> str:
    try:
        return host.read(path).decode("utf-8", "replace")
    except OSError as error:
        raise BadInput(
            f"the unit file {path} can't be read: {error.strerror}", "run envcheck as a user who may read it"
        ) from None


def _specified(value: str, name: str) -> str:
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    known = {"n": name, "N": stem, "p": prefix, "i": instance, "I": instance.replace("-", "/"), "%": "%"}
    known["j"] = prefix.rpartition("-")[2]
    return _SPECIFIER.sub(lambda match: known.get(match.group(1), match.group(0)), value)
