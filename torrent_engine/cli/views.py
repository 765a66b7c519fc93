"""What progress looks like, as text: pure functions of names and SessionStats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torrent_engine.cli import sizes
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.engine.session_stats import SessionStats

MIN_BAR_CHARS: Final = 3
MAX_NAME_CHARS: Final = 60
LINES_PER_ROW: Final = 2
ETA_CHARS: Final = 11  # "ETA 1:02:03"
MIN_ETA_WIDTH: Final = 60
STATE_STYLES: Final[dict[str, str]] = {
    State.DOWNLOADING: "cyan",
    State.SEEDING: "green",
    State.CHECKING: "yellow",
    State.FETCHING_METADATA: "magenta",
    State.ERROR: "red",
}


_SOURCES: Final = {
    "tracker": "tracker",
    "dht": "DHT",
    "pex": "PEX",
    "lsd": "LSD",
    "web_seed": "web seeds",
    "incoming": "incoming",
    "manual": "given",
    "resume": "saved",
}
"""The keys of ``SessionStats.sources``, in words."""


@dataclass(frozen=True, slots=True)
class Row:
    """One torrent on the display; all text in it is already safe for a terminal."""

    key: str
    """Tells torrents of the same name apart."""
    label: str
    fraction: float
    """How much of what is being done is done, 0 to 1."""
    facts: tuple[str, ...]
    """In words, for a log."""
    short_facts: tuple[str, ...] = ()
    """For a line below a bar; empty: the same."""
    style: str = "white"
    eta: str = ""
    """Stands behind the percentage of a bar."""
    peers: tuple[str, ...] = ()
    """A line for each that is shown."""


def session_row(
    key: str, label: str, stats: "SessionStats | None", peers: tuple[str, ...] = ()
) -> Row:
    """Return what a torrent looks like; None stands for one that is being loaded."""
    if stats is None:
        return Row(key, label, 0.0, ("loading",))
    fraction = fraction_of(stats)
    style = STATE_STYLES.get(stats.state, "white")
    words = _facts(stats, fraction, words=True)
    short = _facts(stats, fraction, words=False)
    eta = f"ETA {sizes.format_duration(stats.eta_s)}"
    eta = eta if stats.state is State.DOWNLOADING else ""
    return Row(key, label, fraction, words, short, style, eta, peers)


def work_row(label: str, facts: tuple[str, ...], done: int, total: int) -> Row:
    """Return what hashing looks like."""
    return Row(label, label, done / total if total else 1.0, facts, style="yellow")


def plain_line(row: Row) -> str:
    """Return one line for a log: name, then what happens; and one for each peer that is shown."""
    return "\n  ".join([f"{row.label}: {', '.join(row.facts)}", *row.peers])


def done_line(label: str, verb: str, stats: "SessionStats", path: str) -> str:
    """Return the line that says that all is there, and where it lies."""
    text = f"{label}: {verb}, {sizes.format_size(stats.wanted_bytes)}"
    if stats.downloaded_bytes and stats.elapsed_s > 0:
        rate = sizes.format_rate(stats.downloaded_bytes / stats.elapsed_s)
        text += f" in {_elapsed(stats.elapsed_s)} ({rate}{_origins(stats)})"
    return f"{text}, in {path}"


def metadata_line(label: str, metainfo: "Metainfo", path: str) -> str:
    """Return the line that says what a magnet link led to, and where its .torrent lies."""
    count = len(metainfo.files)
    files = "1 file" if count == 1 else f"{count:,} files"
    return f"{label}: {sizes.format_size(metainfo.total_bytes)} in {files}, saved as {path}"


def incomplete_line(stats: "SessionStats") -> str:
    """Return how much of a torrent is there."""
    return f"incomplete: {stats.pieces_have} of {stats.pieces_total} pieces are there"


def seeded_line(label: str, stats: "SessionStats") -> str:
    """Return the line that says how much was given."""
    sent = sizes.format_size(stats.uploaded_bytes)
    return f"{label}: sent {sent}, ratio {stats.ratio:.2f}"


def live_view(
    rows: Sequence[Row], *, width: int, height: int, ascii_only: bool
) -> "RenderableType":
    """Return the bars of as many torrents as the terminal is high."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = []
    room = _rows_that_fit(rows, height - 2)
    for row in rows[:room]:
        detail = "  " + "  ".join(row.short_facts or row.facts)
        lines.append(bar_line(row, width=width, ascii_only=ascii_only))
        shown = row.peers[: max(0, height - 2 - LINES_PER_ROW)]
        details = (detail, *(f"    {peer}" for peer in shown))
        lines.extend(Text(each, style="dim", no_wrap=True, overflow="ellipsis") for each in details)
    if len(rows) > room:
        lines.append(Text(f"  and {len(rows) - room} more", style="dim"))
    return Group(*lines)


