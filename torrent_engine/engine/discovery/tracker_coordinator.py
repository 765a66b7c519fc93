"""Announces of one torrent to its trackers, up to `stopped` at the end.

Source: BEP 3, 7, 12, 27, 31. What is due when is decided by ``protocol/tracker/schedule.py``.
"""

import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import anyio
import anyio.abc

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.engine.bounded_log import BoundedLog
from torrent_engine.engine.discovery.peer_parts import deliver_in_parts
from torrent_engine.engine.discovery.scraping import ScrapeClient, scrape_all
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.events import Event, TrackerFailed, TrackerSucceeded
from torrent_engine.engine.stats import TrackerScrape, TrackerStatus
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.schedule import (
    AnnounceAttempt,
    AnnounceSchedule,
    TrackerRecord,
)
from torrent_engine.protocol.tracker.urls import redact_text, redact_url

logger = logging.getLogger(__name__)
_answers = BoundedLog(logger)
_FOREVER_S: Final = 3_600.0  # ours: with nothing to do, look again now and then


class AnnounceClient(ScrapeClient, Protocol):
    """What the coordinator needs of :class:`torrent_engine.net.tracker.client.TrackerClient`."""

    async def announce(
        self, url: str, request: AnnounceRequest, *, patience_s: float | None = None
    ) -> AnnounceResponse:
        """Announce once; only TrackerError escapes.

        ``patience_s`` is a timeout from when it is sent, if that is shorter than the client's own.
        """


def idle_tracker(url: str, tier: int, log: TrackerLog) -> TrackerStatus:
    """Return the status of a tracker that is not announced to at present; secrets are left out.

    The counts are those of its last answer.
    """
    entry = log.entry(url)
    last = entry.announce
    return TrackerStatus(
        url=redact_url(url),
        tier=tier,
        state="waiting",
        message="" if last is None else last.error,
        peers=0 if last is None else last.peers,
        seeds=entry.seeds,
        leeches=entry.leeches,
        next_announce_in_s=None,
        failures=0,
        external_ip=None,
        tracker_id=entry.tracker_id,
        downloads=entry.downloads,
        last_announce=last,
        last_scrape=entry.scrape,
    )


