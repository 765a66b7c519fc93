"""rtorrent takes the metadata of a magnet link over one link, and the payload over another."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engine_client import EngineSeed
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port, wait_until
from tests.support.rtorrent_client import RTorrentClient
from torrent_engine.base.config import PoolConfig

pytestmark = pytest.mark.interop

PATIENCE_S = 180.0
SILENT_TRACKER = "http%3A%2F%2F127.0.0.1%3A9%2Fannounce"


def times(seed: EngineSeed, kind: str) -> list[float]:
    return [float(str(event["time"])) for event in seed.events(kind)]


def test_bep9_rtorrent_is_dialled_again_once_it_has_the_metadata(
    own_hosts: tuple[Host, Host], folder: Path
) -> None:
    """It ends its links when it has the metadata, and knows of nobody to dial but its tracker."""
    left, right = own_hosts
    payload = make_payload(folder, "magnet.bin", {"magnet.bin": 1_000_003})
    magnet = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&tr={SILENT_TRACKER}"
    with ExitStack() as programs:
        leech = programs.enter_context(RTorrentClient(right, folder / "rtorrent", port=free_port()))
        leech.add(magnet, folder / "saved")
        seed = EngineSeed(left, folder / "us", [payload], port=free_port(), peers=[leech.address])
        programs.enter_context(seed)
        wait_until(
            lambda: payload.is_complete_in(folder / "saved"),
            timeout_s=PATIENCE_S,
            what="rtorrent has the payload",
        )
        seed.wait_event("peer.connected", count=2)
        (first_end, *_), (_, second, *_) = (
            times(seed, "peer.disconnected"),
            times(seed, "peer.connected"),
        )
    assert second - first_end < PoolConfig().backoff_first_s / 2
