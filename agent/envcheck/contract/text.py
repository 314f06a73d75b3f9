"""Text from elsewhere, made inert."""

from __future__ import annotations


def printable(text: str) -> str:
    """Make text from elsewhere inert for a terminal: control and format characters are escaped.

    Line breaks stay, the lines behind the first are indented: none can pose as a line of envcheck's own.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else "\n  "
        if char == "\n"
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
