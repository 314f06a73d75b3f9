"""Where a PostgreSQL is, and whether it is one that will do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envcheck.errors import BadInput, EnvcheckError, MissingExtra
from envcheck_server.store.interface import StoreBusy

SCHEMES = ("postgresql://", "postgres://")

_OLDEST = 13
_DEFAULTS: dict[str, Any] = {
    "application_name": "envcheck-server",
    "connect_timeout": 5,
    # A server that is gone without a word is noticed within half a minute or so.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_FORM = "it is like postgresql://USER@HOST:5432/DATABASE, its password in PGPASSWORD or ~/.pgpass"
# What libpq says when the server was reached and does not want us: (a part of it, what to do).
_REFUSALS = (
    ("password authentication failed", "give the password in PGPASSWORD, in ~/.pgpass or in the URL"),
    ("no password supplied", "give the password in PGPASSWORD, in ~/.pgpass or in the URL"),
    ("no pg_hba.conf entry", "allow this user, database and address in the server's pg_hba.conf"),
    ("does not exist", "create it on the server: createuser, createdb"),
    ("permission denied", "allow this user to use the database"),
    ("SSL", "say how with sslmode and sslrootcert in the URL"),
    ("certificate", "say how with sslmode and sslrootcert in the URL"),
)
_NAMELESS = ("failed to resolve host", "could not translate host name")


@dataclass(frozen=True)
class Address:
    """What to connect with. `name` is for people and has no password in it."""

    name: str
    parameters: dict[str, Any] = field(repr=False)


def read_address(url: str) -> Address:
    """Read a database's URL; raises BadInput, never repeating what may be a password."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise MissingExtra("psycopg", "postgres", "a PostgreSQL database") from None
    try:
        given = conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        raise BadInput("the database's URL can't be read", _FORM) from None
    parameters = {**_DEFAULTS, **{name: value for name, value in given.items() if value is not None}}
    where = f" at {given['host']}" if given.get("host") else ""
    port = f":{given['port']}" if where and given.get("port") else ""
    title = f" {given['dbname']}" if given.get("dbname") else ""
    return Address(f"the PostgreSQL database{title}{where}{port}", parameters)


def check_server(address: Address) -> None:
    """Connect once; raises BadInput when it can't be used as it is, StoreBusy where no server answers."""
    import psycopg

    try:
        with psycopg.connect(**address.parameters) as connection:
            version = connection.info.server_version // 10_000
            encoding = connection.info.parameter_status("server_encoding")
    except psycopg.ProgrammingError:
        raise BadInput("the database's URL can't be read", _FORM) from None
    except psycopg.OperationalError as error:
        raise _refused(address, str(error)) from None
    if version < _OLDEST:
        raise BadInput(
            f"{address.name} is PostgreSQL {version}; it takes {_OLDEST} or newer", "upgrade PostgreSQL"
        )
    if encoding != "UTF8":
        raise BadInput(
            f"{address.name} is encoded in {encoding}",
            "create one with: createdb --encoding UTF8 -T template0",
        )


def _refused(address: Address, reason: str) -> EnvcheckError:
    """Return what libpq's words mean; where the server speaks another language, the words themselves."""
    line = reason.strip().partition("\n")[0]
    _, _, told = line.rpartition("FATAL:  ")
    if any(sign in line for sign in _NAMELESS):
        return BadInput(f"{address.name}: there is no such host", _FORM)
    for sign, hint in _REFUSALS:
        if sign in line:
            return BadInput(f"{address.name}: {told}", hint)
    return StoreBusy(f"{address.name} does not answer: {told}", "start it, or name another with --database")


def dump_command(url: str, file: Path) -> str:
    """Return the command that backs a database up, without its password."""
    given = read_address(url).parameters
    named = [("-h", "host"), ("-p", "port"), ("-U", "user"), ("-d", "dbname")]
    options = [word for flag, name in named if given.get(name) for word in (flag, str(given[name]))]
    return f"run: {shlex.join(['pg_dump', '-Fc', *options, '-f', str(file)])}"
