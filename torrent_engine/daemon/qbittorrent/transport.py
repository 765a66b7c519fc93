"""The protocol over HTTP: parameters in, text or JSON out, errors as text."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.problems import ProblemError
from torrent_engine.daemon.qbittorrent.errors import FORBIDDEN, WebApiError, error_of
from torrent_engine.daemon.qbittorrent.numbers import in_qt_style
from torrent_engine.daemon.qbittorrent.params import FormParams, read_params
from torrent_engine.daemon.security.guard import FACTS, PRINCIPAL
from torrent_engine.daemon.security.hosts import origin_of
from torrent_engine.daemon.security.principals import Principal, Scope
from torrent_engine.daemon.security.request_facts import RequestFacts

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

OK: Final = "Ok."
FAILS: Final = "Fails."


@dataclass(frozen=True, slots=True)
class WebApiCall:
    """One request."""

    params: FormParams
    facts: RequestFacts
    principal: Principal | None
    """None: of a route that is public."""

    @property
    def has_secrets(self) -> bool:
        """Whether URLs of trackers are told with their secrets."""
        return self.principal is not None and self.principal.allows(Scope.CONTROL)

    @property
    def by(self) -> str:
        """Who asks, for the record of a changed setting."""
        return "qBittorrent API" if self.principal is None else self.principal.name


@dataclass(frozen=True, slots=True)
class TextReply:
    """An answer that is text."""

    text: str


@dataclass(frozen=True, slots=True)
class JsonText:
    """An answer that is JSON already."""

    data: bytes


WebApiResult = Response | TextReply | JsonText | list[Any] | dict[str, Any] | int | None
"""None: an empty answer; values become JSON."""
WebApiHandler = Callable[[WebApiCall], Awaitable[WebApiResult]]


@dataclass(frozen=True, slots=True)
class WebApiRoute:
    """A route below ``/api/v2``, such as "torrents/info"."""

    path: str
    handle: WebApiHandler
    scope: Scope | None
    """None: any principal."""
    writes: bool = False
    """By POST only."""


def reads(path: str, handle: WebApiHandler) -> WebApiRoute:
    """Return a route that tells something."""
    return WebApiRoute(path, handle, Scope.READ)


def writes(path: str, handle: WebApiHandler, scope: Scope = Scope.CONTROL) -> WebApiRoute:
    """Return a route that changes something."""
    return WebApiRoute(path, handle, scope, writes=True)


class WebApiTransport:
    """Answers requests of HTTP that the guard let pass."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context

    async def answer(self, request: Request, handle: WebApiHandler) -> Response:
        """Return the answer to a request."""
        facts: RequestFacts = request.scope[FACTS]
        try:
            self._check_site(facts)
            call = WebApiCall(await read_params(request), facts, request.scope.get(PRINCIPAL))
            return await self._reply(request, await handle(call))
        except WebApiError as error:
            return PlainTextResponse(error.text, error.status)
        except HTTPException as error:
            return PlainTextResponse(str(error.detail), error.status_code)
        except (TorrentEngineError, ProblemError) as error:
            told = error_of(error)
            if told is None:
                raise
            return PlainTextResponse(told.text, told.status)

    def _check_site(self, facts: RequestFacts) -> None:
        """Raise WebApiError if a page of another site sends a request that changes something.

        The guard has looked at Origin; browsers leave it empty ("null") for some pages, and others
        send a Referer only.
        """
        if facts.is_safe:
            return
        own = origin_of(facts.scheme, facts.host)
        rule = self._context.rules_of(facts.listener).origins
        referer = facts.field(b"referer")
        site = None if referer is None else _site_of(referer)
        is_foreign = site is not None and rule.refuses(site, None, own)
        if facts.field(b"origin") == "null" or is_foreign or site == "":
            raise WebApiError(FORBIDDEN, "Forbidden")

    async def _reply(self, request: Request, result: WebApiResult) -> Response:
        if isinstance(result, Response):
            return result
        if result is None:
            return PlainTextResponse("")
        if isinstance(result, TextReply):
            return PlainTextResponse(result.text)
        data = result.data if isinstance(result, JsonText) else json_bytes(in_qt_style(result))
        return await json_reply(request, data)


def _site_of(url: str) -> str:
    """Return the origin of a URL; "" if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return origin_of(parts.scheme, parts.netloc.rpartition("@")[2])
