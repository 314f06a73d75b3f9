from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.contract.evidence import Runtime
from envcheck.smoke.explain import Exit, explain
from envcheck.smoke.explain_text import innermost_call, python_stack, scrub
from envcheck.smoke.job import ChildResult, Failure

FAULT = """Fatal Python error: Segmentation fault

Current thread 0x00007f2a10a3b740 (most recent call first):
  File "<frozen importlib._bootstrap>", line 241 in _call_with_frames_removed
  File "/opt/app/lib/python3.11/site-packages/onnxruntime/capi/inference.py", line 220 in run
  File "/tmp/envcheck-smoke-x1/child.py", line 181 in repeat
"""


def seen(**changed: object) -> Exit:
    values: dict[str, object] = {
        "status": 0,
        "timed_out": False,
        "deadline_s": 60.0,
        "stage": "run model",
        **changed,
    }
    return Exit(**values)  # type: ignore[arg-type]


def failed(
    text: str, kind: str = "Fail", python: str = "3.11.7", module: str = "", **more: str
) -> ChildResult:
    failure = Failure(type=kind, text=text, module=module)
    return ChildResult(failure=failure, runtime=Runtime(python=python, **more), platform="x86_64-glibc2.36")


def test_all_done_is_ok() -> None:
    ending = explain(seen(stage="done"), ChildResult(done=True))
    assert (ending.status, ending.stage, ending.reason) == ("ok", "done", "")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGILL, "an illegal instruction"),
        (signal.SIGSEGV, "a segmentation fault"),
        (signal.SIGABRT, "an abort"),
        (signal.SIGBUS, "a bus error"),
        (signal.SIGSYS, "a refused system call"),
        (signal.SIGUSR1, "signal SIGUSR1"),
    ],
)
@pytest.mark.parametrize("through_a_shell", [False, True])
def test_a_signal_is_a_crash_with_its_stage(
    number: signal.Signals, words: str, through_a_shell: bool
) -> None:
    status = 128 + number if through_a_shell else -number
    ending = explain(seen(status=status), ChildResult())
    assert (ending.status, ending.stage, ending.signal) == ("crash", "run", number)
    assert words in ending.reason
    assert "'run model'" in ending.reason


def test_a_crash_names_the_innermost_python_call_without_its_directory() -> None:
    ending = explain(seen(status=-11, fault=FAULT), None)
    assert ending.reason.endswith("in run of capi/inference.py")
    assert innermost_call('  File "/tmp/x/child.py", line 3 in work\n') == "work of child.py"
    assert innermost_call("") == ""


def test_a_crash_keeps_its_python_stack_as_far_as_our_own_call() -> None:
    stack = ["run of capi/inference.py:220", "repeat of child.py:181"]
    assert explain(seen(status=-11, fault=FAULT), None).stack == stack
    deeper = FAULT + '  File "/tmp/envcheck-smoke-x1/child.py", line 90 in main\n'
    assert explain(seen(status=-4, fault=deeper), None).stack == stack
    assert explain(seen(status=-9, oom_killed=False, fault=""), None).stack == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/opt/app/lib/python3.11/site-packages/numpy/core/multiarray.py", "core/multiarray.py"),
        ("/usr/lib/python3/dist-packages/numpy/__init__.py", "numpy/__init__.py"),
        ("/usr/lib/python3.13t/ctypes/__init__.py", "ctypes/__init__.py"),
        ("/usr/lib/python3.8/threading.py", "threading.py"),
        # No package that has a name: where it lies is nobody's business.
        ("/home/ada/serve.py", "serve.py"),
        ("/tmp/envcheck-smoke-x1/child_values.py", "child_values.py"),
        ("serve.py", "serve.py"),
        ("", ""),
    ],
)
def test_a_file_is_told_with_its_package_and_without_its_place(path: str, told: str) -> None:
    assert python_stack(f'  File "{path}", line 7 in work\n') == [f"work of {told}:7"]


@given(st.text(max_size=600), st.text(max_size=600))
def test_any_dump_gives_a_short_and_inert_stack(file: str, function: str) -> None:
    stack = python_stack(
        f'Current thread 0x1 (most recent call first):\n  File "{file}", line 1 in {function}\n'
    )
    assert len(stack) <= 8
    assert all(call.isprintable() and len(call) < 150 and "::error" not in call for call in stack)


