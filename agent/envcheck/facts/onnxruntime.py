"""Section `onnxruntime`: every flavour that is installed, and the one whose files really lie there."""

from __future__ import annotations

import re

from envcheck.contract.fingerprint import Section
from envcheck.facts.interpreter import Distribution, Interpreter
from envcheck.facts.linkage import Library, libraries, majors
from envcheck.facts.packages import Package, packages, parse_source
from envcheck.facts.section import Facts, Scene, Unavailable, section

_PROVIDER = re.compile(r"(?:lib)?onnxruntime_providers_([a-z0-9_]+?)\.(?:so|dll|dylib)")
_ASSIGNMENT = re.compile(r"""^(\w+)\s*(?::[^=\n]*)?=\s*['"]([^'"\n]{0,200})['"]""", re.MULTILINE)
_INIT = "onnxruntime/__init__.py"
_BUILD = "onnxruntime/capi/build_and_package_info.py"
_CAPI = "onnxruntime/capi"
# Those that begin alike and only come beside it (extensions, plug-ins for one provider) hold no such module.
_FLAVOUR = re.compile(r"onnxruntime(?!-(?:ep-|extensions|genai|tools))(?:-.+)?")
_NATIVE = re.compile(r"(?:libonnxruntime|onnxruntime_pybind11_state).*\.so[.\d]*")


class OnnxruntimeFacts(Facts, frozen=True, kw_only=True):
    """What would run the model.

    `flavours` maps each distribution that owns the module to its version: by its RECORD, and where there is
    none (a system's package, egg-info, editable) by its name. `version` and `package` are what
    the module's own files say (of two flavours the one installed last). `providers` are the
    libraries of execution providers that lie beside it (`cuda`, `tensorrt`, `openvino`); the CPU provider is
    always built in. `libraries` are its native files with what they are linked against, `needs` the major
    versions of CUDA, cuDNN and TensorRT among that. `conflicts` says in words what contradicts itself.
    """

    version: str = ""
    package: str = ""
    cuda: str = ""
    flavours: dict[str, str] = {}
    providers: list[str] = []
    libraries: dict[str, Library] = {}
    needs: dict[str, list[str]] = {}
    conflicts: list[str] = []


class OnnxruntimeDevice(Facts, frozen=True, kw_only=True):
    """Which of its files may not be read."""

    unreadable: list[str] = []


def gather(scene: Scene) -> Section:
    """Read what of onnxruntime the target's interpreter would import."""
    told = scene.interpreter()
    facts = onnxruntime_facts(told, _libraries(scene, told))
    if not facts.flavours and not facts.version:
        raise Unavailable("absent", "onnxruntime is not installed in the interpreter that serves the model")
    return section(facts, OnnxruntimeDevice(unreadable=scene.unreadable))


def onnxruntime_facts(told: Interpreter, linked: dict[str, Library] | None = None) -> OnnxruntimeFacts:
    """Derive the facts from what the interpreter told and what its files are linked against."""
    linked = linked or {}
    needs = majors(linked.values())
    owners = _owners(told)
    flavours = packages(owners)
    built = parse_assignments(told.files.get(_BUILD) or "")
    version = parse_assignments(told.files.get(_INIT) or "").get("__version__") or built.get(
        "__version__", ""
    )
    package = built.get("package_name", "")
    return OnnxruntimeFacts(
        version=version,
        package=package,
        cuda=built.get("cuda_version", ""),
        flavours={name: full_version(entry) for name, entry in flavours.items()},
        providers=parse_providers(told.folders.get(_CAPI) or []),
        libraries=linked,
        needs=needs,
        conflicts=[*_at_once(owners, flavours), *_contradictions(flavours, version, package), *_mixed(needs)],
    )


def full_version(entry: Package) -> str:
    """Join a version with its local label."""
    return f"{entry.version}+{entry.local}" if entry.local else entry.version


def parse_providers(names: list[str]) -> list[str]:
    """Name the execution providers whose libraries are among `names`."""
    found = {match.group(1) for name in names if (match := _PROVIDER.fullmatch(name))}
    return sorted(found - {"shared"})


def parse_assignments(source: str) -> dict[str, str]:
    """Read `name = "text"` lines of a Python file without running it; the last one of a name counts."""
    return dict(_ASSIGNMENT.findall(source))


def _libraries(scene: Scene, told: Interpreter) -> dict[str, Library]:
    """Read the native files, where they lie on this machine: the first on the search path counts."""
    names = [name for name in told.folders.get(_CAPI) or [] if _NATIVE.fullmatch(name)]
    if not names:
        return {}
    for folder in told.path:
        if found := libraries(scene, f"{folder}/{_CAPI}", names):
            return found
    return {}


def _mixed(needs: dict[str, list[str]]) -> list[str]:
    titles = {"cuda": "CUDA", "cudnn": "cuDNN", "tensorrt": "TensorRT"}
    return [
        f"its files are linked against {titles[part]} {' and '.join(versions)} at once"
        for part, versions in needs.items()
        if len(versions) > 1
    ]


def _owners(told: Interpreter) -> list[Distribution]:
    present = told.files.get(_INIT) is not None or bool(told.folders.get(_CAPI))
    return [item for item in told.distributions if "onnxruntime" in item.owns or _named(item, present)]


def _named(item: Distribution, present: bool) -> bool:
    """Whether a distribution whose RECORD does not tell its files owns the module, judged by its name.

    What is editable has its files elsewhere; of all others the module must be `present`.
    """
    untold = present and not item.build and not item.file.startswith("~")
    return (untold or _editable(item)) and any(map(_FLAVOUR.fullmatch, packages([item])))


def _editable(item: Distribution) -> bool:
    source = parse_source(item.direct_url)
    return source is not None and source.kind == "editable"


def _at_once(owners: list[Distribution], flavours: dict[str, Package]) -> list[str]:
    if not flavours:
        return ["the module is there, but no distribution owns it"]
    if len(flavours) == 1:
        return []
    names = " and ".join(flavours)
    if any(map(_editable, owners)) or len({item.folder for item in owners}) > 1:
        return [f"{names} are installed at once, and the first on the search path hides the other"]
    return [f"{names} overwrite each other's files"]


def _contradictions(flavours: dict[str, Package], version: str, package: str) -> list[str]:
    conflicts = []
    versions = sorted({entry.version for entry in flavours.values()})
    if version and versions and version.partition("+")[0] not in versions:
        conflicts.append(f"the files are of version {version}, the metadata says {' and '.join(versions)}")
    if package and flavours and package.lower().replace("_", "-") not in flavours:
        conflicts.append(f"the files are of {package}, the metadata names {' and '.join(flavours)}")
    return conflicts
