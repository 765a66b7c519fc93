"""The roots that torrents of the state folder have."""

from pathlib import Path

import pytest

from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume import known_roots
from torrent_engine.disk.resume.known_roots import KnownRoots
from torrent_engine.disk.resume.similar_files import roots_of
from torrent_engine.disk.state.files import TorrentCopies

ONE, TWO = payload_of(70_000, 1), payload_of(20_000, 2)


def torrent(name: str, *files: bytes, is_hybrid: bool = False) -> Metainfo:
    make = hybrid_info if is_hybrid else v2_info
    named = {str(number): data for number, data in enumerate(files)}
    return Metainfo.from_bytes(torrent_around(*make(named, piece_bytes=32_768, name=name)))


def keep(copies: TorrentCopies, *torrents: Metainfo, is_managed: bool = True) -> None:
    copies.save_unsynced((each.info_hash, each.source) for each in torrents)
    if is_managed:
        copies.save_sessions((each.info_hash, "{}") for each in torrents)


def test_torrents_of_the_manager_are_found_by_root(tmp_path: Path) -> None:
    copies, known = TorrentCopies(tmp_path / "torrents"), KnownRoots()
    first, second = torrent("1", ONE, TWO), torrent("2", b"x", TWO, is_hybrid=True)
    once = torrent("3", ONE)
    keep(copies, first, second)
    keep(copies, once, is_managed=False)
    one, two = roots_of(first)
    assert known.torrents_with([one], copies) == [first.info_hash]
    assert known.torrents_with([two], copies) == sorted([first.info_hash, second.info_hash])
    assert known.torrents_with([bytes(32)], copies) == []


def test_torrents_that_came_are_read_and_those_that_went_are_left_out(tmp_path: Path) -> None:
    copies, known = TorrentCopies(tmp_path / "torrents"), KnownRoots()
    first, second = torrent("1", ONE), torrent("2", TWO, ONE)
    keep(copies, first)
    (one,) = roots_of(first)
    assert known.torrents_with([one], copies) == [first.info_hash]
    keep(copies, second)
    assert len(known.torrents_with([one], copies)) == 2
    copies.remove_sessions([first.info_hash])
    assert known.torrents_with([one], copies) == [second.info_hash]


def test_what_is_known_at_once_is_what_was_read_or_noted(tmp_path: Path) -> None:
    copies, known = TorrentCopies(tmp_path / "torrents"), KnownRoots()
    keep(copies, torrent("1", ONE))
    (one,), (two,) = roots_of(torrent("1", ONE)), roots_of(torrent("2", TWO))
    assert known.may_have([two])  # nothing was read yet
    assert known.torrents_with([two], copies) == []
    assert known.may_have([two, one])
    assert not known.may_have([two])
    known.note([two])
    assert known.may_have([two])


def test_few_roots_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_roots, "MAX_ROOTS", 1)
    copies, known = TorrentCopies(tmp_path / "torrents"), KnownRoots()
    many = torrent("1", ONE, TWO)
    keep(copies, many)
    assert sum(len(known.torrents_with([root], copies)) for root in roots_of(many)) == 1


def test_a_torrent_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    copies, known = TorrentCopies(tmp_path / "torrents"), KnownRoots()
    first = torrent("1", ONE)
    keep(copies, first)
    (tmp_path / "torrents" / f"{first.info_hash.hex()}.torrent").unlink()
    assert known.torrents_with(roots_of(first), copies) == []


def test_a_v1_torrent_has_no_roots() -> None:
    info = {"name": "a", "piece length": 16_384, "pieces": bytes(20), "length": 5}
    assert roots_of(Metainfo.from_bytes(torrent_around(info, {}))) == []
