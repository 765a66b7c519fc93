"""Which files go when a torrent is forgotten: all that are its own, or only half-made ones."""

from collections.abc import Set as AbstractSet

from torrent_engine.disk.earlier_runs import Earlier
from torrent_engine.engine.states import State, StateMachine
from torrent_engine.engine.torrent import Torrent


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
    """Tell whether all that is wanted is here and was told of, or may have been before a check."""
    state = machine.paused_state or machine.state
    if state in {State.DOWNLOADING, State.SEEDING}:
        return state is State.SEEDING
    known = torrent.table.have.as_int() | earlier.had
    return not torrent.picker.wanted & ~known
