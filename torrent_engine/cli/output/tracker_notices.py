"""Which answers of trackers a person is told of: first failures, warnings, recoveries."""

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output.sizes import format_duration
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.engine.events import TrackerFailed, TrackerSucceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.base.ids import InfoHash
    from torrent_engine.engine.stats import TrackerStatus

PERIOD_S: Final = 60.0
MAX_IN_PERIOD: Final = 20  # ours: thousands of torrents of one dead tracker flood no screen
MAX_REMEMBERED: Final = 10_000  # ours: messages; beyond them the oldest may be told again
EVENT_TYPES: Final = (TrackerFailed.type, TrackerSucceeded.type)


class TrackerNotices:
    """Remembers what was told, over all torrents of a run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[InfoHash, str], str] = {}
        self._recent: deque[float] = deque(maxlen=MAX_IN_PERIOD)

    def notice(
        self, event: TrackerFailed | TrackerSucceeded, trackers: "Sequence[TrackerStatus]"
    ) -> str | None:
        """Return what to tell of an answer, safe for a terminal; None if it is no news."""
        key = (event.info_hash, event.url)
        message = event.message if isinstance(event, TrackerFailed) else event.warning
        before = self._told.get(key)
        if (before or "") == message or self._is_flood():
            return None
        self._told.pop(key, None)
        self._told[key] = message
        if len(self._told) > MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._recent.append(self._clock())
        return escape_for_terminal(" ".join(_text(event, trackers).split()))

    def _is_flood(self) -> bool:
        recent = self._recent
        return len(recent) == MAX_IN_PERIOD and self._clock() - recent[0] < PERIOD_S


def _text(event: TrackerFailed | TrackerSucceeded, trackers: "Sequence[TrackerStatus]") -> str:
    if isinstance(event, TrackerSucceeded):
        says = f"says: {event.warning}" if event.warning else "answers again"
        return f"tracker {event.url} {says}"
    again = format_duration(event.retry_in_s)
    when = "not tried again" if again == "-" else f"tried again in {again}"
    asked = [each for each in trackers if each.tier >= 0]
    if len(asked) > 1 and all(each.failures for each in asked):
        return (
            f"all {len(asked)} trackers failed, the last one {event.url}: {event.message}; {when}"
        )
    return f"tracker {event.url}: {event.message}; {when}"
