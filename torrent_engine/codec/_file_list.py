"""The files of a torrent: names cleaned, lengths range-checked, attributes read.

A torrent may have hundreds of thousands of files, so they are kept in columns and a
:class:`FileEntry` is created on access.
Source: BEP 3, BEP 47; fault model, rows A2, A5 to A7, A10.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, islice
from typing import Final, overload
from weakref import WeakValueDictionary

from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec._fields import BencodeDict, required_bytes, required_int
from torrent_engine.codec.bencode import Cursor, read_value
from torrent_engine.codec.geometry import FileLayout
from torrent_engine.codec.paths import (
    MAX_DEPTH,
    MAX_PATH_BYTES,
    NAMELESS,
    PathParts,
    clean_element,
    clean_path,
    resolve_collisions,
)

MAX_TOTAL_BYTES: Final = 2**63 - 1
MAX_FOLDER_NAMES: Final = 20_000_000  # ours: of all folders at all depths, held to tell names apart
PAD: Final = 1
_EXECUTABLE: Final = 2
_HIDDEN: Final = 4
LINK: Final = 8
_UNSTORED: Final = PAD | LINK
_BITCOMET_PAD: Final = b"_____padding_file_"  # prefix of BitComet's pad files
_ATTRIBUTES: Final = ((b"p", PAD), (b"x", _EXECUTABLE), (b"h", _HIDDEN), (b"l", LINK))
_ENTRY_TOKENS: Final = 6  # dictionary, two keys, length, list, name; plus folders
_HEAD: Final = re.compile(rb"d6:lengthi(0|[1-9][0-9]{0,17})e4:pathl").match
_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]{0,7}):").match

RawPath = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class FileEntry:
    """One file of a torrent."""

    path: tuple[str, ...]
    """Cleaned, relative to the save path; multi-file paths begin with the torrent's name."""
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


