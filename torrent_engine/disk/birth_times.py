"""Birth times of files, by which a new file with the inode number of a removed one is told.

ext4 and others give a number to the next file as soon as it is free. Source: ``statx(2)``.
"""

import ctypes
import os
import struct
from collections.abc import Callable
from functools import cache
from typing import Final

from torrent_engine.disk.system import HAS_STATX

_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EMPTY_PATH: Final = 0x1000
_BIRTH_TIME: Final = 0x800  # STATX_BTIME
_RECORD_BYTES: Final = 256
_MASK: Final = struct.Struct("=I")
_TIME: Final = struct.Struct("=qI")
_BIRTH_TIME_AT: Final = 80
_SECOND_NS: Final = 1_000_000_000


def born_after(descriptor: int, time_ns: int, *, name: str = "") -> bool:
    """Return whether a file was made after a time; False if that is not known.

    ``descriptor`` is the open file, or the folder of ``name``, which is not followed if it is a
    link. Elsewhere than on Linux nothing is known, and numbers are not given away again so soon.
    """
    statx = _statx()
    if statx is None:
        return False
    record = ctypes.create_string_buffer(_RECORD_BYTES)
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    if statx(descriptor, os.fsencode(name), flags, _BIRTH_TIME, record):
        return False
    (mask,) = _MASK.unpack_from(record)
    seconds, nanoseconds = _TIME.unpack_from(record, _BIRTH_TIME_AT)
    return bool(mask & _BIRTH_TIME) and seconds * _SECOND_NS + nanoseconds > time_ns


@cache
def _statx() -> Callable[..., int] | None:
    """Return the function of the C library; None where there is none."""
    if not HAS_STATX:
        return None
    function = getattr(ctypes.CDLL(None), "statx", None)
    if function is not None:
        arguments = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
        function.argtypes = arguments
    return function
