"""The smoke child: runs in the interpreter that serves the model and does what one job asks.

    python child.py WORKDIR

Self-contained on purpose, standard library only at import, Python 3.8+: the target knows nothing of
envcheck. Reads WORKDIR/job.json; announces each stage as one line on standard output; writes raw outputs
and result.json into WORKDIR/out. Whatever a library prints goes to standard error. Inference runs on the
main thread, so that a crash shows its Python stack in WORKDIR/out/fault.txt.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import re
import resource
import struct
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

MARK = "@envcheck "
LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
# What Python can be handed: tensors whose elements numpy knows.
READABLE = re.compile(r"tensor\((float16|float|double|u?int(8|16|32|64)|bool|string|complex(64|128))\)")
Outputs = List[Any]


class Unusable(Exception):
    """The model or the inputs ask for something that this child does not do; the text says what."""


def main(workdir: str) -> int:
    """Do the job in `workdir`; 0 when all of it was done, 3 when an exception ended it."""
    announce = take_over_stdout()
    out = os.path.join(workdir, "out")
    faulthandler.enable(open(os.path.join(out, "fault.txt"), "w"))  # noqa: SIM115 - for as long as we live
    with open(os.path.join(workdir, "job.json"), encoding="utf-8") as file:
        order = json.load(file)
    child = Child(order["job"], out, announce)
    try:
        bound(order["limits"])
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


def bound(limits: Dict[str, Any]) -> None:
    """Bound this process before anything large is loaded; what the platform refuses is left out."""
    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
    ]
    soft = limits.get("soft", {})
    wanted[:0] = [(getattr(resource, "RLIMIT_" + name.upper()), value) for name, value in soft.items()]
    for which, value in wanted:
        if value < 0:
            continue
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(which, (value, hard))
    if limits.get("affinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, limits["affinity"])
    with suppress(OSError):
        os.nice(limits["nice"])
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    die_with_parent()


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the agent dies (PR_SET_PDEATHSIG)."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


def describe(error: BaseException) -> Dict[str, str]:
    """Turn an exception into what the agent explains."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"type": type(error).__name__, "text": str(error)[:4000], "module": module or ""}


class TooLarge(Exception):
    """The outputs exceed what this child may write."""


