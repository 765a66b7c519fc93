"""Owns the talk of one torrent with its trackers: announces when due, "stopped" at the end.

Source: BEP 3, 7, 12, 27, 31. What is due when is decided by ``protocol/tracker/schedule.py``.
"""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import anyio
import anyio.abc

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.engine.events import Event, TrackerFailed, TrackerSucceeded
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    AnnounceTotals,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.schedule import AnnounceSchedule, Attempt, TrackerRecord
from torrent_engine.protocol.tracker.urls import redact_text, redact_url

_FOREVER_S: Final = 3_600.0  # ours: with nothing to do, look again now and then


class AnnounceClient(Protocol):
    """What the coordinator needs of :class:`torrent_engine.net.tracker_client.TrackerClient`."""

    async def announce(self, url: str, request: AnnounceRequest) -> AnnounceResponse:
        """Announce once; only TrackerError escapes."""

    async def scrape(
        self, url: str, info_hashes: Sequence[InfoHash]
    ) -> dict[InfoHash, ScrapeCounts]:
        """Scrape once; only TrackerError escapes."""


@dataclass(frozen=True, slots=True)
class TrackerStatus:
    """What a user is shown of one tracker; nothing in it is secret."""

    url: str
    tier: int
    state: str
    """"announcing", "working", "waiting" (never asked yet), "failed" or "disabled"."""
    message: str
    """The last error or warning; "" if there is none."""
    peers: int
    """How many the last answer named."""
    seeds: int | None
    leeches: int | None
    next_announce_in_s: float | None
    """None if it will not be asked again."""
    failures: int
    external_ip: str | None


