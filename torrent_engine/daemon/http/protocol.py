"""One HTTP/1.1 connection: uvicorn's h11 protocol with deadlines, caps and strict framing.

What is refused before the application sees it is answered here, with a short text. A connection
is in one phase at a time, and each phase has one timer: waiting for a request, for the rest of its
head, for its body, for its answer to be taken, or for the end.
"""

import asyncio
import http
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import h11
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.h11_impl import H11Protocol

from torrent_engine.daemon.http.answer_transport import AnswerTransport
from torrent_engine.daemon.http.asgi import HeaderFields
from torrent_engine.daemon.http.cycle import RequestCycle
from torrent_engine.daemon.http.heads import Head, HeadError, check_head, check_lines
from torrent_engine.daemon.http.limits import ConnectionCount, HttpLimits, is_one
from torrent_engine.protocol.http_framing import ChunkCredit

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7): pid, uid, gid
SPEC_VERSION: Final = "2.4"


class Replaceable(Protocol):
    """What waits for its client, and may leave its place to another connection."""

    @property
    def host(self) -> str | None:
        """The address of the client; None at a unix socket."""

    @property
    def waits_since_s(self) -> float:
        """When the wait began, by the clock of the loop."""

    def give_way(self) -> None:
        """Leave the place to another connection."""


class ConnectionParts:
    """What all connections of a server share."""

    def __init__(
        self, config: "Config", state: "ServerState", limits: HttpLimits, tasks: "TaskGroup"
    ) -> None:
        self.config = config
        self.state = state
        self.limits = limits
        self.tasks = tasks
        self.count = ConnectionCount(limits)
        self.handshakes: dict[Replaceable, None] = {}
        """Connections that are not encrypted yet, the oldest first."""
        self.is_stopping = False
        self._dated = 0
        self._date: HeaderFields = []

    def admit(self, host: str | None) -> bool:
        """Count a connection, in the place of another one if need be; False if there is none."""
        return self.count.admit(host) or (self._make_room(host) and self.count.admit(host))

    def _make_room(self, host: str | None) -> bool:
        """Drop a connection that waits, so that another one has its place.

        It is one of the address that has the most, and of these the one that waits longest:
        many that send nothing keep nobody out. If the address itself has too many, it is one whose
        answer is held back.
        """
        everybody = [each for each in self.state.connections if isinstance(each, HttpConnection)]
        waiting: list[Replaceable]
        if self.count.is_only_full(host):
            waiting = [*(each for each in everybody if each.is_replaceable), *self.handshakes]
        else:
            waiting = [each for each in everybody if each.is_held and is_one(each.host, host)]
        if not waiting:
            return False
        oldest = max(waiting, key=lambda each: (self.count.of(each.host), -each.waits_since_s))
        oldest.give_way()
        return True

    def date_fields(self) -> HeaderFields:
        """Return the Date of answers; a new one every second at most."""
        now = int(time.time())
        if now != self._dated:
            self._dated = now
            self._date = [(b"date", formatdate(now, usegmt=True).encode("ascii"))]
        return self._date


