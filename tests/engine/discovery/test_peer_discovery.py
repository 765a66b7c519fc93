"""DHT and local network asked once for all torrents, in virtual time; then on loopback."""

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.sleeping_clock import SleepingClock, settle
from tests.support.swarm import resources, shared_config, until
from torrent_engine.base.config import DhtConfig, LsdConfig
from torrent_engine.base.errors import BusyError, LocalProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.dht_rounds import SHARE_OF_AN_ANSWER, DhtRounds
from torrent_engine.engine.discovery.lsd_rounds import LsdRounds
from torrent_engine.engine.discovery.peer_discovery import PeerDiscovery, make_discovery
from torrent_engine.net.lsd.service import LsdService
from torrent_engine.net.sockets import keep_running
from torrent_engine.policy.peers.candidate import Source

pytestmark = pytest.mark.anyio

PEERS = [PeerAddress("192.0.2.1", 6881), PeerAddress("2001:db8::1", 6881)]


def torrent(number: int) -> InfoHash:
    return InfoHash(number.to_bytes(20))


ONE, TWO = torrent(1), torrent(2)


class Dht:
    """Answers each search with ``peers`` after ``duration_s``."""

    def __init__(self, clock: SleepingClock) -> None:
        self.clock = clock
        self.node_count = 5
        self.duration_s = 0.0
        self.peers: list[PeerAddress] = []
        self.stored = 8
        self.searches: list[tuple[float, InfoHash, int | None, bool]] = []
        self.running: Counter[InfoHash] = Counter()
        self.most_running = 0
        self.slow_to_end = False
        self.nodes: list[tuple[str, int]] = []

    async def search(
        self,
        info_hash: InfoHash,
        *,
        port: int | None,
        is_seed: bool,
        on_peers: Callable[[list[PeerAddress]], None],
    ) -> int:
        self.searches.append((self.clock(), info_hash, port, is_seed))
        self.running[info_hash] += 1
        assert self.running[info_hash] == 1
        self.most_running = max(self.most_running, self.running.total())
        try:
            on_peers(list(self.peers))
            await self.clock.sleep(self.duration_s)
            on_peers(list(self.peers))
        finally:
            if self.slow_to_end:
                with anyio.CancelScope(shield=True):
                    await self.clock.sleep(20.0)
            self.running[info_hash] -= 1
        return self.stored

    def begin(self) -> None:
        """Nobody is asked here."""

    def add_node(self, host: str, port: int) -> None:
        self.nodes.append((host, port))

    def times(self, info_hash: InfoHash) -> list[float]:
        return [when for when, found, _, _ in self.searches if found == info_hash]


class Lan:
    """A local network that remembers what was announced."""

    capacity = 25

    def __init__(self, clock: SleepingClock) -> None:
        self.clock = clock
        self.datagrams = 1
        self.announced: list[tuple[float, int, tuple[InfoHash, ...]]] = []
        self.is_running = False

    def __call__(self, *, on_announce: Callable[[Sequence[InfoHash], PeerAddress], None]) -> "Lan":
        self.on_announce = on_announce
        return self

    def announce(self, port: int, info_hashes: Sequence[InfoHash]) -> int:
        self.announced.append((self.clock(), port, tuple(info_hashes)))
        return self.datagrams

    async def run(self) -> None:
        self.is_running = True
        await anyio.sleep_forever()

    def times(self, info_hash: InfoHash) -> list[float]:
        return [when for when, _, hashes in self.announced if info_hash in hashes]


class Torrent:
    """Remembers what it was told."""

    def __init__(self, *, is_seed: bool = False) -> None:
        self.is_seed = is_seed
        self.found: list[tuple[PeerAddress, Source]] = []
        self.rounds: list[tuple[Source, int]] = []

    def join(self, discovery: PeerDiscovery, info_hash: InfoHash = ONE, **options: Any) -> bool:
        options.setdefault("listen_port", 6881)
        return discovery.join(
            info_hash,
            is_seed=lambda: self.is_seed,
            on_peers=lambda peers, source: self.found.extend((peer, source) for peer in peers),
            on_round=lambda source, count: self.rounds.append((source, count)),
            **options,
        )


class World:
    """A PeerDiscovery that runs on a clock that is turned by hand."""

    def __init__(self) -> None:
        self.clock = SleepingClock(1000.0)
        self.dht, self.lan = Dht(self.clock), Lan(self.clock)
        options: dict[str, Any] = {
            "clock": self.clock,
            "rng": random.Random(1),
            "sleep": self.clock.sleep,
        }
        self.discovery = PeerDiscovery(
            DhtRounds(self.dht, DhtConfig(), **options),
            LsdRounds(self.lan, LsdConfig(), **options),
            dht=self.dht,
        )


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.discovery.run)
        await settle()
        yield world
        tasks.cancel_scope.cancel()


