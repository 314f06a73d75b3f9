"""Operators by what they mean for a verdict."""

from __future__ import annotations

from collections.abc import Mapping

# Operators whose provider decides speed and numbers. onnxruntime places shape arithmetic on the CPU on
# purpose, so other operators are not looked at.
HEAVY = frozenset(
    (
        *("Conv", "ConvTranspose", "ConvInteger", "FusedConv", "NhwcConv", "NhwcFusedConv", "QLinearConv"),
        *("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
        *("QLinearMatMul", "MatMulNBits", "Gemm", "FusedGemm", "QGemm", "Einsum"),
        *("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"),
        *("PackedAttention", "PackedMultiHeadAttention", "SparseAttention", "DeformConv", "MatMulBnb4"),
        *("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "MoE", "QMoE"),
    )
)


def heavy(operators: Mapping[str, int]) -> dict[str, int]:
    """Return those of `operators` ("Op" or "domain:Op" to a count) that are heavy."""
    return {name: count for name, count in operators.items() if name.rpartition(":")[2] in HEAVY}
