"""The time a torrent has seeded, and the part of it since the last upload.

Pauses, checks and downloads in between do not count. ``now`` must not run backwards.
"""


class SeedingClock:
    """Counts while it runs; begins stopped, at ``seeding_s`` of earlier runs."""

    __slots__ = ("_idle_s", "_seeding_s", "_since_s", "_uploaded_bytes")

    def __init__(self, seeding_s: float = 0.0) -> None:
        self._seeding_s = seeding_s
        self._idle_s = 0.0
        self._uploaded_bytes: int | None = None
        self._since_s: float | None = None
        """When the two times were last updated, while the clock runs."""

    @property
    def is_running(self) -> bool:
        """Whether the torrent seeds."""
        return self._since_s is not None

    def begin(self, now: float) -> None:
        """Start the clock; may be called twice."""
        if self._since_s is None:
            self._since_s = now

    def end(self, now: float) -> None:
        """Stop the clock; may be called twice."""
        self._pass(now)
        self._since_s = None

    def reset(self) -> None:
        """Stop and reset the clock: the torrent is no longer complete."""
        self._seeding_s = self._idle_s = 0.0
        self._since_s = None

    def sent(self, uploaded_bytes: int, now: float) -> None:
        """Record the uploaded total; an increase ends the idle time."""
        self._pass(now)
        if self._uploaded_bytes != uploaded_bytes:
            if self._uploaded_bytes is not None:
                self._idle_s = 0.0
            self._uploaded_bytes = uploaded_bytes

    def seeding_s(self, now: float) -> float:
        """Return how long the torrent has seeded."""
        return self._seeding_s + self._running_s(now)

    def idle_s(self, now: float) -> float:
        """Return the seeding time since the last upload."""
        return self._idle_s + self._running_s(now)

    def _running_s(self, now: float) -> float:
        return 0.0 if self._since_s is None else max(now - self._since_s, 0.0)

    def _pass(self, now: float) -> None:
        if self._since_s is not None:
            passed_s = self._running_s(now)
            self._seeding_s += passed_s
            self._idle_s += passed_s
            self._since_s = now
