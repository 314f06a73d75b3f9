"""Bring a database's schema up to date, with alembic and the revisions under migrations/."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from envcheck.errors import BadInput

_MIGRATIONS = Path(__file__).parent / "migrations"


def newest_revision() -> str:
    """Return the revision that this collector works with."""
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head() or ""


def current_revision(connection: Connection) -> str:
    """Return the database's revision, "" when it has no schema yet."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run every revision that is missing, in the transaction of `connection`.

    Raises BadInput when the database was made by a newer collector, or by something else.
    """
    found = current_revision(connection)
    if not found and inspect(connection).get_table_names():
        raise BadInput(
            "the database holds the tables of another program", "name a file of its own with --database"
        )
    scripts = ScriptDirectory(str(_MIGRATIONS))
    if found and found not in {script.revision for script in scripts.walk_revisions()}:
        raise BadInput(
            f"the database has the schema {found}, which this envcheck-server does not know",
            "upgrade envcheck-server: it was written by a newer one",
        )
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
