"""`envcheck-server db`: look after the database."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path

import click
from msgspec.structs import asdict

from envcheck.errors import BadInput
from envcheck.judge.decide import parse_age
from envcheck_server.commands.options import clock, open_store, settings_options
from envcheck_server.service.times import LONGEST_AGE_S
from envcheck_server.settings import database_place, is_url, load_settings

# What is younger may belong to a report that is on its way.
_LEAST_AGE_S = 3600


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
        counts, sizes = store.stats(), store.sizes()
    total = counts.pop("bytes")
    each = round(sum(sizes.values()) / counts["devices"]) if sizes and counts["devices"] else None
    if as_json:
        told = {**counts, "bytes": total, "bytes_by_table": sizes, "bytes_per_device": each}
        click.echo(json.dumps(told))
        return
    width = max(map(len, counts))
    click.echo(f"{'TABLE':<{width}}  {'ROWS':>14}  {'BYTES':>16}")
    for name, count in counts.items():
        size = f"{sizes[name]:,}" if name in sizes else "-"
        click.echo(f"{name:<{width}}  {count:>14,}  {size:>16}")
    click.echo(f"\n{counts['devices']:,} devices have {counts['statements']:,} distinct environments")
    click.echo(f"{total:,} bytes on the disk" + (f", {each:,} for each device" if each is not None else ""))


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@settings_options("database")
def backup(file: Path, database: str | None) -> None:
    """Copy the SQLite database into FILE, beside a running collector.

    A PostgreSQL is backed up with its own tools; this says how.

    \b
    Examples:
      envcheck-server db backup /backup/collector-2026-01-31.db
    """
    place = database_place(load_settings({"database": database}))
    if isinstance(place, str):
        from envcheck_server.store.postgres_address import dump_command

        raise BadInput("a PostgreSQL database is backed up by pg_dump", dump_command(place, file))
    from envcheck_server.store.sqlite import backup_sqlite

    size = backup_sqlite(place, file)
    click.echo(f"{file}: {size:,} bytes")


@db.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy a whole database into an empty one: from SQLite to PostgreSQL, or back.

    FROM and TO are SQLite files or PostgreSQL URLs. Stop the collectors first: what they store meanwhile
    would not be in the copy. Either everything is copied or nothing is.

    \b
    Examples:
      envcheck-server db copy collector.db postgresql://envcheck@db.example/envcheck
    """
    from envcheck_server.store.copying import copy_store
    from envcheck_server.store.opening import connect_store

    if not is_url(source) and not Path(source).exists():
        raise BadInput(f"there is no database {source}", "name an SQLite file or a PostgreSQL URL")
    with ExitStack() as opened:
        stores = [
            opened.enter_context(closing(connect_store(name if is_url(name) else Path(name))))
            for name in (source, target)
        ]
        if not stores[1].revision():
            stores[1].migrate()
        counts = copy_store(
            stores[0], stores[1], lambda name, count: click.echo(f"{name}: {count:,} rows", err=True)
        )
        total = f"{sum(counts.values()):,} rows in {len(counts)} tables"
        click.echo(f"{stores[1].name}: {total}, as many as were there")


@db.command()
@click.option("--history", metavar="AGE", required=True, help="Forget changes that are older, like 180d.")
@click.option("--evidence", metavar="AGE", required=True, help="Forget evidence that is older, like 90d.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options("database")
def prune(history: str, evidence: str, as_json: bool, database: str | None) -> None:
    """Remove old history, and what nothing refers to any more.

    Beside running collectors. What a device states now stays, whatever its age, with the change that brought
    it. Sections and fingerprints go when no device and no history refers to them.

    \b
    Examples:
      envcheck-server db prune --history 180d --evidence 90d
    """
    now = clock()
    ages = [_age(history, "--history"), _age(evidence, "--evidence")]
    with open_store(database) as store:
        removed = asdict(store.prune(now - ages[0], now - ages[1]))
    if as_json:
        click.echo(json.dumps(removed))
    else:
        click.echo("removed " + ", ".join(f"{count:,} {_plain(name)}" for name, count in removed.items()))


def _age(text: str, option: str) -> int:
    age = parse_age(text, option)
    if not _LEAST_AGE_S <= age <= LONGEST_AGE_S:
        raise BadInput(f"{option} {text}: an age is from 1h to 30 years", f"{option} 90d")
    return age


def _plain(name: str) -> str:
    return name.replace("_", " ")
