"""Freezes one release: the model measured on the training machine, as the members of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import msgspec

from envcheck import __version__
from envcheck.baseline.alive import check_alive
from envcheck.baseline.double import evaluate_in_double
from envcheck.baseline.ensemble import Ensemble, Member, ModuleOutputs, count_sessions, run_ensemble
from envcheck.baseline.floor import Measured, measure_floor, same_computation
from envcheck.baseline.material import Material, Prepared, prepare
from envcheck.baseline.named import NamedPackage, name_package
from envcheck.baseline.npz import write_npz
from envcheck.baseline.scores import decide_by
from envcheck.contract.baseline import Baseline, parse_release
from envcheck.contract.bundle import (
    BASELINE,
    FINGERPRINT,
    INPUTS,
    LABELS,
    MODEL,
    REFERENCE,
    build_bundle,
    read_bundle,
)
from envcheck.contract.document import encode
from envcheck.contract.evidence import Ending, Evidence, Smoke, SmokeReadings
from envcheck.contract.fingerprint import Fingerprint, only_shared
from envcheck.errors import BadInput, Undetermined
from envcheck.facts.host import Target
from envcheck.smoke.run import count_stages as count_smoke_stages
from envcheck.smoke.run import run_smoke

Say = Callable[[str], None]
CPU = "CPUExecutionProvider"
# Ties of an argmax may fall otherwise after an export; anything more is another computation.
_SAME_ELEMENTS = 0.98


@dataclass(frozen=True)
class Options:
    """How a baseline is made. `accept_*` take what is refused otherwise; `deadline_s` bounds each process.

    `packages` are distributions that count beside those that the model's process loads. `quick`
    takes a short timing. `expect_accuracy` is the least share of labels that must be met. `edge_cases` adds
    samples of zeros and of the extremes. `top` is how many of the best scores are a decision. `timings` are
    readings of other device classes; those taken here are of `device_class`, unless it is unknown ("") or
    among them.
    """

    providers: Sequence[str] = (CPU,)
    packages: Sequence[NamedPackage | str] = ()
    expect_accuracy: float | None = None
    accept_constant: bool = False
    accept_non_finite: bool = False
    accept_saturation: bool = False
    edge_cases: bool = False
    top: int = 1
    device_class: str = ""
    timings: Mapping[str, SmokeReadings] = field(default_factory=dict)
    quick: bool = False
    deadline_s: float = 600.0


def create_baseline(
    material: Material,
    release: str,
    target: Target,
    fingerprint: Fingerprint,
    options: Options = Options(),
    *,
    module: ModuleOutputs | None = None,
    progress: Say | None = None,
    notice: Say | None = None,
    created_at: str | None = None,
) -> dict[str, bytes]:
    """Measure `material` in `target` and return the bundle's members, to be given to `build_bundle`.

    `fingerprint` is of that same environment; only its shared facts go in. `progress` is called
    with each stage of the child processes, `notice` with sentences that the person should read. `module` is
    what the exported module gives itself: its double precision is then the reference.
    Equal measurements make equal bytes, apart from `created_at` and the timings.

    Raises BadInput for whatever does not fit or proves nothing, Undetermined when the model could not be
    run to the end here.
    """
    name, version = parse_release(release)
    say = notice or (lambda _: None)
    prepared = prepare(material, edge_cases=options.edge_cases)
    ensemble = run_ensemble(prepared, target, options.providers, options.deadline_s, progress)
    measured = _measure(prepared, ensemble, options, module)
    outputs = decide_by(measured.outputs, options.top)
    for remark in (*prepared.remarks, *measured.remarks):
        say(remark)
    members = {
        FINGERPRINT: encode(only_shared(fingerprint)),
        MODEL: material.model.data,
        INPUTS: write_npz(prepared.inputs),
        REFERENCE: write_npz(measured.references),
    }
    if prepared.labels:
        members[LABELS] = write_npz(prepared.labels)
    draft = Baseline(
        name=name,
        version=version,
        created_at=created_at or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        agent=__version__,
        graph=prepared.graph,
        samples=prepared.batching.samples,
        edge_cases=len(prepared.edge_cases),
        outputs=outputs,
        required=_required(ensemble, options.packages, fingerprint, say),
        providers=list(options.providers),
        evidence=Evidence(bundle="", fingerprint=fingerprint.digest, ending=Ending(status="ok")),
    )
    smoke = _smoke({**members, BASELINE: encode(draft)}, draft, target, options, progress)
    _check_smoke(smoke, prepared, options, say)
    evidence = msgspec.structs.replace(smoke.evidence, bundle="")
    own = {options.device_class: smoke.readings} if options.device_class else {}
    baseline = msgspec.structs.replace(
        draft, evidence=evidence, readings=smoke.readings, timings={**own, **options.timings}
    )
    return {**members, BASELINE: encode(baseline)}


def count_stages(material: Material, options: Options) -> int:
    """Return how many times `progress` is called with a stage that begins with `session`."""
    own = count_smoke_stages(options.providers, quick=options.quick)
    return count_sessions(float_model=material.float_model is not None) + own


def _measure(
    prepared: Prepared, ensemble: Ensemble, options: Options, module: ModuleOutputs | None
) -> Measured:
    double = module.double if module is not None else ""
    if isinstance(double, str):
        double = evaluate_in_double(prepared)
    if module is not None:
        ensemble.members.append(Member(module.own, aside=True))
    measured = measure_floor(ensemble, double, prepared)
    if module is not None and not prepared.graph.random:
        _check_export(module, measured)
    check_alive(
        measured.references,
        prepared,
        non_finite=options.accept_non_finite,
        constant=options.accept_constant,
    )
    return measured


def _check_export(module: ModuleOutputs, measured: Measured) -> None:
    """Hold what was exported to what the module itself gives, in its own precision."""
    for name, reference in measured.references.items():
        own = module.own[name]
        exact = measured.outputs[name].exact
        same = own.shape == reference.shape and (
            float((own == reference).mean()) > _SAME_ELEMENTS if exact else same_computation(own, reference)
        )
        if not same:
            raise BadInput(
                f"output {name}: the exported model does not give what the module gives",
                "export it in evaluation mode, and see what the exporter warns of",
            )


def _required(
    ensemble: Ensemble, named: Sequence[NamedPackage | str], fingerprint: Fingerprint, say: Say
) -> list[str]:
    """Return the distributions that count: those loaded and those named, which must be there."""
    section = fingerprint.sections.get("packages")
    known = section.shared if section is not None and section.status == "ok" else None
    packages = [name_package(each, each) if isinstance(each, str) else each for each in named]
    for package in packages:
        if known is not None and package.name not in known:
            raise BadInput(
                f"{package.where}: {package.name} is not installed in the training environment",
                "install it there, or leave it out: what training did not have can't count on devices",
            )
        version = _version((known or {}).get(package.name, {}))
        if version and not package.allows(version):
            say(f"{package.where} wants {package.name}{package.specifier}, training has {version}")
    return sorted({*ensemble.distributions, *(package.name for package in packages)})


def _version(facts: Mapping[str, object]) -> str:
    """Return the whole version of a distribution, its local part included."""
    version, local = facts.get("version") or "", facts.get("local") or ""
    return f"{version}+{local}" if version and local else str(version)


def _smoke(
    members: Mapping[str, bytes], draft: Baseline, target: Target, options: Options, progress: Say | None
) -> Smoke:
    """Run the bundle as every device will: the training machine's own evidence comes out of the same code."""
    bundle = read_bundle(build_bundle(draft.release, members), "the new bundle")
    return run_smoke(
        bundle,
        target,
        fingerprint=draft.evidence.fingerprint,
        providers=options.providers,
        quick=options.quick,
        deadline_s=options.deadline_s,
        progress=progress,
    )


