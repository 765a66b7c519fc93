"""Which files of a watched folder are due: whole ones, each once. Time and listing are given."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.service.watch_schedule import (
    GIVE_UP_S,
    RETRY_S,
    SETTLE_S,
    DueFile,
    ListedFile,
    ReadOutcome,
    WatchSchedule,
    is_watched,
)

FILE = ListedFile("a.torrent", size_bytes=100, mtime_ns=1, inode=7)


def due(folder: WatchSchedule, now: float, *files: ListedFile, is_asked: bool = False) -> list[str]:
    return [file.name for file in folder.due(files, now, is_asked=is_asked)]


def test_a_file_is_due_when_it_stood_still() -> None:
    folder = WatchSchedule()
    assert due(folder, 0.0, FILE) == []
    assert due(folder, SETTLE_S / 2, FILE) == []
    assert due(folder, SETTLE_S, FILE) == ["a.torrent"]


@pytest.mark.parametrize(
    "changed",
    [replace(FILE, size_bytes=101), replace(FILE, mtime_ns=2), replace(FILE, inode=8)],
    ids=["size", "mtime", "inode"],
)
def test_a_file_that_is_being_written_is_left_alone(changed: ListedFile) -> None:
    folder = WatchSchedule()
    due(folder, 0.0, FILE)
    assert due(folder, SETTLE_S, changed) == []
    assert due(folder, 2 * SETTLE_S - 0.01, changed) == []
    assert due(folder, 2 * SETTLE_S, changed) == ["a.torrent"]


def test_what_is_done_is_not_due_again_though_it_could_not_be_renamed() -> None:
    folder = WatchSchedule()
    due(folder, 0.0, FILE)
    due(folder, SETTLE_S, FILE)
    folder.record("a.torrent", ReadOutcome.DONE, SETTLE_S)
    assert due(folder, 1e6, FILE) == []
    assert due(folder, 1e6, FILE, is_asked=True) == []
    other = replace(FILE, mtime_ns=2)  # another one under the same name
    assert due(folder, 1e6 + 1, other) == []
    assert due(folder, 1e6 + 2, other) == ["a.torrent"]


def test_what_is_no_torrent_is_tried_until_nobody_can_be_writing_it() -> None:
    folder = WatchSchedule()
    folder.due([FILE], 0.0)
    finals = []
    for step in range(1, 13):
        for file in folder.due([FILE], float(step)):
            finals.append(file.is_final)
            folder.record(file.name, ReadOutcome.INVALID, float(step))
    assert finals[-1]
    assert finals.index(True) == int(GIVE_UP_S) - 1


def test_what_failed_for_another_reason_is_tried_again_after_a_while() -> None:
    folder = WatchSchedule()
    due(folder, 0.0, FILE)
    due(folder, SETTLE_S, FILE)
    folder.record("a.torrent", ReadOutcome.LATER, SETTLE_S)
    assert due(folder, RETRY_S, FILE) == []
    assert due(folder, SETTLE_S + RETRY_S, FILE) == ["a.torrent"]


def test_who_asks_need_not_wait_but_nothing_is_given_up_for_it() -> None:
    folder = WatchSchedule()
    assert folder.due([FILE], 0.0, is_asked=True) == [DueFile("a.torrent", is_final=False)]
    folder.record("a.torrent", ReadOutcome.LATER, 0.0)
    assert folder.due([FILE], 0.1, is_asked=True) == [DueFile("a.torrent", is_final=False)]


def test_a_file_that_went_and_came_back_is_new() -> None:
    folder = WatchSchedule()
    due(folder, 0.0, FILE)
    due(folder, SETTLE_S, FILE)
    folder.record("a.torrent", ReadOutcome.DONE, SETTLE_S)
    assert due(folder, 2.0) == []
    folder.record("a.torrent", ReadOutcome.DONE, 2.0)  # of a file that is gone: nothing
    assert due(folder, 3.0, FILE) == []
    assert due(folder, 4.0, FILE) == ["a.torrent"]


def test_several_are_due_by_name() -> None:
    folder = WatchSchedule()
    files = [replace(FILE, name=name) for name in ("c.magnet", "a.torrent", "B.TORRENT")]
    due(folder, 0.0, *files)
    assert due(folder, 1.0, *files) == ["B.TORRENT", "a.torrent", "c.magnet"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.torrent", True),
        ("A.TORRENT", True),
        ("links.magnet", True),
        ("a.torrent.added", False),
        ("a.torrent.2.added", False),
        ("a.magnet.invalid", False),
        (".a.torrent", False),
        ("a.torrent.part", False),
        ("torrent", False),
        ("", False),
    ],
)
def test_only_torrents_and_lists_of_links_are_watched(name: str, *, expected: bool) -> None:
    assert is_watched(name) is expected


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),
        st.lists(st.builds(replace, st.just(FILE), size_bytes=st.integers(0, 2)), max_size=1),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_content_is_taken_twice_nor_before_it_stood_still(
    steps: list[tuple[float, list[ListedFile]]],
) -> None:
    folder, now = WatchSchedule(), 0.0
    since: tuple[ListedFile | None, float] = None, 0.0
    taken = False
    for wait, listing in steps:
        now += wait
        facts = listing[0] if listing else None
        if facts != since[0]:
            since, taken = (facts, now), False
        for file in folder.due(listing, now):
            assert facts is not None
            assert now - since[1] >= SETTLE_S
            assert not taken
            folder.record(file.name, ReadOutcome.DONE, now)
            taken = True
