"""`envcheck-server device`: list, accept, reject, revoke, label and expect devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

import click

from envcheck.contract.document import encode
from envcheck.contract.selector import parse_label
from envcheck.contract.text import inert
from envcheck.contract.wire import DeviceState, FleetAnswer, FleetDevice
from envcheck_server.commands.inventory_files import read_list
from envcheck_server.commands.options import clock, open_store, settings_options
from envcheck_server.commands.who import who
from envcheck_server.service.enrolment import EnrolmentService
from envcheck_server.service.inventory import InventoryService, read_expected, read_preauthorised
from envcheck_server.store.interface import Store

_STYLES = {"pass": "green", "fail": "red", "unknown": "yellow"}
_TOLD = 8
_WORDS = {"pass": "ready", "fail": "blocked", "unknown": "unknown"}


@click.group()
def device() -> None:
    """List, accept, reject, revoke, label and expect devices."""


@device.command(name="list")
@click.option("--release", default="", metavar="NAME@VERSION", help="Show whether each is ready for it.")
@click.option("--selector", default="", help="Only devices with these labels.")
@click.option(
    "--state",
    type=click.Choice(get_args(DeviceState)),
    help="Only devices in this state.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one document with all of them.")
@settings_options("database")
def list_devices(release: str, selector: str, state: str | None, as_json: bool, database: str | None) -> None:
    """List devices: the fleet table.

    \b
    Examples:
      envcheck-server device list
      envcheck-server device list --release digits@1.3 --selector line=press
      envcheck-server device list --state pending
    """
    with open_store(database) as store:
        found = list(_all(store, selector, release, cast("DeviceState | None", state)))
    if as_json:
        click.echo(encode(FleetAnswer(devices=found)))
    else:
        _print(found, release)


@device.command()
@click.argument("name", metavar="DEVICE")
@click.option(
    "--key", default="", metavar="KEYID", help="Which key, when several wait (its first digits do)."
)
@settings_options("database")
def accept(name: str, key: str, database: str | None) -> None:
    """Accept the key with which a device waits, or that of one in quarantine.

    A key that was accepted before is revoked.

    \b
    Examples:
      envcheck-server device accept press-07
      envcheck-server device accept press-07 --key 3f9a
    """
    with open_store(database) as store:
        accepted = EnrolmentService(store, clock).accept(name, key, by=who())
    click.echo(f"{inert(name)} is accepted with the key {accepted.key_id[:8]}, epoch {accepted.epoch}")


@device.command()
@click.argument("name", metavar="DEVICE")
@click.option(
    "--key", default="", metavar="KEYID", help="Which key, when several wait (its first digits do)."
)
@settings_options("database")
def reject(name: str, key: str, database: str | None) -> None:
    """Turn away the key with which a device waits.

    The key that it speaks with, if it has one, goes on. A device that has no other key is revoked.

    \b
    Examples:
      envcheck-server device reject press-07
      envcheck-server device reject press-07 --key 3f9a
    """
    with open_store(database) as store:
        rejected = EnrolmentService(store, clock).reject(name, key, by=who())
    click.echo(f"the key {rejected[:8]} of {inert(name)} is rejected")


@device.command()
@click.argument("name", metavar="DEVICE")
@settings_options("database")
def revoke(name: str, database: str | None) -> None:
    """Revoke a device and every key of it; acts on its next request.

    \b
    Examples:
      envcheck-server device revoke press-07
    """
    with open_store(database) as store:
        EnrolmentService(store, clock).revoke(name, by=who())
    click.echo(f"{inert(name)} is revoked")


@device.command()
@click.argument("name", metavar="DEVICE")
@click.argument("labels", metavar="K=V|K-...", nargs=-1, required=True)
@settings_options("database")
def label(name: str, labels: tuple[str, ...], database: str | None) -> None:
    """Set labels (K=V) of a device, or remove them (K-).

    \b
    Examples:
      envcheck-server device label press-07 site=berlin old-
    """
    remove = tuple(one[:-1] for one in labels if one.endswith("-") and "=" not in one)
    given = dict(parse_label(one) for one in labels if not (one.endswith("-") and "=" not in one))
    with open_store(database) as store:
        changed = EnrolmentService(store, clock).label(name, given, remove, by=who())
    click.echo(f"{inert(name)}: {_labels(changed.labels) or 'no labels'}")


@device.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@settings_options("database")
def expect(file: Path | None, database: str | None) -> None:
    """Say which devices ought to be there, or ask which of them are not.

    FILE takes the place of the inventory before: a device id a line, or a CSV whose first line is `device`
    and the names of labels. A device that is expected and not there is unknown to the gate, in the cohorts
    that these labels are in. Without FILE, those that are not there are shown.

    \b
    Examples:
      envcheck-server device expect inventory.csv
      envcheck-server device expect
    """
    with open_store(database) as store:
        service = InventoryService(store, clock)
        if file is None:
            answer = service.status()
        else:
            answer = service.expect(read_expected(read_list(file), str(file)).devices, by=who())
    click.echo(f"{answer.expected} devices are expected, {answer.missing} of them are not there")
    for name in answer.absent:
        click.echo(f"  {inert(name)}")
    if answer.missing > len(answer.absent):
        click.echo(f"  ... (+{answer.missing - len(answer.absent)})")


@device.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@settings_options("database")
def preauthorise(file: Path, database: str | None) -> None:
    """Let devices enrol without a token, by the key and the hardware that a factory knows.

    FILE is a CSV of hardware id, public key and device id (may be empty), as `envcheck enroll --prepare`
    prints them on the device; more columns are labels, named by a first line. On other hardware, or under
    another id, such a key waits for an operator.

    \b
    Examples:
      envcheck-server device preauthorise batch-12.csv
    """
    keys = read_preauthorised(read_list(file), str(file), clock())
    with open_store(database) as store:
        InventoryService(store, clock).preauthorise(keys, by=who())
    click.echo(f"{len(keys)} devices may enrol without a token")


def _all(store: Store, selector: str, release: str, state: DeviceState | None) -> Iterator[FleetDevice]:
    from envcheck_server.service.services import make_fleet

    fleet, after = make_fleet(store, clock), ""
    while True:
        page = fleet.page(selector, release, after, state=state)
        yield from page.devices
        if not page.next:
            return
        after = page.next


def _print(found: list[FleetDevice], release: str) -> None:
    from rich.table import Table

    from envcheck_server.commands.screen import plain, screen

    heads = ["DEVICE", "STATE", "LABELS", "LAST SEEN", "PYTHON", "ONNXRUNTIME"]
    table = Table(*heads, *(["VERDICT", "REASON"] if release else []), box=None, pad_edge=False)
    for one in found:
        cells = [one.device, _state(one), _labels(one.labels), one.last_seen or "never"]
        row = [plain(cell) for cell in (*cells, one.python or "-", one.onnxruntime or "-")]
        if release:
            outcome = one.outcome or ""
            row += [plain(_WORDS.get(outcome, "-"), _STYLES.get(outcome, "")), plain(one.reason)]
        table.add_row(*row)
    screen().print(table)
    _tell_unknown(found)


def _tell_unknown(found: list[FleetDevice]) -> None:
    """Say which kinds of section newer agents tell that are unknown here."""
    names = sorted({name for one in found for name in one.unknown_sections})
    if names:
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        told = inert(", ".join(names[:_TOLD]))
        click.echo(
            f"unknown here, and not judged: the sections {told}{more}; upgrade envcheck-server", err=True
        )


def _state(one: FleetDevice) -> str:
    """Return the device's state, and the keys that wait beside the one it speaks with."""
    waiting = " ".join(key[:8] for key in one.waiting)
    return f"{one.state}, waiting: {waiting}" if waiting and one.state != "pending" else one.state


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
