"""Files of variables, as systemd's EnvironmentFile= reads them."""

from __future__ import annotations

import re

from envcheck.errors import BadInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPABLE = '"\\`$'


def parse_env_file(data: bytes, source: str) -> dict[str, str]:
    """Return the variables of an env file; the last one of a name counts.

    Lines are NAME=VALUE, values may be quoted with ' or ", a backslash at the end continues a line,
    `#` and `;` begin comments, nothing is expanded. Raises BadInput naming `source` and the line.
    """
    variables: dict[str, str] = {}
    lines = data.decode("utf-8", "replace").split("\n")
    at = 0
    while at < len(lines):
        number = at + 1
        line = lines[at].rstrip("\r")
        at += 1
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        while _continues(line) and at < len(lines):
            line = _join(line, lines[at].rstrip("\r"))
            at += 1
        name, value = _assignment(line, source, number)
        variables[name] = value
    return variables


def _continues(line: str) -> bool:
    """Whether the next line belongs to this one: an open quote, or a backslash at the end."""
    _, closed = _unquote(line.partition("=")[2])
    trailing = len(line) - len(line.rstrip("\\"))
    return not closed or trailing % 2 == 1


def _join(line: str, following: str) -> str:
    if (len(line) - len(line.rstrip("\\"))) % 2 == 1:
        return line[:-1] + following
    return line + "\n" + following


def _assignment(line: str, source: str, number: int) -> tuple[str, str]:
    name, separator, raw = line.partition("=")
    name = name.strip()
    if not separator or _NAME.fullmatch(name) is None:
        # The value may be a secret: it is not repeated.
        raise BadInput(
            f"{source}, line {number}: this is no variable", "lines are NAME=VALUE; # begins a comment"
        )
    value, closed = _unquote(raw)
    if not closed:
        raise BadInput(f"{source}, line {number}: a quote is not closed")
    if "\0" in value:
        raise BadInput(f"{source}, line {number}: the value holds a zero byte")
    return name, value


def _unquote(raw: str) -> tuple[str, bool]:
    """Return the value that `raw` stands for, and whether every quote was closed."""
    text = raw.strip()
    if text[:1] not in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", text), True
    quote, out, at = text[0], "", 1
    while at < len(text):
        char = text[at]
        if char == quote:
            rest, closed = _unquote(text[at + 1 :]) if text[at + 1 :].strip() else ("", True)
            return out + rest, closed
        if char == "\\" and quote == '"' and text[at + 1 : at + 2] in tuple(_ESCAPABLE):
            at += 1
            char = text[at]
        out += char
        at += 1
    return out, False
