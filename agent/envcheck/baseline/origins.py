"""Which node an output comes from, looking through operators that leave its numbers as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from envcheck.smoke.nodes import Node, Scope, element_type, read_nodes
from envcheck.smoke.protobuf import Malformed, Message
from envcheck.smoke.quantised import multiplies_quantised

ONNX = ("", "ai.onnx")
# Operators that keep every number and the order of all of them.
RESHAPING = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_MAX_STEPS = 64


@dataclass(frozen=True)
class Origins:
    """The nodes of a model's main graph; `quantised` tells whether it multiplies quantised numbers."""

    scope: Scope
    quantised: bool

    def of(self, name: str, through: Collection[str]) -> tuple[str, Node | None]:
        """Return what `name` is behind operators of `through`, and the node that gives it."""
        for _ in range(_MAX_STEPS):
            node = self.scope.producers.get(name)
            if node is None or node.domain not in ONNX or node.operator not in through:
                return name, node
            name = node.input(0)
        return name, None

    def is_quantised(self, name: str) -> bool:
        """Tell whether an output holds what a quantised graph rounded to quanta, and not classes, say."""
        _, node = self.of(name, (*RESHAPING, "Transpose"))
        gives = node is not None and (
            node.operator in ("QuantizeLinear", "QGemm") or node.operator.startswith("QLinear")
        )
        return self.quantised and gives

    def integer(self, name: str) -> int | None:
        """Return the constant that is one int64, None where `name` is none."""
        tensor = self.scope.tensor(name)
        if tensor is None or element_type(tensor.integer(2)) != "int64":
            return None
        raw = b"".join(bytes(part) for part in tensor.data(9))
        numbers = tensor.integers(7)
        if len(raw) == 8:
            numbers = [int.from_bytes(raw, "little", signed=True)]
        return numbers[0] if len(numbers) == 1 else None


def read_origins(model: bytes, quantised: dict[str, int]) -> Origins:
    """Read where a model's outputs come from; `quantised` is its graph's. Raises Malformed for no model."""
    message = Message(model)
    body = message.message(7)
    if body is None:
        raise Malformed("it has no graph")
    scope = read_nodes(body, list(message.messages(25))).main
    return Origins(scope, multiplies_quantised(quantised))
