"""Opening files by their paths, without waiting where a pipe was put in the place of one."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_FLAGS: Final = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe is opened at once, and refused then
    | getattr(os, "O_BINARY", 0)
)


def open_descriptor(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Return the descriptor of a regular file, following links.

    Raises OSError with the path, also for what is no regular file.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS, mode)
    except IsADirectoryError:
        raise not_regular(path) from None
    return check_regular(descriptor, path)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, following links. Raises OSError as the above."""
    descriptor = open_descriptor(path)
    try:
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path) -> bytes:
    """Return a whole regular file, following links. Raises OSError as the above."""
    with open_regular(path) as file:
        return file.read()


def check_regular(descriptor: int, path: Path) -> int:
    """Return a descriptor of a regular file; else close it, and raise OSError."""
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    if not is_regular:
        os.close(descriptor)
        raise not_regular(path)
    return descriptor


def not_regular(path: Path) -> OSError:
    """Return the error for what is no regular file."""
    return OSError(errno.EINVAL, "is no regular file", str(path))