class Child:
    """The job at work. `result` is rewritten whole after every session."""

    def __init__(self, job: Dict[str, Any], out: str, announce: Callable[[str], None]) -> None:
        self.job = job
        self.out = out
        self.announce = announce
        self.result: Dict[str, Any] = {"sessions": []}
        self.written = 0
        self.before = set(sys.modules)
        self.np: Any = None
        self.ort: Any = None

    def work(self) -> None:
        """Import, run every session, look at what was loaded."""
        self.import_libraries()
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
            self.result["libraries"] = loaded_libraries()
        if self.job["distributions"]:
            self.result["distributions"] = loaded_distributions(self.before)
        self.result["done"] = True
        self.save()

    def save(self) -> None:
        """Write the result whole, or leave the one before."""
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
        self.result.update(runtime=runtime, platform=platform())
        begin = time.perf_counter()
        # onnxruntime first: where both are missing, it is the one to ask for.
        onnxruntime = importlib.import_module("onnxruntime")
        numpy = importlib.import_module("numpy")
        self.np, self.ort = numpy, onnxruntime
        self.result["import_ms"] = milliseconds(begin)
        self.result["available"] = list(onnxruntime.get_available_providers())
        runtime.update(
            onnxruntime=onnxruntime.__version__,
            onnxruntime_build=build_info(onnxruntime),
            numpy=numpy.__version__,
            cpu_features=cpu_features(),
        )
        self.save()

    def run_session(self, number: int, spec: Dict[str, Any], entry: Dict[str, Any]) -> None:
        """Make one session and run it; `entry` fills up as things become known."""
        self.announce("session " + spec["name"])
        arrays = [(name, self.load(name)) for name in spec["inputs"]]
        session = self.make_session(spec, entry)
        names = readable_outputs(session)
        begun: Outputs = []
        for position, (inputs, feed) in enumerate(arrays):
            self.announce(f"run {spec['name']}")
            feeds = slices(feed, spec["slices"], spec["sliced"])
            stem = f"{number}-{position}"
            outputs = self.repeat(session, names, feeds, inputs, stem, spec, entry)
            begun = begun or outputs
            if "placement" not in entry and spec["placement"]:
                entry["placement"] = self.prove_placement(session)
        entry["peak_memory_mb"] = peak_memory_mb()
        timing = spec["timing"]
        if timing is not None:
            self.announce(f"run {spec['name']}, timed")
            first = slices(arrays[0][1], spec["slices"], spec["sliced"])[0]
            last = begun

            def run() -> None:
                nonlocal last
                last = session.run(names, first)

            # A run that alone took longer than all of the warm-up may take has warmed the session.
            if entry["first_run_ms"] < timing["warmup_s"] * 1000:
                warm_up(run, timing)
            entry["latencies_ms"] = take_latencies(run, timing)
            # The last timed run shows whether runs repeat, also where there was no other.
            both = (self.join([begun]), self.join([last]))
            self.keep_changed(both, names, arrays[0][0], f"{number}-0", entry["repeats"], entry)

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
        entry["session_ms"] = milliseconds(begin)
        entry["registered"] = list(session.get_providers())
        return session

    def watch_placement(self, options: Any) -> None:
        """Have the session record where nodes go: by assignment where it can, else by profiling."""
        if hasattr(self.ort.InferenceSession, "get_provider_graph_assignment_info"):
            options.add_session_config_entry(RECORD_PLACEMENT, "1")
        else:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self.out, "profile")

    def prove_placement(self, session: Any) -> Dict[str, Any]:
        """Count nodes by provider and operator; called once, after the first runs."""
        if hasattr(session, "get_provider_graph_assignment_info"):
            return {"source": "assignment", "nodes": count_nodes(assigned_nodes(session))}
        path = session.end_profiling()
        with open(path, encoding="utf-8") as file:
            events = json.load(file)
        os.unlink(path)
        return {"source": "profile", "nodes": count_nodes(profiled_nodes(events))}

    def repeat(
        self,
        session: Any,
        names: List[str],
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
        first_slice: Outputs = []
        for count in range(spec["repeats"]):
            begin = time.perf_counter()
            parts = [session.run(names, feeds[0])]
            entry.setdefault("first_run_ms", milliseconds(begin))
            parts += [session.run(names, feed) for feed in feeds[1:]]
            outputs = self.join(parts)
            self.keep_changed((first, outputs), names, inputs, stem, count, entry)
            if first is None:
                first, first_slice = outputs, parts[0]
        return first_slice

    def keep_changed(
        self,
        runs: Tuple[Optional[Outputs], Outputs],
        names: List[str],
        inputs: str,
        stem: str,
        count: int,
        entry: Dict[str, Any],
    ) -> None:
        """Write those outputs of run number `count` that are not the first run's, all when there was none."""
        first, outputs = runs
        changed = [i for i in range(len(names)) if first is None or not same(first[i], outputs[i])]
        if changed:
            kept = {names[i]: self.write(f"{stem}-{count}-{i}.npy", outputs[i]) for i in changed}
            entry.setdefault("runs", []).append({"inputs": inputs, "repeat": count, "outputs": kept})
        entry["repeats"] = count + 1

    def join(self, parts: List[Outputs]) -> Outputs:
        """Put the outputs of slices together along their first axis."""
        arrays = [[self.np.asarray(value) for value in part] for part in parts]
        if len(arrays) == 1:
            return arrays[0]
        count = range(len(arrays[0]))
        return [self.np.concatenate([self.np.atleast_1d(part[i]) for part in arrays]) for i in count]

    def write(self, name: str, array: Any) -> Dict[str, str]:
        """Write one output as .npy, strings as fixed-width text: nothing is ever pickled."""
        dtype = "string" if array.dtype == object else str(array.dtype.name)
        if dtype == "string":
            array = array.astype(self.np.str_)
        self.written += array.nbytes
        if self.written > self.job["output_limit_mb"] * 2**20:
            raise TooLarge(f"the outputs exceed the limit of {self.job['output_limit_mb']} MB")
        with open(os.path.join(self.out, name), "wb") as file:
            self.np.save(file, array, allow_pickle=False)
        return {"file": name, "dtype": dtype}


def readable_outputs(session: Any) -> List[str]:
    """Return the names of the outputs; raises Unusable for one that is no tensor numpy knows."""
    for output in session.get_outputs():
        if not READABLE.fullmatch(output.type):
            raise Unusable(f"the output {output.name!r} is a {output.type}, which can't be compared")
    return [output.name for output in session.get_outputs()]


def slices(feed: Dict[str, Any], count: int, sliced: List[str]) -> List[Dict[str, Any]]:
    """Cut the inputs named in `sliced` into `count` equal parts along their first axis."""
    if count == 1:
        return [feed]
    parts = []
    for number in range(count):
        part = dict(feed)
        for name in sliced:
            step = len(feed[name]) // count
            part[name] = feed[name][number * step : (number + 1) * step]
        parts.append(part)
    return parts


def same(one: Any, other: Any) -> bool:
    """Tell whether two arrays are equal bit by bit, NaN included."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return bool(one.tobytes() == other.tobytes())


def take_latencies(run: Callable[[], Any], timing: Dict[str, Any]) -> List[float]:
    """Return the latency of each run in milliseconds; see `job.Timing` for how many."""
    taken: List[float] = []
    begin = time.perf_counter()
    while len(taken) < timing["runs_max"]:
        elapsed = time.perf_counter() - begin
        enough = len(taken) >= timing["runs"] and elapsed >= timing["seconds"]
        if enough or (taken and elapsed >= timing["seconds_max"]):
            break
        taken.append(clock(run))
    return taken


def warm_up(run: Callable[[], Any], timing: Dict[str, Any]) -> None:
    """Run until two successive runs agree within 5%, within the bounds of `timing`."""
    begin = time.perf_counter()
    previous = clock(run)
    for count in range(1, timing["warmup_max"]):
        if time.perf_counter() - begin > timing["warmup_s"]:
            return
        latest = clock(run)
        if count + 1 >= timing["warmup"] and abs(latest - previous) <= 0.05 * previous:
            return
        previous = latest


def clock(run: Callable[[], Any]) -> float:
    """Return how long one run takes, in milliseconds."""
    begin = time.perf_counter()
    run()
    return milliseconds(begin)


def milliseconds(begin: float) -> float:
    """Return the time since `begin` in milliseconds."""
    return (time.perf_counter() - begin) * 1000.0


def assigned_nodes(session: Any) -> Iterator[Tuple[str, str]]:
    """Yield (provider, operator) of every node, as the session recorded it (onnxruntime >= 1.24.1)."""
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            standard = node.domain in ("", "ai.onnx")
            yield part.ep_name, node.op_type if standard else f"{node.domain}:{node.op_type}"


def profiled_nodes(events: List[Dict[str, Any]]) -> Iterator[Tuple[str, str]]:
    """Yield (provider, operator) of every node that ran, each once, from a profile's events."""
    seen = set()
    for event in events:
        name = str(event.get("name", ""))
        details = event.get("args") or {}
        if event.get("cat") != "Node" or not name.endswith("_kernel_time") or "provider" not in details:
            continue
        key = (name, details.get("node_index"))
        if key not in seen:
            seen.add(key)
            yield str(details["provider"]), str(details.get("op_name", "?"))


def count_nodes(nodes: Iterator[Tuple[str, str]]) -> Dict[str, Dict[str, int]]:
    """Count (provider, operator) pairs: provider -> operator -> nodes."""
    counts: Dict[str, Dict[str, int]] = {}
    for provider, operator in nodes:
        of_provider = counts.setdefault(provider, {})
        of_provider[operator] = of_provider.get(operator, 0) + 1
    return counts


def platform() -> str:
    """Return machine and C library, which decide what wheels fit."""
    try:
        libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "")
    except (ValueError, OSError):
        libc = "musl"
    return f"{os.uname().machine}-{libc}"


