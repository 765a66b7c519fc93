"""A download from honest peers and liars on virtual time: the real managers, no sockets.

Every peer sends at a rate of its own, in the order of our requests; our line may be a limit too.
Blocks are one byte long here, and count as long as they say.
"""

import hashlib
import random
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.support.clock import ManualClock
from torrent_engine.base.config import ChokerConfig, DiskConfig, TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import BanVerdict, SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    BlockRequest,
    PeerBitfield,
    PeerChoked,
    PeerUnchoked,
    RequestRejected,
)

if TYPE_CHECKING:
    from torrent_engine.engine.transfer.piece_assembly import PieceAssembly

STEP_S = 0.02
HASH_S = 0.02
MIB = 1024 * 1024
GOOD = (memoryview(b"g"),)
GOOD_DIGEST = hashlib.sha1(b"g", usedforsecurity=False).digest()


class SimConnection:
    """The requests that one peer owes us."""

    def __init__(self) -> None:
        self.state = self.sender = self
        self.outstanding: dict[Block, None] = {}
        self.incoming_block: Block | None = None
        self.peer_choking = False
        self.am_interested = False
        self.allowed_fast_in: set[int] = set()
        self.sent_late: list[Block] = []
        """Cancelled, and sent all the same."""
        self.ignores_cancels = False
        self.under_way_blocks = 1
        """As many of the first ones come, whatever is cancelled."""

    def request_blocks(self, blocks: list[Block]) -> None:
        assert not set(blocks) & set(self.outstanding)
        self.outstanding.update(dict.fromkeys(blocks))

    def outstanding_requests(self) -> list[Block]:
        return list(self.outstanding)

    def cancel(self, block: Block) -> None:
        is_under_way = block in islice(self.outstanding, self.under_way_blocks)
        del self.outstanding[block]
        if self.ignores_cancels or is_under_way:
            self.sent_late.append(block)

    def cancel_blocks(self, blocks: Collection[Block]) -> None:
        for block in sorted(blocks):
            self.cancel(block)

    def abandon(self, blocks: list[Block]) -> None:
        for block in blocks:
            del self.outstanding[block]

    def set_interested(self, *, interested: bool) -> None:
        self.am_interested = interested


@dataclass
class Behaviour:
    """How one peer sends."""

    bytes_per_s: float
    lies: float = 0.0
    """The share of its blocks that are bad."""
    lies_after: int = 0
    """Blocks that are good before."""
    delay_s: float = 0.02
    """From a request to the first byte of its block."""
    returns_after_s: float | None = None
    """It comes back under another name so long after it was banned."""
    joins_s: float = 0.0
    ignores_cancels: bool = False


@dataclass
class Sender:
    """One peer as the simulation sees it."""

    peer: Peer
    behaviour: Behaviour
    credit_bytes: float = 0.0
    asked_s: dict[Block, float] = field(default_factory=dict)
    sent_blocks: int = 0


