"""What the resume database says of a torrent's runs before this one: what was there when."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state_records import TorrentRecord
from torrent_engine.disk.storage import StorageManager

FOUND_UNKNOWN: Final = "found_unknown"
"""A setting: nobody looked which files were in the save path before the torrent."""
_FILES: Final = "found_files"
_FOLDERS: Final = "found_folders"
_OF_ONE_PLACE: Final = frozenset({_FILES, _FOLDERS, FOUND_UNKNOWN})
_MAX_DIGITS: Final = 1_000_000  # ours: four million files


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was so before this run."""

    found_files: frozenset[int] = frozenset()
    """The files that were there before the torrent was."""
    found_folders: frozenset[tuple[str, ...]] = frozenset()
    """Folders that were there before it, without any of its files."""
    had: int = 0
    """The pieces, as bits, that were there or may have been when the last run ended."""

    @classmethod
    def from_record(cls, record: TorrentRecord, metainfo: Metainfo) -> "Earlier":
        """Return what a record says; nothing where it is of another shape."""
        had, progress = 0, record.progress
        if progress is not None and progress.piece_count == metainfo.piece_count:
            for bits in (progress.have, progress.unchecked):
                had |= Bitfield.from_bytes(bits, metainfo.piece_count).as_int()
        found = _found_files(record.settings, len(metainfo.files))
        return cls(found, _found_folders(record.settings), had)


def new_record(
    storage: StorageManager, old: TorrentRecord | None, found: Iterable[int]
) -> TorrentRecord:
    """Return the record of a torrent that is new in its folder, where it found some files."""
    metainfo = storage.metainfo
    return TorrentRecord(
        info_hash=metainfo.info_hash,
        name=metainfo.name,
        save_path=str(storage.save_path.absolute()),
        added_time_s=old.added_time_s if old is not None else time.time(),
        renames=storage.renames,
        settings=_with_found(old.settings if old is not None else {}, found, storage.found_folders),
        metainfo_bytes=metainfo.source,
    )


def _with_found(
    settings: Mapping[str, Any], indices: Iterable[int], folders: Iterable[tuple[str, ...]]
) -> dict[str, Any]:
    """Return settings that name these files, as bits in hexadecimal digits, and folders."""
    found = {name: value for name, value in settings.items() if name not in _OF_ONE_PLACE}
    bits = 0
    for index in indices:
        bits |= 1 << index
    if bits:
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
