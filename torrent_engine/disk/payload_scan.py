"""Owns the list of files that a new torrent is made of: sorted, so that it is the same each time.

Links are followed, as the content is what counts; a link that leads into its own folder is an
error. Folders without files leave no trace in a torrent.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from torrent_engine.base.errors import ConfigError, StorageError
from torrent_engine.codec.paths import MAX_DEPTH, clean_path
from torrent_engine.disk.os_errors import storage_error

_Identity = tuple[int, int]
_LOOP: Final = "leads back into a folder that it is in"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to be put into a torrent."""

    disk_path: str
    parts: tuple[bytes, ...]
    """Path inside the torrent, below its name; empty for the file of a single-file torrent."""
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Payload:
    """What was found, in the order of the torrent."""

    name: bytes
    files: tuple[SourceFile, ...]
    is_multi_file: bool

    @property
    def total_bytes(self) -> int:
        """Return the length of all files together."""
        return sum(file.length_bytes for file in self.files)


def scan_payload(paths: Sequence[str | os.PathLike[str]], name: str | None) -> Payload:
    """Find the files of one file, one folder, or several of either.

    ``name`` is the torrent's; None takes the name of the one path, or of the folder that all
    paths are in. Raises StorageError for what cannot be read or is no file, and ConfigError for
    no path, no name, no files, or a name that a torrent cannot carry unchanged.
    """
    if not paths:
        raise ConfigError("no file or folder to make a torrent of")
    roots = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - keeps links
    raw_name = _checked_name(name if name is not None else _default_name(roots))
    is_multi_file = len(roots) > 1 or roots[0].is_dir()
    if len(roots) == 1:
        found = list(_scan(str(roots[0]), (), ()))
    else:
        _refuse_same_names(roots)
        found = [file for r in roots for file in _scan(str(r), (os.fsencode(r.name),), ())]
    if not sum(file.length_bytes for file in found):
        raise ConfigError(f"{os.fsdecode(raw_name)}: no files, or all of them are empty")
    found.sort(key=lambda file: file.parts)
    return Payload(raw_name, tuple(found), is_multi_file)


def _default_name(roots: Sequence[Path]) -> str:
    if len(roots) == 1:
        return roots[0].name
    parents = {root.parent for root in roots}
    return parents.pop().name if len(parents) == 1 else ""


def _checked_name(name: str) -> bytes:
    raw = os.fsencode(name)
    if not name or "/" in name or clean_path([raw]) != (name,):
        raise ConfigError(f"{name!r} is no name for a torrent; give it one")
    return raw


def _refuse_same_names(roots: Sequence[Path]) -> None:
    names = [root.name for root in roots]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name!r} is given more than once")


def _scan(
    path: str, parts: tuple[bytes, ...], above: tuple[_Identity, ...]
) -> Iterator[SourceFile]:
    """Iterate over a file, or over all files below a folder; ``above`` are the folders around."""
    try:
        found = os.stat(path)  # noqa: PTH116 - one per file of possibly very many
        if S_ISREG(found.st_mode):
            yield SourceFile(path, _carried(path, parts), found.st_size)
            return
        names = os.listdir(path) if S_ISDIR(found.st_mode) else None  # noqa: PTH208
    except OSError as error:
        raise storage_error(path, error) from error
    if names is None:
        raise StorageError(path, "neither a file nor a folder")
    identity = (found.st_dev, found.st_ino)
    if identity in above:
        raise StorageError(path, _LOOP)
    if len(parts) >= MAX_DEPTH:
        raise StorageError(path, f"more than {MAX_DEPTH} folders inside each other")
    for name in names:
        below = os.path.join(path, name)  # noqa: PTH118 - as above
        yield from _scan(below, (*parts, os.fsencode(name)), (*above, identity))


def _carried(path: str, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return ``parts`` if whoever loads the torrent gets these names, not cleaned ones."""
    if parts and clean_path(parts) != tuple(os.fsdecode(part) for part in parts):
        raise ConfigError(f"{path!r} has a name that a torrent cannot carry; rename it")
    return parts
