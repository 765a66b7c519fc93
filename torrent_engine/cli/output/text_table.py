"""A table of a line per row: whole cells, and a name that is cut to the width of the terminal."""

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output.render import has_ellipsis, print_lines
from torrent_engine.cli.output.wrapping import cut, ellipsis_of

if TYPE_CHECKING:
    from rich.text import Text

MIN_NAME_CHARS: Final = 12
GAP: Final = "  "
NO_WIDTH: Final = 10_000  # ours: lines of a file are not cut


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is shown whole or not at all."""

    head: str
    cells: Sequence[str]
    is_right: bool = False
    styles: Sequence[str] = ()
    """One for each cell; none: plain."""

    @property
    def chars(self) -> int:
        """How wide it is; cells are ASCII."""
        return max(map(len, [self.head, *self.cells]))

    def padded(self, text: str) -> str:
        """Return a text as wide as the column."""
        return text.rjust(self.chars) if self.is_right else text.ljust(self.chars)


def table(
    columns: Sequence[Column], names: Sequence[str], *, width: int, first_to_go: Sequence[str]
) -> "Text":
    """Return a head and a line for each name, which stands last and is cut to ``width``.

    Where it would be shorter than ``MIN_NAME_CHARS``, columns go in the order of ``first_to_go``.
    """
    from rich.text import Text

    shown = _that_fit(columns, width, first_to_go)
    room = max(1, width - _chars_of(shown))
    head = GAP.join([*(column.padded(column.head) for column in shown), "NAME"])
    lines = [Text(head, style="bold")]
    for index, name in enumerate(names):
        title = cut(name, room, ellipsis=ellipsis_of(ascii_only=not has_ellipsis()))
        lines.append(Text.assemble(*(_cell(column, index) for column in shown), title))
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _that_fit(columns: Sequence[Column], width: int, first_to_go: Sequence[str]) -> list[Column]:
    shown = list(columns)
    for head in first_to_go:
        if width - _chars_of(shown) >= MIN_NAME_CHARS:
            break
        shown = [column for column in shown if column.head != head]
    return shown


def _chars_of(columns: Sequence[Column]) -> int:
    return sum(column.chars + len(GAP) for column in columns)


def _cell(column: Column, index: int) -> tuple[str, str]:
    style = column.styles[index] if column.styles else ""
    return f"{column.padded(column.cells[index])}{GAP}", style


def print_table(make: "Callable[[int], Text]", *, no_color: bool) -> None:
    """Print what ``make`` returns for the width of the terminal, or uncut where there is none."""
    from rich.console import Console

    is_terminal = is_drawn_on()
    text = io.StringIO()
    console = Console(
        file=text,
        width=None if is_terminal else NO_WIDTH,
        force_terminal=is_terminal,
        no_color=no_color or None,
        highlight=False,
    )
    console.print(make(console.width))
    print_lines([line.rstrip() for line in text.getvalue().splitlines()])


def is_drawn_on() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()
