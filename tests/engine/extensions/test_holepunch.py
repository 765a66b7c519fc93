"""BEP 55 among connected peers: who is told what, and who is dialled."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.quiet_peers import make_peer
from torrent_engine.base.config import (
    HolepunchConfig,
    NetworkConfig,
    PoolConfig,
    SharedConfig,
    TransportProtocol,
    UtpConfig,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.extensions.holepunch import Holepunch
from torrent_engine.engine.swarm.extension_ids import local_extensions
from torrent_engine.engine.swarm.own_addresses import OwnAddresses
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.dial_limiter import DialLimiter
from torrent_engine.policy.peers.external_address import ExternalAddresses
from torrent_engine.protocol.wire.holepunch import (
    UT_HOLEPUNCH,
    HolepunchKind,
    HolepunchMessage,
    HolepunchRefusal,
    decode_holepunch,
    encode_holepunch,
)

CONFIG = HolepunchConfig()
POOL = PoolConfig()
PORT = 6881
RENDEZVOUS, CONNECT, ERROR = HolepunchKind
UTP = TransportProtocol.UTP


@dataclass
class FakePool:
    """Notes who is dialled."""

    candidates: CandidateList
    own: OwnAddresses
    dialled: list[tuple[PeerAddress, TransportProtocol | None]] = field(default_factory=list)
    is_full: bool = False

    def dial_now(self, address: PeerAddress, *, only: TransportProtocol | None = None) -> bool:
        if self.is_full or address not in self.candidates:
            return False
        self.dialled.append((address, only))
        return True


class World:
    """One torrent's introductions."""

    def __init__(self, *peers: Peer) -> None:
        self.clock = ManualClock()
        candidates = CandidateList(
            POOL, random.Random(1), dial_limiter=DialLimiter(POOL), is_private=False
        )
        own = OwnAddresses(candidates, ("8.8.0.1",), ExternalAddresses())
        own.begin(PORT)
        self.pool = FakePool(candidates, own)
        self.told: dict[PeerAddress, list[Peer]] = {}
        self.holepunch = Holepunch(
            CONFIG, set(peers), self.pool, self.clock, lambda address: self.told.get(address, [])
        )

    def hear(self, peer: Peer, kind: HolepunchKind, address: PeerAddress, reason: int = 0) -> None:
        payload = encode_holepunch(HolepunchMessage(kind, address, reason))
        self.holepunch.on_message(peer, payload)

    def ask(self, address: PeerAddress, *tellers: Peer) -> None:
        """Let a dial fail to whom peers say they are connected."""
        self.holepunch.note_support(address)
        self.told[address] = list(tellers)
        self.holepunch.not_reached(address)


def at(host: str, port: int = PORT) -> PeerAddress:
    return PeerAddress(host, port)


def able(host: str, **options: Any) -> Peer:
    return make_peer(host, speaks=(UT_HOLEPUNCH,), **options)


def able_incoming(host: str, *, port: int = PORT, listen_port: int | None = None) -> Peer:
    return able(host, port=port, source=Source.INCOMING, listen_port=listen_port)


def sent_to(peer: Peer) -> list[HolepunchMessage]:
    link: Any = peer.link
    messages, link.flushed = [each[6:] for each in link.flushed], []
    decoded = [decode_holepunch(each) for each in messages]
    return [each for each in decoded if each is not None]


# -- the relay --------------------------------------------------------------------------------


def test_bep55_a_relay_tells_both_where_the_other_is() -> None:
    asker, target = able_incoming("8.0.0.1", listen_port=PORT), able("8.0.0.2")
    world = World(asker, target)
    world.hear(asker, RENDEZVOUS, at("8.0.0.2"))
    assert sent_to(asker) == [HolepunchMessage(CONNECT, at("8.0.0.2"))]
    assert sent_to(target) == [HolepunchMessage(CONNECT, at("8.0.0.1"))]
    assert world.pool.dialled == []


def test_bep55_who_came_over_utp_is_met_where_its_packets_come_from() -> None:
    """Its router may have given it another port than the one on which it listens."""
    asker = able("8.0.0.1", port=40_001, source=Source.INCOMING, listen_port=PORT, protocol=UTP)
    target = able("8.0.0.2", port=40_002, source=Source.INCOMING, listen_port=PORT, protocol=UTP)
    world = World(asker, target)
    for name in (at("8.0.0.2"), at("8.0.0.2", 40_002)):
        world.hear(asker, RENDEZVOUS, name)
        assert sent_to(asker) == [HolepunchMessage(CONNECT, at("8.0.0.2", 40_002))]
        assert sent_to(target) == [HolepunchMessage(CONNECT, at("8.0.0.1", 40_001))]


def test_bep55_who_is_at_an_address_goes_before_who_says_so() -> None:
    asker, target = able("8.0.0.1"), able("8.0.0.2")
    liar = able_incoming("8.0.0.2", port=40_000, listen_port=PORT)
    world = World(asker, liar, target)
    world.hear(asker, RENDEZVOUS, at("8.0.0.2"))
    assert sent_to(liar) == []
    assert len(sent_to(target)) == 1


