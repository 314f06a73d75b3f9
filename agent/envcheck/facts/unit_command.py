"""Which Python a service's command starts, as far as its words and scripts tell."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

from envcheck.facts.host import Host
from envcheck.facts.unit_files import Settings
from envcheck.facts.unit_values import split_words

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")
_SCRIPT_BYTES = 16 * 1024
_IN_SCRIPT = re.compile(r"(?<![\w./-])(/[\w./+-]*/(?:python|pypy)[\d.]*t?)(?![\w./-])")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)\b)")


def command_of(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return the words of ExecStart=, as systemctl ({ path=... ; argv[]=... ; }) or a unit file has it.

    Variables are filled in, in the arguments only, as systemd does.
    """
    started = (settings.get("ExecStart") or [""])[-1]
    if started.startswith("{ path="):
        fields = dict(part.partition("=")[::2] for part in started.strip("{} ").split(" ; "))
        words = [fields.get("path", ""), *split_words(fields.get("argv[]", ""))[1:]]
    else:
        words = split_words(started)
        prefix = words[0][: len(words[0]) - len(words[0].lstrip("@-:+!|"))] if words else ""
        # Behind @ stands the name that the program is told as its own.
        words = [words[0][len(prefix) :], *words[2 if "@" in prefix else 1 :]] if words else []
        if ":" in prefix:
            return words
    return [*words[:1], *(_filled(word, environ) for word in words[1:])]


def interpreter_of(words: list[str], environ: Mapping[str, str], host: Host, folder: str = "/") -> str:
    """Return the path of the Python that a command line starts, "" when none is to be seen.

    A program named so, a script whose first line names one, or a word further on: behind `nice`, in `sh -c`.
    `folder` is the working directory, which relative paths begin at.
    """
    flat = [part for word in words for part in (word.split() or [word])]
    for word in flat[:64]:
        base = word.rpartition("/")[2]
        path = f"{folder.rstrip('/')}/{word.removeprefix('./')}" if _is_relative(word) else word
        if _PYTHON.fullmatch(base) and (found := _on_path(path, environ, host)):
            return found
        if "/" in path and (found := _by_first_line(path, environ, host)):
            return found
    return ""


def _is_relative(word: str) -> bool:
    return "/" in word and not word.startswith("/")


def _filled(word: str, environ: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: environ.get(match.group(1) or match.group(2), ""), word)


def _by_first_line(path: str, environ: Mapping[str, str], host: Host) -> str:
    """Return the interpreter that a script names in its first line, or in pip's second one for long paths."""
    try:
        head = host.read(path, _SCRIPT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    if not head.startswith("#!"):
        return ""
    lines = head.splitlines()
    words = lines[0][2:].split()
    if len(lines) > 1 and lines[1].startswith("'''exec'"):
        words = split_words(lines[1].removeprefix("'''exec'"))[:1]
    named = [word for word in words if _PYTHON.fullmatch(word.rpartition("/")[2])]
    # A shell script that starts the service: unless it names several, the interpreter in it is the one.
    named = named or list(dict.fromkeys(_IN_SCRIPT.findall(head)))
    return _on_path(named[0], environ, host) if len(named) == 1 else ""


def _on_path(word: str, environ: Mapping[str, str], host: Host) -> str:
    if "/" in word:
        return word
    folders = environ.get("PATH", PATH)
    if host.tree == "/":
        return shutil.which(word, path=folders) or ""
    for folder in folders.split(":"):
        try:
            host.read(f"{folder}/{word}", 1)
        except OSError:
            continue
        return f"{folder}/{word}"
    return ""
