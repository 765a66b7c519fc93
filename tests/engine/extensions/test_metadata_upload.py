"""Giving the metadata to peers (BEP 9): in order, at a bounded rate, and not for ever (row B2)."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import metadata_peer, told
from torrent_engine.base.config import BandwidthConfig, MetadataConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.extensions.metadata_upload import (
    BURST_BYTES,
    MAX_LATE_ANSWERS,
    MAX_OPERATORS,
    REMEMBERED_S,
    MetadataUpload,
)
from torrent_engine.engine.resources.bandwidth_manager import BandwidthManager, RateLimits
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
        self.serving = MetadataUpload(metainfo, config, self.clock, PoolConfig())

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


# -- what all askers share ------------------------------------------------------------------------


def data_bytes(messages: list[MetadataMessage | None]) -> int:
    return sum(len(each.data) for each in messages if isinstance(each, MetadataData))


def test_b2_many_askers_together_have_a_bounded_rate_and_each_gets_a_part() -> None:
    rate = 320 * 1024
    world = World(config=replace(CONFIG, max_total_upload_bytes_per_s=rate))
    peers = [metadata_peer(host=f"8.8.{number}.8") for number in range(10)]
    given = dict.fromkeys(peers, 0)
    for peer in peers:
        given[peer] += data_bytes(world.ask(peer, *range(PIECES)))
    world.later(9)
    for peer in peers:
        given[peer] += data_bytes(told(peer))
    assert 9 * rate < sum(given.values()) <= 10 * rate
    assert max(given.values()) - min(given.values()) <= BURST_BYTES


def test_b2_connecting_again_gives_no_new_copies_for_an_hour() -> None:
    world = World(config=replace(CONFIG, max_copies_per_peer=2, max_copies_per_address=3))

    def copy(host: str) -> int:
        peer = metadata_peer(host=host)
        at_once = world.ask(peer, *range(PIECES))
        world.later(10)
        world.serving.on_left(peer)
        return data_bytes(at_once + told(peer))

    whole = len(TORRENT.info_bytes)
    assert [copy("2600::1"), copy("2600::2"), copy("2600::3"), copy("2600::4")] == [whole] * 3 + [0]
    assert copy("2600:0:0:1::1") == whole
    world.clock.advance(REMEMBERED_S)
    assert copy("2600::5") == whole


def test_b2_what_a_peer_that_left_did_not_get_does_not_count() -> None:
    world = World(config=replace(CONFIG, max_copies_per_address=1))
    for _ in range(4):
        peer = metadata_peer()
        link: Any = peer.link
        link.is_stuck = True
        world.ask(peer, *range(PIECES))  # one is sent
        world.serving.on_left(peer)
    answers = world.ask(metadata_peer(), *range(PIECES))
    assert sum(isinstance(each, MetadataReject) for each in answers) == 4


def test_b2_peers_of_one_host_that_is_ours_each_have_copies_of_their_own() -> None:
    world = World(config=replace(CONFIG, max_copies_per_peer=1, max_copies_per_address=1))
    for _ in range(3):
        peer = metadata_peer(host="127.0.0.1")
        assert world.ask(peer, 0) == [piece_of(0)]
        world.serving.on_left(peer)
    assert not world.serving._operators._known


def test_b2_memory_of_who_got_metadata_is_bounded() -> None:
    world = World()
    for number in range(MAX_OPERATORS + 10):
        peer = metadata_peer(host=f"8.7.{number >> 8}.{number & 255}")
        world.ask(peer, PIECES)
        world.serving.on_left(peer)
    assert len(world.serving._operators._known) == MAX_OPERATORS


# -- limits of uploads ----------------------------------------------------------------------------


class Turns:
    """A limit of uploads that allows a piece when it is told to."""

    def __init__(self) -> None:
        self.granted_bytes = 0
        self.returned_bytes = 0
        self.waits = False
        self._turn = anyio.Event()

    def take(self, _wanted_bytes: int) -> int:
        assert not self.waits
        return 0

    async def acquire(self, wanted_bytes: int) -> int:
        self.waits = True
        await self._turn.wait()
        self.waits, self._turn = False, anyio.Event()
        self.granted_bytes += wanted_bytes
        return wanted_bytes

    def give_back(self, count_bytes: int) -> None:
        self.returned_bytes += count_bytes

    async def grant(self) -> None:
        await anyio.wait_all_tasks_blocked()
        self._turn.set()
        await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def limited(*peers: Peer) -> AsyncIterator[tuple[World, Turns]]:
    world, turns = World(), Turns()
    serving: Any = world.serving
    serving.upload_throttle = turns
    for peer in peers:
        link: Any = peer.link
        link.upload_throttle = turns
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.serving.run)
        yield world, turns
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_b2_metadata_waits_for_the_limit_of_uploads_and_goes_round() -> None:
    greedy, other = metadata_peer(host="8.8.8.8"), metadata_peer(host="9.9.9.9")
    near = metadata_peer(host="10.0.0.1")
    async with limited(greedy, other) as (world, turns):
        assert world.ask(greedy, 0, 1, 2) == []
        await anyio.wait_all_tasks_blocked()
        world.later(60)
        assert told(greedy) == []
        await turns.grant()
        assert told(greedy) == [piece_of(0)]
        world.ask(other, 7)
        world.ask(near, 8)
        world.later(1)
        assert (told(other), told(near)) == ([], [piece_of(8)])  # which the limit is not for
        await turns.grant()
        assert (told(greedy), told(other)) == ([], [piece_of(7)])
        await turns.grant()
        await turns.grant()
        assert told(greedy) == [piece_of(1), piece_of(2)]
        assert turns.granted_bytes == 4 * METADATA_PIECE_BYTES
        assert not turns.waits
        assert not turns.returned_bytes


@pytest.mark.anyio
async def test_b2_what_a_limit_grants_who_has_left_is_given_back() -> None:
    gone = metadata_peer()
    async with limited(gone) as (world, turns):
        world.ask(gone, 0)
        await anyio.wait_all_tasks_blocked()
        world.serving.on_left(gone)
        await turns.grant()
        world.later(1)
        assert told(gone) == []
        assert turns.returned_bytes == turns.granted_bytes == METADATA_PIECE_BYTES
        assert not turns.waits


@pytest.mark.anyio
async def test_b2_a_limit_that_is_lifted_lets_metadata_go_at_once() -> None:
    peer = metadata_peer()
    async with limited(peer) as (world, turns):
        world.ask(peer, 0, 1)
        await anyio.wait_all_tasks_blocked()
        world.serving.upload_throttle = None
        world.later(0.25)
        assert told(peer) == [piece_of(0), piece_of(1)]
        await turns.grant()
        assert not turns.waits


class Uploader:
    """Sends blocks as fast as a limit allows."""

    def __init__(self) -> None:
        self.download_throttle: Any = None
        self.upload_throttle: Any = None
        self.sent_bytes = 0

    async def run(self) -> None:
        while True:
            self.sent_bytes += await self.upload_throttle.acquire(METADATA_PIECE_BYTES)


@pytest.mark.anyio
async def test_b2_metadata_has_the_share_of_one_peer_of_a_small_limit() -> None:
    world, rate = World(), 40 * 1024
    manager = BandwidthManager(BandwidthConfig(), world.clock)
    torrent = manager.of_torrent(RateLimits(upload=rate))
    torrent.join()
    askers, uploaders = [metadata_peer(), metadata_peer()], [Uploader() for _ in range(3)]
    torrent.add_sender(world.serving)
    for uploader in uploaders:
        torrent.add_link(uploader, "8.8.8.8")
    for peer in askers:
        torrent.add_link(peer.link, "8.8.8.8")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.serving.run)
        for uploader in uploaders:
            tasks.start_soon(uploader.run)
        for peer in askers:
            world.ask(peer, *range(PIECES))
        for _ in range(4 * 60):
            world.later(0.25)
            manager.upload.serve(world.clock())
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    given = [data_bytes(told(peer)) for peer in askers]
    assert abs(given[0] - given[1]) <= METADATA_PIECE_BYTES
    assert sum(given) == pytest.approx(60 * rate / 4, rel=0.1)
    assert sum(each.sent_bytes for each in uploaders) + sum(given) <= 60 * rate * 1.1
