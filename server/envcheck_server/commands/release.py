"""`envcheck-server release`: list and retire releases."""

from __future__ import annotations

import click

from envcheck.contract.document import encode
from envcheck.contract.text import inert
from envcheck.contract.wire import ReleasesAnswer
from envcheck_server.commands.options import clock, open_store, settings_options
from envcheck_server.commands.who import who
from envcheck_server.service.releases import ReleaseService, answer_of
from envcheck_server.service.times import written


@click.group()
def release() -> None:
    """List and retire releases."""


@release.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one document with all of them.")
@settings_options("database")
def list_releases(as_json: bool, database: str | None) -> None:
    """List releases, newest first, with the devices that each is meant for.

    \b
    Examples:
      envcheck-server release list
      envcheck-server release list --json
    """
    with open_store(database) as store:
        found = store.releases.all()
    if as_json:
        click.echo(encode(ReleasesAnswer(releases=[answer_of(one) for one in found])))
        return
    from rich.table import Table

    from envcheck_server.commands.screen import plain, screen

    mirrored = ["MIRROR"] if any(one.mirror for one in found) else []
    heads = ["RELEASE", "REVISION", "PUSHED", "STATE", "FOR", *mirrored]
    table = Table(*heads, box=None, pad_edge=False)
    for one in found:
        state = "offered" if one.retired_at is None else f"retired {written(one.retired_at)}"
        cells = [
            one.release,
            str(one.revision),
            written(one.created_at),
            state,
            one.selector or "every device",
            one.mirror or "",
        ]
        table.add_row(*map(plain, cells[: len(heads)]))
    screen().print(table)


@release.command()
@click.argument("name", metavar="NAME@VERSION")
@settings_options("database")
def retire(name: str, database: str | None) -> None:
    """Offer a release to no device any more.

    Devices forget it with their next report, and the gate refuses to answer for it. What was judged stays.
    Another push of the same bundle brings it back.

    \b
    Examples:
      envcheck-server release retire digits@1.2
    """
    with open_store(database) as store:
        ReleaseService(store, clock).retire(name, by=who())
    click.echo(f"{inert(name)} is retired")
