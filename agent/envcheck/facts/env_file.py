"""Files of variables, as systemd's EnvironmentFile= reads them. Pure."""

from __future__ import annotations

import re

from envcheck.errors import BadInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SKIPPED = re.compile(r"(?:\s+|[#;][^\n]*)+")
_QUOTED = re.compile(r"""[ \t]*(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")""", re.DOTALL)
_PLAIN = re.compile(r"[ \t]*(?P<plain>(?:[^\\\n]|\\.)*)\\?(?:\n|$)", re.DOTALL)
_ESCAPE_IN_DOUBLE = re.compile(r'\\(["\\`$\n])')
_ESCAPE_IN_PLAIN = re.compile(r"\\(.)", re.DOTALL)


def parse_env_file(data: bytes, source: str, *, lenient: bool = False) -> dict[str, str]:
    """Return the variables of an env file; the last one of a name counts.

    Lines are NAME=VALUE. A value may begin with parts in ' or ", which may hold newlines; a backslash at
    the end continues a line; `#` and `;` begin comments; nothing is expanded. Raises BadInput naming
    `source` and the line, and never repeats a value: it may be a secret. `lenient` passes over lines that are
    no variables, as systemd does.
    """
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    at = _after_skipped(text, 0)
    while at < len(text):
        number = text.count("\n", 0, at) + 1
        name, separator, _ = text[at:].partition("\n")[0].partition("=")
        if not separator or _NAME.fullmatch(name.strip()) is None:
            if lenient:
                at = _after_skipped(text, at + len(text[at:].partition("\n")[0]))
                continue
            raise BadInput(
                f"{source}, line {number}: this is no variable", "lines are NAME=VALUE; # begins a comment"
            )
        value, at = _value(text, at + len(name) + 1, f"{source}, line {number}")
        variables[name.strip()] = value
        at = _after_skipped(text, at)
    return variables


def _after_skipped(text: str, at: int) -> int:
    match = _SKIPPED.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, where: str) -> tuple[str, int]:
    """Return the value that begins at `at`, and where the next line begins."""
    value = ""
    while match := _QUOTED.match(text, at):
        double = match.group("double")
        value += match.group("single") if double is None else _ESCAPE_IN_DOUBLE.sub(_escaped, double)
        at = match.end()
    rest = _PLAIN.match(text, at)
    plain = rest.group("plain") if rest else ""
    if rest is None or plain[:1] in ("'", '"'):
        raise BadInput(f"{where}: a quote is not closed")
    value += _ESCAPE_IN_PLAIN.sub(_escaped, plain.rstrip(" \t"))
    if "\0" in value:
        raise BadInput(f"{where}: the value holds a zero byte")
    return value, rest.end()


def _escaped(match: re.Match[str]) -> str:
    """Return what an escape stands for: the character, or nothing for a continued line."""
    return "" if match.group(1) == "\n" else match.group(1)
