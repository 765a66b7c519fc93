"""What many torrents look like on one screen."""

import io
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.cli import fakes
from torrent_engine.cli.output import overview, sizes
from torrent_engine.cli.output.overview import (
    DONE,
    FAILED,
    LOADING,
    METADATA,
    QUEUED,
    OverviewEntry,
)
from torrent_engine.engine.states import State

HALF = replace(
    fakes.FakeStats(),
    completed_bytes=150 << 20,
    wanted_bytes=300 << 20,
    download_bytes_per_s=12.5 * (1 << 20),
    upload_bytes_per_s=1024.0,
    eta_s=61.0,
    peers=34,
    ratio=0.5,
)
IDLE = replace(HALF, download_bytes_per_s=0.0, upload_bytes_per_s=0.0, peers=0)


def entry(label: str = "one", word: str = State.DOWNLOADING, stats: Any = HALF) -> OverviewEntry:
    return OverviewEntry(label, word, None if stats is None else lambda: stats)


def managed(state: State, *, is_held: bool = False) -> Any:
    return SimpleNamespace(
        state=state,
        is_held=is_held,
        is_resting=False,
        error=None,
        stats=lambda: replace(HALF, state=state),
        peers=list,
        trackers=list,
    )


def drawn(
    *entries: OverviewEntry, width: int = 80, height: int = 24, ascii_only: bool = False
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, emoji=False)
    view = overview.overview(entries, width=width, height=height, ascii_only=ascii_only)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[1:-1]]


def test_a_line_has_the_numbers_below_their_heads() -> None:
    head, line, total = drawn(entry(), width=80)
    assert head.split() == ["NAME", "STATE", "DONE", "SIZE", "DOWN/S", "UP/S", "PEERS", "ETA"]
    numbers = "one downloading 50.0% 300 MiB 12.5 MiB 1.0 KiB 34 1:01"
    assert line.split() == numbers.split()
    for word in ("DONE", "SIZE", "DOWN/S", "UP/S", "PEERS", "ETA"):
        end = head.index(word) + len(word)
        assert line[end - 1] != " "
    assert total == "1 torrent: 1 downloading; ↓ 12.5 MiB/s, ↑ 1.0 KiB/s, 34 peers"


