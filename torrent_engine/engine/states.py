"""The state machine of a Session.

``tools/state_diagram.py`` prints the table.
"""

from collections.abc import Callable
from enum import Enum, StrEnum, auto
from typing import Final

from torrent_engine.base.errors import StateTransitionError


class State(StrEnum):
    """What a Session does at the moment."""

    STOPPED = "stopped"
    """Nothing runs; the start and the end of every Session."""
    CHECKING = "checking"
    """Compares what is on disk with the resume data or with the piece hashes."""
    FETCHING_METADATA = "fetching_metadata"
    """Has an info-hash only and asks peers for the rest (BEP 9)."""
    DOWNLOADING = "downloading"
    SEEDING = "seeding"
    """Has every wanted piece."""
    PAUSED = "paused"
    """No payload moves; the machine remembers which state was paused."""
    ERROR = "error"
    """Stopped by a fault, or waits for room on a full disk; can be started again."""


class Signal(Enum):
    """What may happen to a Session."""

    START = auto()
    METADATA_NEEDED = auto()
    """Started with an info-hash only."""
    METADATA_RECEIVED = auto()
    CHECK_DONE_COMPLETE = auto()
    CHECK_DONE_INCOMPLETE = auto()
    ALL_PIECES_PRESENT = auto()
    """The last wanted piece is verified and written, or the rest is no longer wanted."""
    PIECES_MISSING = auto()
    """A wanted piece is not there: priorities changed, or data was lost."""
    RECHECK = auto()
    PAUSE = auto()
    RESUME = auto()
    STOP = auto()
    FAIL = auto()


class Resumed(Enum):
    """The targets that are no fixed state."""

    TO_PAUSED_STATE = auto()
    """Whatever was paused."""
    TO_FAILED_STATE = auto()
    """Whatever moved payload when it failed; nothing if the fault came in another state."""


S = State
G = Signal

TRANSITIONS: Final[dict[tuple[State, Signal], State | Resumed]] = {
    (S.STOPPED, G.START): S.CHECKING,
    (S.STOPPED, G.METADATA_NEEDED): S.FETCHING_METADATA,
    (S.STOPPED, G.RECHECK): S.CHECKING,
    (S.STOPPED, G.FAIL): S.ERROR,
    (S.FETCHING_METADATA, G.METADATA_RECEIVED): S.CHECKING,
    (S.FETCHING_METADATA, G.PAUSE): S.PAUSED,
    (S.FETCHING_METADATA, G.STOP): S.STOPPED,
    (S.FETCHING_METADATA, G.FAIL): S.ERROR,
    (S.CHECKING, G.CHECK_DONE_COMPLETE): S.SEEDING,
    (S.CHECKING, G.CHECK_DONE_INCOMPLETE): S.DOWNLOADING,
    (S.CHECKING, G.PAUSE): S.PAUSED,
    (S.CHECKING, G.STOP): S.STOPPED,
    (S.CHECKING, G.FAIL): S.ERROR,
    (S.DOWNLOADING, G.ALL_PIECES_PRESENT): S.SEEDING,
    (S.DOWNLOADING, G.PIECES_MISSING): S.DOWNLOADING,
    (S.DOWNLOADING, G.RECHECK): S.CHECKING,
    (S.DOWNLOADING, G.PAUSE): S.PAUSED,
    (S.DOWNLOADING, G.STOP): S.STOPPED,
    (S.DOWNLOADING, G.FAIL): S.ERROR,
    (S.SEEDING, G.ALL_PIECES_PRESENT): S.SEEDING,
    (S.SEEDING, G.PIECES_MISSING): S.DOWNLOADING,
    (S.SEEDING, G.RECHECK): S.CHECKING,
    (S.SEEDING, G.PAUSE): S.PAUSED,
    (S.SEEDING, G.STOP): S.STOPPED,
    (S.SEEDING, G.FAIL): S.ERROR,
    # A row that stays PAUSED moves the remembered state, if the table lets that one move.
    (S.PAUSED, G.METADATA_RECEIVED): S.PAUSED,
    (S.PAUSED, G.CHECK_DONE_COMPLETE): S.PAUSED,
    (S.PAUSED, G.CHECK_DONE_INCOMPLETE): S.PAUSED,
    (S.PAUSED, G.ALL_PIECES_PRESENT): S.PAUSED,
    (S.PAUSED, G.PIECES_MISSING): S.PAUSED,
    (S.PAUSED, G.RECHECK): S.PAUSED,
    (S.PAUSED, G.RESUME): Resumed.TO_PAUSED_STATE,
    (S.PAUSED, G.STOP): S.STOPPED,
    (S.PAUSED, G.FAIL): S.ERROR,
    (S.ERROR, G.START): S.CHECKING,
    (S.ERROR, G.METADATA_NEEDED): S.FETCHING_METADATA,
    (S.ERROR, G.RECHECK): S.CHECKING,
    (S.ERROR, G.STOP): S.STOPPED,
    (S.ERROR, G.FAIL): S.ERROR,  # several tasks may see the same fault
    (S.ERROR, G.RESUME): Resumed.TO_FAILED_STATE,
}  # any pair that is not listed raises


class StateMachine:
    """Follows the table; ``on_change(old, new)`` is called at every change of state."""

    def __init__(self, on_change: Callable[[State, State], None] | None = None) -> None:
        self._on_change = on_change
        self._state = State.STOPPED
        self._paused = State.STOPPED
        self._failed = State.STOPPED

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def paused_state(self) -> State | None:
        """What RESUME leads to; None unless PAUSED."""
        return self._paused if self._state is State.PAUSED else None

    def can(self, signal: Signal) -> bool:
        """Return whether :meth:`fire` would accept this signal now."""
        return self._target(signal) is not None

    def fire(self, signal: Signal) -> State:
        """Apply a signal and return the new state.

        Raises StateTransitionError, and stays, if the table has no such move.
        """
        target = self._target(signal)
        if target is None:
            raise StateTransitionError(f"{signal.name} is not possible while {self._state.value}")
        old = self._state
        if old is State.PAUSED and target is State.PAUSED:
            self._paused = _fixed(self._paused, signal) or self._paused
        elif target is State.PAUSED:
            self._paused = old
        elif target is State.ERROR and old is not State.ERROR:
            self._failed = old
        self._state = target
        if target is not old and self._on_change is not None:
            self._on_change(old, target)
        return target

    def place(self, state: State, paused: State | None = None) -> None:
        """Set the state that another process left; ``on_change`` is not called."""
        self._state = state
        self._paused = paused or State.STOPPED

    def _target(self, signal: Signal) -> State | None:
        """Return where a signal leads from here, None if nowhere."""
        target = TRANSITIONS.get((self._state, signal))
        if target is Resumed.TO_PAUSED_STATE:
            return self._paused
        if target is Resumed.TO_FAILED_STATE:
            return self._failed if self._failed in {State.DOWNLOADING, State.SEEDING} else None
        if self._state is State.PAUSED and target is State.PAUSED:
            return State.PAUSED if _fixed(self._paused, signal) is not None else None
        return target


def _fixed(state: State, signal: Signal) -> State | None:
    """Return the table's answer for a state that is not PAUSED."""
    target = TRANSITIONS.get((state, signal))
    return target if isinstance(target, State) else None
