"""Row B5: which links of a torrent end where places are short."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.peer_pair import open_connection
from torrent_engine.base.config import SharedConfig, TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.engine.resources.connection_slots import ConnectionSlots, Evictable
from torrent_engine.engine.swarm.eviction import ACTIVE_S
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.pool_limits import IDLE_END_INTERVAL_S, PoolLimits
from torrent_engine.policy.peers.candidates import CandidateList, Source

CONFIG = SharedConfig()
LONG_S = CONFIG.wire.inactivity_timeout_s + 1.0


class FakeLink:
    """A link that ends at once."""

    def __init__(self, pool: "Pool", address: PeerAddress) -> None:
        self.connection = open_connection()
        self.close_reason: str | None = None
        self._pool = pool
        self._address = address

    def end(self, reason: str) -> None:
        """End it, and give its place back."""
        self.close_reason = reason
        self._pool.places.slots.left(self._address.host)
        self._pool.peers = [peer for peer in self._pool.peers if peer.address != self._address]


class Pool:
    """The limits of one torrent, and its peers."""

    def __init__(self, slots: ConnectionSlots, most: int = 200) -> None:
        self.now = 0.0
        self.peers: list[Peer] = []
        swarm: Any = SimpleNamespace(
            shared_config=CONFIG, config=SimpleNamespace(max_connections=most), clock=self.clock
        )
        self.candidates = CandidateList(CONFIG.pool, random.Random(1))
        self.places = PoolLimits(swarm, self.candidates, slots, lambda: None, None)
        self._swarm = swarm
        self._swarm.peers = self.peers

    def clock(self) -> float:
        """Return the time of the test."""
        self._swarm.peers = self.peers
        return self.now

    def come(self, host: str, source: Source = Source.INCOMING) -> bool:
        """Have a peer come; return whether it found a place."""
        address = PeerAddress(host, 6881)
        self.clock()
        if not self.places.take_for_incoming(address, replaces=False):
            return False
        self.places.slots.joined(host)
        link: Any = FakeLink(self, address)
        identity = Identity(address, PeerId(host.encode().rjust(20, b"-")))
        self.peers.append(Peer(link, identity, source, TransferConfig(), self.now))
        return True

    @property
    def hosts(self) -> list[str]:
        """Who is here."""
        return [peer.address.host for peer in self.peers]

    def tick(self, now: float) -> None:
        """Let time pass."""
        self.now = now
        self.places.end_idle(self.clock())


def pools(limit: int, count: int = 2) -> tuple[ConnectionSlots, list[Pool]]:
    slots = ConnectionSlots(limit)
    return slots, [Pool(slots) for _ in range(count)]


def moved(pool: Pool, number: int, now: float) -> Evictable:
    peer = pool.peers[number]
    peer.uploaded_bytes, peer.last_upload_s = 1, now
    return peer.link


def test_b5_a_link_with_payload_of_late_ends_for_no_peer_of_another_torrent() -> None:
    _, (busy, other) = pools(4)
    assert all(busy.come(f"8.0.0.{number}") for number in range(4))
    for number in range(4):
        moved(busy, number, 10.0)
    other.now = busy.now = 10.0 + ACTIVE_S - 1.0
    assert not other.come("9.0.0.1")
    moved(busy, 0, busy.now)
    other.now = busy.now = 10.0 + ACTIVE_S
    assert other.come("9.0.0.1")
    assert len(busy.peers) == 3
    assert "8.0.0.0" in busy.hosts


def test_b5_a_link_that_has_carried_nothing_yet_may_end_for_another_torrent() -> None:
    _, (busy, other) = pools(4)
    assert all(busy.come(f"8.0.0.{number}") for number in range(4))
    assert other.come("9.0.0.1")
    assert len(busy.peers) == 3


def test_b5_interest_alone_holds_no_link_for_ever_while_they_are_short() -> None:
    slots, (subject, other) = pools(4)
    hosts = [f"8.0.0.{number}" for number in range(3)]
    assert all(map(subject.come, hosts))
    for peer in subject.peers:
        peer.connection.state.peer_interested = True
    subject.tick(LONG_S)
    assert subject.hosts == hosts  # nobody needs them
    assert other.come("9.0.0.1")
    assert slots.is_short
    moved(subject, 1, LONG_S)
    subject.tick(LONG_S)
    assert len(subject.hosts) == 2
    assert other.come("9.0.0.2")
    subject.tick(LONG_S + IDLE_END_INTERVAL_S - 1.0)
    assert len(subject.hosts) == 2
    subject.tick(LONG_S + IDLE_END_INTERVAL_S)
    assert subject.hosts == [hosts[1]]


@pytest.mark.parametrize("source", [Source.MANUAL, Source.MANUAL | Source.DHT])
def test_whom_the_user_named_may_be_idle_for_ever(source: Source) -> None:
    _, (subject, _) = pools(1)
    assert subject.come("8.0.0.1", source)
    subject.tick(10 * LONG_S)
    assert subject.hosts == ["8.0.0.1"]


def test_b5_a_crowded_address_takes_the_place_of_no_idle_peer() -> None:
    _, (first, *others) = pools(2 * CONFIG.pool.max_connections_per_ip_in_all, 20)
    assert all(map(first.come, [f"8.{number}.0.1" for number in range(8)]))
    taken = [pool.come("9.0.0.1") for pool in others]
    assert sum(taken) == CONFIG.pool.max_connections_per_ip_in_all
    first.now = 2 * LONG_S
    assert not first.come("9.0.0.1")
    assert first.come("9.0.1.1")


def test_b5_a_full_torrent_ends_no_link_with_payload_for_a_new_peer() -> None:
    pool = Pool(ConnectionSlots(100), most=2)
    pool.candidates.set_external_address(PeerAddress("5.6.7.8", 6881))
    assert pool.come("8.0.0.1")
    assert pool.come("8.1.0.1")
    pool.now = LONG_S
    moved(pool, 0, LONG_S)
    moved(pool, 1, LONG_S)
    assert not any(pool.come(f"9.{number}.0.1") for number in range(20))
    pool.now += CONFIG.pool.replacement_idle_s
    moved(pool, 1, pool.now)
    assert any(pool.come(f"9.{number}.0.1") for number in range(20))
    assert "8.1.0.1" in pool.hosts
