"""What `envcheck smoke --shadow` does: a candidate beside the model in service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envcheck.commands.common import describe, device_name, open_bundle, tell_stage, write_output
from envcheck.errors import EXIT_FAIL, EXIT_PASS, EXIT_UNKNOWN, BadInput

if TYPE_CHECKING:
    from envcheck.contract.bundle import Bundle
    from envcheck.contract.shadow import Shadow
    from envcheck.facts.host import Target


@dataclass(frozen=True)
class ShadowOptions:
    """The options of a shadow run; `min_agreement` is the share that must agree, None when none need."""

    candidate: Path
    inputs: Path
    min_agreement: float | None


def shadow_options(
    shadow: Path | None, inputs: Path | None, min_agreement: float | None
) -> ShadowOptions | None:
    """Hold the three options to each other; None when no shadow run is wanted. Raises BadInput."""
    if shadow is None:
        lone = "--inputs" if inputs is not None else "--min-agreement" if min_agreement is not None else ""
        if lone:
            raise BadInput(f"{lone} goes with --shadow", "name the candidate: --shadow OTHER.envcheck")
        return None
    if inputs is None:
        raise BadInput("--shadow needs recorded inputs", "name a directory of npz files: --inputs DIR")
    return ShadowOptions(shadow, inputs, min_agreement)


def run_beside(
    service: Bundle,
    target: Target,
    options: ShadowOptions,
    *,
    device: str,
    providers: Sequence[str],
    quick: bool,
    deadline_s: float,
    memory_mib: int | None,
    as_json: bool,
    output: Path | None,
) -> int:
    """Run the candidate beside `service`, print or write what came of it, and return the exit code."""
    from envcheck.contract.document import encode
    from envcheck.facts.gather import capture
    from envcheck.smoke.shadow import run_shadow

    candidate = open_bundle(options.candidate)
    fingerprint = capture(target)
    shadow = run_shadow(
        service,
        candidate,
        options.inputs,
        target,
        fingerprint=fingerprint.digest,
        providers=providers or None,
        quick=quick,
        deadline_s=deadline_s,
        progress=tell_stage,
        memory_limit_mb=memory_mib,
    )
    tell_stage("")
    if output is not None:
        write_output(output, encode(shadow) + b"\n")
    exit_code = _exit_code(shadow, options.min_agreement)
    if as_json:
        click.echo(encode(shadow) + b"\n", nl=False)
    elif output is None:
        _show(shadow, describe(fingerprint, device_name(fingerprint, device)), options, exit_code)
    return exit_code


def _exit_code(shadow: Shadow, wanted: float | None) -> int:
    if any(ending.status != "ok" for ending in shadow.endings.values()):
        return EXIT_FAIL
    if wanted is None:
        return EXIT_PASS
    if shadow.agreement is None:
        return EXIT_UNKNOWN
    return EXIT_PASS if shadow.agreement >= wanted else EXIT_FAIL


def _show(shadow: Shadow, device: str, options: ShadowOptions, exit_code: int) -> None:
    from envcheck.output.console import show
    from envcheck.output.shadow import shadow_text

    show(shadow_text(shadow, device, options.min_agreement, exit_code))
