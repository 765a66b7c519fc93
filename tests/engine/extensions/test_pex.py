"""BEP 11 between connected peers: messages in, candidates; peers in, messages out."""

import random
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.quiet_peers import make_peer
from torrent_engine.base.config import (
    ConnectionEncryption,
    PexConfig,
    PoolConfig,
    TransportProtocol,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.extensions.pex import RECEIVERS_PER_TICK, PeerExchange, PexPorts
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.dial_limiter import DialLimiter
from torrent_engine.policy.peers.pex_book import LOOK_AGAIN_S
from torrent_engine.protocol.wire.exchange import (
    PexContact,
    PexFlag,
    PexMessage,
    decode_pex,
    encode_pex,
)
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH

CONFIG = PexConfig()
POOL = PoolConfig()


def incoming(host: str, *, listen_port: int | None) -> Peer:
    return make_peer(host, port=40_000, source=Source.INCOMING, listen_port=listen_port)


class World:
    """One torrent's exchange, with its candidates and a clock."""

    def __init__(
        self,
        config: PexConfig = CONFIG,
        introductions: "Introductions | None" = None,
    ) -> None:
        self.prefer_encryption: list[PeerAddress] = []
        self.clock = ManualClock()
        self.candidates = CandidateList(
            POOL, random.Random(1), dial_limiter=DialLimiter(POOL), is_private=False
        )
        self.wakes = 0
        self.exchange = PeerExchange(
            config,
            POOL,
            self.candidates,
            clock=self.clock,
            rng=random.Random(1),
            ports=PexPorts(self.on_new, self.prefer_encryption.append, introductions),
        )

    def on_new(self) -> None:
        self.wakes += 1

    def join(self, *peers: Peer) -> None:
        for peer in peers:
            self.exchange.on_joined(peer)

    def tell(self, peer: Peer, *hosts: str, flags: PexFlag = PexFlag.NONE) -> None:
        added = tuple(PexContact(PeerAddress(host, 6881), flags) for host in hosts)
        self.exchange.on_message(peer, encode_pex(PexMessage(added)))

    def heard(self, peer: Peer) -> list[PexMessage]:
        """Return what a peer was sent since the last tick but one."""
        self.exchange.tick(self.clock())
        link: Any = peer.link
        messages, link.flushed = link.flushed, []
        assert all(each[4:6] == bytes([20, 40]) for each in messages)  # as the peer numbered it
        return [decode_pex(each[6:]) for each in messages]


def candidate(host: str) -> PeerAddress:
    return PeerAddress(host, 6881)


def test_bep11_peers_are_told_of_each_other_with_flags() -> None:
    world = World()
    asker = make_peer("8.0.0.1")
    seed = make_peer("8.0.0.2", speaks=(UT_HOLEPUNCH,))
    leech = incoming("8.0.0.3", listen_port=7000)
    hidden = incoming("8.0.0.4", listen_port=None)
    world.join(asker, seed, leech, hidden)
    seed.pieces.replace(Bitfield.full(1))  # it says so after its handshake
    (message,) = world.heard(asker)
    flags = PexFlag.UPLOAD_ONLY | PexFlag.REACHABLE | PexFlag.SUPPORTS_HOLEPUNCH
    assert set(message.added) == {
        PexContact(candidate("8.0.0.2"), flags),
        PexContact(PeerAddress("8.0.0.3", 7000), PexFlag.NONE),
    }
    assert world.heard(seed) == []  # it did not say that it speaks BEP 11
    world.exchange.on_left(leech)
    world.clock.advance(60)
    assert world.heard(asker) == [PexMessage(dropped=(PeerAddress("8.0.0.3", 7000),))]


NEITHER = ConnectionEncryption.NONE
TRUTHS = {
    "plain": (TransportProtocol.TCP, NEITHER, False, PexFlag.NONE),
    "over_utp": (TransportProtocol.UTP, NEITHER, False, PexFlag.SUPPORTS_UTP),
    "rc4": (TransportProtocol.TCP, ConnectionEncryption.RC4, False, PexFlag.PREFERS_ENCRYPTION),
    "handshake": (
        TransportProtocol.TCP,
        ConnectionEncryption.PLAINTEXT,
        False,
        PexFlag.PREFERS_ENCRYPTION,
    ),
    "says_so": (TransportProtocol.TCP, NEITHER, True, PexFlag.PREFERS_ENCRYPTION),
}


@pytest.mark.parametrize(
    ("protocol", "encryption", "says_so", "flags"), TRUTHS.values(), ids=TRUTHS.keys()
)
def test_bep11_what_is_said_of_a_peer_is_what_we_saw(
    protocol: TransportProtocol, encryption: ConnectionEncryption, says_so: bool, flags: PexFlag
) -> None:
    world, asker = World(), make_peer("8.0.0.1")
    other = make_peer("8.0.0.2", protocol=protocol, encryption=encryption)
    other.prefers_encryption = says_so
    world.join(asker, other)
    (message,) = world.heard(asker)
    assert message.added == (PexContact(candidate("8.0.0.2"), flags | PexFlag.REACHABLE),)


class Introductions:
    """Notes what it is told."""

    def __init__(self, *met: PeerAddress) -> None:
        self.able: list[PeerAddress] = []
        self.met = met

    def note_support(self, address: PeerAddress) -> None:
        self.able.append(address)

    def was_introduced(self, address: PeerAddress) -> bool:
        return address in self.met


def test_bep55_who_was_met_by_an_introduction_is_not_said_to_be_reachable() -> None:
    world = World(introductions=Introductions(candidate("8.0.0.2")))
    asker, other = make_peer("8.0.0.1"), make_peer("8.0.0.2")
    world.join(asker, other)
    (message,) = world.heard(asker)
    assert message.added == (PexContact(candidate("8.0.0.2"), PexFlag.NONE),)


def test_bep55_it_is_known_who_can_be_introduced_and_who_named_the_address() -> None:
    introductions = Introductions()
    world = World(introductions=introductions)
    one, two, three = (make_peer(f"8.0.0.{number}") for number in (1, 2, 3))
    world.join(one, two, three)
    world.tell(one, "8.0.0.9", flags=PexFlag.SUPPORTS_HOLEPUNCH)
    world.tell(two, "8.0.0.9")
    assert introductions.able == [candidate("8.0.0.9")]
    assert world.exchange.sources_of(candidate("8.0.0.9")) == [one, two]
    world.exchange.on_left(one)
    assert world.exchange.sources_of(candidate("8.0.0.9")) == [two]


def test_bep11_who_prefers_encryption_is_known_before_the_dial() -> None:
    world = World()
    teller = make_peer("8.0.0.1")
    world.join(teller)
    world.tell(teller, "8.0.0.8")
    world.tell(teller, "8.0.0.9", flags=PexFlag.PREFERS_ENCRYPTION)
    assert world.prefer_encryption == [candidate("8.0.0.9")]


def test_bep11_a_peer_is_named_when_it_has_said_where_it_listens() -> None:
    world = World()
    asker, late = make_peer("8.0.0.1"), incoming("8.0.0.2", listen_port=None)
    world.join(asker, late)
    assert world.heard(asker) == []
    late.listen_port = 7000
    world.join(late)
    world.join(late)
    world.clock.advance(LOOK_AGAIN_S)
    assert [each.added for each in world.heard(asker)] == [
        (PexContact(PeerAddress("8.0.0.2", 7000)),)
    ]


def test_bep11_who_came_over_utp_is_named_by_the_port_it_came_from() -> None:
    """libtorrent does not say where it listens when it comes over uTP and IPv6."""
    world, asker = World(), make_peer("2600::1")
    silent = make_peer(
        "2600::2", port=40_000, source=Source.INCOMING, protocol=TransportProtocol.UTP
    )
    world.join(asker, silent)
    (message,) = world.heard(asker)
    assert message.added == (PexContact(PeerAddress("2600::2", 40_000), PexFlag.SUPPORTS_UTP),)
    silent.listen_port = 7000
    world.join(silent)
    world.clock.advance(60)
    (message,) = world.heard(asker)
    assert [each.address for each in message.added] == [PeerAddress("2600::2", 7000)]


def test_bep11_what_a_peer_says_becomes_candidates() -> None:
    world = World()
    teller, other = make_peer("8.0.0.1"), make_peer("8.0.0.2")
    world.join(teller, other)
    world.tell(teller, "8.0.0.2", "8.0.0.9", "2600::9")
    known = [host for host in ("8.0.0.9", "2600::9") if candidate(host) in world.candidates]
    assert known == ["8.0.0.9", "2600::9"]
    assert candidate("8.0.0.2") not in world.candidates  # it is a peer already
    assert world.candidates.sources(candidate("8.0.0.9")) == Source.PEX
    assert world.wakes == 1
    world.tell(teller, "8.0.0.9")
    assert world.wakes == 1


def test_bep11_whom_a_peer_named_it_does_not_hear_of_again() -> None:
    world = World()
    teller, other, third = (make_peer(f"8.0.0.{number}") for number in (1, 2, 3))
    world.join(teller, other)
    world.tell(teller, "8.0.0.2", "8.0.0.3")
    world.join(third)
    assert world.heard(teller) == []
    assert len(world.heard(other)) == 1


def test_bep21_who_is_said_to_be_a_seed_is_not_dialled_by_a_seed() -> None:
    world = World()
    teller = make_peer("8.0.0.1")
    world.join(teller)
    world.candidates.set_wanting(wanting=False)
    world.candidates.add(candidate("8.0.0.8"), Source.TRACKER, now=0)
    world.tell(teller, "8.0.0.8", "8.0.0.9", flags=PexFlag.UPLOAD_ONLY)
    assert world.candidates.is_seed(candidate("8.0.0.9"))
    assert not world.candidates.is_seed(candidate("8.0.0.8"))  # only hearsay of a known peer
    assert world.candidates.next_to_dial(world.clock()) == candidate("8.0.0.8")
    assert world.candidates.next_to_dial(world.clock()) is None


@pytest.mark.parametrize("source", [each for each in Source if each != Source.PEX])
def test_b9_who_is_called_a_seed_in_one_message_is_dialled_once_another_source_names_it(
    source: Source,
) -> None:
    world = World()
    liar, leech = make_peer("8.0.0.1"), candidate("8.0.0.9")
    world.join(liar)
    world.candidates.set_wanting(wanting=False)
    world.tell(liar, leech.host, flags=PexFlag.UPLOAD_ONLY)
    assert world.candidates.next_to_dial(world.clock()) is None
    world.candidates.add(leech, source, world.clock())
    world.tell(liar, leech.host, flags=PexFlag.UPLOAD_ONLY)
    assert world.candidates.next_to_dial(world.clock()) == leech


def test_b9_who_is_called_a_seed_by_one_peer_and_not_by_another_is_dialled() -> None:
    world = World()
    liar, other, leech = make_peer("8.0.0.1"), make_peer("8.0.0.2"), candidate("8.0.0.9")
    world.join(liar, other)
    world.candidates.set_wanting(wanting=False)
    world.tell(liar, leech.host, flags=PexFlag.UPLOAD_ONLY)
    wakes = world.wakes
    world.tell(other, leech.host)
    assert world.wakes == wakes + 1
    assert world.candidates.next_to_dial(world.clock()) == leech


def test_bep21_what_a_seed_said_itself_is_believed_whoever_names_it() -> None:
    world = World()
    teller, seed = make_peer("8.0.0.1"), candidate("8.0.0.9")
    world.join(teller)
    world.candidates.set_wanting(wanting=False)
    world.tell(teller, seed.host, flags=PexFlag.UPLOAD_ONLY)
    world.candidates.note_seed(seed, is_seed=True)  # at the end of a connection with it
    world.candidates.add(seed, Source.TRACKER, world.clock())
    world.tell(teller, seed.host)
    assert world.candidates.is_seed(seed)
    assert world.candidates.next_to_dial(world.clock()) is None


MALFORMED = {"no_bencoding": b"x", "cut": b"d5:added6:12345", "a_list": b"le"}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_b9_who_sends_nonsense_is_not_listened_to_again(payload: bytes) -> None:
    world = World()
    teller = make_peer("8.0.0.1")
    world.join(teller)
    world.tell(teller, "8.0.0.8")
    with pytest.raises(RemoteProtocolError):
        world.exchange.on_message(teller, payload)
    assert len(world.candidates) == 0
    world.exchange.on_left(teller)
    again = make_peer("8.0.0.1", port=7000)
    world.join(again)
    world.clock.advance(120)
    world.tell(again, "8.0.0.9")
    assert len(world.candidates) == 0


def test_b9_seven_messages_in_a_minute_are_one_too_many() -> None:
    world = World()
    teller = make_peer("8.0.0.1")
    world.join(teller)
    for _ in range(6):
        world.tell(teller)
    with pytest.raises(RemoteProtocolError):
        world.tell(teller)


def test_b9_a_message_before_the_extension_handshake_counts() -> None:
    world, early = World(), make_peer("8.0.0.1")
    for _ in range(6):
        world.tell(early, "8.0.0.9")
    assert len(world.candidates) == 1
    with pytest.raises(RemoteProtocolError):
        world.tell(early)


def test_b9_what_only_a_banned_peer_named_is_forgotten() -> None:
    world = World()
    liar = make_peer("8.0.0.1")
    world.join(liar)
    world.tell(liar, "8.0.0.8", "8.0.0.9")
    world.candidates.add(candidate("8.0.0.9"), Source.DHT, now=0)
    world.candidates.ban(liar.address, liar.identity.peer_id, world.clock())
    world.exchange.on_left(liar)
    assert candidate("8.0.0.8") not in world.candidates
    assert candidate("8.0.0.9") in world.candidates


def test_b9_who_names_nobody_that_answers_is_found_out_by_the_dials() -> None:
    world = World()
    liar = make_peer("8.0.0.1")
    world.join(liar)
    world.tell(liar, *(f"8.0.1.{number}" for number in range(50)))
    dials = 0
    while (address := world.candidates.next_to_dial(world.clock())) is not None:
        dials += 1
        world.candidates.mark_failed(address, world.clock())
    assert dials == CONFIG.min_judged
    assert len(world.candidates) == CONFIG.min_judged  # the rest is forgotten


def test_b9_a_peer_whose_contacts_answer_is_believed() -> None:
    world = World()
    good = make_peer("8.0.0.1")
    world.join(good)
    world.tell(good, *(f"8.0.1.{number}" for number in range(50)))
    dials = 0
    while (address := world.candidates.next_to_dial(world.clock())) is not None:
        dials += 1
        if dials % 5:
            world.candidates.mark_failed(address, world.clock())
        else:
            world.candidates.mark_connected(address, world.clock())
    assert dials == 50


def test_b9_a_hundred_liars_cannot_have_a_victim_dialled_more_than_five_times_a_minute() -> None:
    world = World()
    liars = [make_peer(f"9.0.{number}.1") for number in range(100)]
    world.join(*liars)
    dials: list[float] = []
    for second in range(600):
        now = world.clock.advance(1.0)
        for number, liar in enumerate(liars):
            if second % 15 == number % 15:  # other ports each time, as often as they may
                port = 1000 + second * 60 + number
                contact = PexContact(PeerAddress("8.7.7.7", port))
                dropped = tuple(PeerAddress("8.7.7.7", port - 15 * 60) for _ in range(second > 15))
                message = PexMessage((contact,), dropped)
                world.exchange.on_message(liar, encode_pex(message))
        while (address := world.candidates.next_to_dial(now)) is not None:
            assert address.host == "8.7.7.7"
            dials.append(now)
            world.candidates.mark_failed(address, now)
    assert dials
    assert all(sum(at <= each < at + 60 for each in dials) <= 5 for at in dials)


def test_b10_nothing_is_said_or_taken_after_the_torrent_turned_out_private() -> None:
    world = World()
    one, other = make_peer("8.0.0.1"), make_peer("8.0.0.2")
    world.join(one, other)
    world.exchange.stop()
    world.tell(one, "8.0.0.9")
    assert world.heard(one) == world.heard(other) == []
    assert len(world.candidates) == 0


def test_pex_that_is_turned_off_neither_tells_nor_listens() -> None:
    world = World(PexConfig(enabled=False))
    one, other = make_peer("8.0.0.1"), make_peer("8.0.0.2")
    world.join(one, other)
    world.tell(one, "8.0.0.9")
    assert world.heard(one) == world.heard(other) == []
    assert len(world.candidates) == 0


def test_f11_a_crowd_is_told_of_each_other_a_few_at_a_time_and_everybody_soon() -> None:
    world = World()
    crowd = [make_peer(f"8.0.1.{number}") for number in range(1, 101)]
    world.join(*crowd)
    told, links = set[int](), [peer.link for peer in crowd]
    for tick in range(1, len(crowd) // RECEIVERS_PER_TICK + 2):
        world.exchange.tick(world.clock())
        told = {number for number, link in enumerate(links) if link.flushed}  # type: ignore[attr-defined]
        assert len(told) == min(tick * RECEIVERS_PER_TICK, len(crowd))
        world.clock.advance(1.0)
    assert len(told) == len(crowd)


def test_bep11_an_exchange_that_changes_pools_wakes_the_new_one_and_tells_its_holepunch() -> None:
    before, after, woken = Introductions(), Introductions(), list[bool]()
    world, teller = World(introductions=before), make_peer("8.0.0.1")
    world.join(teller)
    world.exchange.rebind(PexPorts(lambda: woken.append(True), introductions=after))
    world.tell(teller, "8.0.0.9", flags=PexFlag.SUPPORTS_HOLEPUNCH)
    assert (woken, world.wakes) == ([True], 0)
    assert (before.able, after.able) == ([], [candidate("8.0.0.9")])
