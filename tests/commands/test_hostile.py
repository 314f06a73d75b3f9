"""A collector in other hands: it makes no device start anything that no pinned key signed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.fleet import Bundles, Device
from support.served import Answer, Asked, Served

from envcheck.contract.canonical import digest
from envcheck.contract.document import decode, encode
from envcheck.contract.wire import ReleaseOffer, Report, ReportAnswer
from envcheck.transport.state import State


@pytest.fixture
def hostile(enrolled: Device) -> Iterator[Served]:
    """A server at the address where the device enrolled, as far as the device can tell."""
    served, state = Served(), State(enrolled.state)
    state.save("enrolled", msgspec.structs.replace(state.enrolled(), collector=served.url))
    yield served
    served.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that this process starts while the test lasts."""
    commands: list[list[str]] = []
    start: Callable[..., None] = subprocess.Popen.__init__

    def note(process: Any, command: Any, *more: Any, **named: Any) -> None:
        commands.append([str(one) for one in command])
        start(process, command, *more, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    return commands


def offering(bundle: bytes) -> Callable[[Asked], Answer]:
    """Acknowledge everything, offer this bundle, and send it to whoever asks."""
    offer = ReleaseOffer(release="evil@1", sha256=digest(bundle), size=len(bundle))

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/v1/bundles/"):
            return Answer(200, bundle, {"Content-Type": "application/octet-stream"})
        return Answer(200, encode(ReportAnswer(stored=digest(asked.body), releases=[offer])))

    return answer


def test_nothing_is_started_that_no_pinned_key_signed(
    enrolled: Device, hostile: Served, bundles: Bundles, started: list[list[str]], tmp_path: Path
) -> None:
    foreign = bundles.sign_with_another_key("evil@1")
    signed = bundles.write(tmp_path / "signed", "evil@1").read_bytes()
    middle = len(signed) // 2
    altered = signed[:middle] + bytes([signed[middle] ^ 1]) + signed[middle + 1 :]
    for bundle, said_to_be in (
        (foreign, "not pinned here"),
        (bundles.write(tmp_path / "unsigned", "evil@1", signed=False).read_bytes(), "is not signed"),
        # A pinned key signed it, and one bit was changed since.
        (altered, "evil@1 was not run"),
        (b"#!/bin/sh\ntouch owned\n", "not an envcheck bundle"),
    ):
        hostile.answers = offering(bundle)
        said = enrolled.run("report", "--json")
        assert (said.code, said_to_be in said.err) == (0, True), said.err
        assert decode(said.out.encode(), Report, "stdout").results == {}
    assert started == [], "no child, and nothing else either"
    hostile.answers = offering(signed)
    said = enrolled.run("report", "--json")
    assert len(decode(said.out.encode(), Report, "stdout").results) == 1, said.err
    assert [command[-2].rpartition("/")[2] for command in started] == ["child.py"]