async def test_a_torrent_that_joins_is_announced_at_once_then_once_an_interval() -> None:
    async with running() as world:
        world.dht.peers = PEERS
        seed = Torrent(is_seed=True)
        assert seed.join(world.discovery)
        await world.clock.advance(1.0)
        assert world.dht.searches == [(1000.0, ONE, 6881, True)]
        assert world.lan.announced == [(1000.2, 6881, (ONE,))]
        await world.clock.advance(1_800.0)
        assert len(world.dht.times(ONE)) == 3
        assert len(world.lan.times(ONE)) == 7


async def test_candidates_come_once_a_round_and_say_who_named_them() -> None:
    async with running() as world:
        world.dht.peers = PEERS
        one = Torrent()
        one.join(world.discovery)
        await world.clock.advance(1.0)
        for _ in range(3):
            world.lan.on_announce([TWO, ONE], PEERS[0])
        assert one.found == [
            (PEERS[0], Source.DHT),
            (PEERS[1], Source.DHT),
            (PEERS[0], Source.LSD),
        ]
        assert one.rounds == [(Source.DHT, 2), (Source.LSD, 0)]
        await world.clock.advance(300.0)  # told again, for it may have been forgotten
        world.lan.on_announce([ONE], PEERS[0])
        assert one.found[3:] == [(PEERS[0], Source.LSD)]
        assert one.rounds[-1] == (Source.LSD, 1)


async def test_bep14_nobody_answers_an_announce() -> None:
    async with running() as world:
        world.dht.peers = PEERS
        Torrent().join(world.discovery)
        await world.clock.advance(100.0)
        assert len(world.lan.announced) == 2
        for number in range(50):
            world.lan.on_announce([ONE], PeerAddress("192.0.2.7", 1 + number))
        await world.clock.advance(50.0)
        assert len(world.lan.announced) == 2


async def test_b10_a_private_torrent_is_refused_and_no_group_is_joined() -> None:
    async with running() as world:
        one = Torrent()
        assert not one.join(world.discovery, is_private=True)
        world.discovery.hurry(ONE)
        await world.clock.advance(10_000.0)
        world.lan.on_announce([ONE], PEERS[0])
        assert (world.dht.searches, world.lan.announced, one.found) == ([], [], [])
        assert not world.lan.is_running
        one.join(world.discovery)
        await world.clock.advance(1.0)
        assert world.lan.is_running


async def test_a_torrent_that_joins_twice_is_our_own_mistake() -> None:
    async with running() as world:
        Torrent().join(world.discovery)
        with pytest.raises(LocalProtocolError):
            Torrent().join(world.discovery)


async def test_bep5_a_round_that_takes_longer_than_its_interval_is_not_begun_twice() -> None:
    async with running() as world:
        world.dht.duration_s = 2_000.0
        Torrent().join(world.discovery)
        for _ in range(20):
            world.discovery.hurry(ONE)
            await world.clock.advance(99.0)
        assert world.dht.times(ONE) == [1000.0]
        await world.clock.advance(30.0)
        assert len(world.dht.times(ONE)) == 2


async def test_bep5_a_torrent_that_leaves_is_not_asked_for_or_told_any_more() -> None:
    async with running() as world:
        world.dht.duration_s, world.dht.peers = 10.0, PEERS
        one = Torrent()
        one.join(world.discovery)
        await world.clock.advance(1.0)
        found = list(one.found)
        world.dht.peers = [PeerAddress("192.0.2.99", 1)]
        world.discovery.leave(ONE)
        await settle()
        assert world.dht.running.total() == 0
        world.lan.on_announce([ONE], PeerAddress("192.0.2.98", 1))
        await world.clock.advance(10_000.0)
        assert one.found == found
        assert one.rounds == [(Source.LSD, 0)]
        assert len(world.dht.searches) == len(world.lan.announced) == 1
        world.discovery.leave(ONE)  # harmless


async def test_bep52_a_torrent_comes_before_a_link_that_claims_its_info_hash() -> None:
    async with running() as world:
        link, torrent = Torrent(), Torrent()
        link.join(world.discovery, is_claim=True)
        torrent.join(world.discovery)
        world.lan.on_announce([ONE], PEERS[0])
        assert (link.found, torrent.found) == ([], [(PEERS[0], Source.LSD)])
        with pytest.raises(BusyError):
            link.join(world.discovery, is_claim=True)
        world.discovery.leave(ONE, is_claim=True)
        assert ONE in world.discovery
        world.discovery.leave(ONE)
        link.join(world.discovery, is_claim=True)
        world.discovery.leave(ONE, is_claim=True)
        assert ONE not in world.discovery


