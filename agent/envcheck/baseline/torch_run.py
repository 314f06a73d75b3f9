"""A torch module as a function of named arrays: called, widened, exported."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envcheck.errors import BadInput

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def name_inputs(module: Any, inputs: Any) -> dict[str, Array]:
    """Return `inputs` as arrays by name; tensors of any device are taken too.

    One array, or several in order, are named as the arguments of `forward`. Raises BadInput for what is no
    array, and for more arrays than there are arguments.
    """
    if not isinstance(inputs, Mapping):
        given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        known = _arguments(module)
        if len(given) > len(known):
            raise BadInput(
                f"{len(given)} inputs are given, forward() takes {len(known)}",
                "give them by name: {NAME: array}",
            )
        inputs = dict(zip(known, given, strict=False))
    return {str(name): _array(str(name), value) for name, value in inputs.items()}


def as_labels(labels: Any) -> Array:
    """Return class numbers as an array: of an array, a tensor of any device, or a sequence."""
    import numpy as np
    import torch

    found: Array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    return found


def _arguments(module: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(module.forward).parameters
    return [name for name, parameter in found.items() if parameter.kind in kinds]


def _array(name: str, value: Any) -> Array:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        value = _numbers(value, f"the input {name!r}")
    if not isinstance(value, np.ndarray):
        raise BadInput(
            f"the input {name!r} is a {type(value).__name__}", "give a numpy array or a torch tensor"
        )
    return value


def _numbers(tensor: Any, what: str) -> Array:
    import torch

    if tensor.dtype == torch.bfloat16:
        raise BadInput(
            f"{what} is bfloat16, which onnxruntime can't hand over in Python",
            "make the module's own inputs and outputs float32",
        )
    array: Array = tensor.detach().cpu().numpy()
    return array


def check_resting(module: Any) -> None:
    """Raise BadInput, naming the part, when any part of the module is in training mode."""
    for name, part in module.named_modules():
        if part.training:
            where = f"the module's part {name!r} ({type(part).__name__})" if name else "the module"
            raise BadInput(
                f"{where} is in training mode: dropout drops and norms follow the batch",
                "call module.eval() first",
            )


def run_module(module: Any, inputs: Mapping[str, Array], *, double: bool) -> dict[str, Array]:
    """Return what the module gives, by name: a mapping's own keys, `output`, or `output_0`, `output_1` ...

    Raises BadInput when it can't take the inputs, or returns something else than tensors.
    """
    import torch

    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    if double:
        tensors = {
            name: each.double() if each.is_floating_point() else each for name, each in tensors.items()
        }
    positional, named = call_arguments(module, tensors)
    try:
        with torch.no_grad():
            found = module(*positional, **named)
    except Exception as error:
        # A module raises whatever its layers do.
        how = " in double precision" if double else ""
        raise BadInput(
            f"the module can't be run on these inputs{how}: {told(error)}",
            "give each input in the type and shape that the module takes, its batch first",
        ) from error
    return {name: _numbers(tensor, f"the output {name!r}") for name, tensor in _flatten(found)}


def call_arguments(module: Any, tensors: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return how the module is called: by keyword where all names are those of arguments, else in order."""
    parameters = inspect.signature(module.forward).parameters
    by_name = all(
        name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY
        for name in tensors
    )
    return ((), dict(tensors)) if by_name else (tuple(tensors.values()), {})


def _flatten(found: Any) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(found, torch.Tensor):
        yield "output", found
        return
    if isinstance(found, Mapping):
        pairs = [(str(name), value) for name, value in found.items()]
    elif isinstance(found, tuple | list):
        pairs = [(f"output_{number}", value) for number, value in enumerate(found)]
    else:
        pairs = [("output", found)]
    for name, value in pairs:
        if not isinstance(value, torch.Tensor):
            raise BadInput(
                f"the module returns a {type(value).__name__} as {name!r}, which is no tensor",
                "wrap it in a module that returns a tensor, a tuple of tensors or a mapping of them",
            )
        yield name, value


def rename(outputs: Mapping[str, Array], names: Sequence[str] | None) -> dict[str, Array]:
    """Give the outputs the names asked for, in order; raises BadInput when there are not as many."""
    if names is None:
        return dict(outputs)
    if len(names) != len(outputs):
        raise BadInput(
            f"the module returns {len(outputs)} tensors ({', '.join(outputs)}), not {', '.join(names)}",
            "name each output in order: outputs=[...], or leave it out",
        )
    return dict(zip(names, outputs.values(), strict=True))


def export_module(
    module: Any, inputs: Mapping[str, Array], names: Sequence[str], *, dynamic_batch: bool, opset: int
) -> bytes:
    """Export the module to ONNX as one file's bytes; raises BadInput in the exporter's own words."""
    import torch

    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    positional, named = call_arguments(module, tensors)
    batch = {0: torch.export.Dim("batch")}
    shapes: Any = dict.fromkeys(named, batch) or tuple(batch for _ in positional)
    try:
        program = torch.onnx.export(
            module,
            positional,
            kwargs=named,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(names),
            dynamic_shapes=shapes if dynamic_batch else None,
            opset_version=opset,
        )
    except Exception as error:
        # The exporter raises what it likes; its own words are the best there are.
        raise BadInput(
            f"torch can't export the module to ONNX: {told(error)}",
            "a module whose batch is fixed needs dynamic_batch=False; else export it to a file yourself",
        ) from error
    if program is None:
        raise BadInput("torch exported nothing", "export the module to a file yourself")
    return _plain_bytes(program.model_proto)


def told(error: BaseException) -> str:
    """Return an exception's own words on one line: those of what caused it, as far back as that goes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(_COLOURS.sub('', str(error)).split())[:300]}"


def _plain_bytes(model: Any) -> bytes:
    """Write a model without the exporter's remarks, which name source lines of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return bytes(model.SerializeToString(deterministic=True))
