"""What an error of PostgreSQL or of its driver means to whoever waits for an answer."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from envcheck.errors import BadInput
from envcheck_server.store.database import Collision
from envcheck_server.store.interface import StoreBusy, StoreFull

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_COLLISIONS = ("40001", "40P01")
_FULL = ("53100", "58030")
_BUSY = ("08", "25006", "25P03", "53300", "53200", "53400", "55P03", "57")
_UNFIT = ("22003", "22021", "22P05")


def explain(error: DBAPIError) -> Exception | None:
    """Return what is to be raised in place of a driver's error."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in _COLLISIONS:
        return Collision("the collector's database is busy", "try again")
    if state in _FULL:
        return StoreFull("the collector's disk is full or failing", "make room on the database's server")
    if state in _UNFIT or _is_nul(error):
        return BadInput("there is a character or a number that nothing here can have")
    if state.startswith(_BUSY) or _is_lost(error, state):
        return StoreBusy("the collector's database is not available", "try again")
    return _without_details(error)


def _is_lost(error: DBAPIError, state: str) -> bool:
    import psycopg

    # Without a code it was no answer of the server's: there was no connection, or no longer.
    gone = isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
    return error.connection_invalidated or (gone and not state)


def _is_nul(error: DBAPIError) -> bool:
    import psycopg

    return isinstance(error.orig, psycopg.DataError) and "NUL" in str(error.orig)


def _without_details(error: DBAPIError) -> DBAPIError | None:
    """Return the error without the server's details: they quote rows."""
    import psycopg

    if not isinstance(error.orig, psycopg.Error):
        return None
    words = error.orig.diag.message_primary or type(error.orig).__name__
    return type(error)(error.statement, None, type(error.orig)(words), hide_parameters=True)