def _rows_that_fit(rows: Sequence[Row], height: int) -> int:
    """Return how many of the first rows a terminal has room for: one at least."""
    for count, row in enumerate(rows):
        height -= LINES_PER_ROW + len(row.peers)
        if height < 0:
            return max(1, count)
    return len(rows)


def bar_line(row: Row, *, width: int, ascii_only: bool) -> "Text":
    """Return name, bar and percentage, in the width of the terminal."""
    from rich.text import Text

    name_chars = min(MAX_NAME_CHARS, max(8, width // 3))
    name = Text(row.label, style="bold", no_wrap=True, end="")
    name.truncate(name_chars, overflow="ellipsis", pad=True)
    end = f"{sizes.format_percent(row.fraction, 1.0):>6}"
    if width >= MIN_ETA_WIDTH:
        end += f" {row.eta:<{ETA_CHARS}}"
    bar_chars = max(MIN_BAR_CHARS, width - name_chars - len(end) - 2)
    bar = bar_parts(row.fraction, bar_chars, row.style, ascii_only=ascii_only)
    return Text.assemble(name, " ", *bar, " ", end)


def bar_parts(
    fraction: float, chars: int, style: str, *, ascii_only: bool
) -> list[tuple[str, str]]:
    """Return the full and the empty part of a bar, each with its style."""
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    filled = int(min(1.0, fraction) * chars)
    return [(full * filled, style), (empty * (chars - filled), "bright_black")]


def fraction_of(stats: "SessionStats") -> float:
    """Return how much of what a torrent does is done, 0 to 1."""
    if stats.state is State.FETCHING_METADATA:
        return 0.0
    if stats.state is State.CHECKING:
        return stats.checked_fraction
    return stats.completed_bytes / stats.wanted_bytes if stats.wanted_bytes else 1.0


def _facts(stats: "SessionStats", fraction: float, *, words: bool) -> tuple[str, ...]:
    percent = sizes.format_percent(fraction, 1.0)
    if stats.state is State.CHECKING:
        return f"checking {percent}", _pieces(stats)
    if stats.state is State.SEEDING:
        sent = f"{sizes.format_size(stats.uploaded_bytes)} sent"
        return "seeding", _up(stats, words=words), sent, f"ratio {stats.ratio:.2f}", _peers(stats)
    if stats.state is State.FETCHING_METADATA:
        elapsed = sizes.format_duration(stats.elapsed_s)
        return "fetching metadata", _peers(stats), f"{elapsed} elapsed"
    if stats.state is not State.DOWNLOADING:
        return (stats.state.value,)
    return ((percent,) if words else ()) + _download_facts(stats, words=words)


def _download_facts(stats: "SessionStats", *, words: bool) -> tuple[str, ...]:
    down = sizes.format_rate(stats.download_bytes_per_s)
    eta = (f"ETA {sizes.format_duration(stats.eta_s)}",) if words else ()
    return (
        sizes.format_progress(stats.completed_bytes, stats.wanted_bytes),
        f"down {down}" if words else f"↓ {down}",
        _up(stats, words=words),
        *eta,
        _peers(stats),
        _pieces(stats),
    )


def _up(stats: "SessionStats", *, words: bool) -> str:
    up = sizes.format_rate(stats.upload_bytes_per_s)
    return f"up {up}" if words else f"↑ {up}"


def _peers(stats: "SessionStats") -> str:
    """Return ``peers 12 (seeds 2, tracker 3, DHT 9)``: how many are connected, and from where."""
    counts = [f"seeds {stats.seeds}"]
    for name, word in _SOURCES.items():
        if name in stats.sources and (connected := stats.sources[name].connected):
            counts.append(f"{word} {connected}")
    return f"peers {stats.peers} ({', '.join(counts)})"


def _origins(stats: "SessionStats") -> str:
    """Return which source of peers gave how much, where there were several."""
    parts = [
        f"{word} {sizes.format_size(stats.sources[name].downloaded_bytes)}"
        for name, word in _SOURCES.items()
        if name in stats.sources and stats.sources[name].downloaded_bytes
    ]
    return f"; {', '.join(parts)}" if len(parts) > 1 else ""


def _pieces(stats: "SessionStats") -> str:
    return f"pieces {stats.pieces_have}/{stats.pieces_total}"


def _elapsed(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else sizes.format_duration(seconds)
