"""The model in double precision: its graph with every float made a double, by onnx's reference evaluator."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from envcheck.baseline.material import Prepared
from envcheck.smoke.arrays import numpy
from envcheck.smoke.quantised import multiplies_quantised

if TYPE_CHECKING:
    from envcheck.smoke.arrays import Array

BUDGET_S = 120.0
_CHUNK = 8
# How much of an exception's words is told: they may list every operator there is, line by line.
_WIDTH = 120
# Kinds of TensorProto: float, float16, double, bfloat16.
_FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16
_NARROW = (_FLOAT, _FLOAT16, _BFLOAT16)


def evaluate_in_double(prepared: Prepared, budget_s: float = BUDGET_S) -> dict[str, Array] | str:
    """Return the outputs in double precision, or in words why they can't be had here.

    Samples go through in small chunks where the batch axis is free, so that memory stays bounded; it gives
    up as soon as the whole would take longer than `budget_s` seconds.
    """
    if multiplies_quantised(prepared.graph.quantised):
        return "the model multiplies quantised numbers"
    if prepared.graph.random:
        return "the model draws random numbers"
    try:
        import onnx
        from onnx.reference import ReferenceEvaluator
    except ImportError:
        return "the package onnx is not installed"
    try:
        model = onnx.load_from_string(prepared.material.model.data)
        _widen(model.graph)
        for function in model.functions:
            _widen_nodes(function.node)
        return _evaluate(ReferenceEvaluator(model), prepared, budget_s)
    except Exception as error:  # noqa: BLE001 - it raises whatever an operator raises; the ensemble takes over
        words = textwrap.shorten(str(error), _WIDTH, placeholder=" ...")
        return f"onnx's reference evaluator can't run it ({type(error).__name__}: {words})"


def _evaluate(evaluator: Any, prepared: Prepared, budget_s: float) -> dict[str, Array] | str:
    np = numpy()
    begin = time.monotonic()
    parts: list[Mapping[str, Array]] = []
    chunks = list(_chunks(prepared))
    for number, feed in enumerate(chunks):
        found = evaluator.run(None, feed, intermediate=True)
        named = {name: dict(_arrays(name, value)) for name, value in found.items() if name}
        narrow = [name for values in named.values() for name, value in values.items() if _is_narrow(value)]
        if narrow:
            return f"not every operator can be had in double precision ({narrow[0]!r} is not)"
        parts.append(
            {name: each for spec in prepared.graph.outputs for name, each in named[spec.name].items()}
        )
        expected_s = (time.monotonic() - begin) / (number + 1) * len(chunks)
        if expected_s > budget_s:
            return f"it would take about {expected_s:.0f} s in double precision"
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def _chunks(prepared: Prepared) -> Iterator[dict[str, Array]]:
    """Cut the inputs along their first axis: as the model needs it, else by a few samples where it may."""
    arrays = {name: _wide(array) for name, array in prepared.inputs.items()}
    batching = prepared.batching
    if batching.slices > 1:
        sliced, step = (
            batching.sliced,
            {name: len(arrays[name]) // batching.slices for name in batching.sliced},
        )
        for number in range(batching.slices):
            part = {name: arrays[name][number * step[name] : (number + 1) * step[name]] for name in sliced}
            yield {**arrays, **part}
    elif _is_free(prepared):
        for start in range(0, batching.samples, _CHUNK):
            yield {name: array[start : start + _CHUNK] for name, array in arrays.items()}
    else:
        yield arrays


def _is_free(prepared: Prepared) -> bool:
    """Tell whether the first axis of every input and output is the batch's symbol."""
    specs = [*prepared.graph.inputs, *prepared.graph.outputs]
    symbols = {spec.shape[0] if spec.shape else None for spec in specs}
    return len(symbols) == 1 and isinstance(next(iter(symbols)), str)


def _wide(array: Array) -> Array:
    return array.astype(numpy().float64) if array.dtype.kind == "f" else array


def _arrays(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    """Yield an output as the smoke child names it: the parts of a sequence are `name[0]`, `name[1]` ..."""
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield f"{name}[{number}]", numpy().asarray(part)
    else:
        yield name, numpy().asarray(value)


def _is_narrow(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and dtype.kind in "fV" and dtype.itemsize < 8


def _widen(graph: Any) -> None:
    """Make doubles of a GraphProto's floats, in place."""
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = _DOUBLE
    del graph.value_info[:]
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Any) -> None:
    for node in nodes:
        if node.op_type == "Constant":
            _widen_constant(node)
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in _NARROW:
                attribute.i = _DOUBLE
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            if attribute.HasField("g"):
                _widen(attribute.g)
            for graph in attribute.graphs:
                _widen(graph)


def _widen_constant(node: Any) -> None:
    """Spell `value_float` and `value_floats` as a tensor: both are float32 by definition."""
    from onnx import helper, numpy_helper

    np = numpy()
    for attribute in list(node.attribute):
        if attribute.name in ("value_float", "value_floats"):
            values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            node.attribute.remove(attribute)
            tensor = numpy_helper.from_array(np.asarray(values, np.float32))
            node.attribute.append(helper.make_attribute("value", tensor))


def _widen_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    if tensor.data_type in _NARROW:
        wide = numpy_helper.to_array(tensor).astype(numpy().float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
