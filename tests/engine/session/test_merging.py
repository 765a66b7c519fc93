"""A second source of a torrent: which of its trackers are added."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.torrents import make_torrent
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.session.merging import merge_trackers
from torrent_engine.protocol.tracker.urls import parse_tracker_url

KNOWN = "http://known.example/announce"
NEW = "udp://new.example:1/announce"
LINK = Magnet.parse(f"magnet:?xt=urn:btih:{'1' * 40}&tr={KNOWN}&tr=wss://other.example&tr={NEW}")


@dataclass
class FakeSession:
    """A Session with one tracker."""

    is_private: bool | None
    added: list[str] = field(default_factory=list)

    def add_tracker(self, url: str, tier: int | None = None) -> bool:
        parse_tracker_url(url)
        if url == KNOWN:
            return False
        self.added.append(url)
        return True


@pytest.mark.parametrize("is_private", [False, None])
def test_new_trackers_are_added_and_those_of_unsupported_schemes_skipped(
    is_private: bool | None,
) -> None:
    session: Any = FakeSession(is_private)
    assert merge_trackers(session, LINK) == 1
    assert session.added == [NEW]


def test_bep27_a_private_torrent_keeps_its_own_trackers() -> None:
    session: Any = FakeSession(is_private=True)
    assert merge_trackers(session, LINK) == 0
    assert session.added == []


def test_bep27_trackers_of_a_private_torrent_are_given_to_no_other() -> None:
    metainfo, _ = make_torrent(b"x" * 100, tiers=[[NEW]], is_private=True)
    assert metainfo.is_private
    session: Any = FakeSession(is_private=False)
    assert merge_trackers(session, metainfo) == 0


def test_a15_of_very_many_trackers_a_hundred_are_looked_at() -> None:
    tiers = [[f"udp://{number}.example:80"] for number in range(150)]
    metainfo, _ = make_torrent(b"x" * 100, tiers=tiers)
    session: Any = FakeSession(is_private=False)
    assert merge_trackers(session, metainfo) == 100
    assert session.added == [url for (url,) in tiers[:100]]
