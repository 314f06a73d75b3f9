"""Hypothesis profiles: quick and repeatable every day, wide with HYPOTHESIS_PROFILE=thorough.

And a process that can be interrupted: a shell ignores SIGINT in what it runs in the background, and children
inherit that.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("everyday", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=200)
settings.register_profile(
    "thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "everyday"))

signal.signal(signal.SIGINT, signal.default_int_handler)
