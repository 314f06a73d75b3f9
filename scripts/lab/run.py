"""Run the lab: the real agent in really different environments, healthy and with planted faults.

    python scripts/lab/run.py [--quick | --ci] [--only WORD]... [-o DIR]

Writes every word of every verdict to DIR/lab.json; a report and a line for each cell (verdict-quality.md and
.json) go to docs/ after a whole run, else to DIR. Environments, bundles and results are kept in
~/.cache/envcheck-lab (or ENVCHECK_LAB_CACHE); what was measured by the same agent before is not
measured again. What this machine can't have is listed as such.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import report
from draws import draw
from environments import OLDEST, TRAINING, broken, fleet, interpreters
from faults import cases
from judged import document, judge, rows
from matrix import Cell, Outcome, Runner, cells
from places import TREE
from refusals import refusals, run

_QUICK = (TRAINING, OLDEST, "haswell", "nehalem")
# Large wheels, which a CI machine need not fetch.
_LARGE = ("gpu", "openvino", "both-flavours")


def main() -> int:
    """Run what was asked for; 1 when a fault was missed or a healthy cell blocked."""
    arguments = _arguments()
    wanted = [cell for cell in cells(cases()) if _is_wanted(cell, arguments)]
    runner = Runner()
    runner.prepare(wanted)
    outcomes = [*_run(runner, wanted), *_refuse(runner, arguments)]
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    judged = judge(outcomes, [*cases(), *refusals()])
    (folder / "lab.json").write_text(json.dumps(document(judged), indent=1) + "\n")
    whole = not (arguments.quick or arguments.ci or arguments.only)
    told = TREE / "docs" if whole else folder
    agent = runner.agent.name.removeprefix("agent-")
    (told / "verdict-quality.md").write_text(
        report.markdown(judged, agent, draw(runner.agent) if whole else [])
    )
    lines = ",\n".join(json.dumps(row) for row in rows(judged))
    (told / "verdict-quality.json").write_text(f"[\n{lines}\n]\n")
    print("\n".join(report.summary(judged)))
    return 0 if all(one.right for one in judged) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the real agent in the lab's environments.")
    parser.add_argument("--quick", action="store_true", help="few environments")
    parser.add_argument("--ci", action="store_true", help="few environments and models, about three minutes")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="cells whose title has it"
    )
    parser.add_argument("-o", "--output", type=Path, default=TREE / "build/lab", metavar="DIR")
    return parser.parse_args()


def _is_wanted(cell: Cell, arguments: argparse.Namespace) -> bool:
    if not all(word in cell.title for word in arguments.only):
        return False
    if arguments.ci:
        return _is_in_ci(cell)
    return not arguments.quick or cell.environment.name in _QUICK


def _is_in_ci(cell: Cell) -> bool:
    """Every fault that x86-64 can have, once, and what is healthy in four environments."""
    environment, case = cell.environment, cell.case
    if environment.kind == "arm64" or {environment.name, case.trained_in} & set(_LARGE):
        return False
    if case.truth == "healthy":
        return environment.name in _QUICK
    pythons = {one.name: one.python for one in (*fleet(), *broken())}
    usable = [name for name in case.environments if pythons[name] in interpreters()]
    return environment.name in usable[:1] and (not environment.emulated or cell.variant == case.variants[-1])


def _refuse(runner: Runner, arguments: argparse.Namespace) -> list[Outcome]:
    """Ask for the baselines that must not come to be."""
    wanted = [one for one in refusals() if all(word in one.title for word in arguments.only)]
    return [run(refusal, runner.agent) for refusal in wanted]


def _run(runner: Runner, wanted: list[Cell]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for number, (cell, outcome) in enumerate(zip(wanted, pool.map(runner.run, wanted), strict=True)):
            outcomes.append(outcome)
            said = outcome.verdict or ("not available" if outcome.unavailable else outcome.exit_code)
            print(f"[{number + 1}/{len(wanted)}] {cell.title}: {said} ({outcome.wall_s} s)", file=sys.stderr)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
