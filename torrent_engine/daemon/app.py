"""The ASGI application: all interfaces behind one guard, with problems for errors."""

import logging
import secrets
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.api import (
    adding,
    administration,
    blocklist,
    categories,
    creating,
    events,
    health,
    jobs,
    log,
    openapi,
    overview,
    owners,
    previews,
    session,
    settings,
    stats,
    sync,
    tokens,
    torrent_control,
    torrent_files,
    torrent_sources,
    torrents,
)
from torrent_engine.daemon.common.plain_endpoints import plain_endpoints
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.http.asgi import AsgiApp, AsgiReceive, AsgiScope, AsgiSend
from torrent_engine.daemon.metrics import routes as metrics
from torrent_engine.daemon.page import problem_pages
from torrent_engine.daemon.page import routes as page
from torrent_engine.daemon.problems import (
    MEDIA_TYPE,
    STATUSES,
    InputError,
    Problem,
    ProblemError,
    problem_of,
)
from torrent_engine.daemon.qbittorrent import routes as qbittorrent
from torrent_engine.daemon.security.guard import FACTS, ROUTE, Guard, below
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.route_table import RouteTable, access_of_route
from torrent_engine.daemon.security.served_routes import interface_of
from torrent_engine.daemon.served_folders import listener_routes
from torrent_engine.daemon.stream import routes as stream
from torrent_engine.daemon.transmission import routes as transmission

logger = logging.getLogger(__name__)
_NEEDLESS_WARNING: Final = "The 'alias' attribute with value"
"""FastAPI silences it where it makes validators; those of bodies are made later, see Input."""
OTHER_INTERFACE: Final = "other"
MAX_SHOWN_ERRORS: Final = 20  # ours: an answer is not longer than the input that is wrong
RouterMaker = Callable[[DaemonContext], APIRouter]

ROUTERS: Final[tuple[RouterMaker, ...]] = (
    overview.router,
    openapi.router,
    session.router,
    tokens.router,
    settings.router,
    administration.router,
    blocklist.router,
    sync.router,
    events.router,
    adding.router,
    torrents.router,
    torrent_files.router,
    torrent_sources.router,
    torrent_control.router,
    jobs.router,
    owners.router,
    previews.router,
    creating.router,
    log.router,
    stats.router,
    categories.router,
    health.router,
    stream.router,
    metrics.router,
    transmission.router,
    qbittorrent.router,
    page.router,
    problem_pages.router,
)
"""The interfaces. Each makes its routes with their whole paths, and each route declares what it
needs (:mod:`torrent_engine.daemon.security.access`)."""

_CODES_BY_STATUS: Final = {
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "input_invalid",
}


def create_app(context: DaemonContext, routers: Sequence[RouterMaker] = ROUTERS) -> "DaemonApp":
    """Return the application of a daemon; it runs under any ASGI server with an asyncio loop."""
    warnings.filterwarnings("ignore", _NEEDLESS_WARNING, UnsupportedFieldAttributeWarning)
    return DaemonApp(context, [route for make in routers for route in make(context).routes])


