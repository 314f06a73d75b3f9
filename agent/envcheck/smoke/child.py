"""The smoke child: runs in the interpreter that serves the model and does what one job asks.

    python child.py WORKDIR

Self-contained on purpose, standard library only at import, Python 3.8+: the target knows nothing of
envcheck. More files lie beside it: child_bounds.py (its limits), child_values.py (what goes in and comes
out), child_timings.py, child_look.py (what the process holds) and child_isa.py (what its CPU has). Reads
WORKDIR/limits.json, imports the libraries, and reads WORKDIR/job.json when it has come; announces each stage
as one line on standard output; writes raw outputs and result.json into WORKDIR/out. Whatever a library
prints goes to standard error. Inference runs on the main thread, so that a crash shows its Python stack in
WORKDIR/out/fault.txt.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import sys
import time
from importlib import util
from typing import Any, Callable, Dict, List, Optional, Tuple

MARK = "@envcheck "
LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"


def beside(name: str) -> Any:
    """Load a file that lies beside this one: its directory is not on the path, where it would shadow."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = util.spec_from_file_location("envcheck_" + name, path)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


look, values = beside("child_look"), beside("child_values")
bounds, isa, timings = beside("child_bounds"), beside("child_isa"), beside("child_timings")
Outputs = Dict[str, Any]


def main(workdir: str) -> int:
    """Do the job in `workdir`; 0 when all of it was done, 3 when an exception ended it."""
    announce = take_over_stdout()
    child = Child(workdir, announce)
    faulthandler.enable(open(os.path.join(child.out, "fault.txt"), "w"))  # noqa: SIM115 - as long as we live
    try:
        bounds.bound(look.read_json(os.path.join(workdir, "limits.json")))
        child.work()
    except BaseException as error:  # noqa: BLE001 - whatever ended it is the evidence
        child.result["failure"] = describe(error)
        child.save()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 3
    announce("done")
    return 0


def take_over_stdout() -> Callable[[str], None]:
    """Keep standard output for stage lines and send what anything else prints there to standard error."""
    sys.stdout.flush()
    lines = os.dup(1)
    os.dup2(2, 1)

    def announce(stage: str) -> None:
        os.write(lines, (MARK + stage + "\n").encode("ascii", "replace"))

    announce("start")
    return announce


