"""The interface of a storage: where the bytes of one torrent's files are kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from torrent_engine.base.ids import InfoHash


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a torrent."""

    path: tuple[str, ...]
    """Below the save path; cleaned, never absolute, never with ``..``."""
    length_bytes: int
    is_stored: bool = True
    """False: padding or a symbolic link (BEP 47); the storage is never asked for it."""


@dataclass(frozen=True, slots=True)
class StorageFiles:
    """What a storage is made for: the files of one torrent."""

    info_hash: InfoHash
    name: str
    save_path: str
    """Folder or other place that the user named; a storage may use it as it likes."""
    files: Sequence[StoredFile]
    """In the order of the metainfo: a file's number is its index here."""


class Storage(Protocol):
    """Keeps the bytes of one torrent's files.

    All methods are called in worker threads, never on the event loop, and may block.
    :meth:`read`, :meth:`write` and :meth:`size` are called by several threads at once, for one file
    too, but not for bytes that overlap with those of a write under way. The others are called by
    one thread at a time. Between :meth:`close` and the next :meth:`open` only :meth:`move` is
    called; one object is opened and closed again as often as its Session starts and stops, and
    keeps its bytes meanwhile.

    An OSError becomes the StorageError of its kind (no space left: DiskFullError, for which the
    engine waits); a StorageError passes as it is; any other exception becomes a StorageError, too.
    What is read is hashed before it is believed, so a storage may lose bytes, but a write that
    returned must be seen by the reads after it.
    """

    def open(self) -> None:
        """Get ready; what was kept before is there again."""

    def close(self) -> None:
        """Release what :meth:`open` took. Nothing is synced by this, nothing forgotten."""

    def size(self, file_index: int) -> int:
        """Return how many bytes of a file can be read, from its start; 0: nothing is there.

        A file may be read as a whole once anything was written to it: what was not reads as zeros.
        """

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into``, which may be up to 1 MiB, with what is at an offset of a file.

        Raises OSError or StorageError if fewer bytes are there.
        """

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Keep ``views``, one behind the other, from an offset of a file on.

        Their memory is used again after the call. Boundary pieces bring bytes of files that are
        skipped, too.
        """

    def sync(self) -> None:
        """Return once all that was written before the call survives a loss of power."""

    def move(self, save_path: str) -> None:
        """Bring everything to another place, or leave it where it is if that means nothing here.

        Raises OSError or StorageError with everything where it was.
        """

    def remove(self, file_indices: Iterable[int]) -> None:
        """Delete the bytes of files; those of which nothing is kept are passed over."""


@runtime_checkable
class ImmediateStorage(Storage, Protocol):
    """A storage that can read without waiting, which saves uploads the way through a thread."""

    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        """Fill ``into`` at once; False if that is not possible. Called on the event loop."""


StorageFactory: TypeAlias = Callable[[StorageFiles], Storage]
"""Called once for each Session, as soon as its files are known; may not block."""
