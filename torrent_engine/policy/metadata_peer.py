"""Owns what the metadata's fetching knows of one peer. Source: BEP 9; row B2."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class MetadataPeer:
    """One peer that speaks ut_metadata."""

    total_bytes: int | None
    """How long it says that the metadata is; None while it did not say."""
    order: float
    """By chance; whoever comes first is asked first where not all can be."""
    rest_until_s: float = 0.0
    """It is not asked before this."""
    asked: dict[int, float] = field(default_factory=dict)
    """Pieces that we wait for, and when each was asked for."""
    owed: dict[int, int] = field(default_factory=dict)
    """How many answers may come for a piece, those included that are not waited for any more."""
    timeouts: int = 0
    """Pieces in a row that it did not give in time."""
    other_lengths: int = 0
    """How often it said that the metadata is of another length than it had said."""
    strikes: int = 0
    """Answers to what it was not asked."""
    is_suspect: bool = False
    """It took part in a copy that was wrong."""

    def has_room(self, max_requests: int, now: float) -> bool:
        """Return whether it can be asked now; for one piece at a time if it was slow."""
        limit = 1 if self.timeouts else max_requests
        return now >= self.rest_until_s and len(self.asked) < limit

    def ask(self, piece: int, now: float) -> None:
        """Note that it is asked for a piece."""
        self.asked[piece] = now
        self.owed[piece] = self.owed.get(piece, 0) + 1

    def answers(self, piece: int) -> bool:
        """Take an answer; return whether one was owed for that piece."""
        owed = self.owed.pop(piece, 0)
        if owed > 1:
            self.owed[piece] = owed - 1
        elif not owed:
            return False
        self.asked.pop(piece, None)
        if self.timeouts:  # late, and yet
            self.timeouts = 0
            self.rest_until_s = 0.0
        return True

    def expired(self, before_s: float) -> list[int]:
        """Wait no more for what was asked for before a time; return those pieces."""
        late = [piece for piece, since_s in self.asked.items() if since_s <= before_s]
        for piece in late:
            del self.asked[piece]
        self.timeouts += len(late)
        return late
