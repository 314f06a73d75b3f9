"""What the smoke child finds in its own process: nodes by provider, native libraries, thread pools.

Lies beside child.py and is loaded by it: standard library only, Python 3.8+. Nothing here loads a
library that is not loaded already.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import sys
from contextlib import suppress
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

# Files of glibc, whose names bear the version of their interface only.
C_LIBRARY = re.compile(r"(?:lib(?:c|m|mvec|dl|rt|pthread|util|resolv)|ld-linux[\w-]*)\.so\.\d+")
MAX_ASTRAY = 20
MAX_MISSING = 40
MAX_NAME = 200
PT_LOAD, PT_DYNAMIC, PT_NOTE = 1, 2, 4
DT_NEEDED, DT_STRTAB, DT_STRSZ = 1, 5, 10
# Provider, operator, name.
Node = Tuple[str, str, str]


def read_json(path: str) -> Any:
    """Return what a file of the agent's holds."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def assigned_nodes(session: Any) -> Iterator[Node]:
    """Yield provider, operator and name of every node, as the session recorded it (onnxruntime >= 1.24.1)."""
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            standard = node.domain in ("", "ai.onnx")
            operator = node.op_type if standard else f"{node.domain}:{node.op_type}"
            yield part.ep_name, operator, str(node.name)


def profiled_nodes(events: List[Dict[str, Any]]) -> Iterator[Node]:
    """Yield provider, operator and name of every node that ran, each once, from a profile's events."""
    seen = set()
    for event in events:
        name = str(event.get("name", ""))
        details = event.get("args") or {}
        if event.get("cat") != "Node" or not name.endswith("_kernel_time") or "provider" not in details:
            continue
        key = (name, details.get("node_index"))
        if key not in seen:
            seen.add(key)
            title = name[: -len("_kernel_time")]
            yield str(details["provider"]), str(details.get("op_name", "?")), title


def count_nodes(nodes: List[Node]) -> Dict[str, Dict[str, int]]:
    """Count nodes: provider -> operator -> nodes."""
    counts: Dict[str, Dict[str, int]] = {}
    for provider, operator, _ in nodes:
        of_provider = counts.setdefault(provider, {})
        of_provider[operator] = of_provider.get(operator, 0) + 1
    return counts


def astray_nodes(nodes: List[Node], heavy: Set[str], intended: str) -> Dict[str, List[str]]:
    """Name the first few heavy nodes that are not on the intended provider: provider -> "Operator name"."""
    strays = {
        (provider, f"{operator} {name}".strip()[:MAX_NAME])
        for provider, operator, name in nodes
        if provider != intended and operator.rpartition(":")[2] in heavy
    }
    found: Dict[str, List[str]] = {}
    for provider, label in sorted(strays)[:MAX_ASTRAY]:
        found.setdefault(provider, []).append(label)
    return found


def platform() -> str:
    """Return machine and C library, which decide what wheels fit."""
    version = c_library_version()
    machine = os.uname().machine
    if struct.calcsize("P") == 4:
        # The kernel's word is for itself: the system on it may be of half its width.
        machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return f"{machine}-{'glibc' + version if version else 'musl'}"


def c_library_version() -> str:
    """Return the version of glibc, empty where another C library is."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").replace("glibc ", "")
    except (ValueError, OSError):
        return ""


def build_info(onnxruntime: Any) -> str:
    """Return what onnxruntime says of its own build (commit, type), empty where it says nothing."""
    try:
        return str(onnxruntime.get_build_info())[:300]
    except (AttributeError, RuntimeError):
        return ""


def peak_memory_mb() -> Optional[float]:
    """Return this process's own peak resident memory in MB; getrusage would include the parent's."""
    return status_mb("VmHWM")


def peak_address_space_mb() -> Optional[float]:
    """Return the most address space that this process ever had mapped, in MB."""
    return status_mb("VmPeak")


def status_mb(name: str) -> Optional[float]:
    """Return a size that the kernel tells of this process, in MB; None where it tells none."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = re.search(name + r":\s+(\d+) kB", file.read())
    except OSError:
        return None
    return int(found.group(1)) / 1024 if found else None