class FileTable:
    """The columns of a file list; paths are below the torrent's own name."""

    def __init__(self) -> None:
        self.lengths = array("q")
        self.flags = bytearray()
        self.targets: dict[int, PathParts] = {}
        """Where symbolic links point to."""
        self.others: dict[int, PathParts] = {}
        """Paths of files that were renamed because of a collision."""
        self._folders: list[tuple[PathParts, RawPath]] = []
        self._folder_chars = array("L")
        self._folder_ids: dict[RawPath | PathParts, int] = {}
        self._folder_of = array("L")
        self._names = bytearray()  # UTF-8, one behind the other
        self._name_ends = array("Q")
        self._raw_names: dict[int, bytes] = {}
        self._raw_paths: dict[int, RawPath] = {}

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self.lengths)

    def append(self, length: int, raw_path: RawPath, flags: int = 0) -> None:
        """Add one file; raise MetainfoError for an invalid length or path."""
        self.append_in(self.folder_id(raw_path[:-1]), length, raw_path[:-1], raw_path[-1], flags)

    def append_in(
        self, folder_id: int, length: int, raw_folder: RawPath, raw: bytes, flags: int = 0
    ) -> None:
        """Add one file of a folder, numbered by :meth:`folder_id`; raise as :meth:`append`."""
        if not 0 <= length <= MAX_TOTAL_BYTES:
            raise MetainfoError(f"a file has a length of {length} bytes")
        name = clean_element(raw)
        if not name or len(name) + self._folder_chars[folder_id] > MAX_PATH_BYTES // 4:
            *folder, name = clean_path((*raw_folder, raw))
            self._raw_paths[len(self.lengths)] = (*raw_folder, raw)
            folder_id = self._new_folder(tuple(folder), tuple(folder), ())
        encoded = name.encode()
        if encoded != raw:
            self._raw_names[len(self.lengths)] = raw
        self._names += encoded
        self._name_ends.append(len(self._names))
        self._folder_of.append(folder_id)
        self.lengths.append(length)
        self.flags.append(flags)

    def folder_id(self, raw: RawPath) -> int:
        """Return the number of a folder, as the metainfo has it; MetainfoError if too deep."""
        known = self._folder_ids.get(raw)
        if known is not None:
            return known
        if len(raw) >= MAX_DEPTH:
            message = f"a path has {len(raw) + 1} elements, more than {MAX_DEPTH}"
            raise MetainfoError(message)
        return self._new_folder(raw, tuple(filter(None, map(clean_element, raw))), raw)

    def _new_folder(self, key: RawPath | PathParts, cleaned: PathParts, raw: RawPath) -> int:
        number = self._folder_ids.setdefault(key, len(self._folders))
        if number == len(self._folders):
            self._folders.append((cleaned, raw))
            self._folder_chars.append(sum(map(len, cleaned)))
        return number

    def path(self, index: int) -> PathParts:
        """Return the cleaned path of a file."""
        if index in self.others:
            return self.others[index]
        return (*self._folders[self._folder_of[index]][0], self.name(index))

    def name(self, index: int) -> str:
        """Return the last part of the cleaned path of a file, but for those in ``others``."""
        start = self._name_ends[index - 1] if index else 0
        return self._names[start : self._name_ends[index]].decode()

    def raw_path(self, index: int) -> RawPath:
        """Return the path of a file as the metainfo has it."""
        if index in self._raw_paths:
            return self._raw_paths[index]
        start = self._name_ends[index - 1] if index else 0
        name = self._raw_names.get(index, bytes(self._names[start : self._name_ends[index]]))
        return (*self._folders[self._folder_of[index]][1], name)

    def cleaned(self) -> Iterator[int]:
        """Iterate over the files whose path is not what the metainfo has."""
        altered = {
            number
            for number, (cleaned, raw) in enumerate(self._folders)
            if raw != tuple(name.encode() for name in cleaned)
        }
        if altered or self._raw_names or self._raw_paths or self.others:
            for index, folder in enumerate(self._folder_of):
                is_other = index in self._raw_names or index in self._raw_paths
                if folder in altered or is_other or self._is_renamed(index):
                    yield index

    def _is_renamed(self, index: int) -> bool:
        other = self.others.get(index)
        return other is not None and tuple(map(str.encode, other)) != self.raw_path(index)

    def resolve_collisions(self) -> None:
        """Rename files whose paths collide; pad files are not stored and may.

        Raises MetainfoError if there are too many of them.
        """
        stored = [index for index, flags in enumerate(self.flags) if not flags & PAD]
        if not self._may_collide(stored):
            return
        if sum(len(folder) ** 2 for folder, _ in self._folders) > MAX_FOLDER_NAMES:
            raise MetainfoError("names of files collide, in too many and too deep folders")
        paths = [self.path(index) for index in stored]
        resolved = resolve_collisions(paths)
        for index, before, after in zip(stored, paths, resolved, strict=True):
            if after != before:
                self.others[index] = after

    def _may_collide(self, stored: Sequence[int]) -> bool:
        """Return whether two files, or a file and a folder, may share a path.

        By hashes alone: the paths of all folders at all depths would take far more room.
        """
        hashes = [_chained(folder) for folder, _ in self._folders]
        folder_of, name = self._folder_of, self.name
        found = {hash((hashes[folder_of[index]], name(index))) for index in stored}
        if len(found) < len(stored):
            return True
        return any(not found.isdisjoint(_chain(folder)) for folder, _ in self._folders)

    def __eq__(self, other: object) -> bool:
        """Compare paths, lengths and attributes."""
        if not isinstance(other, FileTable):
            return NotImplemented
        mine, its = self._columns(), other._columns()
        if mine != its:
            return False
        return all(self.raw_path(i) == other.raw_path(i) for i in range(len(self)))

    def _columns(self) -> tuple[object, ...]:
        paths = [self.path(index) for index in range(len(self))]
        return self.lengths, self.flags, self.targets, paths

    __hash__ = None  # type: ignore[assignment]  # mutable while it is filled


def _chain(folder: PathParts) -> Iterator[int]:
    """Iterate over a hash of each folder on the way to this one, itself included."""
    return islice(accumulate(folder, lambda above, name: hash((above, name)), initial=0), 1, None)


def _chained(folder: PathParts) -> int:
    return reduce(lambda above, name: hash((above, name)), folder, 0)


