"""A torrent of half a million pieces with 200 peers, without sockets: what one turn costs."""

import random
import struct
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final

from tests.support.peer_pair import open_connection
from torrent_engine.base.config import ChokerConfig, PoolConfig, TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import PeerHandlers
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.payload_dispatch import PayloadEvents
from torrent_engine.engine.transfer.upload_manager import UploadManager
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.extension import DONT_HAVE
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    MessageId,
    PeerBitfield,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_piece_index,
    encode_plain,
    encode_port,
)

PIECES: Final = 500_000
PEERS: Final = 200
FLOOD_BYTES: Final = 1024 * 1024
READ_BYTES: Final = 32 * 1024
LOST_ID: Final = 7
PEX_ID: Final = 1


class LargeSwarm:
    """A download that has begun, and its peers: half of them seeds."""

    def __init__(self) -> None:
        self.now = 100.0
        geometry = Geometry(PIECES * BLOCK_BYTES, BLOCK_BYTES)
        table = PieceTable(geometry)
        rng = random.Random(1)
        half = Bitfield.from_int(rng.getrandbits(PIECES), PIECES)
        table.found_all(half)
        torrent: Any = SimpleNamespace(
            metainfo=SimpleNamespace(piece_count=PIECES, geometry=geometry),
            table=table,
            picker=Picker(geometry, table, rng),
            smart_ban=SmartBan(),
            totals=Totals(),
            peers=set[Peer](),
            clock=lambda: self.now,
            shared_config=SimpleNamespace(
                choker=ChokerConfig(), pool=PoolConfig(allow_multiple_per_ip=True)
            ),
            rng=rng,
            is_complete=False,
            is_abandoned=False,
        )
        self.torrent = torrent
        finisher: Any = SimpleNamespace(
            assemblies={},
            finish=lambda _: None,
            restarted=lambda _: None,
            write_ahead=lambda *_: None,
            waits_for_hash=lambda _: False,
        )
        self.downloads = DownloadManager(torrent, finisher)
        proof: Any = None  # no block is sent
        self.uploads = UploadManager(torrent, proof, lambda _error: None)
        self.events = PayloadEvents(PeerHandlers(), self.downloads, self.uploads)
        other = Bitfield.from_int(rng.getrandbits(PIECES), PIECES)
        for number in range(PEERS):
            peer = self.join(number)
            has = other if number % 2 else Bitfield.full(PIECES)
            self.downloads.on_bitfield(peer, PeerBitfield(has))
        self.downloads.set_active(active=True)
        self.uploads.set_active(active=True)

    def join(self, number: int) -> Peer:
        connection = open_connection(
            geometry=self.torrent.metainfo.geometry,
            extensions={DONT_HAVE: LOST_ID, UT_PEX: PEX_ID},
            joins_blocks=True,
            now=self.now,
        )
        link: Any = SimpleNamespace(
            connection=connection,
            flush=connection.data_to_send,
            end=lambda reason: None,
            was_held_back=lambda: False,
            waits_for_us=False,
        )
        identity = Identity(PeerAddress("10.0.0.1", 1 + number), PeerId(b"%020d" % number))
        peer = Peer(link, identity, Source.TRACKER, TransferConfig(), self.now)
        self.torrent.peers.add(peer)
        return peer

    def turns(self, peer: Peer, data: bytes) -> Iterator[Callable[[], None]]:
        """Yield each turn of the loop that these bytes of a peer cause."""
        connection = peer.connection

        def receive(part: bytes) -> None:
            room = connection.receive_buffer()
            room[: len(part)] = part
            self.events.handle(peer, connection.bytes_received(len(part), now=self.now))
            peer.link.flush()

        def go_on() -> None:
            self.events.handle(peer, connection.parse_more(now=self.now))
            peer.link.flush()

        at = 0
        while at < len(data) and not connection.is_violated:
            most = min(READ_BYTES, len(connection.receive_buffer()))
            part, at = data[at : at + most], at + most
            yield lambda part=part: receive(part)  # type: ignore[misc]
            while connection.has_unparsed:
                yield go_on
        yield self.tick

    def tick(self) -> None:
        """Do what is done once a second, and by then a few times."""
        self.now += 1.0
        self.downloads.tick(self.now)
        self.uploads.run_round(self.now)
        self.uploads.tick(self.now)


