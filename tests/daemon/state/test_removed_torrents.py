"""Torrents that were removed: their links are read again as they were written."""

from pathlib import Path

import pytest

from tests.daemon.state.test_torrent_table import Scene
from torrent_engine.base.config import MagnetLimits
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.engine_port.facts import RemovedNotice
from torrent_engine.daemon.state.magnets import magnet_of
from torrent_engine.daemon.state.removed_torrents import RemovedTorrents
from torrent_engine.daemon.state.store import DaemonStore

pytestmark = pytest.mark.anyio


async def test_f6_the_link_of_a_removed_torrent_may_be_longer_than_one_of_a_stranger(
    tmp_path: Path,
) -> None:
    scene = Scene()
    urls = tuple(f"udp://127.0.0.1:9/{number}{'/a' * 1_500}" for number in range(20))
    one = scene.put(trackers=(urls,))
    row = scene.table.get(one)
    assert row is not None
    async with DaemonStore.open(tmp_path) as store:
        removed = RemovedTorrents(scene.table, store.table("removed_torrents"))
        removed.take(RemovedNotice(one))
        found = removed.get(one).magnet
    assert len(str(found)) > MagnetLimits().max_uri_bytes
    assert found == magnet_of(row)
    assert removed.get(InfoHash(bytes(20))).magnet == Magnet(InfoHash(bytes(20)))
