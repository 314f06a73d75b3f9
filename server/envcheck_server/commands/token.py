"""`envcheck-server token`: create, list, rotate and revoke tokens."""

from __future__ import annotations

from typing import cast

import click

from envcheck.contract.selector import parse_label
from envcheck.contract.text import inert
from envcheck.judge.decide import parse_age
from envcheck_server.commands.options import clock, open_store, settings_options
from envcheck_server.commands.who import who
from envcheck_server.service.times import written
from envcheck_server.service.tokens import SCOPES, TokenService
from envcheck_server.store.values import Scope, Token


@click.group()
def token() -> None:
    """Create, list, rotate and revoke tokens."""


@token.command()
@click.option("--scope", type=click.Choice(SCOPES), required=True, help="What its bearer may do.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Label of devices that enrol with it.")
@click.option(
    "--uses", type=int, help="How many devices may enrol with it; with 1, the device is accepted at once."
)
@click.option("--expires", metavar="AGE", help="For how long it holds, like 24h (default: for ever).")
@click.option("--name", default="", help="What it is for, for people.")
@settings_options("database")
def create(
    scope: str,
    labels: tuple[str, ...],
    uses: int | None,
    expires: str | None,
    name: str,
    database: str | None,
) -> None:
    """Create a token and print it: it is shown this once, and only its hash is kept.

    \b
    Examples:
      envcheck-server token create --scope enroll --uses 1 --label line=press
      envcheck-server token create --scope gate:read --expires 90d --name "CI of digits"
    """
    with open_store(database) as store:
        secret, made = TokenService(store, clock).create(
            cast(Scope, scope),
            name=name,
            labels=dict(parse_label(label) for label in labels),
            uses=uses,
            expires_s=None if expires is None else parse_age(expires, "--expires"),
            by=who(),
        )
    _show(secret, made)


@token.command(name="list")
@settings_options("database")
def list_tokens(database: str | None) -> None:
    """List tokens. Their secrets are not known here.

    \b
    Examples:
      envcheck-server token list
    """
    with open_store(database) as store:
        tokens = store.tokens.all()
    from rich.table import Table

    from envcheck_server.commands.screen import plain, screen

    table = Table("ID", "SCOPE", "NAME", "LABELS", "USED", "STATE", box=None, pad_edge=False)
    for one in tokens:
        labels = ",".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
        used = f"{one.used} of {one.uses}" if one.uses is not None else str(one.used)
        table.add_row(*(plain(cell) for cell in (one.id, one.scope, one.name, labels, used, _state(one))))
    screen().print(table)


@token.command()
@click.argument("ident", metavar="ID")
@settings_options("database")
def revoke(ident: str, database: str | None) -> None:
    """Revoke a token by its id. Devices that enrolled with it stay enrolled.

    \b
    Examples:
      envcheck-server token revoke 5f0c21aa
    """
    with open_store(database) as store:
        TokenService(store, clock).revoke(ident, by=who())
    click.echo(f"token {inert(ident)} is revoked")


@token.command()
@click.argument("ident", metavar="ID")
@click.option(
    "--overlap", metavar="AGE", help="For how long the old one holds beside it (default: not at all)."
)
@settings_options("database")
def rotate(ident: str, overlap: str | None, database: str | None) -> None:
    """Make a token that may do what this one may, in its place.

    Scope, name, labels, the uses that are left and the moment at which it expires pass on. One with a number
    of uses is revoked at once.

    \b
    Examples:
      envcheck-server token rotate 5f0c21aa
      envcheck-server token rotate 5f0c21aa --overlap 24h
    """
    overlap_s = 0 if overlap is None else parse_age(overlap, "--overlap")
    with open_store(database) as store:
        secret, made = TokenService(store, clock).rotate(ident, overlap_s=overlap_s, by=who())
    _show(secret, made)


def _show(secret: str, made: Token) -> None:
    click.echo(f"token {made.id}, scope {made.scope}; it is shown only now", err=True)
    click.echo(secret)


def _state(one: Token) -> str:
    if one.revoked_at is not None:
        return f"revoked {written(one.revoked_at)}"
    if one.expires_at is not None:
        return f"{'expired' if one.expires_at <= clock() else 'until'} {written(one.expires_at)}"
    return "valid"
