"""`envcheck push`: give the collector a release."""

from __future__ import annotations

from pathlib import Path

import click

from envcheck.commands.collector import collector_options, open_link
from envcheck.commands.common import find_policy, notice, read_file
from envcheck.contract.selector import parse_selector
from envcheck.contract.text import inert
from envcheck.errors import BadInput
from envcheck.transport.files import map_file


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--policy", default="default", metavar="FILE|NAME", help="Policy file, or default, strict or inventory."
)
@click.option(
    "--for", "selector", default="", metavar="SELECTOR", help="Devices it is meant for (default: all)."
)
@click.option(
    "--mirror", default="", metavar="URL", help="Where devices fetch the same file, before the collector."
)
@collector_options
def push(
    file: Path,
    policy: str,
    selector: str,
    mirror: str,
    collector: str | None,
    token: str | None,
    token_file: Path | None,
) -> None:
    """Give the collector a release.

    The bundle is verified here first and uploaded only where the collector does not hold it yet. Pushing
    the same again changes nothing; another policy or selector makes a new revision; other bytes under the
    same name are refused. A mirror serves the same file over HTTP: devices check what comes from there by its
    digest and by the signature, and ask the collector when it does not help.

    \b
    Examples:
      envcheck push digits.envcheck --collector https://envcheck.example.com
      envcheck push digits.envcheck --policy strict --for line=press,env=prod
      envcheck push digits.envcheck --mirror https://mirror.example.com/digits.envcheck
    """
    from envcheck.contract.bundle import read_bundle
    from envcheck.transport.client import has_bundle, send_bundle, send_release

    parse_selector(selector)
    rules = find_policy(policy)
    data = _map(file)
    bundle = read_bundle(data, str(file), notice)
    release = bundle.baseline().release
    if bundle.signer() is None:
        raise BadInput(
            f"{file} is not signed: no device would run it",
            f"sign it: envcheck baseline sign --key KEY {file}",
        )
    link = open_link(collector, token, token_file)
    if not has_bundle(link, bundle.sha256):
        send_bundle(link, data, bundle.sha256)
    answer = send_release(link, release, bundle.sha256, rules, selector, mirror)
    meant = f"devices with {answer.selector}" if answer.selector else "every device"
    click.echo(inert(f"{release} is released for {meant}, revision {answer.revision}, policy {rules.name}"))
    if answer.mirror:
        click.echo(inert(f"devices fetch it from {answer.mirror}"))
    click.echo(f"next: envcheck gate {release}")


def _map(file: Path) -> memoryview:
    """Return a view of the bundle: however large it is, it is not held in memory."""
    try:
        return map_file(file)
    except (OSError, ValueError):
        # A pipe, or nothing that can be read: the one is held, of the other it is said why.
        return memoryview(read_file(file, "bundle"))
