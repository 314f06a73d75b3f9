"""`envcheck-server db`: look after the database."""

from __future__ import annotations

import json

import click

from envcheck_server.commands.options import open_store, settings_options


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("database")
def stats(as_json: bool, database: str | None) -> None:
    """Count rows, and bytes on the disk.

    \b
    Examples:
      envcheck-server db stats
      envcheck-server db stats --json
    """
    with open_store(database) as store:
        counts = store.stats()
    if as_json:
        click.echo(json.dumps(counts))
        return
    width = max(map(len, counts))
    for name, count in counts.items():
        click.echo(f"{name:<{width}}  {count:>14,}")
