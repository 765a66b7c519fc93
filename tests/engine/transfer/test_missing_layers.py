"""Which peer of a hybrid is met again in its v2 swarm, so that somebody can give the hashes."""

import random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import FakeLink
from tests.support.peer_pair import INFO_HASH, OUR_ID, feed, their_handshake
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import SharedConfig, TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_pool import PeerPool
from torrent_engine.engine.transfer.missing_layers import (
    MOVE_INTERVAL_S,
    LayerPorts,
    MissingLayers,
)
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection import PeerConnection

pytestmark = pytest.mark.anyio

INFO, LAYERS = hybrid_info({"a": payload_of(100_000)})
WHOLE = Metainfo.from_bytes(torrent_around(INFO, LAYERS))
BARE = Metainfo.from_bytes(torrent_around(INFO))


class Node:
    """The hashes that a hybrid lacks, and its peers."""

    def __init__(self, metainfo: Metainfo = BARE) -> None:
        self.moved: list[Peer] = []
        torrent: Any = SimpleNamespace(
            metainfo=metainfo,
            other_hash=metainfo.v2_swarm,
            shared_config=SharedConfig(),
            clock=ManualClock(),
            rng=random.Random(1),
            peers=set(),
        )
        self.torrent = torrent
        copies: Any = SimpleNamespace(metainfo_bytes=lambda _: None)
        ports = LayerPorts(
            on_liar=lambda *_: pytest.fail("nobody lies"),
            move_to_v2=self.moved.append,
            on_learned=lambda _: pytest.fail("nothing comes"),
        )
        self.layers = MissingLayers(torrent, copies, ports)

    def join(
        self, number: int, *, in_both: bool = True, is_v2: bool = False, is_incoming: bool = False
    ) -> Peer:
        connection = PeerConnection(
            geometry=WHOLE.geometry,
            info_hash=INFO_HASH,
            peer_id=OUR_ID,
            is_v2=is_v2,
            extensions={},
        )
        feed(connection, their_handshake(v2=in_both))
        link: Any = FakeLink(connection)
        identity = Identity(PeerAddress("8.8.8.8", number), PeerId(b"-XX0100-%012d" % number))
        peer = Peer(link, identity, Source.DHT, TransferConfig(), 0.0)
        peer.is_incoming = is_incoming
        self.torrent.peers.add(peer)
        return peer

    async def tick(self, *times_s: float) -> None:
        """Let time pass while the hashes are asked for."""
        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.layers.run)
                while not self.layers._download.is_asking:  # noqa: ASYNC110 - a thread finds out
                    await anyio.sleep(0.001)
                for now in times_s:
                    self.layers.tick(now)
                tasks.cancel_scope.cancel()


async def test_bep52_a_peer_of_the_v1_swarm_that_is_in_both_is_met_in_the_other() -> None:
    node = Node()
    node.join(1, in_both=False)
    node.join(2, is_incoming=True)  # whose port we do not know
    peer = node.join(3)
    await node.tick(0.0)
    assert node.moved == [peer]


async def test_bep52_one_peer_after_the_other_is_moved_and_each_once() -> None:
    node = Node()
    peers = {node.join(1), node.join(2)}
    await node.tick(0.0, 0.0, MOVE_INTERVAL_S - 0.1)
    assert len(node.moved) == 1
    await node.tick(MOVE_INTERVAL_S, 3 * MOVE_INTERVAL_S, 9 * MOVE_INTERVAL_S)
    assert len(node.moved) == 2
    assert set(node.moved) == peers


async def test_bep52_nobody_is_moved_who_need_not_be() -> None:
    node = Node()
    node.join(1)
    node.join(2, is_v2=True)  # can be asked
    await node.tick(0.0, 100.0)
    assert not node.moved


async def test_bep52_a_v2_only_torrent_has_no_other_swarm_to_meet_in() -> None:
    node = Node()
    node.torrent.other_hash = None
    node.join(1)
    await node.tick(0.0, 100.0)
    assert not node.moved


async def test_bep52_a_torrent_that_lacks_nothing_asks_nobody() -> None:
    node = Node(WHOLE)
    node.join(1)
    await node.layers.run()
    node.layers.tick(0.0)
    assert not node.moved


def test_bep52_who_is_moved_is_dialled_with_the_v2_hash_and_expected_soon() -> None:
    peer = Node().join(1)
    pool: Any = SimpleNamespace(candidates=SimpleNamespace(of_v2=set()))
    PeerPool.move_to_v2(pool, peer)
    assert pool.candidates.of_v2 == {peer.address}
    assert peer.link.close_reason == "to meet in the v2 swarm"
    assert peer.reconnects_soon