class PoisonSwarm:
    """A DownloadManager, its peers, and what they send; :meth:`run` downloads everything."""

    def __init__(
        self,
        behaviours: list[Behaviour],
        *,
        pieces: int,
        piece_bytes: int = MIB,
        seed: int = 1,
        line_bytes_per_s: float = 200 * MIB,
    ) -> None:
        self.rng = random.Random(seed)
        self.clock = ManualClock()
        self.line_bytes_per_s = line_bytes_per_s
        self.geometry = Geometry(pieces * piece_bytes, piece_bytes)
        self.all = (1 << pieces) - 1
        self.table = PieceTable(self.geometry)
        self.picker = Picker(self.geometry, self.table, random.Random(seed))
        self.smart_ban = SmartBan()
        self.peers: dict[Peer, None] = {}
        self.senders: dict[Peer, Sender] = {}
        self.waiting = sorted(behaviours, key=lambda each: each.joins_s)
        self.totals = Totals()
        self.banned: list[Behaviour] = []
        self.failed_pieces = 0
        self.most_memory_bytes = 0
        self.authors_of_second_copies: list[int] = []
        """Of each piece that failed before, how many sent it."""
        self._names = iter(range(1, 1 << 30))
        self._hashing: list[tuple[float, PieceAssembly]] = []
        self._received_bytes = 0
        finisher: Any = SimpleNamespace(
            assemblies={},
            finish=lambda assembly: self._hashing.append((self.clock() + HASH_S, assembly)),
            write_ahead=self._write_ahead,
            waits_for_hash=lambda _: False,
            blocks_dropped=lambda _: None,
            restarted=lambda _: None,
        )
        torrent: Any = SimpleNamespace(
            metainfo=SimpleNamespace(geometry=self.geometry, piece_count=pieces),
            table=self.table,
            picker=self.picker,
            smart_ban=self.smart_ban,
            totals=self.totals,
            peers=self.peers,
            clock=self.clock,
            rng=random.Random(seed),
            shared_config=SimpleNamespace(
                choker=ChokerConfig(), disk=DiskConfig(), transfer=TransferConfig()
            ),
        )
        self.manager = DownloadManager(torrent, finisher)
        self.finisher = finisher
        self.manager.is_active = True

    # -- what a test asks ---------------------------------------------------------------------

    @property
    def honest_bans(self) -> int:
        return sum(not each.lies for each in self.banned)

    @property
    def wasted_share(self) -> float:
        """Bytes thrown away for each that was wanted."""
        return self.totals.wasted_bytes / self.geometry.total_bytes

    def run(self, within_s: float, until: Callable[[], bool] | None = None) -> float:
        """Let time pass until everything is here, or ``until``; return how long it took.

        Raises TimeoutError after ``within_s``.
        """
        started, next_second = self.clock(), self.clock() + 1.0
        while not (self.table.have.all() if until is None else until()):
            if self.clock() - started > within_s:
                raise TimeoutError(f"{self.table.have.count} of {self.geometry.piece_count} pieces")
            self._step()
            if self.clock() >= next_second:
                next_second += 1.0
                self.manager.tick(self.clock())
        return self.clock() - started

    # -- one step -----------------------------------------------------------------------------

    def _step(self) -> None:
        self.clock.advance(STEP_S)
        now = self.clock()
        while self.waiting and self.waiting[0].joins_s <= now:
            self.join(self.waiting.pop(0))
        self._hash(now)
        order = list(self.senders.values())
        self.rng.shuffle(order)
        line_bytes = self.line_bytes_per_s * STEP_S
        for sender in order:
            if sender.peer in self.peers:
                line_bytes -= self._send(sender, min(line_bytes, 1 << 40), now)
            if line_bytes <= 0:
                break
        held = sum(each.memory_bytes for each in self.finisher.assemblies.values())
        self.most_memory_bytes = max(self.most_memory_bytes, held)

    def join(self, behaviour: Behaviour, bits: int | None = None) -> Peer:
        """Let a peer in that has these pieces, or all."""
        connection = SimConnection()
        connection.ignores_cancels = behaviour.ignores_cancels
        under_way_bytes = behaviour.bytes_per_s * behaviour.delay_s
        connection.under_way_blocks = max(1, int(under_way_bytes / BLOCK_BYTES))
        link: Any = SimpleNamespace(connection=connection, flush=lambda: None, end=lambda _: None)
        identity = Identity(PeerAddress("127.0.0.1", next(self._names)), PeerId(bytes(20)))
        peer = Peer(link, identity, Source.TRACKER, TransferConfig(), self.clock())
        self.peers[peer] = None
        self.senders[peer] = Sender(peer, behaviour)
        has = Bitfield.from_int(self.all if bits is None else bits, self.geometry.piece_count)
        self.manager.on_bitfield(peer, PeerBitfield(has))
        peer.last_block_s = self.clock()
        self.manager.refill(peer)
        return peer

    def prove(self, peer: Peer) -> None:
        """Let a peer pass for one that sent a good piece alone."""
        self.smart_ban._set_proven(peer.identity)
        peer.is_proven = True

    def _send(self, sender: Sender, most_bytes: float, now: float) -> float:
        peer, how = sender.peer, sender.behaviour
        connection: Any = peer.connection
        asked: Any = sender.asked_s
        for block in connection.outstanding:
            asked.setdefault(block, now)
        used = 0.0
        sender.credit_bytes = min(
            sender.credit_bytes + how.bytes_per_s * STEP_S, max(how.bytes_per_s * 0.1, BLOCK_BYTES)
        )
        late = connection.sent_late
        while sender.credit_bytes >= BLOCK_BYTES and used < most_bytes:
            if late:
                self.totals.redundant_bytes += late.pop()[2]
            else:
                block = next(iter(connection.outstanding), None)
                if block is None or now - asked[block] < how.delay_s:
                    break
                del connection.outstanding[block]
                self.give(sender.peer, block)
            sender.credit_bytes -= BLOCK_BYTES
            used += BLOCK_BYTES
        for block in [each for each in asked if each not in connection.outstanding]:
            del asked[block]
        self.manager.after_read(peer)
        return used

    def give(self, peer: Peer, block: Block) -> None:
        """Let a block come from a peer, good or bad."""
        sender, views = self.senders[peer], GOOD
        how = sender.behaviour
        sender.sent_blocks += 1
        if sender.sent_blocks > how.lies_after and self.rng.random() < how.lies:
            views = (memoryview(b"%d" % self.rng.getrandbits(60)),)
        piece, begin, length = block
        self.manager.on_block(peer, BlockReceived(piece, begin, length, views))

    # -- what peers do besides ------------------------------------------------------------------

    def choke(self, peer: Peer) -> None:
        """Let a peer choke us: it will not send what it owes."""
        connection: Any = peer.connection
        connection.state.peer_choking = True
        lost = tuple(connection.outstanding)
        connection.outstanding.clear()
        self.manager.on_choked(peer, PeerChoked(tuple(BlockRequest(*block) for block in lost)))

    def unchoke(self, peer: Peer) -> None:
        """Let a peer unchoke us."""
        connection: Any = peer.connection
        connection.state.peer_choking = False
        self.manager.on_unchoked(peer, PeerUnchoked())
        self.manager.after_read(peer)

    def reject(self, peer: Peer) -> None:
        """Let a peer reject what it owes first."""
        connection: Any = peer.connection
        for block in tuple(connection.outstanding)[:1]:
            del connection.outstanding[block]
            self.manager.on_rejected(peer, RequestRejected(BlockRequest(*block)))

    def leave(self, peer: Peer) -> None:
        """Let a peer go."""
        del self.peers[peer], self.senders[peer]
        self.manager.peer_left(peer)
        self.manager.wanted_changed()

    # -- what the other managers do -----------------------------------------------------------

    def _hash(self, now: float) -> None:
        while self._hashing and self._hashing[0][0] <= now:
            _, assembly = self._hashing.pop(0)
            piece, digests = assembly.partial.piece, assembly.block_digests(_no_disk)
            if self.smart_ban.has_failed(piece):
                self.authors_of_second_copies.append(len(set(assembly.senders)))
            if all(digest == GOOD_DIGEST for digest in digests):
                verdict = self.smart_ban.piece_passed(piece, assembly.senders, digests)
                self.table.hash_passed(piece)
                self.table.written(piece)
                self.picker.suspects.hash_passed(piece)
                self.manager.on_piece_here(piece)
            else:
                self.failed_pieces += 1
                self.table.abandoned(piece)
                self.picker.suspects.hash_failed(piece)
                self.totals.failed_bytes += self.geometry.piece_length(piece)
                verdict = self.smart_ban.piece_failed(piece, assembly.senders, digests)
            self._judge(verdict)

    def _judge(self, verdict: BanVerdict) -> None:
        for peer in [peer for peer in self.peers if peer.identity in verdict.ban]:
            behaviour = self.senders[peer].behaviour
            self.banned.append(behaviour)
            if behaviour.returns_after_s is not None:
                behaviour.joins_s = self.clock() + behaviour.returns_after_s
                self.waiting.append(behaviour)
                self.waiting.sort(key=lambda each: each.joins_s)
            del self.peers[peer], self.senders[peer]
            self.manager.peer_left(peer)
        self.manager.drop_blocks_of([key for key in verdict.ban if isinstance(key, Identity)])
        self.manager.wanted_changed()

    def _write_ahead(self, _now: float, _age_s: float, _but_for: Container[int]) -> None:
        most = DiskConfig().partial_memory_bytes
        held = sum(each.memory_bytes for each in self.finisher.assemblies.values())
        if held > most:
            for assembly in self.finisher.assemblies.values():
                assembly.memory_bytes = 0


def _no_disk(_offset: int, _buffer: memoryview) -> None:
    raise AssertionError("every block is in memory here")
