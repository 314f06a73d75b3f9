"""Runs a candidate beside the model in service, in one process, on the same recorded inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from envcheck.contract.baseline import Graph
from envcheck.contract.bundle import MODEL, Bundle
from envcheck.contract.evidence import Ending, SmokeReadings
from envcheck.contract.shadow import Shadow, ShadowOutput, Side
from envcheck.errors import BadInput, Undetermined
from envcheck.facts.host import Host, Target
from envcheck.smoke.arrays import start_numpy
from envcheck.smoke.beside import Beside
from envcheck.smoke.cgroups import usable_cpus
from envcheck.smoke.graph import read_graph
from envcheck.smoke.inputs import Batching
from envcheck.smoke.job import QUICK_TIMING, ChildRun, Job, SessionSpec, Timing
from envcheck.smoke.outputs import load_run
from envcheck.smoke.recorded import Recording, read_recordings
from envcheck.smoke.starting import require_deadline
from envcheck.smoke.supervise import run_job
from envcheck.smoke.timings import summarise

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

SIDES: tuple[Side, ...] = get_args(Side)
# The two are timed in turns, so that a machine that grows warm does so for both.
_TURNS = 2
_TIMING = Timing(runs=32, seconds=1.5, runs_max=512, seconds_max=10.0)
_MOST = 10


@dataclass(frozen=True)
class _Pair:
    """The two bundles, what to call them, and what they are to run on."""

    bundles: Mapping[Side, Bundle]
    names: Mapping[Side, str]
    recordings: Sequence[Recording]

    def batching(self, side: Side, recording: Recording) -> Batching:
        """Return how a recording goes through one of the models."""
        return recording.batchings[self.names[side]]


def run_shadow(
    service: Bundle,
    candidate: Bundle,
    directory: Path,
    target: Target,
    *,
    fingerprint: str,
    providers: Sequence[str] | None = None,
    quick: bool = False,
    deadline_s: float = 120.0,
    progress: Callable[[str], None] | None = None,
    host: Host | None = None,
    memory_limit_mb: int | None = None,
) -> Shadow:
    """Run both models on every .npz of `directory` in `target` and compare what they give.

    `providers` are for both (default: each baseline's own). First all inputs go through one model, then
    through the other; then the first file is timed in turns. A crash is an ending, whose side is named.
    `memory_limit_mb` bounds the address space of the process that runs both (not with CUDA or TensorRT).

    Raises BadInput for inputs that do not fit both models, models without an output in common, and a
    deadline that is not above 0; MissingExtra without numpy; Undetermined without room for the files.
    """
    require_deadline(deadline_s)
    host = host or Host()
    pair = _open({"service": service, "candidate": candidate}, directory)
    start_numpy()
    try:
        with tempfile.TemporaryDirectory(prefix="envcheck-shadow-", ignore_cleanup_errors=True) as name:
            threads = usable_cpus(host.root, target.affinity)
            job = replace(_job(pair, providers, quick, Path(name), threads), memory_limit_mb=memory_limit_mb)
            run = run_job(job, target, deadline_s, Path(name), progress=progress, host=host)
            outputs, differing = _compare(pair, run, job)
    except OSError as error:
        raise Undetermined(
            f"the recorded inputs can't be run: {error.strerror}", "set TMPDIR to a directory with room"
        ) from None
    readings = {side: _readings(run, side) for side in SIDES}
    return Shadow(
        release=service.baseline().release,
        candidate=candidate.baseline().release,
        measured_at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        fingerprint=fingerprint,
        files=len(pair.recordings),
        samples=sum(pair.batching("service", each).samples for each in pair.recordings),
        endings=_endings(run, job),
        outputs=outputs,
        readings=readings,
        differing=dict(sorted(differing.items(), key=lambda item: (-item[1], item[0]))[:_MOST]),
        latency_ratio=_ratio(pair, readings),
    )


def _open(bundles: Mapping[Side, Bundle], directory: Path) -> _Pair:
    releases = {side: bundle.baseline().release for side, bundle in bundles.items()}
    # A release beside itself is told apart by its file.
    same = len(set(releases.values())) == 1
    names = {side: f"{releases[side]} ({side})" if same else releases[side] for side in bundles}
    graphs = {names[side]: _read_model(bundle) for side, bundle in bundles.items()}
    outputs = [{spec.name for spec in graph.outputs} for graph in graphs.values()]
    if not outputs[0] & outputs[1]:
        told = "; ".join(
            f"{name} gives {', '.join(sorted(o))}" for name, o in zip(graphs, outputs, strict=True)
        )
        raise BadInput(f"the models have no output in common: {told}", "export both with the same names")
    return _Pair(bundles, names, read_recordings(directory, graphs))


def _read_model(bundle: Bundle) -> Graph:
    graph = read_graph(bundle.members[MODEL], f"{bundle.source}: {MODEL}")
    if graph.external_data:
        raise BadInput(
            f"{bundle.source}: the model's weights lie in another file ({graph.external_data[0][:80]!r})",
            "save the model as one file (onnx.save, save_as_external_data=False) and freeze it again",
        )
    return graph


def _job(pair: _Pair, providers: Sequence[str] | None, quick: bool, workdir: Path, threads: int) -> Job:
    for side, bundle in pair.bundles.items():
        (workdir / f"{side}.onnx").write_bytes(bundle.members[MODEL])
    files = {str(number): recording for number, recording in enumerate(pair.recordings)}
    for name, recording in files.items():
        (workdir / f"{name}.npz").write_bytes(recording.data)
    sessions: list[SessionSpec] = []
    for side in SIDES:
        chosen = list(providers or pair.bundles[side].baseline().providers)
        sessions += _sessions(pair, side, chosen, files, threads)
    sessions += _timings(sessions, QUICK_TIMING if quick else _TIMING)
    return Job(
        models={side: str(workdir / f"{side}.onnx") for side in SIDES},
        inputs={name: str(workdir / f"{name}.npz") for name in files},
        sessions=sessions,
    )


def _sessions(
    pair: _Pair, side: Side, providers: list[str], files: Mapping[str, Recording], threads: int
) -> Iterator[SessionSpec]:
    """Yield a session for each way that files are cut into batches: one, unless the graph fixes its batch."""
    ways: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for name, recording in files.items():
        batching = pair.batching(side, recording)
        ways.setdefault((batching.slices, tuple(batching.sliced)), []).append(name)
    for number, ((slices, sliced), names) in enumerate(ways.items()):
        yield SessionSpec(
            name=f"{side}-{number}",
            model=side,
            inputs=names,
            providers=providers,
            threads=threads,
            slices=slices,
            sliced=list(sliced),
        )


def _timings(sessions: Sequence[SessionSpec], timing: Timing) -> Iterator[SessionSpec]:
    first = {side: next(spec for spec in sessions if spec.model == side) for side in SIDES}
    for turn in range(_TURNS):
        for side in SIDES:
            spec = first[side]
            yield replace(spec, name=f"{side}-timing-{turn}", inputs=spec.inputs[:1], timing=timing)


def _compare(pair: _Pair, run: ChildRun, job: Job) -> tuple[dict[str, ShadowOutput], dict[str, int]]:
    """Compare file by file, as far as both came; count what differs in each file."""
    found: dict[str, Beside] = {}
    differing: dict[str, int] = {}
    known = {side: bundle.baseline().outputs for side, bundle in pair.bundles.items()}
    for number, recording in enumerate(pair.recordings):
        both = [_outputs_of(run, job, side, str(number)) for side in SIDES]
        service, candidate = both
        if service is None or candidate is None:
            continue
        for name in {**service, **candidate}:
            decides = [name in outputs and outputs[name].decides for outputs in known.values()]
            top = known["service"][name].top if all(decides) else 1
            output = found.setdefault(name, Beside(decides=all(decides), top=top))
            flipped = output.add(service.get(name), candidate.get(name))
            if flipped:
                differing[recording.path.name] = differing.get(recording.path.name, 0) + flipped
    return {name: output.result() for name, output in found.items()}, differing


def _outputs_of(run: ChildRun, job: Job, side: Side, inputs: str) -> dict[str, Array] | None:
    for spec in job.sessions:
        session = run.result.session(spec.name)
        if spec.model == side and spec.timing is None and inputs in spec.inputs and session is not None:
            saved = session.first_run(inputs)
            return None if saved is None else load_run(run, saved)
    return None


def _endings(run: ChildRun, job: Job) -> dict[Side, Ending]:
    """Say of which model an ending is: the one whose session was the first without a result."""
    if run.ending.status == "ok" or run.ending.stage in ("start", "import"):
        return dict.fromkeys(SIDES, run.ending)
    ended = next((spec for spec in job.sessions if not _is_whole(run, spec)), job.sessions[-1])
    unreached = ended.model == "service" and ended.timing is None
    innocent = Ending(
        status="error" if unreached else "ok",
        stage=run.ending.stage,
        reason="it was not reached" if unreached else "",
    )
    return {side: run.ending if side == ended.model else innocent for side in SIDES}


def _is_whole(run: ChildRun, spec: SessionSpec) -> bool:
    session = run.result.session(spec.name)
    if session is None or session.error:
        return False
    timed = spec.timing is None or bool(session.latencies_ms)
    return timed and all(session.first_run(name) is not None for name in spec.inputs)


def _readings(run: ChildRun, side: Side) -> SmokeReadings:
    """Sum up all sessions of one model; of starts the quickest, since the first of all warms both."""
    sessions = [each for each in run.result.sessions if each.name.startswith(f"{side}-")]
    return SmokeReadings(
        session_ms=_quickest(each.session_ms for each in sessions),
        first_run_ms=_quickest(each.first_run_ms for each in sessions),
        latency=summarise([value for each in sessions for value in each.latencies_ms]),
    )


def _quickest(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(min(known), 3) if known else None


def _ratio(pair: _Pair, readings: Mapping[Side, SmokeReadings]) -> float | None:
    """The candidate's time for the whole first file over that of the model in service."""
    times = []
    for side in ("candidate", "service"):
        latency = readings[side].latency
        if latency is None:
            return None
        times.append(latency.p50_ms * pair.batching(side, pair.recordings[0]).slices)
    return float(f"{times[0] / times[1]:.3g}") if times[1] > 0 else None
