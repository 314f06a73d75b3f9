"""Label selectors: `site=berlin,env in (prod,stage),!retired`, as Kubernetes writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from envcheck.contract.document import Value
from envcheck.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DEVICE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|,|\(|\))|(?P<word>[A-Za-z0-9._/-]+))")
_MAX_LENGTH = 2000


class Requirement(Value, frozen=True, kw_only=True):
    """One term. `values` None asks for the key's presence; `negated` turns the answer round."""

    key: str
    values: tuple[str, ...] | None = None
    negated: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether `labels` meet this term. A missing key meets only negated terms."""
        held = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return held != self.negated


class Selector(Value, frozen=True, kw_only=True):
    """All terms must be met; without terms every device is selected."""

    terms: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a device with these labels is selected."""
        return all(term.matches(labels) for term in self.terms)


def parse_selector(text: str) -> Selector:
    """Read a selector; raises BadInput that names the position of what is wrong."""
    if len(text) > _MAX_LENGTH:
        raise BadInput(f"the selector is longer than {_MAX_LENGTH} characters")
    if not text.strip():
        return Selector()
    reader = _Reader(text)
    terms = [_term(reader)]
    while reader.peek() is not None:
        reader.take(",")
        terms.append(_term(reader))
    return Selector(terms=tuple(terms))


def parse_label(text: str) -> tuple[str, str]:
    """Split KEY=VALUE; raises BadInput when either has characters that a label may not have."""
    key, separator, value = text.partition("=")
    if not separator or not is_label(key, value):
        raise BadInput(
            f"{text[:140]!r} is not a label",
            "a label is KEY=VALUE of letters, digits, '.', '_' and '-', at most 63 characters each",
        )
    return key, value


def is_label(key: str, value: str) -> bool:
    """Tell whether key and value may be a label."""
    return _NAME.fullmatch(key) is not None and _LABEL_VALUE.fullmatch(value) is not None


def is_device_id(text: str) -> bool:
    """Tell whether `text` may name a device: up to 63 of a-z, 0-9, '.', '_', '-'."""
    return _DEVICE.fullmatch(text) is not None


class _Reader:
    """The selector as a row of tokens, each with its position."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, int]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                self.fail(at, f"{text[at]!r} has no meaning here")
            self.tokens.append((match.group("op") or match.group("word"), match.start(match.lastgroup or 0)))
            at = match.end()
        self.next = 0

    def fail(self, at: int, what: str) -> NoReturn:
        raise BadInput(
            f"selector {self.text[:200]!r}, character {at + 1}: {what}",
            "a selector is like: site=berlin,env in (prod,stage),line!=test,!retired",
        )

    def peek(self) -> str | None:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else None

    def take(self, wanted: str | None = None) -> str:
        at = self.tokens[self.next][1] if self.next < len(self.tokens) else len(self.text)
        token = self.peek()
        if token is None:
            self.fail(at, f"it ends where {wanted or 'a name'!r} should follow")
        if wanted is not None and token != wanted:
            self.fail(at, f"{wanted!r} should stand here, not {token!r}")
        self.next += 1
        return str(token)

    def take_name(self, pattern: re.Pattern[str], what: str) -> str:
        at = self.tokens[self.next][1] if self.next < len(self.tokens) else len(self.text)
        word = self.take()
        if pattern.fullmatch(word) is None:
            self.fail(at, f"{word!r} is not a label's {what}")
        return word


def _term(reader: _Reader) -> Requirement:
    if reader.peek() == "!":
        reader.take("!")
        return Requirement(key=reader.take_name(_NAME, "key"), negated=True)
    key = reader.take_name(_NAME, "key")
    follow = reader.peek()
    if follow in ("=", "==", "!="):
        reader.take()
        value = "" if reader.peek() in (None, ",") else reader.take_name(_LABEL_VALUE, "value")
        return Requirement(key=key, values=(value,), negated=follow == "!=")
    if follow in ("in", "notin"):
        reader.take()
        return Requirement(key=key, values=_values(reader), negated=follow == "notin")
    return Requirement(key=key)


def _values(reader: _Reader) -> tuple[str, ...]:
    reader.take("(")
    values = [reader.take_name(_LABEL_VALUE, "value")]
    while reader.peek() == ",":
        reader.take(",")
        values.append(reader.take_name(_LABEL_VALUE, "value"))
    reader.take(")")
    return tuple(values)