REFUSED = {
    "nobody": (at("8.0.0.9"), HolepunchRefusal.NOT_CONNECTED),
    "another_port": (at("8.0.0.2", 1), HolepunchRefusal.NOT_CONNECTED),
    "no_port": (at("8.0.0.2", 0), HolepunchRefusal.NO_SUCH_PEER),
    "mute": (at("8.0.0.3"), HolepunchRefusal.NO_SUPPORT),
    "hidden": (at("8.0.0.4", 40_000), HolepunchRefusal.NOT_CONNECTED),
    "ourselves": (at("8.8.0.1"), HolepunchRefusal.NO_SELF),
    "itself": (at("8.0.0.1"), HolepunchRefusal.NO_SELF),
}


@pytest.mark.parametrize(("wanted", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_bep55_a_relay_says_why_not(wanted: PeerAddress, reason: HolepunchRefusal) -> None:
    asker, target, mute = able("8.0.0.1"), able("8.0.0.2"), make_peer("8.0.0.3")
    hidden = able_incoming("8.0.0.4", port=40_000)
    world = World(asker, target, mute, hidden)
    world.hear(asker, RENDEZVOUS, wanted)
    assert sent_to(asker) == [HolepunchMessage(ERROR, wanted, reason)]
    assert sent_to(target) == sent_to(mute) == sent_to(hidden) == []


def test_bep55_a_flood_of_wishes_is_passed_over() -> None:
    asker, target = able("8.0.0.1"), able("8.0.0.2")
    world = World(asker, target)
    for _ in range(1_000):
        world.hear(asker, RENDEZVOUS, at("8.0.0.2"))
        world.hear(asker, RENDEZVOUS, at("8.0.0.9"))
    assert len(sent_to(asker)) == CONFIG.max_rendezvous_per_minute
    assert len(sent_to(target)) == CONFIG.max_rendezvous_per_minute // 2


def test_bep55_who_does_not_speak_it_is_not_heard() -> None:
    mute, target = make_peer("8.0.0.1"), able("8.0.0.2")
    world = World(mute, target)
    for kind in HolepunchKind:
        world.hear(mute, kind, at("8.0.0.2"))
        world.hear(mute, kind, at("8.0.0.9"))
    assert sent_to(mute) == sent_to(target) == []
    assert world.pool.dialled == []


def test_bep55_what_is_malformed_ends_the_link_and_what_is_unknown_does_not() -> None:
    peer = able("8.0.0.1")
    world = World(peer)
    world.holepunch.on_message(peer, b"\x09\0" + bytes(10))
    with pytest.raises(RemoteProtocolError):
        world.holepunch.on_message(peer, b"\0\0")
    assert sent_to(peer) == []


# -- the initiator ----------------------------------------------------------------------------


def test_bep55_who_named_an_address_is_asked_when_a_dial_failed() -> None:
    mute, relay, other = make_peer("8.0.0.1"), able("8.0.0.2"), able("8.0.0.3")
    world = World(mute, relay, other)
    world.ask(at("8.0.0.9"), mute, relay)
    assert sent_to(relay) == [HolepunchMessage(RENDEZVOUS, at("8.0.0.9"))]
    assert sent_to(mute) == sent_to(other) == []


def test_bep55_nobody_is_asked_for_who_cannot_be_introduced() -> None:
    relay = able("8.0.0.2")
    world = World(relay)
    world.told[at("8.0.0.9")] = [relay]
    world.holepunch.not_reached(at("8.0.0.9"))
    world.ask(at("8.0.0.8"))
    assert sent_to(relay) == []


def test_bep55_after_a_refusal_the_next_is_asked() -> None:
    relays = [able(f"8.0.0.{number}") for number in (1, 2, 3, 4)]
    world, wanted = World(*relays), at("8.0.0.9")
    world.ask(wanted, *relays)
    world.hear(relays[2], ERROR, wanted, HolepunchRefusal.NOT_CONNECTED)  # nobody asked it
    asked = []
    for relay in relays:
        asked.append(sent_to(relay))
        world.hear(relay, ERROR, wanted, HolepunchRefusal.NOT_CONNECTED)
    assert asked == [[HolepunchMessage(RENDEZVOUS, wanted)]] * 3 + [[]]


def test_bep55_a_relay_that_left_is_not_asked() -> None:
    gone, first, second = able("8.0.0.1"), able("8.0.0.2"), able("8.0.0.3")
    world, wanted = World(gone, first, second), at("8.0.0.9")
    world.ask(wanted, first, gone, second)
    world.holepunch.on_left(gone)
    world.hear(first, ERROR, wanted, HolepunchRefusal.NO_SUPPORT)
    assert sent_to(gone) == []
    assert len(sent_to(second)) == 1


def test_bep55_whom_we_are_introduced_to_is_dialled_over_utp_and_not_asked_for_again() -> None:
    relay = able("8.0.0.1")
    world, wanted = World(relay), at("8.0.0.9")
    world.ask(wanted, relay)
    world.hear(relay, CONNECT, wanted)
    assert world.pool.dialled == [(wanted, UTP)]
    assert world.holepunch.was_introduced(wanted)
    assert len(sent_to(relay)) == 1
    world.holepunch.not_reached(wanted)
    assert sent_to(relay) == []


# -- the target -------------------------------------------------------------------------------


def test_bep55_who_wants_to_meet_us_is_dialled() -> None:
    relay = able("8.0.0.1")
    world = World(relay)
    world.hear(relay, CONNECT, at("8.0.0.9"))
    assert world.pool.dialled == [(at("8.0.0.9"), UTP)]
    assert world.pool.candidates.sources(at("8.0.0.9")) == Source.PEX
    world.told[at("8.0.0.9")] = [relay]
    world.holepunch.note_support(at("8.0.0.9"))
    world.holepunch.not_reached(at("8.0.0.9"))  # nor is that a reason to ask
    assert sent_to(relay) == []


IGNORED = {
    "ourselves": at("8.8.0.1"),
    "a_peer": at("8.0.0.2"),
    "where_a_peer_listens": at("8.0.0.3"),
    "banned": at("8.0.0.4"),
    "loopback": at("127.0.0.1"),
    "local": at("192.168.0.1"),
    "multicast": at("224.0.0.1"),
    "no_port": at("8.0.0.9", 0),
}


@pytest.mark.parametrize("address", IGNORED.values(), ids=IGNORED.keys())
@pytest.mark.parametrize("was_asked", [False, True])
def test_bep55_nobody_is_dialled_who_must_not_be(address: PeerAddress, was_asked: bool) -> None:
    relay, peer = able("8.0.0.1"), able("8.0.0.2")
    incoming = able_incoming("8.0.0.3", port=40_000, listen_port=PORT)
    world = World(relay, peer, incoming)
    world.pool.candidates.ban(at("8.0.0.4"), None, world.clock())
    if was_asked:
        world.ask(address, relay)
    sent_to(relay)
    world.hear(relay, CONNECT, address)
    assert world.pool.dialled == []
    assert not world.holepunch.was_introduced(address)
    assert sent_to(relay) == []  # not even an error


def test_bep55_a_relay_cannot_make_us_dial_without_end() -> None:
    relay = able("8.0.0.1")
    world = World(relay)
    for number in range(1_000):
        world.hear(relay, CONNECT, at(f"8.1.{number // 250}.{number % 250 + 1}"))
    assert len(world.pool.dialled) == CONFIG.max_connects_per_minute


def test_bep55_a_pool_that_may_not_dial_does_not() -> None:
    relay = able("8.0.0.1")
    world = World(relay)
    world.pool.is_full = True
    world.hear(relay, CONNECT, at("8.0.0.9"))
    assert not world.holepunch.was_introduced(at("8.0.0.9"))
    assert world.pool.dialled == []


# -- who offers it ----------------------------------------------------------------------------

UTP_IN, UTP_OUT = UtpConfig(outgoing=False), UtpConfig(incoming=False)
OFFERED = {
    "default": (NetworkConfig(), False, True),
    "private": (NetworkConfig(), True, False),
    "switched_off": (NetworkConfig(holepunch=HolepunchConfig(enabled=False)), False, False),
    "accepts_utp_only": (NetworkConfig(utp=UTP_IN), False, False),
    "dials_utp_only": (NetworkConfig(utp=UTP_OUT), False, False),
}


@pytest.mark.parametrize(
    ("network", "is_private", "is_offered"), OFFERED.values(), ids=OFFERED.keys()
)
def test_bep55_is_offered_by_who_can_be_met_and_never_for_a_private_torrent(
    network: NetworkConfig, is_private: bool, is_offered: bool
) -> None:
    extensions = local_extensions(SharedConfig(network=network), is_private=is_private)
    assert (UT_HOLEPUNCH in extensions) is is_offered


# -- all three --------------------------------------------------------------------------------


def test_bep55_the_three_together() -> None:
    """What the relay sends to each is what that one takes."""
    asker_there, target_there = able("8.0.0.1"), able("8.0.0.2")
    relay_here, relay_there = able("8.0.0.3"), able("8.0.0.3")
    asker, relay, target = World(relay_here), World(asker_there, target_there), World(relay_there)
    asker.ask(at("8.0.0.2"), relay_here)
    for message in sent_to(relay_here):
        relay.hear(asker_there, message.kind, message.address)
    for message in sent_to(asker_there):
        asker.hear(relay_here, message.kind, message.address)
    for message in sent_to(target_there):
        target.hear(relay_there, message.kind, message.address)
    assert asker.pool.dialled == [(at("8.0.0.2"), UTP)]
    assert target.pool.dialled == [(at("8.0.0.1"), UTP)]