def _pieces(kind: MessageId) -> bytes:
    return b"".join(encode_piece_index(kind, piece % PIECES) for piece in range(0, 3_000_000, 7))


def _lost(piece: int) -> bytes:
    return encode_extended(LOST_ID, struct.pack(">I", piece))


def _requests(kind: MessageId) -> bytes:
    return b"".join(
        encode_block_message(kind, BlockRequest(piece % PIECES, 0, BLOCK_BYTES))
        for piece in range(0, 700_000, 7)
    )


def _alternating(*messages: bytes) -> bytes:
    unit = b"".join(messages)
    return unit * (FLOOD_BYTES // len(unit) + 1)


FLOODS: Final[dict[str, Callable[[], bytes]]] = {
    "keep-alive": lambda: bytes(FLOOD_BYTES),
    "choke, unchoke": lambda: _alternating(
        encode_plain(MessageId.CHOKE), encode_plain(MessageId.UNCHOKE)
    ),
    "interested, not": lambda: _alternating(
        encode_plain(MessageId.INTERESTED), encode_plain(MessageId.NOT_INTERESTED)
    ),
    "have": lambda: _pieces(MessageId.HAVE),
    "bitfield": lambda: _alternating(
        encode_bitfield(Bitfield.from_int(random.Random(2).getrandbits(PIECES), PIECES)),
        encode_bitfield(Bitfield.from_int(random.Random(3).getrandbits(PIECES), PIECES)),
    ),
    "request": lambda: _requests(MessageId.REQUEST),
    "piece": lambda: _alternating(
        struct.pack(">IBII", 9 + BLOCK_BYTES, MessageId.PIECE, 5, 0) + bytes(BLOCK_BYTES)
    ),
    "cancel": lambda: _requests(MessageId.CANCEL),
    "port": lambda: _alternating(encode_port(6881)),
    "suggest": lambda: _pieces(MessageId.SUGGEST_PIECE),
    "have all": lambda: _alternating(encode_plain(MessageId.HAVE_ALL)),
    "have all, lost": lambda: _alternating(encode_plain(MessageId.HAVE_ALL), _lost(77)),
    "have, lost": lambda: _alternating(encode_piece_index(MessageId.HAVE, 99), _lost(99)),
    "lost": lambda: b"".join(_lost(piece) for piece in range(100_000)),
    "reject": lambda: _requests(MessageId.REJECT_REQUEST),
    "allowed fast": lambda: _pieces(MessageId.ALLOWED_FAST),
    "allowed fast, have": lambda: b"".join(
        encode_piece_index(MessageId.ALLOWED_FAST, piece % 100)
        + encode_piece_index(MessageId.HAVE, 100 + piece)
        for piece in range(60_000)
    ),
    "extension handshake": lambda: _alternating(
        encode_extended(0, b"d1:md6:ut_pexi1ee1:pi6881e4:reqqi250ee")
    ),
    "pex": lambda: _alternating(encode_extended(PEX_ID, b"d5:added300:" + bytes(300) + b"e")),
    "have none": lambda: _alternating(encode_plain(MessageId.HAVE_NONE)),
    "unknown": lambda: _alternating(*(struct.pack(">IB", 1, kind) for kind in range(24, 256))),
    "unknown extension": lambda: _alternating(
        *(encode_extended(number, b"x") for number in range(LOST_ID + 1, 256))
    ),
    "hashes (BEP 52)": lambda: _alternating(
        struct.pack(">IB", 49 + 512 * 32, 22) + bytes(48 + 512 * 32)
    ),
    "hash request (BEP 52)": lambda: _alternating(
        struct.pack(">IB", 49, 21) + bytes(48), struct.pack(">IB", 49, 23) + bytes(48)
    ),
}
"""What a hostile peer sends 1 MiB of."""


def longest_turn_s(swarm: LargeSwarm, peer: Peer, flood: str) -> float:
    """Return the CPU time of the longest turn that 1 MiB of one kind of message causes."""
    longest = 0.0
    for turn in swarm.turns(peer, FLOODS[flood]()[:FLOOD_BYTES]):
        start = time.thread_time()
        turn()
        longest = max(longest, time.thread_time() - start)
    return longest
