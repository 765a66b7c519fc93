"""Non-blocking reads from the page cache, for the event loop."""

import errno
import mmap
import os
from typing import Final

from torrent_engine.disk.files.open_files import OpenFile
from torrent_engine.disk.filesystem import ReadMode, ReadModes
from torrent_engine.disk.system import HAS_SAFE_MAPPINGS

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_REFUSED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_PROBE_BYTES: Final = (
    256 * 1024
)  # ours: distance of probes; the bytes between are assumed to be cached
_ONE_BYTE: Final = memoryview(bytearray(1))
_modes: Final = ReadModes()  # a fact of the machine, not of one torrent


def view_file_now(file: OpenFile, offset_bytes: int, length_bytes: int) -> memoryview | None:
    """Return a view of cached bytes; None if they are not cached, or cannot be mapped.

    Pass the view only to the kernel: if the file is truncated meanwhile, a system call fails with
    EFAULT, while an access from Python would cause SIGBUS.
    """
    mode, end = _modes.of(file.device), offset_bytes + length_bytes
    if mode is ReadMode.THREAD:
        return None
    mapping = file.mapping
    if mapping is None or end > len(mapping):
        mapping = _map(file)
        if mapping is None or end > len(mapping):
            return None
    probes = range(offset_bytes, end, _PROBE_BYTES) if mode is ReadMode.NOWAIT else ()
    if not all(_is_in_memory(file, at) for at in (*probes, end - 1)):
        return None  # the file was truncated
    return mapping[offset_bytes:end]


def _map(file: OpenFile) -> memoryview | None:
    size = os.fstat(file.descriptor).st_size
    if not size or not HAS_SAFE_MAPPINGS:
        return None
    try:
        file.mapping = memoryview(mmap.mmap(file.descriptor, size, prot=mmap.PROT_READ))
    except (OSError, ValueError):
        return None
    return file.mapping


def _is_in_memory(file: OpenFile, offset_bytes: int) -> bool:
    """Return whether a byte is in the page cache."""
    return read_file_now(file, offset_bytes, _ONE_BYTE)


def read_file_now(file: OpenFile, offset_bytes: int, into: memoryview) -> bool:
    """Fill ``into`` without blocking; return False if that is not possible."""
    mode = _modes.of(file.device)
    if mode is ReadMode.THREAD:
        return False
    try:
        if mode is ReadMode.DIRECT:
            return os.preadv(file.descriptor, [into], offset_bytes) == len(into)
        return os.preadv(file.descriptor, [into], offset_bytes, _NOWAIT) == len(into)
    except OSError as error:
        if mode is ReadMode.NOWAIT and error.errno in _REFUSED:
            _modes.refuse(file.device)
            return read_file_now(file, offset_bytes, into)
        return False
