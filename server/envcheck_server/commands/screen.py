"""Tables on a terminal, in which strings from devices can do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envcheck.contract.text import inert

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def screen() -> Console:
    """Return standard output. Where it is no terminal, lines are as long as they are."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    return (
        console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=10_000)
    )


def plain(text: str, style: str = "") -> Text:
    """Return a cell that is shown as it is."""
    from rich.text import Text

    return Text(inert(text).replace("\n", "\\n"), style=style)
