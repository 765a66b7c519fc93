"""The verifier of one torrent between fakes: pieces in, verdicts out; no sockets, no disk."""

import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio

from tests.support.fake_peer import FakeLink
from tests.support.peer_pair import feed, open_connection
from torrent_engine.base.config import DiskConfig, TransferConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly
from torrent_engine.engine.transfer.piece_verifier import PieceFinisher, VerifierCallbacks
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import BanVerdict, SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable
from torrent_engine.protocol.wire.hash_messages import (
    decode_hash_range,
    encode_hash_reject,
    encode_hashes,
)

if TYPE_CHECKING:
    from torrent_engine.disk.pieces.writer import WriteJob

Answer = Callable[[HashRange], bytes | None]
"""What a peer says to a request for hashes; None: a reject."""


def raise_error(error: Exception) -> None:
    """Fail the test by an error that nobody expects."""
    raise error


class JudgingNode:
    """A finisher of a torrent, the peers that it may ask, and what it said."""

    def __init__(
        self,
        metainfo: Metainfo,
        payload: bytes,
        on_error: Callable[[Exception], None] = raise_error,
    ) -> None:
        """``payload`` is what is right, with zeros between the files."""
        self.metainfo = metainfo
        self.payload = payload
        self.jobs: list[WriteJob] = []
        self.verdicts: list[BanVerdict] = []
        self.failures: list[Any] = []
        self.peers: set[Peer] = set()
        self.tasks: list[Any] = []
        self.table = PieceTable(metainfo.geometry)
        self.picker = Picker(metainfo.geometry, self.table, random.Random(1))
        self.picker.set_priorities([1] * metainfo.piece_count)
        self.smart_ban = SmartBan()
        self.totals = SimpleNamespace(failed_bytes=0)
        torrent: Any = SimpleNamespace(
            metainfo=metainfo,
            table=self.table,
            picker=self.picker,
            smart_ban=self.smart_ban,
            peers=self.peers,
            totals=self.totals,
            bus=SimpleNamespace(publish=self.failures.append),
            storage=SimpleNamespace(save_path="saved", read_blocking=self.read),
            is_abandoned=False,
            shared_config=SimpleNamespace(disk=DiskConfig()),
        )
        keeper: Any = SimpleNamespace(partial_written=lambda *_: None, piece_written=print)
        writer: Any = SimpleNamespace(submit=self.jobs.append, full=False)
        self.finisher = PieceFinisher(
            torrent,
            keeper,
            hash_limiter=anyio.CapacityLimiter(1),
            make_writer=lambda **_: writer,
            callbacks=VerifierCallbacks(
                start_task=lambda work, assembly: self.tasks.append(partial(work, assembly)),
                on_have=lambda _: None,
                on_verdict=lambda verdict, _piece: self.verdicts.append(verdict),
                on_error=on_error,
                on_learned=lambda _: None,
            ),
        )

    def read(self, offset: int, into: memoryview) -> None:
        """Stand in for the disk, where every block is right."""
        into[:] = self.payload[offset : offset + len(into)]

    def join(self, number: int, answer: Answer | None = None, *, has: bool = True) -> Peer:
        """Add a peer, who never answers if it has no answer."""
        link: Any = FakeLink(open_connection(geometry=self.metainfo.geometry))
        identity = Identity(PeerAddress("8.8.8.8", number), PeerId(b"-XX0100-%012d" % number))
        peer = Peer(link, identity, Source.DHT, TransferConfig(), 0.0)
        peer.connection.state.is_v2 = self.metainfo.v2 is not None
        if has:
            peer.pieces.replace(Bitfield.full(self.metainfo.piece_count))

        def flush() -> None:
            asked = b"".join(map(bytes, link.connection.data_to_send()))
            link.sent.append(asked)
            if answer is not None:
                wanted = decode_hash_range(asked[5:])
                self.say(peer, wanted, answer(wanted))

        link.flush = flush
        self.peers.add(peer)
        return peer

    def say(self, peer: Peer, wanted: HashRange, hashes: bytes | None) -> None:
        """Let a peer answer a request for hashes."""
        said = encode_hash_reject(wanted) if hashes is None else encode_hashes(wanted, hashes)
        for event in feed(peer.connection, said):
            self.finisher.blame.handlers()[type(event)](peer, event)

    def bring(self, piece: int, senders: list[Peer], wrong: set[int]) -> PieceAssembly:
        """Receive a piece whose blocks come from the senders in turn, some of them wrong."""
        assembly = PieceAssembly(self.picker.begin(piece), self.metainfo.geometry, 0.0)
        self.fill(assembly, senders, wrong)
        return assembly

    def fill(self, assembly: PieceAssembly, senders: list[Peer], wrong: set[int]) -> None:
        part = assembly.partial
        for number in range(part.block_count):
            if part.has(number):
                continue
            _, begin, length = part.block(number)
            start = self.metainfo.geometry.piece_offset(part.piece) + begin
            data = bytearray(self.payload[start : start + length])
            data[-1] ^= number in wrong
            part.receive(number)
            sender = senders[number % len(senders)].identity
            assembly.add(number, (memoryview(data),), length, sender)

    async def judge(self, assembly: PieceAssembly) -> None:
        """Let the verifier come to a verdict."""
        self.picker.finished(assembly.partial.piece)
        self.finisher.assemblies.pop(assembly.partial.piece, None)
        with anyio.fail_after(60):
            await self.finisher._finish_slowly(assembly)

    @property
    def banned(self) -> list[Any]:
        return [key for verdict in self.verdicts for key in verdict.ban]
