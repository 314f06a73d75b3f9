"""`envcheck-server audit`: show who changed what, and tell whether the log itself was changed."""

from __future__ import annotations

import json

import click

from envcheck.contract.text import inert
from envcheck.errors import EXIT_FAIL, EXIT_PASS
from envcheck_server.commands.options import open_store, settings_options
from envcheck_server.service.audit import AuditService
from envcheck_server.service.times import written
from envcheck_server.store.values import AuditEntry


@click.group()
def audit() -> None:
    """Show who changed what, and whether the log was."""


@audit.command(name="list")
@click.option("--after", type=int, default=0, help="Only entries behind this number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@settings_options("database")
def list_entries(after: int, as_json: bool, database: str | None) -> None:
    """List changes of tokens, devices, releases and waivers, oldest first.

    \b
    Examples:
      envcheck-server audit list
      envcheck-server audit list --after 1200 --json
    """
    with open_store(database) as store:
        for entry in AuditService(store).entries(after):
            click.echo(_json(entry) if as_json else _line(entry))


@audit.command()
@click.option("--head", default="", metavar="NUMBER:HASH", help="An entry as this command told it before.")
@settings_options("database")
def verify(head: str, database: str | None) -> int:
    """Follow the chain of hashes from the first entry to the last.

    An entry that was changed, taken out or put in breaks it: exit code 1. Whoever can write the database can
    also forge a whole new chain; keep the line that this prints somewhere else, and give it as --head.

    \b
    Examples:
      envcheck-server audit verify
      envcheck-server audit verify --head 1200:9f86d081884c7d659a2feaa0c55ad015
    """
    with open_store(database) as store:
        chain = AuditService(store).verify(head)
    if chain.fault:
        click.echo(f"the audit log was tampered with: {chain.fault}")
        return EXIT_FAIL
    click.echo(f"{chain.number} entries, none was changed; the last is {chain.number}:{chain.hash}")
    return EXIT_PASS


def _line(entry: AuditEntry) -> str:
    deed = entry.deed
    details = " ".join(f"{name}={_quoted(value)}" for name, value in deed.details.items())
    line = f"{entry.number}  {written(deed.at)}  {deed.actor}  {deed.action}  {deed.target}  {details}"
    return inert(line).replace("\n", "\\n").rstrip()


def _quoted(value: str | int) -> str:
    return json.dumps(value) if value == "" or " " in str(value) else str(value)


def _json(entry: AuditEntry) -> str:
    deed = entry.deed
    return json.dumps(
        {
            "number": entry.number,
            "at": written(deed.at),
            "actor": deed.actor,
            "action": deed.action,
            "target": deed.target,
            "details": dict(deed.details),
            "hash": entry.hash,
        }
    )
