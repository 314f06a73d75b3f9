"""`envcheck smoke`: run a bundle's model on its golden inputs on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envcheck.commands.common import (
    describe,
    device_name,
    notice,
    open_bundle,
    target_options,
    tell_stage,
    write_output,
)
from envcheck.commands.configuration import (
    config_option,
    load_configuration,
    memory_option,
    serving_target,
    unit_option,
)
from envcheck.commands.shadowing import run_beside, shadow_options
from envcheck.errors import EXIT_FAIL, EXIT_PASS

if TYPE_CHECKING:
    from envcheck.contract.bundle import Bundle
    from envcheck.contract.evidence import Smoke
    from envcheck.contract.fingerprint import Fingerprint
    from envcheck.facts.host import Target


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=_FILE)
@target_options
@unit_option
@click.option("--provider", "providers", metavar="P", multiple=True, help="Execution providers, in order.")
@click.option("--quick", is_flag=True, help="One session and a short timing.")
@click.option("--deadline", type=float, metavar="S", help="Seconds that the run may take (default: 120).")
@memory_option
@click.option("--shadow", type=_FILE, metavar="OTHER", help="Run this candidate beside the bundle.")
@click.option("--inputs", type=_FILE, metavar="DIR", help="Recorded inputs (npz files) for --shadow.")
@click.option(
    "--min-agreement", type=click.FloatRange(0, 1), metavar="X", help="Exit 1 when less than this agrees."
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as a JSON document.")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Write it to a file.")
@config_option
def smoke(
    bundle: Path,
    python: str | None,
    env_file: Path | None,
    unit: str | None,
    providers: tuple[str, ...],
    quick: bool,
    deadline: float | None,
    memory_mib: int | None,
    shadow: Path | None,
    inputs: Path | None,
    min_agreement: float | None,
    as_json: bool,
    output: Path | None,
    config: Path | None,
) -> int:
    """Run a bundle's model on its golden inputs.

    Starts the interpreter that serves the model as a process of its own, bounded and watched, and measures
    what comes out against training. A crash, a hang or too little memory is evidence too: it is written,
    and the exit code is 1. Nothing is judged here; that is what `envcheck check` does.

    With --shadow, a candidate runs beside this bundle's model on recorded inputs instead: how many decisions
    agree, how far apart the numbers are, and how long each takes.

    \b
    Examples:
      envcheck smoke digits@1.3.envcheck
      envcheck smoke digits@1.3.envcheck --python /opt/app/venv/bin/python --quick
      envcheck smoke digits@1.3.envcheck --provider CUDAExecutionProvider --provider CPUExecutionProvider
      envcheck smoke digits@1.3.envcheck --json > smoke.json
      envcheck smoke digits@1.3.envcheck --shadow digits@1.4.envcheck --inputs recorded/ --min-agreement 0.99
    """
    from envcheck.smoke.starting import require_deadline

    configuration = load_configuration(config)
    beside = shadow_options(shadow, inputs, min_agreement)
    limit = require_deadline(configuration.smoke_deadline_s if deadline is None else deadline)
    memory = memory_mib or configuration.smoke_memory_mib
    target = serving_target(configuration, python, env_file, unit)
    if beside is not None:
        return run_beside(
            open_bundle(bundle),
            target,
            beside,
            device=configuration.device,
            providers=providers,
            quick=quick or configuration.smoke_quick,
            deadline_s=limit,
            memory_mib=memory,
            as_json=as_json,
            output=output,
        )
    run = _run if memory is None else partial(_run_bounded, memory_mib=memory)
    measured, opened, fingerprint = run(
        bundle, target, providers=providers, quick=quick or configuration.smoke_quick, deadline_s=limit
    )
    from envcheck.contract.document import encode

    tell_stage("")
    measured = _classed(measured, opened, fingerprint)
    if output is not None:
        write_output(output, encode(measured) + b"\n")
    if as_json:
        click.echo(encode(measured) + b"\n", nl=False)
    elif output is None:
        _show(measured, opened, describe(fingerprint, device_name(fingerprint, configuration.device)))
    if opened.signature is None:
        notice(f"{bundle} is not signed; devices run it from a collector only when it is")
    return EXIT_PASS if measured.evidence.ending.status == "ok" else EXIT_FAIL


def _run(
    path: Path, target: Target, *, providers: tuple[str, ...], quick: bool, deadline_s: float
) -> tuple[Smoke, Bundle, Fingerprint]:
    """Run the model, and capture the machine beside it: what is captured is needed only in the end.

    The child goes first: it imports its libraries while this process imports its own and reads the bundle.
    """
    from envcheck.smoke.starting import start_child, work_folder

    with work_folder() as workdir, start_child(target, deadline_s, workdir) as child:
        from msgspec.structs import replace

        from envcheck.facts.gather import capture
        from envcheck.smoke.run import Asked, run_started

        captured: list[Fingerprint] = []
        measured, bundle = run_started(
            child,
            lambda checking: open_bundle(path, checking),
            Asked("", providers, quick),
            progress=tell_stage,
            meanwhile=lambda: captured.append(capture(target)),
        )
    # A model that is refused was not run, so nothing went on beside it.
    fingerprint = captured[0] if captured else capture(target)
    evidence = replace(measured.evidence, fingerprint=fingerprint.digest)
    return replace(measured, evidence=evidence), bundle, fingerprint


def _run_bounded(
    path: Path,
    target: Target,
    *,
    providers: tuple[str, ...],
    quick: bool,
    deadline_s: float,
    memory_mib: int,
) -> tuple[Smoke, Bundle, Fingerprint]:
    """Do as `_run` with a bound on memory, which waits for the bundle to say that it needs no CUDA."""
    from envcheck.facts.gather import capture
    from envcheck.smoke.run import run_smoke

    bundle, fingerprint = open_bundle(path), capture(target)
    measured = run_smoke(
        bundle,
        target,
        fingerprint=fingerprint.digest,
        providers=providers,
        quick=quick,
        deadline_s=deadline_s,
        progress=tell_stage,
        memory_limit_mb=memory_mib,
    )
    return measured, bundle, fingerprint


def _classed(measured: Smoke, bundle: Bundle, fingerprint: Fingerprint) -> Smoke:
    """Say of which model and on what class of device the timings are: baselines take them (--timing)."""
    from msgspec.structs import replace

    from envcheck.contract.fingerprint import shared_fingerprint
    from envcheck.judge.device_class import device_class

    ran = measured.evidence.registered or measured.evidence.requested
    kind = device_class(shared_fingerprint(fingerprint), *ran[:1])
    return replace(measured, model=bundle.baseline().graph.sha256, device_class=kind)


def _show(measured: Smoke, bundle: Bundle, device: str) -> None:
    from envcheck.output.console import show
    from envcheck.output.smoke import smoke_text

    show(smoke_text(measured, bundle.baseline(), f"{measured.release} on {device}"))
