"""Which wheels there are for each Python on Linux: what a device can have at most."""

from __future__ import annotations

Minor = tuple[int, int]

# The oldest and the newest version with a wheel for each Python, "" where the newest release still has one.
# Read from the package index in November 2026; what is not in a table is not known.
ONNXRUNTIME: dict[Minor, tuple[str, str]] = {
    (3, 8): ("1.2.0", "1.19.2"),
    (3, 9): ("1.7.0", "1.19.2"),
    (3, 10): ("1.12.0", "1.23.2"),
    (3, 11): ("1.15.0", ""),
    (3, 12): ("1.17.0", ""),
    (3, 13): ("1.20.0", ""),
    (3, 14): ("1.24.1", ""),
}
NUMPY: dict[Minor, tuple[str, str]] = {
    (3, 8): ("1.17.3", "1.24.4"),
    (3, 9): ("1.19.3", "2.0.2"),
    (3, 10): ("1.21.2", "2.2.6"),
    (3, 11): ("1.23.2", "2.4.6"),
    (3, 12): ("1.26.0", ""),
    (3, 13): ("2.1.0", ""),
    (3, 14): ("2.3.2", ""),
}
