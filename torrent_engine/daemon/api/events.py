"""``/api/v1/events``: the same deltas as server-sent events, which resume where they were cut.

Source: the HTML standard, section 9.2. No event is queued for a client: the next one is made when
the last was taken, from what changed since then. The id of an event is the revision that the client
has with it, so that ``Last-Event-ID`` is all that a resume needs.
"""

import json
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from torrent_engine.daemon.api.answers import answers_of_kinds
from torrent_engine.daemon.api.delta import DeltaChoice, delta_body, stats_value
from torrent_engine.daemon.api.job_fields import job_value
from torrent_engine.daemon.api.log import log_value
from torrent_engine.daemon.api.requests import facts_in, principal_in
from torrent_engine.daemon.api.sync import choice_of
from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.log_tail import LogTail

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext, Life

KINDS: Final = frozenset({"torrents", "jobs", "stats", "alerts", "previews", "log", "raw"})
DEFAULT_KINDS: Final = "torrents,jobs,stats,alerts,previews"
ADMIN_KINDS: Final = frozenset({"log", "raw"})
TOPICS: Final = {"alerts": "alert", "previews": "preview"}
MAX_RAW: Final = 10_000  # ours: events of the engine that a client has not taken
HEARTBEAT_S: Final = 15.0
SEND_TIMEOUT_S: Final = 60.0
RETRY_MS: Final = 2_000
MAX_STREAMS: Final = 32
MAX_STREAMS_OF_ONE: Final = 8
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
logger = logging.getLogger(__name__)


def router(context: "DaemonContext") -> APIRouter:
    """Return the route."""
    routes, open_streams = APIRouter(), context.state.counters.event_streams

    @routes.get(
        "/api/v1/events",
        tags=["sync"],
        response_class=Response,
        responses=answers_of_kinds("text/event-stream"),
    )
    @needs(Scope.READ, takes_ticket=True)
    async def events(  # noqa: PLR0913 - the parameters of the query
        request: Request,
        types: Annotated[str, Query(max_length=200)] = DEFAULT_KINDS,
        torrents: Annotated[str, Query(max_length=50_000)] = "list",
        fields: Annotated[str | None, Query(max_length=2_000)] = None,
        since: Annotated[str | None, Query(max_length=64)] = None,
        interval: Annotated[float, Query(ge=0.5, le=10)] = 1.0,
        job: Annotated[str | None, Query(max_length=64)] = None,
        owner: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    ) -> Response:
        """Send changes as they happen, at most one delta in ``interval`` seconds.

        ``owner`` holds the lease of that owner until the stream ends.
        """
        if owner is not None and not principal_in(request).allows(Scope.CONTROL):
            raise ProblemError(Problem("forbidden", "an owner needs the scope control"))
        kinds = frozenset(types.split(","))
        if unknown := sorted(kinds - KINDS):
            wrong = InputError("/types", f"there is no type {unknown[0]!r:.40}")
            raise ProblemError(Problem("input_invalid", "types", errors=[wrong]))
        if kinds & ADMIN_KINDS and not principal_in(request).allows(Scope.ADMIN):
            raise ProblemError(Problem("forbidden", "log and raw need the scope admin"))
        choice = choice_of(
            torrents if "torrents" in kinds else "none",
            fields,
            has_jobs=False,
            limit=2**31,
            has_secrets=principal_in(request).allows(Scope.CONTROL),
        )
        client = facts_in(request).client or ""
        if open_streams.total() >= MAX_STREAMS or open_streams[client] >= MAX_STREAMS_OF_ONE:
            raise ProblemError(Problem("too_many_requests", "too many event streams are open"))
        told = SseSource(
            context.state,
            context.life,
            choice,
            kinds,
            log=context.log,
            since=request.headers.get("last-event-id") or since,
            interval_s=interval,
            job_id=job,
            is_allowed=partial(context.authenticator.is_current, principal_in(request)),
        )
        lease = None if owner is None else context.state.owners.held(owner)
        return SseResponse(told, open_streams, client, lease)

    return routes


