"""Text from elsewhere, made inert."""

from __future__ import annotations

import re

# What runners of CI obey in the output of a job: GitHub's at the start of a line, which is wherever a table
# happens to break one; Azure's and TeamCity's, and GitHub's older form, anywhere.
_COMMANDS = re.compile(
    r"#(?=#(?:vso|teamcity)?\[)|:(?=:(?:add-|debug|echo|end-?group|error|group|notice|remove-|save-|set-|stop-"
    r"|warning))",
    re.IGNORECASE,
)


def inert(text: str) -> str:
    """Make text from elsewhere one harmless line: control characters, and commands to CI, are escaped."""
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
        )
    if "::" in text or "##" in text:
        text = _COMMANDS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return text


def printable(text: str) -> str:
    """Make text from elsewhere inert for a terminal: control and format characters are escaped.

    Line breaks stay, the lines behind the first are indented: none can pose as a line of envcheck's own.
    """
    return "\n  ".join(inert(line) for line in text.split("\n"))
