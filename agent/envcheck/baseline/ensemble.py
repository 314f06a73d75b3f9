"""The ensemble: the model run in every way that ought not to matter, in one child process."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from envcheck.baseline.material import Prepared
from envcheck.baseline.moved import move_by_half_quantum, move_by_ulp
from envcheck.baseline.npz import write_npz
from envcheck.errors import BadInput, EnvcheckError, Undetermined
from envcheck.facts.host import Host, Target
from envcheck.smoke.cgroups import usable_cpus
from envcheck.smoke.job import ChildRun, Job, Optimisation, SessionResult, SessionSpec
from envcheck.smoke.outputs import load_run
from envcheck.smoke.quantised import multiplies_quantised
from envcheck.smoke.supervise import run_job

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

SERVED: Optimisation = "all"
LEVELS: tuple[Optimisation, ...] = ("disabled", "extended", SERVED)
REPEATS = 3
_FLOAT = "float"
_GOLDEN = "golden"

Outputs = Mapping[str, "Array"]


@dataclass(frozen=True)
class Member:
    """One way the model was run: outputs by name.

    `served` members ran as a device runs them; `aside` ones (moved inputs, another runtime) widen the
    floor but are no part of the median.
    """

    outputs: Outputs
    served: bool = False
    aside: bool = False


@dataclass(frozen=True)
class Ensemble:
    """Every member, the float original's outputs where there is one, and what the process had loaded.

    `unrepeatable` names outputs that differed between runs of one session.
    """

    members: list[Member]
    original: Outputs | None
    distributions: list[str]
    unrepeatable: set[str] = field(default_factory=set)


def run_ensemble(
    prepared: Prepared,
    target: Target,
    providers: Sequence[str],
    deadline_s: float,
    progress: Callable[[str], None] | None = None,
) -> Ensemble:
    """Run the ensemble in one child of `target`: three optimisation levels, one thread and as many as the
    machine has, each repeated, on the golden inputs and on those moved by what ought not to matter.

    Raises BadInput when onnxruntime refuses the model, Undetermined when the child crashed or was stopped.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="envcheck-baseline-", ignore_cleanup_errors=True) as name:
            job = _write_job(prepared, providers, Path(name), usable_cpus(Host().root))
            run = run_job(job, target, deadline_s, Path(name), progress=progress)
            if run.ending.status != "ok":
                raise _explained(run, prepared)
            return _read(run, job)
    except OSError as error:
        raise Undetermined(
            f"the baseline can't be measured: {error.strerror}", "set TMPDIR to a directory with room"
        ) from None


def _write_job(prepared: Prepared, providers: Sequence[str], workdir: Path, threads: int) -> Job:
    material = prepared.material
    models = {"model": material.model.data}
    if material.float_model is not None:
        models[_FLOAT] = material.float_model.data
    moved = move_by_ulp(prepared.inputs)
    if multiplies_quantised(prepared.graph.quantised) and material.float_model is None:
        moved += move_by_half_quantum(prepared.inputs)
    inputs = {_GOLDEN: prepared.inputs, **{f"moved-{n}": arrays for n, arrays in enumerate(moved)}}
    for name, data in models.items():
        (workdir / f"{name}.onnx").write_bytes(data)
    for name, arrays in inputs.items():
        (workdir / f"{name}.npz").write_bytes(write_npz(arrays))
    return Job(
        models={name: str(workdir / f"{name}.onnx") for name in models},
        inputs={name: str(workdir / f"{name}.npz") for name in inputs},
        sessions=_sessions(prepared, providers, list(inputs), threads),
        distributions=True,
    )


@dataclass(frozen=True)
class ModuleOutputs:
    """What the module that was exported gives itself: in double precision, or why not, and in its own."""

    double: Outputs | str
    own: Outputs


def count_sessions(*, float_model: bool) -> int:
    """Return how many sessions `run_ensemble` makes, for whoever shows how far it is."""
    return len(LEVELS) * len(_thread_counts(usable_cpus())) + float_model


def _thread_counts(threads: int) -> list[int]:
    return sorted({1, threads})


def _sessions(
    prepared: Prepared, providers: Sequence[str], inputs: list[str], threads: int
) -> list[SessionSpec]:
    counts = _thread_counts(threads)
    specs = [
        SessionSpec(
            name=f"{level}-{count}",
            model="model",
            inputs=inputs,
            providers=list(providers),
            optimisation=level,
            threads=count,
            repeats=REPEATS,
            slices=prepared.batching.slices,
            sliced=prepared.batching.sliced,
        )
        for level, count in itertools.product(LEVELS, counts)
    ]
    if prepared.material.float_model is not None:
        last = specs[-1]
        specs.append(
            SessionSpec(
                name=_FLOAT,
                model=_FLOAT,
                inputs=inputs[:1],
                providers=last.providers,
                optimisation=SERVED,
                threads=last.threads,
                slices=last.slices,
                sliced=last.sliced,
            )
        )
    return specs


def _explained(run: ChildRun, prepared: Prepared) -> EnvcheckError:
    ending = run.ending
    message = f"{prepared.material.model.name} does not run here: {ending.reason or ending.status}"
    kind = BadInput if ending.status in ("error", "refused") else Undetermined
    return kind(message, ending.hint)


def _read(run: ChildRun, job: Job) -> Ensemble:
    members: list[Member] = []
    unrepeatable: set[str] = set()
    original: Outputs | None = None
    for spec in job.sessions:
        session = run.result.session(spec.name)
        if session is None:
            raise Undetermined(f"the session {spec.name!r} left no result", "run it again")
        if spec.name == _FLOAT:
            original = next(_runs(run, session, _GOLDEN))
            continue
        for inputs in spec.inputs:
            unrepeatable |= session.differing_outputs(inputs)
            served = spec.optimisation == SERVED
            members += [
                Member(found, served, aside=inputs != _GOLDEN) for found in _runs(run, session, inputs)
            ]
    return Ensemble(members, original, run.result.distributions, unrepeatable)


def _runs(run: ChildRun, session: SessionResult, inputs: str) -> Iterator[Outputs]:
    """Yield the first run's outputs, and those of every repeat that was not the same."""
    first = session.first_run(inputs)
    if first is None:
        raise Undetermined(f"the session {session.name!r} was not run on {inputs!r}", "run it again")
    outputs = load_run(run, first)
    yield outputs
    for later in session.runs:
        if later.inputs == inputs and later.repeat > 0:
            yield {**outputs, **load_run(run, later)}
