"""The demo's story, told by running the real commands. Called by scripts/demo in the demo's environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
RUN = DEMO / "run"
BIN = Path(sys.executable).parent
EXAMPLE = ROOT / "examples" / "digits"
RELEASE = "digits@1.0"
SELF = f"{sys.version_info.major}.{sys.version_info.minor}"

# What device B has instead of training's versions, and the newest that other Pythons can have.
OTHER_VERSIONS = ("onnxruntime==1.23.2", "numpy==2.3.5")
NEWEST = {
    "3.8": ("onnxruntime==1.19.2", "numpy==1.24.4"),
    "3.9": ("onnxruntime==1.19.2", "numpy==2.0.2"),
    "3.10": ("onnxruntime==1.23.2", "numpy==2.2.6"),
    "3.11": ("onnxruntime==1.32.0", "numpy==2.4.6"),
    "3.12": ("onnxruntime==1.32.0", "numpy==2.4.6"),
    "3.13": ("onnxruntime==1.32.0", "numpy==2.4.6"),
}


class Device(NamedTuple):
    """One device of the demo's fleet: its id, what it is, the interpreter that serves there, its line."""

    name: str
    about: str
    python: Path
    line: str


def main() -> int:
    began = time.monotonic()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    devices = fleet()

    step("Freeze the training environment into a signed bundle")
    public_key = release_key()
    run(
        *("envcheck", "baseline", "create", EXAMPLE / "cnn.onnx", "--inputs", EXAMPLE / "inputs.npz"),
        *("--labels", EXAMPLE / "labels.npz", "--name", RELEASE, "--key", RUN / "release.pem"),
        *("-o", RUN / "digits.envcheck"),
    )

    step("Start a collector on its embedded store")
    with Collector() as collector:
        step("Enrol the devices; each has its own key, and pins the release key itself")
        for device in devices:
            enrol(device, collector, public_key)

        step("Release: bundle, policy and the devices it is meant for")
        ci = {"ENVCHECK_COLLECTOR": collector.url, "ENVCHECK_TOKEN": collector.token("baseline:write")}
        run("envcheck", "push", RUN / "digits.envcheck", "--policy", "strict", "--for", "site=demo", env=ci)

        step("Every device captures itself, fetches the bundle, runs the model and reports")
        for device in devices:
            run("envcheck", "report", "--config", configuration(device))

        step("The fleet")
        run("envcheck-server", "device", "list", "--release", RELEASE, env=collector.environment)

        step("The gate, for the whole fleet")
        ci = {"ENVCHECK_COLLECTOR": collector.url, "ENVCHECK_TOKEN": collector.token("gate:read")}
        whole = run("envcheck", "gate", RELEASE, "--cohort", "site=demo", env=ci, expect=1)

        step("The gate, for the line whose devices are as in training")
        ready = run("envcheck", "gate", RELEASE, "--cohort", "site=demo,line=one", env=ci, expect=0)

    print(f"\nThe gate answered {whole} (fail) for the whole fleet and {ready} (pass) for line one,")
    print(f"in {time.monotonic() - began:.0f} s. What was made lies in {RUN.relative_to(ROOT)}/.")
    print("Next: envcheck capture, envcheck check, and the README.")
    return 0


def fleet() -> list[Device]:
    """Make the devices' environments (once) and return the devices."""
    step("Make the devices' environments (once)")
    devices = [
        Device("press-a", f"Python {SELF}, as in training", Path(sys.executable), "one"),
        Device(
            "press-b",
            f"Python {SELF}, {' '.join(OTHER_VERSIONS)}",
            environment("press-b", Path(getattr(sys, "_base_executable", sys.executable)), OTHER_VERSIONS),
            "two",
        ),
    ]
    for letter, (version, python) in zip("cd", other_pythons(), strict=False):
        name = f"press-{letter}"
        about = f"Python {version}, {' '.join(NEWEST[version])}"
        devices.append(Device(name, about, environment(name, python, NEWEST[version]), "two"))
    for device in devices:
        print(f"  {device.name}  {device.about}")
    return devices


