from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.alive import gone
from support.tiny_models import SAMPLES, classifier, model_bytes, npz, reference_scores, value

from envcheck.facts.host import Target
from envcheck.smoke.job import QUICK_TIMING, ChildRun, Job, SessionSpec
from envcheck.smoke.outputs import load_run
from envcheck.smoke.supervise import run_job

Run = Callable[..., ChildRun]
CPU = ["CPUExecutionProvider"]

CRASHING = """
import ctypes
__version__ = "0"
class SessionOptions: pass
class GraphOptimizationLevel: ORT_ENABLE_ALL = 0
def get_available_providers(): return []
class InferenceSession:
    def __init__(self, *args, **options):
        ctypes.string_at(0)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the classifier, or another model, with a job's settings."""

    def work(
        target: Target | None = None,
        deadline_s: float = 60,
        model: bytes = b"",
        inputs: Mapping[str, bytes] | None = None,
        session: Mapping[str, object] | None = None,
        **settings: object,
    ) -> ChildRun:
        workdir = tmp_path / "work"
        workdir.mkdir()
        (tmp_path / "m.onnx").write_bytes(model or classifier())
        files = dict(inputs or {"golden": npz({"x": SAMPLES})})
        for name, data in files.items():
            (tmp_path / f"{name}.npz").write_bytes(data)
        chosen = {
            "name": "model",
            "model": "model",
            "inputs": list(files),
            "providers": CPU,
            **(session or {}),
        }
        job = Job(
            models={"model": str(tmp_path / "m.onnx")},
            inputs={name: str(tmp_path / f"{name}.npz") for name in files},
            sessions=[SessionSpec(**chosen)],  # type: ignore[arg-type]
            **settings,  # type: ignore[arg-type]
        )
        return run_job(job, target or Target(), deadline_s, workdir)

    return work


def fake_package(directory: Path, code: str) -> Target:
    """A target whose onnxruntime is a file of ours."""
    (directory / "onnxruntime.py").write_text(code, encoding="ascii")
    return Target(environ={"PYTHONPATH": str(directory)})


def test_every_inputs_and_repeat_is_run_and_only_what_differs_is_kept(run: Run) -> None:
    files = {name: npz({"x": SAMPLES + move}) for name, move in (("golden", 0), ("moved", np.float32(1e-3)))}
    done = run(inputs=files, session={"repeats": 3})
    assert done.ending.status == "ok"
    session = done.result.session("model")
    assert session is not None
    assert (session.repeats, [saved.inputs for saved in session.runs]) == (3, ["golden", "moved"])
    golden = session.first_run("golden")
    assert golden is not None
    assert np.allclose(load_run(done, golden)["y"], reference_scores(), atol=1e-6)
    assert session.differing_outputs("golden") == set()


def restless(batch: int) -> bytes:
    """A model that gives something else in every run."""
    return model_bytes(
        [
            helper.make_node("RandomUniform", [], ["r"], shape=[batch, 8]),
            helper.make_node("Add", ["x", "r"], ["y"]),
        ],
        [value("x", TensorProto.FLOAT, [batch, 8])],
        [value("y", TensorProto.FLOAT, [batch, 8])],
    )


def test_repeats_that_differ_are_kept_beside_the_first(run: Run) -> None:
    session = run(model=restless(16), session={"repeats": 3}).result.sessions[0]
    assert session.differing_outputs("golden") == {"y"}
    assert [saved.repeat for saved in session.runs] == [0, 1, 2]