def test_a_kill_is_memory_only_when_the_kernel_counted_one() -> None:
    assert explain(seen(status=-9, oom_killed=True), None).status == "memory"
    unsure, other = (explain(seen(status=-9, oom_killed=known), None) for known in (None, False))
    assert (unsure.status, other.status) == ("crash", "crash")
    assert "perhaps out of memory" in unsure.hint
    assert "out of memory" not in other.hint


def test_the_deadline_outranks_the_kill_that_enforces_it() -> None:
    ending = explain(seen(status=-9, timed_out=True, oom_killed=True), None)
    assert (ending.status, ending.stage) == ("timeout", "run")
    assert ending.reason == "still at the stage 'run model' after 60 s, and was stopped"
    assert explain(seen(status=-signal.SIGXCPU), None).status == "timeout"


@pytest.mark.parametrize(
    "text", ["MemoryError: ", "bad_alloc", "Failed to allocate memory for requested buffer"]
)
def test_exceptions_for_want_of_memory_are_memory(text: str) -> None:
    assert explain(seen(status=3), failed(text, "RuntimeError")).status == "memory"
    assert explain(seen(status=-6, stderr=f"terminate called: std::{text}"), None).status == "memory"


@pytest.mark.parametrize(
    ("result", "reason", "hint"),
    [
        (
            failed("libcublas.so.12: cannot open shared object file: No such file", "ImportError"),
            "the library libcublas.so.12 is missing",
            "install the system package that provides libcublas.so.12",
        ),
        (
            failed("", "ModuleNotFoundError", "3.8.18", module="onnxruntime"),
            "this interpreter has no onnxruntime",
            "install it there: python -m pip install 'onnxruntime==1.19.2' (the newest for Python 3.8)",
        ),
        (
            failed("", "ModuleNotFoundError", "3.12.1", module="onnxruntime"),
            "this interpreter has no onnxruntime",
            "install it there: python -m pip install onnxruntime",
        ),
        (
            failed("", "ModuleNotFoundError", "3.12.1", module="flatbuffers.builder"),
            "the Python module flatbuffers.builder is missing",
            "install what provides flatbuffers there",
        ),
        (
            failed("/lib/libm.so.6: version `GLIBC_2.34' not found (required by /opt/x.so)", "ImportError"),
            "a library needs GLIBC 2.34, which is newer than this system's",
            "install an older build of the package, or a newer system image",
        ),
        (
            failed("numpy.core.multiarray failed to import", "ImportError"),
            "this onnxruntime was built for another major version of numpy",
            "install a numpy that fits there: python -m pip install 'numpy<2'",
        ),
        (
            failed("Could not find an implementation for Conv(11) node", "NotImplemented"),
            "this onnxruntime has no kernel for Conv (opset 11) on these types",
            "install a newer onnxruntime there, or export the model with other types",
        ),
    ],
)
def test_known_failures_say_what_to_do(result: ChildResult, reason: str, hint: str) -> None:
    ending = explain(seen(status=3, stage="import"), result)
    assert (ending.status, ending.stage, ending.reason, ending.hint) == ("error", "import", reason, hint)


OPSET = (
    "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions. "
    "Opset {} is under development and support for this is limited. Current official support for domain {} "
    "is till opset {}."
)
IR = "Unsupported model IR version: {}, max supported IR version: {}"
NONE_NEWER = "Python 3.8 can have no newer onnxruntime than 1.19.2: use a newer Python"


