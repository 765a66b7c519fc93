"""The routes of qBittorrent's Web API, while it is switched on."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

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
from torrent_engine.daemon.security.access import MAX_BODY_BYTES, needs, public

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

WebApiEndpoint = Callable[[Request], Awaitable[Response]]
PREFIX: Final = "/api/v2/"
LOGIN: Final = "auth/login"
_DEMANDS: Final = {
    "media_types": frozenset[str](),
    "max_json_bytes": MAX_BODY_BYTES,
    "has_own_csrf": True,
    "plain_errors": True,
}


def make_router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    transport, login = WebApiTransport(context), LoginForm(context)

    @public(**_DEMANDS)
    async def log_in(request: Request) -> Response:
        """Answer a login."""
        return await transport.answer(request, login.log_in)

    _add(routes, LOGIN, log_in, ["POST"])
    _add(routes, "auth/logout", _endpoint(transport, login.log_out), ["POST"])
    for each in web_api_routes(context):
        methods = ["POST"] if each.writes else ["GET", "POST"]
        _add(routes, each.path, _endpoint(transport, each.handle, each), methods)
    return routes


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


def _add(routes: APIRouter, path: str, endpoint: WebApiEndpoint, methods: list[str]) -> None:
    routes.add_api_route(f"{PREFIX}{path}", endpoint, methods=methods, include_in_schema=False)
