"""What the sources of peers tell the DHT."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.swarm.peer_sources import MAX_JOIN_NODES, PeerSources, SourceFacts
from torrent_engine.protocol.tracker.announce import NOTHING_MOVED

NODES = tuple(PeerAddress("192.0.2.1", 1 + number) for number in range(1000))


class World:
    """The sources of a torrent that names DHT nodes, in a client that only notes them."""

    def __init__(self, nodes: tuple[PeerAddress, ...], *, is_private: bool = False) -> None:
        self.asked: list[PeerAddress] = []
        discovery = SimpleNamespace(
            add_dht_node=lambda host, port: self.asked.append(PeerAddress(host, port)),
            join=lambda *_, **__: None,
            leave=lambda *_: None,
        )
        shared: Any = SimpleNamespace(
            config=SimpleNamespace(tracker=TrackerConfig()),
            trackers=None,
            announced_port=1,
            listen_port=1,
            discovery=discovery,
        )
        swarm: Any = SimpleNamespace(
            info_hash=InfoHash(bytes(20)),
            other_hash=None,
            peer_id=PeerId(bytes(20)),
            bus=SimpleNamespace(publish=None),
            clock=lambda: 0.0,
            rng=random.Random(1),
            tracker_log=TrackerLog(),
        )
        facts = SourceFacts(
            tiers=(),
            nodes=nodes,
            is_private=is_private,
            totals=lambda: NOTHING_MOVED,
            is_seed=lambda: False,
        )
        pool: Any = None
        self.sources = PeerSources(swarm, shared, pool, facts)
        self._announcer: Any = SimpleNamespace(join=lambda *_: None, leave=lambda _: None)

    def joined(self) -> list[PeerAddress]:
        """Join once, and return the nodes that were asked."""
        self.asked.clear()
        self.sources.begin_rest(self._announcer)
        self.sources.end_rest(self._announcer)
        self.sources.leave()
        return self.asked[:]


def test_f11_of_very_many_dht_nodes_of_a_torrent_some_are_asked_at_each_join() -> None:
    world = World(NODES)
    first, second = world.joined(), world.joined()
    assert len(set(first)) == len(first) == MAX_JOIN_NODES
    assert set(first) < set(NODES)
    assert set(second) != set(first)


@pytest.mark.parametrize("count", [1, MAX_JOIN_NODES])
def test_bep5_a_few_dht_nodes_of_a_torrent_are_asked_in_their_order(count: int) -> None:
    assert World(NODES[:count]).joined() == list(NODES[:count])


def test_bep27_no_dht_node_of_a_private_torrent_is_asked() -> None:
    assert World(NODES, is_private=True).joined() == []
