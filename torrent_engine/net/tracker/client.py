"""Tracker requests over HTTP and UDP, on every address family.

Source: BEP 3, 7, 15, 41, 48; fault model, rows D1 to D4.
"""

import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import (
    HttpError,
    NameResolutionError,
    NetworkError,
    RemoteProtocolError,
    TrackerError,
    TrackerRefusedError,
    TrackerTimeoutError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.net.http.address_policy import TRACKER_POLICY, allowed_addresses
from torrent_engine.net.http.client import HttpClient, HttpResponse, slot_limits
from torrent_engine.net.http.connections import resolver_for
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.datagrams import DatagramRelay
from torrent_engine.net.sockets.fair_slots import FairSlots
from torrent_engine.net.sockets.name_resolver import resolving_for
from torrent_engine.net.sockets.resolver import Resolver, name_failure, resolve
from torrent_engine.net.tracker.preferences import PreferencesOfHosts
from torrent_engine.net.tracker.udp import UdpTrackers
from torrent_engine.protocol.tracker import http_announce
from torrent_engine.protocol.tracker.announce import (
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
    merge_responses,
)
from torrent_engine.protocol.tracker.udp_exchange import UdpAnnounce, UdpAnswer, UdpScrape
from torrent_engine.protocol.tracker.urls import (
    TrackerUrl,
    parse_tracker_url,
    redact_text,
    redact_url,
    scrape_url,
)

LOOP_PARSE_BYTES: Final = 4 * 1024
"""Ours: of a response that is parsed at once. The worst takes 1.7 us a byte; 50 peers are 300."""
MAX_SILENT: Final = 1_000  # ours: addresses; the oldest are dropped first
SECOND_FAMILY_GRACE_S: Final = (
    2.0  # ours: time to wait for the other family after the first response
)
_OK: Final = 200
Answer = TypeVar("Answer")
AskPlace: TypeAlias = Callable[[str, TrackerUrl, Sequence[str]], Awaitable[Answer]]
"""Asks a tracker by its URL, which is given split, too, at some of its addresses."""
logger = logging.getLogger(__name__)


class TrackerClient:
    """A client of HTTP and UDP trackers for all torrents; see :func:`open_tracker_client`."""

    def __init__(
        self,
        config: TrackerConfig,
        *,
        http: HttpClient,
        udp: UdpTrackers,
        resolver: Resolver = resolve,
        preferences: PreferencesOfHosts | None = None,
    ) -> None:
        """Prepare; ``preferences`` are asked where trackers are (BEP 34), unless by a proxy."""
        self._config = config
        self._http = http
        self._udp = udp
        self._resolver = resolver_for(http.route, resolver)
        self._slots = FairSlots(slot_limits(config))
        self._preferences = preferences if http.route.is_direct else None
        self._parsing = anyio.CapacityLimiter(1)
        self._silent: OrderedDict[tuple[str, int], None] = OrderedDict()
        """Addresses of UDP trackers with several that did not answer: others are asked first."""

    def share(self, datagrams: DatagramRelay | None, *, only: bool = False) -> None:
        """Use these sockets for UDP trackers from now on; None: sockets of our own.

        Own sockets are used for addresses they cannot reach, unless ``only``.
        """
        self._udp.share(datagrams, only=only)

    async def announce(
        self, url: str, request: AnnounceRequest, *, patience_s: float | None = None
    ) -> AnnounceResponse:
        """Announce over all address families of a tracker; one response is enough.

        ``patience_s`` is a timeout from when it is this request's turn, if that is shorter than
        the configured one. Raises TrackerError without a response, TrackerRefusedError if the
        tracker refuses. Messages contain no secrets of the URL.
        """
        sent: list[str] = []

        async def ask(place: str, parts: TrackerUrl, addresses: Sequence[str]) -> AnnounceResponse:
            on_sent = partial(sent.append, place)
            if parts.scheme == "udp":
                return await self._announce_udp(parts, addresses, request, on_sent)
            return await self._announce_http(place, parts, addresses, request, on_sent)

        places = await self._places(url, request.info_hash)
        for_torrent = partial(self._request, ask=ask, key=request.info_hash, patience_s=patience_s)
        try:
            return merge_responses(await self._first(places, for_torrent))
        except TrackerTimeoutError as error:
            error.is_sent = bool(sent)
            raise

    async def scrape(
        self, url: str, info_hashes: Sequence[InfoHash]
    ) -> dict[InfoHash, ScrapeCounts]:
        """Scrape up to 74 torrents (BEP 15, 48); unknown ones are omitted.

        ``url`` is the announce URL. Raises TrackerError as ``announce``, and if the URL does not
        follow the scrape convention.
        """
        key = b"".join(info_hashes)
        named = map(scrape_url, await self._places(url, key))
        places = [place for place in named if place is not None]
        if not places:
            raise TrackerError("this tracker has no scrape URL")

        async def ask(
            place: str, parts: TrackerUrl, addresses: Sequence[str]
        ) -> dict[InfoHash, ScrapeCounts]:
            if parts.scheme == "udp":
                answer = await self._ask_udp(addresses, parts.port, UdpScrape(info_hashes))
                return answer if isinstance(answer, dict) else {}
            target = http_announce.scrape_target(parts.target, info_hashes)
            body = await self._get(place, target, addresses)
            parse = partial(http_announce.parse_scrape_response, body, info_hashes)
            return await self._parsed(body, parse)

        for_torrents = partial(self._request, ask=ask, key=key)
        return (await self._first(places, for_torrents))[0]

    async def _places(self, url: str, key: bytes) -> Sequence[str]:
        """Return the URLs where a tracker is, in the order in which its host prefers them.

        The lookup is charged to ``key``. Raises TrackerError if the host says that it has none.
        """
        if self._preferences is None:
            return (url,)
        with resolving_for(key):
            found = await self._preferences.of(parse_tracker_url(url).host)
        if found is None:
            return (url,)
        if not (places := found.urls(url)):
            raise TrackerError("the DNS says that there is no such tracker at this host (BEP 34)")
        return places

    async def _first(
        self, places: Sequence[str], request: Callable[[str], Awaitable[list[Answer]]]
    ) -> list[Answer]:
        """Return what the first tracker answers that does; raise as the last one."""
        for place in places[:-1]:
            try:
                return await request(place)
            except TrackerRefusedError:
                raise
            except TrackerError as error:
                logger.info("tracker %s: %s; the next place is tried", redact_url(place), error)
        return await request(places[-1])

    async def _request(
        self, url: str, ask: AskPlace[Answer], key: bytes, patience_s: float | None = None
    ) -> list[Answer]:
        """Send a request within the limits of its torrent."""
        timeout_s = min(self._config.total_timeout_s, patience_s or inf)
        try:
            parts = parse_tracker_url(url)
            with resolving_for(key, patience_s=timeout_s):
                found = await self._addresses_of(parts)
                async with self._slots.turn(key):
                    with anyio.fail_after(timeout_s):
                        return await self._request_families(url, parts, found, ask)
        except TrackerRefusedError as error:
            reason = redact_text(error.reason, url)
            raise TrackerRefusedError(reason, retry_in_s=error.retry_in_s) from None
        except TimeoutError:
            message = f"no response in {timeout_s:g} s"
            raise TrackerTimeoutError(message) from None
        except (TrackerError, HttpError, NetworkError, RemoteProtocolError) as error:
            kind = TrackerTimeoutError if _is_timeout(error) else TrackerError
            raise kind(redact_text(str(error), url)) from name_failure(error)

    async def _addresses_of(self, parts: TrackerUrl) -> list[str]:
        """Look up the host; its requests need no slot before, which others need that are answered.

        Waiting for the turn of a lookup counts for the configured timeout only.
        """
        timeout_s = self._config.total_timeout_s
        try:
            with anyio.fail_after(timeout_s):
                return await self._resolver(parts.host, parts.port)
        except TimeoutError:
            message = f"cannot resolve {parts.host}: not looked up in {timeout_s:g} s"
            raise NameResolutionError(message, is_timeout=True) from None

    async def _request_families(
        self, url: str, parts: TrackerUrl, found: list[str], ask: AskPlace[Answer]
    ) -> list[Answer]:
        path = parts.target if parts.scheme != "udp" else "/announce"
        addresses = allowed_addresses(found, TRACKER_POLICY, path=path)
        families = [[a for a in addresses if ":" not in a], [a for a in addresses if ":" in a]]
        families = [family for family in families if family]
        answers: list[Answer] = []
        errors: list[Exception] = []

        async def one(family: Sequence[str]) -> None:
            try:
                answers.append(await ask(url, parts, family))
            except (TrackerError, HttpError, NetworkError, RemoteProtocolError) as error:
                errors.append(error)
            else:
                scope.deadline = min(scope.deadline, anyio.current_time() + SECOND_FAMILY_GRACE_S)

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                for family in families:
                    tasks.start_soon(one, family)
        if not answers:
            raise errors[0]
        return answers

    async def _announce_udp(
        self,
        parts: TrackerUrl,
        addresses: Sequence[str],
        request: AnnounceRequest,
        on_sent: Callable[[], None],
    ) -> AnnounceResponse:
        announce = UdpAnnounce(request, parts.target)
        answer = await self._ask_udp(addresses, parts.port, announce, on_sent)
        if isinstance(answer, dict):
            raise RemoteProtocolError("a scrape response to an announce", bep=15)
        return answer

    async def _ask_udp(
        self,
        addresses: Sequence[str],
        port: int,
        request: UdpAnnounce | UdpScrape,
        on_sent: Callable[[], None] = lambda: None,
    ) -> UdpAnswer:
        """Ask one address of a family, another one after each time that it did not answer."""
        hopeful = [each for each in addresses if (each, port) not in self._silent]
        if not hopeful:
            for each in addresses:
                self._silent.pop((each, port), None)
            hopeful = list(addresses)
        try:
            return await self._udp.ask(hopeful[0], port, request, on_sent)
        except TrackerRefusedError:
            raise
        except BaseException:
            if len(addresses) > 1:
                self._silent[hopeful[0], port] = None
                if len(self._silent) > MAX_SILENT:
                    self._silent.popitem(last=False)
            raise

    async def _announce_http(
        self,
        url: str,
        parts: TrackerUrl,
        addresses: Sequence[str],
        request: AnnounceRequest,
        on_sent: Callable[[], None],
    ) -> AnnounceResponse:
        target = http_announce.announce_target(parts.target, request)
        body = await self._get(url, target, addresses, on_sent)
        max_peers = self._config.max_peers
        parse = partial(http_announce.parse_announce_response, body, max_peers=max_peers)
        return await self._parsed(body, parse)

    async def _parsed(self, body: bytes, parse: Callable[[], Answer]) -> Answer:
        """Return what ``parse`` does; what is long is parsed in a thread, one after the other."""
        if len(body) <= LOOP_PARSE_BYTES:
            return parse()
        try:
            return await anyio.to_thread.run_sync(parse, limiter=self._parsing)
        except (RuntimeError, MemoryError) as error:
            raise TrackerError("no thread is left to parse a response") from error

    async def _get(
        self,
        url: str,
        target: str,
        addresses: Sequence[str],
        on_sent: Callable[[], None] | None = None,
    ) -> bytes:
        response = await self._http.get(
            _with_target(url, target),
            max_bytes=self._config.max_response_bytes,
            policy=TRACKER_POLICY,
            addresses=addresses,
            has_slot=True,  # that of the announce, with one request for each address family
            on_sent=on_sent,
        )
        return _checked_body(response)


@asynccontextmanager
async def open_tracker_client(
    config: TrackerConfig,
    *,
    http: HttpClient | None = None,
    resolver: Resolver = resolve,
    binding: Binding = UNBOUND,
    rng: random.Random | None = None,
) -> AsyncIterator[TrackerClient]:
    """Open a client; its sockets and tasks end with the block."""
    failure: Exception | None = None
    preferences = PreferencesOfHosts() if config.dns_preferences else None
    async with anyio.create_task_group() as tasks:
        udp = UdpTrackers(tasks, config=config, rng=rng or secrets.SystemRandom(), binding=binding)
        http = http or HttpClient(config, resolver=resolver)
        try:
            yield TrackerClient(
                config, http=http, udp=udp, resolver=resolver, preferences=preferences
            )
        except Exception as error:  # raised without an exception group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _is_timeout(error: Exception) -> bool:
    """Return whether a request failed by a timeout."""
    return getattr(error, "is_timeout", isinstance(error, TrackerTimeoutError))


def _with_target(url: str, target: str) -> str:
    """Replace path and query of the tracker's URL; user and password stay."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return f"{scheme}://{authority}{target}"


def _checked_body(response: HttpResponse) -> bytes:
    """Return the body to parse; many trackers send failure reasons with an error status."""
    if response.status != _OK and not response.body.startswith(b"d"):
        raise TrackerError(f"HTTP status {response.status}")
    return response.body
