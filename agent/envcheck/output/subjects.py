"""What findings are about, in a word, by the path that they are at."""

from __future__ import annotations

SUBJECTS = {
    "evidence": "run",
    "evidence.ending": "run",
    "evidence.accuracy": "accuracy",
    "evidence.placement": "providers",
    "evidence.repeatable": "repeats",
    "evidence.output_order": "outputs",
    "evidence.fallbacks": "providers",
    "evidence.canaries.u8s8": "int8 products",
    "readings.p50_ms": "latency",
    "readings.p90_ms": "latency",
    "readings.peak_memory_mb": "memory",
    "readings.throughput": "throughput",
    "readings.model": "model",
    "readings": "budget",
}
