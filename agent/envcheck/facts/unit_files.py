"""Unit files as systemd reads them, where no systemd can be asked: in an image, or without a bus."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence

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
# Those of a user's own manager (`systemctl --user`), below a home and for all users.
_OF_HOME = (".config/systemd/user", ".local/share/systemd/user")
USER_FOLDERS = (
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
)
_MAX_HOMES = 64
_SECTION = re.compile(r"\[([^\]]+)\]")
_SPECIFIER = re.compile(r"%(.)")
Settings = dict[str, list[str]]


def read_unit(name: str, host: Host) -> Settings:
    """Return the settings of section [Service], every one as the list of what was assigned to it.

    Assigning nothing empties the list, as systemd has it. Specifiers of the unit's own name are filled in.
    Raises BadInput for a unit that is not there, is masked, or whose files can't be read.
    """
    found = _read(name, host, FOLDERS) or read_user_unit(name, host)
    if found is None:
        where = "" if host.live else f" below {host.root}"
        raise BadInput(
            f"there is no unit {name}{where}, of the system or of a user",
            "see: systemctl list-units --type=service, and the same with --user",
        )
    return found


def read_user_unit(name: str, host: Host) -> Settings | None:
    """Return the settings of a unit of a user's manager, with `Manager`; None when there is none.

    A unit in a home is its owner's: `User` says so.
    """
    homes = [(host.environ.get("HOME", ""), "")] if host.live else []
    homes += [("/root", "root"), *((f"/home/{user}", user) for user in _names_in("/home", host)[:_MAX_HOMES])]
    for home, user in homes:
        own = [f"{home}/{folder}" for folder in _OF_HOME] if home else []
        there = [folder for folder in own if not {*_names(name)}.isdisjoint(_names_in(folder, host))]
        if not there:
            continue
        found = _read(name, host, (own[0], *USER_FOLDERS, own[1]), required=there, home=home)
        if found is not None:
            return {**found, "Manager": ["user"], **({"User": [user]} if user else {})}
    found = _read(name, host, USER_FOLDERS)
    return None if found is None else {**found, "Manager": ["user"]}


def _names_in(folder: str, host: Host) -> list[str]:
    try:
        return host.names(folder)
    except OSError:
        return []


def _read(
    name: str, host: Host, folders: Sequence[str], required: Sequence[str] = (), home: str = "/root"
) -> Settings | None:
    """Read a unit whose own file is in one of `required` (default: in any of `folders`)."""
    fragment = _fragment(name, host, required or folders)
    if not fragment:
        return None
    settings: Settings = {}
    for path in [fragment, *_drop_ins(name, host, folders)]:
        for section, key, value in parse_unit(_text(path, host)):
            if section != "Service":
                continue
            if value:
                settings.setdefault(key, []).append(_specified(value, name, home))
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


def _fragment(name: str, host: Host, folders: Sequence[str]) -> str:
    for candidate in _names(name):
        for folder in folders:
            path = f"{folder}/{candidate}"
            try:
                if host.link(path) == "/dev/null":
                    raise BadInput(f"the unit {name} is masked ({path})", f"systemctl unmask {name}")
            except OSError:
                pass
            if _is_there(path, host):
                return path
    return ""


def _names(name: str) -> list[str]:
    """Return the names of a unit's own file, and of its template if it is an instance."""
    stem, at, rest = name.partition("@")
    return [name, f"{stem}@.{rest.rpartition('.')[2]}"] if at else [name]


def _drop_ins(name: str, host: Host, folders: Sequence[str]) -> list[str]:
    kind = name.rpartition(".")[2]
    dashes = name.rpartition(".")[0].split("-")
    prefixes = ["-".join(dashes[:count]) + f"-.{kind}" for count in range(1, len(dashes))]
    found: dict[str, str] = {}
    for folder in folders:
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


def _specified(value: str, name: str, home: str) -> str:
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    known = {"n": name, "N": stem, "p": prefix, "i": instance, "I": instance.replace("-", "/"), "%": "%"}
    known["j"] = prefix.rpartition("-")[2]
    known |= {"h": home, "E": "/etc", "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log"}
    return _SPECIFIER.sub(lambda match: known.get(match.group(1), match.group(0)), value)
