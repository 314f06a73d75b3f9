"""Mirrors: a release may say where else its bundle lies."""

from __future__ import annotations

import pytest
from support.collector import make_bundle, refused, told

from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.wire import ReleaseAnswer, ReleasePush
from envcheck.judge.policies import builtin_policy

MIRROR = "https://mirror.example.com/models/digits.envcheck?sig=a%20b"


def pushed(bundle: bytes, mirror: str, selector: str = "") -> bytes:
    return encode(
        ReleasePush(bundle=digest(bundle), policy=builtin_policy("default"), selector=selector, mirror=mirror)
    )


def test_devices_are_told_the_mirror(collector) -> None:
    bundle = make_bundle()
    ci, device = collector.holder("baseline:write"), collector.device()
    first = ci.push(bundle)
    assert (first.mirror, device.report().releases[0].url) == ("", "")
    answer = told(ci.send("PUT", "/v1/releases/digits@1.0", pushed(bundle, MIRROR)), ReleaseAnswer)
    # The bytes are the same wherever they come from.
    assert (answer.revision, answer.mirror) == (1, MIRROR)
    assert device.report().releases[0].url == MIRROR
    assert list(collector.services.audit.entries())[-1].deed.details["mirror"] == MIRROR
    answer = told(ci.send("PUT", "/v1/releases/digits@1.0", pushed(bundle, MIRROR, "a=b")), ReleaseAnswer)
    assert (answer.revision, answer.mirror) == (2, MIRROR)
    assert ci.push(bundle).mirror == ""


@pytest.mark.parametrize(
    "mirror",
    [
        "mirror.example.com/x",
        "ftp://mirror.example.com/x",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@mirror.example.com/x",
        "https://mirror.example.com/x#part",
        "https://mirror.example.com/\x1b[2J",
        "https://mirror.example.com/a b",
        "https://mirror.example.com:99999/x",
        "https://mirror.example.com/" + "x" * 2000,
        "http://[::1",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_mirror_is_refused(collector, mirror: str) -> None:
    bundle = make_bundle()
    ci = collector.holder("baseline:write")
    ci.push(bundle)
    problem = refused(ci.send("PUT", "/v1/releases/digits@1.0", pushed(bundle, mirror)), 400)
    assert problem.message.startswith("mirror: ")
    assert "secret" not in problem.message
