"""Facts about earlier runs of a torrent in the resume database."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.codec.bitfield import Bitfield, bits_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import PART_FILE, FileStamp
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.state.records import TorrentRecord

FOUND_UNKNOWN: Final = "found_unknown"
"""A setting: it is unknown which files existed in the save path before the torrent."""
FOUND_PART_FILE: Final = "found_part_file"
"""A setting: somebody else's file had the name of the part-file."""
_FILES: Final = "found_files"
_FOLDERS: Final = "found_folders"
_OF_ONE_PLACE: Final = frozenset({_FILES, _FOLDERS, FOUND_PART_FILE, FOUND_UNKNOWN})
_CLOCK_STEP_NS: Final = 2_000_000_000  # FAT, the coarsest, has a resolution of 2 s
_UNSAVED_NS: Final = 30_000_000_000  # ours: a sync and a transaction on a slow disk
_MAX_DIGITS: Final = 1_000_000  # ours: four million files


@dataclass(frozen=True, slots=True)
class Earlier:
    """The state before this run."""

    found_files: frozenset[int] = frozenset()
    """Files that existed before the torrent was added."""
    found_folders: frozenset[tuple[str, ...]] = frozenset()
    """Folders that existed before it, without any of its files."""
    had: int = 0
    """The pieces, as bits, that were or may have been complete at the end of the last run."""

    @classmethod
    def from_record(cls, record: TorrentRecord, metainfo: Metainfo) -> "Earlier":
        """Read a record; malformed fields are ignored."""
        had, progress = 0, record.progress
        if progress is not None and progress.piece_count == metainfo.piece_count:
            for bits in (progress.have, progress.unchecked):
                had |= Bitfield.from_bytes(bits, metainfo.piece_count).as_int()
        found = _found_files(record.settings, len(metainfo.files))
        return cls(found, _found_folders(record.settings), had)


def knows_part_file(record: TorrentRecord | None) -> bool:
    """Return whether what has the name of the part-file, where a torrent was stored, is it.

    It is not if somebody else had it first, unless one was saved as the torrent's since.
    """
    if record is None:
        return False
    return not record.settings.get(FOUND_PART_FILE) or PART_FILE in record.stamps


def new_record(
    storage: StorageManager, old: TorrentRecord | None, found: Collection[int]
) -> TorrentRecord:
    """Return the record of a new torrent, with the files that already existed."""
    metainfo = storage.metainfo
    folders = storage.owned.found_folders
    return TorrentRecord(
        info_hash=metainfo.info_hash,
        name=metainfo.name,
        save_path=str(storage.save_path.absolute()),
        added_time_s=old.added_time_s if old is not None else time.time(),
        renames=storage.renames,
        settings={
            **_with_found(old.settings if old is not None else {}, found, folders),
            **({FOUND_PART_FILE: True} if storage.owned.found_part_file else {}),
        },
        metainfo_bytes=metainfo.source,
    )


def made_about(saved_ns: int, indices: Iterable[int], stamps: Mapping[int, FileStamp]) -> set[int]:
    """Return the files that were written last when a torrent was saved before its first write.

    Its first files are saved seconds later at most.
    """
    since_ns, until_ns = saved_ns - _CLOCK_STEP_NS, saved_ns + _UNSAVED_NS
    return {index for index in indices if since_ns <= stamps[index].mtime_ns <= until_ns}


def _with_found(
    settings: Mapping[str, Any], indices: Collection[int], folders: Iterable[tuple[str, ...]]
) -> dict[str, Any]:
    """Return settings with these files, as hexadecimal bits, and folders."""
    found = {name: value for name, value in settings.items() if name not in _OF_ONE_PLACE}
    if bits := bits_of(indices):
        found[_FILES] = f"{bits:x}"
    if paths := sorted("/".join(parts) for parts in folders):
        found[_FOLDERS] = paths
    return found


def _found_folders(settings: Mapping[str, Any]) -> frozenset[tuple[str, ...]]:
    paths = settings.get(_FOLDERS)
    if not isinstance(paths, list):
        return frozenset()
    return frozenset(tuple(path.split("/")) for path in paths if isinstance(path, str))


def _found_files(settings: Mapping[str, Any], file_count: int) -> frozenset[int]:
    digits = settings.get(_FILES)
    if not isinstance(digits, str) or len(digits) > _MAX_DIGITS:
        return frozenset()
    try:
        bits = int(digits, 16)
    except ValueError:
        return frozenset()
    return frozenset(Bitfield.from_int(max(bits, 0), file_count).present())
