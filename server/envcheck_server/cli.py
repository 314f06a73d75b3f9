"""The command `envcheck-server`: commands are imported when called. Exit codes are the agent's."""

from __future__ import annotations

import sys

import click

from envcheck import __version__
from envcheck.cli import LazyCommands, run_cli

# name -> one-line help; a test holds it to the command's own.
COMMANDS = {
    "serve": "Run the collector.",
    "migrate": "Bring the database up to date.",
    "token": "Create, list, rotate and revoke tokens.",
    "device": "List, accept, reject, revoke, label and expect devices.",
    "release": "List and retire releases.",
    "waiver": "Add, list and revoke waivers of findings.",
    "audit": "Show who changed what, and whether the log was.",
    "db": "Look after the database.",
}


@click.group(
    cls=LazyCommands,
    package="envcheck_server.commands",
    helps=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the audit log was tampered with, 2 usage or bad input, 3 unknown, "
    "70 internal error, 130 interrupted.",
)
@click.version_option(__version__, prog_name="envcheck-server")
def envcheck_server() -> None:
    """Collect what devices report, and answer the gate."""


def main() -> None:
    """Run the command line and exit with one of the documented codes."""
    sys.exit(run_cli(envcheck_server))
