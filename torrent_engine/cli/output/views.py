"""What progress looks like, as text: pure functions of names and SessionStats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output import sizes, wrapping
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.engine.stats import SessionStats

MIN_BAR_CHARS: Final = 3
LINES_PER_ROW: Final = 2
ETA_CHARS: Final = 11  # "ETA 1:02:03"
MIN_ETA_WIDTH: Final = 40
RATE_CHARS: Final = 11  # "312.3 KiB/s"
MAX_DETAIL: Final = 2  # of peers: their number, the seeds, where they came from
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
    """Another one for each torrent, also for those of the same name."""
    label: str
    fraction: float
    """How much of what is being done is done, 0 to 1."""
    facts: tuple[str, ...]
    """In words, for a log."""
    short_facts: tuple[tuple[str, ...], ...] = ()
    """For a line below a bar, the longest first; empty: the same."""
    style: str = "white"
    eta: str = ""
    """Stands behind the percentage of a bar."""
    peers: tuple[str, ...] = ()
    """A line for each that is shown."""
    problem: str = ""
    """Why nothing moves, or what is wrong."""

    @property
    def lines(self) -> int:
        """How many lines it takes below each other."""
        return LINES_PER_ROW + bool(self.problem) + len(self.peers)


def session_row(
    key: str,
    label: str,
    stats: "SessionStats | None",
    *,
    peers: tuple[str, ...] = (),
    problem: str = "",
    dht: str = "",
) -> Row:
    """Return what a torrent looks like; None stands for one that is being loaded."""
    if stats is None:
        return Row(key, label, 0.0, ("loading",))
    fraction = fraction_of(stats)
    style = STATE_STYLES.get(stats.state, "white")
    more = (dht,) if dht and stats.state is State.FETCHING_METADATA else ()
    words = (*_facts(stats, fraction), *more)
    short = tuple((*facts, *more) for facts in _short_facts(stats, fraction))
    eta = f"ETA {sizes.format_duration(stats.eta_s)}"
    eta = eta if stats.state is State.DOWNLOADING else ""
    return Row(key, label, fraction, words, short, style, eta, peers, problem)


def work_row(label: str, facts: tuple[str, ...], done: int, total: int) -> Row:
    """Return what hashing looks like."""
    return Row(label, label, done / total if total else 1.0, facts, style="yellow")


def plain_line(row: Row) -> str:
    """Return one line for a log: name, then what happens; and one for each peer that is shown."""
    facts = [*row.facts, row.problem] if row.problem else row.facts
    return "\n  ".join([f"{row.label}: {', '.join(facts)}", *row.peers])


def done_line(verb: str, stats: "SessionStats", path: str) -> str:
    """Return the line that says that all is there, and where it lies."""
    text = f"{verb}, {sizes.format_size(stats.wanted_bytes)}"
    if stats.downloaded_bytes and stats.elapsed_s > 0:
        rate = sizes.format_rate(stats.downloaded_bytes / stats.elapsed_s)
        text += f" in {_elapsed(stats.elapsed_s)} ({rate}{_origins(stats)})"
    return f"{text}, in {path}"


def metadata_line(metainfo: "Metainfo", path: str) -> str:
    """Return the line that says what a magnet link led to, and where its .torrent lies."""
    count = sum(not metainfo.files.is_pad(index) for index in range(len(metainfo.files)))
    files = "1 file" if count == 1 else f"{count:,} files"
    return f"{sizes.format_size(metainfo.content_bytes)} in {files}, saved as {path}"


def incomplete_line(stats: "SessionStats") -> str:
    """Return how much of a torrent is there."""
    return f"incomplete: {stats.pieces_have} of {stats.pieces_total} pieces are there"


def seeded_line(stats: "SessionStats") -> str:
    """Return the line that says how much was given."""
    sent = sizes.format_size(stats.uploaded_bytes)
    return f"sent {sent}, ratio {stats.ratio:.2f}"


def live_view(
    rows: Sequence[Row], *, width: int, height: int, ascii_only: bool
) -> "RenderableType":
    """Return the bars of as many torrents as the terminal is high."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = []
    room = _rows_that_fit(rows, height - 2)
    for row in rows[:room]:
        shown = row.peers[: max(0, height - 2 - LINES_PER_ROW)]
        facts = _facts_line(row, width, ascii_only=ascii_only)
        details = [(facts, "dim"), *((f"    {peer}", "dim") for peer in shown)]
        if row.problem:
            details.insert(1, (f"  {row.problem}", "yellow"))
        lines.append(bar_line(row, width=width, ascii_only=ascii_only))
        lines.extend(cut_text(text, width, style, ascii_only=ascii_only) for text, style in details)
    if len(rows) > room:
        lines.append(Text(f"  and {len(rows) - room} more", style="dim"))
    return Group(*lines)


