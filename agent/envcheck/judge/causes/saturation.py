"""Int8 products that saturate: the canary proved it, facts and graph say why and where."""

from __future__ import annotations

from envcheck.contract.verdict import Finding
from envcheck.judge.causes.cause import Cause
from envcheck.judge.comparison import Situation
from envcheck.judge.evidence_comparators import SATURATION_HINT, saturating_nodes
from envcheck.judge.facts_of import texts

_VNNI = {"avx512_vnni", "avx_vnni"}
_INTEGER_OPERATORS = (
    *("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul"),
    *("MatMulIntegerToFloat", "QGemm", "QAttention", "DynamicQuantizeLSTM"),
)


def saturation(finding: Finding, situation: Situation) -> Cause | None:
    """Numbers are off, or would be, since this CPU adds int8 products in 16 bits."""
    nodes = saturating_nodes(situation)
    if not nodes or not (_is_numbers(finding) or finding.path == "evidence.canaries.u8s8"):
        return None
    words = f"int8 products saturate: {_cpu(situation)}, and the model has {nodes} {_kind(situation)} nodes"
    return Cause(words, SATURATION_HINT)


def _is_numbers(finding: Finding) -> bool:
    return finding.path.startswith("evidence.outputs.") or finding.path == "evidence.accuracy"


def _cpu(situation: Situation) -> str:
    isa = set(texts(situation.device, "cpu.isa"))
    if not isa:
        return "the canary saturates"
    if isa & _VNNI:
        # An emulated or masked CPU: the kernel's flags are not what the process was given.
        return "the canary saturates although the kernel lists VNNI"
    return "this CPU has AVX2 without VNNI" if "avx2" in isa else "this CPU has no VNNI"


def _kind(situation: Situation) -> str:
    """Name the scheme, and the operator where all such nodes are of one."""
    graph = situation.reference.baseline.graph
    scheme = "U8S8" if set(graph.quantised) == {"U8S8"} else "int8"
    there = [name for name in graph.operators if name.rpartition(":")[2] in _INTEGER_OPERATORS]
    return f"{scheme} {there[0].rpartition(':')[2]}" if len(there) == 1 else scheme
