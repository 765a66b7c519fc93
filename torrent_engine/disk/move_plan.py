"""Owns what a move of a torrent's files is to do, drawn up and written down before its first step.

The plan is complete: a process that knows nothing else finishes it, or undoes it.
"""

import json
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    StateDatabaseError,
    StorageError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.filesystem import has_room
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.part_file import part_file_name
from torrent_engine.disk.safe_open import Folder, check_parts
from torrent_engine.disk.state_records import TorrentRecord

Parts = tuple[str, ...]

PART_FILE: Final = -1
"""Stands for the part-file where a number of a file is asked for."""
_UNREADABLE: Final = (
    OverflowError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    StorageError,
)
BLOCK_BYTES: Final = 512  # POSIX: what st_blocks counts


class MoveItem(NamedTuple):
    """One file that gets another place."""

    file: int
    """Its number in the metainfo, or PART_FILE."""
    old: Parts
    new: Parts


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Which files go where."""

    info_hash: InfoHash
    source: str
    """The save path so far, absolute."""
    target: str
    """The save path after it; the same if files are only renamed."""
    items: tuple[MoveItem, ...]
    renames: Mapping[int, Parts]
    """All files that have another path than the torrent says, after the move."""
    old_folders: tuple[Parts, ...] = ()
    """Folders below the target that were there before."""
    new_roots: tuple[str, ...] = ()
    """Folders that have to be made for the target itself, the outermost first."""
    device: int = 0
    """Of the file system of the target, so that another one is seen where it should be."""
    total_bytes: int = 0
    """What the files have in all, without their holes."""
    is_placed: bool = False
    """Every file stands at its new place, and the database says so: what is left is tidying up."""

    @property
    def is_rename(self) -> bool:
        """Whether the save path stays."""
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be moved; ``old`` and ``new`` have the path of each kept file."""

    metainfo: Metainfo
    source: Path
    target: Path
    old: Mapping[int, Parts]
    new: Mapping[int, Parts]
    renames: Mapping[int, Parts] = field(default_factory=dict)


def draw_plan(wish: Wish, record: TorrentRecord | None) -> MovePlan:
    """Look at both places and say what is to be done; blocking, changes nothing.

    Raises FileExistsStorageError if anything stands where a file has to go, DiskFullError if
    there is no room for a copy, StorageError if the old place cannot be read or written, or its
    disk seems not to be mounted.
    """
    source, target = wish.source.absolute(), wish.target.absolute()
    if source.is_dir() and target.is_dir() and source.samefile(target):
        target = source
    found, size_bytes = _find(wish, source, target, record)
    plan = MovePlan(
        wish.metainfo.info_hash,
        str(source),
        str(target),
        tuple(found),
        dict(wish.renames),
        tuple(sorted(_refuse_what_is_there(wish, source, target))),
        tuple(map(str, _missing(target))),
        nearest_folder(target).stat().st_dev,
        size_bytes,
    )
    if found:
        _refuse_without_room(plan)
    return plan


def _find(
    wish: Wish, source: Path, target: Path, record: TorrentRecord | None
) -> tuple[list[MoveItem], int]:
    """Return which files of the torrent are at the old place, and how many bytes they have."""
    items: list[MoveItem] = []
    size_bytes, seen = 0, 0
    for folder in _opened(source):
        for index, old in [*wish.old.items(), (PART_FILE, part_file_name(wish.metainfo.info_hash))]:
            status = _look(folder, old)
            seen += status is not None
            if status is None or not _is_to_move(wish, index, status, record):
                continue
            new = wish.new.get(index, old)
            if (source, old) != (target, new):
                _refuse_locked(source.joinpath(*old))
                items.append(MoveItem(index, old, new))
                size_bytes += status.st_blocks * BLOCK_BYTES
    if not seen and record is not None and any(s.size_bytes for s in record.stamps.values()):
        _refuse_missing_disk(source, record)
    return items, size_bytes


