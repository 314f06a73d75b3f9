"""`envcheck-server migrate`: bring the database up to date."""

from __future__ import annotations

import click

from envcheck_server.commands.options import settings_options
from envcheck_server.settings import database_place, load_settings


@click.command()
@settings_options("database")
def migrate(database: str | None) -> None:
    """Bring the database up to date.

    An empty database is made ready. Running it again changes nothing. Back it up first.

    \b
    Examples:
      envcheck-server migrate
      envcheck-server migrate --database /var/lib/envcheck/collector.db
    """
    from envcheck_server.store.opening import connect_store

    store = connect_store(database_place(load_settings({"database": database})))
    try:
        before, after = store.migrate()
    finally:
        store.close()
    was = ", as before" if before == after else f" (was {before or 'empty'})"
    click.echo(f"{store.name}: schema {after}{was}")
