"""The few numbers of a torrent that its place in the queue depends on; cheap for very many."""

from typing import TYPE_CHECKING, NamedTuple

from torrent_engine.engine.session_stats import rates
from torrent_engine.engine.states import State, StateMachine

if TYPE_CHECKING:
    from torrent_engine.engine.session_run import SessionRun

ACTIVE = frozenset(
    {State.CHECKING, State.FETCHING_METADATA, State.DOWNLOADING, State.SEEDING},
)


class QueueFacts(NamedTuple):
    """What a torrent is, or will be when it goes on."""

    state: State
    """One of :data:`ACTIVE`, also while it is paused; else it is not for the queue."""
    rate_bytes_per_s: float = 0.0
    """Payload that a download receives, that a seed sends."""
    ratio: float = 0.0
    """Uploaded over downloaded, over all runs; over the size if nothing was downloaded."""


def queue_facts(
    machine: StateMachine, run: "SessionRun | None", ratio: float, now: float
) -> QueueFacts:
    """Return what the queue looks at; ``ratio`` counts where nothing runs."""
    state = machine.paused_state or machine.state
    if run is None or state not in ACTIVE:
        return QueueFacts(state, ratio=ratio)
    totals = run.all_totals
    base_bytes = totals.downloaded_bytes or run.progress.wanted_bytes or 1
    ratio = totals.uploaded_bytes / base_bytes
    if not run.torrent.peers and state is not State.DOWNLOADING:
        return QueueFacts(state, ratio=ratio)
    down, up = rates(run, now)
    return QueueFacts(state, up if state is State.SEEDING else down, ratio)