def _opened(path: Path) -> Iterable[Folder]:
    """Yield an open folder and close it; nothing if there is none."""
    try:
        folder = Folder(path, create=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error
    with closing(folder):
        yield folder


def _look(folder: Folder, parts: Parts) -> os.stat_result | None:
    try:
        return folder.stat(parts)
    except OSError as error:
        raise storage_error(folder.path.joinpath(*parts), error) from error


def _is_to_move(
    wish: Wish, index: int, status: os.stat_result, record: TorrentRecord | None
) -> bool:
    """Return whether a file is the torrent's, or may be: nobody has looked into it yet."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if index == PART_FILE:
        return True
    length = wish.metainfo.files[index].length_bytes
    if status.st_size > length:
        return False
    if record is None or record.progress is None or not length or index in record.stamps:
        return True
    count = wish.metainfo.piece_count
    unchecked = Bitfield.from_bytes(record.progress.unchecked, count).as_int()
    pieces = wish.metainfo.layout.pieces_of(index, wish.metainfo.geometry)
    return bool(unchecked >> pieces.start & ((1 << len(pieces)) - 1))


def _refuse_locked(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(path, "cannot be removed from its folder")


def _refuse_missing_disk(source: Path, record: TorrentRecord) -> None:
    device = source.stat().st_dev if source.is_dir() else -1
    if all(stamp.device != device for stamp in record.stamps.values()):
        raise StorageError(source, "the torrent's files are gone with their disk; is it mounted?")


def _refuse_what_is_there(wish: Wish, source: Path, target: Path) -> set[Parts]:
    """Raise if a name at the new place is taken; return which folders are there."""
    folders: set[Parts] = set()
    part_file = part_file_name(wish.metainfo.info_hash)
    for folder in _opened(target):
        for index, new in [*wish.new.items(), (PART_FILE, part_file)]:
            if (source, wish.old.get(index, part_file)) == (target, new):
                continue
            if _look(folder, new) is not None:
                raise FileExistsStorageError(target.joinpath(*new), "is there already")
            parents = {new[:depth] for depth in range(1, len(new))} - folders
            folders |= {each for each in parents if _look(folder, each) is not None}
    return folders


def _missing(path: Path) -> list[Path]:
    return [each for each in (*reversed(path.parents), path) if not each.exists()]


def nearest_folder(path: Path) -> Path:
    """Return the path, or the folder above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _refuse_without_room(plan: MovePlan) -> None:
    target = nearest_folder(Path(plan.target))
    is_near = target.stat().st_dev == Path(plan.source).stat().st_dev
    if not is_near and not has_room(target, plan.total_bytes):
        raise DiskFullError(plan.target, f"no room for {plan.total_bytes} bytes")


# -- as text --------------------------------------------------------------------------------


def plan_text(plan: MovePlan) -> str:
    """Return the plan as JSON, without what a row has besides."""
    return json.dumps(
        {
            "source": plan.source,
            "target": plan.target,
            "items": plan.items,
            "renames": list(plan.renames.items()),
            "old_folders": plan.old_folders,
            "new_roots": plan.new_roots,
            "device": plan.device,
            "total_bytes": plan.total_bytes,
        }
    )


def read_plan(info_hash: InfoHash, text: str, *, is_placed: bool) -> MovePlan:
    """Return what :func:`plan_text` was given; StateDatabaseError if it is no such thing."""
    try:
        fields: dict[str, Any] = json.loads(text)
        return MovePlan(
            info_hash,
            str(fields["source"]),
            str(fields["target"]),
            tuple(
                MoveItem(int(index), check_parts(old), check_parts(new))
                for index, old, new in fields["items"]
            ),
            {int(index): check_parts(path) for index, path in fields["renames"]},
            tuple(check_parts(each) for each in fields["old_folders"]),
            tuple(map(str, fields["new_roots"])),
            int(fields["device"]),
            int(fields["total_bytes"]),
            is_placed,
        )
    except _UNREADABLE as error:
        raise StateDatabaseError(f"a move is not readable: {error}") from error