@dataclass(frozen=True, slots=True)
class TrackerScrape:
    """The counts of one tracker, or why there are none."""

    url: str
    counts: ScrapeCounts | None
    error: str


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
    ) -> None:
        self._schedule = AnnounceSchedule(
            metainfo_tiers, is_private=is_private, config=config, rng=rng
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
        self._key = secrets.randbits(32)  # by which a tracker knows us again
        self._wake: anyio.Event | None = None
        self.on_change: Callable[[], None] | None = None
        """Called when :attr:`next_timer` may have changed, while nobody runs :meth:`run`."""

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

    def completed(self) -> None:
        """Tell the trackers that the download is complete; once, when it becomes so."""
        self._schedule.completed(now=self._clock())
        self._changed()

    def want_peers(self) -> None:
        """Announce again as soon as the trackers' minimum interval allows."""
        self._schedule.want_peers(now=self._clock())
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

    def status(self) -> list[TrackerStatus]:
        """Return all trackers in the order in which they are tried, unusable ones last."""
        now = self._clock()
        usable = [self._status(record, now) for record in self._schedule.records()]
        refused = [_refused_status(url, why) for url, why in self._schedule.refused.items()]
        return usable + refused

    async def scrape(self) -> list[TrackerScrape]:
        """Ask the trackers for their counts, one after the other.

        A private torrent asks no further than the first that answers.
        """
        results: list[TrackerScrape] = []
        for record in self._schedule.records():
            results.append(await self._scrape(record.url))
            if self._is_private and results[-1].counts is not None:
                break
        return results

    async def _announce(self, attempt: Attempt) -> None:
        if attempt.event is AnnounceEvent.STOPPED:  # it was removed
            await self._say_stopped(attempt)
            return
        try:
            response = await self._answer(attempt)
        except TrackerError as error:
            retry_in_s = self._schedule.failed(attempt, error, now=self._clock())
            self._publish(self._failure(attempt.url, error, retry_in_s))
        except BaseException:
            self._schedule.abandoned(attempt, now=self._clock())
            raise
        else:
            interval_s = self._schedule.succeeded(attempt, response, now=self._clock())
            self._publish(self._success(attempt.url, response, interval_s))
            if response.external_ip is not None:
                self._on_external_ip(response.external_ip, attempt.url)
            if response.peers:
                self._on_peers(list(response.peers))
        self._changed()

    async def _answer(self, attempt: Attempt) -> AnnounceResponse:
        """Return what a tracker answers while we have patience. Raises TrackerError."""
        request, patience_s = self._request(attempt), attempt.patience_s
        if patience_s is None:
            return await self._client.announce(attempt.url, request)
        outcome: AnnounceResponse | TrackerError = TrackerError(f"no answer in {patience_s:g} s")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_after, patience_s, tasks.cancel_scope)
            try:
                outcome = await self._client.announce(attempt.url, request)
            except TrackerError as error:
                outcome = error
            tasks.cancel_scope.cancel()
        if isinstance(outcome, TrackerError):
            raise outcome
        return outcome

    async def _cancel_after(self, delay_s: float, scope: anyio.CancelScope) -> None:
        await self._sleep(delay_s)
        scope.cancel()

    async def _say_stopped(self, attempt: Attempt) -> None:
        try:
            await self._client.announce(attempt.url, self._request(attempt))
        except TrackerError as error:
            self._publish(self._failure(attempt.url, error, float("inf")))

    def _request(self, attempt: Attempt) -> AnnounceRequest:
        request = AnnounceRequest(
            info_hash=self._info_hash,
            peer_id=self._peer_id,
            port=self._listen_port(),
            totals=self._totals(),
            event=attempt.event,
            numwant=self._config.numwant,
            key=self._key,
            tracker_id=attempt.tracker_id,
        )
        return replace(request, numwant=0) if attempt.event is AnnounceEvent.STOPPED else request

    def _changed(self) -> None:
        if self._wake is not None:
            self._wake.set()
        if self.on_change is not None:
            self.on_change()

    async def _wait(self, wake: anyio.Event, delay_s: float) -> None:
        """Sleep until something is due or somebody sets ``wake``."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_set, wake, tasks.cancel_scope)
            await self._sleep(min(max(delay_s, 0.0), _FOREVER_S))
            tasks.cancel_scope.cancel()

    async def _scrape(self, url: str) -> TrackerScrape:
        try:
            found = await self._client.scrape(url, [self._info_hash])
        except TrackerError as error:
            return TrackerScrape(redact_url(url), None, redact_text(str(error), url))
        counts = found.get(self._info_hash)
        error_text = "" if counts else "the tracker does not know this torrent"
        return TrackerScrape(redact_url(url), counts, error_text)

    def _success(self, url: str, response: AnnounceResponse, interval_s: float) -> Event:
        return TrackerSucceeded(
            self._info_hash,
            url=redact_url(url),
            peers=len(response.peers),
            seeds=response.seeds,
            leeches=response.leeches,
            interval_s=interval_s,
        )

    def _failure(self, url: str, error: TrackerError, retry_in_s: float) -> Event:
        message = redact_text(str(error), url)
        return TrackerFailed(
            self._info_hash, url=redact_url(url), message=message, retry_in_s=retry_in_s
        )

    def _status(self, record: TrackerRecord, now: float) -> TrackerStatus:
        response = record.last_response
        wait_s = max(self._schedule.next_announce_s(record.url) - now, 0.0)
        return TrackerStatus(
            url=redact_url(record.url),
            tier=self._schedule.tier_of(record.url),
            state=self._state(record),
            message=redact_text(record.message, record.url),
            peers=len(response.peers) if response else 0,
            seeds=response.seeds if response else None,
            leeches=response.leeches if response else None,
            next_announce_in_s=None if wait_s == float("inf") else wait_s,
            failures=record.failures,
            external_ip=response.external_ip if response else None,
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


def _refused_status(url: str, why: str) -> TrackerStatus:
    return TrackerStatus(
        url=redact_url(url),
        tier=-1,
        state="disabled",
        message=why,
        peers=0,
        seeds=None,
        leeches=None,
        next_announce_in_s=None,
        failures=0,
        external_ip=None,
    )
