"""Bearer tokens: made here, shown once, known afterwards by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from typing import get_args

from msgspec.structs import replace

from envcheck.contract.selector import is_label
from envcheck.errors import BadInput
from envcheck_server.service.audit import LOCAL, Recorder, together, written_labels
from envcheck_server.service.errors import Conflict, Forbidden, NotKnown, Unauthenticated
from envcheck_server.service.times import LONGEST_AGE_S, Clock, written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Scope, Token

SCOPES: tuple[Scope, ...] = get_args(Scope)
# What a scope may do beside its own; `admin` may do everything that a token can.
_IMPLIED: dict[Scope, set[Scope]] = {
    "operator": {"gate:read", "metrics:read"},
    "admin": {"gate:read", "baseline:write", "metrics:read", "operator"},
}
_PREFIX = "envcheck_"


class TokenService:
    """Makes tokens, and says what the bearer of one may do."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store, clock)

    @together
    def create(
        self,
        scope: Scope,
        *,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        uses: int | None = None,
        expires_s: int | None = None,
        by: str = LOCAL,
    ) -> tuple[str, Token]:
        """Make a token; return its secret, which is nowhere stored, and what is.

        `uses` bounds how many devices may enrol with it; None is without limit. Raises BadInput.
        """
        for key, value in (labels or {}).items():
            if not is_label(key, value):
                raise BadInput(f"{key[:80]}={value[:80]} is not a label")
        if scope != "enroll" and (labels or uses is not None):
            raise BadInput("labels and a number of uses belong to tokens of the scope enroll")
        if uses is not None and uses < 1:
            raise BadInput("a token that has no use can't be made", "--uses 1, or leave it out")
        if expires_s is not None and not 0 < expires_s <= LONGEST_AGE_S:
            raise BadInput("a token holds for at least a second and at most some 30 years", "--expires 90d")
        now = self._clock()
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4),
            secret_hash=secret_hash(secret),
            scope=scope,
            created_at=now,
            name=name,
            labels=dict(labels or {}),
            uses=uses,
            expires_at=None if expires_s is None else now + expires_s,
        )
        self._store.tokens.add(token)
        self._recorder.record(by, "token.create", token.id, **_told(token))
        return secret, token

    @together
    def rotate(self, ident: str, *, overlap_s: int = 0, by: str = LOCAL) -> tuple[str, Token]:
        """Make a token that may do what this one may; the old one holds for `overlap_s` more seconds.

        One with a number of uses ends at once. Raises NotKnown, BadInput, or Conflict for a token that holds
        no more.
        """
        if not 0 <= overlap_s <= LONGEST_AGE_S:
            raise BadInput("the old token can't hold for that long", "--overlap 24h")
        now = self._clock()
        secret = _PREFIX + secrets.token_urlsafe(32)
        old = self._find(ident)
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict(f"the token {old.id} does not hold any more", "make a new one: token create")
        # Its uses and how many are used pass on as they are: what is left of two must not become one for one.
        new = replace(old, id=secrets.token_hex(4), secret_hash=secret_hash(secret), created_at=now)
        if old.uses is not None and old.used >= old.uses:
            raise Conflict(f"the token {old.id} is used up", "make a new one: token create")
        self._store.tokens.add(new)
        if overlap_s and old.uses is None:
            self._store.tokens.expire(old.id, now + overlap_s)
        else:
            # Uses are counted once.
            self._store.tokens.revoke(old.id, now)
        self._recorder.record(by, "token.rotate", old.id, to=new.id, **_told(new))
        return secret, new

    def authorise(self, bearer: str, scopes: Collection[Scope]) -> Token:
        """Return the token if it holds and may do one of `scopes`; raises Unauthenticated or Forbidden."""
        token = self._store.tokens.find(secret_hash(bearer))
        check_token(token, self._clock())
        if token is None or not {token.scope, *_IMPLIED.get(token.scope, set())} & set(scopes):
            found = token.scope if token else ""
            raise Forbidden(
                f"a token of the scope {found} may not do this", f"it takes {' or '.join(sorted(scopes))}"
            )
        return token

    @together
    def revoke(self, token: str, *, by: str = LOCAL) -> None:
        """Revoke a token by its id; raises NotKnown."""
        found = self._find(token)
        self._store.tokens.revoke(token, self._clock())
        if found.revoked_at is None:
            self._recorder.record(by, "token.revoke", token, scope=found.scope, name=found.name)

    def _find(self, ident: str) -> Token:
        found = next((one for one in self._store.tokens.all() if one.id == ident), None)
        if found is None:
            raise NotKnown(f"there is no token {ident[:80]}", "see: envcheck-server token list")
        return found


def _told(token: Token) -> dict[str, str | int]:
    """Return what the audit log says of a token."""
    told: dict[str, str | int] = {
        "scope": token.scope,
        "name": token.name,
        "labels": written_labels(token.labels),
    }
    if token.uses is not None:
        told["uses"] = token.uses
    return {**told, "expires": written(token.expires_at)} if token.expires_at is not None else told


def check_token(token: Token | None, now: int) -> None:
    """Raise Unauthenticated unless the token is known, neither revoked nor expired."""
    hint = "ask whoever runs the collector for a token"
    if token is None:
        raise Unauthenticated("the token is not one of this collector's", hint)
    if token.revoked_at is not None:
        raise Unauthenticated("the token was revoked", hint)
    if token.expires_at is not None and token.expires_at <= now:
        raise Unauthenticated(f"the token expired at {written(token.expires_at)}", hint)


def secret_hash(secret: str) -> str:
    """Return what is stored of a secret. It has 256 random bits: no salt or stretching is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()