def build_info(onnxruntime: Any) -> str:
    """Return what onnxruntime says of its own build (commit, type), empty where it says nothing."""
    try:
        return str(onnxruntime.get_build_info())[:300]
    except (AttributeError, RuntimeError):
        return ""


def cpu_features() -> List[str]:
    """Return the instruction sets that numpy found on this CPU and may dispatch to."""
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # numpy 2, numpy 1
        features = getattr(sys.modules.get(name), "__cpu_features__", {})
        if features:
            return sorted(feature for feature, present in features.items() if present)
    return []


def peak_memory_mb() -> Optional[float]:
    """Return this process's own peak resident memory in MB; getrusage would include the parent's."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    except OSError:
        return None
    return int(found.group(1)) / 1024 if found else None


def loaded_libraries() -> List[Dict[str, str]]:
    """Return the native libraries in this process's maps, Python's own extension modules left out."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            paths = {line.split(None, 5)[5].rstrip("\n") for line in file if line.count("/") > 0}
    except OSError:
        return []
    wanted = [path for path in paths if re.search(r"\.so(\.|$)", path) and "/lib-dynload/" not in path]
    found = {(os.path.basename(path), elf_build_id(path)) for path in wanted}
    return [{"name": name, "build_id": build} for name, build in sorted(found)]


