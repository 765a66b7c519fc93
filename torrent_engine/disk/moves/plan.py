"""Plans of moves of a torrent's files, saved before the first step.

The plan is complete: another process can finish or undo it.
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
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.file_stamps import PART_FILE, NotedFiles
from torrent_engine.disk.files.part_file import part_file_name
from torrent_engine.disk.filesystem import has_room, nearest_folder
from torrent_engine.disk.moves.proof import OwnedAtMove
from torrent_engine.disk.os_errors import storage_error, storage_errors
from torrent_engine.disk.resume.history import knows_part_file
from torrent_engine.disk.safe_open import Folder, Look, check_parts
from torrent_engine.disk.state.records import TorrentRecord

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
    """One file to move."""

    file: int
    """Its number in the metainfo, or PART_FILE."""
    old: PathParts
    new: PathParts


@dataclass(frozen=True, slots=True)
class MovePlan:
    """The sources and targets of a move."""

    info_hash: InfoHash
    source: str
    """The old save path, absolute."""
    target: str
    """The new save path; the same if files are only renamed."""
    items: tuple[MoveItem, ...]
    renames: Mapping[int, PathParts]
    """All renamed files after the move."""
    old_folders: tuple[PathParts, ...] = ()
    """Folders below the target that existed before."""
    new_roots: tuple[str, ...] = ()
    """Folders to create for the target itself, the outermost first."""
    device: int = 0
    """Device number of the target's file system, to detect that it is not mounted."""
    total_bytes: int = 0
    """Total bytes of the files, without holes."""
    is_placed: bool = False
    """The targets are complete and saved in the database; only cleanup is left."""
    home: str = ""
    """The save path once the torrent is complete, if the target is not that."""

    @property
    def is_rename(self) -> bool:
        """Whether the save path stays."""
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class MoveSpec:
    """A requested move; ``old`` and ``new`` have the paths of the stored files."""

    metainfo: Metainfo
    source: Path
    target: Path
    old: Mapping[int, PathParts]
    new: Mapping[int, PathParts]
    renames: Mapping[int, PathParts] = field(default_factory=dict)


def draw_plan(
    request: MoveSpec, record: TorrentRecord | None, made: NotedFiles | None = None
) -> MovePlan:
    """Make the plan of a move; blocking, without changes on disk.

    ``made`` are the files that the write journal noted. A file that is neither known to be the
    torrent's nor has a matching piece is left where it is. Raises FileExistsStorageError if a
    target is taken, DiskFullError without room for a copy, StorageError if the source cannot be
    read or written, or its disk seems not to be mounted.
    """
    source, target = request.source.absolute(), request.target.absolute()
    with storage_errors(target):
        if source.is_dir() and target.is_dir() and source.samefile(target):
            target = source
    owned = OwnedAtMove(request.metainfo, request.old, record, made or NotedFiles())
    found, size_bytes = _find(request, source, target, record, owned)
    plan = MovePlan(
        request.metainfo.info_hash,
        str(source),
        str(target),
        tuple(found),
        dict(request.renames),
        tuple(sorted(_refuse_taken_targets(request, source, target))),
        tuple(map(str, _missing(target))),
        nearest_folder(target).stat().st_dev,
        size_bytes,
    )
    if found:
        _refuse_without_room(plan)
    return plan


def own_paths(request: MoveSpec, record: TorrentRecord | None) -> set[Path]:
    """Return which files on disk are the torrent's, by the database or a matching piece; blocking.

    Raises StorageError if they cannot be looked at.
    """
    owned = OwnedAtMove(request.metainfo, request.old, record, NotedFiles())
    found: set[Path] = set()
    with storage_errors(request.source):
        for folder in _opened(request.source):
            own, _ = _found_files(request, folder, owned, all_files=True)
            found.update(request.source.joinpath(*request.old[index]) for index in own)
    return found


def _find(
    request: MoveSpec,
    source: Path,
    target: Path,
    record: TorrentRecord | None,
    owned: OwnedAtMove,
) -> tuple[list[MoveItem], int]:
    """Return the existing files of the torrent, and their total bytes."""
    items: list[MoveItem] = []
    size_bytes, is_any_there, is_disk_other = 0, False, _is_disk_other(source, record)
    for folder in _opened(source):
        own, is_any_there = _found_files(
            request, folder, owned, all_files=source != target or is_disk_other
        )
        part_file = part_file_name(request.metainfo.info_hash)
        status = _look(folder, part_file)
        found = sorted(own.items())
        if status is not None and stat.S_ISREG(status.st_mode) and knows_part_file(record):
            found.append((PART_FILE, status.st_blocks))
        for index, blocks in found:
            old = request.old.get(index, part_file)
            new = request.new.get(index, old)
            if (source, old) != (target, new):
                _refuse_locked(source.joinpath(*old))
                items.append(MoveItem(index, old, new))
                size_bytes += blocks * BLOCK_BYTES
        is_any_there |= status is not None
    if is_disk_other and not is_any_there:
        raise StorageError(source, "the torrent's files are gone with their disk; is it mounted?")
    return items, size_bytes


