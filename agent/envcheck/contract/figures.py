"""Numbers for people."""

from __future__ import annotations


def figure(value: float) -> str:
    """Return three significant digits, up to a billion without an exponent: 2.95e-05, 8.38, 2180, 15700."""
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e9 else text
