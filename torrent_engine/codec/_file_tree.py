"""The file tree of a v2 torrent, read strictly: its order is the order of the payload.

Nested dictionaries are folders; one whose only key is the empty one is a file. Files are kept in
columns as those of v1 are.
Source: BEP 52, BEP 47; fault model, rows A5 to A7.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from torrent_engine.base.config import MIB, STORED_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.base.ids import BLOCK_BYTES, SHA256_BYTES
from torrent_engine.codec._fields import BencodeDict
from torrent_engine.codec._file_list import LINK, PAD, FileTable, RawPath, append_item, flags_of
from torrent_engine.codec.bencode import (
    Cursor,
    decode_prefix,
    read_dictionary,
    read_value,
    skip_value,
)
from torrent_engine.codec.paths import MAX_DEPTH, MAX_PATH_BYTES

MAX_FILE_BYTES: Final = (1 << 30) * BLOCK_BYTES  # as libtorrent; less than that
MAX_PATHS_BYTES: Final = 64 * MIB  # ours: of all folders with files; v1 has to spell each out
_NAME_BYTES: Final = 16  # ours: what a name takes besides its bytes, about
_NO_ROOT: Final = bytes(SHA256_BYTES)
_USUAL: Final = re.compile(
    rb"d0:d6:lengthi([1-9][0-9]{0,17})e11:pieces root32:([\s\S]{32})ee"
).match
_KEY: Final = re.compile(rb"(0|[1-9][0-9]{0,8}):").match
_FILE: Final = b"d0:"
_FOLDER: Final = b"d"


class FileTree(NamedTuple):
    """The files of a v2 torrent, in the order of its payload."""

    table: FileTable
    roots: bytes
    """32 bytes a file: the root of its Merkle tree; zeros for one without bytes."""
    is_single_file: bool
    """There is one file, and it is in no folder."""


def parse_info_strictly(info_bytes: bytes) -> FileTree:
    """Return the files of an info dictionary of v2, which has to be in canonical bencoding.

    Raises BencodeError if it is not, and MetainfoError for a tree that is missing or wrong.
    """
    limits = STORED_BENCODE_LIMITS  # what is here has been decoded before
    start = Cursor(info_bytes, 0, limits.max_depth, limits.max_tokens)
    readers = {b"file tree": _read_tree, b"files": _skip_files}
    info, _, _ = read_dictionary(start, readers, canonical=True)
    tree = info.get(b"file tree")
    if not isinstance(tree, FileTree):
        raise MetainfoError('a v2 torrent (BEP 52) without a dictionary "file tree"')
    return tree


def _skip_files(cursor: Cursor) -> tuple[object, Cursor]:
    """Check the spelling of the v1 part's files, without keeping them."""
    data, position, depth, budget = cursor
    if not data.startswith(b"l", position):
        return read_value(cursor)
    position += 1
    while not data.startswith(b"e", position):
        _, behind = skip_value(Cursor(data, position, depth - 1, budget))
        decode_prefix(data[position : behind.position], canonical=True)
        position, budget = behind.position, behind.budget
    return None, Cursor(data, position + 1, depth, budget)


def _read_tree(cursor: Cursor) -> tuple[object, Cursor]:
    if not cursor.data.startswith(_FOLDER, cursor.position):
        return read_value(cursor)
    return _TreeReader(cursor).read()


