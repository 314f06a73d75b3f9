"""Measure `envcheck smoke --quick` beside a bare script of the same inference, interleaved, in one run.

    python scripts/bench/smoke.py [--rounds N] [--only NAME]... [--dir DIR] [-o results.json]

The bare script (scripts/bench/bare.py) imports onnxruntime, makes the session with as many threads, and runs
the same inputs as often as envcheck did; it looks at nothing. Models: the digits CNN and transformer of
examples/, and a seeded ResNet-50 (25.6 million parameters) with 16 images of 64 and of 224 pixels. Uses the
interpreter that runs it, which needs envcheck, onnxruntime and onnx.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import Failed, Measured, await_quiet, output_of, peak_memory, run_once
from places import DEFAULT, HERE, TREE
from resnet import write_resnet

_DEADLINE_S = 300.0
_MEMORY_ROUNDS = 6
# A first run above this counts as the warm-up (see `job.Timing`).
_WARMED_MS = 200
_ENVCHECK = [sys.executable, "-m", "envcheck"]


@dataclass(frozen=True)
class Case:
    """One model with its inputs and the bundle made of both."""

    name: str
    model: Path
    inputs: Path
    bundle: Path

    @property
    def evidence(self) -> Path:
        return self.bundle.with_suffix(".json")

    @property
    def smoke(self) -> list[str]:
        return [*_ENVCHECK, "smoke", str(self.bundle), "--quick", "-o", str(self.evidence)]

    def bare(self, runs: int) -> list[str]:
        threads = len(os.sched_getaffinity(0))
        script = str(HERE / "bare.py")
        return [sys.executable, script, str(self.model), str(self.inputs), str(runs), str(threads)]


def cases(folder: Path) -> Iterator[Case]:
    """Make what is measured, once; the bundles are made anew where the agent's version changed."""
    digits = TREE / "examples/digits"
    named = [("digits CNN", digits / "cnn.onnx", digits / "inputs.npz")]
    named.append(("digits transformer", digits / "transformer.onnx", digits / "inputs.npz"))
    named += [
        (f"ResNet-50, 16 images of {side} pixels", *write_resnet(folder, 16, side)) for side in (64, 224)
    ]
    for name, model, inputs in named:
        bundle = folder / f"{inputs.stem}-{model.stem}.envcheck"
        if not bundle.exists():
            freeze(model, inputs, bundle)
        yield Case(name, model, inputs, bundle)


def freeze(model: Path, inputs: Path, bundle: Path) -> None:
    print(f"freezing {model.name} with {inputs.name}", file=sys.stderr)
    release = f"{inputs.stem}@1".lower()
    command = [*_ENVCHECK, "baseline", "create", str(model), "--inputs", str(inputs)]
    subprocess.run([*command, "--name", release, "--quick", "-o", str(bundle)], check=True, stdout=sys.stderr)


def count_runs(case: Case) -> int:
    """Return how often envcheck ran the inputs: first, once to warm up where that was short, then timed."""
    readings = json.loads(case.evidence.read_text())["readings"]
    warm = 1 if readings["first_run_ms"] < _WARMED_MS else 0
    return 1 + warm + int(readings["latency"]["runs"])


def measure(case: Case, environ: dict[str, str], rounds: int, patience_s: float) -> dict[str, object]:
    """Run both in turn for time, then each by itself for memory.

    The bare script goes second: a timing that is bounded in seconds has other numbers of runs each time.
    """
    own, bare = Measured(), Measured()
    output_of(case.smoke, environ, _DEADLINE_S)
    runs = []
    for number in range(rounds):
        await_quiet(patience_s)
        own.runs.append(run_once(case.smoke, environ, _DEADLINE_S))
        runs.append(count_runs(case))
        await_quiet(patience_s)
        bare.runs.append(run_once(case.bare(runs[-1]), environ, _DEADLINE_S))
        print(f"{case.name}: round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for place, command in ((own, case.smoke), (bare, case.bare(runs[-1]))):
        for number in range(_MEMORY_ROUNDS):
            # Where the allocator puts things hangs on as little as the size of the environment, and is worth
            # a tenth of a large model's peak, in any script: the worst of several layouts is compared.
            layout = {**environ, "LAYOUT": "x" * 700 * number}
            together, largest = peak_memory(command, layout, _DEADLINE_S)
            place.together, place.largest = max(place.together, together), max(place.largest, largest)
    ratios = [one.wall_s / other.wall_s for one, other in zip(own.runs, bare.runs, strict=True)]
    return {
        "model_mb": round(case.model.stat().st_size / 1e6, 2),
        "runs": sorted(set(runs)),
        "ratio": round(statistics.median(ratios), 3),
        "envcheck": own.summary(),
        "bare": bare.summary(),
    }


def table(results: dict[str, dict]) -> str:
    """Write the results as a Markdown table; ratio and difference are envcheck's to the bare script's."""
    titles = ["model", "runs", "bare ms (min)", "envcheck ms (min)", "ratio (of minima)", "more ms"]
    titles += ["more CPU ms", "largest process MiB, bare and envcheck", "all processes MiB"]
    rows = [f"| {' | '.join(titles)} |", "|---" + "|---:" * 8 + "|"]
    for name, row in results.items():
        bare, own = row["bare"], row["envcheck"]
        cells = [
            f"{name} ({row['model_mb']:.3g} MB)",
            " to ".join(str(count) for count in sorted({row["runs"][0], row["runs"][-1]})),
            f"{bare['wall_ms']:.0f} ({bare['wall_min_ms']:.0f})",
            f"{own['wall_ms']:.0f} ({own['wall_min_ms']:.0f})",
            f"{row['ratio']:.2f} ({own['wall_min_ms'] / bare['wall_min_ms']:.2f})",
            f"{own['wall_ms'] - bare['wall_ms']:.0f}",
            f"{own['cpu_ms'] - bare['cpu_ms']:.0f}",
            f"{bare['peak_largest_mib']:.0f}, {own['peak_largest_mib']:.0f}",
            f"{bare['peak_mib']:.0f}, {own['peak_mib']:.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    options = _options()
    folder = options.dir / "smoke"
    folder.mkdir(parents=True, exist_ok=True)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ENVCHECK"))
    }
    results: dict[str, dict] = {}
    for case in cases(folder):
        if options.only and not any(word in case.name for word in options.only):
            continue
        try:
            results[case.name] = measure(case, environ, options.rounds, options.patience)
        except Failed as error:
            print(f"{case.name}: {error}", file=sys.stderr)
    print(table(results))
    if options.output:
        document = {"machine": _machine(), "rounds": options.rounds, "results": results}
        options.output.write_text(json.dumps(document, indent=1) + "\n")


def _machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default: 9)")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="S",
        help="where others use the machine too: wait before each run until it is idle, at most so long",
    )
    parser.add_argument(
        "--dir", type=Path, default=DEFAULT, help=f"where models are kept (default: {DEFAULT})"
    )
    parser.add_argument(
        "--only", action="append", metavar="WORD", help="only models so named; may be repeated"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the results as JSON")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    main()