class SseSource:
    """Makes the events of one client."""

    def __init__(  # noqa: PLR0913 - all of them are settings of one stream
        self,
        state: DaemonState,
        life: "Life",
        choice: DeltaChoice,
        kinds: frozenset[str],
        *,
        since: str | None,
        interval_s: float,
        job_id: str | None = None,
        log: LogTail | None = None,
        is_allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        """``is_allowed`` tells whether the client still may be told anything."""
        self._state = state
        self._life = life
        self._choice = choice
        self._kinds = kinds
        self._topics = {topic for kind, topic in TOPICS.items() if kind in kinds}
        self._since = since
        self._interval_s = interval_s
        self._job_id = job_id
        self._is_allowed = is_allowed
        self._stats: dict[str, Any] | None = None
        self._log = log if "log" in kinds else None
        self._log_number = 0 if log is None else log.last
        self._raw: deque[Mapping[str, Any]] = deque()
        self._dropped = 0

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield events until the daemon stops, or the client may have none."""
        with self._listening():
            async for each in self._events():
                yield each

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Keep the events of the engine in a block, if they are asked for."""
        if "raw" not in self._kinds:
            yield
            return
        cancel = self._state.port.events.subscribe_raw(self._take_raw)
        try:
            yield
        finally:
            cancel()

    def _take_raw(self, values: Mapping[str, Any]) -> None:
        if len(self._raw) < MAX_RAW:
            self._raw.append(values)
        else:
            self._dropped += 1

    async def _events(self) -> AsyncGenerator[bytes, None]:
        yield b"retry: %d\n\n" % RETRY_MS
        is_first = True
        while not self._life.stopping.is_set():
            is_changed = is_first or await self._changed()
            if not self._is_allowed():
                return
            for each in self._unrevised():
                yield each
            if not is_changed:
                yield b":\n\n"
                continue
            is_first = False
            async for each in self._now():
                yield each
            await self._pause(self._interval_s)
        yield event("bye", b"{}")

    async def _changed(self) -> bool:
        """Wait for a change; False after the time of a heartbeat, and when the daemon stops."""
        is_changed = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_at_end, tasks.cancel_scope)
            is_polled = bool(self._kinds & ADMIN_KINDS)
            limit_s = self._interval_s if is_polled else HEARTBEAT_S
            is_changed = await self._state.wait(self._since, limit_s)
            tasks.cancel_scope.cancel()
        return is_changed or self._life.stopping.is_set()

    async def _cancel_at_end(self, scope: anyio.CancelScope) -> None:
        await self._life.stopping.wait()
        scope.cancel()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._life.stopping.wait()

    def _unrevised(self) -> Iterator[bytes]:
        """Yield records of the log and events of the engine, which have no revision."""
        if self._log is not None:
            for entry in self._log.after(self._log_number):
                self._log_number = entry.number
                yield event("log", _encoded(log_value(entry)))
        while self._raw:
            yield event("raw", _encoded(self._raw.popleft()))
        if self._dropped:
            yield event("raw", _encoded({"type": "events.dropped", "count": self._dropped}))
            self._dropped = 0

    async def _now(self) -> AsyncIterator[bytes]:
        """Yield what changed since the last time; the last event has the revision as its id."""
        announced = self._state.announcements.since(self._state.revisions.parse(self._since))
        delta = self._state.delta(self._since)  # of the same moment: what comes later is told later
        for each in announced:
            if each.topic in self._topics:
                told = {"at": timestamp(each.at), **each.values}
                yield event(each.topic, _encoded(told))
        if delta.is_full and self._since is not None:
            yield event("reset", b"{}")
        if "jobs" in self._kinds:
            if gone := [each for each in delta.jobs.removed if self._job_id in {None, each}]:
                yield event("jobs_removed", _encoded(gone))
            for job in reversed(delta.jobs.changed):
                if self._job_id in {None, job.id}:
                    yield event("job", _encoded(job_value(job)))
        if "stats" in self._kinds and (stats := stats_value(self._state)) != self._stats:
            self._stats = stats
            yield event("stats", _encoded(stats))
        body = await delta_body(self._state, self._choice, delta)
        self._since = delta.revision
        yield event("sync", body, delta.revision)


def event(name: str, data: bytes, revision: str | None = None) -> bytes:
    """Return one event; ``data`` is JSON and has no line breaks."""
    head = b"" if revision is None else b"id: %b\n" % revision.encode()
    return head + b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _encoded(value: Any) -> bytes:  # noqa: ANN401 - what JSON has
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class SseResponse(Response):
    """The answer that sends events until the client goes away or takes nothing for a minute."""

    def __init__(
        self,
        source: SseSource,
        open_streams: Counter[str],
        client: str,
        lease: AbstractContextManager[None] | None = None,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._source = source
        self._open_streams = open_streams
        self._client = client
        self._lease = lease or nullcontext()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send the events."""
        self._open_streams[self._client] += 1
        try:
            with self._lease:
                await self._run(receive, send)
        finally:
            self._open_streams[self._client] -= 1
            if not self._open_streams[self._client]:
                del self._open_streams[self._client]

    async def _run(self, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            await self._send(send)
            tasks.cancel_scope.cancel()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._source.events()) as events:
                async for each in events:
                    with anyio.fail_after(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": each, "more_body": True})
        except TimeoutError:
            logger.info("an event stream was closed: it took nothing for %d s", SEND_TIMEOUT_S)
            return
        await send({"type": "http.response.body", "body": b""})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