class HttpConnection(H11Protocol):
    """One connection of a client to a listener, which is told to the application by name."""

    def __init__(
        self, parts: ConnectionParts, listener: str, on_made: Callable[[], None] = lambda: None
    ) -> None:
        """``on_made`` gives up the place that the connection had until it was encrypted."""
        super().__init__(parts.config, parts.state, {})
        self._parts = parts
        self._on_made = on_made
        self._limits = parts.limits
        self._listener = listener
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._write_s = parts.limits.write_s
        self._peer_uid: int | None = None
        self._is_admitted = False
        self._is_ending = False
        self.is_held = False
        """Whether an answer is held back, and others may have the place meanwhile."""
        self._requests = 0
        self._body_left: int | None = 0
        self._body_received = 0
        self._credit = ChunkCredit()
        self._body_began_s = 0.0
        self._waiting_bytes = 0
        self.waits_since_s = 0.0
        """When the wait for its client began, by the clock of the loop."""
        self.cycle: RequestCycle | None = None  # type: ignore[assignment]

    # -- life -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self._on_made()
        is_unix = _is_unix(transport)
        if self.client is None and not is_unix:  # reset by now, but what it sent can be read still
            self._is_ending = True
            transport.abort()
            return
        self._peer_uid = _peer_uid(transport) if is_unix else None
        self._is_admitted = self._parts.admit(self.host)
        if not self._is_admitted:
            self._refuse(503)
            return
        self.waits_since_s = self.loop.time()
        self._set_timer(self._limits.head_s, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and end what was done for it."""
        self._leave()
        self._set_timer(None)
        self._stop_write_timer()
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.client_is_gone()

    def _leave(self) -> None:
        if self._is_admitted:
            self._is_admitted = False
            self._parts.count.leave(self.host)

    @property
    def host(self) -> str | None:
        """The address of the client; None at a unix socket."""
        return None if self.client is None else self.client[0]

    @property
    def is_replaceable(self) -> bool:
        """Whether it only waits: for a request, the rest of one, or the end of a :meth:`held`."""
        is_waiting = self.cycle is None or not self.is_busy or self._is_sending or self.is_held
        return self._is_admitted and is_waiting

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the connection give way to others meanwhile, as its answer is only held back."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False

    @property
    def _is_sending(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def give_way(self) -> None:
        """Leave its place to another connection."""
        self._leave()
        if self.is_held:
            self.cancel_request()
        self.abort()

    def shutdown(self) -> None:
        """Close now if no request is running, else behind its answer."""
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        else:
            self.cycle.keep_alive = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is answered now."""
        return self.cycle is not None and not self.cycle.response_complete

    def cancel_request(self) -> None:
        """End the request that runs, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.cancel()
        self._close()

    def abort(self) -> None:
        """End the request and drop the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.cancel()
        self.transport.abort()

    def set_write_limit(self, seconds: float) -> None:
        """Change how long the client of the present request may take nothing."""
        self._write_s = seconds

    # -- receiving --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._is_ending:
            self._drain(len(data))
            return
        if self._is_between_requests and not self._has_begun_head:
            self._set_timer(self._limits.head_s, self._time_out_head)
        self._count(len(data))
        self.conn.receive_data(data)
        self.handle_events()

    @property
    def _is_between_requests(self) -> bool:
        return self.conn.their_state is h11.IDLE

    @property
    def _has_begun_head(self) -> bool:
        return bool(self.conn.trailing_data[0])

    def _count(self, received: int) -> None:
        if self.conn.their_state in {h11.DONE, h11.MUST_CLOSE}:
            self._waiting_bytes += received
            if self._waiting_bytes > self._limits.max_pipelined_bytes:
                self.flow.pause_reading()

    def handle_events(self) -> None:
        """Handle what the bytes complete."""
        try:
            while self._handle_event():
                pass
        except HeadError as error:
            self._refuse(error.status)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _handle_event(self) -> bool:
        """Handle one event; return whether there may be more."""
        before = self.conn.trailing_data[0] if self._is_between_requests else b""
        event = self.conn.next_event()
        if isinstance(event, h11.Request):
            self._begin(event, before[: len(before) - len(self.conn.trailing_data[0])])
        elif isinstance(event, h11.Data):
            self._take_body(event)
        elif isinstance(event, h11.EndOfMessage):
            self._end_body()
        else:  # NEED_DATA, PAUSED, ConnectionClosed
            return False
        return True

    def _begin(self, event: h11.Request, raw: bytes) -> None:
        check_lines(raw, self._limits)
        fields = list(event.headers)
        head = check_head(event.method, event.target, event.http_version, fields, self._limits)
        self._set_timer(None)
        self._requests += 1
        self._write_s = self._limits.write_s
        self.scope = self._scope_of(head)  # type: ignore[assignment]
        self._body_left, self._body_received = head.body_bytes, 0
        self._credit = ChunkCredit()
        if head.body_bytes != 0:
            self._body_began_s = self.loop.time()
            self._set_timer(self._limits.body_check_s, self._check_body)
        self.cycle = cycle = self._new_cycle()
        cycle.keep_alive = (
            self._requests < self._limits.max_requests and not self._parts.is_stopping
        )
        self._parts.tasks.start_soon(self._run, cycle)

    async def _run(self, cycle: RequestCycle) -> None:
        await cycle.run_asgi(self.app)
        if logger.isEnabledFor(logging.DEBUG):
            took_ms = 1000 * (self.loop.time() - cycle.begun_s)
            method, path = cycle.scope["method"], cycle.scope["raw_path"].decode("ascii")
            logger.debug("%s %s %s %d in %.1f ms", self.client, method, path, cycle.status, took_ms)

    def _new_cycle(self) -> RequestCycle:
        return RequestCycle(
            has_long_body=self._has_long_body,
            now=self.loop.time(),
            scope=self.scope,
            conn=self.conn,
            transport=AnswerTransport(self.transport, self.loop, self._close_behind_answer),
            flow=self.flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=self._parts.date_fields(),
            message_event=asyncio.Event(),
            on_response=self.on_response_complete,
        )

    def _scope_of(self, head: Head) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "http_version": head.version.decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": head.method.decode("ascii"),
            "root_path": "",
            "path": unquote(head.path.decode("ascii")),
            "raw_path": head.path,
            "query_string": head.query,
            "headers": head.fields,
            "state": {},
            "extensions": {
                "te.listener": self._listener,
                "te.peer_uid": self._peer_uid,
                "te.set_write_limit": self.set_write_limit,
                "te.held": self.held,
            },
        }

    def _take_body(self, event: h11.Data) -> None:
        self._body_received += len(event.data)
        is_chunked = self._body_left is None
        if is_chunked and not self._credit.take(len(event.data)):  # 15 us for each chunk of a read
            raise HeadError(400, "chunks that are too small")
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return
        cycle.body += event.data
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def _end_body(self) -> None:
        self._set_timer(None)
        if self.cycle is not None:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self._begin_next()

    def _has_long_body(self) -> bool:
        """Return whether more of the body is to come than is worth reading."""
        if self._body_left is None:
            return True
        return self._body_left - self._body_received > self._limits.max_drained_bytes

    # -- answering --------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Wait for the next request of the connection."""
        self.server_state.total_requests += 1
        if self._is_ending or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE:
            self._begin_next()

    def _begin_next(self) -> None:
        self._waiting_bytes = 0
        self.waits_since_s = self.loop.time()
        self.conn.start_next_cycle()
        self._set_timer(self._limits.idle_s, self._close)
        self.handle_events()
        if self._is_between_requests and self._has_begun_head and not self._is_ending:
            self._set_timer(self._limits.head_s, self._time_out_head)

    def pause_writing(self) -> None:
        """Wait until the client takes what was written, but not for ever."""
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(self._write_s, self.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        self._stop_write_timer()
        super().resume_writing()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # -- ends -------------------------------------------------------------------------------

    def _set_timer(self, seconds: float | None, act: Callable[[], None] | None = None) -> None:
        """Begin a phase; there is one timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and act is not None:
            self._timer = self.loop.call_later(seconds, act)

    def _time_out_head(self) -> None:
        self._refuse(408)

    def _check_body(self) -> None:
        """Refuse a body that comes too slowly; it is not the client's fault if we do not read."""
        passed_s = self.loop.time() - self._body_began_s
        if self.flow.read_paused:
            self._body_began_s += self._limits.body_check_s
        elif passed_s >= self._limits.body_s or (
            self._body_received < passed_s * self._limits.min_body_bytes_per_s
        ):
            self._refuse(408)
            return
        self._set_timer(self._limits.body_check_s, self._check_body)

    def _refuse(self, status: int) -> None:
        """Answer with a status in the application's place if that is possible, and close."""
        self._set_timer(None)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.cancel()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send_text(status)
            self._close_behind_answer()
        else:
            self.transport.abort()

    def _send_text(self, status: int) -> None:
        text = f"{status} {http.HTTPStatus(status).phrase}\n".encode()
        fields = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(text))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            fields.append(("Retry-After", "1"))
        answer = self.conn.send(h11.Response(status_code=status, headers=fields)) or b""
        self.transport.write(answer + text)

    def _close_behind_answer(self) -> None:
        """Close so that the client sees the answer: what it still sends is read for a moment."""
        if self._is_ending or self.transport.is_closing():
            return
        if self.conn.their_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
            self._close()
            return
        self._is_ending = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(self._limits.drain_s, self._close)

    def _drain(self, received: int) -> None:
        self._waiting_bytes += received
        if self._waiting_bytes > self._limits.max_drained_bytes:
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._set_timer(self._limits.flush_s, self.transport.abort)


def _is_unix(transport: asyncio.BaseTransport) -> bool:
    """Return whether a connection came by a unix socket, which a client's address does not tell."""
    connection = transport.get_extra_info("socket")
    family = None if connection is None else connection.family
    return family is not None and family == getattr(socket, "AF_UNIX", None)


def _peer_uid(transport: asyncio.BaseTransport) -> int | None:
    """Return the user at the other end of a unix socket; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    connection = transport.get_extra_info("socket")
    if option is None or connection is None:
        return None
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    return _CREDENTIALS.unpack(data)[1]  # type: ignore[no-any-return]
