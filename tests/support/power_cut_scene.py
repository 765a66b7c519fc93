"""A torrent's life that is recorded, and what must hold after a power cut at any moment of it."""

import math
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.power_cut import KINDS, Bytes, CrashState, Recorder, with_inodes
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.disk import safe_open
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.moves.plan import MoveSpec, draw_plan
from torrent_engine.disk.moves.relocation import MoveAttempt, MoveHooks, finish_move
from torrent_engine.disk.moves.table import load_plan
from torrent_engine.disk.pieces.hasher import check_pieces
from torrent_engine.disk.pieces.writer import PieceWriter, WriteJob
from torrent_engine.disk.resume import keeper as resume
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.state.store import StateStore

SYNC_BYTES = 128 * 1024
CONFIG = DiskConfig(state_reserve_bytes=4096, sync_interval_s=0.05, sync_bytes=SYNC_BYTES)
COMMIT_S = 0.01
FILES = {
    "a/long": payload_of(150_000, 1),
    "found": payload_of(70_000, 2),
    "skipped": payload_of(40_000, 3),
    "empty": b"",
    "b/c/short": payload_of(9_000, 4),
    "later": payload_of(60_000, 5),
    "last": payload_of(120_001, 6),
    "huge": payload_of(4_000_000, 7),
}
METAINFO, PAYLOAD = make_torrent(FILES)
FOUND, SKIPPED, LATER, HUGE = 1, 2, 5, 7
OF_HUGE = 12
"""Of the pieces of the huge file so many are downloaded in each run: it stays a sparse one."""
SAVE, TARGET, STATE = "save", "moved/to", "state"


@dataclass
class Judged:
    """What the crash states of one life came to."""

    states: int = 0
    false_haves: list[str] = field(default_factory=list)
    """A piece was called verified, and its bytes are others."""
    lost: list[str] = field(default_factory=list)
    """A piece was durable before, and would be fetched again."""
    failed: list[str] = field(default_factory=list)
    """The torrent does not start."""
    hashed_bytes: int = 0
    most_hashed_bytes: int = 0
    too_much: list[str] = field(default_factory=list)
    """More is hashed than was written, and lies in new files, since the last sync but one."""

    def lines(self) -> Iterator[str]:
        yield f"crash states            {self.states}"
        yield f"false 'have'            {len(self.false_haves)}"
        yield f"durable pieces lost     {len(self.lost)}"
        yield f"did not start           {len(self.failed)}"
        yield f"hashed without need     {len(self.too_much)}"
        yield f"hashed again, average   {self.hashed_bytes / max(self.states, 1):.0f} bytes"
        yield f"hashed again, at most   {self.most_hashed_bytes} of {len(PAYLOAD)} bytes"
        for found in (self.false_haves, self.lost, self.failed, self.too_much):
            yield from found[:5]

    def add(self, other: "Judged") -> None:
        """Take in what another life came to."""
        self.states += other.states
        self.false_haves += other.false_haves
        self.lost += other.lost
        self.failed += other.failed
        self.too_much += other.too_much
        self.hashed_bytes += other.hashed_bytes
        self.most_hashed_bytes = max(self.most_hashed_bytes, other.most_hashed_bytes)

    @property
    def is_good(self) -> bool:
        return not (self.false_haves or self.lost or self.failed or self.too_much)


