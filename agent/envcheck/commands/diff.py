"""`envcheck diff`: two environments beside each other, judged as a device would be, without one."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click
import msgspec

from envcheck.commands.common import (
    EXIT_BY_OUTCOME,
    describe,
    device_name,
    find_policy,
    notice,
    read_file,
)
from envcheck.contract.bundle import read_bundle
from envcheck.contract.document import decode, encode
from envcheck.contract.evidence import Smoke
from envcheck.contract.fingerprint import Fingerprint, shared_fingerprint
from envcheck.contract.policy import Policy
from envcheck.contract.wire import result_of
from envcheck.errors import BadInput
from envcheck.judge.reference import Reference, reference_of, reference_of_fingerprint

_ZIP = b"PK\x03\x04"


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--evidence", type=click.Path(path_type=Path), help="B's `envcheck smoke --json` of bundle A.")
@click.option("--policy", metavar="NAME|FILE", help="Default: `default` for a bundle, else `inventory`.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict document.")
def diff(a: Path, b: Path, evidence: Path | None, policy: str | None, as_json: bool) -> int:
    """Compare two environments.

    A is what B is held to: a fingerprint (`envcheck capture -o`) or a bundle. B is a fingerprint. With two
    fingerprints every package of A counts and only facts are judged; with a bundle B is judged as the
    gate would, evidence and readings from --evidence. Exit 0 no blocking difference, 1 some, 3 unknown.

    \b
    Examples:
      envcheck diff training.json device.json
      envcheck diff digits@1.3.envcheck device.json --evidence smoke.json
      envcheck diff digits@1.3.envcheck device.json --policy inventory
    """
    from envcheck.judge.decide import DeviceReadings, decide
    from envcheck.judge.judge import judge
    from envcheck.judge.measure import measure
    from envcheck.judge.terms import terms_of

    reference, rules = _reference(a, policy)
    device = decode(read_file(b, "fingerprint"), Fingerprint, str(b), notice)
    measured = _smoke(evidence)
    shared, evidence_of_b = shared_fingerprint(device), measured.evidence if measured else None
    verdict = decide(
        judge(reference, shared, evidence_of_b, rules),
        DeviceReadings(result=result_of(measured) if measured else None),
        labels={},
        waivers=[],
        policy=rules,
        now=datetime.now(timezone.utc),
        release=reference.baseline.release,
        subject=device_name(device),
        terms=terms_of(rules, reference, shared, evidence_of_b),
    )
    verdict = msgspec.structs.replace(verdict, measures=measure(reference, shared, evidence_of_b, rules))
    exit_code = EXIT_BY_OUTCOME[verdict.outcome]
    if as_json:
        click.echo(encode(verdict).decode("ascii"))
        return exit_code

    from envcheck.output.console import show
    from envcheck.output.verdict import verdict_text

    title = f"{b.name} beside {a.name}: {describe(device, verdict.subject)}"
    show(verdict_text(verdict, title, rules, None, exit_code))
    return exit_code


def _reference(path: Path, policy: str | None) -> tuple[Reference, Policy]:
    data = read_file(path, "fingerprint or bundle")
    if data.startswith(_ZIP):
        return reference_of(read_bundle(data, str(path), notice)), find_policy(policy or "default")
    rules = find_policy(policy or "inventory")
    if rules.evidence != "ignored":
        raise BadInput(
            f"{path} is a fingerprint, and the policy {rules.name} needs evidence",
            "use --policy inventory, or compare with a bundle",
        )
    return reference_of_fingerprint(decode(data, Fingerprint, str(path), notice), path.stem), rules


def _smoke(path: Path | None) -> Smoke | None:
    return None if path is None else decode(read_file(path, "smoke document"), Smoke, str(path), notice)
