"""The queue of a manager: holds torrents back so that no more run than its limits permit.

It decides soon after a change, and every few seconds by the rates. Without a limit it does nothing.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from torrent_engine.base.config import QueueConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.session.status import QUEUED, QueueFacts
from torrent_engine.engine.states import State
from torrent_engine.engine.timers import Alarm
from torrent_engine.policy.queue.torrent_queue import QueueEntry, TorrentQueue

logger = logging.getLogger(__name__)

MIN_GAP_S: Final = 0.1  # ours: changes within this time are decided together
GAP_PER_LOOK: Final = 20.0  # ours: decisions take at most a twentieth of the time


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
    def is_forced(self) -> bool:
        """Whether it runs outside of the queue."""

    @property
    def is_paused_by_user(self) -> bool:
        """Whether it is paused whatever the queue says."""

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what its place depends on."""

    def hold(self) -> None:
        """Pause it for the queue."""

    def unhold(self) -> None:
        """Continue it, unless the user paused it."""


class QueuedTorrents(Protocol):
    """What the queue needs of a TorrentManager."""

    @property
    def queued(self) -> Sequence[QueuedTorrent]:
        """All torrents, in the order of the queue."""

    def priority(self, info_hash: InfoHash) -> int:
        """Return a torrent's priority; higher ones go first."""


class QueueController:
    """Holds and releases torrents; :meth:`run` is a task of the manager."""

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
        self._barred: frozenset[InfoHash] = frozenset()
        """Torrents that must not download, whatever the limits."""
        self._is_changed = self._queue.has_limits
        self._looked_s = float("-inf")
        self._gap_s = MIN_GAP_S

    @property
    def has_limits(self) -> bool:
        """Whether a torrent that is started is to be held first, until the queue lets it go."""
        return self._queue.has_limits

    @property
    def config(self) -> QueueConfig:
        """The limits in force."""
        return self._config

    def set_config(self, config: QueueConfig) -> None:
        """Change the limits; without any all torrents run."""
        self._config = config
        self._queue = TorrentQueue(config)
        self.changed(always=True)

    def bar_downloads(self, info_hashes: Collection[InfoHash]) -> None:
        """Let these torrents not download, forced ones neither; they may seed and be checked."""
        barred = frozenset(info_hashes)
        if barred != self._barred:
            self._barred = barred
            self.changed(always=True)

    def changed(self, *, always: bool = False) -> None:
        """Decide soon: a torrent was added, removed, moved in the queue, or changed its state."""
        if always or self.has_limits or self._barred:
            self._is_changed = True
            self._alarm.ring()

    def state_changed(self, session: QueuedTorrent, old: State, new: State) -> None:
        """Decide anew after a transition of a torrent, or a change of what its user wants.

        After a check it becomes a download or a seed, which was not known before: it is held at
        once if there is no room. What is continued and held runs at once if there is room.
        """
        self.changed(always=session.is_held)
        if not self.has_limits or session.is_forced:
            return
        if old is State.CHECKING and new in {State.DOWNLOADING, State.SEEDING}:
            is_download = new is State.DOWNLOADING
            if not session.is_held and not self._queue.take_room(is_download=is_download):
                _switch(session)
        elif old is new and session.is_held and not session.is_paused_by_user:
            self._let_go(session)

    def _let_go(self, session: QueuedTorrent) -> None:
        """Release a torrent if the last decision left room; checks have rooms of their own."""
        entry = self._entry(session, 0, self._clock())
        if not entry.wants_to_run or entry.is_checking or self._bars(entry):
            return
        if self._queue.take_room(is_download=entry.is_download):
            _switch(session)

    async def run(self) -> None:
        """Decide when there is reason to, until cancelled."""
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
        return self._looked_s + self._config.check_interval_s if self.has_limits else float("inf")

    def look(self) -> None:
        """Decide now which torrents may run, and hold or release them."""
        began_s = self._clock()
        self._is_changed = False
        sessions = self._torrents.queued
        entries = [self._entry(session, place, began_s) for place, session in enumerate(sessions)]
        barred = {entry.key for entry in entries if self._bars(entry)}
        forced = {session.info_hash for session in sessions if session.is_forced}
        outside = barred | forced
        counted = [
            entry._replace(wants_to_run=False) if entry.key in outside else entry
            for entry in entries
        ]
        may_run = (self._queue.decide(counted, began_s) | forced) - barred
        moves = [
            session
            for session, entry in zip(sessions, entries, strict=True)
            if self._is_to_move(session, entry, may_run=entry.key in may_run)
        ]
        for session in sorted(moves, key=lambda each: each.is_held):  # first those that make room
            _switch(session)
        self._looked_s = self._clock()
        self._gap_s = max(MIN_GAP_S, GAP_PER_LOOK * (self._looked_s - began_s))

    def _is_to_move(self, session: QueuedTorrent, entry: QueueEntry, *, may_run: bool) -> bool:
        """Return whether a torrent is to be held or released.

        One that waits for its user is held no longer where nothing holds it: nobody looks again
        when it is continued.
        """
        if entry.wants_to_run:
            return may_run is session.is_held
        return session.is_held and not self.has_limits and not self._bars(entry)

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
            state in QUEUED and not session.is_paused_by_user,
            not session.is_held,
            facts.rate_bytes_per_s,
            facts.ratio,
        )

    def _bars(self, entry: QueueEntry) -> bool:
        return entry.is_download and not entry.is_checking and entry.key in self._barred


def _switch(session: QueuedTorrent) -> None:
    """Release a held torrent, hold another; a bug in one torrent affects no other (row F10)."""
    try:
        if session.is_held:
            session.unhold()
        else:
            session.hold()
    except Exception:
        logger.exception("torrent %s: not held or released", session.info_hash.hex())
