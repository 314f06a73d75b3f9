"""What a model's graph is made of, read from the ONNX file without running it and without `onnx`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from envcheck.contract.baseline import Graph, TensorSpec
from envcheck.contract.canonical import digest
from envcheck.errors import BadInput
from envcheck.smoke.nodes import Node, Nodes, Scope, element_type, read_nodes
from envcheck.smoke.protobuf import Malformed, Message
from envcheck.smoke.quantised import count_schemes

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_ONNX = ("", "ai.onnx")
_MAX_ELEMENTS = 1 << 48
_EXTERNAL = 1


def read_graph(model: bytes, source: str, *, sha256: str = "") -> Graph:
    """Read what the model needs; `source` names the file in errors. Raises BadInput when it is no ONNX model.

    `sha256` is the model's digest where it has been taken already.
    Operators are counted in subgraphs and in the bodies of model-local functions too (a body once, calls
    of it not). `quantised` counts the nodes that multiply quantised numbers, see `count_schemes`.
    `parameters` counts the elements of all initialisers and constants, `weights` by their type. How many
    of them are subnormal is left to `envcheck.baseline.subnormals`: a device need not look at each.
    """
    try:
        return _read(Message(model), model, sha256)
    except Malformed as error:
        raise BadInput(
            f"{source} is not an ONNX file: {error}",
            "export the model to ONNX first: torch.onnx.export, tf2onnx or skl2onnx write such files",
        ) from None


def _read(message: Message, model: bytes, sha256: str) -> Graph:
    body = message.message(7)
    ir_version = message.integer(1)
    if body is None or not 0 < ir_version < 1 << 31:
        raise Malformed("it has no graph or no IR version")
    outputs = [_spec(value) for value in body.messages(12)]
    if not outputs:
        raise Malformed("its graph has no outputs")
    nodes = read_nodes(body, list(message.messages(25)))
    weights = _weights(nodes)
    producer = f"{message.text(2)} {message.text(3)}".strip()
    return Graph(
        sha256=sha256 or digest(model),
        size=len(model),
        ir_version=ir_version,
        producer=producer[:200],
        opsets=_opsets(message),
        operators=dict(sorted(_operators(nodes).items())),
        inputs=[spec for spec in map(_spec, body.messages(11)) if spec.name not in nodes.main.tensors],
        outputs=outputs,
        quantised=count_schemes(nodes),
        random=sorted({_label(node) for node, scope in nodes.each() if _is_random(node, scope)}),
        external_data=sorted(
            {place for tensor in (*nodes.tensors, *nodes.held) for place in _external(tensor)}
        ),
        parameters=weights.total(),
        weights=dict(sorted(weights.items())),
    )


def _opsets(message: Message) -> dict[str, int]:
    """Return the newest version wanted of each domain, by the model and by its local functions."""
    found: dict[str, int] = {}
    imports = [*message.messages(8)]
    for function in message.messages(25):
        imports.extend(function.messages(9))
    for entry in imports:
        domain = entry.text(1)
        domain = "" if domain in _ONNX else domain
        found[domain] = max(found.get(domain, 0), entry.integer(2))
    return dict(sorted(found.items()))


def _operators(nodes: Nodes) -> Counter[str]:
    return Counter(
        _label(node) for node, _ in nodes.each() if (node.domain, node.operator) not in nodes.functions
    )


def _label(node: Node) -> str:
    return node.operator if node.domain in _ONNX else f"{node.domain}:{node.operator}"


def _is_random(node: Node, scope: Scope) -> bool:
    if node.domain not in _ONNX:
        return False
    return node.operator in _RANDOM or (node.operator == "Dropout" and _in_training(node, scope))


def _in_training(dropout: Node, scope: Scope) -> bool:
    """Tell whether a Dropout drops: `training_mode` is given, and not as a constant false."""
    name = dropout.input(2)
    if not name:
        return False
    constant = scope.tensor(name)
    if constant is None:
        return True
    raw = b"".join(bytes(part) for part in constant.data(9))
    return any(raw) or any(constant.integers(5))


def _external(tensor: Message) -> Iterator[str]:
    if tensor.integer(14) != _EXTERNAL:
        return
    entries = {entry.text(1): entry.text(2) for entry in tensor.messages(13)}
    yield entries.get("location", "")


def _weights(nodes: Nodes) -> Counter[str]:
    found: Counter[str] = Counter()
    for tensor in nodes.tensors:
        found[element_type(tensor.integer(2))] += _elements(tensor)
    return found


def _elements(tensor: Message) -> int:
    dims = tensor.integers(1)
    if any(dim < 0 for dim in dims):
        raise Malformed("an initialiser has a negative dimension")
    # Zero ends the product: math.prod of many large dimensions would be slow on a hostile file.
    elements = 0 if 0 in dims else math.prod(dims[:64])
    if elements > _MAX_ELEMENTS or len(dims) > 64:
        raise Malformed("an initialiser claims more elements than any machine can hold")
    return elements


def _spec(value: Message) -> TensorSpec:
    kind = value.message(2)
    name = value.text(1)
    if kind is None:
        return TensorSpec(name=name, dtype="")
    tensor = kind.message(1)
    if tensor is None:
        return TensorSpec(name=name, dtype=_container(kind))
    shape = tensor.message(2)
    dims = None if shape is None else [_dimension(dim) for dim in shape.messages(1)]
    return TensorSpec(name=name, dtype=element_type(tensor.integer(1)), shape=dims)


def _container(kind: Message) -> str:
    names = {4: "sequence", 5: "map", 8: "sparse", 9: "optional"}
    return next((name for number, name in names.items() if number in kind), "")


def _dimension(dim: Message) -> int | str | None:
    if 1 in dim:
        number = dim.integer(1)
        return number if number >= 0 else None
    return dim.text(2) or None
