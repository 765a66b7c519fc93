"""The engine's peers and the hashes of pieces (BEP 52), without sockets."""

import random
import threading
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import FakeLink
from tests.support.peer_pair import INFO_HASH, OUR_ID, feed, their_handshake
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.config import SharedConfig, TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import HashTrees
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.extensions.layer_download import LayerDownload
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import PeerEvents, PeerHandlers
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.hash_messages import (
    decode_hash_range,
    encode_hash_reject,
    encode_hash_request,
    encode_hashes,
)

pytestmark = pytest.mark.anyio

HAVE_ALL = b"\0\0\0\1\x0e"
INFO, LAYERS = v2_info({"a": random.Random(52).randbytes(100_000)})
WHOLE = Metainfo.from_bytes(torrent_around(INFO, LAYERS)).v2
BARE = Metainfo.from_bytes(torrent_around(INFO)).v2


def part(which: V2Part | None) -> V2Part:
    assert which is not None
    return which


@dataclass
class World:
    """One download of layers, and what it told; it is the swarm, too."""

    shared_config: SharedConfig = field(default_factory=SharedConfig)
    clock: Any = field(default_factory=ManualClock)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    peers: set[Peer] = field(default_factory=set)
    liars: list[tuple[Identity, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        swarm: Any = self
        self.download = LayerDownload(swarm, on_liar=lambda *liar: self.liars.append(liar))
        self.events = PeerEvents(PeerHandlers(), self.download.handlers())

    def join(self, number: int, *, has_pieces: bool = True, is_v2: bool = True) -> Peer:
        connection = PeerConnection(
            geometry=None, info_hash=INFO_HASH, peer_id=OUR_ID, is_v2=is_v2, extensions={}
        )
        feed(connection, their_handshake() + HAVE_ALL * has_pieces)
        link: Any = FakeLink(connection)
        identity = Identity(PeerAddress("8.8.8.8", number), PeerId(b"-XX0100-%012d" % number))
        peer = Peer(link, identity, Source.DHT, TransferConfig(), 0.0)
        self.peers.add(peer)
        return peer

    def receive(self, peer: Peer, data: bytes) -> None:
        self.events.handle(peer, feed(peer.connection, data))

    async def begun(self) -> None:
        """Wait until it is known what is missing, which a thread finds out."""
        with anyio.fail_after(30):
            while self.download.progress == (0, 0):  # noqa: ASYNC110 - of a thread
                await anyio.sleep(0.001)


def requests(peer: Peer) -> list[bytes]:
    link: Any = peer.link
    sent: list[bytes] = link.sent
    link.sent = []
    return sent


async def test_bep52_a_liar_is_banned_and_the_next_peer_gives_the_layers() -> None:
    world, found = World(), dict[bytes, bytes]()
    liar, nobody, old = world.join(1), world.join(2, has_pieces=False), world.join(3, is_v2=False)

    async def fetch() -> None:
        found.update(await world.download.fetch(part(BARE)))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch)
            await world.begun()
            (request,) = requests(liar)
            wanted = decode_hash_range(request[5:])
            world.receive(liar, encode_hashes(wanted, bytes(32 * wanted.length)))
            assert world.liars == [(liar.identity, "sent wrong hashes of pieces")]
            assert not requests(nobody) + requests(old)
            world.peers.remove(liar)
            honest = world.join(4)
            world.download.tick(1.0)
            assert requests(honest) == [request]
            hashes = HashTrees(part(WHOLE)).hashes(wanted)
            assert hashes is not None
            world.receive(honest, encode_hashes(wanted, hashes))
    assert found == LAYERS
    assert world.download.progress == (1, 1)
    world.download.tick(2.0)
    assert not requests(honest)


async def test_bep52_who_rejects_or_leaves_is_not_waited_for() -> None:
    world = World()
    poor, gone = world.join(1), world.join(2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.download.fetch, part(BARE))
        await world.begun()
        asked, other = (poor, gone) if (sent := requests(poor)) else (gone, poor)
        (request,) = sent or requests(gone)
        world.receive(asked, encode_hash_reject(decode_hash_range(request[5:])))
        world.download.tick(1.0)
        assert requests(other) == [request]
        world.peers.remove(other)
        third = world.join(3)
        world.download.tick(2.0)
        assert requests(third) == [request]
        tasks.cancel_scope.cancel()
    assert not world.liars


async def test_bep52_before_its_metadata_a_torrent_has_no_hashes_to_give() -> None:
    world = World()
    peer = world.join(1)
    assert world.download.progress == (0, 0)
    world.download.tick(1.0)
    wanted = next(iter(LAYERS))
    request = encode_hash_request(decode_hash_range(wanted + bytes(16)))
    world.receive(peer, request)
    peer.link.flush()
    assert requests(peer) == [encode_hash_reject(decode_hash_range(wanted + bytes(16)))]


async def test_f11_what_is_missing_is_found_out_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def missing(_: V2Part) -> list[int]:
        threads.append(threading.get_ident())
        return []

    monkeypatch.setattr(V2Part, "missing_layers", missing)
    assert await World().download.fetch(part(BARE)) == {}
    assert threads
    assert threading.get_ident() not in threads


async def test_bep52_a_torrent_that_lacks_nothing_asks_nobody() -> None:
    world = World()
    peer = world.join(1)
    assert await world.download.fetch(part(WHOLE)) == {}
    assert not requests(peer)
