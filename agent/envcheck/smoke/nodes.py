"""The nodes of an ONNX graph with what they see: subgraphs, local functions, constants, element types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from envcheck.smoke.protobuf import Malformed, Message

_MAX_DEPTH = 32

# numpy's names where it has the type, ONNX's where it has not.
_ELEMENT_TYPES = (
    "",
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "float64",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
    "float6e2m3",
    "float6e3m2",
)


def element_type(number: int) -> str:
    """Return the name of an element type of ONNX, like `float32`; `type-N` for one not known here."""
    return _ELEMENT_TYPES[number] if 0 <= number < len(_ELEMENT_TYPES) else f"type-{number}"


@dataclass(frozen=True)
class Node:
    """One node: an operator with the names of what it takes and gives."""

    domain: str
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Message]

    def input(self, index: int) -> str:
        """Return the name of an input, empty when it is not given."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def attribute(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        return self.attributes[name].integer(3, default) if name in self.attributes else default


@dataclass
class Scope:
    """The names that the nodes of one graph see: its own, then those of the graph around it."""

    parent: Scope | None = None
    nodes: list[Node] = field(default_factory=list)
    producers: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Message] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def producer(self, name: str) -> Node | None:
        """Return the node that gives `name`, None for constants, inputs and unknown names."""
        return next((scope.producers[name] for scope in self._outwards() if name in scope.producers), None)

    def tensor(self, name: str) -> Message | None:
        """Return the TensorProto of a constant."""
        return next((scope.tensors[name] for scope in self._outwards() if name in scope.tensors), None)

    def declared(self, name: str) -> str:
        """Return the element type of a constant or a graph input, empty when `name` is neither."""
        for scope in self._outwards():
            if name in scope.tensors:
                return element_type(scope.tensors[name].integer(2))
            if name in scope.inputs:
                return scope.inputs[name]
        return ""

    def _outwards(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


@dataclass
class Nodes:
    """All nodes of a model.

    `tensors` are all its constants, `held` tensors that attributes hold; `functions` what it defines itself.
    """

    main: Scope = field(default_factory=Scope)
    scopes: list[Scope] = field(default_factory=list)
    tensors: list[Message] = field(default_factory=list)
    held: list[Message] = field(default_factory=list)
    functions: set[tuple[str, str]] = field(default_factory=set)

    def each(self) -> Iterator[tuple[Node, Scope]]:
        """Go through every node with the names it sees."""
        return ((node, scope) for scope in self.scopes for node in scope.nodes)


def read_nodes(graph: Message, functions: list[Message]) -> Nodes:
    """Read a GraphProto and FunctionProtos with all their subgraphs; raises Malformed."""
    found = Nodes()
    found.main = _read_graph(graph, found, None, 0)
    for function in functions:
        found.functions.add((function.text(10), function.text(1)))
        _read_body(function, 7, Scope(), found, 0)
    return found


def _read_graph(graph: Message, found: Nodes, parent: Scope | None, depth: int) -> Scope:
    if depth > _MAX_DEPTH:
        raise Malformed(f"its graphs are nested deeper than {_MAX_DEPTH}")
    scope = Scope(parent)
    for tensor in graph.messages(5):
        _add_tensor(tensor.text(8), tensor, scope, found)
    for sparse in graph.messages(15):
        values = sparse.message(1)
        if values is not None:
            _add_tensor(values.text(8), values, scope, found)
    for value in graph.messages(11):
        kind = value.message(2)
        tensor_type = None if kind is None else kind.message(1)
        if tensor_type is not None:
            scope.inputs[value.text(1)] = element_type(tensor_type.integer(1))
    _read_body(graph, 1, scope, found, depth)
    return scope


def _add_tensor(name: str, tensor: Message, scope: Scope, found: Nodes) -> None:
    scope.tensors[name] = tensor
    found.tensors.append(tensor)


def _read_body(holder: Message, number: int, scope: Scope, found: Nodes, depth: int) -> None:
    found.scopes.append(scope)
    for message in holder.messages(number):
        node = _read_node(message)
        scope.nodes.append(node)
        scope.producers.update(dict.fromkeys(filter(None, node.outputs), node))
        _add_constant(node, scope, found)
        for attribute in node.attributes.values():
            for number_of_tensors in (5, 10):
                found.held.extend(attribute.messages(number_of_tensors))
            for number_of_graphs in (6, 11):
                for graph in attribute.messages(number_of_graphs):
                    _read_graph(graph, found, scope, depth + 1)


def _add_constant(node: Node, scope: Scope, found: Nodes) -> None:
    if node.operator == "Constant" and "value" in node.attributes and node.outputs:
        tensor = node.attributes["value"].message(5)
        if tensor is not None:
            _add_tensor(node.outputs[0], tensor, scope, found)


def _read_node(message: Message) -> Node:
    operator = message.text(4)
    if not operator:
        raise Malformed("a node has no operator")
    return Node(
        domain=message.text(7),
        operator=operator,
        inputs=message.texts(1),
        outputs=message.texts(2),
        attributes={attribute.text(1): attribute for attribute in message.messages(5)},
    )
