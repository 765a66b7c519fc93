"""Many torrents on one screen: a line each, the busy ones where not all find room.

Pure functions of what the torrents are; the numbers are asked only of those that may move.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torrent_engine.cli import sizes
from torrent_engine.cli.views import STATE_STYLES, bar_parts, fraction_of
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from torrent_engine.engine.session import Session
    from torrent_engine.engine.session_stats import SessionStats

LOADING: Final = "loading"
QUEUED: Final = "queued"
DONE: Final = "done"
FAILED: Final = "failed"
METADATA: Final = "metadata"

_WORDS: Final = {State.FETCHING_METADATA: METADATA}
"""States whose name is too long for the column."""
_LONG_WORDS: Final = {METADATA: "fetching metadata", State.ERROR: "in error"}
"""What they are where there is room."""
_RANKS: Final = {
    word: rank
    for rank, words in enumerate(
        (
            (State.ERROR, FAILED),
            (State.CHECKING, METADATA, State.DOWNLOADING, LOADING),
            (State.SEEDING,),
            (State.PAUSED, QUEUED),
            (State.STOPPED, DONE),
        )
    )
    for word in words
}
"""What a torrent does, and in which order they stand."""
_STYLES: Final = {METADATA: STATE_STYLES[State.FETCHING_METADATA], FAILED: "red"}

MIN_NAME_CHARS: Final = 10
WIDE_CHARS: Final = 110  # from here on there is room for a bar
BAR_CHARS: Final = 12
FIXED_LINES: Final = 3  # the head, the sum, and the line of the cursor


@dataclass(frozen=True, slots=True)
class Entry:
    """One torrent, before it is known whether there is a line for it."""

    label: str
    """Its name, which may have anything in it: it is escaped where it is drawn."""
    word: str
    """What it does."""
    stats: "Callable[[], SessionStats] | None" = None
    is_resting: bool = False
    """Nothing moves: its numbers are asked for only if it is shown."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all torrents do together."""

    words: Counter[str]
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0
    peers: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """One torrent with its numbers; None where nobody asked for them."""

    entry: Entry
    stats: "SessionStats | None"

    @property
    def rate(self) -> float:
        """What moves, both ways, in bytes per second."""
        if self.stats is None:
            return 0.0
        return self.stats.download_bytes_per_s + self.stats.upload_bytes_per_s


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    chars: int
    text: "Callable[[_Line], str]"
    is_left: bool = False


def entry_of(session: "Session", label: str) -> Entry:
    """Return what an overview is told of a Session."""
    return Entry(label, _word_of(session), session.stats, session.is_resting)


def overview(
    entries: Sequence[Entry], *, width: int, height: int, ascii_only: bool
) -> "RenderableType":
    """Return head, lines and sum, as wide and high as the terminal has room for."""
    from rich.console import Group
    from rich.text import Text

    lines = _sorted(entries)
    room = max(1, height - FIXED_LINES)
    shown = lines if len(lines) <= room else lines[: max(1, room - 1)]
    columns = _columns_for(width)
    texts = [_head(columns, width)]
    texts += [_text_of(line, columns, width, ascii_only=ascii_only) for line in shown]
    if hidden := lines[len(shown) :]:
        counts = words_in(Counter(line.entry.word for line in hidden))
        texts.append(Text(f"... and {len(hidden):,} more ({counts})", style="dim"))
    texts.append(Text(total_line(_totals(lines), arrows=not ascii_only), style="bold"))
    for text in texts:
        text.no_wrap, text.overflow = True, "ellipsis"
    return Group(*texts)


def totals_of(entries: Iterable[Entry]) -> Totals:
    """Return what all torrents do together."""
    return _totals([_line(entry) for entry in entries])


def total_line(totals: Totals, *, arrows: bool = False) -> str:
    """Return ``14 torrents: 2 downloading, 12 seeding; down 1.2 MiB/s, up 3 B/s, 34 peers``."""
    count = totals.words.total()
    names = f"{count:,} torrent{'s' * (count != 1)}"
    words = f": {words_in(totals.words)}" if count else ""
    down, up = ("↓", "↑") if arrows else ("down", "up")
    rates = (
        f"{down} {sizes.format_rate(totals.download_bytes_per_s)}",
        f"{up} {sizes.format_rate(totals.upload_bytes_per_s)}",
        f"{totals.peers:,} peer{'s' * (totals.peers != 1)}",
    )
    return f"{names}{words}; {', '.join(rates)}"


def words_in(words: Counter[str]) -> str:
    """Return ``2 downloading, 12 seeding``, in the order of the overview."""
    ordered = sorted(words, key=lambda word: _RANKS[word])
    return ", ".join(f"{words[word]:,} {_LONG_WORDS.get(word, word)}" for word in ordered)


