"""The CI templates: their shell steps run here as CI would run them, against a real collector.

One step is left out on purpose: the one that installs envcheck from the package index. Tests have no network,
and what is to be tested is the envcheck of this checkout, which stands on PATH instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml
from support.fleet import GateFleet
from support.tools import need

CI = Path(__file__).parents[2] / "deploy" / "ci"
INSTALL = re.compile(r'python -m pip install "envcheck==[0-9.]+"')
EXPRESSION = re.compile(r"\$\{\{ *([a-zA-Z._-]+) *\}\}")


class Runner:
    """Runs the steps of a job in a clean directory; `files` is where they leave what they publish."""

    def __init__(self, directory: Path, fleet: GateFleet) -> None:
        self.directory = directory
        self.fleet = fleet
        self.files = directory / "envcheck-gate"
        self.summary = directory / "summary.md"
        self.variables = {"ENVCHECK_COLLECTOR": fleet.collector.url, "ENVCHECK_TOKEN": fleet.token}

    def run(
        self, shell: list[str], script: str, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            **variables,
        }
        return subprocess.run(
            [*shell, script], cwd=self.directory, env=environ, capture_output=True, text=True, timeout=120
        )

    def github(self, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run the steps of the GitHub job, expressions filled in as GitHub does."""
        workflow = load("github-actions.yml")
        declared = workflow[True]["workflow_dispatch"]["inputs"]  # YAML reads the key `on` as true
        given = {
            name: inputs.get(name.replace("-", "_"), spec.get("default")) for name, spec in declared.items()
        }
        known = {f"inputs.{name}": value for name, value in given.items()}
        known |= {
            f"{kind}.{name}": value for name, value in self.variables.items() for kind in ("vars", "secrets")
        }
        steps = [step for step in workflow["jobs"]["envcheck-gate"]["steps"] if "run" in step]
        assert INSTALL.fullmatch(steps.pop(0)["run"])
        assert len(steps) == 1
        variables = {
            name: EXPRESSION.sub(lambda found: known[found.group(1)], value)
            for name, value in steps[0]["env"].items()
        }
        assert steps[0]["shell"] == "bash"
        # https://docs.github.com: `shell: bash` is exactly this.
        return self.run(
            [need("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c"], steps[0]["run"], variables
        )

    def gitlab(self, shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the GitLab job's script in one shell, with `-e`, as a runner does."""
        job = load("gitlab-ci.yml")["envcheck-gate"]
        assert [INSTALL.fullmatch(line) is not None for line in job["before_script"]] == [True]
        script = "\n".join(job["script"])
        return self.run([need(shell), "-ec"], script, {**job["variables"], **self.variables, **variables})


def load(name: str) -> Any:
    return yaml.safe_load((CI / name).read_text(encoding="utf-8"))


@pytest.fixture
def runner(tmp_path: Path, fleet: GateFleet) -> Runner:
    return Runner(tmp_path, fleet)


def ask(runner: Runner, where: str, release: str, **more: str) -> subprocess.CompletedProcess[str]:
    cohort = f"one={runner.fleet.device}"
    if where == "github":
        return runner.github(release=release, cohort=cohort, **more)
    return runner.gitlab(
        where, RELEASE=release, COHORT=cohort, **{name.upper(): value for name, value in more.items()}
    )


everywhere = pytest.mark.parametrize("where", ["github", "sh"])


@everywhere
def test_a_ready_cohort_goes_through(runner: Runner, where: str) -> None:
    done = ask(runner, where, "gate@ready")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: pass" in done.stdout
    assert JUnitXml.fromfile(str(runner.files / "gate.xml")).failures == 0
    assert "pass" in (runner.files / "gate.md").read_text()
    assert (runner.files / "gate.json").exists()


@everywhere
def test_a_blocked_cohort_stops_and_says_why(runner: Runner, where: str) -> None:
    done = ask(runner, where, "gate@other")
    assert done.returncode == 1, done.stdout + done.stderr
    assert JUnitXml.fromfile(str(runner.files / "gate.xml")).failures == 2
    assert "numpy" in (runner.files / "gate.md").read_text()


@everywhere
def test_shares_are_passed_on(runner: Runner, where: str) -> None:
    assert ask(runner, where, "gate@other", min_ready="0%").returncode == 0


@pytest.mark.slow
@everywhere
def test_no_answer_stops_too_and_publishes_nothing_old(runner: Runner, where: str) -> None:
    assert ask(runner, where, "gate@ready").returncode == 0
    runner.variables["ENVCHECK_COLLECTOR"] = "http://127.0.0.1:9"
    done = ask(runner, where, "gate@ready")
    assert done.returncode == 4
    assert list(runner.files.iterdir()) == []
    for wrong, code in (("gate@9", 2), ("gate", 2), ("", 2)):
        runner.variables["ENVCHECK_COLLECTOR"] = runner.fleet.collector.url
        assert ask(runner, where, wrong).returncode == code
    runner.variables["ENVCHECK_TOKEN"] = ""
    assert ask(runner, where, "gate@ready").returncode == 2


@everywhere
def test_an_empty_cohort_is_unknown(runner: Runner, where: str) -> None:
    runner.fleet = GateFleet(runner.fleet.collector, "nobody", runner.fleet.token)
    assert ask(runner, where, "gate@ready").returncode == 3


def test_github_shows_the_answer_or_its_absence(runner: Runner) -> None:
    ask(runner, "github", "gate@ready")
    assert "### envcheck gate: gate\\@<!-- -->ready" in runner.summary.read_text()
    ask(runner, "github", "gate@9")
    assert "no answer (exit code 2)" in runner.summary.read_text()


@everywhere
def test_inputs_are_never_run(runner: Runner, where: str) -> None:
    done = ask(runner, where, '"; touch pwned; echo "$(touch pwned)`touch pwned`')
    assert done.returncode == 2
    assert not (runner.directory / "pwned").exists()


def test_no_expression_stands_in_a_script() -> None:
    for step in load("github-actions.yml")["jobs"]["envcheck-gate"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_both_name_the_version_of_this_checkout() -> None:
    from envcheck import __version__

    for name in ("github-actions.yml", "gitlab-ci.yml"):
        assert f'"envcheck=={__version__}"' in (CI / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("github-actions.yml", ["vendor.github-workflows"]),
        ("gitlab-ci.yml", ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"]),
    ],
)
def test_they_are_what_the_ci_systems_understand(file: str, options: list[str]) -> None:
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *options, str(CI / file)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