@pytest.mark.parametrize("slices", [1, 4])
def test_a_single_run_is_compared_with_the_last_timed_one(run: Run, slices: int) -> None:
    session = {"timing": QUICK_TIMING, "slices": slices, "sliced": ["x"]}
    found = run(model=restless(16 // slices), session=session).result.sessions[0]
    assert (found.repeats, found.differing_outputs("golden")) == (2, {"y"})


@pytest.mark.parametrize("slices", [1, 4])
def test_timed_runs_that_give_the_same_are_told_as_the_same(run: Run, slices: int) -> None:
    session = {"timing": QUICK_TIMING, "slices": slices, "sliced": ["x"]}
    found = run(session=session).result.sessions[0]
    assert (found.repeats, found.differing_outputs("golden")) == (2, set())


def test_only_what_the_job_asks_for_is_gathered(run: Run) -> None:
    result = run().result
    assert (result.libraries, result.distributions, result.sessions[0].latencies_ms) == ([], [], [])
    assert result.sessions[0].placement.source == "none"


def test_loaded_distributions_and_libraries_are_named(run: Run) -> None:
    result = run(libraries=True, distributions=True).result
    assert result.distributions == ["numpy", "onnxruntime"]
    found = {library.name.partition(".")[0]: library.build_id for library in result.libraries}
    assert set(found) >= {"libc", "libstdc++", "onnxruntime_pybind11_state"}
    assert len(found["onnxruntime_pybind11_state"]) == 40


def test_a_segmentation_fault_is_told_with_its_stage_and_call(run: Run, tmp_path: Path) -> None:
    done = run(fake_package(tmp_path, CRASHING))
    assert (done.ending.status, done.ending.stage, done.ending.signal) == ("crash", "session", signal.SIGSEGV)
    assert "in string_at of ctypes/__init__.py" in done.ending.reason
    assert done.result.runtime.onnxruntime == "0"
    assert [re.sub(r"\d+$", "N", call) for call in done.ending.stack] == [
        "string_at of ctypes/__init__.py:N",
        "__init__ of onnxruntime.py:N",
        "make_session of child.py:N",
    ]
    assert done.ending.stack[1].endswith(f":{CRASHING.splitlines().index('        ctypes.string_at(0)') + 1}")


BESIDE_A_THREAD = CRASHING.replace(
    "import ctypes",
    """import ctypes, threading
def waiting(): threading.Event().wait()
threading.Thread(target=waiting, daemon=True).start()""",
)


def test_a_stack_is_that_of_the_thread_that_crashed(run: Run, tmp_path: Path) -> None:
    ending = run(fake_package(tmp_path, BESIDE_A_THREAD)).ending
    assert ending.reason.endswith("in string_at of ctypes/__init__.py")
    assert [call.partition(":")[0] for call in ending.stack][1:] == [
        "__init__ of onnxruntime.py",
        "make_session of child.py",
    ]


DEEP = CRASHING.replace(
    "        ctypes.string_at(0)",
    """        exec(compile("def f(n):\\n  f(n - 1) if n else __import__('ctypes').string_at(0)",
                     "/home/ada/" + "\\x1b]0;" + "::error::" + "n" * 900 + ".py", "exec"), globals())
        f(30)""",
)


def test_a_stack_is_bounded_and_inert(run: Run, tmp_path: Path) -> None:
    stack = run(fake_package(tmp_path, DEEP)).ending.stack
    assert len(stack) == 8
    assert all(len(call) < 150 and call.isprintable() and call.isascii() for call in stack)
    assert all("ada" not in call and "::error" not in call for call in stack)
    assert "n" * 20 in stack[1]


def test_a_missing_library_is_named(run: Run, tmp_path: Path) -> None:
    code = "import ctypes; ctypes.CDLL('libnothere.so.7')"
    ending = run(fake_package(tmp_path, code)).ending
    assert (ending.status, ending.stage, ending.reason) == (
        "error",
        "import",
        "the library libnothere.so.7 is missing",
    )


@pytest.mark.parametrize(
    ("body", "status", "number"),
    [
        ("kill -ILL $$", "crash", signal.SIGILL),
        ("kill -SEGV $$", "crash", signal.SIGSEGV),
        ("sh -c 'kill -ILL $$'; exit $?", "crash", signal.SIGILL),
        ("exit 7", "error", None),
        ("exit 0", "error", None),
    ],
)
def test_an_interpreter_that_dies_is_evidence(
    run: Run, wrapper: Callable[[str], str], body: str, status: str, number: int | None
) -> None:
    ending = run(Target(wrapper(body))).ending
    assert (ending.status, ending.stage, ending.signal) == (status, "start", number)


def test_a_wrapper_serves_as_interpreter(run: Run, wrapper: Callable[[str], str]) -> None:
    done = run(Target(wrapper(f'echo noise; exec {Target().python} "$@"')))
    assert done.ending.status == "ok"
    assert "noise" in done.stderr


def test_a_hang_ends_at_the_deadline_with_all_it_started(run: Run, wrapper: Callable[[str], str]) -> None:
    begin = time.monotonic()
    done = run(Target(wrapper("sleep 300 & echo $! >&2; wait")), deadline_s=0.5)
    assert time.monotonic() - begin < 10
    assert done.ending.status == "timeout"
    grandchild = int(done.stderr.strip())
    assert gone(grandchild)


def test_a_process_left_behind_with_our_pipes_does_not_hold_us_up(
    run: Run, wrapper: Callable[[str], str]
) -> None:
    begin = time.monotonic()
    run(Target(wrapper("sleep 300 &\nexit 0")), deadline_s=60)
    assert time.monotonic() - begin < 10


def test_a_model_that_never_ends_is_stopped_in_its_run(run: Run) -> None:
    done = run(model=endless(), deadline_s=3)
    assert (done.ending.status, done.ending.stage) == ("timeout", "run")


def test_endless_output_is_bounded(run: Run, wrapper: Callable[[str], str]) -> None:
    done = run(Target(wrapper("yes a-line-of-noise >&2")), deadline_s=1)
    assert done.ending.status == "timeout"
    assert len(done.stderr) <= 64 * 1024


def test_memory_is_bounded_where_the_job_says_so(run: Run) -> None:
    done = run(model=hungry(), memory_limit_mb=3000)
    assert done.ending.status == "memory"


def test_outputs_are_bounded(run: Run) -> None:
    inputs = {"golden": npz({"x": np.zeros((70000, 8), np.float32)})}
    done = run(inputs=inputs, output_limit_mb=1)
    assert (done.ending.status, done.ending.reason) == ("error", "the outputs exceed the limit of 1 MB")
    assert "fewer samples" in done.ending.hint


def test_the_child_lowers_its_priority_and_leaves_no_core(run: Run, tmp_path: Path) -> None:
    code = """
import os, resource, sys
core = resource.getrlimit(resource.RLIMIT_CORE)[0]
adjusted = open("/proc/self/oom_score_adj").read().strip()
raise ValueError("%d %d %s %d" % (os.nice(0), core, adjusted, os.getpid() == os.getpgid(0)))
"""
    failure = run(fake_package(tmp_path, code)).result.failure
    assert failure is not None
    niceness, core, adjusted, leads = failure.text.split()
    assert int(niceness) >= 10
    assert (core, adjusted, leads) == ("0", "1000", "1")


def test_the_child_dies_with_the_agent(tmp_path: Path) -> None:
    """The agent is killed as the kernel would do it: nothing in it can clean up."""
    told = tmp_path / "pid"
    code = f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()) + ' ')\ntime.sleep(300)"
    (tmp_path / "onnxruntime.py").write_text(code, encoding="ascii")
    (tmp_path / "work").mkdir()
    agent = f"""
from pathlib import Path
from envcheck.errors import BadInput
from envcheck.facts.host import Target
from envcheck.smoke.job import Job
from envcheck.smoke.supervise import run_job
target = Target(environ={{"PYTHONPATH": {str(tmp_path)!r}}})
run_job(Job(models={{}}, inputs={{}}, sessions=[]), target, 300, Path({str(tmp_path / "work")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", agent], env=dict(os.environ)) as process:
        for _ in range(500):
            if told.exists() and told.read_text().endswith(" "):
                break
            time.sleep(0.02)
        process.kill()
    assert gone(int(told.read_text()))


def test_the_child_sees_only_the_configured_variables(run: Run, tmp_path: Path) -> None:
    code = "import os; raise ValueError(' '.join(sorted(os.environ)))"
    failure = run(fake_package(tmp_path, code)).result.failure
    assert failure is not None
    assert set(failure.text.split()) - {"LC_CTYPE"} == {"PATH", "PYTHONPATH"}


def test_our_own_modules_do_not_shadow_those_of_the_target(run: Run, tmp_path: Path) -> None:
    code = "import sys; raise ValueError(' '.join(sys.path))"
    failure = run(fake_package(tmp_path, code)).result.failure
    assert failure is not None
    assert str(tmp_path / "work") not in failure.text.split()


def test_an_optional_session_may_fail(run: Run) -> None:
    done = run(model=b"not a model", session={"optional": True})
    assert done.ending.status == "ok"
    assert "InvalidProtobuf" in done.result.sessions[0].error


def test_stages_are_told_as_they_come(tmp_path: Path) -> None:
    told: list[str] = []
    workdir = tmp_path / "work"
    workdir.mkdir()
    run_job(Job(models={}, inputs={}, sessions=[]), Target(), 60, workdir, progress=told.append)
    assert told == ["start", "import", "done"]


def endless() -> bytes:
    """A loop over a condition that stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["s", "s"], ["t"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("s", TensorProto.FLOAT, None),
        ],
        [value("on", TensorProto.BOOL, []), value("t", TensorProto.FLOAT, None)],
    )
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    return model_bytes(
        [
            helper.make_node("Constant", [], ["go"], value=true),
            helper.make_node("Loop", ["", "go", "x"], ["y"], body=body),
        ],
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value("y", TensorProto.FLOAT, ["n", 8])],
    )


def hungry() -> bytes:
    """A tensor of 14 GB."""
    size = helper.make_tensor("size", TensorProto.INT64, [2], [60000, 60000])
    return model_bytes(
        [
            helper.make_node("Constant", [], ["size"], value=size),
            helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", ["x", "zero"], ["y"]),
        ],
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value("y", TensorProto.FLOAT, ["n", 8])],
    )