def loaded_libraries() -> List[str]:
    """Return the paths of the native libraries in this process's maps, Python's own modules left out."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            fields = [line.rstrip("\n").split(None, 5) for line in file]
    except OSError:
        return []
    paths = {line[5] for line in fields if len(line) > 5 and line[5].startswith("/")}
    wanted = [path for path in paths if re.search(r"\.so(\.[\w.]+)?$", path)]
    return sorted(path for path in wanted if "/lib-dynload/" not in path)


def describe_libraries(paths: List[str]) -> List[Dict[str, str]]:
    """Return name, place, version and build id of each library, in the order of their names."""
    found = {
        (os.path.basename(path), placed(path), library_version(path), elf_build_id(path)) for path in paths
    }
    return [
        {"name": readable(name), "path": readable(path), "version": version, "build_id": build}
        for name, path, version, build in sorted(found)
    ]


def readable(text: str) -> str:
    """Return a path's text with what is not UTF-8 in it replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:1000]


def placed(path: str) -> str:
    """Return where a library lies, below {prefix} when in this interpreter's own environment.

    That of a system's Python is the whole system: there the path itself is the same on every device.
    """
    prefix = os.path.realpath(sys.prefix)
    if prefix in ("/", "/usr", "/usr/local") or not path.startswith(prefix + "/"):
        return path
    return "{prefix}" + path[len(prefix) :]


def library_version(path: str) -> str:
    """Return the version that a library's file name bears, else that of the package it lies in."""
    name = os.path.basename(path)
    if C_LIBRARY.fullmatch(name):
        return c_library_version()
    found = re.search(r"\.so\.(\d+(?:\.\d+)*)$", name) or re.search(r"-(\d+(?:\.\d+)+)\.so$", name)
    if found:
        return found.group(1)
    inside = re.search(r"/(?:site|dist)-packages/(\w+)", path)
    # Not by getattr: a module may compute what it lacks, and warn or import more as it does.
    version = (
        getattr(sys.modules.get(inside.group(1)), "__dict__", {}).get("__version__", "") if inside else ""
    )
    return version[:100] if isinstance(version, str) else ""


# Kind of pool -> what the file's name begins with, once "lib" is taken off.
POOLS = {
    "libgomp": "openmp",
    "libomp": "openmp",
    "libiomp": "openmp",
    "libopenblas": "blas",
    "libscipy_openblas": "blas",
    "libmkl_rt": "blas",
    "libblis": "blas",
}


def thread_pools(paths: List[str]) -> List[Dict[str, Any]]:
    """Ask the loaded libraries of OpenMP and BLAS for their threads; what does not answer is still named."""
    found = []
    for path in paths:
        name = os.path.basename(path)
        kind = next((kind for begin, kind in POOLS.items() if name.startswith(begin)), None)
        if kind is None:
            continue
        pool: Dict[str, Any] = {"kind": kind, "library": readable(name), "version": library_version(path)}
        # What is loaded already, under this very path: a library that this finds is never loaded anew.
        with suppress(OSError, AttributeError, ValueError, ctypes.ArgumentError):
            ask_pool(ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY), pool)
        found.append(pool)
    return sorted(found, key=lambda pool: str(pool["library"]))


def ask_pool(library: Any, pool: Dict[str, Any]) -> None:
    """Fill in the threads, the version and the kernels, as far as the library tells."""
    if pool["kind"] == "openmp":
        pool["threads"] = int(library.omp_get_max_threads())
    elif "openblas" in pool["library"]:
        ask_openblas(library, pool)
    elif "mkl" in pool["library"]:
        pool["threads"] = int(library.MKL_Get_Max_Threads())
        text = ctypes.create_string_buffer(200)
        library.MKL_Get_Version_String(text, 200)
        pool["version"] = first_version(text.value) or pool["version"]
    else:
        pool["threads"] = int(library.bli_thread_get_num_threads())
        pool["version"] = first_version(text_of(library.bli_info_get_version_str)) or pool["version"]
        library.bli_arch_string.restype = ctypes.c_char_p
        name = library.bli_arch_string(library.bli_arch_query_id())
        pool["core"] = name.decode("ascii", "replace")[:100]


