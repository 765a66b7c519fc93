"""Numbers that others must not guess come from the system's random source (rows C2 to C5)."""

import random
from pathlib import Path

import pytest

from tests.support.swarm import resources
from torrent_engine.base.config import DhtConfig
from torrent_engine.net.peers.encryption_handshake import SECRETS

pytestmark = pytest.mark.anyio


async def test_c3_what_protects_anything_is_drawn_from_the_system(tmp_path: Path) -> None:
    dht = DhtConfig(bootstrap=())
    async with resources(tmp_path, dht=dht) as shared:
        utp, service = shared._open.network.utp, shared._open.dht
        assert utp is not None
        assert isinstance(utp._rng, random.SystemRandom)
        assert service is not None
        drivers = service.drivers.values()
        assert drivers
        for driver in drivers:
            assert isinstance(driver.node._endpoint.transactions._rng, random.SystemRandom)
        assert isinstance(shared._open.trackers._udp._rng, random.SystemRandom)
        assert isinstance(SECRETS, random.SystemRandom)
