"""The requests that were made of each tracker of one torrent, over all its runs in this process.

Times are of the wall clock, so that they mean something to programs that show them.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torrent_engine.base.errors import TrackerError, TrackerRefusedError, TrackerTimeoutError
from torrent_engine.engine.stats import ProblemKind, TorrentProblem, TrackerRequest
from torrent_engine.protocol.tracker.announce import AnnounceResponse, ScrapeCounts
from torrent_engine.protocol.tracker.urls import redact_text


@dataclass(slots=True)
class TrackerEntry:
    """What is known of one tracker."""

    tracker_id: int
    """Its number among the trackers of the torrent; never that of another one."""
    announcing_since: float | None = None
    """When the last announce began, which may be under way."""
    scraping_since: float | None = None
    announce: TrackerRequest | None = None
    """The last one."""
    scrape: TrackerRequest | None = None
    """The last one."""
    seeds: int | None = None
    """As the last announce or scrape said that had it, as the next two; None: unknown."""
    leeches: int | None = None
    downloads: int | None = None


class TrackerLog:
    """The last announce and scrape of each tracker, and the number that names it.

    A tracker that is removed and added again keeps its number.
    """

    __slots__ = ("_entries", "wall_clock")

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self.wall_clock = wall_clock
        self._entries: dict[str, TrackerEntry] | None = None

    def entry(self, url: str) -> TrackerEntry:
        """Return what is known of a tracker."""
        if self._entries is None:
            self._entries = {}
        entry = self._entries.get(url)
        if entry is None:
            entry = self._entries[url] = TrackerEntry(len(self._entries))
        return entry

    def problem(self, urls: Iterable[str]) -> TorrentProblem | None:
        """Return what the last answers of these trackers say is wrong, the first that does."""
        if self._entries is None:
            return None
        found = (self._entries[url].announce for url in urls if url in self._entries)
        ended = [each for each in found if each is not None]
        is_served = any(each.is_success for each in ended)
        for each in ended:
            if each.is_refusal:
                kind = ProblemKind.TRACKER_WARNING if is_served else ProblemKind.TRACKER_ERROR
                return TorrentProblem(kind, each.error)
        warning = next((each.warning for each in ended if each.warning), "")
        return TorrentProblem(ProblemKind.TRACKER_WARNING, warning) if warning else None

    # -- announces ------------------------------------------------------------------------------

    def announce_began(self, url: str) -> None:
        """Record that an announce is under way."""
        self.entry(url).announcing_since = self.wall_clock()

    def announce_succeeded(self, url: str, response: AnnounceResponse) -> None:
        """Record the answer to an announce."""
        entry = self.entry(url)
        entry.announce = replace(
            self._ended(entry.announcing_since, peers=len(response.peers)),
            warning=redact_text(response.warning or "", url),
        )
        _count(entry, response)

    def announce_failed(self, url: str, error: TrackerError) -> None:
        """Record that an announce failed."""
        entry = self.entry(url)
        entry.announce = self._failed(entry.announcing_since, url, error)

    # -- scrapes --------------------------------------------------------------------------------

    def scrape_began(self, url: str) -> None:
        """Record that a scrape is under way."""
        self.entry(url).scraping_since = self.wall_clock()

    def scrape_succeeded(self, url: str, counts: ScrapeCounts) -> None:
        """Record the answer to a scrape."""
        entry = self.entry(url)
        entry.scrape = self._ended(entry.scraping_since)
        _count(entry, counts)

    def scrape_failed(self, url: str, error: TrackerError) -> None:
        """Record that a scrape failed."""
        entry = self.entry(url)
        entry.scrape = self._failed(entry.scraping_since, url, error)

    def _ended(self, since: float | None, peers: int = 0) -> TrackerRequest:
        now = self.wall_clock()
        return TrackerRequest(now if since is None else since, now, peers=peers)

    def _failed(self, since: float | None, url: str, error: TrackerError) -> TrackerRequest:
        return replace(
            self._ended(since),
            error=redact_text(str(error), url) or "failed",
            is_timeout=isinstance(error, TrackerTimeoutError),
            is_refusal=isinstance(error, TrackerRefusedError),
        )


def _count(entry: TrackerEntry, counts: AnnounceResponse | ScrapeCounts) -> None:
    """Take the counts that an answer has; others stay as they were."""
    if counts.seeds is not None:
        entry.seeds = counts.seeds
    if counts.leeches is not None:
        entry.leeches = counts.leeches
    if counts.downloads is not None:
        entry.downloads = counts.downloads
