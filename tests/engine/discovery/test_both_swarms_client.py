"""Announces of hybrid torrents with both of their info-hashes."""

from collections.abc import Sequence
from typing import Any

import pytest

from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.engine.discovery.both_swarms_client import BothSwarmsClient
from torrent_engine.engine.discovery.peer_parts import PART_PEERS
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    AnnounceTotals,
    ScrapeCounts,
)

pytestmark = pytest.mark.anyio

V1, V2 = InfoHash(b"1" * 20), InfoHash(b"2" * 20)
OLD, NEW, BOTH = (PeerAddress("192.0.2.1", port) for port in (1, 2, 3))
URL = "http://tracker.invalid/announce"


class Tracker:
    """Knows the torrents of ``swarms``, and refuses others."""

    def __init__(self, **swarms: tuple[PeerAddress, ...]) -> None:
        self.swarms = {V1: swarms.get("v1"), V2: swarms.get("v2")}
        self.requests: list[AnnounceRequest] = []
        self.patience_s: list[float | None] = []

    async def announce(
        self, url: str, request: AnnounceRequest, *, patience_s: float | None = None
    ) -> AnnounceResponse:
        assert url == URL
        self.patience_s.append(patience_s)
        self.requests.append(request)
        peers = self.swarms[request.info_hash]
        if peers is None:
            raise TrackerError(f"{request.info_hash.hex()} is not known")
        return AnnounceResponse(interval_s=60.0, peers=peers)

    async def scrape(
        self, url: str, info_hashes: Sequence[InfoHash]
    ) -> dict[InfoHash, ScrapeCounts]:
        del url
        return {each: ScrapeCounts(1, 2, 3) for each in info_hashes}


def request(**changes: Any) -> AnnounceRequest:
    facts: dict[str, Any] = {
        "info_hash": V1,
        "peer_id": PeerId(b"p" * 20),
        "port": 6881,
        "totals": AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=1),
        "event": AnnounceEvent.STARTED,
        "numwant": 50,
        "key": 7,
    }
    return AnnounceRequest(**{**facts, **changes})


async def announce(
    tracker: Tracker, v2_hash: InfoHash | None = V2, event: AnnounceEvent = AnnounceEvent.STARTED
) -> tuple[tuple[PeerAddress, ...], list[PeerAddress]]:
    found: list[PeerAddress] = []
    client = BothSwarmsClient(tracker, lambda: v2_hash, found.extend)
    response = await client.announce(URL, request(event=event), patience_s=3.0)
    assert set(tracker.patience_s) == {3.0}
    return tuple(response.peers), found


@pytest.mark.parametrize("event", list(AnnounceEvent))
async def test_bep52_a_hybrid_is_announced_with_both_hashes(event: AnnounceEvent) -> None:
    tracker = Tracker(v1=(OLD, BOTH), v2=(NEW, BOTH))
    peers, of_v2 = await announce(tracker, event=event)
    assert sorted(peers) == [OLD, NEW, BOTH]
    assert of_v2 == [NEW, BOTH]
    assert {each.info_hash for each in tracker.requests} == {V1, V2}
    assert {(each.event, each.key, each.port) for each in tracker.requests} == {(event, 7, 6881)}


async def test_f11_many_peers_of_the_other_swarm_come_in_parts() -> None:
    many = tuple(PeerAddress("192.0.2.1", 1 + number) for number in range(PART_PEERS + 1))
    sizes: list[int] = []
    client = BothSwarmsClient(
        Tracker(v1=(OLD,), v2=many), lambda: V2, lambda peers: sizes.append(len(peers))
    )
    await client.announce(URL, request(), patience_s=3.0)
    assert sizes == [PART_PEERS, 1]


async def test_bep52_a_tracker_may_know_one_of_both_hashes() -> None:
    assert await announce(Tracker(v1=(OLD,))) == ((OLD,), [])
    assert await announce(Tracker(v2=(NEW,))) == ((NEW,), [NEW])
    with pytest.raises(TrackerError, match=V1.hex()):
        await announce(Tracker())


async def test_bep52_other_torrents_are_announced_once() -> None:
    tracker = Tracker(v1=(OLD,))
    assert await announce(tracker, v2_hash=None) == ((OLD,), [])
    assert [each.info_hash for each in tracker.requests] == [V1]


async def test_bep48_a_scrape_is_that_of_the_client() -> None:
    client = BothSwarmsClient(Tracker(), lambda: V2, lambda _: None)
    assert await client.scrape(URL, [V1]) == {V1: ScrapeCounts(1, 2, 3)}
