"""Measure `envcheck capture --json` beside what people use today, interleaved, in one run.

    python scripts/bench/capture.py [--rounds N] [--dir DIR] [--only NAME]... [-o results.json]

Makes its environments once below --dir (2 GB; delete the folder to be rid of them). Every round runs every
command once, in another order; one that takes long is run in fewer rounds. A peer that is not installed is
listed as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import Failed, Measured, await_quiet, output_of, peak_memory, run_once
from places import DEFAULT, HERE, Places, make

_DEADLINE_S = 180.0
# A command that takes longer than this is measured in so many rounds only.
_LONG_S = 2.0
_LONG_ROUNDS = 3
_MEMORY_ROUNDS = 5
_METADATA = (
    "from importlib.metadata import distributions as d; print(len([(x.name, x.version) for x in d()]))"
)
_CPUINFO = "import cpuinfo; print(cpuinfo.get_cpu_info())"
ENVCHECK = "envcheck capture --json"


@dataclass(frozen=True)
class Contender:
    """One command under a name; `before` runs untimed ahead of each run."""

    name: str
    command: list[str]
    before: Callable[[], None] = lambda: None


def contenders(places: Places) -> list[Contender]:
    """Return envcheck in its ways, then the peers, the quickest first."""
    python, envcheck = str(places.environment / "python"), str(places.environment / "envcheck")
    capture = [envcheck, "capture", "--json"]

    def forget() -> None:
        shutil.rmtree(places.cache / "envcheck", ignore_errors=True)

    return [
        Contender(ENVCHECK, capture),
        Contender("envcheck capture --json, caches deleted", capture, forget),
        Contender(
            "envcheck capture --json --python OTHER",
            [str(places.agent / "envcheck"), "capture", "--json", "--python", python],
        ),
        Contender("python -I -c pass", [python, "-I", "-c", "pass"]),
        Contender(
            "uv pip list", [str(places.tools / "uv"), "pip", "list", "--format", "json", "--python", python]
        ),
        Contender("importlib.metadata", [python, "-c", _METADATA]),
        Contender("pip list", [python, "-m", "pip", "list", "--format", "json"]),
        Contender("facter", ["facter", "--json"]),
        Contender("pip inspect", [python, "-m", "pip", "inspect"]),
        Contender("cpuinfo.get_cpu_info()", [python, "-c", _CPUINFO]),
        Contender("torch.utils.collect_env", [python, "-m", "torch.utils.collect_env"]),
        Contender("ansible -m setup", [str(places.tools / "ansible"), "localhost", "-m", "setup"]),
        Contender(
            "cyclonedx-py environment",
            [str(places.tools / "cyclonedx-py"), "environment", "--of", "JSON", python],
        ),
        Contender("textbook validator", [python, str(HERE / "textbook.py")]),
    ]


def main() -> None:
    options = _options()
    places = make(options.dir)
    environ = _environ(places)
    chosen = [one for one in contenders(places) if not options.only or one.name in options.only]
    missing = {one.name: "not installed" for one in chosen if shutil.which(one.command[0]) is None}
    measured = _measure(
        [one for one in chosen if one.name not in missing], environ, options.rounds, options.patience, missing
    )
    shutil.rmtree(places.cache, ignore_errors=True)
    document = {
        "machine": _machine(places),
        "rounds": options.rounds,
        "results": results(measured),
        "missing": missing,
    }
    print(table(document))
    if options.output:
        options.output.write_text(json.dumps(document, indent=1) + "\n")


def _measure(
    chosen: list[Contender],
    environ: dict[str, str],
    rounds: int,
    patience_s: float,
    missing: dict[str, str],
) -> dict[str, Measured]:
    """Run everything once to see that it works, `rounds` times in turn for time, once for memory."""
    measured: dict[str, Measured] = {}
    for one in chosen:
        try:
            output_of(one.command, environ, _DEADLINE_S)
            measured[one.name] = Measured()
        except Failed as error:
            missing[one.name] = str(error)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        # Another order each round: what ran just before leaves the machine's caches as it likes.
        for one in random.Random(number).sample(chosen, len(chosen)):
            runs = measured[one.name].runs if one.name in measured else None
            if runs is None or (number >= _LONG_ROUNDS and runs[0].wall_s > _LONG_S):
                continue
            one.before()
            await_quiet(patience_s)
            runs.append(run_once(one.command, environ, _DEADLINE_S))
    for one in chosen:
        if one.name in measured:
            place = measured[one.name]
            for _ in range(1 if place.runs[0].wall_s > _LONG_S else _MEMORY_ROUNDS):
                one.before()
                together, largest = peak_memory(one.command, environ, _DEADLINE_S)
                place.together, place.largest = max(place.together, together), max(place.largest, largest)
    return measured


def results(measured: dict[str, Measured]) -> dict[str, dict[str, float | int]]:
    """Return each command's figures; `ratio` is its median wall clock by envcheck's, where that ran too."""
    found = {name: one.summary() for name, one in measured.items()}
    if own := found.get(ENVCHECK, {}).get("wall_ms"):
        for row in found.values():
            row["ratio"] = round(row["wall_ms"] / own, 2)
    return found


def table(document: dict) -> str:
    """Write the results as a Markdown table."""
    rows = ["| command | wall ms (min) | CPU ms (min) | peak MiB (largest process) | x envcheck |"]
    rows.append("|---|---:|---:|---:|---:|")
    for name, row in document["results"].items():
        cells = [
            name,
            f"{row['wall_ms']:.0f} ({row['wall_min_ms']:.0f})",
            f"{row['cpu_ms']:.0f} ({row['cpu_min_ms']:.0f})",
            f"{row['peak_mib']:.1f} ({row['peak_largest_mib']:.1f})",
            f"{row['ratio']:.2f}" if "ratio" in row else "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    rows += [f"| {name} | {why} | | | |" for name, why in document["missing"].items()]
    return "\n".join(rows)


def _environ(places: Places) -> dict[str, str]:
    """Return the caller's variables without what would change Python's or envcheck's own ways."""
    changing = ("PYTHON", "ENVCHECK", "VIRTUAL", "PIP_", "UV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(changing)}
    return {**kept, "XDG_CACHE_HOME": str(places.cache), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _machine(places: Places) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    found = output_of([str(places.environment / "python"), "-c", _METADATA], dict(os.environ), 60.0)
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "distributions": int(found),
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
        "--dir", type=Path, default=DEFAULT, help=f"where the environments are (default: {DEFAULT})"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the results as JSON")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    main()