@pytest.mark.parametrize("width", [12, 20, 31, 40, 60, 79, 80, 109, 110, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    many = [entry("a name that is long enough to be cut " * 4), entry("漢字" * 60)]
    many += [entry(f"t{n}", State.SEEDING) for n in range(30)]
    for line in drawn(*many, width=width, height=10):
        assert Console().measure(line).maximum <= width


@pytest.mark.parametrize("count", [1, 5, 6, 7, 8, 100])
@pytest.mark.parametrize("height", [1, 2, 4, 8, 9, 24])
def test_the_screen_is_never_too_low(count: int, height: int) -> None:
    lines = drawn(*(entry(f"t{n}") for n in range(count)), height=height)
    assert len(lines) <= max(height - 1, 4)  # a head, a torrent, how many more, a sum
    shown = [line for line in lines if line.startswith("t")]
    assert len(shown) == count or f"... and {count - len(shown)} more" in lines[-2]


def test_what_finds_no_room_is_counted_by_what_it_does() -> None:
    many = [entry(f"s{n}", State.SEEDING, IDLE) for n in range(12)]
    many += [entry(f"q{n}", QUEUED, IDLE) for n in range(3)] + [entry("d")]
    lines = drawn(*many, height=5)
    assert names(lines) == ["d", "..."]
    assert lines[-2] == "... and 15 more (12 seeding, 3 queued)"
    assert lines[-1].startswith("16 torrents: 1 downloading, 12 seeding, 3 queued; ")


def test_faults_stand_first_then_what_is_busy_then_the_rest_in_its_order() -> None:
    many = [
        entry("done", DONE, IDLE),
        entry("queued", QUEUED, IDLE),
        entry("paused", State.PAUSED, IDLE),
        entry("quiet-seed", State.SEEDING, IDLE),
        entry("seed", State.SEEDING),
        entry("waits", State.DOWNLOADING, IDLE),
        entry("loads", LOADING, None),
        entry("checks", State.CHECKING, IDLE),
        entry("link", METADATA, IDLE),
        entry("a"),
        entry("b"),
        entry("failed", FAILED, IDLE),
        entry("error", State.ERROR, IDLE),
    ]
    order = "failed error a b waits loads checks link seed quiet-seed queued paused done"
    assert names(drawn(*many)) == order.split()


def test_every_state_has_its_place_and_a_word_that_fits() -> None:
    for state in State:
        session = managed(state)
        made = overview.entry_of(session, "x")
        assert len(made.word) <= 11
        assert drawn(made)[1].split()[1] == made.word


def test_what_the_queue_holds_back_is_queued_and_not_paused() -> None:
    held, paused = managed(State.PAUSED, is_held=True), managed(State.PAUSED)
    assert overview.entry_of(held, "x").word == QUEUED
    assert overview.entry_of(paused, "x").word == State.PAUSED


def test_a_resting_torrent_is_asked_for_its_numbers_only_if_it_is_shown() -> None:
    asked: list[int] = []

    def numbers(index: int) -> Callable[[], Any]:
        def stats() -> Any:
            asked.append(index)
            return IDLE

        return stats

    many = [
        OverviewEntry(f"t{n}", State.SEEDING, numbers(n), is_resting=True) for n in range(1_000)
    ]
    lines = drawn(*many, height=8)
    assert asked == list(range(len(names(lines)) - 1))
    assert lines[1].split()[2] == "50.0%"


def test_a_link_without_metadata_is_not_complete() -> None:
    stats = replace(IDLE, wanted_bytes=0, completed_bytes=0, pieces_total=0)
    line = drawn(entry("link", QUEUED, stats), width=120)[1]
    assert "100%" not in line
    assert "━" not in line


def test_a_check_shows_how_far_it_is() -> None:
    stats = replace(IDLE, state=State.CHECKING, checked_fraction=0.25)
    assert " 25.0% " in drawn(entry("x", State.CHECKING, stats))[1]


def test_a_wide_terminal_has_bars_and_one_without_utf8_ascii() -> None:
    short, long = (drawn(entry(), width=width)[1].count("━") for width in (120, 200))
    assert long - short == (200 - 120) // 2
    lines = drawn(entry(), width=120, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert "######------" in lines[1]


def test_the_sum_has_room_for_whole_words() -> None:
    totals = overview.totals_of([entry("a", METADATA, IDLE), entry("b", State.ERROR, IDLE)])
    assert overview.words_in(totals.words) == "1 in error, 1 fetching metadata"


def test_a_name_cannot_control_the_terminal() -> None:
    line = drawn(entry("evil \x1b[2J\u202e name"))[1]
    assert line.isprintable()
    assert "\\x1b[2J" in line


def test_markup_in_a_name_stays_text() -> None:
    assert drawn(entry("[red]x[/red]"))[1].startswith("[red]x[/red]")


def test_no_torrents_are_a_head_and_a_sum() -> None:
    assert drawn()[-1] == "0 torrents; ↓ 0 B/s, ↑ 0 B/s, 0 peers"


def test_the_sum_of_a_log_has_words() -> None:
    totals = overview.totals_of([entry(), entry("two"), entry("s", State.SEEDING, IDLE)])
    assert overview.total_line(totals) == (
        "3 torrents: 2 downloading, 1 seeding; down 25.0 MiB/s, up 2.0 KiB/s, 68 peers"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "-"),
        (0.4, "-"),
        (512, "512 B"),
        (99.96 * 1024, "100 KiB"),
        (1023.96 * 1024, "1.0 MiB"),
        (12.5 * (1 << 30), "12.5 GiB"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert sizes.format_short(value) == text


@pytest.mark.parametrize("exponent", range(45))
def test_short_numbers_fit_their_column(exponent: int) -> None:
    assert len(sizes.format_short(1023.9 / 1024 * (1 << exponent))) <= 8


MIB = 1 << 20
MANY = [
    entry("debian-13.1.0-amd64-netinst.iso"),
    entry("no-peers.mkv", stats=replace(IDLE, wanted_bytes=700 * MIB, eta_s=None)),
    entry("seeded.tar", State.SEEDING, replace(IDLE, ratio=12.25, completed_bytes=300 * MIB)),
    entry("broken", State.ERROR, IDLE),
]
PROBLEMS = {"no-peers.mkv": "no peers found yet", "broken": "x/y: no space left on device"}


def with_problem(each: OverviewEntry) -> OverviewEntry:
    state = {"broken": State.ERROR, "seeded.tar": State.SEEDING}.get(each.label)
    made: Any = each.stats and each.stats()
    stats: Any = replace(made, state=state or State.DOWNLOADING)
    return replace(each, stats=lambda: stats, problem=lambda: PROBLEMS.get(each.label, ""))


@pytest.mark.parametrize("width", [120, 200])
def test_a_wide_screen_has_bars_size_and_ratio(width: int) -> None:
    head, broken, *_ = drawn(*map(with_problem, MANY), width=width)
    assert head.split()[-6:] == ["SIZE", "DOWN/S", "UP/S", "PEERS", "ETA", "RATIO"]
    assert abs(broken.count("━") - broken.count("─")) <= 1
    assert broken.count("━") >= width // overview.BAR_PART // 2
    assert len(head) == len(broken) == width


def test_seeds_alone_show_their_ratio() -> None:
    head, line, _ = drawn(entry("s", State.SEEDING, replace(IDLE, ratio=12.25)))
    assert head.split()[-1] == "RATIO"
    assert "ETA" not in head
    assert line.endswith("12.25")


def test_what_is_wrong_comes_before_peers_where_there_is_little_room() -> None:
    peers = tuple(f"192.0.2.{n}:6881" for n in range(5))
    many = [replace(with_problem(each), peers=lambda: peers) for each in MANY]
    lines = drawn(*many, height=overview.FIXED_LINES + len(MANY) + 3)
    assert [line.strip() for line in lines if line.startswith("  ")] == [
        "x/y: no space left on device",
        "192.0.2.0:6881",
        "no peers found yet",
    ]


def test_where_no_peers_find_room_that_is_said() -> None:
    many = [replace(entry(f"t{n}"), peers=lambda: ("192.0.2.7:1",)) for n in range(4)]
    assert drawn(*many, height=7)[-1].startswith("no room for peers; 4 torrents: ")
    assert "    192.0.2.7:1" in drawn(*many, height=8)


def test_ascii_cuts_without_an_ellipsis() -> None:
    lines = drawn(entry("n" * 90), width=40, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert lines[1].startswith("nnnnnn")
