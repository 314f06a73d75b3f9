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
@config_option
def enroll(
    url: str | None,
    token: str | None,
    token_file: Path | None,
    device: str | None,
    labels: tuple[str, ...],
    config: Path | None,
) -> None:
    """Make this device known to a collector.

    A key is made here, readable by its owner only, and never leaves the state directory. Enrolling again is
    harmless: it shows where the device stands. The token may also come from ENVCHECK_TOKEN.

    \b
    Examples:
      ENVCHECK_TOKEN=... envcheck enroll https://envcheck.example.com
      envcheck enroll https://envcheck.example.com --token-file /run/token --label line=press
    """
    configuration = load_configuration(config)
    collector = collector_url(url or configuration.collector or _no_url())
    warn_of_plain_http(collector)
    enrolment = Enrolment(
        token=read_token(token, token_file),
        device=_device_id(device or configuration.device),
        public_key="",
        labels=dict(parse_label(label) for label in labels),
    )
    state = State(Path(configuration.state_dir))
    state.create()
    with state.lock():
        answer = _enroll(collector, enrolment, state, configuration)
    _tell(answer)


def _enroll(
    collector: str, enrolment: Enrolment, state: State, configuration: Configuration
) -> EnrolmentAnswer:
    import msgspec

    from envcheck.facts.gather import capture
    from envcheck.facts.host import resolve_target
    from envcheck.facts.identity import hardware_id
    from envcheck.transport.client import send_enrolment
    from envcheck.transport.link import Link

    target = resolve_target(configuration.python or None, configuration.env_file or None)
    hardware = hardware_id(capture(target))[:HARDWARE_DIGITS]
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