def _facts_line(row: Row, width: int, *, ascii_only: bool) -> str:
    """Return the longest line of facts that there is room for; the shortest may lose its end."""
    shortest = row.short_facts[-1] if row.short_facts else row.facts
    candidates = [*(row.short_facts or (row.facts,))]
    candidates += [shortest[:count] for count in range(len(shortest) - 1, 0, -1)]
    lines = [f"  {'  '.join(facts)}".rstrip() for facts in candidates]
    if ascii_only:
        lines = [line.replace("↓", "down").replace("↑", "up") for line in lines]
    return next((line for line in lines if len(line) <= width), lines[-1])


def cut_text(
    text: str, width: int, style: str, *, ascii_only: bool, keeps_end: bool = False
) -> "Text":
    """Return a line that is not wider than ``width`` columns; its end, or its middle, goes."""
    from rich.text import Text

    cut = wrapping.cut_middle if keeps_end else wrapping.cut
    shown = cut(text, width, ellipsis=wrapping.ellipsis_of(ascii_only=ascii_only))
    return Text(shown, style=style, no_wrap=True, overflow="crop")


def _rows_that_fit(rows: Sequence[Row], height: int) -> int:
    """Return how many of the first rows a terminal has room for: one at least."""
    for count, row in enumerate(rows):
        height -= row.lines
        if height < 0:
            return max(1, count)
    return len(rows)


def bar_line(row: Row, *, width: int, ascii_only: bool) -> "Text":
    """Return name, bar and percentage, in the width of the terminal."""
    from rich.text import Text

    name_chars = wrapping.label_chars(width)
    ellipsis = wrapping.ellipsis_of(ascii_only=ascii_only)
    name = wrapping.padded(row.label, name_chars, ellipsis=ellipsis)
    end = f"{sizes.format_percent(row.fraction, 1.0):>6}"
    if width >= MIN_ETA_WIDTH:
        end += f" {row.eta:<{ETA_CHARS}}"
    bar_chars = max(MIN_BAR_CHARS, width - name_chars - len(end) - 2)
    bar = bar_parts(row.fraction, bar_chars, row.style, ascii_only=ascii_only)
    return Text.assemble((name, "bold"), " ", *bar, " ", end)


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


def _facts(stats: "SessionStats", fraction: float) -> tuple[str, ...]:
    percent = sizes.format_percent(fraction, 1.0)
    up = f"up {sizes.format_rate(stats.upload_bytes_per_s)}"
    if stats.state is not State.DOWNLOADING:
        return _other_facts(stats, percent, up, _peers(stats, detail=MAX_DETAIL))
    return (
        percent,
        sizes.format_progress(stats.completed_bytes, stats.wanted_bytes),
        f"down {sizes.format_rate(stats.download_bytes_per_s)}",
        up,
        f"ETA {sizes.format_duration(stats.eta_s)}",
        _peers(stats, detail=MAX_DETAIL),
        _pieces(stats),
    )


def _short_facts(stats: "SessionStats", fraction: float) -> tuple[tuple[str, ...], ...]:
    """Return facts for a line below a bar, the longest first; what changes has a fixed width."""
    details = range(MAX_DETAIL, -1, -1)
    up = f"↑ {sizes.format_rate(stats.upload_bytes_per_s):<{RATE_CHARS}}"
    peers = [_peers(stats, detail=detail) for detail in details]
    if stats.state is not State.DOWNLOADING:
        percent = sizes.format_percent(fraction, 1.0)
        return tuple(_other_facts(stats, percent, up, each) for each in peers)
    done, total = stats.completed_bytes, stats.wanted_bytes
    chars = len(sizes.format_progress(total, total))
    numbers = (
        sizes.format_progress(done, total).rjust(chars),
        f"↓ {sizes.format_rate(stats.download_bytes_per_s):<{RATE_CHARS}}",
        up,
    )
    return ((*numbers, peers[0], _pieces(stats)), *((*numbers, each) for each in peers))


def _other_facts(stats: "SessionStats", percent: str, up: str, peers: str) -> tuple[str, ...]:
    """Return the facts of a state that is no download."""
    if stats.state is State.CHECKING:
        return f"checking {percent}", _pieces(stats)
    if stats.state is State.SEEDING:
        sent = f"{sizes.format_size(stats.uploaded_bytes)} sent"
        return "seeding", up, sent, f"ratio {stats.ratio:.2f}", peers
    if stats.state is State.FETCHING_METADATA:
        return "fetching metadata", peers, f"{sizes.format_duration(stats.elapsed_s)} elapsed"
    return (stats.state.value,)


def _peers(stats: "SessionStats", *, detail: int) -> str:
    """Return ``peers 12 (seeds 2, tracker 3, DHT 9)``: how many are connected, and from where.

    Without the sources where ``detail`` is 1, without the seeds, too, where it is 0.
    """
    counts = [f"seeds {stats.seeds}"] if detail else []
    for name, word in _SOURCES.items() if detail == MAX_DETAIL else ():
        if name in stats.sources and (connected := stats.sources[name].connected):
            counts.append(f"{word} {connected}")
    return f"peers {stats.peers} ({', '.join(counts)})" if counts else f"peers {stats.peers}"


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
