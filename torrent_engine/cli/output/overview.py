"""Many torrents on one screen: a line each, the busy ones where not all find room.

Pure functions of what the torrents are; the numbers are asked only of those that may move.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output import sizes, wrapping
from torrent_engine.cli.output.diagnosis import problem_of
from torrent_engine.cli.output.peers import peer_lines
from torrent_engine.cli.output.views import STATE_STYLES, bar_parts, cut_text, fraction_of
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from torrent_engine.engine.session.session import Session
    from torrent_engine.engine.stats import SessionStats

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
_ERROR_STYLE: Final = "red"
_STYLES: Final = {METADATA: STATE_STYLES[State.FETCHING_METADATA], FAILED: _ERROR_STYLE}

MIN_NAME_CHARS: Final = 10
GOOD_NAME_CHARS: Final = 20  # below it not all columns are shown
WIDE_CHARS: Final = 110  # from here on there is room for a bar
BAR_PART: Final = 10  # the bar's part of the width
SPARE_PART: Final = 5  # ours: where not all find room, this part of it is for what is wrong
FIXED_LINES: Final = 3  # the head, the sum, and the line of the cursor


@dataclass(frozen=True, slots=True)
class OverviewEntry:
    """One torrent, before it is known whether there is a line for it."""

    label: str
    """Its name, which may have anything in it: it is escaped where it is drawn."""
    word: str
    """What it does."""
    stats: "Callable[[], SessionStats] | None" = None
    is_resting: bool = False
    """Nothing moves: its numbers are asked for only if it is shown."""
    problem: "Callable[[], str] | None" = None
    """Why nothing moves, or what is wrong; asked only if it is shown."""
    peers: "Callable[[], tuple[str, ...]] | None" = None
    """A line for each peer; None: they are not to be shown."""


@dataclass(frozen=True, slots=True)
class OverviewTotals:
    """What all torrents do together."""

    words: Counter[str]
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0
    peers: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """One torrent with its numbers; None where nobody asked for them."""

    entry: OverviewEntry
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


def entry_of(session: "Session", label: str, *, shows_peers: bool = False) -> OverviewEntry:
    """Return what an overview is told of a Session."""
    return OverviewEntry(
        label,
        _word_of(session),
        session.stats,
        session.is_resting,
        problem=lambda: problem_of(session, session.stats()),
        peers=(lambda: peer_lines(session.peers())) if shows_peers else None,
    )


def overview(
    entries: Sequence[OverviewEntry], *, width: int, height: int, ascii_only: bool
) -> "RenderableType":
    """Return head, lines and sum, as wide and high as the terminal has room for."""
    from rich.console import Group
    from rich.text import Text

    lines = _sorted(entries)
    room = max(1, height - FIXED_LINES)
    shown = lines if len(lines) <= room else lines[: max(1, room - 1 - room // SPARE_PART)]
    hidden = lines[len(shown) :]
    room -= len(shown) + bool(hidden)
    below = _lines_below(shown, room)
    layout = _layout_for(width, lines, shown)
    texts = [_head(layout)]
    for line, more in zip(shown, below, strict=True):
        texts.append(_text_of(line, layout, ascii_only=ascii_only))
        texts += (_cut_below(*each, width, ascii_only=ascii_only) for each in more)
    if hidden:
        counts = words_in(Counter(line.entry.word for line in hidden))
        texts.append(Text(f"... and {len(hidden):,} more ({counts})", style="dim"))
    has_no_room = room <= 0 and any(line.entry.peers for line in shown)
    note = "no room for peers; " if has_no_room else ""
    texts.append(Text(_total_that_fits(_totals(lines), note, width, arrows=not ascii_only), "bold"))
    for text in texts:
        text.no_wrap, text.overflow = True, "crop" if ascii_only else "ellipsis"
    return Group(*texts)


def _cut_below(text: str, style: str, width: int, *, ascii_only: bool) -> "Text":
    """Return a line below a torrent; an error begins with a path, and its end is the reason."""
    return cut_text(text, width, style, ascii_only=ascii_only, keeps_end=style == _ERROR_STYLE)


def _lines_below(shown: "Sequence[_Line]", room: int) -> list[list[tuple[str, str]]]:
    """Return lines with their styles to stand below each torrent: faults first, then peers."""
    below: list[list[tuple[str, str]]] = [[] for _ in shown]
    for line, texts in zip(shown, below, strict=True):
        if room > 0 and line.entry.problem is not None and (text := line.entry.problem()):
            texts.append((f"  {text}", _ERROR_STYLE if _RANKS[line.entry.word] == 0 else "yellow"))
            room -= 1
    for line, texts in zip(shown, below, strict=True):
        peers = line.entry.peers() if room > 0 and line.entry.peers is not None else ()
        texts.extend((f"    {peer}", "dim") for peer in peers[:room])
        room -= len(peers[:room])
    return below


def totals_of(entries: Iterable[OverviewEntry]) -> OverviewTotals:
    """Return what all torrents do together."""
    return _totals([_line(entry) for entry in entries])


def total_line(totals: OverviewTotals, *, arrows: bool = False) -> str:
    """Return ``14 torrents: 2 downloading, 12 seeding; down 1.2 MiB/s, up 3 B/s, 34 peers``."""
    return _total_lines(totals, arrows=arrows)[0]


def _total_lines(totals: OverviewTotals, *, arrows: bool) -> tuple[str, str, str]:
    """Return the sum of all torrents, and two shorter ones: without peers, without states."""
    count = totals.words.total()
    names = f"{count:,} torrent{'s' * (count != 1)}"
    words = f": {words_in(totals.words)}" if count else ""
    down, up = ("↓", "↑") if arrows else ("down", "up")
    download = f"{down} {sizes.format_rate(totals.download_bytes_per_s)}"
    rates = f"{download}, {up} {sizes.format_rate(totals.upload_bytes_per_s)}"
    peers = f"{totals.peers:,} peer{'s' * (totals.peers != 1)}"
    long = f"{names}{words}; {rates}"
    return f"{long}, {peers}", long, f"{names}; {rates}, {peers}"


def _total_that_fits(totals: OverviewTotals, note: str, width: int, *, arrows: bool) -> str:
    lines = [f"{note}{line}" for line in _total_lines(totals, arrows=arrows)]
    return next((line for line in lines if len(line) <= width), lines[-1])


def words_in(words: Counter[str]) -> str:
    """Return ``2 downloading, 12 seeding``, in the order of the overview."""
    ordered = sorted(words, key=lambda word: _RANKS[word])
    return ", ".join(f"{words[word]:,} {_LONG_WORDS.get(word, word)}" for word in ordered)


def _word_of(session: "Session") -> str:
    if session.state is State.PAUSED and session.is_held:
        return QUEUED
    return _WORDS.get(session.state, session.state.value)


def _sorted(entries: Iterable[OverviewEntry]) -> list[_Line]:
    """Return the lines, the busy ones first; those alike stay in their order."""
    lines = [_line(entry) for entry in entries]
    return sorted(lines, key=lambda line: (_RANKS[line.entry.word], line.rate < 1))


def _line(entry: OverviewEntry) -> _Line:
    is_asked = entry.stats is not None and not entry.is_resting
    return _Line(entry, entry.stats() if is_asked and entry.stats is not None else None)


def _totals(lines: Sequence[_Line]) -> OverviewTotals:
    known = [line.stats for line in lines if line.stats is not None]
    return OverviewTotals(
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
    _Column("SIZE", 8, _of_stats(lambda each: sizes.format_short(each.wanted_bytes))),
    _Column("DOWN/S", 8, _of_stats(lambda each: sizes.format_short(each.download_bytes_per_s))),
    _Column("UP/S", 8, _of_stats(lambda each: sizes.format_short(each.upload_bytes_per_s))),
    _Column("PEERS", 5, _of_stats(lambda each: f"{each.peers}")),
    _Column("ETA", 7, _of_stats(_eta)),
    _Column("RATIO", 5, _of_stats(_ratio)),
)
_FIRST_TO_GO: Final = ("RATIO", "UP/S", "PEERS", "SIZE", "ETA", "STATE", "DOWN/S", "DONE")
_FIRST_TO_GO_OF_SEEDS: Final = ("ETA", "SIZE", "DOWN/S", "PEERS", "RATIO", "STATE", "UP/S", "DONE")
_UNFINISHED: Final = frozenset({State.CHECKING, METADATA, State.DOWNLOADING, LOADING, QUEUED})


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns there are, and how the width is shared by names and bars."""

    columns: "Sequence[_Column]"
    name_chars: int
    bar_chars: int
    """With the space before it; 0: there is none."""


