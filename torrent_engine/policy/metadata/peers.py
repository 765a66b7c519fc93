"""The state of one peer in the metadata fetch. Source: BEP 9; row B2."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class MetadataPeer:
    """One peer that supports ut_metadata."""

    total_bytes: int | None
    """The metadata length that it claims; None while unknown."""
    order: float
    """A random number; peers are tried in this order."""
    paused_until_s: float = 0.0
    """It gets no requests before this time."""
    asked: dict[int, float] = field(default_factory=dict)
    """Outstanding request -> when it was sent."""
    unanswered: dict[int, int] = field(default_factory=dict)
    """Piece -> number of answers that may still arrive, including timed-out requests."""
    timeouts: int = 0
    """Timed-out requests in a row."""
    other_lengths: int = 0
    """How often it changed the length it claims."""
    strikes: int = 0
    """Number of unrequested pieces."""
    is_suspect: bool = False
    """It contributed to a wrong copy."""

    def has_room(self, max_requests: int, now: float) -> bool:
        """Return whether it can get a request; a slow peer gets one at a time."""
        limit = 1 if self.timeouts else max_requests
        return now >= self.paused_until_s and len(self.asked) < limit

    def ask(self, piece: int, now: float) -> None:
        """Record a request for a piece."""
        self.asked[piece] = now
        self.unanswered[piece] = self.unanswered.get(piece, 0) + 1

    def answers(self, piece: int) -> bool:
        """Record an answer; return whether that piece was requested."""
        unanswered = self.unanswered.pop(piece, 0)
        if unanswered > 1:
            self.unanswered[piece] = unanswered - 1
        elif not unanswered:
            return False
        self.asked.pop(piece, None)
        if self.timeouts:  # late, but it answers
            self.timeouts = 0
            self.paused_until_s = 0.0
        return True

    def expired(self, before_s: float) -> list[int]:
        """Drop the requests sent before a time; return their pieces."""
        late = [piece for piece, since_s in self.asked.items() if since_s <= before_s]
        for piece in late:
            del self.asked[piece]
        self.timeouts += len(late)
        return late
