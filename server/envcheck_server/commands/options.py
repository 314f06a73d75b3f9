"""Options that several commands share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from envcheck_server.settings import PREFIX, SETTINGS, Settings, database_place, load_settings
from envcheck_server.store.interface import Store


def settings_options(*names: str) -> Callable[[Any], Any]:
    """Add flags for settings: those named, or all of them."""

    def add(function: Any) -> Any:
        for setting in reversed([one for one in SETTINGS if not names or one.name in names]):
            text = setting.metadata["help"].rstrip(".")
            function = click.option(
                "--" + setting.name.replace("_", "-"),
                type=type(setting.default),
                help=f"{text} [{PREFIX}{setting.name.upper()}"
                + (f"; default: {setting.default}]" if setting.default else "]"),
            )(function)
        return function

    return add


@contextmanager
def open_store(database: str | None) -> Iterator[Store]:
    """Open the store for one command; raises BadInput when its schema is not the newest."""
    from envcheck_server.store.opening import open_store as open_place

    store = open_place(database_place(load_settings({"database": database})))
    try:
        yield store
    finally:
        store.close()


def open_for_serving(settings: Settings) -> Store:
    """Open the store, its schema brought up to date if the database is empty."""
    from envcheck_server.store.opening import connect_store
    from envcheck_server.store.opening import open_store as open_place

    place = database_place(settings)
    store = connect_store(place)
    try:
        if not store.revision():
            store.migrate()
    finally:
        store.close()
    return open_place(place)


def clock() -> int:
    """Return the time in whole seconds."""
    return int(time.time())
