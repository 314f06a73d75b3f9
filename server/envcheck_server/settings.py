"""The collector's settings: one table of name, default and help.

A setting is given as a flag (`--next-report-s 300`) or a variable (`ENVCHECK_SERVER_NEXT_REPORT_S=300`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from envcheck.errors import BadInput

PREFIX = "ENVCHECK_SERVER_"
# Everything else is a file.
_POSTGRES = ("postgresql://", "postgres://")
_MB = 1024 * 1024


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may choose. Every default is meant to be right for a start."""

    database: str = _setting(
        "",
        "SQLite file, or a PostgreSQL as postgresql://USER@HOST/NAME (default: "
        "$XDG_STATE_HOME/envcheck/collector.db).",
    )
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8470, "Port to listen on; 0 takes a free one.")
    ready_file: str = _setting("", "File that is given the collector's URL once it listens.")
    tls_certificate: str = _setting("", "PEM file of the certificate chain; without it, plain HTTP.")
    tls_key: str = _setting("", "PEM file of the certificate's private key.")
    next_report_s: int = _setting(300, "Seconds after which a device reports again, on average.")
    lease_s: int = _setting(60, "Seconds in which a device delivers what it was asked for; then another is.")
    signature_window_s: int = _setting(
        3600, "How far the time of a device's signature may be off, its known clock error allowed for."
    )
    max_report_bytes: int = _setting(256 * 1024, "Largest body of a report or an enrolment.")
    max_object_bytes: int = _setting(4 * _MB, "Largest object, before and after decompression.")
    max_document_bytes: int = _setting(64 * _MB, "Largest body of a question or of a release.")
    max_bundle_bytes: int = _setting(512 * _MB, "Largest bundle.")
    write_queue: int = _setting(4096, "Writes that may wait; beyond, devices are asked to come again.")
    write_batch: int = _setting(256, "Most reports that share one commit.")
    retry_after_s: int = _setting(5, "Seconds after which a device that was turned away comes again.")
    read_threads: int = _setting(4, "Threads that answer questions.")
    log_level: str = _setting("info", "How much is logged: debug, info, warning or error.")
    log_format: str = _setting("text", "How it is logged: text, or json with one object a line.")


SETTINGS = fields(Settings)


def load_settings(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Join flags (None: not given), variables and defaults, in this order; raises BadInput naming one."""
    variables = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        name = PREFIX + setting.name.upper()
        if given.get(setting.name) is not None:
            values[setting.name] = given[setting.name]
        elif name in variables:
            values[setting.name] = _read(variables[name], setting.default, name)
    settings = Settings(**values)
    _check(settings)
    return settings


def database_place(settings: Settings, environ: Mapping[str, str] | None = None) -> Path | str:
    """Return the SQLite file as a path, or the URL of a PostgreSQL as it was given."""
    if is_url(settings.database):
        return settings.database
    return database_path(settings, environ)


def is_url(database: str) -> bool:
    """Tell whether a database's name is the URL of a PostgreSQL."""
    return database.startswith(_POSTGRES)


def database_path(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Return the SQLite file: the one named, or the one in the user's state directory."""
    variables = os.environ if environ is None else environ
    if settings.database:
        return Path(settings.database)
    state = variables.get("XDG_STATE_HOME", "")
    home = variables.get("HOME", "")
    base = Path(state) if state else Path(home, ".local", "state") if home else Path()
    return base / "envcheck" / "collector.db"


def _read(text: str, default: Any, name: str) -> Any:
    if not isinstance(default, int):
        return text
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"{name}: {text[:80]!r} is not a whole number") from None


def _check(settings: Settings) -> None:
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        least = 0 if setting.name == "port" else 1
        if isinstance(value, int) and value < least:
            raise BadInput(f"{setting.name} is {value}, it must be at least {least}")
    if settings.port > 65535:
        raise BadInput(f"port is {settings.port}, it must be at most 65535")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise BadInput(f"log_level: there is no level {settings.log_level[:40]!r}")
    if settings.log_format not in ("text", "json"):
        raise BadInput(f"log_format: there is no format {settings.log_format[:40]!r}")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise BadInput("tls_certificate and tls_key belong together", "give both, or none for plain HTTP")
