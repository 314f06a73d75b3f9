"""Text from elsewhere, made inert."""

from __future__ import annotations


def inert(text: str) -> str:
    """Make text from elsewhere one harmless line: all control and format characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def printable(text: str) -> str:
    """Make text from elsewhere inert for a terminal: control and format characters are escaped.

    Line breaks stay, the lines behind the first are indented: none can pose as a line of envcheck's own.
    """
    return "\n  ".join(inert(line) for line in text.split("\n"))