class FileList(Sequence[FileEntry]):
    """The files of a torrent in the order of the payload; each entry is made when asked for.

    Entries are cached while in use, so that ``is`` compares them.
    """

    __slots__ = ("_entries", "_raw_root", "_root", "_table", "layout")

    def __init__(
        self,
        table: FileTable,
        root: PathParts,
        raw_root: RawPath,
        layout: FileLayout | None = None,
    ) -> None:
        self._table = table
        self._root = root
        self._raw_root = raw_root
        self.layout = layout or FileLayout(table.lengths)
        self._entries: WeakValueDictionary[int, FileEntry] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> FileEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FileEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> FileEntry | tuple[FileEntry, ...]:
        """Return one entry, or some of them as a tuple."""
        if isinstance(index, slice):
            return tuple(self._entry(each) for each in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"file {index} of {len(self)}")
        return self._entry(index % len(self))

    def _entry(self, index: int) -> FileEntry:
        entry = self._entries.get(index)
        if entry is None:
            entry = self._entries[index] = self._new_entry(index)
        return entry

    def _new_entry(self, index: int) -> FileEntry:
        table = self._table
        flags, target = table.flags[index], table.targets.get(index)
        return FileEntry(
            self.path(index),
            self.raw_path(index),
            table.lengths[index],
            self.layout.offsets[index],
            is_pad=bool(flags & PAD),
            is_executable=bool(flags & _EXECUTABLE),
            is_hidden=bool(flags & _HIDDEN),
            symlink_target=None if target is None else (*self._root, *target),
        )

    def path(self, index: int) -> PathParts:
        """Return the cleaned path of one file, as :attr:`FileEntry.path`."""
        return (*self._root, *self._table.path(index))

    def paths(self) -> Iterator[PathParts]:
        """Iterate over the cleaned paths; costs far less than the entries."""
        return map(self.path, range(len(self)))

    def raw_path(self, index: int) -> RawPath:
        """Return the path of one file as the metainfo has it, as :attr:`FileEntry.raw_path`."""
        return (*self._raw_root, *self._table.raw_path(index))

    def cleaned(self) -> Iterator[int]:
        """Iterate over the files whose path is not what the metainfo has; usually none."""
        if self._raw_root != tuple(name.encode() for name in self._root):
            return iter(range(len(self)))
        return self._table.cleaned()

    def is_stored(self, index: int) -> bool:
        """Return whether a file has bytes on the disk: pads and symbolic links have none."""
        return not self._table.flags[index] & _UNSTORED

    def unstored(self) -> Iterator[int]:
        """Iterate over the files for which :meth:`is_stored` is False."""
        flags = self._table.flags
        if not flags.strip(b"\0\2\4\6"):
            return iter(())
        return (index for index, each in enumerate(flags) if each & _UNSTORED)

    @property
    def has_pads(self) -> bool:
        """Whether a file is padding."""
        return any(map(self.is_pad, self.unstored()))

    def is_pad(self, index: int) -> bool:
        """Return whether a file is padding (BEP 47)."""
        return bool(self._table.flags[index] & PAD)

    def __eq__(self, other: object) -> bool:
        """Compare the entries, also with those of a tuple or list."""
        if isinstance(other, FileList):
            return (self._root, self._raw_root, self._table) == (
                other._root,
                other._raw_root,
                other._table,
            )
        if isinstance(other, tuple | list):
            return tuple(self) == tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        """Return a hash that agrees with :meth:`__eq__`."""
        return hash((len(self), self._root, self.layout.total_bytes))

    def __repr__(self) -> str:
        """Return a short text; the files may be many."""
        return f"FileList({len(self)} files)"


def read_file_list(cursor: Cursor) -> tuple[object, Cursor]:
    """Decode the value of "files" entry by entry, as a reader of bencode.

    Raises BencodeError, and MetainfoError for an invalid entry. A value that is no list is
    decoded unchanged and refused by :func:`parse_files`.
    """
    data, position, depth, budget = cursor
    if not data.startswith(b"l", position):
        return read_value(cursor)
    if depth < 2:
        raise BencodeError("nested too deep", offset_bytes=position)
    at = Cursor(data, position + 1, depth - 1, budget - 1)
    table = FileTable()
    usual = _UsualEntries(table)
    while not data.startswith(b"e", at.position):
        if at.budget < 1:
            raise BencodeError("too many tokens", offset_bytes=at.position)
        at = usual.read(at) or _read_any(at, table)
    return table, Cursor(data, at.position + 1, depth, at.budget)


class _UsualEntries:
    """A fast reader of entries with only a length and a path.

    Most files are in the folder of the previous one; then only the name is decoded. Without it a
    list of 300,000 files takes three times as long.
    """

    def __init__(self, table: FileTable) -> None:
        self._table = table
        self._folder = b""
        """The folder of the last entry, as it is bencoded."""
        self._folder_path: RawPath = ()
        self._folder_id = table.folder_id(())

    def read(self, at: Cursor) -> Cursor | None:
        """Read the entry at a cursor; return None if it has another form."""
        data, position, depth, budget = at
        head = _HEAD(data, position)
        if head is None or depth < 2:
            return None
        start = head.end()
        name: tuple[bytes, int] | None = None
        if data.startswith(self._folder, start):
            name = _last_name(data, start + len(self._folder))
        if name is None:
            name = self._enter_folder(data, start)
        left = budget - _ENTRY_TOKENS - len(self._folder_path)
        if name is None or left < 0:
            return None
        flags = PAD if name[0].startswith(_BITCOMET_PAD) else 0
        self._table.append_in(self._folder_id, int(head[1]), self._folder_path, name[0], flags)
        return Cursor(data, name[1], depth, left)

    def _enter_folder(self, data: bytes, start: int) -> tuple[bytes, int] | None:
        """Read a path up to its last name, which is returned as by :func:`_last_name`."""
        folder: list[bytes] = []
        position = start
        while (name := _last_name(data, position)) is None:
            length = _LENGTH(data, position)
            if length is None:
                return None
            position = length.end() + int(length[1])
            folder.append(data[length.end() : position])
        self._folder, self._folder_path = data[start:position], tuple(folder)
        self._folder_id = self._table.folder_id(self._folder_path)
        return name


