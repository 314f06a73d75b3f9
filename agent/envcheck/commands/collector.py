"""The options with which CI and people reach a collector: `push` and `gate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from envcheck.commands.common import notice
from envcheck.errors import BadInput
from envcheck.transport.link import Link, bearer

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCAL = ("localhost", "127.0.0.1", "::1")


def collector_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--collector`, `--token` and `--token-file` to a command."""
    for option in (
        click.option(
            "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File that holds the token."
        ),
        click.option("--token", help="Access token (default: ENVCHECK_TOKEN, which others can't see)."),
        click.option("--collector", metavar="URL", help="The collector (default: ENVCHECK_COLLECTOR)."),
    ):
        function = option(function)
    return function


def open_link(collector: str | None, token: str | None, token_file: Path | None) -> Link:
    """Return a link that speaks with the token; raises BadInput when collector or token is missing."""
    url = collector or os.environ.get("ENVCHECK_COLLECTOR", "")
    if not url:
        raise BadInput("which collector?", "give --collector URL or set ENVCHECK_COLLECTOR")
    link = Link(
        url, bearer(read_token(token, token_file)), ca_bundle=os.environ.get("ENVCHECK_CA_BUNDLE", "")
    )
    warn_of_plain_http(link.url)
    return link


def read_token(token: str | None, token_file: Path | None) -> str:
    """Return the token from its option, its file or ENVCHECK_TOKEN; raises BadInput when there is none."""
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the token file {token_file} can't be read: {error}") from None
    found = (token or os.environ.get("ENVCHECK_TOKEN", "")).strip()
    if not found:
        raise BadInput("there is no token", "give --token-file FILE, ENVCHECK_TOKEN or --token TOKEN")
    return found


def warn_of_plain_http(url: str) -> None:
    """Say it on stderr when a token is about to travel where others can read it."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        notice(f"{url} is reached without TLS: others on the way can read the token")