@pytest.mark.parametrize(
    ("text", "python", "installed", "ways"),
    [
        (
            OPSET.format(24, "ai.onnx", 21),
            "3.8.18",
            "1.19.2",
            [
                "opset 24 of ai.onnx needs onnxruntime 1.24.1 or later",
                "Python 3.8 can have 1.19.2 at most: use Python 3.11 or later",
                "or export the model with opset 21 or lower",
            ],
        ),
        (
            OPSET.format(23, "ai.onnx", 21),
            "3.9.2",
            "1.19.2",
            ["needs onnxruntime 1.23.0 or later", "use Python 3.10 or later"],
        ),
        (
            OPSET.format(23, "ai.onnx", 19),
            "3.12.1",
            "1.16.3",
            ["needs onnxruntime 1.23.0 or later", "python -m pip install 'onnxruntime>=1.23.0', or export"],
        ),
        (
            OPSET.format(99, "ai.onnx", 28),
            "3.12.1",
            "1.32.0",
            ["install a newer onnxruntime there, or export the model with opset 28 or lower"],
        ),
        (
            OPSET.format(6, "ai.onnx.ml", 5),
            "3.8.18",
            "1.19.2",
            [f"{NONE_NEWER}, or export the model with opset 5 or lower"],
        ),
        (
            IR.format(11, 10),
            "3.8.18",
            "1.19.2",
            [
                "IR version 11 needs onnxruntime 1.23.0 or later",
                "or save the model with IR version 10 or lower",
            ],
        ),
    ],
)
def test_a_model_that_is_too_new_is_told_what_would_support_it(
    text: str, python: str, installed: str, ways: list[str]
) -> None:
    ending = explain(seen(status=3), failed(text, python=python, onnxruntime=installed))
    assert ending.status == "error"
    assert "this onnxruntime supports up to" in ending.reason
    assert [way for way in ways if way not in ending.hint] == []


def test_an_interpreter_that_never_came_to_run_the_child_shows_its_last_words() -> None:
    ending = explain(seen(status=2, stage="", stderr="usage: x\nno such option: -I\n"), None)
    assert (ending.status, ending.stage) == ("error", "start")
    assert ending.reason.endswith("before it ran anything: no such option: -I")


def test_ending_well_without_having_done_the_work_is_an_error() -> None:
    assert explain(seen(status=0), ChildResult()).status == "error"
    assert explain(seen(status=0), None).status == "error"


@given(st.text(max_size=400))
def test_scrubbed_text_is_short_on_one_line_and_stable(text: str) -> None:
    once = scrub(text)
    assert len(once) <= 300
    assert "\n" not in once
    assert scrub(once) == once


@given(st.lists(st.text("abcdefg0123._-", min_size=1, max_size=12), min_size=2, max_size=6))
def test_scrubbed_text_holds_no_directory(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert scrub(f"Load model from {path} failed") == f"Load model from {parts[-1]} failed"


def test_scrubbed_text_is_the_same_for_two_runs() -> None:
    lines = [
        f"\x1b[1;31m2026-01-0{day} 10:00:0{day}.123 [E] /tmp/run-{day}/m.onnx at 0x7ffe{day}234: bad\x1b[m"
        for day in (1, 2)
    ]
    assert scrub(lines[0]) == scrub(lines[1]) == "[E] m.onnx at 0x...: bad"


def test_a_hang_in_an_address_space_that_is_too_small_is_told_as_that() -> None:
    """Threads for which there is no memory are waited for: one in many imports under 100 MB ends so."""
    hung = seen(status=-9, timed_out=True, stage="import", deadline_s=300)
    tight = ChildResult(address_space_mb=97)
    ending = explain(hung, tight)
    assert ending.status == "memory"
    assert (
        ending.reason
        == "stopped after 300 s at the stage 'import' with an address space of 97 MiB: too little for it"
    )
    assert explain(hung, ChildResult(address_space_mb=4096)).status == "timeout"
    assert explain(seen(status=-9, timed_out=True, stage="run model"), tight).status == "timeout"


@pytest.mark.parametrize(
    ("limit", "status"), [(200, "memory"), (300, "memory"), (400, "crash"), (None, "crash")]
)
def test_a_crash_where_hardly_any_address_space_was_left_is_memory(limit: int | None, status: str) -> None:
    result = ChildResult(address_space_mb=limit, address_space_peak_mb=199.5)
    assert explain(seen(status=-signal.SIGSEGV), result).status == status
    assert explain(seen(status=-signal.SIGILL), result).status == "crash"


def test_a_limit_is_told_where_memory_ran_out() -> None:
    failure = Failure(type="RuntimeError", text="bad_alloc")
    ending = explain(seen(status=3), ChildResult(failure=failure, address_space_mb=400))
    assert ending.reason == "ran out of memory (bad_alloc), with an address space of 400 MiB"
    assert ending.hint.startswith("raise the limit (--memory")
    assert "limit" not in explain(seen(status=3), ChildResult(failure=failure)).hint
