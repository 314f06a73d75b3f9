"""Releases: a signed bundle, the policy it is judged by, and the devices it is meant for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec.structs import replace

from envcheck.contract import bundle as contract
from envcheck.contract.baseline import parse_release
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.selector import Selector, parse_selector
from envcheck.contract.wire import BundleAnswer, ReleaseAnswer, ReleaseOffer, ReleasePush
from envcheck.errors import BadInput
from envcheck.judge.decide import parse_age
from envcheck.judge.policies import check_policy
from envcheck.judge.reference import reference_of
from envcheck_server.service.audit import LOCAL, Recorder, together
from envcheck_server.service.errors import Conflict, NotKnown
from envcheck_server.service.times import LONGEST_AGE_S, Clock, written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Bundle, Release

# Visible ASCII, and not longer than what servers and proxies take.
_URL = re.compile(r"[!-~]{1,2000}")


class ReleaseService:
    """Takes bundles and releases in, and offers them to devices."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store, clock)

    def open_bundle(self, sha256: str, data: bytes | memoryview) -> Bundle:
        """Return what is to be kept of a bundle beside its bytes, whose digest is known to be `sha256`.

        Raises BadInput unless it is whole and signed. Takes a while for a large one, and writes nothing.
        """
        opened = contract.read_bundle(data, "the bundle")
        signer = opened.signer()
        if signer is None:
            raise BadInput(
                "the bundle is not signed: no device would run it",
                "sign it: envcheck baseline sign --key KEY FILE.envcheck",
            )
        reference = reference_of(opened)
        return Bundle(
            sha256=sha256,
            size=len(data),
            release=reference.baseline.release,
            signer=signer,
            baseline=bytes(opened.members[contract.BASELINE]),
            fingerprint=bytes(opened.members[contract.FINGERPRINT]),
        )

    @together
    def put_bundle(self, bundle: Bundle, data: bytes | memoryview, *, by: str = LOCAL) -> BundleAnswer:
        """Store a bundle that was opened; storing again changes nothing."""
        if self._store.releases.bundle(bundle.sha256) is None:
            self._recorder.record(
                by, "bundle.put", bundle.release, sha256=bundle.sha256, signer=bundle.signer
            )
        self._store.releases.put_bundle(bundle, data, self._clock())
        return BundleAnswer(stored=bundle.sha256, size=bundle.size)

    def bundle(self, sha256: str) -> Bundle:
        """Return what is known of a bundle; raises NotKnown."""
        bundle = self._store.releases.bundle(sha256)
        if bundle is None:
            raise NotKnown("there is no such bundle", "give it to the collector: envcheck push")
        return bundle

    @together
    def push(self, release: str, push: ReleasePush, *, by: str = LOCAL) -> ReleaseAnswer:
        """Create a release or a new revision of it; the same again changes nothing, unless it was retired.

        Another mirror is no new revision: the bytes are the same wherever they come from. Raises BadInput for
        a policy, selector or mirror that does not hold, NotKnown for a bundle that was not uploaded, Conflict
        for another bundle under a name that was given.
        """
        parse_release(release)
        check_policy(push.policy, "policy")
        if parse_age(push.policy.max_age, "policy.max_age") > LONGEST_AGE_S:
            raise BadInput("policy.max_age is longer than any report lasts", "an age is like 90m, 24h or 7d")
        parse_selector(push.selector)
        check_mirror(push.mirror)
        bundle = self.bundle(push.bundle)
        if bundle.release != release:
            raise BadInput(f"the bundle is {bundle.release}, not {release}")
        policy = encode(push.policy)
        pushed = Release(
            release=release,
            bundle=push.bundle,
            size=bundle.size,
            revision=1,
            policy=policy,
            policy_digest=digest(policy),
            selector=push.selector.strip(),
            created_at=self._clock(),
            mirror=push.mirror or None,
        )
        before = self._store.releases.find(release)
        held = self._store.releases.put(pushed, lambda current: _revise(pushed, current))
        if held != before:
            self._record_push(held, by)
        return answer_of(held)

    @together
    def retire(self, release: str, *, by: str = LOCAL) -> Release:
        """Offer a release to no device any more; raises NotKnown. Another push of it brings it back."""
        found = self._store.releases.find(release)
        if found is None:
            raise self._unknown(release)
        held = self._store.releases.put(found, lambda current: _retire(current, self._clock()))
        if held != found:
            self._recorder.record(by, "release.retire", release, revision=held.revision)
        return held

    def find(self, release: str) -> Release:
        """Return a release; raises NotKnown with names that are close, Conflict for one that is retired."""
        found = self._store.releases.find(release)
        if found is None:
            raise self._unknown(release)
        if found.retired_at is not None:
            raise Conflict(
                f"{release} was retired at {written(found.retired_at)}: no device runs it any more",
                "ask about another one, or push it again",
            )
        return found

    def all(self) -> list[Release]:
        """Return every release, retired ones too, newest first."""
        return self._store.releases.all()

    def _record_push(self, held: Release, by: str) -> None:
        self._recorder.record(
            by,
            "release.push",
            held.release,
            bundle=held.bundle,
            revision=held.revision,
            policy=held.policy_digest,
            selector=held.selector,
            mirror=held.mirror or "",
        )

    def _unknown(self, release: str) -> NotKnown:
        names = [known.release for known in self.all()]
        close = difflib.get_close_matches(release, names, n=3, cutoff=0.5) or names[:3]
        hint = f"there are {', '.join(close)}" if close else "give it to the collector: envcheck push"
        return NotKnown(f"there is no release {release[:140]!r}", hint)


