"""Owns the files of a torrent: names cleaned, lengths range-checked, attributes read.

Source: BEP 3, BEP 47; RELIABILITY rows A5 to A7, A10.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec._fields import Mapping, required_bytes, required_int
from torrent_engine.codec.bencode import BencodeValue
from torrent_engine.codec.paths import NAMELESS, clean_path, resolve_collisions

MAX_TOTAL_BYTES: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a torrent."""

    path: tuple[str, ...]
    """Cleaned, relative to the save path; of several files all begin with the torrent's name."""
    raw_path: tuple[bytes, ...]
    """The same as the metainfo has it."""
    length_bytes: int
    offset_bytes: int
    """Where the file begins in the payload."""
    is_pad: bool = False
    """Zeros that align the next file to a piece; never stored (BEP 47)."""
    is_executable: bool = False
    is_hidden: bool = False
    symlink_target: tuple[str, ...] | None = None
    """Where a symbolic link points to, cleaned as :attr:`path`; None for other files (BEP 47)."""


def parse_files(info: Mapping, fallback_name: str) -> tuple[FileEntry, ...]:
    """Return the files of an info dictionary, in the order of the payload.

    A name of which cleaning leaves nothing becomes ``fallback_name``.
    Raises MetainfoError for a rule broken, or a total of 0 or above 2^63 - 1 bytes.
    """
    raw_name = _name(info)
    root = clean_path([raw_name])
    if root == (NAMELESS,):
        root = (fallback_name,)
    files = info.get(b"files")
    if files is None:
        entries = [_parse_entry(info, (raw_name,), root, (), 0)]
    else:
        entries = _parse_list(files, raw_name, root)
    total = entries[-1].offset_bytes + entries[-1].length_bytes
    if not 0 < total <= MAX_TOTAL_BYTES:
        raise MetainfoError(f"the files have {total} bytes in all")
    return tuple(_without_collisions(entries))


def _name(info: Mapping) -> bytes:
    utf8 = info.get(b"name.utf-8")
    return utf8 if isinstance(utf8, bytes) else required_bytes(info, b"name", "the torrent")


def _parse_list(files: BencodeValue, raw_name: bytes, root: tuple[str, ...]) -> list[FileEntry]:
    if not isinstance(files, list) or not files:
        raise MetainfoError('"files" is empty or no list')
    entries: list[FileEntry] = []
    offset = 0
    for item in files:
        if not isinstance(item, dict):
            raise MetainfoError("an entry of the file list is no dictionary")
        raw_path = _raw_path(item)
        path = root + clean_path(raw_path)
        entry = _parse_entry(item, (raw_name, *raw_path), path, root, offset)
        offset += entry.length_bytes
        entries.append(entry)
    return entries


def _raw_path(item: Mapping) -> list[bytes]:
    path = item.get(b"path.utf-8")
    if path is None:
        path = item.get(b"path")
    if not isinstance(path, list) or not path:
        raise MetainfoError("a file has no path")
    elements = [element for element in path if isinstance(element, bytes)]
    if len(elements) != len(path):
        raise MetainfoError("a path has an element that is no string")
    return elements


def _parse_entry(
    item: Mapping,
    raw_path: tuple[bytes, ...],
    path: tuple[str, ...],
    root: tuple[str, ...],
    offset: int,
) -> FileEntry:
    attributes = item.get(b"attr")
    if not isinstance(attributes, bytes):
        return FileEntry(path, raw_path, _length(item), offset)
    target = _symlink_target(item, root) if b"l" in attributes else None
    return FileEntry(
        path,
        raw_path,
        _length(item) if target is None else 0,
        offset,
        is_pad=b"p" in attributes,
        is_executable=b"x" in attributes,
        is_hidden=b"h" in attributes,
        symlink_target=target,
    )


def _length(item: Mapping) -> int:
    length = required_int(item, b"length", "a file")
    if length < 0:
        raise MetainfoError(f"a file has a length of {length} bytes")
    return length


def _symlink_target(item: Mapping, root: tuple[str, ...]) -> tuple[str, ...]:
    target = item.get(b"symlink path")
    elements = target if isinstance(target, list) else []
    raw = [element for element in elements if isinstance(element, bytes)]
    if not raw or len(raw) != len(elements):
        raise MetainfoError("a symbolic link has no target")
    return root + clean_path(raw)


def _without_collisions(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Rename files that stand in each other's way; pad files are never stored and may."""
    stored = [entry for entry in entries if not entry.is_pad]
    paths = iter(resolve_collisions([entry.path for entry in stored]))
    resolved: list[FileEntry] = []
    for entry in entries:
        path = entry.path if entry.is_pad else next(paths)
        resolved.append(entry if path is entry.path else replace(entry, path=path))
    return resolved