def describe(error: BaseException) -> Dict[str, str]:
    """Turn an exception into what the agent explains."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"type": type(error).__name__, "text": str(error)[:4000], "module": module or ""}


class TooLarge(Exception):
    """The outputs exceed what this child may write."""


class Child:
    """The job at work. `result` is rewritten whole after every session."""

    def __init__(self, workdir: str, announce: Callable[[str], None]) -> None:
        self.workdir = workdir
        self.out = os.path.join(workdir, "out")
        self.job: Dict[str, Any] = {}
        self.announce = announce
        self.result: Dict[str, Any] = {"sessions": []}
        self.written = 0
        self.before = set(sys.modules)
        self.np: Any = None
        self.ort: Any = None

    def work(self) -> None:
        """Import, run every session, look at what was loaded."""
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            # Kept before anything is loaded: where it is too small, nothing else will be.
            self.result["address_space_mb"] = limit // 2**20
            self.save()
        self.import_libraries()
        self.job = self.await_job()
        for number, spec in enumerate(self.job["sessions"]):
            entry: Dict[str, Any] = {"name": spec["name"]}
            self.result["sessions"].append(entry)
            try:
                self.run_session(number, spec, entry)
            except Exception as error:
                entry["error"] = f"{type(error).__name__}: {error}"[:2000]
                if not spec["optional"]:
                    raise
            self.save()
        if self.job["libraries"]:
            self.announce("look")
            libraries = look.loaded_libraries()
            self.result["libraries"] = look.describe_libraries(libraries)
            self.result["thread_pools"] = look.thread_pools(libraries)
            self.result["missing"] = self.missing()
        if self.job["distributions"]:
            self.result["distributions"] = look.loaded_distributions(self.before)
        self.result["done"] = True
        self.save()

    def await_job(self) -> Dict[str, Any]:
        """Wait for the job, which comes last of all; the agent stops this process at the deadline."""
        path = os.path.join(self.workdir, "job.json")
        while not os.path.exists(path):
            time.sleep(0.001)
        return dict(look.read_json(path))

    def missing(self) -> Dict[str, List[str]]:
        """Name the libraries for want of which a provider that this build has did not come to be."""
        folder = os.path.join(os.path.dirname(self.ort.__file__), "capi")
        lost = set()
        for number, entry in enumerate(self.result["sessions"]):
            asked = self.job["sessions"][number]["providers"]
            lost |= set(asked) - set(entry.get("registered", asked))
        available = set(self.result["available"])
        return {name: look.missing_libraries(folder, name) for name in sorted(lost & available)}

    def save(self) -> None:
        """Write the result whole, or leave the one before."""
        if "address_space_mb" in self.result:
            self.result["address_space_peak_mb"] = look.peak_address_space_mb()
        path = os.path.join(self.out, "result.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.result, file)
        os.replace(path + ".new", path)

    def import_libraries(self) -> None:
        """Import numpy and onnxruntime and note what they are."""
        self.announce("import")
        runtime: Dict[str, Any] = {
            "python": sys.version.split()[0],
            "implementation": sys.implementation.name,
        }
        self.result.update(runtime=runtime, platform=look.platform(), loader=isa.loader_features())
        begin = time.perf_counter()
        # Where both are missing, onnxruntime is the one to ask for. Where it is not, numpy goes first:
        # onnxruntime, which imports it, would only say that it failed.
        names = ["numpy", "onnxruntime"] if util.find_spec("onnxruntime") else ["onnxruntime", "numpy"]
        modules = {name: importlib.import_module(name) for name in names}
        numpy, onnxruntime = modules["numpy"], modules["onnxruntime"]
        self.np, self.ort = numpy, onnxruntime
        self.result["import_ms"] = timings.milliseconds(begin)
        self.result["available"] = list(onnxruntime.get_available_providers())
        runtime.update(
            onnxruntime=onnxruntime.__version__,
            onnxruntime_build=look.build_info(onnxruntime),
            numpy=numpy.__version__,
            cpu_features=isa.cpu_features(),
        )
        self.save()

    def run_session(self, number: int, spec: Dict[str, Any], entry: Dict[str, Any]) -> None:
        """Make one session and run it; `entry` fills up as things become known."""
        self.announce("session " + spec["name"])
        arrays = [(name, self.load(name)) for name in spec["inputs"]]
        session = self.make_session(spec, entry)
        names = values.readable_outputs(session)
        begun: Outputs = {}
        for position, (inputs, feed) in enumerate(arrays):
            self.announce(f"run {spec['name']}")
            feeds = values.slices(feed, spec["slices"], spec["sliced"])
            stem = f"{number}-{position}"
            outputs = self.repeat(session, names, feeds, inputs, stem, spec, entry)
            begun = begun or outputs
            if "placement" not in entry and spec["placement"]:
                entry["placement"] = self.prove_placement(session, spec["providers"][0])
        entry["peak_memory_mb"] = look.peak_memory_mb()
        timing = spec["timing"]
        if timing is not None:
            self.announce(f"run {spec['name']}, timed")
            first = values.slices(arrays[0][1], spec["slices"], spec["sliced"])[0]
            last: List[Any] = []

            def run() -> None:
                nonlocal last
                last = session.run(list(names), first)

            # A run that alone took longer than all of the warm-up may take has warmed the session.
            if entry["first_run_ms"] < timing["warmup_s"] * 1000:
                timings.warm_up(run, timing)
            entry["latencies_ms"] = timings.take_latencies(run, timing)
            # The last timed run shows whether runs repeat, also where there was no other.
            both = (begun, values.flatten(self.np, names, [last]))
            self.keep_changed(both, arrays[0][0], f"{number}-0", entry["repeats"], entry)

        if spec["apart"]:
            self.announce(f"run {spec['name']}, one by one")
            self.run_apart(session, names, arrays[0], f"{number}-0", spec, entry)

    def run_apart(
        self,
        session: Any,
        names: Dict[str, str],
        golden: Tuple[str, Dict[str, Any]],
        stem: str,
        spec: Dict[str, Any],
        entry: Dict[str, Any],
    ) -> None:
        """Run some samples one by one; a model that takes none so gives no result, which is no fault."""
        feeds = values.one_by_one(golden[1], spec["apart"], spec["rows"])
        try:
            outputs = values.flatten(self.np, names, [session.run(list(names), feed) for feed in feeds])
        except Exception as error:  # noqa: BLE001 - onnxruntime's own types are not known by name
            print(f"one by one: {type(error).__name__}: {error}", file=sys.stderr)
            return
        count = entry["repeats"] + 1
        kept = {
            name: self.write(f"{stem}-{count}-{number}.npy", array)
            for number, (name, array) in enumerate(outputs.items())
        }
        entry["apart"] = {"inputs": golden[0], "repeat": count, "outputs": kept}

    def load(self, name: str) -> Dict[str, Any]:
        """Read one inputs file; a pickle inside is refused by numpy."""
        with self.np.load(self.job["inputs"][name], allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    def make_session(self, spec: Dict[str, Any], entry: Dict[str, Any]) -> Any:
        """Make the session as `spec` says and note what became of it."""
        options = self.ort.SessionOptions()
        level = LEVELS[spec["optimisation"]]
        options.graph_optimization_level = getattr(self.ort.GraphOptimizationLevel, level)
        options.intra_op_num_threads = spec["threads"]
        for key, value in sorted(spec["entries"].items()):
            options.add_session_config_entry(key, value)
        entry["options"] = {
            "graph_optimization_level": level,
            "intra_op_num_threads": str(spec["threads"]),
            **spec["entries"],
        }
        if spec["placement"]:
            self.watch_placement(options)
        begin = time.perf_counter()
        session = self.ort.InferenceSession(
            self.job["models"][spec["model"]], options, providers=list(spec["providers"])
        )
        entry["session_ms"] = timings.milliseconds(begin)
        entry["registered"] = list(session.get_providers())
        return session

    def watch_placement(self, options: Any) -> None:
        """Have the session record where nodes go: by assignment where it can, else by profiling."""
        if hasattr(self.ort.InferenceSession, "get_provider_graph_assignment_info"):
            options.add_session_config_entry(RECORD_PLACEMENT, "1")
        else:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self.out, "profile")

    def prove_placement(self, session: Any, intended: str) -> Dict[str, Any]:
        """Count nodes by provider and operator, and name heavy ones that are not where they were intended."""
        if hasattr(session, "get_provider_graph_assignment_info"):
            source, nodes = "assignment", list(look.assigned_nodes(session))
        else:
            path = session.end_profiling()
            with open(path, encoding="utf-8") as file:
                source, nodes = "profile", list(look.profiled_nodes(json.load(file)))
            os.unlink(path)
        astray = look.astray_nodes(nodes, set(self.job["heavy"]), intended)
        return {"source": source, "nodes": look.count_nodes(nodes), "astray": astray}

    def repeat(
        self,
        session: Any,
        names: Dict[str, str],
        feeds: List[Dict[str, Any]],
        inputs: str,
        stem: str,
        spec: Dict[str, Any],
        entry: Dict[str, Any],
    ) -> Outputs:
        """Run one inputs as often as asked; keep the first outputs and whatever later ones differ.

        Returns what the first run gave for the first slice.
        """
        first: Optional[Outputs] = None
        first_slice: Outputs = {}
        wanted = list(names)
        for count in range(spec["repeats"]):
            begin = time.perf_counter()
            parts = [session.run(wanted, feeds[0])]
            entry.setdefault("first_run_ms", timings.milliseconds(begin))
            parts += [session.run(wanted, feed) for feed in feeds[1:]]
            outputs = values.flatten(self.np, names, parts)
            self.keep_changed((first, outputs), inputs, stem, count, entry)
            if first is None:
                first, first_slice = outputs, values.flatten(self.np, names, parts[:1])
        return first_slice

    def keep_changed(
        self,
        runs: Tuple[Optional[Outputs], Outputs],
        inputs: str,
        stem: str,
        count: int,
        entry: Dict[str, Any],
    ) -> None:
        """Write those outputs of run number `count` that are not the first run's, all when there was none."""
        first, outputs = runs
        kept = {}
        # A part of a sequence that is not there in a later run is kept as nothing.
        names = dict.fromkeys([*(first or ()), *outputs])
        for number, name in enumerate(names):
            array = outputs[name] if name in outputs else self.np.zeros(0)
            if first is None or name not in first or not values.same(first[name], array):
                kept[name] = self.write(f"{stem}-{count}-{number}.npy", array)
        if kept:
            entry.setdefault("runs", []).append({"inputs": inputs, "repeat": count, "outputs": kept})
        entry["repeats"] = count + 1

    def write(self, name: str, array: Any) -> Dict[str, str]:
        """Write one output as .npy, strings as fixed-width text: nothing is ever pickled."""
        dtype = "string" if array.dtype.kind in "OU" else str(array.dtype.name)
        if array.dtype == object:
            array = array.astype(self.np.str_)
        self.written += array.nbytes
        if self.written > self.job["output_limit_mb"] * 2**20:
            raise TooLarge(f"the outputs exceed the limit of {self.job['output_limit_mb']} MB")
        with open(os.path.join(self.out, name), "wb") as file:
            self.np.save(file, array, allow_pickle=False)
        return {"file": name, "dtype": dtype}


if __name__ == "__main__":
    # Without -I the directory of this file would come first on the path.
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]
    status = main(sys.argv[1])
    sys.stderr.flush()
    # The work is on disk: what libraries do while the interpreter is torn down is no evidence of the model.
    os._exit(status)