class TrackerCoordinator:
    """Announces one torrent; run :meth:`run` in a task, then call :meth:`stop`."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each is one thing that a Session owns
        self,
        *,
        metainfo_tiers: Sequence[Sequence[str]],
        info_hash: InfoHash,
        peer_id: PeerId,
        is_private: bool,
        config: TrackerConfig,
        client: AnnounceClient,
        totals: Callable[[], AnnounceTotals],
        listen_port: Callable[[], int],
        on_peers: Callable[[list[PeerAddress]], None],
        on_external_ip: Callable[[str, str], None] = lambda _ip, _url: None,
        publish: Callable[[Event], None],
        clock: Callable[[], float],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        log: TrackerLog | None = None,
    ) -> None:
        self._schedule = AnnounceSchedule(
            metainfo_tiers, is_private=is_private, config=config, rng=rng, totals=totals
        )
        self._info_hash = info_hash
        self._peer_id = peer_id
        self._is_private = is_private
        self._config = config
        self._client = client
        self._totals = totals
        self._listen_port = listen_port
        self._on_peers = on_peers
        self._on_external_ip = on_external_ip
        self._publish = publish
        self._clock = clock
        self._sleep = sleep
        self._log = TrackerLog() if log is None else log
        self._wall_offset_s = self._log.wall_clock() - clock()
        """What the wall clock is ahead of ours, as of the last announce."""
        self._key = secrets.randbits(32)  # by which a tracker knows us again
        self._wake: anyio.Event | None = None
        self._on_change: Callable[[], None] | None = None

    async def run(self) -> None:
        """Announce whenever something is due, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._wake = anyio.Event()
                for attempt in self._schedule.due(now=self._clock()):
                    tasks.start_soon(self._announce, attempt)
                await self._wait(self._wake, self._schedule.next_timer() - self._clock())

    @property
    def next_timer(self) -> float:
        """When something is due next; infinity for never."""
        return self._schedule.next_timer()

    async def announce_due(self) -> None:
        """Make the announces that are due, and wait for their end: :meth:`run` without its task."""
        async with anyio.create_task_group() as tasks:
            for attempt in self._schedule.due(now=self._clock()):
                tasks.start_soon(self._announce, attempt)

    async def stop(self) -> None:
        """Send "stopped" to every tracker that counts us; takes 5 s at most, even if cancelled.

        Call it when :meth:`run` has ended. Trackers that do not answer in time are given up;
        after it the coordinator may run again.
        """
        attempts = self._schedule.to_stop()
        if attempts:
            with anyio.move_on_after(self._config.stop_grace_s, shield=True):
                async with anyio.create_task_group() as tasks:
                    for attempt in attempts:
                        tasks.start_soon(self._say_stopped, attempt)
        self._schedule.reset()
        self._changed()

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Call this whenever :attr:`next_timer` may have changed; None: nobody."""
        self._on_change = on_change

    def completed(self) -> None:
        """Announce `completed` to the trackers; call it once."""
        self._schedule.completed(now=self._clock())
        self._changed()

    def want_peers(self) -> None:
        """Announce again as soon as the trackers' minimum interval allows."""
        self._schedule.want_peers(now=self._clock())
        self._changed()

    def reannounce(self) -> float | None:
        """Announce as soon as the trackers' minimum interval allows; return in how many seconds.

        Trackers that failed are asked again too, unless they refused. None: there is none to ask.
        """
        now = self._clock()
        due_s = self._schedule.reannounce(now=now)
        self._changed()
        return None if due_s == float("inf") else max(due_s - now, 0.0)

    def set_tiers(self, tiers: Sequence[Sequence[str]]) -> None:
        """Announce to these trackers from now on, and to others no more, but for "stopped"."""
        if self._schedule.set_tiers(tiers):
            self._changed()

    def add_tracker(self, url: str, tier: int | None = None) -> bool:
        """Add a tracker to a tier, by default a new one at the end; False if nothing was added.

        Raises TrackerError if ``url`` is no http, https or udp URL.
        """
        is_added = self._schedule.add(url, tier)
        self._changed()
        return is_added

    def remove_tracker(self, url: str) -> bool:
        """Announce to a tracker no more, but for "stopped" if it counts us; False if unknown."""
        is_removed = self._schedule.remove(url)
        self._changed()
        return is_removed

    def status(self) -> dict[str, TrackerStatus]:
        """Return all trackers by URL, in the order in which they are tried, unusable ones last."""
        now = self._clock()
        found = {each.url: self._status(each, now) for each in self._schedule.records()}
        for url, why in self._schedule.refused.items():
            found[url] = replace(idle_tracker(url, -1, self._log), state="disabled", message=why)
        return found

    async def scrape(self) -> list[TrackerScrape]:
        """Scrape the trackers one after the other, as :func:`scrape_all` does."""
        urls = [record.url for record in self._schedule.records()]
        return await scrape_all(
            urls, self._info_hash, self._client, self._log, is_private=self._is_private
        )

    async def _announce(self, attempt: AnnounceAttempt) -> None:
        if attempt.event is AnnounceEvent.STOPPED:  # it was removed
            await self._say_stopped(attempt)
            return
        self._log.announce_began(attempt.url)
        began_s = self._clock()
        self._wall_offset_s = self._log.wall_clock() - began_s
        try:
            response = await self._answer(attempt)
        except TrackerError as error:
            self._log.announce_failed(attempt.url, error)
            retry_in_s = self._schedule.failed(attempt, error, now=self._clock())
            failed = self._failure(attempt.url, error, retry_in_s, began_s)
            _answers.info("%s: tracker %s: %s", self._info_hash.hex(), failed.url, failed.message)
            self._publish(failed)
        except BaseException:
            self._log.announce_failed(attempt.url, TrackerError("given up"))
            self._schedule.abandoned(attempt, now=self._clock())
            raise
        else:
            self._log.announce_succeeded(attempt.url, response)
            interval_s = self._schedule.succeeded(attempt, response, now=self._clock())
            answer = self._success(attempt.url, response, interval_s, began_s)
            _answers.info(
                "%s: tracker %s: %d peers", self._info_hash.hex(), answer.url, answer.peers
            )
            if answer.warning:
                _answers.info(
                    "%s: tracker %s warns: %s", self._info_hash.hex(), answer.url, answer.warning
                )
            self._publish(answer)
            if response.external_ip is not None:
                self._on_external_ip(response.external_ip, attempt.url)
            await deliver_in_parts(response.peers, self._on_peers)
        self._changed()

    async def _answer(self, attempt: AnnounceAttempt) -> AnnounceResponse:
        """Return what a tracker answers while we have patience. Raises TrackerError."""
        request = self._request(attempt)
        try:
            return await self._client.announce(attempt.url, request, patience_s=attempt.patience_s)
        except TrackerError:
            raise
        except Exception as error:  # whatever one tracker does, the torrent goes on
            logger.exception("%s: a bug ended an announce", self._info_hash.hex())
            raise TrackerError(f"internal error: {error!r}") from error

    async def _say_stopped(self, attempt: AnnounceAttempt) -> None:
        began_s = self._clock()
        try:
            await self._answer(attempt)
        except TrackerError as error:
            self._publish(self._failure(attempt.url, error, float("inf"), began_s))

    def _request(self, attempt: AnnounceAttempt) -> AnnounceRequest:
        request = AnnounceRequest(
            info_hash=self._info_hash,
            peer_id=self._peer_id,
            port=self._listen_port(),
            totals=self._totals().since(attempt.base),
            event=attempt.event,
            numwant=self._config.numwant,
            key=self._key,
            tracker_id=attempt.tracker_id,
        )
        return replace(request, numwant=0) if attempt.event is AnnounceEvent.STOPPED else request

    def _changed(self) -> None:
        if self._wake is not None:
            self._wake.set()
        if self._on_change is not None:
            self._on_change()

    async def _wait(self, wake: anyio.Event, delay_s: float) -> None:
        """Sleep until something is due or ``wake`` is set."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_set, wake, tasks.cancel_scope)
            await self._sleep(min(max(delay_s, 0.0), _FOREVER_S))
            tasks.cancel_scope.cancel()

    def _success(
        self, url: str, response: AnnounceResponse, interval_s: float, began_s: float
    ) -> TrackerSucceeded:
        return TrackerSucceeded(
            self._info_hash,
            url=redact_url(url),
            peers=len(response.peers),
            seeds=response.seeds,
            leeches=response.leeches,
            interval_s=interval_s,
            warning=redact_text(response.warning or "", url),
            elapsed_s=self._clock() - began_s,
        )

    def _failure(
        self, url: str, error: TrackerError, retry_in_s: float, began_s: float
    ) -> TrackerFailed:
        message = redact_text(str(error), url)
        return TrackerFailed(
            self._info_hash,
            url=redact_url(url),
            message=message,
            retry_in_s=retry_in_s,
            elapsed_s=self._clock() - began_s,
        )

    def _status(self, record: TrackerRecord, now: float) -> TrackerStatus:
        response = record.last_response
        wait_s = max(self._schedule.next_announce_s(record.url) - now, 0.0)
        is_due = wait_s < float("inf")
        return replace(
            idle_tracker(record.url, self._schedule.tier_of(record.url), self._log),
            state=self._state(record),
            message=redact_text(record.message, record.url),
            peers=len(response.peers) if response else 0,
            next_announce_in_s=wait_s if is_due else None,
            failures=record.failures,
            external_ip=response.external_ip if response else None,
            is_backup=self._schedule.is_backup(record.url),
            next_announce_at=now + wait_s + self._wall_offset_s if is_due else None,
        )

    def _state(self, record: TrackerRecord) -> str:
        if self._schedule.is_announcing(record.url):
            return "announcing"
        if record.next_try_s == float("inf"):
            return "disabled"
        if record.failures:
            return "failed"
        return "working" if record.last_response else "waiting"


async def _cancel_when_set(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
