"""The one console that human output is written to: colours only for people, device strings inert."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from envcheck.contract.text import inert

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

MIN_WIDTH = 60
MAX_WIDTH = 120
FILE_WIDTH = 100

_STYLES = {
    "ok": "green",
    "pass": "bold green",
    "ready": "green",
    "FAIL": "bold red",
    "fail": "bold red",
    "blocked": "bold red",
    "UNKNOWN": "bold yellow",
    "unknown": "bold yellow",
    "warn": "yellow",
    "drift": "yellow",
    "info": "dim",
    "seen": "dim",
}


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal (bounded), or 100 columns into a file or pipe."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if made.is_terminal else FILE_WIDTH
    made.width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    return made


def state(word: str) -> Text:
    """Return a state's word (ok, warn, FAIL, ...) in its colour."""
    from rich.text import Text

    return Text(word, style=_STYLES.get(word, ""))


def words(text: str, style: str = "") -> Text:
    """Return inert text as it is, without markup."""
    from rich.text import Text

    return Text(inert(text), style=style)


def columns() -> Table:
    """Return a borderless grid of three columns: state, subject, text that wraps."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True, min_width=7)
    grid.add_column(no_wrap=True, min_width=15)
    grid.add_column(overflow="fold")
    return grid


def show(shown: RenderableType) -> None:
    """Print to standard output."""
    print_trimmed(console(), shown)


def print_trimmed(screen: Console, shown: RenderableType) -> None:
    """Print without the blanks that fill a table's last column: whoever copies lines would have them too."""
    from rich.cells import cell_len
    from rich.segment import Segment, Segments

    for line in screen.render_lines(shown, pad=False):
        text = "".join(segment.text for segment in line)
        kept = Segment.adjust_line_length(line, cell_len(text.rstrip()), pad=False)
        screen.print(Segments([*kept, Segment.line()]), end="")
