"""What people are told once: alerts, and how previews go on. The newest are kept."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from torrent_engine.daemon.state.revisions import RevisionCounter

MAX_KEPT: Final = 1_000  # ours: what a client that was away longer than that missed is in the log


@dataclass(frozen=True, slots=True)
class UserAnnouncement:
    """One of them."""

    revision: int
    topic: str
    """"alert" or "preview"."""
    at: float
    values: Mapping[str, Any]


class Announcements:
    """The newest announcements; each moves the revision, so that streams bring it at once."""

    def __init__(self, revisions: RevisionCounter, wall_clock: Callable[[], float]) -> None:
        self._revisions = revisions
        self._wall_clock = wall_clock
        self._kept: deque[UserAnnouncement] = deque(maxlen=MAX_KEPT)

    def add(self, topic: str, **values: Any) -> None:  # noqa: ANN401 - what JSON has
        """Announce something."""
        self._kept.append(
            UserAnnouncement(self._revisions.next(), topic, self._wall_clock(), values)
        )

    def alert(self, kind: str, text: str, **values: Any) -> None:  # noqa: ANN401 - what JSON has
        """Announce what a user should know."""
        self.add("alert", kind=kind, text=text, **values)

    def since(self, revision: int | None) -> list[UserAnnouncement]:
        """Return what was announced after a revision, the oldest first; None: nothing is."""
        if revision is None:
            return []
        newer = list(takewhile(lambda each: each.revision > revision, reversed(self._kept)))
        return newer[::-1]
