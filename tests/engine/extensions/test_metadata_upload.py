"""Giving the metadata to peers (BEP 9): in order, at a bounded rate, and not for ever (row B2)."""

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import metadata_peer, told
from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.extensions.metadata_upload import (
    BURST_BYTES,
    MAX_LATE_ANSWERS,
    MetadataUpload,
)
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    MetadataData,
    MetadataMessage,
    MetadataReject,
    MetadataRequest,
    encode_metadata_message,
)

CONFIG = MetadataConfig()
PIECES = 40


def torrent(*, private: bool = False) -> Metainfo:
    """Return a torrent whose info dictionary has 40 pieces, the last one short."""
    hashes = random.Random(0).randbytes(20 * 32_200)
    info: dict[str, Any] = {"length": 32_200 * 2**14, "name": "x", "piece length": 2**14}
    info["pieces"] = hashes
    if private:
        info["private"] = 1
    return Metainfo.from_bytes(encode({"info": info}))


TORRENT = torrent()


def piece_of(piece: int) -> MetadataData:
    data = TORRENT.info_bytes[piece * METADATA_PIECE_BYTES :][:METADATA_PIECE_BYTES]
    return MetadataData(piece, len(TORRENT.info_bytes), data)


class World:
    """A serving torrent and its clock."""

    def __init__(self, metainfo: Metainfo | None = TORRENT, config: MetadataConfig = CONFIG):
        self.clock = ManualClock()
        self.serving = MetadataUpload(metainfo, config, self.clock)

    def ask(self, peer: Peer, *pieces: int) -> list[MetadataMessage | None]:
        for piece in pieces:
            self.serving.on_message(peer, encode_metadata_message(MetadataRequest(piece)))
        return told(peer)

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.serving.tick(self.clock())


def test_bep9_each_request_is_answered_with_its_piece() -> None:
    world, peer = World(), metadata_peer()
    assert world.ask(peer, 0, PIECES - 1, 7) == [piece_of(0), piece_of(PIECES - 1), piece_of(7)]
    assert 0 < len(piece_of(PIECES - 1).data) < METADATA_PIECE_BYTES


@pytest.mark.parametrize("piece", [PIECES, 10_000, 2**31, 2**63 - 1])
def test_bep9_what_is_out_of_range_is_rejected(piece: int) -> None:
    assert World().ask(metadata_peer(), piece) == [MetadataReject(piece)]


def test_bep9_requests_are_rejected_while_we_have_no_metadata() -> None:
    assert World(None).ask(metadata_peer(), 0) == [MetadataReject(0)]


def test_bep27_metadata_of_a_private_torrent_is_not_given_unless_wanted() -> None:
    private = torrent(private=True)
    assert World(private).ask(metadata_peer(), 0) == [MetadataReject(0)]
    (answer,) = World(private, replace(CONFIG, serve_private=True)).ask(metadata_peer(), 0)
    assert isinstance(answer, MetadataData)


def test_bep9_who_has_all_of_the_metadata_and_no_payload_may_begin_anew() -> None:
    world, peer = World(), metadata_peer()
    world.ask(peer, *range(PIECES - 1))
    world.later(PIECES)
    assert not peer.reconnects_soon
    world.ask(peer, PIECES - 1)
    assert peer.reconnects_soon
    peer.uploaded_bytes = 1
    assert not peer.reconnects_soon


def test_b2_a_peer_gets_metadata_at_a_bounded_rate_and_in_order() -> None:
    world, peer = World(), metadata_peer()
    at_once = world.ask(peer, *range(PIECES))
    assert at_once == [piece_of(piece) for piece in range(BURST_BYTES // METADATA_PIECE_BYTES)]
    assert world.ask(metadata_peer(), 0) == [piece_of(0)]  # others have a rate of their own
    world.later(1)
    second = told(peer)
    assert 15 <= len(second) <= 17
    world.later(2)
    assert [*at_once, *second, *told(peer)] == [piece_of(piece) for piece in range(PIECES)]


def test_b2_nothing_is_piled_up_for_a_peer_that_reads_nothing() -> None:
    world, peer = World(), metadata_peer()
    link: Any = peer.link
    link.is_stuck = True
    assert world.ask(peer, *range(PIECES)) == []
    world.later(60)
    waiting = sum(map(len, peer.connection.data_to_send()))
    assert waiting < 2 * METADATA_PIECE_BYTES
    link.is_stuck = False
    world.later(60)
    assert told(peer) == [piece_of(piece) for piece in range(1, PIECES)]


def test_b2_requests_beyond_the_queue_are_rejected() -> None:
    config = replace(CONFIG, max_queued_requests=5)
    world, peer = World(config=config), metadata_peer()
    burst = BURST_BYTES // METADATA_PIECE_BYTES
    answers = world.ask(peer, *range(burst + 8))
    assert answers[burst:] == [MetadataReject(piece) for piece in range(burst + 5, burst + 8)]


def test_b2_a_peer_gets_so_many_copies_and_no_more() -> None:
    world, peer = World(config=replace(CONFIG, max_copies_per_peer=2)), metadata_peer()
    for _ in range(2):
        world.ask(peer, *range(PIECES))
        world.later(10)
        told(peer)
    assert world.ask(peer, 0) == [MetadataReject(0)]
    assert world.ask(metadata_peer(), 0) == [piece_of(0)]


def test_b2_a_flood_of_requests_whose_rejects_are_not_read_ends_the_link() -> None:
    world, peer = World(None), metadata_peer()
    link: Any = peer.link
    for _ in range(5 * CONFIG.max_queued_requests):
        world.ask(peer, 1)  # a peer that reads may ask for long
    link.is_stuck = True
    with pytest.raises(RemoteProtocolError) as caught:
        world.ask(peer, *[1] * 3 * CONFIG.max_queued_requests)
    assert caught.value.bep == 9


def test_b2_answers_that_nobody_wants_end_the_link_in_the_end() -> None:
    world, peer = World(), metadata_peer()
    data = encode_metadata_message(piece_of(1))
    for _ in range(MAX_LATE_ANSWERS):
        world.serving.on_message(peer, data)
    with pytest.raises(RemoteProtocolError):
        world.serving.on_message(peer, data)


def test_bep9_messages_of_unknown_type_are_passed_over_and_junk_is_not() -> None:
    world, peer = World(), metadata_peer()
    world.serving.on_message(peer, b"d8:msg_typei77e5:piecei0ee")
    assert told(peer) == []
    with pytest.raises(RemoteProtocolError):
        world.serving.on_message(peer, b"junk")


def test_bep9_a_peer_that_did_not_name_the_extension_is_told_nothing() -> None:
    assert World().ask(metadata_peer(speaks=False), 0) == []


def test_b2_a_peer_that_left_is_forgotten() -> None:
    world, peer = World(), metadata_peer()
    world.ask(peer, *range(PIECES))
    world.serving.on_left(peer)
    world.later(10)
    assert told(peer) == []
    world.serving.on_left(peer)
