"""Our tracker client against Debian's opentracker, over HTTP and UDP."""

from collections.abc import Iterator

import anyio
import pytest

from tests.support.netns import LOOPBACK
from tests.support.opentracker import OpenTracker
from tests.support.processes import free_port
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.net.tracker.client import open_tracker_client
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
)

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

HTTP_HASH = InfoHash(bytes(range(235, 255)))
UDP_HASH = InfoHash(b"\x00\x01&=%+ /?#0123456789")
STRANGER = InfoHash(b"?" * 20)
SCHEMES = {"http": HTTP_HASH, "udp": UDP_HASH}


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenTracker]:
    folder = tmp_path_factory.mktemp("opentracker")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with OpenTracker(LOOPBACK, folder, [HTTP_HASH, UDP_HASH], port=free_port()) as running:
        yield running


def url_of(tracker: OpenTracker, scheme: str) -> str:
    return tracker.http_url if scheme == "http" else tracker.udp_url


def request(info_hash, name, port, left, event=AnnounceEvent.STARTED):
    return AnnounceRequest(
        info_hash=info_hash,
        peer_id=PeerId(name.encode() * 20),
        port=port,
        totals=AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=left),
        event=event,
        key=0x1234,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_bep15_opentracker_names_our_peers_until_they_stop(tracker, scheme):
    info_hash, url = SCHEMES[scheme], url_of(tracker, scheme)
    with anyio.fail_after(30):
        async with open_tracker_client(TrackerConfig()) as client:
            await client.announce(url, request(info_hash, "s", 7001, left=0))
            leech = await client.announce(url, request(info_hash, "l", 7002, left=5))
            done = request(info_hash, "l", 7002, left=0, event=AnnounceEvent.COMPLETED)
            await client.announce(url, done)
            counts = (await client.scrape(url, [info_hash]))[info_hash]
            stopped = request(info_hash, "s", 7001, left=0, event=AnnounceEvent.STOPPED)
            await client.announce(url, stopped)
            last = await client.announce(url, request(info_hash, "m", 7003, left=5))
    assert PeerAddress("127.0.0.1", 7001) in leech.peers
    assert leech.interval_s
    assert leech.interval_s > 60
    assert (leech.seeds, leech.leeches) == (1, 1)
    assert (counts.seeds, counts.leeches, counts.downloads) == (2, 0, 1)
    assert PeerAddress("127.0.0.1", 7001) not in last.peers
    assert PeerAddress("127.0.0.1", 7002) in last.peers


async def test_bep3_opentracker_refuses_a_torrent_that_it_does_not_serve(tracker):
    with anyio.fail_after(30):
        async with open_tracker_client(TrackerConfig()) as client:
            with pytest.raises(TrackerError):
                await client.announce(tracker.http_url, request(STRANGER, "x", 7009, left=1))
