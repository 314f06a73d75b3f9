"""One cell of the matrix: a model, an environment and what was planted, held to `envcheck check` itself."""

from __future__ import annotations

import inspect
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import measure
from alterations import altered
from case import Case
from environments import Environment, Ready, broken, fleet, prepare, virtual_environment
from models import deploy, freeze, open_bundle, variant
from places import CACHE, TREE, Failed, Unavailable, digest, digest_tree, execute, write_program

from envcheck.contract.bundle import read_bundle

# The evidence is the agent's; the outputs are copied for the lab, which does sums of its own.
_WRAPPER = """\
#!/bin/sh
({shell}
exec {command} "$@")
status=$?
for last; do :; done
if [ -f "$last/out/result.json" ]; then cp "$last"/out/*.npy "$last/out/result.json" "$ENVCHECK_LAB_KEEP"; fi
exit $status
"""
_AGENT_S = 900.0
# Results of other sums or another wrapper are not this lab's.
_VERSION = digest(_WRAPPER, Path(measure.__file__).read_bytes())


@dataclass(frozen=True)
class Cell:
    """A case in one environment, for one variant of the models."""

    case: Case
    variant: str
    environment: Environment

    @property
    def title(self) -> str:
        """What it is called in progress and reports."""
        return f"{self.case.name} | {self.variant} | {self.environment.name}"


@dataclass
class Outcome:
    """What the agent said of a cell. `numbers` are the lab's own, by output."""

    case: str
    what: str
    truth: str
    variant: str
    environment: str
    verdict: str = ""
    exit_code: int = -1
    wall_s: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    stderr: str = ""
    unavailable: str = ""

    @property
    def telling(self) -> list[dict[str, Any]]:
        """The findings that block, else those that warn."""
        blocking = [one for one in self.findings if one["severity"] == "block"]
        return blocking or [one for one in self.findings if one["severity"] == "warn"]


def cells(cases: list[Case]) -> Iterator[Cell]:
    """Yield every cell of `cases`; the quick ones come first."""
    known = {environment.name: environment for environment in (*fleet(), *broken())}
    found = [
        Cell(case, name, known[environment])
        for case in cases
        for environment in case.environments
        for name in case.variants
    ]
    yield from sorted(found, key=lambda cell: cell.environment.emulated)


class Runner:
    """Runs cells, each once for the same inputs: results are kept by the digest of all that matters."""

    def __init__(self) -> None:
        self.agent = _frozen_agent()
        self._ready: dict[str, Ready | str] = {}
        self._processors: queue.SimpleQueue[int] = queue.SimpleQueue()
        for processor in sorted(os.sched_getaffinity(0)):
            self._processors.put(processor)

    def prepare(self, wanted: list[Cell]) -> None:
        """Make the environments of `wanted`, one after the other."""
        for cell in wanted:
            self._prepared(cell.environment)

    def run(self, cell: Cell) -> Outcome:
        """Return what the agent says of `cell`."""
        ready = self._prepared(cell.environment)
        outcome = Outcome(
            cell.case.name, cell.case.what, cell.case.truth, cell.variant, cell.environment.name
        )
        if isinstance(ready, str):
            outcome.unavailable = ready
            return outcome
        try:
            bundle = _bundle(cell, self.agent)
            return self._kept(cell, ready, bundle, outcome)
        except Unavailable as error:
            outcome.unavailable = str(error)
        except Failed as error:
            outcome.stderr = str(error)
        return outcome

    def _prepared(self, environment: Environment) -> Ready | str:
        if environment.name not in self._ready:
            try:
                self._ready[environment.name] = prepare(environment)
            except Unavailable as error:
                self._ready[environment.name] = str(error)
        return self._ready[environment.name]

    def _kept(self, cell: Cell, ready: Ready, bundle: bytes, outcome: Outcome) -> Outcome:
        case = cell.case
        spoilt = inspect.getsource(case.spoil) if case.spoil else ""
        deployed = _deployed(cell, bundle)
        parts = (bundle, ready.identity, case.shell, spoilt, case.deadline_s, deployed)
        key = digest(self.agent.name, _VERSION, *parts)
        path = CACHE / "cells" / f"{key}.json"
        if not path.exists():
            self._measure(cell, ready, bundle, outcome)
            if not outcome.verdict:
                return outcome
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(asdict(outcome)))
            fresh.replace(path)
        kept = json.loads(path.read_text())
        kept.update(case=case.name, what=case.what, truth=case.truth)
        kept.update(variant=cell.variant, environment=cell.environment.name)
        return Outcome(**kept)

    def _measure(self, cell: Cell, ready: Ready, bundle: bytes, outcome: Outcome) -> None:
        # In the cache, so that a spoilt copy of an environment can be made of links.
        with tempfile.TemporaryDirectory(prefix="cell-", dir=CACHE) as name:
            folder = Path(name)
            python = write_program(folder / "python", _wrapper(cell, ready, folder))
            (folder / "cell.envcheck").write_bytes(bundle)
            deployed = _deployed(cell, bundle)
            (folder / "deployed.onnx").write_bytes(deployed)
            named = f"model: {folder}/deployed.onnx\n" if deployed else ""
            (folder / "config.yaml").write_text(f"device: lab\n{named}")
            (folder / "kept").mkdir()
            begin = time.monotonic()
            done = self._check(folder, python, cell)
            outcome.wall_s = round(time.monotonic() - begin, 1)
            outcome.exit_code, outcome.stderr = done.returncode, done.stderr[-600:]
            if done.stdout.startswith("{"):
                said = json.loads(done.stdout)
                outcome.verdict, outcome.findings = said["outcome"], said.get("findings", [])
            outcome.numbers = measure.outputs(folder / "kept", bundle)

    def _check(self, folder: Path, python: Path, cell: Cell) -> subprocess.CompletedProcess[str]:
        command = [
            *(sys.executable, "-m", "envcheck", "check", str(folder / "cell.envcheck"), "--quick", "--json"),
            *("--python", str(python), "--config", str(folder / "config.yaml")),
            *("--deadline", str(cell.case.deadline_s)),
        ]
        environ = {**agent_environment(self.agent), "ENVCHECK_LAB_KEEP": str(folder / "kept")}
        with self._bound(cell) as binding:
            try:
                return subprocess.run(
                    [*binding, *command],
                    check=False,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_AGENT_S,
                )
            except subprocess.TimeoutExpired:
                raise Failed(f"the agent did not end in {_AGENT_S:g} s") from None

    @contextmanager
    def _bound(self, cell: Cell) -> Iterator[list[str]]:
        """Give an emulated cell one processor for itself: threads that spin for each other are slow."""
        if not cell.environment.emulated:
            yield []
            return
        processor = self._processors.get()
        try:
            yield ["taskset", "-c", str(processor)]
        finally:
            self._processors.put(processor)


