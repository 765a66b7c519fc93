"""Owns the number of connections of all torrents together."""


class ConnectionSlots:
    """Counts connections against a limit that all torrents share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    @property
    def has_room(self) -> bool:
        """Whether one more connection may be made."""
        return self.used < self._limit

    def take(self) -> None:
        """Count one connection."""
        self.used += 1

    def give_back(self) -> None:
        """Count one connection less."""
        self.used -= 1
