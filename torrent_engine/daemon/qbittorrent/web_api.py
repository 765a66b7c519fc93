"""The routes of qBittorrent's Web API, while it is switched on."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from torrent_engine.daemon.common.web_files import answer_file, read_page_file
from torrent_engine.daemon.qbittorrent.application import ApplicationFacts, LogReading
from torrent_engine.daemon.qbittorrent.auth import LoginForm
from torrent_engine.daemon.qbittorrent.details import TorrentDetails
from torrent_engine.daemon.qbittorrent.preferences import Preferences
from torrent_engine.daemon.qbittorrent.sync import MainSync, PeerSync
from torrent_engine.daemon.qbittorrent.torrent_actions import TorrentCommands, TorrentLimits
from torrent_engine.daemon.qbittorrent.torrent_add import TorrentAddition
from torrent_engine.daemon.qbittorrent.torrent_files import TorrentFileCommands
from torrent_engine.daemon.qbittorrent.torrent_labels import CategoriesAndTags
from torrent_engine.daemon.qbittorrent.torrent_list import TorrentListing
from torrent_engine.daemon.qbittorrent.torrent_sources import TorrentSourceCommands
from torrent_engine.daemon.qbittorrent.transfer import Transfers
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiHandler,
    WebApiRoute,
    WebApiTransport,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.security.access import MAX_BODY_BYTES, Page, needs, public
from torrent_engine.daemon.security.cookie_sessions import QBITTORRENT
from torrent_engine.daemon.security.guard import FACTS

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.security.request_facts import RequestFacts

WebApiEndpoint = Callable[[Request], Awaitable[Response]]
PREFIX: Final = "/api/v2/"
PAGE_PATH: Final = "/qbittorrent/"
LOGIN: Final = "auth/login"
_DEMANDS: Final = {
    "media_types": frozenset[str](),
    "max_json_bytes": MAX_BODY_BYTES,
    "has_own_csrf": True,
    "plain_errors": True,
}


def make_router(context: "DaemonContext") -> APIRouter:
    """Return the routes; with a page of others those of the interface are there a second time.

    Such pages ask for "api/v2" below their own address.
    """
    routes = APIRouter()
    root = context.settings().qbittorrent.web_root
    prefixes = (PREFIX, f"{PAGE_PATH}api/v2/") if root else (PREFIX,)
    _add_api(routes, context, prefixes)
    if root:
        _add_page(routes, context, Path(root).expanduser())
    return routes


def _add_api(routes: APIRouter, context: "DaemonContext", prefixes: Sequence[str]) -> None:
    transport, login = WebApiTransport(context), LoginForm(context)

    @public(**_DEMANDS)
    async def log_in(request: Request) -> Response:
        """Answer a login."""
        return await transport.answer(request, login.log_in)

    found = [
        (LOGIN, log_in, ["POST"]),
        ("auth/logout", _endpoint(transport, login.log_out), ["POST"]),
    ]
    for each in web_api_routes(context):
        methods = ["POST"] if each.writes else ["GET", "POST"]
        found.append((each.path, _endpoint(transport, each.handle, each), methods))
    for prefix in prefixes:
        for path, endpoint, methods in found:
            routes.add_api_route(
                f"{prefix}{path}", endpoint, methods=methods, include_in_schema=False
            )


def _add_page(routes: APIRouter, context: "DaemonContext", root: Path) -> None:
    start = f"{context.settings().listen.root_path}{PAGE_PATH}"
    sessions = context.authenticator.sessions

    @public(page=Page.FOREIGN_UI)
    async def to_start() -> Response:
        """Lead to the first page."""
        return RedirectResponse(start, 301)

    @public(page=Page.FOREIGN_UI)
    async def file(path: str, request: Request) -> Response:
        """Send a file of the web interface that is configured."""
        facts: RequestFacts = request.scope[FACTS]
        cookie = facts.cookie(QBITTORRENT.name_on(facts.scheme))
        is_known = bool(cookie) and sessions.principal(cookie or "", QBITTORRENT) is not None
        read = partial(read_page_file, root, is_known=is_known)
        return await answer_file(read, path, dict(request.headers))

    methods = ["GET", "HEAD"]
    for path, endpoint in ((PAGE_PATH[:-1], to_start), (f"{PAGE_PATH}{{path:path}}", file)):
        routes.add_api_route(path, endpoint, methods=methods, include_in_schema=False)


def web_api_routes(context: "DaemonContext") -> list[WebApiRoute]:
    """Return all routes but login and logout."""
    parts = WebApiParts(context)
    transfers = Transfers(parts)
    groups = (
        ApplicationFacts(parts),
        LogReading(parts),
        Preferences(parts),
        TorrentListing(parts),
        TorrentDetails(parts),
        TorrentAddition(parts),
        TorrentCommands(parts),
        TorrentLimits(parts),
        TorrentFileCommands(parts),
        TorrentSourceCommands(parts),
        CategoriesAndTags(parts),
        transfers,
        MainSync(parts, transfers),
        PeerSync(parts),
    )
    return [route for group in groups for route in group.routes()]


def _endpoint(
    transport: WebApiTransport, handle: WebApiHandler, route: WebApiRoute | None = None
) -> WebApiEndpoint:
    @needs(None if route is None else route.scope, **_DEMANDS)
    async def answer(request: Request) -> Response:
        """Answer a request."""
        return await transport.answer(request, handle)

    return answer