async def test_bep5_a_torrent_that_leaves_before_its_round_begins_is_never_asked_for() -> None:
    async with running() as world:
        Torrent().join(world.discovery)
        world.discovery.leave(ONE)
        await world.clock.advance(10_000.0)
        assert (world.dht.searches, world.lan.announced) == ([], [])


async def test_bep5_a_torrent_that_leaves_as_its_round_begins_is_not_asked_for() -> None:
    world = World()
    rounds = world.discovery._sources[0]
    assert isinstance(rounds, DhtRounds)
    Torrent().join(world.discovery)
    async with anyio.create_task_group() as tasks:
        rounds._begin_some(tasks)
        world.discovery.leave(ONE)
    assert world.dht.searches == []
    assert rounds._running == {}


async def test_bep5_a_torrent_that_comes_back_waits_for_the_end_of_its_old_round() -> None:
    async with running() as world:
        world.dht.duration_s, world.dht.slow_to_end = 100.0, True
        Torrent().join(world.discovery)
        await world.clock.advance(1.0)
        world.discovery.leave(ONE)
        Torrent().join(world.discovery)
        await world.clock.advance(15.0)
        assert len(world.dht.searches) == 1
        await world.clock.advance(30.0)
        assert len(world.dht.searches) == 2
        world.dht.slow_to_end = False


async def test_bep5_nobody_is_asked_before_a_node_is_known_and_then_at_once() -> None:
    async with running() as world:
        world.dht.node_count = 0
        Torrent().join(world.discovery)
        await world.clock.advance(100.0)
        assert world.dht.searches == []
        world.dht.node_count = 1
        await world.clock.advance(1.0)
        assert len(world.dht.searches) == 1
        world.dht.node_count = 0
        Torrent().join(world.discovery, TWO)
        await world.clock.advance(0.1)
        world.dht.node_count = 1
        await world.clock.advance(0.1)
        assert len(world.dht.times(TWO)) == 1


async def test_bep5_a_round_that_found_nobody_is_repeated_soon_unless_it_is_a_seed() -> None:
    async with running() as world:
        Torrent().join(world.discovery)
        Torrent(is_seed=True).join(world.discovery, TWO)
        await world.clock.advance(40.0)
        assert world.dht.times(ONE) == [1000.0, 1005.0, 1015.0, 1035.0]
        assert world.dht.times(TWO) == [1000.0]


async def test_bep5_a_seed_whose_announce_no_node_took_is_announced_again_soon() -> None:
    async with running() as world:
        world.dht.stored, world.dht.peers = 0, PEERS
        Torrent(is_seed=True).join(world.discovery)
        await world.clock.advance(20.0)
        assert world.dht.times(ONE) == [1000.0, 1005.0, 1015.0]


async def test_a_torrent_that_hurries_is_asked_for_once_a_minute_at_most() -> None:
    async with running() as world:
        world.dht.peers = PEERS
        Torrent().join(world.discovery)
        for _ in range(30):
            world.lan.on_announce([ONE], PEERS[0])
            world.discovery.hurry(ONE)
            await world.clock.advance(10.0)
        assert [when - 1000.0 for when in world.dht.times(ONE)] == [0, 60, 120, 180, 240, 300]
        assert len(world.lan.times(ONE)) == 5


async def test_c6_a_torrent_without_peers_is_announced_again_after_a_minute_then_later() -> None:
    async with running() as world:
        Torrent().join(world.discovery)
        await world.clock.advance(500.0)
        assert [round(when - 1000.2) for when in world.lan.times(ONE)][:3] == [0, 60, 180]


async def test_ten_thousand_torrents_do_not_burst() -> None:
    async with running() as world:
        world.dht.duration_s = 3.0
        for number in range(10_000):
            Torrent(is_seed=number % 2 == 0).join(world.discovery, torrent(number))
        await world.clock.advance(60.0)
        assert 100 < len(world.dht.searches) <= 16 + 2 * 60
        assert world.dht.most_running <= 16
        assert len(world.lan.announced) == 5
        await world.clock.advance(120.0)
        assert len(world.lan.announced) == 7
        assert all(len(hashes) == 25 for _, _, hashes in world.lan.announced)


async def test_bep14_torrents_of_different_ports_are_announced_apart() -> None:
    async with running() as world:
        Torrent().join(world.discovery, ONE, listen_port=1111)
        Torrent().join(world.discovery, TWO, listen_port=2222)
        await world.clock.advance(1.0)
        assert [(port, hashes) for _, port, hashes in world.lan.announced] == [
            (1111, (ONE,)),
            (2222, (TWO,)),
        ]


