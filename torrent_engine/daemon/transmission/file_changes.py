"""Which files are wanted and how urgent they are, as ``torrent_set`` and ``torrent_add`` say it."""

from collections.abc import Iterator, Sequence
from typing import Final

from torrent_engine.daemon.transmission.errors import ErrorCode, RpcError
from torrent_engine.daemon.transmission.file_fields import (
    HIGH_PRIORITY,
    LOW_PRIORITY,
    NORMAL_PRIORITY,
)
from torrent_engine.daemon.transmission.params import Params

NOT_WANTED: Final = 0
_WANTED, _UNWANTED = "files_wanted", "files_unwanted"
_PRIORITIES: Final = {
    "priority_high": HIGH_PRIORITY,
    "priority_low": LOW_PRIORITY,
    "priority_normal": NORMAL_PRIORITY,
}
CHANGES: Final = (_UNWANTED, _WANTED, *_PRIORITIES)
"""In the order in which they count."""


def changed_priorities(params: Params, present: Sequence[int]) -> list[int] | None:
    """Return the priority, 0 to 7, that each file shall have; None: as it has.

    An empty list of files means all. A file that is not wanted stays so when its priority is set.
    Raises RpcError for a file that does not exist.
    """
    if not any(name in params for name in CHANGES):
        return None
    found = list(present)
    for name, index in _each_file(params, len(found)):
        if name == _UNWANTED:
            found[index] = NOT_WANTED
        elif name == _WANTED:
            found[index] = found[index] or NORMAL_PRIORITY
        elif found[index]:
            found[index] = _PRIORITIES[name]
    return found


def _each_file(params: Params, count: int) -> Iterator[tuple[str, int]]:
    for name in CHANGES:
        indexes = params.integers(name)
        if indexes is None:
            continue
        for index in indexes or range(count):
            if not 0 <= index < count:
                raise RpcError(ErrorCode.FILE_INDEX_OUT_OF_RANGE)
            yield name, index


def magnet_priorities(params: Params) -> dict[int, int]:
    """Return priorities of the files that are named, for a torrent whose files are not known."""
    found: dict[int, int] = {}
    for name in CHANGES:
        for index in params.integers(name) or ():
            if index < 0:
                raise RpcError(ErrorCode.FILE_INDEX_OUT_OF_RANGE)
            if name == _UNWANTED:
                found[index] = NOT_WANTED
            elif name == _WANTED:
                found[index] = NORMAL_PRIORITY
            elif found.get(index, NORMAL_PRIORITY):
                found[index] = _PRIORITIES[name]
    return found
