"""Runs a bundle's model on its golden inputs in the target interpreter and measures what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envcheck.contract.baseline import Baseline
from envcheck.contract.bundle import INPUTS, LABELS, MODEL, REFERENCE, Bundle, Checking
from envcheck.contract.evidence import Ending, Evidence, Smoke, SmokeReadings
from envcheck.contract.operators import HEAVY
from envcheck.errors import BadInput
from envcheck.facts.host import Host, Target
from envcheck.smoke.arrays import load_numpy, require_numpy
from envcheck.smoke.canaries import canary_inputs, canary_models, canary_sessions, say_canaries
from envcheck.smoke.cgroups import usable_cpus
from envcheck.smoke.counters import Counters, read_counters, rose, throttled_between
from envcheck.smoke.explain_fallback import explain_fallbacks, fallback_sentence
from envcheck.smoke.graph import read_graph
from envcheck.smoke.inputs import Batching, check_inputs
from envcheck.smoke.isa import loader_isa
from envcheck.smoke.job import QUICK_TIMING, ChildRun, Job, SessionResult, SessionSpec, Timing
from envcheck.smoke.metrics import compare_batching, compare_outputs, measure_accuracy
from envcheck.smoke.npz import load_npz, read_headers
from envcheck.smoke.outputs import load_run
from envcheck.smoke.placing import checked_in_place, place, put
from envcheck.smoke.starting import Child, require_deadline, start_child, work_folder
from envcheck.smoke.supervise import uses_gpu, watch_child
from envcheck.smoke.timings import summarise, throughput

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_MODEL, _TIMING, _GOLDEN = "model", "timing", "golden"
_REPEATS = 3
# Protobuf's own limit.
MAX_MODEL = 2**31 - 1
# Samples that are run one by one beside the batch they are in.
_MAX_APART = 8


@dataclass(frozen=True)
class _Golden:
    """What a bundle says should go in; what should come out is read when something has."""

    bundle: Bundle
    baseline: Baseline
    batching: Batching
    external: list[str]

    def arrays(self, member: str) -> dict[str, Array]:
        """Return the arrays of a member, none when the bundle does not have it."""
        data = self.bundle.members.get(member)
        return {} if data is None else load_npz(data, f"{self.bundle.source}: {member}")


@dataclass(frozen=True)
class Asked:
    """What a run is to be: the execution providers in order (none: the baseline's), and how much of it.

    `fingerprint` is the digest of the environment that is measured. `quick` makes one session of the model
    and a short timing, whose last run shows whether runs repeat; otherwise every run is repeated, and a
    session of its own is timed.
    """

    fingerprint: str
    providers: Sequence[str] | None = None
    quick: bool = False

    def blank(self, golden: _Golden) -> Evidence:
        """Return the evidence before anything has run."""
        return Evidence(
            bundle="",
            fingerprint=self.fingerprint,
            ending=_refusal(golden.external),
            requested=list(self.providers or golden.baseline.providers),
        )


def run_smoke(
    bundle: Bundle,
    target: Target,
    *,
    fingerprint: str,
    providers: Sequence[str] | None = None,
    quick: bool = False,
    deadline_s: float = 120.0,
    progress: Callable[[str], None] | None = None,
    host: Host | None = None,
    memory_limit_mb: int | None = None,
) -> Smoke:
    """Run `bundle`'s model in `target` and return evidence and readings; a crash is evidence too.

    `fingerprint`, `providers` and `quick` are those of `Asked`. All golden inputs go through in one call,
    unless the graph fixes its batch dimension to a smaller number: then in slices of that number.
    `memory_limit_mb` bounds the child's address space (in MiB; not with CUDA or TensorRT).

    Raises BadInput for a bundle whose parts do not fit and for a deadline that is not above 0,
    MissingExtra without numpy, Undetermined when the temporary directory can't be used.
    """
    require_deadline(deadline_s)
    golden, asked = _open(bundle), Asked(fingerprint, providers, quick)
    if golden.external:
        return _refused(golden, asked)
    require_numpy()

    def open_placed(workdir: Path) -> _Golden:
        place(bundle, workdir)
        return golden

    memory = None if uses_gpu(asked.blank(golden).requested) else memory_limit_mb
    with (
        work_folder() as workdir,
        start_child(target, deadline_s, workdir, host=host, memory_mb=memory) as child,
    ):
        return _measure(child, open_placed, asked, progress)


def run_started(
    child: Child,
    opening: Callable[[Checking], Bundle],
    asked: Asked,
    *,
    progress: Callable[[str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[Smoke, Bundle]:
    """Do as `run_smoke` in a child that is under way, with a bundle that `opening` opens beside its start.

    `opening` is told how to check it, and is done with every check when it returns: the child has no job
    before that. What it raises stops the child and is raised here. `meanwhile` is called
    once the child has its job.
    """
    opened: list[Bundle] = []

    def open_taking(workdir: Path) -> _Golden:
        opened.append(opening(checked_in_place(workdir)))
        return _open(opened[0])

    measured = _measure(child, open_taking, asked, progress, meanwhile)
    return measured, opened[0]


class _RefusedModel(Exception):
    """There is no job for this bundle."""

    def __init__(self, golden: _Golden) -> None:
        super().__init__()
        self.golden = golden


class _Preparation:
    """A job in the making: what is known when it is made is needed again when it has run."""

    golden: _Golden
    before: Counters

    def __init__(self, child: Child, opening: Callable[[Path], _Golden], asked: Asked) -> None:
        self._child, self._opening, self._asked = child, opening, asked

    def job(self) -> Job:
        """Put everything in its place and return the job; raises _RefusedModel, and what opening raises."""
        workdir, target = self._child.workdir, self._child.target
        self.golden = self._opening(workdir)
        if self.golden.external:
            raise _RefusedModel(self.golden)
        require_numpy()
        for name, data in _canaries_files().items():
            put(data, workdir / name)
        root = self._child.host.root
        requested = self._asked.blank(self.golden).requested
        threads = usable_cpus(root, target.affinity)
        self.before = read_counters(root)
        return _job(_sessions(self.golden.batching, requested, self._asked.quick, threads), workdir)


def _measure(
    child: Child,
    opening: Callable[[Path], _Golden],
    asked: Asked,
    progress: Callable[[str], None] | None,
    meanwhile: Callable[[], None] | None = None,
) -> Smoke:
    preparation = _Preparation(child, opening, asked)
    measured_at = _now()

    def delivered() -> None:
        # What takes long and is needed only when the child has run. One after the other: the child, which
        # gives way to this process, keeps a core to itself where there are two.
        if meanwhile is not None:
            meanwhile()
        load_numpy()
        _ = preparation.golden.bundle.sha256

    try:
        run = watch_child(child, preparation.job, progress=progress, delivered=delivered)
    except _RefusedModel as refused:
        return _refused(refused.golden, asked)
    golden = preparation.golden
    evidence = _evidence(asked.blank(golden), golden, run)
    counters = (preparation.before, read_counters(child.host.root))
    return Smoke(
        release=golden.baseline.release,
        measured_at=measured_at,
        evidence=evidence,
        readings=_readings(run, asked.quick, golden.batching, counters),
        model=golden.bundle.manifest.members[MODEL],
    )


def _refused(golden: _Golden, asked: Asked) -> Smoke:
    bundle = golden.bundle
    evidence = msgspec.structs.replace(asked.blank(golden), bundle=bundle.sha256)
    model = bundle.manifest.members[MODEL]
    return Smoke(release=golden.baseline.release, measured_at=_now(), evidence=evidence, model=model)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def count_stages(providers: Sequence[str], *, quick: bool) -> int:
    """Return how many times `run_smoke` calls `progress` with a stage that begins with `session`."""
    return 1 + len(canary_sessions(providers)) + (not quick)


def _open(bundle: Bundle) -> _Golden:
    baseline = bundle.baseline()
    if len(bundle.members[MODEL]) > MAX_MODEL:
        raise BadInput(
            f"{bundle.source}: the model is larger than 2 GB, which no onnxruntime reads from one file",
            "freeze a smaller or a quantised model",
        )
    headers = {
        member: read_headers(bundle.members[member], f"{bundle.source}: {member}")
        for member in (INPUTS, REFERENCE, LABELS)
        if member in bundle.members
    }
    for name in baseline.outputs:
        if name not in headers[REFERENCE]:
            raise BadInput(
                f"{bundle.source}: {REFERENCE} lacks the output {name!r}", "create the baseline anew"
            )
    # Not the baseline's word: what lies outside the file is decided by the file itself.
    digest = bundle.manifest.members[MODEL]
    graph = read_graph(bundle.members[MODEL], f"{bundle.source}: {MODEL}", sha256=digest)
    batching = check_inputs(headers[INPUTS], graph.inputs, f"{bundle.source}: {INPUTS}")
    return _Golden(bundle, baseline, batching, graph.external_data)


def _refusal(external: list[str]) -> Ending:
    if not external:
        return Ending(status="error", stage="start")
    return Ending(
        status="refused",
        stage="start",
        reason=f"the model's weights lie in another file ({external[0][:80]!r}), which no bundle holds",
        hint="save the model as one file (onnx.save, save_as_external_data=False) and freeze it again",
    )


def _canaries_files() -> dict[str, bytes]:
    models, inputs = canary_models(), canary_inputs()
    return {
        **{f"{name}.onnx": data for name, data in models.items()},
        **{f"{name}.npz": data for name, data in inputs.items()},
    }


def _job(sessions: list[SessionSpec], workdir: Path) -> Job:
    """A job of everything that lies in `workdir`."""
    return Job(
        models={path.stem: str(path) for path in sorted(workdir.glob("*.onnx"))},
        inputs={path.stem: str(path) for path in sorted(workdir.glob("*.npz"))},
        sessions=sessions,
        libraries=True,
        heavy=sorted(HEAVY),
    )


def _sessions(batching: Batching, providers: list[str], quick: bool, threads: int) -> list[SessionSpec]:
    model = SessionSpec(
        name=_MODEL,
        model=_MODEL,
        inputs=[_GOLDEN],
        providers=providers,
        threads=threads,
        repeats=1 if quick else _REPEATS,
        placement=True,
        timing=QUICK_TIMING if quick else None,
        slices=batching.slices,
        sliced=batching.sliced,
    )
    if quick:
        return [model, *canary_sessions(providers)]
    apart = min(batching.samples, _MAX_APART) if batching.rows and batching.samples > 1 else 0
    changes = {"name": _TIMING, "repeats": 1, "placement": False, "timing": Timing()}
    timed = msgspec.structs.replace(model, **changes, apart=apart, rows=batching.rows)
    return [model, *canary_sessions(providers), timed]


def _evidence(blank: Evidence, golden: _Golden, run: ChildRun) -> Evidence:
    """Fill in what became known, however far the child came."""
    result = run.result
    session = result.session(_MODEL) or SessionResult(name=_MODEL)
    # Without a session nothing had its turn to register.
    requested = blank.requested if session.registered else []
    fallbacks = explain_fallbacks(requested, session.registered, result, run.stderr)
    found = msgspec.structs.replace(
        blank,
        bundle=golden.bundle.sha256,
        ending=_ending(run, fallbacks, session),
        fallbacks=fallbacks,
        runtime=msgspec.structs.replace(
            result.runtime, options=session.options, loader_isa=loader_isa(result.platform, result.loader)
        ),
        registered=session.registered,
        placement=session.placement,
        libraries=result.libraries,
        thread_pools=result.thread_pools,
        canaries=_canaries(run, blank.requested),
    )
    return _with_outputs(found, golden, run, session)


def _ending(run: ChildRun, fallbacks: dict[str, str], session: SessionResult) -> Ending:
    """An ending in good order still says when a requested provider did not come to be."""
    if run.ending.status != "ok":
        return run.ending
    return msgspec.structs.replace(run.ending, reason=fallback_sentence(fallbacks, session.registered))


def _canaries(run: ChildRun, requested: list[str]) -> dict[str, str]:
    sessions = {spec.name: run.result.session(spec.name) for spec in canary_sessions(requested)}
    found = {name: session for name, session in sessions.items() if session is not None}
    firsts = {name: session.first_run(name) for name, session in found.items()}
    outputs = {name: load_run(run, saved) for name, saved in firsts.items() if saved is not None}
    return say_canaries(requested, found, outputs)


def _with_outputs(found: Evidence, golden: _Golden, run: ChildRun, session: SessionResult) -> Evidence:
    saved = session.first_run(_GOLDEN)
    if saved is None:
        return found
    outputs = load_run(run, saved)
    differing = frozenset(session.differing_outputs(_GOLDEN))
    expected = golden.baseline.outputs
    metrics = compare_outputs(outputs, golden.arrays(REFERENCE), expected, differing)
    return msgspec.structs.replace(
        found,
        outputs=compare_batching(metrics, outputs, _apart(run)),
        output_order=list(outputs),
        repeatable=None if session.repeats < 2 else not differing,
        accuracy=measure_accuracy(_labelled(outputs, golden.baseline), golden.arrays(LABELS), expected),
    )


def _labelled(outputs: dict[str, Array], baseline: Baseline) -> dict[str, Array]:
    """Edge cases are the last samples, and nobody labelled them."""
    if not baseline.edge_cases:
        return outputs
    given = baseline.samples - baseline.edge_cases
    apart = {name: array.ndim > 0 and len(array) == baseline.samples for name, array in outputs.items()}
    return {name: array[:given] if apart[name] else array for name, array in outputs.items()}


def _apart(run: ChildRun) -> dict[str, Array]:
    """What samples gave that were run one by one; nothing where they were not."""
    session = run.result.session(_TIMING)
    return load_run(run, session.apart) if session is not None and session.apart is not None else {}


def _readings(
    run: ChildRun, quick: bool, batching: Batching, counters: tuple[Counters, Counters]
) -> SmokeReadings:
    before, after = counters
    model = run.result.session(_MODEL) or SessionResult(name=_MODEL)
    timed = model if quick else run.result.session(_TIMING)
    return SmokeReadings(
        import_ms=_milliseconds(run.result.import_ms),
        session_ms=_milliseconds(model.session_ms),
        first_run_ms=_milliseconds(model.first_run_ms),
        latency=summarise(timed.latencies_ms) if timed is not None else None,
        throughput=throughput(timed.latencies_ms, batching.samples / batching.slices)
        if timed is not None
        else None,
        peak_memory_mb=None if model.peak_memory_mb is None else round(model.peak_memory_mb, 1),
        wall_ms=_milliseconds(run.wall_ms),
        throttled=throttled_between(before, after),
        starved=rose(before.starved, after.starved),
    )


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
