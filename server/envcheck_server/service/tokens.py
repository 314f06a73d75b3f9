"""Bearer tokens: made here, shown once, known afterwards by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from typing import get_args

from envcheck.contract.selector import is_label
from envcheck.errors import BadInput
from envcheck_server.service.errors import Forbidden, NotKnown, Unauthenticated
from envcheck_server.service.times import LONGEST_AGE_S, Clock, written
from envcheck_server.store.interface import Store
from envcheck_server.store.values import Scope, Token

SCOPES: tuple[Scope, ...] = get_args(Scope)
# What a scope may do beside its own; `admin` may do everything that a token can.
_IMPLIED: dict[Scope, set[Scope]] = {
    "operator": {"gate:read"},
    "admin": {"gate:read", "baseline:write", "operator"},
}
_PREFIX = "envcheck_"


class TokenService:
    """Makes tokens, and says what the bearer of one may do."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def create(
        self,
        scope: Scope,
        *,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        uses: int | None = None,
        expires_s: int | None = None,
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
        return secret, token

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

    def revoke(self, token: str) -> None:
        """Revoke a token by its id; raises NotKnown."""
        if not self._store.tokens.revoke(token, self._clock()):
            raise NotKnown(f"there is no token {token[:80]}", "see: envcheck-server token list")


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