def offers(releases: list[Release], labels: Mapping[str, str]) -> list[ReleaseOffer]:
    """Return those of `releases` that are meant for a device with these labels."""
    return [
        ReleaseOffer(release=one.release, sha256=one.bundle, size=one.size, url=one.mirror or "")
        for one in releases
        if _selector(one.selector).matches(labels)
    ]


def answer_of(release: Release) -> ReleaseAnswer:
    """Write a release as the collector answers it."""
    return ReleaseAnswer(
        release=release.release,
        bundle=release.bundle,
        policy=release.policy_digest,
        selector=release.selector,
        revision=release.revision,
        retired=release.retired_at is not None,
        mirror=release.mirror or "",
    )


def check_mirror(url: str) -> None:
    """Raise BadInput unless `url` is empty or a plain HTTP address without credentials of a person."""
    if not url:
        return
    hint = "a mirror is like https://mirror.example.com/models/digits.envcheck"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadInput(f"mirror: {url[:200]!r} is not a URL", hint) from None
    if _URL.fullmatch(url) is None or parts.scheme not in ("http", "https") or not host:
        raise BadInput(f"mirror: {url[:200]!r} is not an HTTP address", hint)
    if parts.username is not None or parts.fragment:
        raise BadInput(f"mirror: the URL at {host} names a user or a fragment", hint)


@lru_cache(maxsize=1024)
def _selector(text: str) -> Selector:
    return parse_selector(text)


def _retire(current: Release | None, now: int) -> Release | None:
    return None if current is None or current.retired_at is not None else replace(current, retired_at=now)


def _revise(pushed: Release, current: Release | None) -> Release | None:
    if current is None:
        return pushed
    if current.bundle != pushed.bundle:
        raise Conflict(
            f"{pushed.release} was released before with another bundle",
            "a release never changes: give the new one another version",
        )
    same = (current.policy_digest, current.selector) == (pushed.policy_digest, pushed.selector)
    if same and current.retired_at is None:
        return None if current.mirror == pushed.mirror else replace(current, mirror=pushed.mirror)
    return Release(
        release=pushed.release,
        bundle=pushed.bundle,
        size=pushed.size,
        revision=current.revision + 1,
        policy=pushed.policy,
        policy_digest=pushed.policy_digest,
        selector=pushed.selector,
        created_at=pushed.created_at,
        mirror=pushed.mirror,
    )
