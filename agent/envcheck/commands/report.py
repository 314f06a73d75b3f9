"""`envcheck report`: capture, tell the collector, run the releases meant for this device, tell it again."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envcheck.commands.common import notice, tell_stage
from envcheck.commands.configuration import (
    Configuration,
    config_option,
    load_configuration,
    serving_target,
)
from envcheck.commands.due import failures, is_due, set_due
from envcheck.contract.canonical import digest
from envcheck.contract.document import encode
from envcheck.contract.fingerprint import Fingerprint, fingerprint_objects
from envcheck.contract.text import inert
from envcheck.contract.wire import ReleaseOffer, Report
from envcheck.errors import BadInput, EnvcheckError, Unreachable
from envcheck.transport.bundles import BundleCache
from envcheck.transport.exchange import Exchange
from envcheck.transport.link import Later, Link, Refused, collector_url
from envcheck.transport.readings import HARDWARE_DIGITS, model_digest, report_readings
from envcheck.transport.results import Measured, Results
from envcheck.transport.spool import Spool
from envcheck.transport.state import Enrolled, State

if TYPE_CHECKING:
    from envcheck.facts.host import Target

_MAX_RELEASES = 16
# Timings drift, so a day later the model runs again; one that did not end well gets another chance sooner.
_REMEASURE_S = 24 * 3600
_RETRY_S = 3600
# After how long an undelivered report is tried again, at first and at last.
_FIRST_RETRY_S = 60
_LAST_RETRY_S = 900


@click.command()
@click.option("--fresh", is_flag=True, help="Run the models again, even where nothing changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the last report that was sent, as one document.")
@click.option("--if-due", is_flag=True, help="Do nothing until the time that the collector set has come.")
@config_option
def report(fresh: bool, as_json: bool, if_due: bool, config: Path | None) -> None:
    """Capture, smoke and tell the collector.

    Runs only bundles that a key in `release_keys` of the configuration signed. A report that can't be
    delivered is kept and goes first the next time. Exit code 0 once the collector acknowledged, whatever
    it thinks of this device; 4 when it could not be reached.

    \b
    Examples:
      envcheck report
      envcheck report --fresh --json
      envcheck report --if-due
    """
    configuration = load_configuration(config)
    if if_due and not is_due(configuration.state_dir):
        return
    state = State(Path(configuration.state_dir))
    enrolled = state.enrolled()
    _check_collector(configuration, enrolled)
    with state.lock():
        _finish_rotation(configuration, state, enrolled)
        sent = _scheduled(_Run(configuration, state, enrolled), configuration.state_dir, fresh=fresh)
    if as_json:
        click.echo(encode(sent))
    else:
        click.echo(inert(f"{enrolled.device}: report {sent.seq} acknowledged by {enrolled.collector}"))


def _check_collector(configuration: Configuration, enrolled: Enrolled) -> None:
    if configuration.collector and collector_url(configuration.collector) != enrolled.collector:
        raise BadInput(
            f"this device is enrolled at {enrolled.collector}, the configuration names "
            f"{configuration.collector}",
            f"enroll it there: envcheck enroll {configuration.collector} --token TOKEN",
        )


def _scheduled(run: _Run, directory: str, *, fresh: bool) -> Report:
    """Report, and set when the next one is due; after a failure ever later, and never when others are."""
    failed = failures(directory)
    try:
        sent = run.report(fresh=fresh)
    except EnvcheckError as error:
        asked = error.retry_after_s if isinstance(error, Later) else None
        wait_s = max(asked or 0, min(_FIRST_RETRY_S * 2 ** min(failed, 10), _LAST_RETRY_S))
        _set_due(directory, round(wait_s * random.uniform(1, 1.5)), failed + 1)  # noqa: S311  (no secret)
        raise
    _set_due(directory, run.next_report_s, 0)
    return sent


def _set_due(directory: str, wait_s: int, failed: int) -> None:
    try:
        set_due(directory, wait_s, failed)
    except OSError as error:
        notice(f"when to report next can't be kept in {directory}: {error.strerror}")


def _finish_rotation(configuration: Configuration, state: State, enrolled: Enrolled) -> None:
    """Go on with a change of keys that was cut off: the collector may know the new one already."""
    if state.next_key() is None:
        return
    from envcheck.transport.rotation import rotate_key

    try:
        rotate_key(
            state,
            lambda key: Link(
                enrolled.collector, key.credentials(time.time), ca_bundle=configuration.ca_bundle
            ),
        )
    except (Unreachable, Refused) as error:
        notice(f"this device's key was not changed: {error.message}")


@dataclass(frozen=True)
class _Environment:
    """What this run found the device to be."""

    target: Target
    fingerprint: Fingerprint
    digest: str
    objects: dict[str, bytes]
    hardware: str


class _Run:
    """One run of `envcheck report`."""

    def __init__(self, configuration: Configuration, state: State, enrolled: Enrolled) -> None:
        credentials = state.key().credentials(time.time)
        self._configuration = configuration
        self._state = state
        self._enrolled = enrolled
        self._link = Link(enrolled.collector, credentials, ca_bundle=configuration.ca_bundle)
        self._exchange = Exchange(
            self._link, enrolled.device, Spool(state.directory / "spool", notice), notice
        )
        self._bundles = BundleCache(state.directory / "bundles", notice)
        self._results = Results(state)
        self.next_report_s = 0

    def report(self, *, fresh: bool) -> Report:
        """Report, run what is offered and not yet measured, and report that; return the last report."""
        environment = self._capture()
        setup = self._setup(environment.target)
        known = {} if fresh else self._recent(environment, setup)
        sent, offers = self._send(environment, known)
        self._bundles.keep_only({offer.sha256 for offer in offers})
        self._results.keep_only({offer.sha256 for offer in offers})
        measured = self._measure([offer for offer in offers if offer.sha256 not in known], environment, setup)
        if measured:
            sent, _ = self._send(environment, {**known, **measured})
        return sent

    def _capture(self) -> _Environment:
        from envcheck.facts.gather import capture
        from envcheck.facts.identity import hardware_id

        configuration = self._configuration
        target = serving_target(configuration, None, None, None, on_disk=True)
        fingerprint = capture(target)
        name, objects = fingerprint_objects(fingerprint.sections)
        return _Environment(target, fingerprint, name, objects, hardware_id(fingerprint)[:HARDWARE_DIGITS])

    def _recent(self, environment: _Environment, setup: str) -> dict[str, Measured]:
        """Return what need not be measured again: nothing changed, and it was not long ago."""
        from envcheck.judge.decide import parse_time

        now = parse_time(environment.fingerprint.captured_at, "captured_at")
        known = self._results.under(environment.digest, setup)
        return {
            bundle: one
            for bundle, one in known.items()
            if abs((now - parse_time(one.result.measured_at, "measured_at")).total_seconds())
            <= (_REMEASURE_S if one.evidence.ending.status == "ok" else _RETRY_S)
        }

    def _setup(self, target: Target) -> str:
        """Name what else a measurement depends on, beside bundle and fingerprint."""
        configuration = self._configuration
        bounds = [configuration.smoke_quick, configuration.smoke_deadline_s]
        # Where there is none, what was measured before there could be one still counts.
        bounds += [configuration.smoke_memory_mib] if configuration.smoke_memory_mib else []
        return digest("\n".join(map(str, (target.python, *bounds))).encode())[:16]

    def _send(
        self, environment: _Environment, measured: Mapping[str, Measured]
    ) -> tuple[Report, list[ReleaseOffer]]:
        report = Report(
            epoch=self._enrolled.epoch,
            seq=self._state.next_sequence(self._enrolled.epoch),
            captured_at=environment.fingerprint.captured_at,
            fingerprint=environment.digest,
            results={bundle: one.result for bundle, one in sorted(measured.items())},
            readings={
                **report_readings(environment.fingerprint),
                **model_digest(self._configuration.model, self._state, notice),
            },
            hardware=environment.hardware,
        )
        evidence = [encode(one.evidence) for one in measured.values()]
        objects = {**environment.objects, **{digest(data): data for data in evidence}}
        answer = self._exchange.deliver(report, objects)
        self.next_report_s = answer.next_report_s
        if len(answer.releases) > _MAX_RELEASES:
            notice(f"{len(answer.releases)} releases are offered; the first {_MAX_RELEASES} are looked at")
        return report, answer.releases[:_MAX_RELEASES]

    def _measure(
        self, offers: list[ReleaseOffer], environment: _Environment, setup: str
    ) -> dict[str, Measured]:
        measured = {}
        for offer in offers:
            try:
                measured[offer.sha256] = self._smoke(offer, environment, setup)
            except EnvcheckError as error:
                notice(f"{offer.release} was not run: {error.message}")
                if error.hint:
                    click.echo(inert(f"  {error.hint}"), err=True)
        return measured

    def _smoke(self, offer: ReleaseOffer, environment: _Environment, setup: str) -> Measured:
        """Fetch and run one bundle. Nothing in it but its manifest is read before the pinned key agreed."""
        from envcheck.contract.bundle import read_bundle
        from envcheck.smoke.run import run_smoke

        configuration = self._configuration
        if environment.target.unasked:
            raise BadInput(
                f"the interpreter that serves can't be run from here: {environment.target.unasked}",
                "run envcheck where it can be",
            )
        if not configuration.release_keys:
            raise BadInput(
                "no release key is pinned here", "set release_keys in the configuration to your public keys"
            )
        bundle = read_bundle(self._bundles.get(offer, self._link), f"the bundle of {offer.release}", notice)
        bundle.require_signature(configuration.release_keys)
        smoke = run_smoke(
            bundle,
            environment.target,
            fingerprint=environment.digest,
            quick=configuration.smoke_quick,
            deadline_s=configuration.smoke_deadline_s,
            progress=lambda stage: tell_stage(f"{offer.release}: {stage}"),
            memory_limit_mb=configuration.smoke_memory_mib,
        )
        tell_stage("")
        return self._results.put(smoke, setup)
