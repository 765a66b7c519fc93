"""Whole pieces: verifying, writing, announcing, and blame where one is wrong.

Source: BEP 3 (``pieces``), BEP 52. A piece counts as had only after it is written, and is
announced after that.
"""

from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import MetainfoError, StorageError, TorrentEngineError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.merkle import HASH_BYTES
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.piece_hashes import PieceHashes
from torrent_engine.disk.pieces.writer import OnFailed, PieceWriter, WriteJob
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.events import PieceCompleted, PieceHashFailed
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Identity, Sender, WebSeedIdentity
from torrent_engine.engine.transfer.block_blame import BlockBlame
from torrent_engine.engine.transfer.piece_assembly import BLOCKS_PER_TURN, PieceAssembly, ReadBlock
from torrent_engine.engine.transfer.unproven_files import HeldFile, UnprovenFiles
from torrent_engine.policy.peers.smart_ban import BanVerdict
from torrent_engine.protocol.tracker.urls import redact_url

FINISHED_AT_ONCE: Final = 64  # ours: pieces that waited for their hashes; 40 us each to begin
PROVED_AT_ONCE: Final = 16  # ours: files; each has a thread of its own only while it is read

T = TypeVar("T")
StartTask = Callable[[Callable[[PieceAssembly], Awaitable[None]], PieceAssembly], None]


class MakeWriter(Protocol):
    """Creates the write queue; the two callbacks get its finished and failed jobs."""

    def __call__(
        self, *, on_written: Callable[[list[WriteJob]], None], on_failed: OnFailed
    ) -> PieceWriter:
        """Return the write queue."""


@dataclass(frozen=True, slots=True)
class VerifierCallbacks:
    """What a PieceFinisher calls."""

    start_task: StartTask
    """Runs what cannot be done at once."""
    on_have: Callable[[int], None]
    """A piece is verified and written."""
    on_verdict: Callable[[BanVerdict, int], None]
    """Who sent bad data, and the piece that showed it."""
    on_error: Callable[[TorrentEngineError], None]
    """The disk failed, or the torrent cannot be downloaded by anybody."""
    on_learned: Callable[[Metainfo], None]
    """A whole file is right, so that the hashes of its pieces are known (BEP 52)."""


@dataclass(slots=True)
class _Whole:
    """Tag of the jobs that write what is left of a verified piece."""

    piece: int
    left: int
    """Jobs that are not written; several threads write, in any order."""


@dataclass(frozen=True, slots=True)
class _Unverified:
    """Tag of a job that verifies a whole piece and writes it."""

    assembly: PieceAssembly


