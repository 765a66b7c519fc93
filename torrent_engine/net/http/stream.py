"""Streamed HTTP responses over persistent connections.

Every hop is checked as in :class:`HttpClient` (row D1). Resolved addresses and redirects are cached
as long as the connections are open. Source: fault model, rows A13, A14, D1, D2, D4.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.errors import HttpError
from torrent_engine.net.http.address_policy import AddressPolicy, is_global
from torrent_engine.net.http.client import CHUNKS_PER_TURN, MAX_ADDRESSES, HttpClient
from torrent_engine.net.http.connections import transport_over
from torrent_engine.net.http.hop import REDIRECTS, Hop, basic_auth, checked_headers, described
from torrent_engine.net.http.library import load_httpx

if TYPE_CHECKING:
    import httpx2

MAX_REMEMBERED: Final = 64  # ours: redirects, and hosts, of one server
MAX_SERVERS: Final = 16  # ours: servers of one web seed, redirects included
HTTP_ERROR: Final = 400  # the lowest error status
SMALL_BYTES: Final = 256  # ours: a read of less costs more than it brings
SMALL_IN_A_ROW: Final = 8  # ours: small reads before each further one waits for more to arrive
GATHER_S: Final = 0.01  # ours: measured, a read of one byte takes 0.1 to 0.2 ms

_Origin = tuple[str, str, int]
_Place = tuple[_Origin, str]
"""Origin (scheme, host, port) and literal address. TLS is verified for the host, so connections to
one address are not shared by several hosts."""


class StreamedResponse:
    """A response whose body is streamed; it must be closed."""

    def __init__(
        self, httpx: ModuleType, response: "httpx2.Response", headers: Mapping[str, str], place: str
    ) -> None:
        self.status: int = response.status_code
        self.headers = headers
        """Names in lower case; of a repeated header the first."""
        self.address = place
        """The literal address of the server."""
        self._httpx = httpx
        self._response = response
        self._chunks: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]
        self._is_over = False
        self._reads = 0
        self._small_reads = 0
        """The latest ones in a row."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises HttpError if the connection fails.

        The bytes are not decompressed.
        """
        self._reads += 1
        if self._small_reads >= SMALL_IN_A_ROW:
            await anyio.sleep(GATHER_S)
        elif not self._reads % CHUNKS_PER_TURN:
            await anyio.lowlevel.checkpoint()
        try:
            data = await anext(self._chunks)
        except StopAsyncIteration:
            self._is_over = True
            return b""
        except self._httpx.TransportError as error:
            self._is_over = True
            raise HttpError(described(error)) from error
        except BaseException:
            self._is_over = True
            raise
        self._small_reads = self._small_reads + 1 if len(data) < SMALL_BYTES else 0
        return data

    async def aclose(self) -> None:
        """Close the response; the connection is reused if the response was read to the end."""
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            while not self._is_over:  # unfinished generators would stay open inside the library
                try:
                    await self.read()
                except HttpError:
                    return


@dataclass(frozen=True, slots=True)
class _Moved:
    """The target of a redirect."""

    url: str
    auth: Mapping[str, str]
    """The authentication of the first URL, if it may be sent there."""
    policy: AddressPolicy


class HttpStreams:
    """The connections to one server and its redirect targets."""

    def __init__(self, client: HttpClient, config: WebSeedConfig, policy: AddressPolicy) -> None:
        self._client = client
        self._config = config
        self._policy = policy
        self._transports: dict[_Place, httpx2.AsyncHTTPTransport] = {}
        self._waiting: Counter[_Place] = Counter()
        """How many requests wait for an answer."""
        self._answered: set[_Place] = set()
        self._hosts: dict[_Origin, Sequence[str]] = {}
        self._moved: dict[str, _Moved] = {}

    @property
    def is_open(self) -> bool:
        """Whether connections may be open."""
        return bool(self._transports)

    async def open(self, url: str, headers: Mapping[str, str]) -> StreamedResponse:
        """Send a GET and return the response, of any status, after up to five redirects.

        Raises HttpError for all failures, NetworkError if a host cannot be resolved.
        """
        if (moved := self._moved.get(url)) is not None:
            hop = Hop(moved.url, {**moved.auth, **headers})
            response = await self._follow(url, hop, moved.policy)
            if response.status < HTTP_ERROR:
                return response
            await response.aclose()  # moved again, or the redirect is no longer valid
            self._moved.pop(url, None)
        hop = Hop(url, {**basic_auth(url), **headers})
        return await self._follow(url, hop, self._policy)

    def forget(self, url: str) -> None:
        """Drop the cached addresses and redirect of ``url``, which failed."""
        self._hosts.clear()
        self._moved.pop(url, None)

    async def aclose(self) -> None:
        """Close all connections and clear the caches; no request may be in progress."""
        transports = list(self._transports.values())
        self._transports.clear()
        self._answered.clear()
        self._hosts.clear()
        self._moved.clear()
        with anyio.CancelScope(shield=True):
            for transport in transports:
                await transport.aclose()

    async def _follow(self, url: str, hop: Hop, policy: AddressPolicy) -> StreamedResponse:
        httpx = await load_httpx()
        for count in range(self._config.max_redirects + 1):
            response = await self._try_addresses(httpx, hop, policy)
            location = response.headers.get("location")
            if response.status not in REDIRECTS or location is None:
                if count and response.status < HTTP_ERROR:
                    self._remember(url, hop, policy)
                return response
            await response.aclose()
            if is_global(response.address):
                policy = AddressPolicy(allow_non_global=False)  # never from outside to inside
            hop = hop.next(location)
        raise HttpError(f"more than {self._config.max_redirects} redirects")

    def _remember(self, url: str, hop: Hop, policy: AddressPolicy) -> None:
        auth = {name: text for name, text in hop.headers.items() if name in basic_auth(url)}
        if len(self._moved) >= MAX_REMEMBERED:
            self._moved.clear()
        self._moved[url] = _Moved(hop.url, auth, policy)

    async def _try_addresses(
        self, httpx: ModuleType, hop: Hop, policy: AddressPolicy
    ) -> StreamedResponse:
        """Return the response of the first address that accepts, and use it from then on."""
        origin = hop.parts.origin
        hop.addresses = self._hosts.get(origin, ())
        addresses = (await self._client.addresses(hop, policy))[:MAX_ADDRESSES]
        for number, address in enumerate(addresses):
            try:
                response = await self._send_in_time(httpx, hop, address)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if number == len(addresses) - 1:
                    raise HttpError(described(error)) from error
            else:
                if len(self._hosts) >= MAX_REMEMBERED:
                    self._hosts.clear()
                self._hosts[origin] = addresses[number:]
                return response
        raise HttpError("the host has no address")

    async def _send_in_time(self, httpx: ModuleType, hop: Hop, address: str) -> StreamedResponse:
        """Send with a total time limit, because single reads may each take almost their timeout."""
        timeout_s = 2 * self._config.read_timeout_s
        try:
            with anyio.fail_after(timeout_s):
                return await self._send(httpx, hop, address)
        except TimeoutError as error:
            raise HttpError(f"no response in {timeout_s:g} s") from error

    async def _send(self, httpx: ModuleType, hop: Hop, address: str) -> StreamedResponse:
        sent = {"User-Agent": self._client.user_agent, "Accept-Encoding": "identity"}
        request = hop.request(httpx, address, sent, self._config.read_timeout_s)
        place = hop.parts.origin, address
        transport = self._transports.get(place)
        is_reused = transport is not None
        if transport is None:
            transport = await self._new_transport(httpx, hop, place)
        self._waiting[place] += 1
        try:
            try:
                response = await transport.handle_async_request(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not is_reused:
                    raise
                response = await transport.handle_async_request(
                    request
                )  # the idle connection was closed
            self._answered.add(place)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HttpError(described(error)) from error
        finally:
            await self._waited(place)
        return await self._checked(httpx, response, address)

    async def _waited(self, place: _Place) -> None:
        """End the wait for an answer; what never gave one takes no place of those that do."""
        self._waiting[place] -= 1
        if self._waiting[place]:
            return
        del self._waiting[place]
        if place not in self._answered and (transport := self._transports.pop(place, None)):
            with anyio.CancelScope(shield=True):
                await transport.aclose()

    async def _checked(
        self, httpx: ModuleType, response: "httpx2.Response", address: str
    ) -> StreamedResponse:
        try:
            headers = checked_headers(response.headers.raw, self._config.max_header_bytes)
        except HttpError:
            await StreamedResponse(httpx, response, {}, address).aclose()
            raise
        return StreamedResponse(httpx, response, headers, address)

    async def _new_transport(
        self, httpx: ModuleType, hop: Hop, place: _Place
    ) -> "httpx2.AsyncHTTPTransport":
        verify = await self._client.tls(hop)
        known = self._transports.get(place)
        if known is not None:  # created while certificates were loaded
            return known
        if len(self._transports) >= MAX_SERVERS:
            raise HttpError(f"redirected to more than {MAX_SERVERS} servers")
        transport = transport_over(
            self._client.route,
            httpx,
            verify=verify,
            keepalive_expiry_s=self._config.idle_close_s,
        )
        self._transports[place] = transport
        return transport
