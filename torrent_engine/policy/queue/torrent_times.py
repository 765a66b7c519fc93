"""When things happened to a torrent, and how long it has been downloading.

Times are of the wall clock, in seconds since 1970, and for people: nothing is timed by them.
``now`` is a steady clock that must not run backwards.
"""

from typing import Final, NamedTuple

LONG_AGO_S: Final = 0.0
"""When a torrent became complete that was so before such times were saved."""


class SavedTimes(NamedTuple):
    """What is saved of :class:`TorrentTimes`; None: it did not happen, or is not known."""

    added_s: float | None = None
    started_s: float | None = None
    completed_s: float | None = None
    activity_s: float | None = None
    edited_s: float | None = None
    downloading_s: float = 0.0


class TorrentTimes:
    """The times of one torrent; begins as it was saved."""

    __slots__ = (
        "_downloading_s",
        "_moved_bytes",
        "_since_s",
        "activity_s",
        "added_s",
        "completed_s",
        "edited_s",
        "started_s",
    )

    def __init__(self, saved: SavedTimes) -> None:
        self.added_s = saved.added_s
        self.started_s = saved.started_s
        """When it was started or resumed last."""
        self.completed_s = saved.completed_s
        """When all that is wanted was here and verified, the last time that it became so."""
        self.activity_s = saved.activity_s
        """When payload moved last, to the second or so."""
        self.edited_s = saved.edited_s
        """When its trackers or web seeds were changed last."""
        self._downloading_s = saved.downloading_s
        self._since_s: float | None = None
        """When the sum was last true, while it downloads."""
        self._moved_bytes = 0

    @property
    def is_downloading(self) -> bool:
        """Whether it downloads."""
        return self._since_s is not None

    def downloading_s(self, now: float) -> float:
        """Return for how long it has been downloading, over all runs; pauses do not count."""
        running_s = 0.0 if self._since_s is None else max(now - self._since_s, 0.0)
        return self._downloading_s + running_s

    def set_downloading(self, now: float, *, is_downloading: bool) -> None:
        """Record whether it downloads from now on; may be called twice."""
        self._downloading_s = self.downloading_s(now)
        self._since_s = now if is_downloading else None

    def checked_complete(self, wall_s: float) -> None:
        """Record that a check found it complete: news only if it never was."""
        if self.completed_s is None:
            self.completed_s = wall_s

    def moved(self, total_bytes: int, wall_s: float) -> None:
        """Record how much payload has moved in this process; more than before is activity."""
        if total_bytes != self._moved_bytes:
            self._moved_bytes = total_bytes
            self.activity_s = wall_s

    def saved(self, now: float) -> SavedTimes:
        """Return what is to be saved."""
        return SavedTimes(
            self.added_s,
            self.started_s,
            self.completed_s,
            self.activity_s,
            self.edited_s,
            self.downloading_s(now),
        )
