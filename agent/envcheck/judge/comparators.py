"""All comparators by the name that policies use."""

from __future__ import annotations

from envcheck.judge.evidence_comparators import EVIDENCE_COMPARATORS
from envcheck.judge.fact_comparators import FACT_COMPARATORS
from envcheck.judge.need_comparators import NEED_COMPARATORS
from envcheck.judge.output_comparators import OUTPUT_COMPARATORS

COMPARATORS = {**FACT_COMPARATORS, **NEED_COMPARATORS, **EVIDENCE_COMPARATORS, **OUTPUT_COMPARATORS}
