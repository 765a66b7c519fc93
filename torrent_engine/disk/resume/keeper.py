"""Write-behind of a torrent's progress: a piece is saved as durable only after its data is synced.

``have`` bits are committed in groups a few times a second, files are synced every few seconds,
and only then ``durable`` follows. What is being written is noted in a journal first, so a kill at
any moment costs no verified piece (fault model, rows F4 and F5).
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import (
    DiskFullError,
    MissingFilesError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.codec.bitfield import Bitfield, bits_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import FileStamp, NotedFiles
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.filesystem import is_folder
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.resume.history import FOUND_UNKNOWN, Earlier, made_about, new_record
from torrent_engine.disk.resume.start_plan import (
    FilesSeen,
    Noted,
    Planner,
    StartPlan,
    refuse_missing_mount,
    refuse_other_disk,
)
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.records import Progress, TorrentRecord
from torrent_engine.disk.state.store import StateStore

if TYPE_CHECKING:
    from torrent_engine.disk.state.journal import WriteJournal

MAX_NAMED_FILES: Final = 10  # ours: of those that are gone, in an error
COMMIT_INTERVAL_S: Final = 0.25  # between two transactions, and at least between two syncs
MANY_STAMPS: Final = 5_000  # ours: what more are saved is noted in a thread
_log = logging.getLogger(__name__)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SYSTEM: Final = Path("/proc/stat")


def read_boot_id() -> str:
    """Return what identifies this run of the system; "" where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_boot_time_ns() -> int:
    """Return when this run of the system began, in wall-clock time since 1970; 0 if unknown."""
    with suppress(OSError, ValueError):
        for line in _SYSTEM.read_text(encoding="ascii").splitlines():
            name, _, seconds = line.partition(" ")
            if name == "btime":
                return int(seconds) * 1_000_000_000
    return 0


