"""Stamps of very many files in columns, so that they are no work for the garbage collector."""

from array import array
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Final

from torrent_engine.disk.file_stamps import FileStamp

_INODE_BYTES: Final = 16  # Windows has inodes of 128 bits
_DEVICE_BYTES: Final = 8


class StampTable(Mapping[int, FileStamp]):
    """The stamps of some files by their numbers, in the order in which they came.

    A stamp is made when it is asked for.
    """

    __slots__ = ("_ctimes", "_devices", "_inodes", "_mtimes", "_rows", "_sizes")

    def __init__(self, stamps: Iterable[FileStamp] = ()) -> None:
        self._rows: dict[int, int] = {}
        """Where in the columns each file is."""
        self._sizes, self._mtimes, self._ctimes = array("q"), array("q"), array("q")
        self._inodes, self._devices = bytearray(), bytearray()
        for stamp in stamps:
            self._add(stamp)

    def _add(self, stamp: FileStamp) -> None:
        index, size, mtime, inode, device, ctime = stamp
        self._rows[index] = len(self._sizes)
        self._sizes.append(size)
        self._mtimes.append(mtime)
        self._ctimes.append(ctime)
        self._inodes += inode.to_bytes(_INODE_BYTES, "little")
        self._devices += device.to_bytes(_DEVICE_BYTES, "little")

    def __getitem__(self, file_index: int) -> FileStamp:
        """Return the stamp of a file; KeyError if it has none."""
        row = self._rows[file_index]
        inode = self._inodes[row * _INODE_BYTES : (row + 1) * _INODE_BYTES]
        device = self._devices[row * _DEVICE_BYTES : (row + 1) * _DEVICE_BYTES]
        return FileStamp(
            file_index,
            self._sizes[row],
            self._mtimes[row],
            int.from_bytes(inode, "little"),
            int.from_bytes(device, "little"),
            self._ctimes[row],
        )

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the files."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return how many files have a stamp."""
        return len(self._rows)

    def __contains__(self, file_index: object) -> bool:
        """Return whether a file has a stamp."""
        return file_index in self._rows

    def keys(self) -> KeysView[int]:
        """Return the numbers of the files."""
        return self._rows.keys()
