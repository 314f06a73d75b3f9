"""How the collector refuses; what status each becomes is for the API to say."""

from __future__ import annotations

from envcheck.errors import BadInput


class NotKnown(BadInput):
    """What was asked about is not here."""


class Unauthenticated(BadInput):
    """Who asks is not known: no credentials, or ones that do not hold."""


class Forbidden(BadInput):
    """Who asks is known, and may not."""


class Conflict(BadInput):
    """It contradicts what was stored before."""


class TooLarge(BadInput):
    """More bytes than the collector takes."""


class TooSlow(BadInput):
    """It took longer to arrive than the collector waits."""


class Busy(BadInput):
    """The collector has more to write than it can keep up with; ask again after `retry_after_s`."""

    def __init__(self, message: str, hint: str = "", retry_after_s: int = 5) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s
