"""`envcheck check`: capture, smoke, judge and decide on this machine."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from envcheck.commands.common import (
    EXIT_BY_OUTCOME,
    describe,
    device_name,
    find_policy,
    notice,
    open_bundle,
    target_options,
    tell_stage,
)
from envcheck.commands.configuration import (
    Configuration,
    config_option,
    load_configuration,
    memory_option,
    serving_target,
    unit_option,
)

if TYPE_CHECKING:
    from envcheck.contract.bundle import Bundle
    from envcheck.contract.policy import Budget, Policy
    from envcheck.contract.verdict import Verdict
    from envcheck.facts.host import Target
    from envcheck.output.looked_at import Measured

_MODEL_S = 30.0
_PROBLEMS = {"absent": "not there", "unreadable": "not to be read", "error": f"not read in {_MODEL_S:g} s"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--policy", metavar="NAME|FILE", help="default, strict, inventory or a YAML file.")
@target_options
@unit_option
@click.option("--quick", is_flag=True, help="One session and a short timing.")
@click.option("--deadline", type=float, metavar="S", help="Seconds that the model's run may take.")
@memory_option
@click.option("--json", "as_json", is_flag=True, help="Print the verdict document.")
@config_option
def check(
    bundle: Path,
    policy: str | None,
    python: str | None,
    env_file: Path | None,
    unit: str | None,
    quick: bool,
    deadline: float | None,
    memory_mib: int | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """Capture, smoke and judge this machine.

    Runs the bundle's model on its golden inputs in the interpreter that serves the model, holds facts
    and outputs to those of training, and answers with its exit code: 0 ready, 1 not ready, 3 unknown.

    \b
    Examples:
      envcheck check digits@1.3.envcheck
      envcheck check digits@1.3.envcheck --python /opt/app/venv/bin/python
      envcheck check digits@1.3.envcheck --unit app.service
      envcheck check digits@1.3.envcheck --policy strict --json
    """
    from envcheck.contract.document import encode

    configuration = load_configuration(config)
    rules = find_policy(policy or configuration.policy or "default")
    opened = open_bundle(bundle)
    target = serving_target(configuration, python, env_file, unit)
    verdict, title, measured, budget = _judge_here(
        opened,
        rules,
        configuration,
        target,
        quick=quick or configuration.smoke_quick,
        deadline_s=configuration.smoke_deadline_s if deadline is None else deadline,
        memory_mib=memory_mib or configuration.smoke_memory_mib,
    )
    exit_code = EXIT_BY_OUTCOME[verdict.outcome]
    if as_json:
        click.echo(encode(verdict).decode("ascii"))
        return exit_code

    from envcheck.output.console import show
    from envcheck.output.verdict import verdict_text

    held = msgspec.structs.replace(rules, budget=budget)
    show(verdict_text(verdict, title, held, measured, exit_code))
    if opened.signature is None:
        notice(f"{bundle} is not signed; devices run it from a collector only when it is")
    return exit_code


def _judge_here(
    bundle: Bundle,
    policy: Policy,
    configuration: Configuration,
    target: Target,
    *,
    quick: bool,
    deadline_s: float,
    memory_mib: int | None,
) -> tuple[Verdict, str, Measured, Budget]:
    """Return the verdict on this machine, its title for people, what was measured, and the budget."""
    from envcheck.contract.fingerprint import shared_fingerprint
    from envcheck.contract.wire import result_of
    from envcheck.facts.gather import capture
    from envcheck.judge.decide import DeviceReadings, decide
    from envcheck.judge.judge import judge
    from envcheck.judge.measure import measure
    from envcheck.judge.reference import reference_of
    from envcheck.judge.terms import terms_of
    from envcheck.output.looked_at import Measured
    from envcheck.smoke.run import run_smoke

    reference = reference_of(bundle)
    fingerprint = capture(target)
    smoke = run_smoke(
        bundle,
        target,
        fingerprint=fingerprint.digest,
        quick=quick,
        deadline_s=deadline_s,
        progress=tell_stage,
        memory_limit_mb=memory_mib,
    )
    tell_stage("")
    device, (deployed, problem) = shared_fingerprint(fingerprint), _deployed(configuration)
    terms = terms_of(policy, reference, device, smoke.evidence)
    verdict = decide(
        judge(reference, device, smoke.evidence, policy),
        DeviceReadings(result=result_of(smoke), model=deployed, model_problem=problem),
        labels={},
        waivers=[],
        policy=policy,
        now=datetime.now(timezone.utc),
        release=reference.baseline.release,
        subject=device_name(fingerprint, configuration.device),
        terms=terms,
    )
    verdict = msgspec.structs.replace(verdict, measures=measure(reference, device, smoke.evidence, policy))
    title = f"{verdict.release} on {describe(fingerprint, verdict.subject)}"
    return verdict, title, Measured(reference.baseline, smoke.evidence, smoke.readings), terms.budget


def _deployed(configuration: Configuration) -> tuple[str, str]:
    """Return the digest of the deployed model file and why it has none, both "" when none is configured."""
    from envcheck.facts.host import Host
    from envcheck.facts.model import read_digest

    if not configuration.model:
        return "", ""
    found = read_digest(Host(), configuration.model, _MODEL_S)
    if found["status"] != "ok":
        return "", f"{configuration.model} is {_PROBLEMS[found['status']]}"
    return str(found["sha256"]), ""