def _found_files(
    request: MoveSpec, folder: Folder, owned: OwnedAtMove, *, all_files: bool
) -> tuple[dict[int, int], bool]:
    """Return the blocks on disk of the torrent's files that are there, and whether any file is.

    Unless ``all_files``, of those that get another path alone, if what they are does not depend on
    others.
    """
    old, new = request.old, request.new
    if not all_files:
        renamed = {index: path for index, path in old.items() if new.get(index, path) != path}
        found = _own_files(request, folder, owned, renamed)
        if not found.empty:
            return found.own, found.is_any_there
    found = _own_files(request, folder, owned, old)
    own = found.own
    if own and not found.has_doubtful:
        own |= found.empty  # nothing tells whose they are, but all others are the torrent's
    return own, found.is_any_there


class _Found(NamedTuple):
    """Which of some files are the torrent's, and those with nothing in them; blocks on disk."""

    own: dict[int, int]
    empty: dict[int, int]
    has_doubtful: bool
    is_any_there: bool


def _own_files(
    request: MoveSpec, folder: Folder, owned: OwnedAtMove, paths: Mapping[int, PathParts]
) -> _Found:
    own: dict[int, int] = {}
    doubtful: dict[int, int] = {}
    empty: dict[int, int] = {}
    is_any_there = False
    lengths = request.metainfo.layout.lengths
    with folder.looking() as look:
        for index, path in paths.items():
            status = _look(folder, path, look)
            is_any_there |= status is not None
            length = lengths[index]
            if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > length:
                continue
            if owned.is_known(index, status, folder):
                own[index] = status.st_blocks
            elif status.st_size or not length:
                (doubtful if status.st_size else empty)[index] = status.st_blocks
    if doubtful:
        proved = owned.proved(folder, doubtful)
        own |= {index: doubtful.pop(index) for index in proved}
    return _Found(own, empty, bool(doubtful), is_any_there)


def _opened(path: Path) -> Iterable[Folder]:
    """Yield the opened folder, if it exists."""
    try:
        folder = Folder(path, create=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error
    with closing(folder):
        yield folder


def _look(folder: Folder, parts: PathParts, look: Look | None = None) -> os.stat_result | None:
    try:
        return (look or folder.stat)(parts)
    except OSError as error:
        raise storage_error(folder.path.joinpath(*parts), error) from error


def _refuse_locked(path: Path) -> None:
    """Raise StorageError if a file may not be removed from where it is."""
    with storage_errors(path):
        is_locked = not os.access(path.parent, os.W_OK | os.X_OK) or _is_anothers_in_sticky(path)
    if is_locked:
        raise StorageError(path, "cannot be removed from its folder")


def _is_anothers_in_sticky(path: Path) -> bool:
    """Return whether a file is of another user, in a folder like /tmp: each removes its own."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    folder = path.parent.stat()
    is_sticky = user != 0 and folder.st_mode & stat.S_ISVTX
    return bool(is_sticky) and user not in {folder.st_uid, path.lstat().st_uid}


def _is_disk_other(source: Path, record: TorrentRecord | None) -> bool:
    """Return whether there were files, and another disk than theirs is at the save path now."""
    if record is None or not any(stamp.size_bytes for stamp in record.stamps.values()):
        return False
    device = source.stat().st_dev if source.is_dir() else -1
    return all(stamp.device != device for stamp in record.stamps.values())


def _refuse_taken_targets(request: MoveSpec, source: Path, target: Path) -> set[PathParts]:
    """Raise FileExistsStorageError if a target is taken; return the existing folders."""
    folders: set[PathParts] = set()
    part_file = part_file_name(request.metainfo.info_hash)
    for folder in _opened(target):
        missing: set[PathParts] = set()
        for index, new in [*request.new.items(), (PART_FILE, part_file)]:
            if (source, request.old.get(index, part_file)) == (target, new):
                continue
            if _look(folder, new) is not None:
                raise FileExistsStorageError(target.joinpath(*new), "already exists")
            for parts in {new[:depth] for depth in range(1, len(new))} - folders - missing:
                (missing if _look(folder, parts) is None else folders).add(parts)
    return folders


def _missing(path: Path) -> list[Path]:
    return [each for each in (*reversed(path.parents), path) if not each.exists()]


def _refuse_without_room(plan: MovePlan) -> None:
    target = nearest_folder(Path(plan.target))
    is_near = target.stat().st_dev == Path(plan.source).stat().st_dev
    if not is_near and not has_room(target, plan.total_bytes):
        raise DiskFullError(plan.target, f"no room for {plan.total_bytes} bytes")


# -- as text --------------------------------------------------------------------------------


def plan_text(plan: MovePlan) -> str:
    """Return the plan as JSON, without the fields that have their own columns."""
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
            "home": plan.home,
        }
    )


def read_plan(info_hash: InfoHash, text: str, *, is_placed: bool) -> MovePlan:
    """Parse the result of :func:`plan_text`. Raises StateDatabaseError."""
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
            str(fields.get("home", "")),
        )
    except _UNREADABLE as error:
        raise StateDatabaseError(f"a move is not readable: {error}") from error