class DaemonApp:
    """The application as the server calls it.

    The guard finds the route of a request, to see what it demands; the route is called as it was
    found, between the two of FastAPI's middlewares that its routes need. The whole stack of a
    FastAPI application would look for it again, among routes that it would make a second time.
    An endpoint that wants nothing but the request is called itself: nothing is found for it.
    """

    def __init__(self, context: DaemonContext, routes: Sequence[BaseRoute]) -> None:
        self.routes = RouteTable(routes)
        """All routes, each of which declares what it needs."""
        self._guard = Guard(
            ExceptionMiddleware(self._to_route, _HANDLERS),
            listener_routes(context, self.routes),
            context.authenticator,
            context.lockout,
            context.rules_of,
            phase=lambda: context.life.phase,
        )
        self._plain = plain_endpoints(routes)
        self._by_fastapi = AsyncExitStackMiddleware(_handle)
        self._saved = context.state.saved
        self._counters = context.state.counters
        self._rules = context.rules_of
        self._others: AsgiApp = Router()
        """Answers what is no request: ends web sockets, and says yes to a server's start."""

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer a request; a bug is a problem with the name of its record in the log."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        answer = _Watched(send)
        interface = interface_of(below(scope, self._rules("").root_path)["path"]) or OTHER_INTERFACE
        answer.begun = partial(self._counters.note_request, interface)
        try:
            await self._guard(scope, receive, answer.send)
        except Exception as error:
            if answer.is_begun and not answer.is_complete:
                raise
            response = _response(_incident(error))
            if not answer.is_begun:
                await response(scope, receive, answer.send)

    async def _to_route(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        scope["app"] = self
        if _changes(scope):
            send = _SavedFirst(send, self._saved).send
        plain = self._plain.get(getattr(scope[ROUTE], "endpoint", None))
        if plain is None:
            await self._by_fastapi(scope, receive, send)
        else:
            response = await plain(Request(scope, receive, send))
            await response(scope, receive, send)


async def _handle(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    await scope[ROUTE].handle(scope, receive, send)


def _changes(scope: AsgiScope) -> bool:
    """Return whether a request may change what databases keep.

    Routes without a scope look at it themselves: Transmission's, whose methods have one each.
    """
    access = access_of_route(scope[ROUTE])
    is_read = access is None or access.scope in {None, Scope.READ}
    return not (is_read or scope[FACTS].is_safe)


class _SavedFirst:
    """The way back to a client whose request has changed something: a kill loses it no more."""

    def __init__(self, send: AsgiSend, saved: Callable[[], Awaitable[None]]) -> None:
        self._send, self._saved = send, saved

    async def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await self._saved()
        await self._send(message)


class _Watched:
    def __init__(self, send: AsgiSend) -> None:
        self._send = send
        self.is_begun = self.is_complete = False
        self._since_s = time.perf_counter()
        self.begun: Callable[[int, float], None] = lambda _status, _seconds: None
        """Called with the status and the time since it was asked, before an answer begins."""

    async def send(self, message: Mapping[str, Any]) -> None:
        if not self.is_begun:
            self.begun(message.get("status", 0), time.perf_counter() - self._since_s)
        self.is_begun = True
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True
        await self._send(message)


# -- errors ---------------------------------------------------------------------------------------


def _response(problem: Problem) -> Response:
    headers = dict(problem.headers)
    return Response(problem.body(), problem.status, headers=headers, media_type=MEDIA_TYPE)


def _incident(error: Exception) -> Problem:
    incident = secrets.token_hex(6)
    logger.error("incident %s: a request failed", incident, exc_info=error)
    return Problem("internal", "this is a bug; the log has more", f"incident:{incident}")


async def _internal(_: Request, error: Exception) -> Response:
    return _response(_incident(error))


async def _known_problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, ProblemError):
        raise error
    return _response(error.problem)


async def _engine_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, TorrentEngineError):
        raise error
    problem = problem_of(error)
    return _response(problem if problem.code != "internal" else _incident(error))


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES_BY_STATUS.get(error.status_code)
    if code is None:
        code = next((c for c, s in STATUSES.items() if s == error.status_code), "bad_request")
    return _response(Problem(code, str(error.detail), headers=dict(error.headers or {})))


async def _invalid_input(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    some = islice(error.errors(), MAX_SHOWN_ERRORS)
    found = [InputError(_pointer(each["loc"]), str(each["msg"])) for each in some]
    return _response(Problem("input_invalid", "the input is not as described", errors=found))


def _pointer(path: Sequence[object]) -> str:
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path]
    return "/" + "/".join(steps)


_HANDLERS: Final = {
    ProblemError: _known_problem,
    TorrentEngineError: _engine_error,
    HTTPException: _http_error,
    RequestValidationError: _invalid_input,
    Exception: _internal,
}