def _word_of(session: "Session") -> str:
    if session.state is State.PAUSED and session.is_held:
        return QUEUED
    return _WORDS.get(session.state, session.state.value)


def _sorted(entries: Iterable[Entry]) -> list[_Line]:
    """Return the lines, the busy ones first; those alike stay in their order."""
    lines = [_line(entry) for entry in entries]
    return sorted(lines, key=lambda line: (_RANKS[line.entry.word], line.rate < 1))


def _line(entry: Entry) -> _Line:
    is_asked = entry.stats is not None and not entry.is_resting
    return _Line(entry, entry.stats() if is_asked and entry.stats is not None else None)


def _totals(lines: Sequence[_Line]) -> Totals:
    known = [line.stats for line in lines if line.stats is not None]
    return Totals(
        Counter(line.entry.word for line in lines),
        sum(stats.download_bytes_per_s for stats in known),
        sum(stats.upload_bytes_per_s for stats in known),
        sum(stats.peers for stats in known),
    )


def _of_stats(text: "Callable[[SessionStats], str]") -> "Callable[[_Line], str]":
    return lambda line: "" if line.stats is None else text(line.stats)


def _done(stats: "SessionStats") -> str:
    return sizes.format_percent(fraction_of(stats), 1.0) if stats.pieces_total else ""


def _eta(stats: "SessionStats") -> str:
    return sizes.format_duration(stats.eta_s) if stats.state is State.DOWNLOADING else ""


def _ratio(stats: "SessionStats") -> str:
    return f"{stats.ratio:.2f}" if stats.ratio < 100 else f"{min(stats.ratio, 99_999):.0f}"


_COLUMNS: Final = (
    _Column("STATE", 11, lambda line: line.entry.word, is_left=True),
    _Column("DONE", 6, _of_stats(_done)),
    _Column("DOWN/S", 7, _of_stats(lambda each: sizes.format_short(each.download_bytes_per_s))),
    _Column("UP/S", 7, _of_stats(lambda each: sizes.format_short(each.upload_bytes_per_s))),
    _Column("PEERS", 5, _of_stats(lambda each: f"{each.peers}")),
    _Column("ETA", 7, _of_stats(_eta)),
    _Column("RATIO", 5, _of_stats(_ratio)),
)
_FIRST_TO_GO: Final = ("RATIO", "UP/S", "PEERS", "ETA", "STATE", "DOWN/S", "DONE")


def _columns_for(width: int) -> list[_Column]:
    """Return the columns beside the name that there is room for."""
    columns = list(_COLUMNS)
    for head in _FIRST_TO_GO:
        if width - _chars_of(columns) >= MIN_NAME_CHARS:
            break
        columns = [column for column in columns if column.head != head]
    return columns


def _chars_of(columns: Sequence[_Column]) -> int:
    return sum(1 + column.chars for column in columns)


def _name_chars(columns: Sequence[_Column], width: int) -> int:
    bar = BAR_CHARS + 1 if width >= WIDE_CHARS else 0
    return max(1, width - _chars_of(columns) - bar)


def _head(columns: Sequence[_Column], width: int) -> "Text":
    from rich.text import Text

    name = "NAME".ljust(_name_chars(columns, width))
    bar = " " * (BAR_CHARS + 1) if width >= WIDE_CHARS else ""
    return Text(f"{name}{bar}{_cells(columns, lambda column: column.head)}", style="dim")


def _text_of(line: _Line, columns: Sequence[_Column], width: int, *, ascii_only: bool) -> "Text":
    from rich.text import Text

    if line.stats is None and line.entry.stats is not None:
        line = _Line(line.entry, line.entry.stats())
    style = _style_of(line.entry.word)
    name = Text(escape_for_terminal(line.entry.label), end="")
    name.truncate(_name_chars(columns, width), overflow="ellipsis", pad=True)
    bar: list[str | tuple[str, str]] = []
    if width >= WIDE_CHARS:
        bar = [" ", *bar_parts(_fraction(line), BAR_CHARS, style, ascii_only=ascii_only)]
    cells = _cells(columns, lambda column: column.text(line))
    return Text.assemble(name, *bar, (cells, style))


def _cells(columns: Sequence[_Column], text: "Callable[[_Column], str]") -> str:
    cells = ((column, text(column)[: column.chars]) for column in columns)
    return "".join(
        f" {cell:<{column.chars}}" if column.is_left else f" {cell:>{column.chars}}"
        for column, cell in cells
    )


def _fraction(line: _Line) -> float:
    is_known = line.stats is not None and line.stats.pieces_total > 0
    return fraction_of(line.stats) if is_known and line.stats is not None else 0.0


def _style_of(word: str) -> str:
    return _STYLES.get(word) or STATE_STYLES.get(word, "white")