async def test_bep14_without_a_network_it_is_tried_again_after_a_minute() -> None:
    async with running() as world:
        world.lan.datagrams = 0
        Torrent(is_seed=True).join(world.discovery)
        await world.clock.advance(90.0)
        assert len(world.lan.announced) == 2


async def test_a_torrent_takes_no_more_addresses_a_round_than_allowed() -> None:
    async with running() as world:
        many = [PeerAddress("192.0.2.1", port) for port in range(1, 3_000)]
        world.dht.peers = many
        one = Torrent()
        one.join(world.discovery)
        await world.clock.advance(1.0)
        for peer in many:
            world.lan.on_announce([ONE], peer)
        sources = Counter(source for _, source in one.found)
        late = SHARE_OF_AN_ANSWER  # the DHT answers twice
        assert sources == {Source.DHT: 1_000 + late, Source.LSD: 200}


async def test_c2_made_up_peers_of_a_few_answers_keep_no_later_one_out() -> None:
    async with running() as world:
        world.dht.peers = [PeerAddress("192.0.2.1", port) for port in range(1, 3_000)]
        world.dht.duration_s = 1.0
        one = Torrent()
        one.join(world.discovery)
        await world.clock.advance(0.5)
        world.dht.peers = PEERS
        await world.clock.advance(1.0)
        assert one.found[1_000:] == [(peer, Source.DHT) for peer in PEERS]


async def test_a_torrent_that_fails_to_take_peers_does_not_hurt_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_peers: list[PeerAddress], _source: Source) -> None:
        raise ValueError("a bug")

    async with running() as world:
        world.dht.peers = PEERS
        world.discovery.join(ONE, listen_port=1, is_seed=lambda: False, on_peers=fail)
        two = Torrent()
        two.join(world.discovery, TWO)
        with caplog.at_level(logging.ERROR):
            await world.clock.advance(1.0)
            world.lan.on_announce([ONE, TWO], PEERS[1])
        assert len(two.found) == 3
        assert "internal error in a torrent's discovery callback" in caplog.text
        caplog.clear()


async def test_f10_a_bug_in_one_source_of_peers_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keep_running, "RESTART_S", 0.0)
    faults = [ValueError("a bug")]

    async with running() as world:
        announce = world.lan.announce

        def fail(port: int, info_hashes: Sequence[InfoHash]) -> int:
            if faults:
                raise faults.pop()
            return announce(port, info_hashes)

        monkeypatch.setattr(world.lan, "announce", fail)
        Torrent().join(world.discovery, ONE)
        await world.clock.advance(1.0)
        Torrent().join(world.discovery, TWO)
        await world.clock.advance(100.0)
        assert world.lan.times(TWO)
        assert world.dht.times(ONE)
        assert world.dht.times(TWO)
    assert "LsdRounds: internal error; it begins anew" in caplog.messages
    caplog.clear()


async def test_bep5_nodes_that_torrents_name_reach_the_dht() -> None:
    async with running() as world:
        world.discovery.add_dht_node("192.0.2.5", 6881)
        assert world.dht.nodes == [("192.0.2.5", 6881)]
    PeerDiscovery().add_dht_node("192.0.2.5", 6881)  # nobody to tell


async def test_what_is_switched_off_is_not_there(tmp_path: Path) -> None:
    options: dict[str, Any] = {"clock": SleepingClock(), "rng": random.Random(1), "dht": None}
    off = make_discovery(shared_config(tmp_path), **options)
    on = make_discovery(shared_config(tmp_path, lsd=LsdConfig()), **options)
    assert [type(source) for source in off._sources] == []
    assert [type(source) for source in on._sources] == [LsdRounds]


async def test_bep14_two_nodes_on_loopback_find_each_other(tmp_path: Path) -> None:
    lsd, info_hash = LsdConfig(), InfoHash(random.Random().randbytes(20))
    one, two = Torrent(), Torrent()
    async with (
        resources(tmp_path / "one", lsd=lsd) as first,
        resources(tmp_path / "two", lsd=lsd) as second,
    ):
        one.join(first.discovery, info_hash, listen_port=first.listen_port)
        service = first.discovery._sources[0]._source  # type: ignore[attr-defined]
        assert isinstance(service, LsdService)
        await until(lambda: service._joined)
        two.join(second.discovery, info_hash, listen_port=second.listen_port)
        await until(lambda: one.found)
        assert one.found == [(PeerAddress("127.0.0.1", second.listen_port), Source.LSD)]
