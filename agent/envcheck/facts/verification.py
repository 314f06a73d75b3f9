"""Asks for the verification of installed files, and reads what came out."""

from __future__ import annotations

import json
import sys

import msgspec

from envcheck.facts.asking import more_source, verify_source
from envcheck.facts.interpreter import Interpreter
from envcheck.facts.section import Facts, Scene

# The probe's own name for its document; a test holds the two equal.
MARKER = b"envcheck-verify-1 "
# Of the time left, what hashing may take: the rest is for starting and telling.
_SHARE = 0.85


class Named(Facts, frozen=True, kw_only=True):
    """How many files, and the first of them by name, below the folder that the distribution lies in."""

    count: int = 0
    names: list[str] = []


class Faults(Facts, frozen=True, kw_only=True):
    """What differs from the RECORD of one distribution. `unread` are files that could not be held to it."""

    file: str = ""
    modified: Named | None = None
    missing: Named | None = None
    extra: Named | None = None
    unread: Named | None = None


class Verified(Facts, frozen=True, kw_only=True):
    """What was looked at, and per distribution what differs. `unowned` lies beside and belongs to none.

    `complete` is false when the time was over before all was hashed. `problem` says why nothing was told.
    """

    complete: bool = False
    distributions: int = 0
    files: int = 0
    bytes: int = 0
    found: list[Faults] = []
    unowned: Named | None = None
    problem: str = ""


def verify(scene: Scene, told: Interpreter) -> Verified:
    """Hash what the target's interpreter would import, where that interpreter runs."""
    host, target = scene.host, scene.target
    left = scene.left_s()
    tree = "/" if target.container else host.tree
    order = json.dumps({"path": told.path, "root": tree, "seconds": round(left * _SHARE, 3)})
    rights = None if target.unasked else target.rights
    arguments, stdin = ("-B", "-c", verify_source(), order, more_source()), None
    if target.unasked:
        command, environ = [sys.executable, "-I", "-S", *arguments], dict(host.environ)
    elif target.container:
        command, stdin = target.command("-B", "-", order, more_source()), verify_source().encode("ascii")
        environ = target.starting(host)
    else:
        command, environ = target.command(*arguments), target.starting(host)
    ended = host.run(command, environ=environ, deadline_s=left, stdin=stdin, rights=rights)
    found = parse_verified(ended.stdout)
    if found is not None:
        return found
    return Verified(problem="it did not end in time" if ended.timed_out else "it gave no answer")


def parse_verified(output: bytes) -> Verified | None:
    """Find the document in what was printed; None when there is none."""
    start = output.rfind(b"\n" + MARKER)
    line = output[start + 1 + len(MARKER) :].partition(b"\n")[0]
    try:
        found = msgspec.json.decode(line, type=Verified) if start >= 0 else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found is not None and found.unowned is not None and not found.unowned.count:
        return msgspec.structs.replace(found, unowned=None)
    return found
