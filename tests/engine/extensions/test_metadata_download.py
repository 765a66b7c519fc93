"""The engine's peers and the fetching of metadata (BEP 9, row B2), without sockets."""

import random
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import metadata_peer, told
from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.extensions.metadata_download import MetadataDownload
from torrent_engine.engine.swarm.extension_ids import local_extensions
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    UT_METADATA,
    MetadataData,
    MetadataReject,
    MetadataRequest,
    encode_metadata_message,
)

INFO = random.Random(9).randbytes(3 * METADATA_PIECE_BYTES + 100)
INFO_HASH = InfoHash(sha1(INFO).digest())
SHARED = SharedConfig()


@dataclass
class World:
    """One exchange, and what it told."""

    info_hash: InfoHash = INFO_HASH
    shared_config: SharedConfig = SHARED
    clock: Any = field(default_factory=ManualClock)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    found: list[bytes] = field(default_factory=list)
    liars: list[tuple[Identity, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        swarm: Any = self
        self.exchange = MetadataDownload(
            swarm,
            self.info_hash,
            on_metadata=self.found.append,
            on_liar=lambda *liar: self.liars.append(liar),
        )

    def join(self, metadata_bytes: int | None = len(INFO), *, speaks: bool = True) -> Peer:
        peer = metadata_peer(metadata_bytes, speaks=speaks)
        self.exchange.on_extension_handshake(peer)
        return peer

    def answer(self, peer: Peer, info: bytes = INFO) -> int:
        """Answer what a peer is asked; return how much that was."""
        count = 0
        for message in told(peer):
            assert isinstance(message, MetadataRequest)
            data = info[message.piece * METADATA_PIECE_BYTES :][:METADATA_PIECE_BYTES]
            self.give(peer, MetadataData(message.piece, len(info), data))
            count += 1
        return count

    def give(self, peer: Peer, message: Any) -> None:
        self.exchange.on_message(peer, encode_metadata_message(message))


def test_bep9_the_metadata_comes_from_one_peer() -> None:
    world = World()
    peer = world.join()
    assert world.exchange.progress == (0, 4)
    while world.answer(peer):
        pass
    assert (world.found, world.liars) == ([INFO], [])


def test_bep9_the_metadata_comes_from_two_peers_at_once() -> None:
    world = World()
    peers = [world.join(), world.join()]
    assert [world.answer(peer) for peer in peers] == [2, 2]
    assert world.found == [INFO]


def test_bep9_peers_without_the_extension_are_not_asked() -> None:
    world = World()
    peer = world.join(speaks=False)
    world.clock.advance(60)
    world.exchange.tick(world.clock())
    assert told(peer) == []
    world.give(peer, MetadataData(0, 5, b"spam!"))
    world.exchange.on_left(peer)
    assert (world.found, world.liars) == ([], [])


def test_bep9_who_asks_us_meanwhile_is_rejected() -> None:
    world = World()
    peer = world.join(None)
    world.give(peer, MetadataRequest(0))
    assert told(peer) == [MetadataReject(0)]


def test_b2_a_liar_is_told_of_with_its_reason_and_the_next_peer_is_asked() -> None:
    world = World()
    liar = world.join()
    while world.answer(liar, bytes(len(INFO))):
        pass
    assert world.liars == [(liar.identity, "sent wrong metadata")]
    honest = world.join()
    while world.answer(honest):
        pass
    assert world.found == [INFO]


def test_b2_a_liar_that_is_being_dropped_is_not_asked_again() -> None:
    world = World()
    liar = world.join()
    world.answer(liar, bytes(len(INFO)))
    world.answer(liar, bytes(len(INFO)))
    liar.link.end("banned")
    world.exchange.on_extension_handshake(liar)
    assert told(liar) == []


def test_b2_a_liar_that_left_is_told_of_when_the_metadata_is_there() -> None:
    world = World()
    liar = world.join()
    world.answer(liar, bytes(len(INFO)))
    world.exchange.on_left(liar)
    honest = world.join()
    while world.answer(honest):
        pass
    while not world.found:
        world.clock.advance(0.25)
        world.exchange.tick(world.clock())
        world.answer(honest)
    assert world.liars == [(liar.identity, "sent wrong metadata")]


def test_bep9_a_peer_that_comes_back_before_its_old_link_ended_is_asked_on_the_new_one() -> None:
    world = World()
    old = world.join()
    new = metadata_peer(len(INFO))
    new.identity = old.identity
    world.exchange.on_extension_handshake(new)
    told(old)
    world.exchange.on_left(old)
    while world.answer(new):
        pass
    assert world.found == [INFO]


def test_bep9_rejects_and_silence_leave_the_peer_alone_for_a_while() -> None:
    world = World()
    peer = world.join()
    for message in told(peer):
        assert isinstance(message, MetadataRequest)
        world.give(peer, MetadataReject(message.piece))
    for _ in range(4 * 19):
        world.clock.advance(0.25)
        world.exchange.tick(world.clock())
    assert told(peer) == []
    for _ in range(4 * 60):
        world.clock.advance(0.25)
        world.exchange.tick(world.clock())
    assert told(peer) != []


def test_b2_malformed_messages_and_unknown_ones() -> None:
    world = World()
    peer = world.join()
    world.exchange.on_message(peer, b"d8:msg_typei9e5:piecei0ee")
    with pytest.raises(RemoteProtocolError):
        world.exchange.on_message(peer, b"d8:msg_typei9ee")
    assert world.liars == []


def test_bep27_a_private_torrent_does_not_speak_ut_metadata() -> None:
    assert UT_METADATA in local_extensions(SHARED, is_private=False)
    assert UT_METADATA not in local_extensions(SHARED, is_private=True)
