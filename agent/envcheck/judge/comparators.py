"""All comparators by the name that policies use."""

from __future__ import annotations

from envcheck.judge.evidence_comparators import EVIDENCE_COMPARATORS
from envcheck.judge.fact_comparators import FACT_COMPARATORS

COMPARATORS = {**FACT_COMPARATORS, **EVIDENCE_COMPARATORS}