def _check_smoke(smoke: Smoke, prepared: Prepared, options: Options, say: Say) -> None:
    evidence = smoke.evidence
    if evidence.ending.status != "ok":
        reason = evidence.ending.reason or evidence.ending.status
        raise Undetermined(f"the model does not run to its end here: {reason}", evidence.ending.hint)
    for provider in evidence.requested:
        if provider not in evidence.registered:
            why = f": {evidence.ending.reason}" if evidence.ending.reason else ""
            raise BadInput(
                f"the provider {provider} was asked for but is not there{why}",
                "mend the training environment, or name the providers that it has: --provider",
            )
    _check_saturation(smoke, prepared, options, say)
    _check_accuracy(evidence.accuracy, prepared, options)


def _check_saturation(smoke: Smoke, prepared: Prepared, options: Options, say: Say) -> None:
    """A training machine that saturates would make its own fault the reference."""
    concerned = prepared.graph.saturable
    if not concerned or smoke.evidence.canaries.get("u8s8") != "saturates":
        return
    what = f"int8 products saturate on this machine, and the model has {concerned} nodes of them"
    if not options.accept_saturation:
        raise BadInput(
            f"{what}: the reference would be wrong",
            "make the baseline on a machine with VNNI or on Arm; if this is meant, say --accept-saturation",
        )
    say(what)


def _check_accuracy(accuracy: float | None, prepared: Prepared, options: Options) -> None:
    labels = prepared.material.labels
    if labels is None:
        if options.expect_accuracy is not None:
            raise BadInput("an accuracy is expected, but there are no labels", "give them: --labels Y.npz")
        return
    if accuracy is None:
        shapes = ", ".join(
            f"{name} {array.dtype}{list(array.shape)}" for name, array in prepared.labels.items()
        )
        raise BadInput(
            f"{labels.name} fits no output of the model (it has {shapes})",
            "labels are class numbers with the shape of an output without its last axis",
        )
    if options.expect_accuracy is not None and accuracy < options.expect_accuracy:
        raise BadInput(
            f"the accuracy on {labels.name} is {accuracy:.3g}, {options.expect_accuracy:.3g} is expected",
            "see that labels and inputs are in one order, and that inputs are preprocessed as in training",
        )
