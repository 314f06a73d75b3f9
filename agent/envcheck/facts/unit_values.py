"""The values in systemd's settings: quoted words, sizes, spans of time, lists of CPUs. Pure."""

from __future__ import annotations

import re

from envcheck.facts.section import cpu_list

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"(\d{1,18})([KMGTPE]?)i?B?", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(us|ms|s|min|%)?")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "": 1e-6}
# `infinity` as the number that D-Bus carries.
_INFINITE = 1 << 63


def split_words(text: str) -> list[str]:
    r"""Split as systemd does: white space separates, ' and " (also $'...') hold together, \ escapes."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\" and at < len(text):
            plain, at = _escaped(text, at)
            word = [*(word or []), plain]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = [*(word or []), char]
        elif char in "'\"":
            quote = char
            # Shells' $'...', as systemctl writes it.
            word = word[:-1] if word and word[-1] == "$" else word or []
        elif char.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
    if word is not None:
        words.append("".join(word))
    return words


def _escaped(text: str, at: int) -> tuple[str, int]:
    """Return what the escape behind a backslash at `at` stands for, and where it ends."""
    char = text[at]
    match = re.compile(r"x([0-9A-Fa-f]{2})|([0-7]{3})").match(text, at)
    if match:
        code = int(match.group(1), 16) if match.group(1) else int(match.group(2), 8)
        return chr(code), match.end()
    return _ESCAPES.get(char, char), at + 1


def variables(text: str) -> dict[str, str]:
    """Read the value of Environment=: NAME=VALUE words; what is none is left out, as systemd does."""
    found = {}
    for word in split_words(text):
        name, separator, value = word.partition("=")
        if separator and _NAME.fullmatch(name) and "\0" not in value:
            found[name] = value
    return found


def limit(text: str) -> int | None:
    """Read a resource limit: a number, with K, M, G ... of 1024; None when it is unlimited or no number."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number = int(match.group(1)) * 1024 ** _POWERS[match.group(2).upper()]
    return number if number < _INFINITE else None


def size_mib(text: str) -> int | None:
    """Read a size as whole MiB; None when there is no limit."""
    found = limit(text)
    return None if found is None else found // 1024**2


def time_share(text: str) -> float | None:
    """Read how many CPUs a quota grants: `1.500s` of a second, or `150%`; None when there is none."""
    parts = _SPAN.findall(text.strip())
    if not parts or _SPAN.sub("", text.strip()).strip():
        return None
    share = sum(float(number) * (0.01 if unit == "%" else _SECONDS[unit]) for number, unit in parts)
    return round(share, 3) if share > 0 else None


def cpus(text: str) -> list[int]:
    """Read CPUAffinity=: numbers and ranges, separated by commas or white space."""
    return cpu_list(",".join(text.replace(",", " ").split()))
