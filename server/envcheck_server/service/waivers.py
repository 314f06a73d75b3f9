"""Waivers: who excepted which finding, for which devices, until when and why."""

from __future__ import annotations

import re

from msgspec.structs import replace

from envcheck.contract.selector import parse_selector
from envcheck.contract.verdict import Waiver
from envcheck.errors import BadInput
from envcheck_server.service.audit import LOCAL, Recorder, together
from envcheck_server.service.errors import Conflict, NotKnown
from envcheck_server.service.times import LONGEST_AGE_S, Clock, written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import HeldWaiver

# The gate gives each waiver with a selector a bit of one integer.
MOST_WITH_SELECTOR = 48
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PATH = re.compile(r"[A-Za-z0-9_-][!-~]{0,199}")
_LONGEST_REASON = 500


class WaiverService:
    """Gives waivers, takes them back, and says which ones hold."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store, clock)

    @together
    def add(
        self, name: str, path: str, *, reason: str, expires_s: int, selector: str = "", by: str = LOCAL
    ) -> HeldWaiver:
        """Give a waiver; raises BadInput, or Conflict for a name whose waiver still holds."""
        now = self._clock()
        _check(name, path, reason, expires_s)
        parse_selector(selector)
        if selector.strip() and sum(bool(one.selector) for one in self._store.waivers.active(now)) >= (
            MOST_WITH_SELECTOR
        ):
            raise Conflict(
                f"there are {MOST_WITH_SELECTOR} waivers with a selector already", "revoke some, or join them"
            )
        made = HeldWaiver(
            name=name,
            path=path,
            selector=selector.strip(),
            reason=reason,
            expires_at=now + expires_s,
            created_at=now,
            created_by=by,
        )
        self._store.waivers.change(name, lambda held: _replace(held, made, now))
        details = {"path": path, "selector": made.selector, "reason": reason}
        self._recorder.record(by, "waiver.add", name, expires=written(made.expires_at), **details)
        return made

    @together
    def revoke(self, name: str, *, by: str = LOCAL) -> None:
        """Let a waiver hold no longer; raises NotKnown."""
        now = self._clock()
        held = next((one for one in self._store.waivers.all() if one.name == name), None)
        if held is None:
            raise NotKnown(f"there is no waiver {name[:80]!r}", "see: envcheck-server waiver list --all")
        if held.revoked_at is None:
            self._store.waivers.change(name, lambda _held: replace(held, revoked_at=now))
            self._recorder.record(by, "waiver.revoke", name, path=held.path)

    def all(self) -> list[HeldWaiver]:
        """Return every waiver, the revoked and expired ones too."""
        return self._store.waivers.all()

    def active(self, now: int) -> list[Waiver]:
        """Return the waivers that hold, as `decide` takes them; those with a selector come first."""
        held = sorted(self._store.waivers.active(now), key=lambda one: (not one.selector, one.name))
        return [
            Waiver(
                name=one.name,
                path=one.path,
                expires_at=written(one.expires_at),
                reason=one.reason,
                selector=one.selector,
            )
            for one in held
        ]


def _check(name: str, path: str, reason: str, expires_s: int) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadInput(
            f"{name[:80]!r} can't name a waiver",
            "up to 63 letters, digits, '.', '_' and '-', like numpy-2026",
        )
    if _PATH.fullmatch(path) is None or not all(path.split(".")):
        raise BadInput(
            f"{path[:200]!r} is no path that can be waived",
            "name what the finding is about: packages.numpy, packages.*.version, readings.p90_ms",
        )
    if not reason.strip() or len(reason) > _LONGEST_REASON:
        raise BadInput("a waiver has a reason", f"--reason TEXT, of at most {_LONGEST_REASON} characters")
    if not 0 < expires_s <= LONGEST_AGE_S:
        raise BadInput("a waiver ends, and not before it begins", "--expires 30d")


def _replace(held: HeldWaiver | None, made: HeldWaiver, now: int) -> HeldWaiver:
    if held is not None and held.revoked_at is None and held.expires_at > now:
        raise Conflict(
            f"there is a waiver {held.name} already, until {written(held.expires_at)}",
            f"envcheck-server waiver revoke {held.name}, or another name",
        )
    return made
