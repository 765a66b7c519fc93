"""A minute of ``bench/run soak`` in short: a few torrents that change all the time."""

import sys
from pathlib import Path
from random import Random

import pytest

from tests.support.crash_fleet import FleetSeed
from tests.support.soak import Soak, complaints
from tests.support.swarm import shared_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import ManagerConfig
from torrent_engine.engine.manager.torrent_manager import TorrentManager

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are of /proc"),
]

ROUNDS, ROUND_S = 3, 2.0
MAX_GROWTH_MIB = 24.0
"""Generous: a leak of a torrent's parts for each that was removed is more."""


async def test_torrents_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    made = [
        make_torrent({"a": payload_of(90_000, n), "b/c": payload_of(40_000, -n)}, name=f"{n}")
        for n in range(8)
    ]
    by_hash = {metainfo.info_hash.hex(): (metainfo, payload) for metainfo, payload in made}
    seed = FleetSeed(by_hash, 1 << 30)
    places = [tmp_path / "one", tmp_path / "two"]
    config = ManagerConfig(shared=shared_config(tmp_path), save_path=str(places[0]))
    try:
        async with TorrentManager(config) as manager:
            torrents = [metainfo for metainfo, _ in made]
            soak = Soak(manager, torrents, places, seed.address, Random(1))
            with complaints(soak.soaked):
                rests = [await soak.round(ROUND_S) for _ in range(ROUNDS)]
    finally:
        seed.close()
    assert soak.soaked.done["add"] > ROUNDS
    assert not soak.soaked.logged
    assert {rest.tasks for rest in rests} == {rests[0].tasks}
    assert rests[-1].descriptors <= rests[0].descriptors + 2  # threads of the seed end later
    assert rests[-1].rss_mib - rests[0].rss_mib < MAX_GROWTH_MIB
