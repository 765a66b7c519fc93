"""Start plan of a torrent: which pieces are trusted, hashed first, or missing. No I/O."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import PART_FILE, FileStamp, StampMatch, compare
from torrent_engine.disk.filesystem import nearest_folder
from torrent_engine.disk.state.records import Progress, TorrentRecord

WRITE_DELAY_NS: Final = 10_000_000_000
"""Ours: what is noted in the journal is written within this, on a slow disk too."""


@dataclass(frozen=True, slots=True)
class StartPlan:
    """What a torrent starts with."""

    verified: Bitfield
    """Believed without hashing."""
    to_check: list[int]
    """Maybe right: to be hashed before anything is written over them, in rising order."""
    partial: dict[int, int]
    """Blocks on disk, ``1 << block`` each, of pieces that are not whole.

    A piece may be here and in ``to_check``: if it is hashed and wrong, these blocks still count.
    """
    doubtful_files: frozenset[int] = frozenset()
    """What is believed of them is to be hashed before it is served."""


@dataclass(frozen=True, slots=True)
class FilesSeen:
    """What a look at the disk found."""

    stamps: Mapping[int, FileStamp]
    kept_as_files: frozenset[int]
    """Files that are not in the part-file and no pads."""
    has_piece: Callable[[int], bool]
    """Whether all files of a piece are there and long enough."""
    taken_out: frozenset[int] = frozenset()
    """Files that came out of the part-file just now; those that never were files are as in it."""
    part_file: FileStamp | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """What the write journal held."""

    pieces: frozenset[int] = frozenset()
    """They were being written when the process ended."""
    time_ns: int = 0
    """When the last of them was noted, since 1970."""


@dataclass(frozen=True, slots=True)
class _Changes:
    """What has become of the files since they were stamped, as pieces and files."""

    gone: int = 0
    changed: int = 0
    unborn: int = 0
    """Missing as they ever were."""
    doubtful_files: frozenset[int] = frozenset()


class Planner:
    """Turns a record and a look at the disk into a StartPlan."""

    def __init__(self, metainfo: Metainfo, seen: FilesSeen) -> None:
        self._metainfo = metainfo
        self._seen = seen
        self._count = metainfo.piece_count

    def without_record(self) -> StartPlan:
        """Plan for files of which nothing is known: all that is there is hashed."""
        to_check = [piece for piece in range(self._count) if self._seen.has_piece(piece)]
        return StartPlan(Bitfield(self._count), to_check, {})

    def from_record(
        self, record: TorrentRecord, progress: Progress, *, noted: Noted, boot_id: str
    ) -> StartPlan:
        """Plan from what was saved, and from what the write journal held."""
        have, durable = self._as_int(progress.have), self._as_int(progress.durable)
        is_same_boot = bool(boot_id) and progress.boot_id == boot_id
        is_trusted = progress.is_clean or is_same_boot
        believed = have | self._mask(record.partial)
        writes = self._last_writes(progress, noted, is_same_boot=is_same_boot)
        changes = self._compare(record.stamps, believed, writes)
        gone, changed = changes.gone, changes.changed
        verified = (have if is_trusted else have & durable) & ~gone & ~changed
        suspect = have | self._as_int(progress.unchecked) | self._mask(noted.pieces) | changed
        partial = record.partial if is_trusted else {}
        lost = (gone & ~changes.unborn) | changed | verified
        return StartPlan(
            Bitfield.from_int(verified, self._count),
            self._check_list(suspect & ~verified),
            {
                piece: blocks
                for piece, blocks in partial.items()
                if 0 <= piece < self._count and not lost >> piece & 1 and self._fits(piece, blocks)
            },
            changes.doubtful_files,
        )

    def missing_files(self, record: TorrentRecord, progress: Progress, boot_id: str) -> list[int]:
        """Return the files that are not there and had verified data, in rising order."""
        is_same_boot = bool(boot_id) and progress.boot_id == boot_id
        have = self._as_int(progress.have)
        if not (progress.is_clean or is_same_boot):
            have &= self._as_int(progress.durable)  # more may never have reached the disk
        layout, geometry, seen = self._metainfo.layout, self._metainfo.geometry, self._seen
        absent = seen.kept_as_files - seen.stamps.keys()
        return [
            index
            for index in sorted(absent)
            if layout.lengths[index] and have & self._range_mask(layout.pieces_of(index, geometry))
        ]

    def _last_writes(
        self, progress: Progress, noted: Noted, *, is_same_boot: bool
    ) -> Callable[[int], float | None]:
        """Return what says of a file until when it may have been written after its stamp.

        A stamp is saved with each piece, so after a kill only the files of noted pieces were. After
        a power cut neither the journal nor the times of files need be on the disk.
        """
        if progress.is_clean:
            return lambda _: None
        if not is_same_boot:
            return lambda _: inf
        layout, geometry, until_ns = self._metainfo.layout, self._metainfo.geometry, noted.time_ns
        files = {
            index
            for piece in noted.pieces
            if 0 <= piece < self._count
            for index in layout.files_of_piece(piece, geometry)
        }
        if files - self._seen.kept_as_files:
            files.add(PART_FILE)
        return lambda index: until_ns + WRITE_DELAY_NS if index in files else None

    def _check_list(self, pieces: int) -> list[int]:
        wanted = Bitfield.from_int(pieces, self._count).present()
        return [piece for piece in wanted if self._seen.has_piece(piece)]

    def _compare(
        self,
        old: Mapping[int, FileStamp],
        believed: int,
        last_write_ns: Callable[[int], float | None],
    ) -> _Changes:
        """Return what has become of the files.

        Of the pieces in the part-file only those that are believed are looked at.
        """
        gone = changed = unborn = 0
        doubtful: list[int] = []
        for index in self._seen.kept_as_files - (self._seen.taken_out - old.keys()):
            now = self._seen.stamps.get(index)
            if now is not None:
                found = compare(old.get(index), now, last_write_ns=last_write_ns(index))
                if found is not StampMatch.CHANGED:
                    doubtful += [index] if found is StampMatch.IN_DOUBT else []
                    continue
            mask = self._range_mask(self._metainfo.layout.pieces_of(index, self._metainfo.geometry))
            if now is None:
                gone |= mask
                unborn |= mask if index not in old else 0
            else:
                changed |= mask
        in_parts = self._part_file_mask() & believed
        for piece in Bitfield.from_int(in_parts, self._count).present():
            if not self._seen.has_piece(piece):
                gone |= 1 << piece
        if self._is_part_file_changed(old.get(PART_FILE), last_write_ns(PART_FILE)):
            changed |= in_parts & ~gone
        return _Changes(gone, changed, unborn, frozenset(doubtful))

    def _is_part_file_changed(self, old: FileStamp | None, last_write_ns: float | None) -> bool:
        """Return whether somebody else changed it; it grows with our own writes."""
        now = self._seen.part_file
        if old is None or now is None:
            return False
        if last_write_ns is not None:
            old = old._replace(size_bytes=now.size_bytes)
        return compare(old, now, last_write_ns=last_write_ns) is StampMatch.CHANGED

    def _part_file_mask(self) -> int:
        """Return the pieces of files that are not kept as such: the part-file may have them."""
        layout, geometry, mask = self._metainfo.layout, self._metainfo.geometry, 0
        for index in range(len(self._metainfo.files)):
            if index not in self._seen.kept_as_files:
                mask |= self._range_mask(layout.pieces_of(index, geometry))
        return mask

    def _fits(self, piece: int, blocks: int) -> bool:
        return 0 < blocks < 1 << self._metainfo.geometry.block_count(piece)

    def _as_int(self, bits: bytes) -> int:
        return Bitfield.from_bytes(bits, self._count).as_int()

    def _mask(self, pieces: Iterable[int]) -> int:
        bits = Bitfield(self._count)
        for piece in pieces:
            if 0 <= piece < self._count:
                bits.set(piece)
        return bits.as_int()

    @staticmethod
    def _range_mask(pieces: range) -> int:
        return ((1 << len(pieces)) - 1) << pieces.start


def refuse_missing_mount(record: TorrentRecord, seen: FilesSeen, save_path: Path) -> None:
    """Raise StorageError if the save path looks like the bare mount point of a missing disk.

    All files of a torrent that had some are gone, and the folder is on another device (row F3).
    """
    if not seen.stamps:
        refuse_other_disk(record, save_path)


def refuse_other_disk(record: TorrentRecord, save_path: Path) -> None:
    """Raise StorageError if a save path without the torrent's files is on another device.

    Of one that does not exist that is its nearest parent. Blocking.
    """
    kept = [stamp for stamp in record.stamps.values() if stamp.size_bytes]
    if not kept:
        return
    with suppress(OSError):
        device = nearest_folder(save_path).stat().st_dev
        if all(stamp.device != device for stamp in kept):
            reason = "the torrent's files are gone and so is their file system; is it mounted?"
            raise StorageError(save_path, reason)
