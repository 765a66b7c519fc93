"""What progress looks like."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.cli import fakes
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.cli.output import views, wrapping
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SOURCE_NAMES, SourceCounts

HALF = replace(
    fakes.FakeStats(),
    completed_bytes=150 << 20,
    wanted_bytes=300 << 20,
    download_bytes_per_s=100 << 20,
    upload_bytes_per_s=1024.0,
    eta_s=1.5,
    pieces_have=600,
    pieces_total=1200,
    peers=3,
    seeds=2,
)


PEERS = "peers 3 (seeds 2), pieces 600/1200"


def drawn(*rows: views.Row, width: int = 80, height: int = 24, ascii_only: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, emoji=False)
    view = views.live_view(rows, width=width, height=height, ascii_only=ascii_only)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def row(label: str = "one", stats: Any = HALF) -> views.Row:
    return views.session_row(label, label, stats)


def test_a_download_has_a_bar_and_its_numbers() -> None:
    bar, detail = drawn(row()).splitlines()
    assert bar.startswith("one ")
    assert bar.endswith(" 50.0% ETA 0:02   ")
    assert len(bar) <= 80
    assert abs(bar.count("━") - bar.count("─")) <= 1
    assert detail.startswith("  150.0/300.0 MiB  ↓ 100.0 MiB/s  ↑ 1.0 KiB/s    peers 3 (seeds 2)")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(row("a name that is long enough to be cut " * 4), width=width).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)


def test_more_torrents_than_lines_are_counted() -> None:
    lines = drawn(*(row(f"t{n}") for n in range(30)), height=12).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "  and 25 more"


def test_a_terminal_without_utf8_gets_ascii() -> None:
    bar = drawn(row(), ascii_only=True).splitlines()[0]
    assert bar.isascii()
    assert "####" in bar


def test_markup_in_a_name_stays_text() -> None:
    assert "[red]x[/red]" in drawn(row("[red]x[/red]"))


@pytest.mark.parametrize(
    ("stats", "line"),
    [
        (None, "t: loading"),
        (
            replace(HALF, state=State.CHECKING, checked_fraction=0.25),
            "t: checking 25.0%, pieces 600/1200",
        ),
        (
            replace(HALF, state=State.SEEDING, uploaded_bytes=1 << 20, ratio=0.5),
            "t: seeding, up 1.0 KiB/s, 1.0 MiB sent, ratio 0.50, peers 3 (seeds 2)",
        ),
        (replace(HALF, state=State.PAUSED), "t: paused"),
        (
            replace(HALF, state=State.FETCHING_METADATA, wanted_bytes=0, elapsed_s=4.2),
            "t: fetching metadata, peers 3 (seeds 2), 0:04 elapsed",
        ),
        (
            HALF,
            f"t: 50.0%, 150.0/300.0 MiB, down 100.0 MiB/s, up 1.0 KiB/s, ETA 0:02, {PEERS}",
        ),
    ],
)
def test_the_plain_line_of_each_state(stats: Any, line: str) -> None:
    assert views.plain_line(row("t", stats)) == line


SOURCES = {
    "tracker": SourceCounts(50, 2, 10 << 20),
    "dht": SourceCounts(9, 7, 20 << 20),
    "pex": SourceCounts(4, 0, 0),
    "web_seed": SourceCounts(0, 1, 1 << 20),
    "incoming": SourceCounts(0, 0, 0),
}


def test_peers_are_counted_by_where_they_came_from() -> None:
    stats = replace(HALF, peers=9, sources=SOURCES)
    for state in (State.DOWNLOADING, State.SEEDING, State.FETCHING_METADATA):
        facts = row("t", replace(stats, state=state)).facts
        assert "peers 9 (seeds 2, tracker 2, DHT 7, web seeds 1)" in facts


def test_every_source_has_a_word() -> None:
    assert set(views._SOURCES) == set(SOURCE_NAMES)


def test_the_last_line_says_what_came_from_where_if_there_were_several_sources() -> None:
    stats: Any = replace(HALF, downloaded_bytes=300 << 20, elapsed_s=2.0, sources=SOURCES)
    assert views.done_line("complete", stats, "d/t") == (
        "complete, 300.0 MiB in 2.0 s"
        " (150.0 MiB/s; tracker 10.0 MiB, DHT 20.0 MiB, web seeds 1.0 MiB), in d/t"
    )
    one: Any = replace(stats, sources={"dht": SOURCES["dht"]})
    assert "(150.0 MiB/s), in d/t" in views.done_line("complete", one, "d/t")


def test_a_link_that_looks_for_its_metadata_has_an_empty_bar() -> None:
    stats = replace(HALF, state=State.FETCHING_METADATA, wanted_bytes=0, completed_bytes=0)
    bar, detail = drawn(row("t", stats)).splitlines()
    assert "━" not in bar
    assert "  0.0%" in bar
    assert detail.startswith("  fetching metadata  peers 3 (seeds 2)  0:01 elapsed")


def test_a_torrent_without_bytes_is_complete() -> None:
    assert row("t", replace(HALF, wanted_bytes=0, completed_bytes=0)).fraction == 1.0


def test_the_last_line_has_size_time_rate_and_place() -> None:
    stats: Any = replace(HALF, downloaded_bytes=300 << 20, elapsed_s=2.0)
    assert views.done_line("complete", stats, "d/t") == (
        "complete, 300.0 MiB in 2.0 s (150.0 MiB/s), in d/t"
    )


def link_row() -> views.Row:
    stats = replace(HALF, state=State.FETCHING_METADATA, peers=0, seeds=0, elapsed_s=4.0)
    problem = "no peers found yet; the tracker failed: torrent not registered"
    return views.session_row("l", "link", stats, problem=problem, dht="DHT nodes 37")  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_bars_grow_with_the_terminal(width: int) -> None:
    bar = drawn(row("a name"), width=width).splitlines()[0]
    chars = bar.count("━") + bar.count("─")
    assert len(bar) == width
    assert chars >= width - min(wrapping.MAX_LABEL_CHARS, width // 3) - 22


def test_the_state_of_the_dht_is_in_the_line_of_a_link() -> None:
    assert "DHT nodes 37" in link_row().facts
    assert "DHT" not in str(row("t").facts)


def test_a_plain_line_says_what_is_wrong() -> None:
    assert views.plain_line(link_row()).endswith(
        ", DHT nodes 37, no peers found yet; the tracker failed: torrent not registered"
    )


def test_a_terminal_without_utf8_has_words_for_arrows() -> None:
    text = drawn(row("n" * 90), link_row(), ascii_only=True)
    assert text.isascii()
    assert "down 100.0 MiB/s" in text


def test_bep47_what_a_link_led_to_is_told_without_pads() -> None:
    info, _ = hybrid_info({"a": payload_of(20_000), "b": payload_of(5_000)}, piece_bytes=1 << 20)
    metainfo = Metainfo.from_bytes(torrent_around(info))
    assert metainfo.total_bytes >= 1 << 20
    assert views.metadata_line(metainfo, "x.torrent") == "24.4 KiB in 2 files, saved as x.torrent"