def other_pythons() -> list[tuple[str, Path]]:
    """Find up to two Pythons of other versions on this machine: the oldest and the newest."""
    found: dict[str, Path] = {}
    for version in NEWEST:
        for candidate in (shutil.which(f"python{version}"), *pyenv(version)):
            if version != SELF and version not in found and candidate and is_python(Path(candidate), version):
                found[version] = Path(candidate)
    pairs = list(found.items())
    return pairs if len(pairs) <= 2 else [pairs[0], pairs[-1]]


def pyenv(version: str) -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted(str(path) for path in root.glob(f"versions/{version}.*/bin/python"))


def is_python(path: Path, version: str) -> bool:
    """Whether this is a Python of that version that can make virtual environments."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [path, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def environment(name: str, python: Path, packages: tuple[str, ...]) -> Path:
    """Make a device's virtual environment, if it is not there yet, and return its interpreter."""
    directory = DEMO / "devices" / name
    wanted = json.dumps([str(python), packages])
    made = directory / "made-from"
    interpreter = directory / "bin" / "python"
    if not (made.exists() and made.read_text() == wanted):
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", directory], check=True)
        subprocess.run(
            [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
            check=True,
            stderr=subprocess.DEVNULL if "PIP_CONFIG_FILE" in os.environ else None,
        )
        made.write_text(wanted)
    return interpreter


def release_key() -> str:
    run("envcheck", "key", "create", RUN / "release.pem")
    return captured("envcheck", "key", "show", RUN / "release.pem")


def configuration(device: Device) -> Path:
    return RUN / device.name / "config.yaml"


def enrol(device: Device, collector: Collector, public_key: str) -> None:
    """Write the device's configuration and enrol it with a one-time token that carries its labels."""
    configuration(device).parent.mkdir()
    lines = [
        f"device: {device.name}",
        f"python: {device.python}",
        "state_dir: state",
        f"collector: {collector.url}",
        f"release_keys: [{json.dumps(public_key)}]",
    ]
    configuration(device).write_text("\n".join(lines) + "\n")
    token = collector.token("enroll", "--uses", "1", "--label", "site=demo", "--label", f"line={device.line}")
    run(
        *("envcheck", "enroll", collector.url, "--config", configuration(device)),
        env={"ENVCHECK_TOKEN": token},
    )


class Collector:
    """A collector process on a free port of 127.0.0.1, its database below .demo/run."""

    def __init__(self) -> None:
        self.environment = {"ENVCHECK_SERVER_DATABASE": str(RUN / "collector.db")}
        self.ready = RUN / "collector.address"
        self.url = ""

    def __enter__(self) -> Collector:
        show("envcheck-server", "serve", "--port", "0")
        self.log = (RUN / "collector.log").open("wb")
        self.process = subprocess.Popen(
            [BIN / "envcheck-server", "serve", "--port", "0", "--ready-file", self.ready],
            env={**os.environ, **self.environment},
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + 30
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                print((RUN / "collector.log").read_text(errors="replace"), file=sys.stderr)
                raise SystemExit("the collector did not start")
            time.sleep(0.05)
        self.url = self.ready.read_text().strip()
        print(f"  listening on {self.url}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def token(self, scope: str, *options: str) -> str:
        """Make a token; the operator does this on the collector's machine."""
        command = ("envcheck-server", "token", "create", "--scope", scope, *options)
        return captured(*command, env=self.environment)


def step(title: str) -> None:
    step.number += 1  # type: ignore[attr-defined]
    print(f"\n{step.number}. {title}", flush=True)  # type: ignore[attr-defined]


step.number = 0  # type: ignore[attr-defined]


def show(*command: object) -> None:
    words = [str(word) for word in command]
    print("$ " + " ".join(word.replace(f"{ROOT}/", "") for word in words), flush=True)


def run(*command: object, env: dict[str, str] | None = None, expect: int = 0) -> int:
    """Show and run a command; end the demo when it answers otherwise than expected."""
    show(*command)
    done = subprocess.run(
        [BIN / str(command[0]), *(str(word) for word in command[1:])],
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        check=False,
    )
    if done.returncode != expect:
        raise SystemExit(f"the demo stops: exit {done.returncode} where {expect} was to be expected")
    return done.returncode


def captured(*command: object, env: dict[str, str] | None = None) -> str:
    """Run a command whose output is needed and is not for the screen (tokens)."""
    done = subprocess.run(
        [BIN / str(command[0]), *(str(word) for word in command[1:])],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the demo stops: {command[0]} {command[1]} failed\n{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
