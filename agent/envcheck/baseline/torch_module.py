"""A baseline straight from a torch module: exported, and held to the module's own double precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envcheck.baseline.create import Options, create_baseline
from envcheck.baseline.ensemble import ModuleOutputs
from envcheck.baseline.material import Material, Source
from envcheck.baseline.npz import write_npz
from envcheck.contract.bundle import build_bundle
from envcheck.contract.fingerprint import Fingerprint
from envcheck.errors import BadInput, MissingExtra
from envcheck.facts.host import Target

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from envcheck.smoke.arrays import Array

OPSET = 18


def from_torch(
    module: Any,
    inputs: Mapping[str, Array],
    release: str,
    fingerprint: Fingerprint,
    *,
    outputs: Sequence[str] = ("output",),
    labels: Array | None = None,
    dynamic_batch: bool = True,
    opset: int = OPSET,
    key: Ed25519PrivateKey | None = None,
    target: Target | None = None,
    options: Options | None = None,
    notice: Callable[[str], None] | None = None,
) -> bytes:
    """Export a torch module, measure it, and return the bundle's bytes.

    `inputs` are golden inputs by name, in the order of the module's arguments, as arrays whose first axis
    is the batch; `outputs` names what it returns (a tensor, or several in order); `labels` are class
    numbers. `fingerprint` is of `target` (default: this interpreter), from `envcheck.facts.gather.capture`.

        bundle = from_torch(model, {"image": images}, "digits@1.0", capture(Target()), outputs=["logits"])
        Path("digits.envcheck").write_bytes(bundle)

    Raises BadInput for a module in training mode, one that can't be exported or whose export gives
    something else, and whatever `create_baseline` refuses; MissingExtra without torch.
    """
    _require_torch()
    if module.training:
        raise BadInput("the module is in training mode", "call module.eval() first")
    # A copy on the CPU: the caller's module stays where and as it is.
    resting = copy.deepcopy(module).cpu()
    model = _export(resting, inputs, outputs, dynamic_batch=dynamic_batch, opset=opset)
    own = _run(resting, inputs, outputs, double=False)
    double = _run(resting.double(), inputs, outputs, double=True)
    material = Material(
        Source(model, "the exported model"),
        Source(write_npz(inputs), "the inputs"),
        None if labels is None else Source(write_npz({"labels": labels}), "the labels"),
    )
    members = create_baseline(
        material,
        release,
        target or Target(),
        fingerprint,
        options or Options(),
        module=ModuleOutputs(double, own),
        notice=notice,
    )
    return build_bundle(release, members, key)


def _require_torch() -> None:
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra(str(error.name), "training", "making a baseline from a torch module") from None


def _run(module: Any, inputs: Mapping[str, Array], names: Sequence[str], *, double: bool) -> dict[str, Array]:
    import torch

    with torch.no_grad():
        tensors = [torch.from_numpy(array.copy()) for array in inputs.values()]
        found = module(*(each.double() if double and each.is_floating_point() else each for each in tensors))
    given = list(found) if isinstance(found, tuple | list) else [found]
    if len(given) != len(names) or not all(isinstance(each, torch.Tensor) for each in given):
        raise BadInput(
            f"the module returns {len(given)} values, not the tensors {', '.join(names)}",
            "name each output in order: outputs=[...]; sequences and mappings are not supported",
        )
    return {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}


def _export(
    module: Any, inputs: Mapping[str, Array], names: Sequence[str], *, dynamic_batch: bool, opset: int
) -> bytes:
    import torch

    tensors = tuple(torch.from_numpy(array.copy()) for array in inputs.values())
    batch = tuple({0: torch.export.Dim("batch")} for _ in tensors)
    try:
        program = torch.onnx.export(
            module,
            tensors,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(names),
            dynamic_shapes=batch if dynamic_batch else None,
            opset_version=opset,
        )
    except Exception as error:
        # The exporter raises what it likes; its own words are the best there are.
        told = " ".join(str(error).split())[:300]
        raise BadInput(
            f"torch can't export the module to ONNX: {type(error).__name__}: {told}",
            "a module whose batch is fixed needs dynamic_batch=False; else export it to a file yourself",
        ) from error
    if program is None:
        raise BadInput("torch exported nothing", "export the module to a file yourself")
    return _plain_bytes(program.model_proto)


def _plain_bytes(model: Any) -> bytes:
    """Write a model without the exporter's remarks, which name source lines of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return bytes(model.SerializeToString(deterministic=True))
