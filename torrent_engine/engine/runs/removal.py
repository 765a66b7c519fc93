"""Removal of a torrent's files: all of them, or only those of an incomplete download."""

from collections.abc import Set as AbstractSet

from torrent_engine.disk.resume.history import Earlier
from torrent_engine.engine.states import State, StateMachine
from torrent_engine.engine.swarm.context import Torrent


async def remove_files(
    torrent: Torrent,
    machine: StateMachine,
    earlier: Earlier,
    *,
    removes_all: bool,
    shared: AbstractSet[int],
) -> None:
    """Remove the torrent's files but the ``shared`` ones; StorageError if one cannot be removed.

    Unless ``removes_all`` those stay that were there before it was, and all if it is complete.
    """
    if removes_all:
        await torrent.storage.delete_files(shared)
    elif not is_finished(torrent, machine, earlier):
        await torrent.storage.delete_files(earlier.found_files | shared)


def is_finished(torrent: Torrent, machine: StateMachine, earlier: Earlier) -> bool:
    """Return whether the download was reported as complete, or may have been before a check."""
    state = machine.paused_state or machine.state
    if state in {State.DOWNLOADING, State.SEEDING}:
        return state is State.SEEDING
    known = torrent.table.have.as_int() | earlier.had
    return not torrent.picker.wanted & ~known
