"""Scrapes of the trackers of one torrent.

Source: BEP 48; BEP 15 (UDP).
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.stats import TrackerScrape
from torrent_engine.protocol.tracker.announce import ScrapeCounts
from torrent_engine.protocol.tracker.urls import redact_text, redact_url

UNKNOWN: Final = "the tracker does not know this torrent"


class ScrapeClient(Protocol):
    """What is needed of :class:`torrent_engine.net.tracker.client.TrackerClient`."""

    async def scrape(
        self, url: str, info_hashes: Sequence[InfoHash]
    ) -> dict[InfoHash, ScrapeCounts]:
        """Scrape once; only TrackerError escapes."""


async def scrape_all(
    urls: Iterable[str],
    info_hash: InfoHash,
    client: ScrapeClient,
    log: TrackerLog,
    *,
    is_private: bool,
) -> list[TrackerScrape]:
    """Scrape trackers one after the other, and record the answers.

    A private torrent asks no further than the first that answers.
    """
    results: list[TrackerScrape] = []
    for url in urls:
        results.append(await scrape_one(url, info_hash, client, log))
        if is_private and results[-1].counts is not None:
            break
    return results


async def scrape_one(
    url: str, info_hash: InfoHash, client: ScrapeClient, log: TrackerLog
) -> TrackerScrape:
    """Scrape one tracker, and record its answer."""
    log.scrape_began(url)
    failure = TrackerError(UNKNOWN)
    try:
        found = await client.scrape(url, [info_hash])
    except TrackerError as error:
        found, failure = {}, error
    except BaseException:
        log.scrape_failed(url, TrackerError("given up"))
        raise
    if (counts := found.get(info_hash)) is None:
        log.scrape_failed(url, failure)
        return TrackerScrape(redact_url(url), None, redact_text(str(failure), url))
    log.scrape_succeeded(url, counts)
    return TrackerScrape(redact_url(url), counts, "")
