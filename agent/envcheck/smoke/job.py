"""What the smoke child is asked to do, and what comes back: the two sides of the process boundary.

A `Job` is written as JSON for `child.py`, which runs in the target interpreter; `ChildResult` is what it
writes. Both know nothing of bundles or baselines, so creating a baseline uses them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envcheck.contract.document import Value
from envcheck.contract.evidence import Ending, Library, Placement, Runtime, ThreadPool
from envcheck.smoke.starting import OUTPUT_MB

Optimisation = Literal["disabled", "basic", "extended", "all"]


class Timing(Value, frozen=True, kw_only=True):
    """How latencies are taken, over the session's first inputs (their first slice).

    Warm-up: at least `warmup` runs, then until two successive runs agree within 5%, but no more than
    `warmup_max` runs or `warmup_s` seconds, and none after a first run that took longer than that. Then
    until `runs` runs and `seconds` seconds are both reached, but no more than `runs_max` runs or
    `seconds_max` seconds.
    """

    warmup: int = 3
    warmup_max: int = 10
    warmup_s: float = 2.0
    runs: int = 64
    seconds: float = 3.0
    runs_max: int = 1024
    seconds_max: float = 20.0


QUICK_TIMING = Timing(
    warmup=1, warmup_max=2, warmup_s=0.2, runs=10, seconds=0.0, runs_max=10, seconds_max=1.0
)


class SessionSpec(Value, frozen=True, kw_only=True):
    """One onnxruntime session: made, run `repeats` times on each of `inputs`, dropped.

    `model` and `inputs` are keys of the job's `models` and `inputs`. `threads` is the number of intra-op
    threads, 0 leaves it to onnxruntime. `entries` are session configuration entries. `placement` asks for
    proof of which provider ran which node. The inputs named in `sliced` are cut along their first axis into
    `slices` equal parts, run one after the other, the outputs joined again. `apart` of the first inputs' rows
    are run one by one at the end; the inputs named in `rows` hold one for each sample. An `optional` session
    may fail without ending the job.
    """

    name: str
    model: str
    inputs: list[str]
    providers: list[str]
    optimisation: Optimisation = "all"
    threads: int = 0
    repeats: int = 1
    entries: dict[str, str] = {}
    placement: bool = False
    timing: Timing | None = None
    slices: int = 1
    sliced: list[str] = []
    apart: int = 0
    rows: list[str] = []
    optional: bool = False


class Job(Value, frozen=True, kw_only=True):
    """Everything one child process does. `models` maps names to ONNX files, `inputs` to npz files.

    `libraries` asks for the native libraries and thread pools that are loaded at the end, `distributions`
    for the canonical names of the distributions whose modules are. `heavy` are operators whose nodes are
    named where they run elsewhere than on the first provider. `memory_limit_mb` bounds the address space
    (never with CUDA, which reserves far more than it uses), `output_limit_mb` what may be written.
    """

    models: dict[str, str]
    inputs: dict[str, str]
    sessions: list[SessionSpec]
    libraries: bool = False
    distributions: bool = False
    heavy: list[str] = []
    memory_limit_mb: int | None = None
    output_limit_mb: int = OUTPUT_MB


class SavedOutput(Value, frozen=True, kw_only=True):
    """One output of one run: `file` lies in the output directory; `dtype` is numpy's name, or `string`.

    Sequences and maps are several outputs: `name[0]`, `name[1]` ..., and `name.keys` beside a map's values.
    """

    file: str
    dtype: str


class SavedRun(Value, frozen=True, kw_only=True):
    """The outputs of repeat number `repeat` on one inputs file, by output name in the graph's order."""

    inputs: str
    repeat: int
    outputs: dict[str, SavedOutput]


class SessionResult(Value, frozen=True, kw_only=True):
    """What one session did.

    `runs` holds the first run of each inputs whole, and of every later repeat those outputs that were not
    the same, bit by bit, as the first's; `repeats` is how often each inputs was run, and where runs were
    timed the last of those (of the first slice) counts as one more. `apart` is what samples gave that
    were run one by one, None where that failed or was not asked for. `latencies_ms` are
    raw, in order. `peak_memory_mb` is the process's own peak when the session had run. `error` is set
    when the session failed.
    """

    name: str
    registered: list[str] = []
    options: dict[str, str] = {}
    placement: Placement = Placement()
    session_ms: float | None = None
    first_run_ms: float | None = None
    latencies_ms: list[float] = []
    peak_memory_mb: float | None = None
    repeats: int = 0
    runs: list[SavedRun] = []
    apart: SavedRun | None = None
    error: str = ""

    def first_run(self, inputs: str) -> SavedRun | None:
        """Return the first run on `inputs`, None when it was never reached."""
        return next((run for run in self.runs if run.inputs == inputs and run.repeat == 0), None)

    def differing_outputs(self, inputs: str) -> set[str]:
        """Return the outputs of which some repeat on `inputs` was not the same as the first run's."""
        later = [run for run in self.runs if run.inputs == inputs and run.repeat > 0]
        return {name for run in later for name in run.outputs}


class Failure(Value, frozen=True, kw_only=True):
    """An exception that ended the child: its type's name, its text, and the module that was missing."""

    type: str
    text: str = ""
    module: str = ""


class LoaderFeatures(Value, frozen=True, kw_only=True):
    """What the child's C library found of the CPU: CPUID's registers by leaf, or HWCAP and HWCAP2."""

    leaves: dict[str, list[int]] = {}
    hwcap: list[int] = []


class ChildResult(Value, frozen=True, kw_only=True):
    """What the child wrote, whole after every session: a later crash leaves what came before it.

    `address_space_mb` is the limit of its address space, None without one, and `address_space_peak_mb` the
    most that was taken of it when this was written; `platform` is machine and C library
    (`x86_64-glibc2.36`, `aarch64-musl`). `missing` names the libraries
    without which a requested provider of this build did not register.
    """

    runtime: Runtime = Runtime()
    platform: str = ""
    loader: LoaderFeatures = LoaderFeatures()
    address_space_mb: int | None = None
    address_space_peak_mb: float | None = None
    import_ms: float | None = None
    available: list[str] = []
    sessions: list[SessionResult] = []
    libraries: list[Library] = []
    thread_pools: list[ThreadPool] = []
    missing: dict[str, list[str]] = {}
    distributions: list[str] = []
    failure: Failure | None = None
    done: bool = False

    def session(self, name: str) -> SessionResult | None:
        """Return the result of the session `name`, None when it was never reached."""
        return next((session for session in self.sessions if session.name == name), None)


@dataclass(frozen=True)
class ChildRun:
    """How a child process ended and what it left behind.

    `outputs` is the directory of the raw outputs, read with `envcheck.smoke.outputs.load_run`; it is the
    caller's and lies in the work directory. `wall_ms` counts from before the process was started.
    """

    ending: Ending
    result: ChildResult
    outputs: Path
    stderr: str
    wall_ms: float
