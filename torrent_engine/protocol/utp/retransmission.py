"""The retransmission timer, and the detection of dead connections.

Source: BEP 29 (timeouts double), RFC 8985 (tail loss probe: the newest packet is retransmitted
first). Ours: a timeout that is noticed late, because the process was busy, is extended a little,
because acknowledgements may be waiting in the socket.
"""

from typing import Final

from torrent_engine.protocol.utp.round_trip import RoundTrip

MAX_PROBES: Final = 2
PROBE_DELAY_S: Final = 0.05  # ours: allowance for delayed acknowledgements
LATE_S: Final = 0.05
GRACE_S: Final = 0.05
MAX_TIMEOUTS: Final = 7  # ours: with doubling, a minute
MAX_DOUBLINGS: Final = 16  # ours: far above the longest timeout
MAX_STALL_S: Final = 180.0  # ours: without anything acknowledged, from the first timeout


class RetransmissionTimer:
    """The retransmission timer of one connection."""

    __slots__ = (
        "_has_grace",
        "_max_rto_s",
        "_probes",
        "_round_trip",
        "_silent_since_s",
        "_stalled_since_s",
        "due_s",
        "max_timeouts",
        "received_s",
        "timeouts",
    )

    def __init__(self, round_trip: RoundTrip, max_rto_s: float, now: float) -> None:
        self._round_trip = round_trip
        self._max_rto_s = max_rto_s
        self._probes = 0
        self.timeouts = 0
        """Timeouts since the last acknowledgement."""
        self._has_grace = True
        self._silent_since_s = self._stalled_since_s = now
        self.received_s = now
        """When a packet was last received; set by the owner."""
        self.max_timeouts = MAX_TIMEOUTS
        self.due_s = 0.0
        self.begin(now)

    def restart(self, now: float) -> None:
        """Restart the timer after an acknowledgement."""
        self._probes = self.timeouts = 0
        self.begin(now)

    def begin(self, now: float) -> None:
        """Start the timer for the first or next acknowledgement."""
        trip = self._round_trip
        self._has_grace = True
        if self.is_probe():
            self.due_s = now + min(2 * trip.smoothed_s + PROBE_DELAY_S, trip.rto_s)
        else:
            doubled = 1 << min(self.timeouts, MAX_DOUBLINGS)
            self.due_s = now + min(trip.rto_s * doubled, self._max_rto_s)

    def is_probe(self) -> bool:
        """Return whether the next timeout is a tail loss probe."""
        return self._probes < MAX_PROBES and self._round_trip.smoothed_s > 0

    def is_due(self, now: float) -> bool:
        """Return whether the timer has expired; a late check extends it a little."""
        if now < self.due_s:
            return False
        if now - self.due_s > LATE_S and self._has_grace:
            self._has_grace = False
            self.due_s = now + GRACE_S
            return False
        return True

    def expired(self, now: float) -> None:
        """Record that packets are retransmitted now."""
        if self.is_probe():
            self._probes += 1
        else:
            if not self.timeouts:
                self._silent_since_s = self._stalled_since_s = now
            self.timeouts += 1
        self.begin(now)

    def waits_for_window(self, now: float) -> None:
        """Record that the peer has no room for what is retransmitted, and said so."""
        self._stalled_since_s = now

    def is_hopeless(self, now: float) -> bool:
        """Return whether nothing was received for many timeouts, or nothing acknowledged for long.

        A peer that acknowledges nothing is given up whatever else it sends.
        """
        if not self.timeouts:
            return False
        is_silent = self.timeouts > self.max_timeouts and self.received_s < self._silent_since_s
        return is_silent or now > self._stalled_since_s + MAX_STALL_S