@dataclass(frozen=True, slots=True)
class _Copied:
    """Tag of a job that verifies a piece which no peer sent, and writes it."""

    piece: int
    on_wrong: Callable[[], None]
    on_failed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Tag of a job that writes blocks ahead of their piece."""

    assembly: PieceAssembly
    first_block: int
    blocks: int


class PieceFinisher:
    """Verifies, writes and announces whole pieces; judges who sent the bad ones."""

    def __init__(
        self,
        torrent: Torrent,
        keeper: ResumeKeeper,
        *,
        hash_limiter: anyio.CapacityLimiter,
        make_writer: MakeWriter,
        callbacks: VerifierCallbacks,
    ) -> None:
        self.assemblies: dict[int, PieceAssembly] = {}
        """The begun pieces, by index."""
        self.writer = make_writer(on_written=self.written, on_failed=self.write_failed)
        self._torrent = torrent
        self._keeper = keeper
        self._hash_limiter = hash_limiter
        self._start_task = callbacks.start_task
        self._on_have = callbacks.on_have
        self._on_verdict = callbacks.on_verdict
        self._on_error = callbacks.on_error
        self._on_learned = callbacks.on_learned
        self._unproven = UnprovenFiles(torrent)
        self._finishing = self._proving = 0
        """Tasks that verify pieces whose hashes came late, and those that prove files."""
        self._hashes = torrent.metainfo.hashes
        self.blame = BlockBlame(torrent)
        self._blamed_bytes = 0
        """Of bad pieces that wait for the hashes of their blocks."""

    def hashes_changed(self) -> None:
        """Check by hashes that the torrent has learned, too; what is being checked is not."""
        self._hashes = self._torrent.metainfo.hashes
        self._unproven.hashes_changed()
        self._finish_known()

    def finish(self, assembly: PieceAssembly) -> None:
        """Verify and write a piece whose blocks are all here."""
        piece = assembly.partial.piece
        if self._hashes.expected(piece) is None:
            self._unproven.hold(assembly)
            self._write_unverified(assembly)
            return
        is_plain = assembly.is_in_memory and not self._torrent.smart_ban.has_failed(piece)
        if is_plain:
            self.writer.submit(
                WriteJob(
                    assembly.piece_offset_bytes,
                    assembly.all_views(),
                    _Unverified(assembly),
                    piece=piece,
                    hashes=self._hashes,
                )
            )
        else:
            self._start_task(self._finish_slowly, assembly)

    def waits_for_hash(self, piece: int) -> bool:
        """Return whether a whole piece cannot be verified yet."""
        return self._unproven.has(piece)

    def prove_files(self) -> None:
        """Verify whole files that nobody gave the hashes of; call it once a second."""
        self._finish_known()
        for file in self._unproven.take_turns(PROVED_AT_ONCE - self._proving):
            self._proving += 1
            self._start_task(partial(self._prove_in_turn, file), file.first)

    def _finish_known(self) -> None:
        """Verify pieces whose hashes came late, a few at a time: they are on the disk."""
        for assembly in self._unproven.take_known(FINISHED_AT_ONCE - self._finishing):
            self._finishing += 1
            self._start_task(self._finish_in_turn, assembly)

    async def _finish_in_turn(self, assembly: PieceAssembly) -> None:
        try:
            await self._finish_slowly(assembly)
        finally:
            self._finishing -= 1
        self._finish_known()

    async def _prove_in_turn(self, file: HeldFile, _first: PieceAssembly) -> None:
        try:
            await self._prove_file(file)
        finally:
            self._proving -= 1
        self.prove_files()

    async def _prove_file(self, file: HeldFile) -> None:
        """Take the hashes of a file from its content if that is right, or throw it away."""
        try:
            proven = await self._unproven.prove(file, self._in_thread)
            if proven is None and self._unproven.drop(file):
                await self._file_failed(file)
        except StorageError as error:
            self._on_error(error)
            return
        if proven is not None and proven is not self._torrent.metainfo:
            self._on_learned(proven)

    async def _file_failed(self, file: HeldFile) -> None:
        """Fetch a file again; of whom it is proved only if it is all of one sender."""
        is_proof = len(await senders_of(file)) == 1
        for piece in file.pieces:
            assembly = file.held.pop(piece)
            digests = await self._in_thread(assembly.block_digests)
            self._failed(assembly, digests, is_proof=is_proof)

    async def wait_for_room(self) -> None:
        """Wait until the write queue is not full."""
        await self.writer.wait_for_room()

    def write_copy(
        self,
        piece: int,
        data: memoryview,
        *,
        on_wrong: Callable[[], None],
        on_failed: Callable[[], None],
    ) -> None:
        """Verify and write a begun piece that was read from a file of the same content.

        One of the two is called if it does not match, or cannot be written; the caller abandons
        the piece then.
        """
        job = WriteJob(
            self._torrent.metainfo.geometry.piece_offset(piece),
            [data],
            _Copied(piece, on_wrong, on_failed),
            piece=piece,
            hashes=self._hashes,
        )
        self.writer.submit(job)

    def shared(self, piece: int) -> None:
        """Count a begun piece that shares the blocks of another file and was verified there."""
        if not self._torrent.is_abandoned:
            self._torrent.table.hash_passed(piece)
            self._have(piece)

    async def _finish_slowly(self, assembly: PieceAssembly) -> None:
        """Read back what is needed, and find out who sent what if the piece is or was bad."""
        piece, smart_ban = assembly.partial.piece, self._torrent.smart_ban
        try:
            await assembly.settled()
            hashes = self._hashes  # which may change meanwhile
            digest = hashes.new_digest(piece)
            await self._in_thread(partial(assembly.add_to, digest))
            found = digest.digest()
            is_right = found == hashes.expected(piece)
            liars = [] if is_right else await self._repair_pads(assembly, hashes)
            is_right = is_right or bool(liars)
            if not is_right and hashes.contradict(piece, found):
                self._on_error(contradiction(piece))
                return
            digests: list[bytes] = []
            if not is_right and await self._keep_right_blocks(assembly):
                return
            if not is_right or smart_ban.has_failed(piece):
                digests = await self._in_thread(assembly.block_digests)
        except StorageError as error:
            self._on_error(error)
            return
        if is_right:
            self._on_verdict(smart_ban.piece_passed(piece, assembly.senders, digests), piece)
            if liars:
                self._on_verdict(smart_ban.blocks_failed(liars), piece)
            self._passed(assembly)
        else:
            self._failed(assembly, digests)

    async def _repair_pads(
        self, assembly: PieceAssembly, hashes: PieceHashes
    ) -> list[Sender | None]:
        """Return who sent wrong pads of a bad piece, of which nothing else was wrong."""
        pads = self._torrent.metainfo.geometry.pad_ranges(assembly.partial.piece)
        if not pads:
            return []
        blocks = await self._in_thread(partial(assembly.repair_pads, pads, hashes))
        return [assembly.senders[block] for block in blocks]

    async def _keep_right_blocks(self, assembly: PieceAssembly) -> bool:
        """Blame who sent wrong blocks of a bad piece; False: peers do not tell which those are."""
        piece, senders = assembly.partial.piece, {*assembly.senders}
        tree = self._hashes.tree(piece)
        if tree is None or (len(senders) == 1 and None not in senders):
            return False
        room = self._torrent.shared_config.disk.partial_memory_bytes
        if self._blamed_bytes and self._blamed_bytes + tree.length_bytes > room:
            return False  # peers that do not answer must not make us hold ever more pieces
        self._blamed_bytes += tree.length_bytes
        try:
            right, liars = await self.blame.leaves(piece, tree, senders)
        finally:
            self._blamed_bytes -= tree.length_bytes
        if liars:
            self._on_verdict(self._torrent.smart_ban.blocks_failed(liars), piece)
        if right is None or self._torrent.is_abandoned:
            return False
        found = await self._in_thread(partial(assembly.leaves, tree.length_bytes))
        wrong = differing(found, right)
        if wrong:
            pads = self._torrent.metainfo.geometry.pad_ranges(piece)
            wrong = sorted({*wrong, *assembly.wrong_pads(pads)})
            self._failed_partly(assembly, wrong)
        return bool(wrong)

    async def _in_thread(self, work: Callable[[ReadBlock], T]) -> T:
        storage = self._torrent.storage
        failure = partial(StorageError, storage.save_path)
        return await run_in_thread(
            work, storage.read_blocking, limiter=self._hash_limiter, failure=failure
        )

    def _passed(self, assembly: PieceAssembly) -> None:
        piece = assembly.partial.piece
        self._torrent.table.hash_passed(piece)
        runs = assembly.take_unwritten()
        if not runs:
            self._have(piece)
            return
        tag = _Whole(piece, len(runs))
        for first, _, views in runs:
            self.writer.submit(WriteJob(assembly.run_offset_bytes(first), views, tag))

    def _failed(
        self, assembly: PieceAssembly, digests: list[bytes], *, is_proof: bool = True
    ) -> None:
        """Throw a piece away; ``is_proof``: if it has one sender, that one sent bad data."""
        torrent, piece = self._torrent, assembly.partial.piece
        torrent.table.abandoned(piece)
        torrent.picker.suspects.hash_failed(piece)
        torrent.totals.failed_bytes += torrent.metainfo.geometry.piece_length(piece)
        self._keeper.partial_written(piece, 0)
        self._publish_failure(piece, assembly.senders)
        smart_ban, senders = torrent.smart_ban, assembly.senders
        verdict = smart_ban.piece_failed(piece, senders, digests, is_proof=is_proof)
        self._on_verdict(verdict, piece)

    def _failed_partly(self, assembly: PieceAssembly, wrong: list[int]) -> None:
        """Begin a piece again with the blocks that are right."""
        torrent, piece = self._torrent, assembly.partial.piece
        culprits = [assembly.senders[block] for block in wrong]
        torrent.totals.failed_bytes += sum(assembly.partial.block(block)[2] for block in wrong)
        torrent.table.abandoned(piece)
        assembly.begin_again(torrent.picker.begin(piece), wrong)
        self.assemblies[piece] = assembly
        self.blocks_dropped(assembly)
        self._publish_failure(piece, culprits)
        self._on_verdict(torrent.smart_ban.blocks_failed(culprits), piece)

    def _publish_failure(self, piece: int, blamed: Iterable[Sender | None]) -> None:
        torrent = self._torrent
        senders = dict.fromkeys(sender for sender in blamed if sender is not None)
        torrent.bus.publish(
            PieceHashFailed(
                torrent.metainfo.info_hash,
                PieceIndex(piece),
                tuple(key.address for key in senders if isinstance(key, Identity)),
                tuple(redact_url(key.url) for key in senders if isinstance(key, WebSeedIdentity)),
            )
        )

    def _have(self, piece: int) -> None:
        torrent = self._torrent
        if torrent.is_abandoned:
            return  # while it was verified and written
        torrent.table.written(piece)
        torrent.picker.suspects.hash_passed(piece)
        self._keeper.piece_written(piece)
        torrent.bus.publish(PieceCompleted(torrent.metainfo.info_hash, PieceIndex(piece)))
        self._on_have(piece)

    def written(self, jobs: list[WriteJob]) -> None:
        """Handle jobs that the writer has written."""
        for job in jobs:
            tag = job.tag
            if type(tag) is _Whole:
                tag.left -= 1
                if not tag.left:
                    self._have(tag.piece)
            elif type(tag) is _Unverified:
                self._verified(job, tag.assembly)
            elif type(tag) is _Copied:
                self._copied(job, tag)
            elif type(tag) is _Ahead:
                assembly = tag.assembly
                assembly.forget_views(tag.first_block, tag.blocks)
                piece = assembly.partial.piece
                is_begun = self.assemblies.get(piece) is assembly
                if is_begun or self._unproven.holds(assembly):
                    self._keeper.partial_written(piece, assembly.disk_bits())

    def _copied(self, job: WriteJob, tag: _Copied) -> None:
        if not job.is_right:
            tag.on_wrong()
            return
        self._torrent.table.hash_passed(tag.piece)
        self._have(tag.piece)

    def _verified(self, job: WriteJob, assembly: PieceAssembly) -> None:
        """Handle the writer's verdict on a whole piece."""
        if not job.is_right:
            metainfo = self._torrent.metainfo
            may_contradict = metainfo.is_hybrid or metainfo.v1_swarm is not None
            if assembly.sole_sender is None or may_contradict:
                self._start_task(self._finish_slowly, assembly)
            else:
                self._failed(assembly, [])  # it is proved already who sent it
            return
        piece, torrent = assembly.partial.piece, self._torrent
        torrent.smart_ban.piece_passed(piece, assembly.senders)
        torrent.table.hash_passed(piece)
        self._have(piece)

    def write_failed(self, error: StorageError, jobs: list[WriteJob]) -> None:
        """Handle jobs that could not be written: their pieces are missing again."""
        table = self._torrent.table
        for job in jobs:
            tag = job.tag
            if type(tag) is _Whole and tag.left > 0:
                tag.left = 0  # of its jobs the first that fails counts
                table.write_failed(tag.piece)
            elif type(tag) is _Unverified:
                table.abandoned(tag.assembly.partial.piece)
            elif type(tag) is _Copied:
                tag.on_failed()
            elif type(tag) is _Ahead:
                tag.assembly.not_written(tag.first_block, tag.blocks)
        self._on_error(error)

    def blocks_dropped(self, assembly: PieceAssembly) -> None:
        """Save which blocks are left of a begun piece that lost some."""
        self._keeper.partial_written(assembly.partial.piece, assembly.disk_bits())

    def restarted(self, piece: int) -> None:
        """Save that no block is left of a begun piece."""
        self._keeper.partial_written(piece, 0)

    def write_ahead(self, now: float, age_s: float, but_for: Container[int] = ()) -> None:
        """Write the blocks of pieces that take long, so that a kill loses little of them.

        All of them once more memory is held than is allowed, else those begun ``age_s`` ago; never
        of pieces ``but_for``.
        """
        if self.writer.full:
            return
        held_bytes = sum(assembly.memory_bytes for assembly in self.assemblies.values())
        is_too_much = held_bytes > self._torrent.shared_config.disk.partial_memory_bytes
        for piece, assembly in self.assemblies.items():
            is_due = is_too_much or now - assembly.begun_s >= age_s
            if assembly.memory_bytes and is_due and piece not in but_for:
                self._write_unverified(assembly)

    def _write_unverified(self, assembly: PieceAssembly) -> None:
        for first, count, views in assembly.take_unwritten():
            tag = _Ahead(assembly, first, count)
            self.writer.submit(WriteJob(assembly.run_offset_bytes(first), views, tag))


async def senders_of(file: HeldFile) -> set[Sender | None]:
    """Return who sent a full file, which is looked at in short turns."""
    senders, blocks = set[Sender | None](), 0
    for piece in file.pieces:
        senders.update(file.held[piece].senders)
        blocks += len(file.held[piece].senders)
        if blocks >= BLOCKS_PER_TURN:
            await anyio.lowlevel.checkpoint()
            blocks = 0
    return senders


def contradiction(piece: int) -> MetainfoError:
    """Return the error of a hybrid torrent that only one of its versions can have made."""
    return MetainfoError(
        f"piece {piece} is right by one of its hashes, and wrong by the other: the v1 and v2 parts"
        " of this hybrid torrent are of different data (BEP 52)"
    )


def differing(found: bytes, right: bytes) -> list[int]:
    """Return which of some hashes are not what they should be."""
    return [
        start // HASH_BYTES
        for start in range(0, len(found), HASH_BYTES)
        if found[start : start + HASH_BYTES] != right[start : start + HASH_BYTES]
    ]
