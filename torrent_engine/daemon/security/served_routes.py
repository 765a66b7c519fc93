"""Which routes a listener serves: those of its interfaces, and files of a folder."""

from collections.abc import Mapping
from typing import Final

from starlette.routing import BaseRoute

from torrent_engine.daemon.http.asgi import AsgiScope
from torrent_engine.daemon.security.route_table import (
    NOWHERE,
    Found,
    RouteTable,
    access_of_route,
)

INTERFACES: Final = frozenset({"ui", "api", "transmission", "qbittorrent", "stream", "metrics"})
_BY_BEGINNING: Final = {
    "transmission": "transmission",
    "api/v2": "qbittorrent",
    "qbittorrent": "qbittorrent",
    "stream": "stream",
    "metrics": "metrics",
    "ui": "ui",
    "healthz": "",
    "livez": "",
    "problems": "",
}


def interface_of(path: str) -> str:
    """Return the interface that a path is part of; "": one that every listener serves."""
    first, _, rest = path.removeprefix("/").partition("/")
    if not first:
        return "ui"
    two = f"{first}/{rest.partition('/')[0]}"
    return _BY_BEGINNING.get(two, _BY_BEGINNING.get(first, "api"))


class ServedRoutes:
    """The routes of one listener."""

    def __init__(
        self, routes: RouteTable, interfaces: frozenset[str], files: BaseRoute | None = None
    ) -> None:
        """``files`` answers what no route does: a web interface of others."""
        self._interfaces = interfaces | {""}
        self._files = files
        kept = [each for each in routes.routes if self._serves(getattr(each, "path", ""))]
        self._routes = RouteTable(kept)

    def _serves(self, path: str) -> bool:
        return interface_of(path) in self._interfaces

    def find(self, scope: AsgiScope) -> Found:
        """Return the route of a request."""
        found = self._routes.find(scope)
        is_read = scope["method"] in {"GET", "HEAD"}
        if self._files is None or found != NOWHERE or not is_read:
            return found
        return Found(access_of_route(self._files), route=self._files)


class ListenerRoutes:
    """The routes of an application by the listener that a request came by."""

    def __init__(self, routes: RouteTable, served: Mapping[str, ServedRoutes]) -> None:
        """Let listeners that are named serve some of the routes, and others all."""
        self._routes = routes
        self._served = served

    def find(self, scope: AsgiScope) -> Found:
        """Return the route of a request."""
        name = (scope.get("extensions") or {}).get("te.listener", "")
        return self._served.get(name, self._routes).find(scope)
