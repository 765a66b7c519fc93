"""One request to a web seed: sent, checked, and its body handed on as it comes.

Nothing of a body that is not what was asked for leaves here; what leaves is still unverified.
Source: BEP 17, BEP 19; RELIABILITY rows A13, A14.
"""

from collections.abc import Callable
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.errors import HttpError, NetworkError, RemoteProtocolError
from torrent_engine.net.http_library import silent_logging
from torrent_engine.net.http_stream import HttpStreams, StreamedResponse
from torrent_engine.protocol.tracker.urls import redact_text
from torrent_engine.protocol.web_seed import Span, check_range_answer, parse_number

_BUSY: Final = frozenset({429, 503})
_NOT_THERE: Final = frozenset({401, 403, 404, 410, 416, 451})
_OK: Final = 200
_ANSWERS: Final = frozenset({_OK, 206})
_MAX_RETRY_BODY_BYTES: Final = 64  # ours: BEP 17 answers "busy" with a number of seconds


class Sink(Protocol):
    """Where the bytes go."""

    async def ready(self) -> None:
        """Return when more may be read: the disk keeps up, and so does the rate limit."""

    def take(self, data: memoryview) -> bool:
        """Take what came next; False if the rest is not wanted any more."""


class WebSeedBusyError(HttpError):
    """The web seed asks for patience; ``retry_in_s`` is what it said, None if it said nothing."""

    def __init__(self, message: str, retry_in_s: float | None) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s


class NotThereError(HttpError):
    """The web seed does not have this file, or another file in its place."""


class WebSeedServer:
    """Asks one web seed for bytes; several requests may run at once."""

    def __init__(self, streams: HttpStreams, config: WebSeedConfig) -> None:
        self._streams = streams
        self._config = config

    async def fetch_range(self, url: str, span: Span, sink: Sink) -> None:
        """Fetch a part of a file (BEP 19).

        Returns when all of it is taken, or the sink has enough. Raises HttpError for whatever
        goes wrong, without secrets of the URL.
        """

        def skipped_bytes(response: StreamedResponse) -> int:
            header = response.headers
            ranges, length = header.get("content-range"), header.get("content-length")
            try:
                skip = check_range_answer(response.status, ranges, length, span)
            except RemoteProtocolError as error:
                raise NotThereError(str(error)) from error
            if skip > self._config.max_skipped_bytes:
                raise NotThereError("it does not serve ranges")
            return skip

        await self._fetch(url, {"Range": span.range_header}, skipped_bytes, span.length_bytes, sink)

    async def fetch_body(self, url: str, length_bytes: int, sink: Sink) -> None:
        """Fetch a whole answer of known length (BEP 17); else as :meth:`fetch_range`."""

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
        """Hand the body on: what is skipped, then ``length_bytes``; of a whole file no more."""
        pace = _Pace(self._config)
        while length_bytes:
            await sink.ready()
            data = await pace.read(response)
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
        if not is_whole and await pace.read(response):  # its end lets the connection live on
            raise HttpError("the body is longer than what was asked for")


class _Pace:
    """Sees to it that an answer comes at more than a trickle (row B5)."""

    def __init__(self, config: WebSeedConfig) -> None:
        self._config = config
        self._waited_s = 0.0
        self._bytes = 0

    async def read(self, response: StreamedResponse) -> bytes:
        """Read on; HttpError if the time spent on reading brought too little."""
        begun_s, config = anyio.current_time(), self._config
        limit_s = config.slow_after_s + config.read_timeout_s  # one chunk may come in many parts
        with anyio.move_on_after(limit_s) as limit:
            data = await response.read()
        if limit.cancelled_caught:
            raise HttpError(f"nothing whole came in {limit_s:.0f} s")
        self._waited_s += anyio.current_time() - begun_s
        self._bytes += len(data)
        if self._waited_s >= config.slow_after_s:
            if self._bytes < config.min_bytes_per_s * self._waited_s:
                raise HttpError(f"only {self._bytes} bytes came in {self._waited_s:.0f} s")
            self._waited_s, self._bytes = 0.0, 0
        return data


async def _check_status(response: StreamedResponse, config: WebSeedConfig) -> None:
    """Let 200 and 206 pass, unless they are compressed; raise what the others mean."""
    status = response.status
    if status in _BUSY:
        raise WebSeedBusyError(f"busy (status {status})", await _retry_in_s(response, config))
    if status in _NOT_THERE:
        raise NotThereError(f"status {status}")
    if status not in _ANSWERS:
        raise HttpError(f"status {status}")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise HttpError(f"content encoding {encoding[:40]!r} that nobody asked for")


async def _retry_in_s(response: StreamedResponse, config: WebSeedConfig) -> float | None:
    """Return the seconds of "Retry-After", else of the body (BEP 17); None if there are none."""
    seconds = parse_number(response.headers.get("retry-after"))
    length = parse_number(response.headers.get("content-length"))
    if seconds is None and length is not None and length <= _MAX_RETRY_BODY_BYTES:
        body, pace = b"", _Pace(config)
        while len(body) < length and (data := await pace.read(response)):
            body += data
        seconds = parse_number(body.decode("latin-1"))
    return None if seconds is None else float(seconds)
