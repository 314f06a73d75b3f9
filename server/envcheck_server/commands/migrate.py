"""`envcheck-server migrate`: bring the database up to date."""

from __future__ import annotations

import click

from envcheck_server.commands.options import settings_options
from envcheck_server.settings import database_path, load_settings


@click.command()
@settings_options("database")
def migrate(database: str | None) -> None:
    """Bring the database up to date.

    An empty database is made ready. Running it again changes nothing. Back the file up first.

    \b
    Examples:
      envcheck-server migrate
      envcheck-server migrate --database /var/lib/envcheck/collector.db
    """
    from envcheck_server.store.sqlite import SqliteStore

    path = database_path(load_settings({"database": database}))
    store = SqliteStore(path)
    try:
        before, after = store.migrate()
    finally:
        store.close()
    click.echo(
        f"{path}: schema {after}" + (", as before" if before == after else f" (was {before or 'empty'})")
    )
