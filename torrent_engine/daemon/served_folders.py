"""Web interfaces of others at the address of a listener."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from torrent_engine.daemon.common.web_files import answer_file, read_page_file
from torrent_engine.daemon.http.asgi import AsgiScope
from torrent_engine.daemon.security.access import Page, public
from torrent_engine.daemon.security.cookie_sessions import QBITTORRENT, CookieSessions
from torrent_engine.daemon.security.guard import FACTS
from torrent_engine.daemon.security.served_routes import ListenerRoutes, ServedRoutes

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.security.request_facts import RequestFacts
    from torrent_engine.daemon.security.route_table import RouteTable


def listener_routes(context: "DaemonContext", routes: "RouteTable") -> ListenerRoutes:
    """Return which of an application's routes each listener serves."""
    served = {}
    for place in context.listen_places:
        own = place.settings
        if own.serves or own.web_root:
            root = Path(own.web_root).expanduser() if own.web_root else None
            files = None if root is None else folder_route(root, context.authenticator.sessions)
            served[place.name] = ServedRoutes(routes, place.interfaces, files)
    return ListenerRoutes(routes, served)


def folder_route(root: Path, sessions: CookieSessions) -> Route:
    """Return a route that sends the files of a folder."""

    @public(page=Page.FOREIGN_UI)
    async def send_file(request: Request) -> Response:
        facts = _facts_of(request.scope)
        cookie = facts.cookie(QBITTORRENT.name_on(facts.scheme)) or ""
        is_known = bool(cookie) and sessions.principal(cookie, QBITTORRENT) is not None
        read = partial(read_page_file, root, is_known=is_known)
        return await answer_file(read, request.scope["path"], dict(request.headers))

    return Route("/{path:path}", send_file, methods=["GET", "HEAD"])


def _facts_of(scope: AsgiScope) -> "RequestFacts":
    facts: RequestFacts = scope[FACTS]
    return facts