class ResumeKeeper:
    """Keeps the database in step with the files of one torrent.

    Use: open the storage, ``plan()``, then ``run()`` as a task; ``close()`` at the end.
    """

    def __init__(
        self,
        store: StateStore,
        storage: StorageManager,
        metainfo: Metainfo,
        config: DiskConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._storage = storage
        self._owned = storage.owned
        self._stamps = storage.stamps
        self._metainfo = metainfo
        self._config = config
        self._clock = clock
        self._boot_id = read_boot_id()
        self._have = Bitfield(metainfo.piece_count)
        self._durable = bytes(len(self._have.to_bytes()))
        self._unchecked = Bitfield(metainfo.piece_count)
        self._settled: list[int] = []
        self._partial_changes: dict[int, int] = {}
        self._partial: set[int] = set()
        self._unsynced_bytes = 0
        self._last_sync_s = clock()
        self._is_uncommitted = False
        self.has_lost_pieces = False
        """A sync failed: what was written since the last good one is to be hashed."""
        self.earlier = Earlier()
        self._work = anyio.Event()
        self._lock = anyio.Lock()
        self._journal: WriteJournal | None = None
        self._refuses_missing = False
        self._unsaved: TorrentRecord | None = None
        """What the database does not know yet; saved before anything else."""
        self._learned: Metainfo | None = None
        """The torrent with more than the database has of it."""

    # -- start ----------------------------------------------------------------------------

    async def refuse_missing_disk(self) -> None:
        """Raise StorageError if the save path is gone with its file system (row F3).

        Call it before the storage is opened, which creates the save path.
        """
        storage, is_there = self._storage, True

        def look() -> None:
            nonlocal is_there
            with suppress(OSError):  # opening it will tell
                is_there = is_folder(storage.save_path)

        if storage.is_on_disk:
            await storage.in_thread(look)
        if is_there:
            return
        record = await self._store.load(self._metainfo.info_hash, with_metainfo=False)
        if record is not None and record.save_path == self._save_path:
            await storage.in_thread(partial(refuse_other_disk, record, storage.save_path))

    async def plan(self, *, trust: bool = True, refuses_missing: bool = False) -> StartPlan:
        """Claim the torrent, and say what it starts with.

        With ``trust`` false the database is not asked: all that is there is to be hashed.
        Raises StateInUseError if another process works on the torrent, StorageError if the
        save path's disk seems not to be mounted; with ``refuses_missing`` MissingFilesError if
        files are gone that had verified data, and nothing is changed then.
        """
        self._refuses_missing = refuses_missing
        self._store.claim(self._metainfo.info_hash)
        try:
            return await self._plan(trust=trust)
        except BaseException:
            self.abandon()
            raise

    async def _plan(self, *, trust: bool) -> StartPlan:
        record = await self._store.load(self._metainfo.info_hash, with_metainfo=False)
        noted = await self._open_journal()
        seen, plan = await self._look_or_forget(record, noted, trust=trust)
        is_fresh = record is None and not (noted.pieces or plan.to_check or plan.partial)
        is_saved = True
        if is_fresh and not plan.verified.count:
            self._touch()  # there is nothing to lose yet: the transfer does not wait for that
        else:
            # A file that changes while the database still calls it clean is hashed as a whole.
            is_to_change = not plan.verified.all()
            is_saved = await self._save_plan(seen, is_precious=is_to_change)
        if self._journal is not None and is_saved:
            # The pieces are in the database as unchecked now; files that are gone are nobody's.
            self._journal.settle(noted.pieces, self._owned.not_own(self._journal.files().inodes))
        self._owned.watch(self._journal.note_file if self._journal is not None else None)
        self._storage.write_hooks.set(
            self._note_writes, self._save_record if self._unsaved is not None else None
        )
        return plan

    async def _save_plan(self, seen: FilesSeen, *, is_precious: bool) -> bool:
        """Save what the torrent starts with; False if the disk of the database is full (row F1).

        What is there can be seeded all the same. Until it is saved the database says what it said
        before, and the journal keeps what it has.
        """
        try:
            await self.commit(
                lambda: self._stamps.at_start(seen.stamps.values()), is_precious=is_precious
            )
        except DiskFullError as error:
            _log.warning("%s: not saved yet: %s", self._metainfo.info_hash.hex(), error)
            return False
        return True

    @property
    def _save_path(self) -> str:
        return str(self._storage.save_path.absolute())

    async def _open_journal(self) -> Noted:
        """Open the journal in a thread: it syncs a folder that it makes, which may take long."""
        opened: list[Noted] = []

        def open_blocking() -> None:
            if self._journal is not None:
                self._journal.close()
            journal = self._store.journal(self._metainfo.info_hash)
            try:
                pieces = journal.open()
            except OSError as error:
                raise storage_error(journal.path, error) from error
            self._journal = journal
            opened.append(Noted(frozenset(pieces), journal.noted_ns))

        await self._storage.in_thread(open_blocking)
        return opened[0]

    async def _look_or_forget(
        self, record: TorrentRecord | None, noted: Noted, *, trust: bool
    ) -> tuple[FilesSeen, StartPlan]:
        """Look and plan; a record that leads to a bug is set aside, and does without (row F6)."""
        try:
            return await self._look(record, noted, trust=trust)
        except (TorrentEngineError, OSError, MemoryError):
            raise
        except Exception as error:
            if record is None:
                raise
            _log.exception("%s: its record cannot be used", self._metainfo.info_hash.hex())
            record = await self._store.set_aside(record, f"{type(error).__name__}: {error}")
            return await self._look(record, noted, trust=trust)

    async def _look(
        self, record: TorrentRecord | None, noted: Noted, *, trust: bool
    ) -> tuple[FilesSeen, StartPlan]:
        """Look at the files, plan and begin by that, in a thread: there may be very many."""
        found: list[tuple[FilesSeen, StartPlan]] = []

        def look() -> None:
            seen = self._see()
            if record is not None and record.save_path == self._save_path:
                self._adopt(record, seen)
                seen = replace(seen, kept_as_files=self._kept_as_files())  # a skipped one perhaps
            plan = self._make_plan(record if trust else None, noted, seen)
            self._begin(plan, record, seen)
            found.append((seen, plan))

        await self._storage.in_thread(look)
        return found[0]

    def _begin(self, plan: StartPlan, record: TorrentRecord | None, seen: FilesSeen) -> None:
        """Set what the torrent starts with, and what is known of its files; blocking."""
        self._start_from(plan, record)
        self._stamps.known(seen.stamps.values())
        self._stamps.doubt(plan.doubtful_files)
        if record is None or record.save_path != self._save_path:
            found = self._owned.not_made(seen.stamps)
            self._unsaved = record = new_record(self._storage, record, found)
        elif record.renames != self._storage.renames:
            self._unsaved = record = replace(record, renames=self._storage.renames)
        self.earlier = Earlier.from_record(record, self._metainfo)
        self._owned.found_folders = self.earlier.found_folders

    def _see(self) -> FilesSeen:
        storage, metainfo = self._storage, self._metainfo
        geometry = metainfo.geometry
        storage.look_again()
        return FilesSeen(
            stamps=self._stamps.present(),
            kept_as_files=self._kept_as_files(),
            has_piece=lambda piece: storage.has_data(
                geometry.piece_offset(piece), geometry.piece_length(piece)
            ),
            taken_out=storage.taken_out,
            part_file=self._stamps.part_file(),
        )

    def _kept_as_files(self) -> frozenset[int]:
        return frozenset(filter(self._storage.is_file, range(len(self._metainfo.files))))

    def _make_plan(self, record: TorrentRecord | None, noted: Noted, seen: FilesSeen) -> StartPlan:
        planner = Planner(self._metainfo, seen)
        progress = record.progress if record is not None else None
        if (
            record is None
            or progress is None
            or progress.piece_count != self._metainfo.piece_count
            or record.save_path != self._save_path
        ):
            return planner.without_record()
        if self._storage.is_on_disk:
            refuse_missing_mount(record, seen, self._storage.save_path)
        if self._refuses_missing and self._storage.is_on_disk:
            gone = planner.missing_files(record, progress, self._boot_id)
            if gone:
                shown = [self._storage.path_of(index) for index in gone[:MAX_NAMED_FILES]]
                raise MissingFilesError(shown, len(gone))
        return planner.from_record(record, progress, noted=noted, boot_id=self._boot_id)

    def _start_from(self, plan: StartPlan, record: TorrentRecord | None) -> None:
        self._have = plan.verified.copy()
        self._unchecked = Bitfield(self._metainfo.piece_count)
        if len(plan.to_check) == self._metainfo.piece_count:
            self._unchecked = Bitfield.full(self._metainfo.piece_count)
        elif plan.to_check:
            self._unchecked = Bitfield.from_int(bits_of(plan.to_check), self._metainfo.piece_count)
        old_partial = set(record.partial) if record is not None else set()
        self._partial = set(plan.partial)
        self._partial_changes = dict.fromkeys(old_partial - self._partial, 0)
        durable = 0
        if record is not None and record.progress is not None and plan.verified.count:
            count = self._metainfo.piece_count
            durable = Bitfield.from_bytes(record.progress.durable, count).as_int()
        verified = plan.verified.as_int()
        self._durable = self._to_bytes(durable & verified)
        self._mark_dirty(verified & ~durable)

    def _adopt(self, record: TorrentRecord, seen: FilesSeen) -> None:
        """Adopt the files that the database says are the torrent's own.

        They were when it was last saved, or are like copies of those files, which are suspected
        until a piece matches; or they were made since, which the journal knows; or, as after a
        power cut, nobody remembers more than which files were there before the torrent. That is not
        enough where the disk is not as it was, as behind a database from a backup or another
        machine, nor for what was made after the power cut or has not the length that the torrent
        gives its files first of all: somebody else put it there.
        """
        old, now = record.stamps, seen.stamps
        same = self._stamps.same(old, now)
        copies = self._stamps.copies(old, now) - same
        own = same | copies
        if own or not old:
            own |= self._made_since(record, now)
        self._storage.adopt_files(own)
        had = Earlier.from_record(record, self._metainfo).had
        self._owned.suspect(copies, Bitfield.from_int(had, self._metainfo.piece_count))

    def _made_since(self, record: TorrentRecord, now: Mapping[int, FileStamp]) -> set[int]:
        """Return the files that the torrent made since it was last saved."""
        files = self._journal.files() if self._journal is not None else NotedFiles()
        made = self._stamps.noted(files, now)
        progress = record.progress
        if progress is not None and (progress.is_clean or progress.boot_id == self._boot_id):
            return made
        if FOUND_UNKNOWN not in record.settings:
            found = Earlier.from_record(record, self._metainfo).found_files
            new = now.keys() - self._storage.skipped - record.stamps.keys() - found
            booted_ns = read_boot_time_ns() if progress is not None else 0  # else: which boot?
            lengths = self._metainfo.layout.lengths
            new = {index for index in new if now[index].size_bytes in {0, lengths[index]}}
            made |= new - self._stamps.born_after(new, booted_ns)
        if record.stamps:
            return made
        saved_ns = self._store.copies.saved_ns(record.info_hash)
        return made_about(saved_ns, made, now)

    async def _save_record(self) -> None:
        """Save the torrent before its first write.

        A kill would otherwise leave files of which nobody knows whose they are. A database that
        cannot be written does not hold the download up.
        """
        try:
            await self.commit()
        except TorrentEngineError as error:
            _log.warning("%s: not saved yet: %s", self._metainfo.info_hash.hex(), error)
        self._storage.write_hooks.set(self._note_writes)

    def _mark_dirty(self, pieces: int) -> None:
        """Mark for syncing the files of pieces that an earlier process did not sync."""
        geometry, layout = self._metainfo.geometry, self._metainfo.layout
        for piece in Bitfield.from_int(pieces, self._metainfo.piece_count).present():
            self._unsynced_bytes += geometry.piece_length(piece)
            for index in layout.files_of_piece(piece, geometry):
                self._storage.mark_dirty(index)

    # -- what happened (cheap, on the loop) --------------------------------------------------

    def piece_written(self, piece: int) -> None:
        """Record that a piece is verified and on the disk (or found right there by a check)."""
        self._have.set(piece)
        self._settled.append(piece)
        self._unsynced_bytes += self._metainfo.geometry.piece_length(piece)
        if self._unchecked.count:
            self._unchecked.clear(piece)
        if piece in self._partial:
            self._partial.discard(piece)
            self._partial_changes[piece] = 0
        if not self._is_uncommitted:
            self._is_uncommitted = True
            self._work.set()

    def piece_checked(self, piece: int, is_right: bool) -> None:  # noqa: FBT001 - as check_pieces
        """Record what a check found; fits ``check_pieces(on_result=...)``."""
        if is_right:
            self._storage.adopt_piece(piece)
            self.piece_written(piece)
            return
        self._owned.piece_failed(piece)
        self._have.clear(piece)
        self._unchecked.clear(piece)
        self._touch()

    def partial_written(self, piece: int, block_bitmap: int) -> None:
        """Record which blocks of an unfinished piece are on the disk, ``1 << block`` each.

        0 forgets them, as after a hash that did not match.
        """
        self._partial_changes[piece] = block_bitmap
        if block_bitmap:
            self._partial.add(piece)
        else:
            self._partial.discard(piece)
        self._touch()

    def _touch(self) -> None:
        self._is_uncommitted = True
        self._work.set()

    def _note_writes(self, ranges: list[tuple[int, int]]) -> None:
        """Note the pieces about to be written; in the writer's thread."""
        piece_bytes = self._metainfo.geometry.piece_bytes
        if self._journal is not None:
            self._journal.note(
                piece
                for offset, length in ranges
                for piece in range(offset // piece_bytes, -(-(offset + length) // piece_bytes))
            )

    def metainfo_changed(self, metainfo: Metainfo) -> None:
        """Record that the torrent has got hashes of pieces that it lacked."""
        self._learned = metainfo
        self._touch()

    # -- saving ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit and sync as pieces come in, until cancelled.

        Raises StorageError if the files cannot be synced (the pieces since the last good sync
        are then unchecked), StateDatabaseError or DiskFullError if the database cannot be
        written.
        """
        if self._unsaved is not None:
            await self.commit()
        while True:
            if not self._is_uncommitted and not self._unsynced_bytes:
                self._work = anyio.Event()
                await self._work.wait()
            await anyio.sleep(COMMIT_INTERVAL_S)
            if self._is_uncommitted:
                await self.commit()
            if self._is_sync_due():
                await self.sync()

    def _is_sync_due(self) -> bool:
        if not self._unsynced_bytes:
            return False
        waited_s = self._clock() - self._last_sync_s
        return waited_s >= self._config.sync_interval_s or (
            self._unsynced_bytes >= self._config.sync_bytes
        )

    async def flush(self) -> None:
        """Commit, sync, and mark the files as cleanly left."""
        await self.commit()
        await self.sync()
        await self.commit(self._stamps.own, is_clean=True)

    async def close(self) -> None:
        """Flush and free the torrent for other processes."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Free the torrent without saving anything, as a crash would."""
        self._storage.write_hooks.set(None)
        self._owned.watch(None)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._store.release(self._metainfo.info_hash)

    async def commit(
        self,
        stamps: Callable[[], StampTable] | None = None,
        *,
        is_clean: bool = False,
        is_precious: bool = False,
    ) -> None:
        """Save the ``have`` bits, the partial pieces and the files that are new.

        What is precious is on the disk when this returns, the rest may be lost with the power.
        """
        async with self._lock:
            settled, self._settled = self._settled, []
            partial, self._partial_changes = self._partial_changes, {}
            self._is_uncommitted = False
            try:
                seen = await self._save(
                    self._progress(is_clean=is_clean and not settled),
                    partial,
                    stamps or (lambda: self._stamps.changed([*settled, *partial])),
                    is_precious=is_precious,
                )
            except BaseException:
                self._settled = settled + self._settled
                self._partial_changes = partial | self._partial_changes
                self._touch()  # run() tries again, whoever asked for this commit
                raise
            if self._journal is not None:
                self._journal.settle(settled, seen)

    async def _save(
        self,
        progress: Progress,
        partial: dict[int, int],
        stamps: Callable[[], StampTable],
        *,
        is_precious: bool,
    ) -> StampTable:
        """Save, and return the stamps that were saved."""
        if self._unsaved is not None:
            await self._store.save_torrent(self._unsaved)
            self._unsaved = None
        if (learned := self._learned) is not None:
            source = await anyio.to_thread.run_sync(lambda: learned.source)
            await self._store.save_metainfo(learned.info_hash, source)
            if self._learned is learned:
                self._learned = None
        seen = StampTable()

        def look() -> StampTable:
            nonlocal seen
            seen = stamps()
            return seen

        await self._store.save_progress(
            self._metainfo.info_hash,
            progress,
            partial=partial,
            stamps=look,
            taken=self._owned.taken_files,
            is_precious=is_precious,
        )
        if len(seen) > MANY_STAMPS:
            await self._storage.in_thread(lambda: self._stamps.saved(seen))
        else:
            self._stamps.saved(seen)
        return seen

    async def sync(self) -> None:
        """Sync the files, then call what was verified before that durable."""
        async with self._lock:
            verified, unsynced_bytes = self._have.to_bytes(), self._unsynced_bytes
            try:
                await self._storage.in_thread(self._storage.sync)
            except StorageError:
                self._drop_unsynced()
                raise
            self._unsynced_bytes -= unsynced_bytes
            self._last_sync_s = self._clock()
            is_changed = verified != self._durable
            self._durable = verified
        if is_changed or self._owned.has_unsaved:
            await self.commit(is_precious=True)

    def distrust(self, pieces: Iterable[int]) -> None:
        """Record that pieces may not be right any more: the next start hashes them."""
        for piece in pieces:
            self._have.clear(piece)
            self._unchecked.set(piece)
        self._touch()

    def _drop_unsynced(self) -> None:
        """After a failed sync nothing since the last good one is believed (row F2)."""
        count = self._metainfo.piece_count
        durable = Bitfield.from_bytes(self._durable, count)
        lost = self._have.as_int() & ~durable.as_int()
        self._unchecked = Bitfield.from_int(self._unchecked.as_int() | lost, count)
        self._have = durable
        self._unsynced_bytes = 0
        self.has_lost_pieces = True
        self._touch()

    def _progress(self, *, is_clean: bool) -> Progress:
        return Progress(
            piece_count=self._metainfo.piece_count,
            have=self._have.to_bytes(),
            durable=self._durable,
            unchecked=self._unchecked.to_bytes(),
            boot_id=self._boot_id,
            is_clean=is_clean,
        )

    def _to_bytes(self, pieces: int) -> bytes:
        return Bitfield.from_int(pieces, self._metainfo.piece_count).to_bytes()
