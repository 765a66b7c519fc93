"""Web seed requests with checked, streamed bodies.

Only bodies that match the request are passed on; their data is not verified yet.
Source: BEP 17, BEP 19; fault model, rows A13, A14.
"""

from collections.abc import Callable
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.errors import HttpError, NetworkError, RemoteProtocolError
from torrent_engine.net.http.library import silent_logging
from torrent_engine.net.http.stream import HttpStreams, StreamedResponse
from torrent_engine.protocol.tracker.urls import redact_text
from torrent_engine.protocol.web_seed import Span, check_range_response, parse_number

_BUSY: Final = frozenset({429, 503})
_NOT_THERE: Final = frozenset({401, 403, 404, 410, 416, 451})
_OK: Final = 200
_ANSWERS: Final = frozenset({_OK, 206})
_MAX_RETRY_BODY_BYTES: Final = 64  # ours: a "busy" response of BEP 17 is a number of seconds


class Sink(Protocol):
    """Receiver of a body's bytes."""

    async def ready(self) -> None:
        """Wait until more may be read: for the disk queue and the rate limit."""

    def was_read(self, count_bytes: int) -> None:
        """Account for what was read after :meth:`ready`, with what is skipped; 0 if that failed."""

    def take(self, data: memoryview) -> bool:
        """Process the next bytes; return False to stop."""


class WebSeedBusyError(HttpError):
    """The web seed is overloaded; ``retry_in_s`` is its requested delay, if any."""

    def __init__(self, message: str, retry_in_s: float | None) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s


class FileNotServedError(HttpError):
    """The web seed lacks this file, or has a different one."""


class WebSeedServer:
    """A client of one web seed; requests may run in parallel."""

    def __init__(self, streams: HttpStreams, config: WebSeedConfig) -> None:
        self._streams = streams
        self._config = config

    async def fetch_range(self, url: str, span: Span, sink: Sink) -> None:
        """Fetch a part of a file (BEP 19).

        Returns when it is complete, or the sink stops. Raises HttpError for all failures, without
        secrets of the URL.
        """

        def skipped_bytes(response: StreamedResponse) -> int:
            header = response.headers
            ranges, length = header.get("content-range"), header.get("content-length")
            try:
                skip = check_range_response(response.status, ranges, length, span)
            except RemoteProtocolError as error:
                raise FileNotServedError(str(error)) from error
            if skip > self._config.max_skipped_bytes:
                raise FileNotServedError("it does not serve ranges")
            return skip

        await self._fetch(url, {"Range": span.range_header}, skipped_bytes, span.length_bytes, sink)

    async def fetch_body(self, url: str, length_bytes: int, sink: Sink) -> None:
        """Fetch a body of known length (BEP 17); otherwise as :meth:`fetch_range`."""

        def skipped_bytes(response: StreamedResponse) -> int:
            length = response.headers.get("content-length")
            if response.status != _OK:
                raise HttpError(f"status {response.status}")
            if length is not None and parse_number(length) != length_bytes:
                raise HttpError(f"a body of {length[:30]} bytes for {length_bytes}")
            return 0

        await self._fetch(url, {}, skipped_bytes, length_bytes, sink)

    async def _fetch(
        self,
        url: str,
        headers: dict[str, str],
        check: Callable[[StreamedResponse], int],
        length_bytes: int,
        sink: Sink,
    ) -> None:
        try:
            with silent_logging():
                response = await self._streams.open(url, headers)
                try:
                    await _check_status(response, self._config)
                    skip_bytes = check(response)
                    is_whole = response.status == _OK and bool(headers)
                    await self._copy(response, skip_bytes, length_bytes, sink, is_whole=is_whole)
                finally:
                    await response.aclose()
        except NetworkError as error:
            raise HttpError(redact_text(str(error), url)) from None
        except HttpError as error:
            self._streams.forget(url)
            error.args = (redact_text(str(error), url),)
            raise error from None

    async def _copy(
        self,
        response: StreamedResponse,
        skip_bytes: int,
        length_bytes: int,
        sink: Sink,
        *,
        is_whole: bool,
    ) -> None:
        """Copy ``length_bytes`` of the body to the sink after skipping ``skip_bytes``."""
        pace = _MinimumRate(self._config)
        while length_bytes:
            await sink.ready()
            data = b""
            try:
                data = await pace.read(response)
            finally:
                sink.was_read(len(data))
            if not data:
                raise HttpError(f"the body ended {skip_bytes + length_bytes} bytes early")
            view = memoryview(data)
            if skip_bytes:
                skipped = min(skip_bytes, len(view))
                skip_bytes -= skipped
                view = view[skipped:]
            if len(view) > length_bytes:
                if not is_whole:
                    raise HttpError("the body is longer than what was asked for")
                view = view[:length_bytes]
            length_bytes -= len(view)
            if view and not sink.take(view):
                return
        if not is_whole and await pace.read(
            response
        ):  # read to the end, so that the connection can be reused
            raise HttpError("the body is longer than what was asked for")


class _MinimumRate:
    """The minimum rate of a response (row B5)."""

    def __init__(self, config: WebSeedConfig) -> None:
        self._config = config
        self._waited_s = 0.0
        self._bytes = 0

    async def read(self, response: StreamedResponse) -> bytes:
        """Read the next bytes. Raises HttpError if the rate is too low."""
        begun_s, config = anyio.current_time(), self._config
        limit_s = config.slow_after_s + config.read_timeout_s  # one chunk may arrive in many parts
        with anyio.move_on_after(limit_s) as limit:
            data = await response.read()
        if limit.cancelled_caught:
            raise HttpError(f"no complete chunk in {limit_s:.0f} s")
        self._waited_s += anyio.current_time() - begun_s
        self._bytes += len(data)
        if self._waited_s >= config.slow_after_s:
            if self._bytes < config.min_bytes_per_s * self._waited_s:
                raise HttpError(f"only {self._bytes} bytes in {self._waited_s:.0f} s")
            self._waited_s, self._bytes = 0.0, 0
        return data


async def _check_status(response: StreamedResponse, config: WebSeedConfig) -> None:
    """Raise an error unless the response is an uncompressed 200 or 206."""
    status = response.status
    if status in _BUSY:
        raise WebSeedBusyError(f"busy (status {status})", await _retry_in_s(response, config))
    if status in _NOT_THERE:
        raise FileNotServedError(f"status {status}")
    if status not in _ANSWERS:
        raise HttpError(f"status {status}")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise HttpError(f"unrequested content encoding {encoding[:40]!r}")


async def _retry_in_s(response: StreamedResponse, config: WebSeedConfig) -> float | None:
    """Return the seconds of "Retry-After", else of the body (BEP 17); None without them."""
    seconds = parse_number(response.headers.get("retry-after"))
    length = parse_number(response.headers.get("content-length"))
    if seconds is None and length is not None and length <= _MAX_RETRY_BODY_BYTES:
        body, pace = b"", _MinimumRate(config)
        while len(body) < length and (data := await pace.read(response)):
            body += data
        seconds = parse_number(body.decode("latin-1"))
    return None if seconds is None else float(seconds)
