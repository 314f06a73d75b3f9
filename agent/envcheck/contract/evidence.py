"""Evidence: what a device measured when it ran a bundle. Metrics, never verdicts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from envcheck.contract.document import Document, Value

EndingStatus = Literal["ok", "error", "crash", "timeout", "memory", "refused"]
PlacementSource = Literal["assignment", "profile", "none"]
# A time or a size: never below zero, and nothing that a machine could not have measured.
Quantity = Annotated[float, Meta(ge=0, le=1e15)]
# How many of the best scores are a decision.
Top = Annotated[int, Meta(ge=1, le=2**31 - 1)]
OutputProblem = Literal["", "missing", "unexpected", "dtype", "shape", "non-finite"]


class Ending(Value, frozen=True, kw_only=True):
    """How the smoke process ended. A crash, a hang and an out-of-memory kill are evidence.

    `stage` is the last stage that the child announced (start, import, session, run, done).
    `reason` is for people, one sentence; `hint` says what mends it. `stack` is the Python stack of a crash,
    innermost first: at most 8 calls as `function of directory/module.py:line`, inert.
    """

    status: EndingStatus
    stage: str = ""
    signal: int | None = None
    reason: str = ""
    hint: str = ""
    stack: list[str] = []


class Decisions(Value, frozen=True, kw_only=True):
    """Argmax over the last axis, or the set of the `top` best, device beside reference.

    `largest_margin` is the largest margin (in the reference, the last score of those best minus the next
    one) among the flipped ones: a flip with a margin within twice the tolerance is a tie, not a fault.
    """

    total: int
    flipped: int = 0
    largest_margin: float = 0.0
    top: Top = 1

    @property
    def words(self) -> str:
        """What people call them: `decisions`, or `top 3 decisions`."""
        return "decisions" if self.top == 1 else f"top {self.top} decisions"


class OutputMetrics(Value, frozen=True, kw_only=True):
    """One output on the device beside the reference of the baseline.

    `problem` is set when the two cannot be compared number by number; the numbers are then absent.
    `rmse` and `max_abs` are against the float64 reference, in the output's own unit, rounded to three
    significant digits. `differing` counts elements of exact types (integers, booleans, strings).
    `digest` is the SHA-256 of the raw bytes of the first run; empty when runs of this output differed.
    `low`, `high`, `mean` and `deviation` describe the values here; `sum_error` is the largest distance
    from 1 of a sum over the last axis and `divergence` the mean Kullback-Leibler divergence from the
    reference in nats, both for outputs that are probabilities in training. `ulps` is the largest
    distance in units of the last place: told, never judged. `batching_rms` and `batching_max` compare
    samples run one by one with the same samples in one batch; None where that was not measured.
    `tie_gap` is, of indices of a ranking, the largest distance in training's scores between what stands at
    a place here and what stood there. `within_quantum` is the share of elements of an int8 or uint8 output
    that differ by at most 1.
    """

    dtype: str
    shape: list[int] = []
    elements: int = 0
    problem: OutputProblem = ""
    detail: str = ""
    rmse: float | None = None
    max_abs: float | None = None
    cosine: float | None = None
    differing: int | None = None
    decisions: Decisions | None = None
    digest: str = ""
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    sum_error: float | None = None
    divergence: float | None = None
    ulps: int | None = None
    batching_rms: float | None = None
    batching_max: float | None = None
    within_quantum: float | None = None
    tie_gap: float | None = None


class Placement(Value, frozen=True, kw_only=True):
    """Which execution provider ran which operators: provider -> operator type -> number of nodes.

    `source` tells how it is known; with `none` nothing is proven and `nodes` is empty. `astray` names heavy
    nodes that did not run on the first requested provider (provider -> "Operator name"), a bounded number.
    """

    source: PlacementSource = "none"
    nodes: dict[str, dict[str, int]] = {}
    astray: dict[str, list[str]] = {}


class Runtime(Value, frozen=True, kw_only=True):
    """What ran the model: versions as the child process saw them, and the options of its session.

    `cpu_features` are the instruction sets that numpy found, by its names, `loader_isa` those that the C
    library lets its loader use, by the names of the fact `cpu.isa`; empty where it tells none.
    """

    python: str = ""
    implementation: str = ""
    onnxruntime: str = ""
    onnxruntime_build: str = ""
    numpy: str = ""
    cpu_features: list[str] = []
    loader_isa: list[str] = []
    options: dict[str, str] = {}


class Library(Value, frozen=True, kw_only=True):
    """A native library that was loaded when the model ran; `name` is its file name.

    `path` is where it lies, below `{prefix}` when in the environment of the interpreter (so that equal
    environments in other places are equal); `version` is the one that its file name or distribution bears.
    """

    name: str
    build_id: str = ""
    path: str = ""
    version: str = ""


class ThreadPool(Value, frozen=True, kw_only=True):
    """A pool of native threads in the process: `kind` is openmp or blas, `core` the kernels BLAS chose."""

    kind: str
    library: str
    version: str = ""
    threads: int | None = None
    core: str = ""


class Evidence(Document, frozen=True, kw_only=True):
    """What a device measured when it ran one bundle under one fingerprint.

    `bundle` is the SHA-256 of the bundle file, `fingerprint` the digest of the fingerprint it was
    measured under: evidence counts only for that pair. `requested` and `registered` are execution
    providers in order. `repeatable` is False when runs of the same inputs differed.
    `accuracy` is the share of labelled samples whose argmax is the label; None without labels.
    `canaries` are results of tiny graphs with known answers; devices that agree on them are of one
    numeric class. `fallbacks` tells why a requested provider did not register (the library that it missed).
    `output_order` names the outputs as the session lists them: some applications take them by position.
    """

    FORMAT: ClassVar[str] = "envcheck.evidence/1.0"

    bundle: str
    fingerprint: str
    ending: Ending
    runtime: Runtime = field(default_factory=Runtime)
    requested: list[str] = []
    registered: list[str] = []
    placement: Placement = field(default_factory=Placement)
    outputs: dict[str, OutputMetrics] = {}
    repeatable: bool | None = None
    accuracy: float | None = None
    canaries: dict[str, str] = {}
    libraries: list[Library] = []
    fallbacks: dict[str, str] = {}
    thread_pools: list[ThreadPool] = []
    output_order: list[str] = []


class Latency(Value, frozen=True, kw_only=True):
    """Latencies of one run of all golden inputs' first batch, in milliseconds.

    Percentiles are absent where runs are too few for them: p90 below 64, p99 below 662.
    """

    runs: int
    min_ms: Quantity
    p50_ms: Quantity
    p90_ms: Quantity | None = None
    mad_ms: Quantity | None = None
    p99_ms: Quantity | None = None


class SmokeReadings(Value, frozen=True, kw_only=True):
    """What changes from run to run and so stays out of the evidence: timings and memory.

    `throughput` is samples a second. `throttled` tells of heat or power, `starved` of CPU time that a
    cgroup quota withheld while the model ran.
    """

    import_ms: float | None = None
    session_ms: float | None = None
    first_run_ms: float | None = None
    latency: Latency | None = None
    peak_memory_mb: Quantity | None = None
    wall_ms: float | None = None
    throttled: bool | None = None
    throughput: Quantity | None = None
    starved: bool | None = None


class Smoke(Document, frozen=True, kw_only=True):
    """The document that `envcheck smoke --json` prints: evidence, and the readings beside it.

    `model` is the digest of the model file and `device_class` what timings compare within (see
    `Baseline.timings`).
    """

    FORMAT: ClassVar[str] = "envcheck.smoke/1.0"

    release: str
    measured_at: str
    evidence: Evidence
    readings: SmokeReadings = field(default_factory=SmokeReadings)
    model: str = ""
    device_class: str = ""
