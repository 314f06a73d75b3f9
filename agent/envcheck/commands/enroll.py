"""`envcheck enroll`: make this device known to a collector."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import click

from envcheck.commands.collector import read_token, warn_of_plain_http
from envcheck.commands.configuration import Configuration, config_option, load_configuration
from envcheck.contract.selector import is_device_id, parse_label
from envcheck.contract.text import inert
from envcheck.contract.wire import Enrolment, EnrolmentAnswer
from envcheck.errors import BadInput
from envcheck.transport.link import collector_url
from envcheck.transport.readings import HARDWARE_DIGITS
from envcheck.transport.state import Enrolled, State


@click.command()
@click.argument("url", required=False)
@click.option("--token", help="Enrolment token; other users of this machine can see it on a command line.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File that holds the token."
)
@click.option(
    "--device", metavar="ID", help="Id to propose (default: `device` of the configuration, or the host name)."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label to propose; repeatable.")
@click.option("--prepare", is_flag=True, help="Make the key, and print the line that a factory's list needs.")
@click.option("--rotate", is_flag=True, help="Give this device, which is enrolled, another key.")
@config_option
def enroll(
    url: str | None,
    token: str | None,
    token_file: Path | None,
    device: str | None,
    labels: tuple[str, ...],
    prepare: bool,
    rotate: bool,
    config: Path | None,
) -> None:
    """Make this device known to a collector.

    A key is made here, readable by its owner only, and never leaves the state directory. Enrolling again is
    harmless: it shows where the device stands. The token may also come from ENVCHECK_TOKEN. A device that was
    prepared, and whose line the collector was given, needs none.

    \b
    Examples:
      ENVCHECK_TOKEN=... envcheck enroll https://envcheck.example.com
      envcheck enroll https://envcheck.example.com --token-file /run/token --label line=press
      envcheck enroll --prepare >> batch-12.csv
      envcheck enroll --rotate
    """
    configuration = load_configuration(config)
    if prepare and rotate:
        raise BadInput("--prepare and --rotate do not go together", "give one of them")
    if rotate:
        _tell(_rotate(configuration))
        return
    if prepare:
        click.echo(_prepare(_device_id(device or configuration.device), configuration))
        return
    collector = collector_url(url or configuration.collector or _no_url())
    warn_of_plain_http(collector)
    state = State(Path(configuration.state_dir))
    enrolment = Enrolment(
        token=_token(token, token_file, state),
        device=_device_id(device or configuration.device),
        public_key="",
        labels=dict(parse_label(label) for label in labels),
    )
    state.create()
    with state.lock():
        answer = _enroll(collector, enrolment, state, configuration)
    _tell(answer)


def _enroll(
    collector: str, enrolment: Enrolment, state: State, configuration: Configuration
) -> EnrolmentAnswer:
    import msgspec

    from envcheck.transport.client import send_enrolment
    from envcheck.transport.link import Link

    hardware = _hardware(configuration)
    key = state.make_key()
    # Signed like everything that a device sends: it proves that the key is this device's own.
    link = Link(collector, key.credentials(time.time), ca_bundle=configuration.ca_bundle)
    answer = send_enrolment(
        link, msgspec.structs.replace(enrolment, public_key=key.public_key, hardware=hardware)
    )
    state.save(
        "enrolled",
        Enrolled(
            collector=collector,
            device=answer.device,
            epoch=answer.epoch,
            state=answer.state,
            hardware=hardware,
            labels=answer.labels,
        ),
    )
    return answer


def _hardware(configuration: Configuration) -> str:
    from envcheck.facts.gather import capture
    from envcheck.facts.host import resolve_target
    from envcheck.facts.identity import hardware_id

    target = resolve_target(configuration.python or None, configuration.env_file or None)
    return hardware_id(capture(target))[:HARDWARE_DIGITS]


def _prepare(device: str, configuration: Configuration) -> str:
    """Return this device's line of a factory's list; its key is made if there is none."""
    hardware = _hardware(configuration)
    if not hardware:
        raise BadInput(
            "no serial of this hardware can be read here: nothing would bind the key to it",
            "enroll this device with a token instead: envcheck enroll URL --token TOKEN",
        )
    state = State(Path(configuration.state_dir))
    state.create()
    with state.lock():
        return f"{hardware},{state.make_key().public_key},{device}"


def _rotate(configuration: Configuration) -> EnrolmentAnswer:
    from envcheck.transport.link import Link
    from envcheck.transport.rotation import rotate_key

    state = State(Path(configuration.state_dir))
    url = state.enrolled().collector
    with state.lock():
        return rotate_key(
            state, lambda key: Link(url, key.credentials(time.time), ca_bundle=configuration.ca_bundle)
        )


def _token(token: str | None, token_file: Path | None, state: State) -> str:
    """Return the token; a device that was prepared may have none."""
    try:
        return read_token(token, token_file)
    except BadInput:
        if token is not None or token_file is not None or not state.has_key():
            raise
        return ""


def _tell(answer: EnrolmentAnswer) -> None:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(answer.labels.items())) or "no labels"
    click.echo(inert(f"{answer.device} is {answer.state} ({labels})"))
    click.echo(_NEXT[answer.state])


_NEXT = {
    "accepted": "next: envcheck report",
    "pending": "next: an operator accepts it on the collector: envcheck-server device accept DEVICE",
    "quarantined": "next: an operator looks into it: two machines may use this device's identity",
    "revoked": "next: an operator must lift the revocation; until then the collector takes nothing from it",
}


def _device_id(wanted: str) -> str:
    proposed = wanted or socket.gethostname().partition(".")[0].lower()
    if not is_device_id(proposed):
        raise BadInput(
            f"{proposed[:80]!r} can't be a device's id",
            "an id has up to 63 of a-z, 0-9, '.', '_' and '-': give --device ID",
        )
    return proposed


def _no_url() -> str:
    raise BadInput("which collector?", "envcheck enroll URL, or set `collector` in the configuration")
