"""`envcheck-server waiver`: add, list and revoke waivers."""

from __future__ import annotations

import json

import click

from envcheck.contract.text import inert
from envcheck.judge.decide import parse_age
from envcheck_server.commands.options import clock, open_store, settings_options
from envcheck_server.commands.who import who
from envcheck_server.service.times import written
from envcheck_server.service.waivers import WaiverService
from envcheck_server.store.values import HeldWaiver


@click.group()
def waiver() -> None:
    """Add, list and revoke waivers of findings."""


@waiver.command()
@click.argument("name")
@click.option("--path", required=True, help="What the finding is about, or something above it.")
@click.option("--reason", required=True, help="Why, for people.")
@click.option("--expires", required=True, metavar="AGE", help="For how long it holds, like 30d.")
@click.option("--for", "selector", default="", metavar="SELECTOR", help="Devices it is for (default: all).")
@settings_options("database")
def add(name: str, path: str, reason: str, expires: str, selector: str, database: str | None) -> None:
    """Except a finding for some devices, for some time.

    Findings at the path do not block them then; the gate says how many devices it let through for it. What
    could not be determined, and a model that did not run to its end, can't be waived.

    \b
    Examples:
      envcheck-server waiver add numpy-1 --path packages.numpy --expires 30d --reason "OPS-312: harmless here"
      envcheck-server waiver add hot-line --path readings.p90_ms --for line=press --expires 7d --reason "fans"
    """
    with open_store(database) as store:
        made = WaiverService(store, clock).add(
            name,
            path,
            reason=reason,
            expires_s=parse_age(expires, "--expires"),
            selector=selector,
            by=who(),
        )
    meant = f"devices with {made.selector}" if made.selector else "every device"
    click.echo(inert(f"{made.path} is waived for {meant} until {written(made.expires_at)}"))


@waiver.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Those that hold no longer, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("database")
def list_waivers(everything: bool, as_json: bool, database: str | None) -> None:
    """List the waivers that hold.

    \b
    Examples:
      envcheck-server waiver list
      envcheck-server waiver list --all
    """
    with open_store(database) as store:
        found = [one for one in WaiverService(store, clock).all() if everything or _state(one) == "holds"]
    if as_json:
        click.echo(json.dumps([_told(one) for one in found]))
        return
    from rich.table import Table

    from envcheck_server.commands.screen import plain, screen

    table = Table("NAME", "PATH", "FOR", "STATE", "UNTIL", "BY", "REASON", box=None, pad_edge=False)
    for one in found:
        meant = one.selector or "every device"
        cells = (one.name, one.path, meant, _state(one), written(one.expires_at), one.created_by, one.reason)
        table.add_row(*map(plain, cells))
    screen().print(table)


@waiver.command()
@click.argument("name")
@settings_options("database")
def revoke(name: str, database: str | None) -> None:
    """Let a waiver hold no longer.

    \b
    Examples:
      envcheck-server waiver revoke numpy-1
    """
    with open_store(database) as store:
        WaiverService(store, clock).revoke(name, by=who())
    click.echo(f"the waiver {inert(name)} is revoked")


def _state(one: HeldWaiver) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "holds" if one.expires_at > clock() else "expired"


def _told(one: HeldWaiver) -> dict[str, str]:
    return {
        "name": one.name,
        "path": one.path,
        "selector": one.selector,
        "reason": one.reason,
        "state": _state(one),
        "expires_at": written(one.expires_at),
        "created_at": written(one.created_at),
        "created_by": one.created_by,
    }
