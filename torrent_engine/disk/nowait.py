"""Reads on the event loop what is in memory already, and nothing that would wait for a disk."""

import errno
import os
from typing import Final

from torrent_engine.disk.filesystem import ReadMode, ReadModes
from torrent_engine.disk.open_files import OpenFile

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_REFUSED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_modes: Final = ReadModes()  # a fact of the machine, not of one torrent


def read_file_now(file: OpenFile, offset_bytes: int, into: memoryview) -> bool:
    """Fill ``into`` at once; False if that is not possible, for whatever reason."""
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