def elf_build_id(path: str) -> str:
    """Return the build id of an ELF file in hexadecimal, empty when it has none or can't be read."""
    try:
        with open(path, "rb") as file:
            return read_build_id(file)
    except (OSError, struct.error, IndexError):
        return ""


def read_build_id(file: Any) -> str:
    """Look through the note segments of an open ELF file for GNU's build id."""
    head = file.read(64)
    if head[:4] != b"\x7fELF":
        return ""
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    table = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    file.seek(table)
    headers = file.read(size * count)
    for number in range(count):
        kind = struct.unpack_from(order + "I", headers, number * size)[0]
        if kind != 4:  # PT_NOTE
            continue
        at = number * size + (8 if wide else 4)
        offset = struct.unpack_from(order + ("Q" if wide else "I"), headers, at)[0]
        length = struct.unpack_from(order + ("Q" if wide else "I"), headers, at + (24 if wide else 12))[0]
        file.seek(offset)
        found = build_id_note(file.read(min(length, 65536)), order)
        if found:
            return found
    return ""


def build_id_note(notes: bytes, order: str) -> str:
    """Return the build id among ELF notes."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(order + "III", notes, at)
        name = notes[at + 12 : at + 12 + name_size]
        content = at + 12 + (name_size + 3) // 4 * 4
        if kind == 3 and name == b"GNU\0":
            return notes[content : content + size].hex()
        at = content + (size + 3) // 4 * 4
    return ""


def loaded_distributions(before: Set[str]) -> List[str]:
    """Return the canonical names of the distributions that own a module loaded since `before`.

    What the interpreter's start loads (by .pth files, say) is no part of running the model.
    """
    import importlib.metadata

    loaded = [module for name, module in list(sys.modules.items()) if name not in before]
    files = {os.path.realpath(path) for path in map(module_file, loaded) if path}
    names = set()
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name and owns_any(distribution, files):
            names.add(re.sub(r"[-_.]+", "-", name).lower())
    return sorted(names)


def module_file(module: Any) -> str:
    """Return the file that a module came from, empty when there is none."""
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) else ""


def owns_any(distribution: Any, files: Set[str]) -> bool:
    """Tell whether one of `files` is listed in the distribution's RECORD."""
    base = os.path.realpath(str(distribution.locate_file("")))
    for row in (distribution.read_text("RECORD") or "").splitlines():
        path = row.split(",", 1)[0].strip('"')
        if path.endswith((".py", ".so")) and os.path.join(base, path) in files:
            return True
    return False


if __name__ == "__main__":
    # Without -I the directory of this file would come first on the path.
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]
    status = main(sys.argv[1])
    sys.stderr.flush()
    # The work is on disk: what libraries do while the interpreter is torn down is no evidence of the model.
    os._exit(status)
