"""A baseline straight from a torch module: exported, and held to the module's own double precision."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.ensemble import ModuleOutputs
from envcheck.baseline.material import Material, Prepared, Source, prepare
from envcheck.baseline.npz import write_npz
from envcheck.baseline.torch_run import (
    as_labels,
    check_resting,
    export_module,
    name_inputs,
    rename,
    run_module,
    told,
)
from envcheck.contract.bundle import build_bundle
from envcheck.contract.document import decode
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput, MissingExtra, Undetermined
from envcheck.facts.host import Target

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from envcheck.smoke.arrays import Array

OPSET = 18


def from_torch(
    module: Any,
    inputs: Any,
    release: str,
    fingerprint: Fingerprint | None = None,
    *,
    outputs: Sequence[str] | None = None,
    labels: Any = None,
    dynamic_batch: bool = True,
    opset: int = OPSET,
    key: Ed25519PrivateKey | None = None,
    target: Target | None = None,
    options: Options | None = None,
    notice: Callable[[str], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> bytes:
    """Export a torch module, measure it, and return the bundle's bytes.

    `inputs` are golden inputs whose first axis is the batch: arrays or tensors by name (the arguments of
    `forward`, or names of your own in their order), or one or several without. `outputs` names what it
    returns (default: a mapping's keys, `output`, or `output_0`, `output_1` ...); `labels` are class numbers.
    `fingerprint` is of `target` (default: both of this interpreter).

        bundle = from_torch(model, {"image": images}, "digits@1.0", labels=classes)
        Path("digits.envcheck").write_bytes(bundle)

    The module may be on any device and in half precision: a copy is measured on the CPU.

    Raises BadInput for a module in training mode, one that does not take the inputs, can't be exported or
    whose export gives something else, and whatever `create_baseline` refuses; MissingExtra without torch.
    """
    _require_torch()
    check_resting(module)
    resting = _copy(module)
    arrays = name_inputs(resting, inputs)
    names = list(rename(run_module(resting, arrays, double=False), outputs))
    model = export_module(resting, arrays, names, dynamic_batch=dynamic_batch, opset=opset)
    material = Material(
        Source(model, "the exported model"),
        Source(write_npz(arrays), "the inputs"),
        None if labels is None else Source(write_npz({"labels": as_labels(labels)}), "the labels"),
    )
    options = options or Options()
    prepared = prepare(material, edge_cases=options.edge_cases)
    own = _run(resting, prepared, arrays, names, double=False)
    members = create_baseline(
        material,
        release,
        target or Target(),
        fingerprint or _capture(target),
        options,
        module=ModuleOutputs(_double(resting, prepared, arrays, names), own),
        notice=notice,
        progress=progress,
    )
    return build_bundle(release, members, key)


def _require_torch() -> None:
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra(str(error.name), "training", "making a baseline from a torch module") from None


def _copy(module: Any) -> Any:
    """Return a copy on the CPU: the caller's module stays where and as it is."""
    try:
        return copy.deepcopy(module).cpu()
    except Exception as error:
        raise BadInput(
            f"the module can't be copied to the CPU: {told(error)}",
            "give a plain module with its weights; or export it yourself, and use envcheck baseline create",
        ) from error


def _double(
    module: Any, prepared: Prepared, order: Mapping[str, Array], names: Sequence[str]
) -> dict[str, Array] | str:
    """Return what the module gives in double precision, or why not: many cast to a type of their own."""
    try:
        return _run(module.double(), prepared, order, names, double=True)
    except BadInput as error:
        return error.message


def _capture(target: Target | None) -> Fingerprint:
    """Capture the environment of `target` as the command does."""
    chosen = [] if target is None else ["--python", target.python]
    command = [sys.executable, "-m", "envcheck", "capture", "--json", *chosen]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise Undetermined(
            f"this environment can't be captured: {said[:300]}",
            "give a fingerprint: envcheck.facts.gather.capture",
        )
    return decode(done.stdout, Fingerprint, "envcheck capture")


def _run(
    module: Any, prepared: Prepared, order: Mapping[str, Array], names: Sequence[str], *, double: bool
) -> dict[str, Array]:
    """Run the module as the exported model is run: edge cases included, in batches where they are fixed."""
    import numpy as np

    parts = [rename(run_module(module, feed, double=double), names) for feed in _feeds(prepared, list(order))]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in names}


def _feeds(prepared: Prepared, order: Sequence[str]) -> Iterator[dict[str, Array]]:
    batching = prepared.batching
    for number in range(batching.slices):
        feed = {name: prepared.inputs[name] for name in order}
        for name in batching.sliced:
            step = len(feed[name]) // batching.slices
            feed[name] = feed[name][number * step : (number + 1) * step]
        yield feed
