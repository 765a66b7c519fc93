"""Positional reads and writes of open files, vectored if supported.

Without ``preadv``/``pwritev`` (Windows) a lock and a seek are used.
"""

import os
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Final

IOV_MAX: Final = 1024  # POSIX guarantees 16; Linux, macOS and the BSDs have 1024
HAS_VECTORED_IO = hasattr(os, "preadv") and hasattr(os, "pwritev")
_seek_lock = threading.Lock()


def read_at(descriptor: int, into: memoryview, offset_bytes: int) -> int:
    """Fill ``into`` from the file; return the number of bytes, fewer only at its end."""
    done = _read_once(descriptor, into, offset_bytes)
    while 0 < done < len(into):
        got = _read_once(descriptor, into[done:], offset_bytes + done)
        if not got:
            break
        done += got
    return done


def write_at(descriptor: int, views: Sequence[memoryview], offset_bytes: int) -> None:
    """Write all of ``views`` consecutively, at most IOV_MAX of them in a call."""
    if len(views) <= IOV_MAX:
        _write_group(descriptor, views, offset_bytes)
        return
    rest = iter(views)
    while group := list(islice(rest, IOV_MAX)):
        _write_group(descriptor, group, offset_bytes)
        offset_bytes += sum(map(len, group))


def split_views(views: Sequence[memoryview], lengths: Sequence[int]) -> list[list[memoryview]]:
    """Divide views into consecutive parts of the given lengths."""
    shares: list[list[memoryview]] = []
    rest = list(reversed(views))
    for length in lengths:
        share: list[memoryview] = []
        missing = length
        while missing:
            view = rest.pop()
            if len(view) > missing:
                rest.append(view[missing:])
                view = view[:missing]
            share.append(view)
            missing -= len(view)
        shares.append(share)
    return shares


def _write_group(descriptor: int, views: Sequence[memoryview], offset_bytes: int) -> None:
    length = sum(map(len, views))
    done = _write_once(descriptor, views, offset_bytes)
    while (
        done < length
    ):  # partial writes, by signals, quotas or limits: the next call continues or fails
        views = _without_first(views, done)
        offset_bytes += done
        length -= done
        done = _write_once(descriptor, views, offset_bytes)


def _without_first(views: Sequence[memoryview], count_bytes: int) -> list[memoryview]:
    """Return the rest of ``views`` after its first bytes."""
    left: list[memoryview] = []
    for view in views:
        if count_bytes >= len(view):
            count_bytes -= len(view)
        else:
            left.append(view[count_bytes:])
            count_bytes = 0
    return left


def _read_once(descriptor: int, into: memoryview, offset_bytes: int) -> int:
    if HAS_VECTORED_IO:
        return os.preadv(descriptor, [into], offset_bytes)
    with _seek_lock:
        os.lseek(descriptor, offset_bytes, os.SEEK_SET)
        data = os.read(descriptor, len(into))
    into[: len(data)] = data
    return len(data)


def _write_once(descriptor: int, views: Sequence[memoryview], offset_bytes: int) -> int:
    if HAS_VECTORED_IO:
        return os.pwritev(descriptor, views, offset_bytes)
    with _seek_lock:
        os.lseek(descriptor, offset_bytes, os.SEEK_SET)
        return os.write(descriptor, views[0] if len(views) == 1 else b"".join(views))
