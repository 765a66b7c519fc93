"""The list of a manager: one Session, one position and one priority for each torrent."""

from types import SimpleNamespace
from typing import Any

from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.manager.torrent_list import TorrentList


def info_hash(number: int) -> InfoHash:
    return InfoHash(bytes([number]) * 20)


def session(number: int) -> Any:
    return SimpleNamespace(other_hash=None, info_hash=info_hash(number), admin=f"admin {number}")


def of(count: int) -> tuple[TorrentList, list[Any]]:
    torrents, sessions = TorrentList(), [session(number) for number in range(count)]
    for each in sessions:
        torrents.add(each, 0, None)
    return torrents, sessions


def test_torrents_are_in_the_order_in_which_they_came_or_where_they_were_put() -> None:
    torrents, sessions = of(2)
    assert torrents.ordered == tuple(sessions)
    between = session(7)
    torrents.add(between, 0, 1)
    assert torrents.ordered == (sessions[0], between, sessions[1])
    assert list(map(str, torrents.queued)) == ["admin 0", "admin 7", "admin 1"]
    assert torrents.order() == (info_hash(0), info_hash(7), info_hash(1))


def test_a_move_changes_the_order_and_nothing_else() -> None:
    torrents, sessions = of(3)
    assert torrents.ordered == tuple(sessions)
    torrents.move_to(info_hash(2), 0)
    assert torrents.ordered == (sessions[2], sessions[0], sessions[1])
    assert [torrents.position(info_hash(number)) for number in range(3)] == [1, 2, 0]
    assert list(torrents.unordered) == sessions


def test_priority_is_that_of_a_torrent_and_goes_with_it() -> None:
    torrents, _ = of(1)
    torrents.add(session(1), 5, None)
    torrents.set_priority(info_hash(0), -2)
    assert [torrents.priority(info_hash(each)) for each in range(3)] == [-2, 5, 0]
    torrents.remove(info_hash(1))
    torrents.add(session(1), 0, None)
    assert torrents.priority(info_hash(1)) == 0


def test_what_was_removed_is_nowhere_and_twice_is_harmless() -> None:
    torrents, sessions = of(2)
    assert len(torrents.ordered) == 2
    for _ in range(2):
        torrents.remove(info_hash(0))
    assert (torrents.get(info_hash(0)), torrents.get(info_hash(1))) == (None, sessions[1])
    assert list(torrents.ordered) == [sessions[1]]
    assert len(torrents) == 1


def test_a_cleared_list_has_no_order_and_no_priorities() -> None:
    torrents, _ = of(2)
    torrents.set_priority(info_hash(0), 3)
    assert len(torrents.ordered) == 2
    torrents.clear()
    assert [torrents.ordered, torrents.order(), torrents.queued] == [(), (), ()]
    assert torrents.priority(info_hash(0)) == 0