def _layout_for(width: int, lines: "Sequence[_Line]", shown: "Sequence[_Line]") -> _Layout:
    """Return the columns that there is room for; what names leave of the rest is the bar's.

    While anything is downloaded the ratio goes first, else what only downloads need.
    """
    from rich.cells import cell_len

    columns = list(_COLUMNS)
    is_loading = any(line.entry.word in _UNFINISHED for line in lines)
    order = _FIRST_TO_GO if is_loading else _FIRST_TO_GO_OF_SEEDS
    for head in order:
        least = GOOD_NAME_CHARS if head == order[0] else MIN_NAME_CHARS
        if width - _chars_of(columns) >= least:
            break
        columns = [column for column in columns if column.head != head]
    room = max(1, width - _chars_of(columns))
    if width < WIDE_CHARS:
        return _Layout(columns, room, 0)
    longest = max([GOOD_NAME_CHARS, *(cell_len(_name(line)) for line in shown)])
    name_chars = min(longest, room - width // BAR_PART - 1)
    return _Layout(columns, name_chars, room - name_chars)


def _chars_of(columns: Sequence[_Column]) -> int:
    return sum(1 + column.chars for column in columns)


def _head(layout: _Layout) -> "Text":
    from rich.text import Text

    name = "NAME".ljust(layout.name_chars + layout.bar_chars)
    return Text(f"{name}{_cells(layout.columns, lambda column: column.head)}", style="dim")


def _name(line: _Line) -> str:
    return escape_for_terminal(line.entry.label)


def _text_of(line: _Line, layout: _Layout, *, ascii_only: bool) -> "Text":
    from rich.text import Text

    if line.stats is None and line.entry.stats is not None:
        line = _Line(line.entry, line.entry.stats())
    style = _style_of(line.entry.word)
    ellipsis = wrapping.ellipsis_of(ascii_only=ascii_only)
    name = wrapping.padded(_name(line), layout.name_chars, ellipsis=ellipsis)
    cells = _cells(layout.columns, lambda column: column.text(line))
    return Text.assemble(name, *_bar(line, layout, style, ascii_only=ascii_only), (cells, style))


def _bar(
    line: _Line, layout: _Layout, style: str, *, ascii_only: bool
) -> list[str | tuple[str, str]]:
    """Return the bar of a torrent, an empty place where its size is not known."""
    if line.stats is None or not line.stats.pieces_total or not layout.bar_chars:
        return [" " * layout.bar_chars]
    fraction = fraction_of(line.stats)
    return [" ", *bar_parts(fraction, layout.bar_chars - 1, style, ascii_only=ascii_only)]


def _cells(columns: Sequence[_Column], text: "Callable[[_Column], str]") -> str:
    cells = ((column, text(column)[: column.chars]) for column in columns)
    return "".join(
        f" {cell:<{column.chars}}" if column.is_left else f" {cell:>{column.chars}}"
        for column, cell in cells
    )


def _style_of(word: str) -> str:
    return _STYLES.get(word) or STATE_STYLES.get(word, "white")