@contextmanager
def boot(name: str) -> Iterator[None]:
    """Let the system have another boot id, and the keeper commit a hundred times a second."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(resume, "read_boot_id", lambda: name)
        patches.setattr(resume, "read_boot_time_ns", time.time_ns)
        patches.setattr(resume, "COMMIT_INTERVAL_S", COMMIT_S)
        yield


@contextmanager
def counted_reads() -> Iterator[list[int]]:
    """Count the bytes that are read to be hashed."""
    counts: list[int] = []
    real = StorageManager.read_blocking

    def call(storage: StorageManager, offset: int, into: memoryview) -> None:
        counts.append(len(into))
        real(storage, offset, into)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(StorageManager, "read_blocking", call)
        yield counts


# -- the life -------------------------------------------------------------------------------------


class Life:
    """One torrent from its first start to its removal to another folder."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, Random(seed)
        (root / STATE).mkdir()
        if self.random.random() < 0.5:
            (root / SAVE / "payload").mkdir(parents=True)
            (root / SAVE / "payload/found").write_bytes(FILES["found"][:50_000] + bytes(20_000))
        self.recorder = Recorder(root)
        self.limiter = anyio.CapacityLimiter(4)

    async def run(self) -> Recorder:
        """Live it, and return what was recorded."""
        with boot("first"), self.recorder.running():
            async with await StateStore.open(self.root / STATE, config=CONFIG) as store:
                await self._download(store, SAVE, {SKIPPED, LATER}, self._half)
            self.recorder.mark("listed")
            async with await StateStore.open(self.root / STATE, config=CONFIG) as store:
                await self._download(store, SAVE, {SKIPPED}, self._rest)
                await self._move(store)
                await self._download(store, TARGET, set(), self._rest)
        return self.recorder

    async def _download(
        self,
        store: StateStore,
        place: str,
        skipped: set[int],
        pieces: Callable[[StorageManager, set[int]], Awaitable[list[int]]],
    ) -> None:
        storage = StorageManager(
            METAINFO,
            self.root / place,
            disk_limiter=self.limiter,
            config=CONFIG,
            skipped=skipped,
        )
        await storage.open()
        keeper = ResumeKeeper(store, storage, METAINFO, CONFIG)
        await self._transfer(keeper, storage, pieces)
        await keeper.close()
        self.recorder.mark(("durable", frozenset(keeper._have.present())))
        await storage.close()

    async def _transfer(
        self,
        keeper: ResumeKeeper,
        storage: StorageManager,
        pieces: Callable[[StorageManager, set[int]], Awaitable[list[int]]],
    ) -> None:
        plan = await keeper.plan()
        have = set(plan.verified.present())

        def on_result(piece: int, is_right: bool) -> None:
            keeper.piece_checked(piece, is_right)
            if is_right:
                have.add(piece)

        def on_written(jobs: list[WriteJob]) -> None:
            for job in jobs:
                assert isinstance(job.tag, int)
                keeper.piece_written(job.tag)
                self.recorder.mark(("announced", job.tag))

        def on_failed(error: Exception, _: list[WriteJob]) -> None:
            raise error

        await check_pieces(
            storage, METAINFO, plan.to_check, limiter=self.limiter, threads=2, on_result=on_result
        )
        writer = PieceWriter(
            storage, config=CONFIG, limiter=self.limiter, on_written=on_written, on_failed=on_failed
        )
        self._watch_syncs(keeper)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(keeper.run)
            for piece in await pieces(storage, have):
                self._submit(writer, keeper, storage, piece)
                if self.random.random() < 0.3:
                    await anyio.sleep(0.02)
            await writer.drain()
            tasks.cancel_scope.cancel()

    def _watch_syncs(self, keeper: ResumeKeeper) -> None:
        sync = keeper.sync

        async def watched() -> None:
            await sync()
            bits = Bits(keeper._durable)
            self.recorder.mark(("durable", bits))

        keeper.sync = watched  # type: ignore[method-assign]

    def _submit(
        self, writer: PieceWriter, keeper: ResumeKeeper, storage: StorageManager, piece: int
    ) -> None:
        start, length = METAINFO.geometry.piece_offset(piece), METAINFO.geometry.piece_length(piece)
        view = memoryview(PAYLOAD)[start : start + length]
        writer.submit(WriteJob(start, [view], piece, piece=piece, hashes=METAINFO.hashes))

    async def _half(self, storage: StorageManager, have: set[int]) -> list[int]:
        wanted = self._wanted(storage, have)
        return wanted[: len(wanted) // 2]

    async def _rest(self, storage: StorageManager, have: set[int]) -> list[int]:
        return self._wanted(storage, have)

    def _wanted(self, storage: StorageManager, have: set[int]) -> list[int]:
        wanted = [
            piece
            for piece in range(METAINFO.piece_count)
            if piece not in have
            and any(
                index not in storage.skipped
                for index in METAINFO.layout.files_of_piece(piece, METAINFO.geometry)
            )
        ]
        of_huge = METAINFO.layout.pieces_of(HUGE, METAINFO.geometry)
        some = set(self.random.sample(of_huge, OF_HUGE)) | {of_huge[0]}
        wanted = [piece for piece in wanted if piece not in of_huge or piece in some]
        self.random.shuffle(wanted)
        return wanted

    async def _move(self, store: StateStore) -> None:
        paths = {index: entry.path for index, entry in enumerate(METAINFO.files)}
        source, target = self.root / SAVE, self.root / TARGET
        record = await store.load(METAINFO.info_hash)
        plan = draw_plan(MoveSpec(METAINFO, source, target, paths, paths), record)
        assert await MoveAttempt(store, plan, MoveHooks(self.limiter)).begin()


def Bits(data: bytes) -> frozenset[int]:  # noqa: N802 - reads as a type
    count = METAINFO.piece_count
    return frozenset(i for i in range(count) if data[i // 8] >> (7 - i % 8) & 1)


# -- what is there afterwards ---------------------------------------------------------------------


class Judge:
    """Starts the torrent of a crash state, as the next boot would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.judged = Judged()
        self.limiter = anyio.CapacityLimiter(4)
        self._real_look = safe_open.Folder._look
        self._hashed_bytes = 0

    async def judge(self, state: CrashState) -> None:
        """Note what the next start believes, and what it should."""
        inodes = state.restore(self.root, self.root / STATE / "state.db")
        self.judged.states += 1
        with (
            boot("first" if state.is_same_boot else "second"),
            pytest.MonkeyPatch.context() as patches,
        ):
            patches.setattr(safe_open.Folder, "_look", with_inodes(self._real_look, inodes))
            # Files that a power cut leaves are as old as before it, these are made anew.
            patches.setattr(safe_open.Folder, "is_born_after", lambda *_: False)
            try:
                await self._start(state)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                self.judged.failed.append(
                    f"{state.about}: {error!r} at {where.name}:{where.lineno}"
                )

    async def _start(self, state: CrashState) -> None:
        async with await StateStore.open(self.root / STATE, config=CONFIG) as store:
            if (move := await load_plan(store, METAINFO.info_hash)) is not None:
                outcome = await finish_move(store, move, MoveHooks(self.limiter))
                assert outcome.is_finished
            record = await store.load(METAINFO.info_hash)
            if record is None:
                assert "listed" not in state.marks, "the torrent is gone"
            place = Path(record.save_path) if record is not None else self.root / SAVE
            if record is not None:
                assert record.metainfo_bytes in {METAINFO.source, b""}
                assert "listed" not in state.marks or record.metainfo_bytes
            storage = StorageManager(
                METAINFO, place, disk_limiter=self.limiter, config=CONFIG, skipped={SKIPPED, LATER}
            )
            await storage.open()
            keeper = ResumeKeeper(store, storage, METAINFO, CONFIG)
            plan = await keeper.plan()
            verified = set(plan.verified.present())
            right = await self._found_right(keeper, storage, plan.to_check)
            await storage.in_thread(storage.claim_files)
            self._compare(state, storage, verified, set(right))
            if unread := {piece for piece in right if not self._is_right(storage, piece)}:
                self.judged.false_haves.append(f"{state.about}: {sorted(unread)} were hashed")
            keeper.abandon()
            await storage.close()

    async def _found_right(
        self, keeper: ResumeKeeper, storage: StorageManager, to_check: list[int]
    ) -> set[int]:
        """Hash what is to be hashed; return what is right."""
        right: set[int] = set()

        def on_result(piece: int, is_right: bool) -> None:
            keeper.piece_checked(piece, is_right)
            if is_right:
                right.add(piece)

        with counted_reads() as counts:
            await check_pieces(
                storage, METAINFO, to_check, limiter=self.limiter, threads=1, on_result=on_result
            )
        self._hashed_bytes = sum(counts)
        return right

    def _compare(
        self,
        state: CrashState,
        storage: StorageManager,
        verified: set[int],
        right: set[int],
    ) -> None:
        believed = {piece for piece in verified if self._is_right(storage, piece)}
        right |= believed
        if wrong := verified - believed:
            self.judged.false_haves.append(f"{state.about}: {sorted(wrong)}")
        noted = [mark[1] for mark in state.marks if mark[0] == "durable"]
        safe: frozenset[int] = noted[-1] if noted else frozenset()
        if state.is_same_boot:
            safe |= {m[1] for m in state.marks if m[0] == "announced"}
        if lost := safe - right:
            self.judged.lost.append(f"{state.about}: {sorted(lost)}")
        hashed = self._hashed_bytes
        pending = sum(_may_be_hashed(*written) for written in state.since_last_sync())
        if hashed > pending and "listed" in state.marks:
            self.judged.too_much.append(f"{state.about}: {hashed} bytes, {pending} are pending")
        self.judged.hashed_bytes += hashed
        self.judged.most_hashed_bytes = max(self.judged.most_hashed_bytes, hashed)

    @staticmethod
    def _is_right(storage: StorageManager, piece: int) -> bool:
        start, length = METAINFO.geometry.piece_offset(piece), METAINFO.geometry.piece_length(piece)
        buffer = bytearray(length)
        try:
            storage.read_blocking(start, memoryview(buffer))
        except Exception:
            return False
        return buffer == PAYLOAD[start : start + length]


def _may_be_hashed(name: str, written: Bytes) -> int:
    """Return how much may have to be hashed because of something that was written."""
    piece_bytes = METAINFO.geometry.piece_bytes
    if name == METAINFO.info_hash.hex():  # the journal: four bytes a piece
        return len(written.data or b"") // 4 * piece_bytes
    if name.startswith(METAINFO.info_hash.hex()):
        return 0
    return 0 if written.data is None else len(written.data) + 2 * piece_bytes


async def cut_power(root: Path, *, states: int, seed: int) -> Judged:
    """Record one life below a folder, and judge so many states: every moment, each kind in turn."""
    recorder = await Life(root, seed).run()
    random, judge = Random(seed), Judge(root)
    moments = len(recorder.log) + 1
    for number in range(states):
        kind = KINDS[number % len(KINDS)]
        step = math.ceil(states / len(KINDS))
        turn = number // len(KINDS)
        moment = turn % moments if step >= moments else turn * moments // step
        await judge.judge(CrashState(recorder, moment, kind, random))
    return judge.judged
