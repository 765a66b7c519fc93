"""Owns that no more torrents of a manager run than its queue allows: it holds and lets go.

It looks soon after something changed, and every few seconds at the rates. Without a limit it does
nothing at all.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from torrent_engine.base.config import QueueConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.alarm import Alarm
from torrent_engine.engine.queue_facts import ACTIVE, QueueFacts
from torrent_engine.engine.states import State
from torrent_engine.policy.torrent_queue import QueueEntry, TorrentQueue

logger = logging.getLogger(__name__)

MIN_GAP_S: Final = 0.1  # ours: changes of this time are looked at together
GAP_PER_LOOK: Final = 20.0  # ours: looking takes at most a twentieth of the time


class QueuedTorrent(Protocol):
    """What the queue needs of a Session."""

    @property
    def info_hash(self) -> InfoHash:
        """Which torrent it is."""

    @property
    def state(self) -> State:
        """What it does now."""

    @property
    def is_held(self) -> bool:
        """Whether the queue holds it back."""

    @property
    def is_paused_by_user(self) -> bool:
        """Whether it is paused whatever the queue says."""

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what its place depends on."""

    def hold(self) -> None:
        """Let it wait."""

    def unhold(self) -> None:
        """Let it go on, unless the user paused it."""


class QueuedTorrents(Protocol):
    """What the queue needs of a TorrentManager."""

    @property
    def sessions(self) -> Sequence[QueuedTorrent]:
        """All torrents, in the order of the queue."""

    def priority(self, info_hash: InfoHash) -> int:
        """Return a torrent's priority; higher ones go first."""


class QueueKeeper:
    """Holds torrents back, and lets them go; :meth:`run` is a task of the manager."""

    def __init__(
        self,
        torrents: QueuedTorrents,
        config: QueueConfig,
        clock: Callable[[], float],
        *,
        alarm: Alarm | None = None,
    ) -> None:
        self._torrents = torrents
        self._config = config
        self._queue = TorrentQueue(config)
        self._clock = clock
        self._alarm = Alarm() if alarm is None else alarm
        self._is_changed = self._queue.has_limits
        self._looked_s = float("-inf")
        self._gap_s = MIN_GAP_S

    @property
    def has_limits(self) -> bool:
        """Whether a torrent that is started is to be held first, until the queue lets it go."""
        return self._queue.has_limits

    def set_config(self, config: QueueConfig) -> None:
        """Change the limits; without any everybody is let go."""
        self._config = config
        self._queue = TorrentQueue(config)
        self.changed(always=True)

    def changed(self, *, always: bool = False) -> None:
        """Look soon: a torrent came, went, moved in the queue, or to another state."""
        if always or self.has_limits:
            self._is_changed = True
            self._alarm.ring()

    def moved(self, session: QueuedTorrent, old: State, new: State) -> None:
        """Hear that a torrent is in another state.

        What it is to be after a check, nobody knew before: it is held at once if there is no room.
        """
        self.changed()
        is_after_check = old is State.CHECKING and new in {State.DOWNLOADING, State.SEEDING}
        if not self.has_limits or not is_after_check or session.is_held:
            return
        if not self._queue.take_room(is_download=new is State.DOWNLOADING):
            _move(session)

    async def run(self) -> None:
        """Look when there is reason to, until cancelled."""
        while True:
            now = self._clock()
            due_s = self._due_s()
            if due_s <= now:
                self.look()
            else:
                await self._alarm.wait(due_s - now)

    def _due_s(self) -> float:
        if self._is_changed:
            return self._looked_s + self._gap_s
        return self._looked_s + self._config.look_interval_s if self.has_limits else float("inf")

    def look(self) -> None:
        """Decide now who may run, and see to it."""
        began_s = self._clock()
        self._is_changed = False
        sessions = self._torrents.sessions
        entries = [self._entry(session, place, began_s) for place, session in enumerate(sessions)]
        may_run = self._queue.decide(entries, began_s)
        moves = [
            session
            for session, entry in zip(sessions, entries, strict=True)
            if entry.wants_to_run and (entry.key in may_run) is session.is_held
        ]
        for session in sorted(moves, key=lambda each: each.is_held):  # first who makes room
            _move(session)
        self._looked_s = self._clock()
        self._gap_s = max(MIN_GAP_S, GAP_PER_LOOK * (self._looked_s - began_s))

    def _entry(self, session: QueuedTorrent, position: int, now: float) -> QueueEntry:
        info_hash = session.info_hash
        facts = session.queue_facts(now)
        state = facts.state
        return QueueEntry(
            info_hash,
            position,
            self._torrents.priority(info_hash),
            state is not State.SEEDING,
            state is State.CHECKING,
            state in ACTIVE and not session.is_paused_by_user,
            not session.is_held,
            facts.rate_bytes_per_s,
            facts.ratio,
        )


def _move(session: QueuedTorrent) -> None:
    """Let go who is held, hold who is not; a bug in one torrent reaches no other (row F10)."""
    try:
        if session.is_held:
            session.unhold()
        else:
            session.hold()
    except Exception:
        logger.exception("torrent %s: the queue failed to move it", session.info_hash.hex())
