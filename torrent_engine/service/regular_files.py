"""Reads of files that others may exchange meanwhile.

A pipe holds nobody up, and a link that is planted after a check is not followed: what
a path was at a check says nothing of what is opened a moment later.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from torrent_engine.disk import regular_files
from torrent_engine.disk.regular_files import check_regular

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe is opened at once, and refused then
    | getattr(os, "O_BINARY", 0)
)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""Folders that may be passed, but not listed, are passed."""
_HAS_DIR_FD: Final = os.open in os.supports_dir_fd and bool(_NO_LINK)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file, following links. Raises OSError, also for what is no regular file."""
    with regular_files.open_regular(path) as file:
        yield file


@contextmanager
def open_resolved(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file by an absolute path in which no link is followed, wherever it stands.

    For paths that were resolved and then checked. Raises OSError.
    """
    with os.fdopen(check_regular(_open_in_steps(path), path), "rb") as file:
        yield file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return a regular file, or its first ``max_bytes`` + 1 bytes. Raises OSError."""
    with open_regular(path) as file:
        return file.read(max_bytes + 1)


def read_resolved(path: Path, max_bytes: int) -> bytes:
    """Return the same of a path in which no link is followed. Raises OSError."""
    with open_resolved(path) as file:
        return file.read(max_bytes + 1)


def _open_in_steps(path: Path) -> int:
    """Open each folder from the one above it; a link on the way is an OSError."""
    if not _HAS_DIR_FD:
        return os.open(path, _FLAGS)
    *folders, name = path.parts[1:] or [os.curdir]
    parent = os.open(path.anchor, _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER | _NO_LINK, dir_fd=parent)
            os.close(parent)
            parent = below
        return os.open(name, _FLAGS | _NO_LINK, dir_fd=parent)
    finally:
        os.close(parent)
