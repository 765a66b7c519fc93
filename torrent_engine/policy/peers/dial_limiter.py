"""Limits on dials to one destination: failed ones a minute (row B9), simultaneous handshakes.

Only dials without a handshake count: a host with a thousand torrents can be dialled a thousand
times, a victim that forged peer lists point at cannot. Handshakes start one at a time, because some
clients close a second connection from an address during a handshake; each answered handshake allows
one more at the same time.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from torrent_engine.base.config import PoolConfig

PERIOD_S: Final = 60.0
ANSWERED_S: Final = 600.0  # ours: how long an answered handshake counts
MAX_ANSWERED: Final = 10_000  # ours: remembered destinations, the latest
MAX_HANDSHAKES: Final = 16  # ours: simultaneous, with one destination, over all torrents
GROWTH_LOSS: Final = 4  # ours: a collision multiplies the answers needed for the next growth
MAX_GROWTH_COST: Final = 64

Waiter = Callable[[str], None]
"""Called with a destination when another handshake with it may start: now, or not at all."""


class DialOutcome(Enum):
    """The result of a dial."""

    ANSWERED = auto()
    """A BitTorrent handshake."""
    HUNG_UP = auto()
    """The peer closed the connection before answering."""
    FAILED = auto()


class Dial:
    """One pending dial, including its attempts in other ways."""

    __slots__ = ("destination", "is_concurrent", "times")

    def __init__(self, destination: str, *, is_concurrent: bool) -> None:
        self.destination = destination
        self.is_concurrent = is_concurrent
        """Another handshake with the destination was pending at some time during this one."""
        self.times: list[float] = []


@dataclass(slots=True)
class _HandshakeWindow:
    """The number of simultaneous handshakes allowed with a destination that answers."""

    answered_at: float
    size: int = 1
    growth_cost: int = 1
    """Answers needed to allow one more."""
    answers: int = 0


@dataclass(slots=True)
class _Destination:
    """The pending handshakes with one destination, and the callbacks waiting for a slot."""

    dials: dict[Dial, None] = field(default_factory=dict)
    waiters: dict[Waiter, None] = field(default_factory=dict)
    """The longest waiting first."""


class DialLimiter:
    """Failed dials of the last minute and pending handshakes, by destination; torrents share it.

    A destination is an operator (an IPv4 address, an IPv6 /64), or a single port of an address that
    several peers may share.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._limit = config.max_dials_per_ip_per_minute
        self._limit_of_known = max(config.max_dials_per_known_ip_per_minute, self._limit)
        self._dials: OrderedDict[str, deque[float]] = OrderedDict()
        self._answered: OrderedDict[str, _HandshakeWindow] = OrderedDict()
        """Destinations that answered a handshake, the latest last."""
        self._pending: dict[str, _Destination] = {}

    def free_at(self, destination: str, now: float, *, is_known: bool = False) -> float:
        """Return when the destination may be dialled next, ``now`` if at once.

        ``is_known``: the address is from a verified source such as a tracker. Known addresses, and
        destinations that answered before, have the higher limit of failed dials.
        """
        is_known = is_known or self._window(destination, now) is not None
        limit = self._limit_of_known if is_known else self._limit
        dials = self._dials.get(destination)
        if dials is None or len(dials) < limit:
            return now
        return max(dials[-limit] + PERIOD_S, now)

    def is_full(self, destination: str, now: float) -> bool:
        """Return whether the maximum of handshakes with a destination is reached."""
        pending = self._pending.get(destination)
        if pending is None:
            return False
        window = self._window(destination, now)
        return len(pending.dials) >= (1 if window is None else window.size)

    def wait_for(self, destination: str, waiter: Waiter) -> None:
        """Call ``waiter`` once when another handshake may start; one must be pending."""
        self._pending[destination].waiters[waiter] = None

    def begin(self, destination: str, now: float) -> Dial:
        """Record a dial; :meth:`end` must follow when its handshake completed or failed."""
        pending = self._pending.setdefault(destination, _Destination())
        dial = Dial(destination, is_concurrent=bool(pending.dials))
        for other in pending.dials:
            other.is_concurrent = True
        pending.dials[dial] = None
        self._note(dial, now)
        return dial

    def again(self, dial: Dial, now: float) -> None:
        """Record another attempt of the same dial, in another way."""
        self._note(dial, now)

    def end(self, dial: Dial, outcome: DialOutcome) -> None:
        """Record the end of a handshake and notify waiting callbacks, first come first served."""
        destination, now = dial.destination, dial.times[-1]
        if outcome is DialOutcome.ANSWERED:
            self._forget_dials(dial)
            self._grow(destination, now)
        elif outcome is DialOutcome.HUNG_UP and dial.is_concurrent:
            self._shrink(destination, now)
        pending = self._pending[destination]
        del pending.dials[dial]
        if not pending.dials:
            del self._pending[destination]
        self._notify_waiters(destination, pending.waiters, now)

    def _notify_waiters(self, destination: str, waiters: dict[Waiter, None], now: float) -> None:
        """Call waiters while slots are free; the rest wait for the handshakes these started."""
        while waiters and not self.is_full(destination, now):
            waiter = next(iter(waiters))
            del waiters[waiter]
            waiter(destination)
        if waiters:
            pending = self._pending[destination]
            pending.waiters = {**waiters, **pending.waiters}

    def _window(self, destination: str, now: float) -> _HandshakeWindow | None:
        """Return the window of a destination that answered recently."""
        window = self._answered.get(destination)
        return None if window is None or window.answered_at < now - ANSWERED_S else window

    def _grow(self, destination: str, now: float) -> None:
        window = self._window(destination, now) or _HandshakeWindow(now)
        window.answered_at = now
        window.answers += 1
        if window.answers >= window.growth_cost:
            window.answers, window.size = 0, min(window.size + 1, MAX_HANDSHAKES)
        self._answered[destination] = window
        self._answered.move_to_end(destination)
        if len(self._answered) > MAX_ANSWERED:
            self._answered.popitem(last=False)

    def _shrink(self, destination: str, now: float) -> None:
        """Return to one handshake at a time: the peer may not accept several in parallel."""
        if (window := self._window(destination, now)) is not None and window.size > 1:
            window.size, window.answers = 1, 0
            window.growth_cost = min(window.growth_cost * GROWTH_LOSS, MAX_GROWTH_COST)

    def _note(self, dial: Dial, now: float) -> None:
        dial.times.append(now)
        if dial.destination not in self._dials:
            self._dials[dial.destination] = deque(maxlen=self._limit_of_known)
        self._dials[dial.destination].append(now)
        self._dials.move_to_end(dial.destination)
        self._forget_before(now - PERIOD_S)

    def _forget_dials(self, dial: Dial) -> None:
        dials = self._dials.get(dial.destination, deque())
        for when in dial.times:
            with suppress(ValueError):  # already dropped, by age or number
                dials.remove(when)
        if not dials:
            self._dials.pop(dial.destination, None)

    def _forget_before(self, oldest: float) -> None:
        """Drop destinations whose last dial is old; these are at the front."""
        while self._dials and next(iter(self._dials.values()))[-1] < oldest:
            self._dials.popitem(last=False)
