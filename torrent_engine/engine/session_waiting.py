"""Owns how one waits for a Session: for a state, or for the end of its run."""

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import SessionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.disk_full import DiskFull
from torrent_engine.engine.session_files import SessionFiles
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.state_waiters import StateWaiters
from torrent_engine.engine.states import State, StateMachine


class SessionWaiting(SessionFiles):
    """What a run came to, and who waits for that."""

    is_held = False
    """Whether it is paused by the queue only."""

    def __init__(
        self, source: Metainfo | Magnet | InfoHash, shared: SharedResources, config: SessionConfig
    ) -> None:
        self._waiters = StateWaiters()
        super().__init__(source, shared, StateMachine(self._moved), config)
        self.error: TorrentEngineError | None = None
        """Why the state is ERROR."""
        self._disk_full = DiskFull(shared)
        self._stop_reason = "stopped"
        self._is_ending = False
        self._is_closed = False

    def _moved(self, old: State, new: State) -> None:
        self._waiters.moved(old, new)
        self._shared.session_jobs.moved(self, old, new)
        for hear in self._shared.session_hearers:
            hear(self, old, new)

    @property
    def is_resting(self) -> bool:
        """Whether it is started but nothing of it runs."""
        return False

    @property
    def stop_reason(self) -> str:
        """Why the run ended; "stopped" before it does."""
        return self._stop_reason

    @property
    def _is_disk_full(self) -> bool:
        """Whether the state is ERROR only until there is room on the disk."""
        return self._disk_full.error is not None and self.state is State.ERROR

    async def wait(self, *states: State) -> State:
        """Wait until the Session is in one of these states, or passes through one; return it.

        Unless those were waited for: if it is or comes to ERROR, its error is raised (a
        TorrentEngineError, such as StorageError), and SessionError once it is stopped or closed.
        A Session that was never started is waited for.
        """
        seen = self.state
        is_starting = not (self._ended.is_set() or self._is_ending)
        is_new = not self._is_closed and (is_starting or not self._has_run)
        if seen not in {*states, State.ERROR} and (is_new or seen is not State.STOPPED):
            seen = await self._waiters.wait(frozenset({*states, State.ERROR, State.STOPPED}))
        if seen in states:
            return seen
        if seen is State.ERROR and self.error is not None:
            raise self.error
        raise SessionError(f"stopped before it was {' or '.join(states)}")

    async def wait_stopped(self) -> str:
        """Wait for the end of the run; return why it ended, as :class:`SessionStopped` says it.

        Raises SessionError, whose cause says why, if it ended in ERROR, and at once when the disk
        is full: the Session tries again until it is stopped, who waits may not want to.
        """
        while not self._ended.is_set() and not self._is_disk_full:
            if self._is_ending:
                await self._ended.wait()
            else:
                await self._waiters.wait(frozenset({State.STOPPED, State.ERROR}))
        if self.error is not None:
            raise SessionError(str(self.error)) from self.error
        return self._stop_reason