def agent_environment(agent: Path) -> dict[str, str]:
    """Return the variables with which the agent of this run is started."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**own, "PYTHONPATH": str(agent)}


def _bundle(cell: Cell, agent: Path) -> bytes:
    """Return what is deployed: the real bundle, or one whose model was altered."""
    case = cell.case
    known = {environment.name: environment for environment in fleet()}
    training = known[case.trained_in]
    python = virtual_environment(training.python, training.requirements)
    path = freeze(variant(cell.variant), python, agent, *case.options)
    if case.alter is None and not case.changes:
        return path.read_bytes()
    bundle = open_bundle(path)
    model = bytes(bundle.members["model.onnx"])
    if case.alter is not None:
        model = altered(model, case.alter)
    return deploy(bundle, model, **case.changes)


def _deployed(cell: Cell, bundle: bytes) -> bytes:
    """Return the model file that the configuration names as deployed, nothing where it names none."""
    if cell.case.deployed is None:
        return b""
    model = bytes(read_bundle(bundle, "the lab's bundle").members["model.onnx"])
    return altered(model, cell.case.deployed)


def _wrapper(cell: Cell, ready: Ready, folder: Path) -> str:
    command = list(ready.command)
    if cell.case.spoil is not None:
        home = Path(command[-1]).parents[1]
        # Links, so that only what the fault replaces becomes another file.
        execute(["cp", "-al", home, folder / "spoilt"])
        cell.case.spoil(folder / "spoilt")
        command[-1] = str(folder / "spoilt/bin/python")
    return _WRAPPER.format(shell=cell.case.shell, command=" ".join(command))


def _frozen_agent() -> Path:
    """Return a copy of the agent's sources: one run judges with one agent, whatever is being edited."""
    agent = TREE / "agent" / "envcheck"
    home = CACHE / f"agent-{digest_tree(agent)}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = home.with_name(f"{home.name}.{os.getpid()}")
        shutil.copytree(agent, fresh / "envcheck", ignore=shutil.ignore_patterns("__pycache__"))
        fresh.rename(home)
    return home


def named(outcome: Outcome, cause: str) -> str:
    """Say how well the cause was told: `named`, `open` (it says that it is not known), `wrong`, `silent`."""
    told = ("message", "cause", "impact", "hint")
    words = [" ".join(one.get(key) or "" for key in told) for one in outcome.telling]
    if any(re.search(cause, text, re.IGNORECASE) for text in words):
        return "named"
    causes = [one.get("cause") or "" for one in outcome.telling]
    if not any(causes):
        return "silent"
    return "open" if any(re.search("not known|not proven", text) for text in causes) else "wrong"
