"""Owns when silence means that something was lost, and when that the other side is gone.

Source: BEP 29 (time-outs double), RFC 8985 (the newest packet is sent again first, since its
acknowledgement tells of all others). Ours: a time-out that is noticed late, because the program
was busy, waits a little longer: what came meanwhile may not have been read yet.
"""

from typing import Final

from torrent_engine.protocol.utp.round_trip import RoundTrip

MAX_PROBES: Final = 2
PROBE_DELAY_S: Final = 0.05  # ours: an acknowledgement may wait for company
LATE_S: Final = 0.05
GRACE_S: Final = 0.05
MAX_TIMEOUTS: Final = 7  # ours: with doubling, a minute


class RetransmissionTimer:
    """The silence of one connection while something is in transit."""

    __slots__ = (
        "_has_grace",
        "_max_rto_s",
        "_probes",
        "_round_trip",
        "_silent_since_s",
        "_timeouts",
        "due_s",
        "heard_s",
        "max_timeouts",
    )

    def __init__(self, round_trip: RoundTrip, max_rto_s: float, now: float) -> None:
        self._round_trip = round_trip
        self._max_rto_s = max_rto_s
        self._probes = 0
        self._timeouts = 0
        self._has_grace = True
        self._silent_since_s = now
        self.heard_s = now
        """When anything came; set by who receives."""
        self.max_timeouts = MAX_TIMEOUTS
        self.due_s = 0.0
        self.begin(now)

    def restart(self, now: float) -> None:
        """Take that something was acknowledged."""
        self._probes = self._timeouts = 0
        self.begin(now)

    def begin(self, now: float) -> None:
        """Wait from now on: for the first acknowledgement, or for the next."""
        trip = self._round_trip
        self._has_grace = True
        if self.is_probe():
            self.due_s = now + min(2 * trip.smoothed_s + PROBE_DELAY_S, trip.rto_s)
        else:
            self.due_s = now + min(trip.rto_s * (1 << self._timeouts), self._max_rto_s)

    def is_probe(self) -> bool:
        """Say whether only the newest packet is sent again when the time is over."""
        return self._probes < MAX_PROBES and self._round_trip.smoothed_s > 0

    def is_due(self, now: float) -> bool:
        """Say whether the time is over; if that is noticed late, it is a little longer."""
        if now < self.due_s:
            return False
        if now - self.due_s > LATE_S and self._has_grace:
            self._has_grace = False
            self.due_s = now + GRACE_S
            return False
        return True

    def expired(self, now: float) -> None:
        """Take that packets are sent again now."""
        if self.is_probe():
            self._probes += 1
        else:
            if not self._timeouts:
                self._silent_since_s = now
            self._timeouts += 1
        self.begin(now)

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing at all was heard for many time-outs."""
        return self._timeouts > self.max_timeouts and self.heard_s < self._silent_since_s
