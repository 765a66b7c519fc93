"""Owns what the resume database says of a torrent's runs before this one: what was there when."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state_records import TorrentRecord
from torrent_engine.disk.storage import StorageManager

_SETTING: Final = "found_files"
_MAX_DIGITS: Final = 1_000_000  # ours: four million files


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was so before this run."""

    found_files: frozenset[int] = frozenset()
    """The files that were there before the torrent was."""
    had: int = 0
    """The pieces, as bits, that were there or may have been when the last run ended."""

    @classmethod
    def from_record(cls, record: TorrentRecord, metainfo: Metainfo) -> "Earlier":
        """Return what a record says; nothing where it is of another shape."""
        had, progress = 0, record.progress
        if progress is not None and progress.piece_count == metainfo.piece_count:
            for bits in (progress.have, progress.unchecked):
                had |= Bitfield.from_bytes(bits, metainfo.piece_count).as_int()
        return cls(_found_files(record.settings, len(metainfo.files)), had)


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
        settings=_with_found_files(old.settings if old is not None else {}, found),
        metainfo_bytes=metainfo.source,
    )


def _with_found_files(settings: Mapping[str, Any], indices: Iterable[int]) -> dict[str, Any]:
    """Return settings that name these files, as bits in hexadecimal digits."""
    others = {name: value for name, value in settings.items() if name != _SETTING}
    bits = 0
    for index in indices:
        bits |= 1 << index
    return others | {_SETTING: f"{bits:x}"} if bits else others


def _found_files(settings: Mapping[str, Any], file_count: int) -> frozenset[int]:
    digits = settings.get(_SETTING)
    if not isinstance(digits, str) or len(digits) > _MAX_DIGITS:
        return frozenset()
    try:
        bits = int(digits, 16)
    except ValueError:
        return frozenset()
    return frozenset(Bitfield.from_int(max(bits, 0), file_count).present())