def _last_name(data: bytes, position: int) -> tuple[bytes, int] | None:
    """Return the string at a place, and where the entry ends that it is the last one of."""
    length = _LENGTH(data, position)
    if length is None:
        return None
    start = length.end()
    end = start + int(length[1])
    return (data[start:end], end + 2) if data.startswith(b"ee", end) else None


def _read_any(at: Cursor, table: FileTable) -> Cursor:
    """Read an entry of any form."""
    item, behind = read_value(at)
    if not isinstance(item, dict):
        raise MetainfoError("an entry of the file list is no dictionary")
    flags = flags_of(item)
    raw_path = _raw_path(item) or _pad_path(item, flags)
    if raw_path[-1].startswith(_BITCOMET_PAD):
        flags |= PAD
    append_item(table, item, raw_path, flags)
    return behind


def flags_of(item: BencodeDict) -> int:
    """Return the attributes of a file (BEP 47)."""
    attributes = item.get(b"attr")
    if not isinstance(attributes, bytes):
        return 0
    return sum(flag for letter, flag in _ATTRIBUTES if letter in attributes)


def append_item(table: FileTable, item: BencodeDict, raw_path: RawPath, flags: int) -> None:
    """Add the file that a dictionary describes, a link without a length of its own."""
    if not flags & LINK:
        table.append(required_int(item, b"length", "a file"), raw_path, flags)
    elif target := _symlink_target(item):
        table.targets[len(table)] = target
        table.append(0, raw_path, flags)
    else:
        table.append(0, raw_path, flags & ~LINK)  # a link without a valid target is an empty file


def parse_files(info: BencodeDict, files: object, fallback_name: str) -> FileList:
    """Return the files of an info dictionary, in payload order.

    ``files`` is the result of :func:`read_file_list`, the error that it raised, or None. A name of
    which cleaning leaves nothing becomes ``fallback_name``. Raises MetainfoError for an invalid
    entry, or a total of 0 or above 2^63 - 1 bytes.
    """
    if isinstance(files, MetainfoError):
        raise files
    root, raw_name = root_of_files(info, fallback_name)
    if not isinstance(files, FileTable) and (files is None or b"length" in info):
        return FileList(checked(_single(info, raw_name, root)), (), ())
    if not isinstance(files, FileTable) or not len(files):
        raise MetainfoError('"files" is empty or no list')
    checked(files).resolve_collisions()
    return FileList(files, root, (raw_name,))


def root_of_files(info: BencodeDict, fallback_name: str) -> tuple[PathParts, bytes]:
    """Return the folder that a torrent's files are in, cleaned, and as the metainfo has it."""
    raw_name = _name(info)
    root = clean_path([raw_name])
    if root == (NAMELESS,) and raw_name != NAMELESS.encode():
        root = (fallback_name,)
    return root, raw_name


def checked(table: FileTable) -> FileTable:
    """Return a table of files; raise MetainfoError if they have no bytes, or too many."""
    total = sum(table.lengths)
    if not 0 < total <= MAX_TOTAL_BYTES:
        raise MetainfoError(f"the files have {total} bytes in all")
    return table


def _single(info: BencodeDict, raw_name: bytes, root: PathParts) -> FileTable:
    """Return the one file of a torrent: its path is the torrent's name."""
    table = FileTable()
    append_item(table, info, (raw_name,), flags_of(info))
    table.others[0] = root
    return table


def _name(info: BencodeDict) -> bytes:
    utf8 = info.get(b"name.utf-8")
    return utf8 if isinstance(utf8, bytes) else required_bytes(info, b"name", "the torrent")


def _raw_path(item: BencodeDict) -> RawPath | None:
    """Return the path of a file, its ``.utf-8`` twin first; None if there is none at all."""
    found = [path for key in (b"path.utf-8", b"path") if (path := item.get(key)) is not None]
    for path in found:
        if isinstance(path, list) and path:
            elements = tuple(element for element in path if isinstance(element, bytes))
            if len(elements) == len(path):
                return elements
    if any(isinstance(path, list) and path for path in found):
        raise MetainfoError("a path has an element that is no string")
    return None


def _pad_path(item: BencodeDict, flags: int) -> RawPath:
    """Return a path for a pad file, which needs none of its own (BEP 47)."""
    if not flags & PAD:
        raise MetainfoError("a file has no path")
    return b".pad", b"%d" % required_int(item, b"length", "a pad file")


def _symlink_target(item: BencodeDict) -> PathParts | None:
    target = item.get(b"symlink path")
    elements = target if isinstance(target, list) else []
    raw = [element for element in elements if isinstance(element, bytes)]
    return clean_path(raw) if raw and len(raw) == len(elements) else None