class _TreeReader:
    """One pass over a file tree."""

    def __init__(self, cursor: Cursor) -> None:
        self._data, self._position, self._depth, self._budget = cursor
        self._table = FileTable()
        self._roots = bytearray()
        self._folder: RawPath = ()
        self._folder_id: int | None = None
        """The number of the folder that is open, once it has a file."""
        self._folder_bytes = 0
        """What its path takes, about."""
        self._left_bytes = MAX_PATHS_BYTES
        self._last_keys: list[bytes | None] = []
        """In each of the open folders."""

    def read(self) -> tuple[FileTree, Cursor]:
        """Read the whole tree; return it, and the cursor behind it."""
        self._enter()
        while self._last_keys:
            if self._data.startswith(b"e", self._position):
                self._position += 1
                self._last_keys.pop()
                self._change_folder(self._folder[:-1])
            else:
                self._read_entry()
        if not len(self._table):
            raise MetainfoError('no files in "file tree"')
        is_single = len(self._table) == 1 and len(self._table.raw_path(0)) == 1
        tree = FileTree(self._table, bytes(self._roots), is_single)
        return tree, Cursor(self._data, self._position, self._depth, self._budget)

    def _read_entry(self) -> None:
        name = self._read_key()
        if match := _USUAL(self._data, self._position):
            self._add_usual(name, match)
        elif self._data.startswith(_FILE, self._position):
            self._add_any(name)
        elif self._data.startswith(_FOLDER, self._position):
            self._change_folder((*self._folder, name))
            self._enter()
        else:
            raise MetainfoError(f"file tree: {self._shown(name)} is no dictionary")

    def _enter(self) -> None:
        if len(self._last_keys) >= MAX_DEPTH:
            raise MetainfoError(f"file tree: more than {MAX_DEPTH} folders inside each other")
        self._spend(1)
        self._position += 1
        self._last_keys.append(None)

    def _change_folder(self, folder: RawPath) -> None:
        self._folder, self._folder_id = folder, None

    def _spend(self, tokens: int) -> None:
        self._budget -= tokens
        if self._budget < 0:
            raise BencodeError("too many tokens", offset_bytes=self._position)

    def _read_key(self) -> bytes:
        """Read the name of an entry, which comes behind the ones before it."""
        start = self._position
        length = _KEY(self._data, start)
        end = length.end() + int(length[1]) if length else 0
        if length is None or end > len(self._data):
            raise BencodeError("no dictionary key, or a malformed one", offset_bytes=start)
        self._spend(1)
        name = self._data[length.end() : end]
        if not name:
            raise MetainfoError(f"file tree: {self._shown()} is both a file and a folder")
        last = self._last_keys[-1]
        if last is not None and name <= last:
            raise BencodeError("dictionary keys out of order, or twice", offset_bytes=start)
        self._last_keys[-1] = name
        self._position = end
        return name

    def _add_usual(self, name: bytes, match: re.Match[bytes]) -> None:
        self._spend(7)
        self._position = match.end()
        length, root = int(match[1]), match[2]
        self._check_length(name, length)
        self._table.append_in(self._open_folder(), length, self._folder, name)
        self._add_root(name, length, root)

    def _open_folder(self) -> int:
        """Return the number of the folder that gets a file. Raises MetainfoError for too many.

        A tree names a folder once for all that is below it, so that few bytes of it can be long
        paths of very many files. Those that are too long to be stored are shortened one by one.
        """
        if self._folder_id is None:
            self._folder_bytes = sum(map(len, self._folder)) + _NAME_BYTES * len(self._folder)
            self._folder_id = self._table.folder_id(self._folder)
        elif self._folder_bytes <= MAX_PATH_BYTES // 4:
            return self._folder_id
        self._left_bytes -= self._folder_bytes
        if self._left_bytes < 0:
            raise MetainfoError("file tree: too many, too deep or too long folders")
        return self._folder_id

    def _add_any(self, name: bytes) -> None:
        self._open_folder()
        self._position += len(_FILE)
        self._spend(2)
        item = self._read_properties(name)
        self._check_end(name)
        flags = flags_of(item)
        if flags & PAD:
            raise MetainfoError(f"file tree: {self._shown(name)} is a pad file, which v2 has none")
        length = item.get(b"length")
        if isinstance(length, int):
            self._check_length(name, length)
        elif not flags & LINK:
            raise MetainfoError(f"file tree: {self._shown(name)} has no length")
        append_item(self._table, item, (*self._folder, name), flags)
        self._add_root(name, self._table.lengths[-1], item.get(b"pieces root"))

    def _read_properties(self, name: bytes) -> BencodeDict:
        depth = self._depth - len(self._last_keys)
        start = Cursor(self._data, self._position, depth, self._budget)
        if not self._data.startswith(b"d", self._position):
            raise MetainfoError(f"file tree: {self._shown(name)} has properties of a wrong type")
        item, _, behind = read_dictionary(start, {}, canonical=True)
        self._position, self._budget = behind.position, behind.budget
        return item

    def _check_end(self, name: bytes) -> None:
        if not self._data.startswith(b"e", self._position):
            raise MetainfoError(f"file tree: {self._shown(name)} is both a file and a folder")
        self._position += 1

    def _check_length(self, name: bytes, length: int) -> None:
        if not 0 <= length < MAX_FILE_BYTES:
            raise MetainfoError(f"file tree: {self._shown(name)} has a length of {length} bytes")

    def _add_root(self, name: bytes, length: int, root: Any) -> None:  # noqa: ANN401 - decoded
        if not length:
            root = _NO_ROOT
        elif not isinstance(root, bytes) or len(root) != SHA256_BYTES or root == _NO_ROOT:
            raise MetainfoError(f'file tree: {self._shown(name)} has no "pieces root" of 32 bytes')
        self._roots += root

    def _shown(self, *names: bytes) -> str:
        return shown_path((*self._folder, *names))


def shown_path(raw: Sequence[bytes]) -> str:
    """Return a path of a torrent as an error message has it."""
    return repr(b"/".join(raw).decode("utf-8", "replace"))[:200]