def ask_openblas(library: Any, pool: Dict[str, Any]) -> None:
    """OpenBLAS, whose functions numpy and scipy build under names of their own."""
    names = [(begin, end) for begin in ("", "scipy_") for end in ("", "64_", "_64")]
    for begin, end in names:
        threads = getattr(library, f"{begin}openblas_get_num_threads{end}", None)
        if threads is None:
            continue
        pool["threads"] = int(threads())
        config = text_of(getattr(library, f"{begin}openblas_get_config{end}", None))
        pool["version"] = first_version(config) or pool["version"]
        core = text_of(getattr(library, f"{begin}openblas_get_corename{end}", None))
        pool["core"] = core.decode("ascii", "replace")[:100]
        return


def text_of(function: Any) -> bytes:
    """Call a function of C that returns a string; nothing when there is no such function."""
    if function is None:
        return b""
    function.restype = ctypes.c_char_p
    return function() or b""


def first_version(text: bytes) -> str:
    """Return the first thing in a text that looks like a version."""
    found = re.search(rb"\d+(?:\.\d+)+", text)
    return found.group(0).decode("ascii") if found else ""


def elf_build_id(path: str) -> str:
    """Return the build id of an ELF file in hexadecimal, empty when it has none or can't be read."""
    try:
        with open(path, "rb") as file:
            return read_build_id(file)
    except (OSError, ValueError, OverflowError, struct.error, IndexError):
        return ""


def read_build_id(file: Any) -> str:
    """Look through the note segments of an open ELF file for GNU's build id."""
    order, segments = read_segments(file)
    for kind, offset, _, length in segments:
        if kind == PT_NOTE:
            file.seek(offset)
            found = build_id_note(file.read(min(length, 65536)), order)
            if found:
                return found
    return ""


def read_segments(file: Any) -> Tuple[str, List[Tuple[int, int, int, int]]]:
    """Return the byte order of an open ELF file, and kind, offset, address and length of its segments."""
    head = file.read(64)
    if head[:4] != b"\x7fELF":
        return "<", []
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    word = "Q" if wide else "I"
    table = struct.unpack_from(order + word, head, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    file.seek(table)
    headers = file.read(size * count)
    segments = []
    for at in range(0, size * count, size):
        kind = struct.unpack_from(order + "I", headers, at)[0]
        offset, address, _, length = struct.unpack_from(order + 4 * word, headers, at + (8 if wide else 4))
        segments.append((kind, offset, address, length))
    return order, segments


def needed_libraries(path: str) -> List[str]:
    """Return the names of the libraries that a 64-bit ELF file asks the loader for."""
    with open(path, "rb") as file:
        order, segments = read_segments(file)
        dynamic = next(((at, length) for kind, at, _, length in segments if kind == PT_DYNAMIC), (0, 0))
        file.seek(dynamic[0])
        entries = list(struct.iter_unpack(order + "QQ", file.read(dynamic[1] // 16 * 16)))
        strings = next((value for tag, value in entries if tag == DT_STRTAB), 0)
        size = next((value for tag, value in entries if tag == DT_STRSZ), 65536)
        for kind, offset, address, length in segments:
            if kind == PT_LOAD and address <= strings < address + length:
                file.seek(offset + strings - address)
        names = file.read(size)
    starts = [value for tag, value in entries if tag == DT_NEEDED]
    return [names[at : names.index(b"\0", at)].decode("utf-8", "replace") for at in starts]


def missing_libraries(folder: str, provider: str) -> List[str]:
    """Name what the loader can't find of a provider's library in onnxruntime's `folder`, itself included.

    Called when all work is done: what is found gets loaded, as onnxruntime itself would have had it.
    """
    title = f"libonnxruntime_providers_{provider.replace('ExecutionProvider', '').lower()}.so"
    path = os.path.join(folder, title)
    if not os.path.exists(path):
        return [title]
    missing = []
    with suppress(OSError, ValueError, OverflowError, struct.error, IndexError):
        for name in needed_libraries(path)[:MAX_MISSING]:
            if os.path.exists(os.path.join(folder, name)):
                continue
            try:
                ctypes.CDLL(name)
            except OSError as error:
                found = re.match(r"([^\s:/]+): cannot open shared object file", str(error))
                missing.append(found.group(1) if found else name)
    return list(dict.fromkeys(missing))


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
