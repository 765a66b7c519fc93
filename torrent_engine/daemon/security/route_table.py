"""Which route answers a request, and what it demands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.routing import BaseRoute, Match, Route

from torrent_engine.daemon.http.asgi import AsgiScope
from torrent_engine.daemon.security.access import RouteAccess, access_of


@dataclass(frozen=True, slots=True)
class Found:
    """The route of a request."""

    access: RouteAccess | None
    """None: there is no such route, or it declares nothing."""
    methods: frozenset[str] = frozenset()
    """What the path knows, if the method is another one."""
    reads_by_get: bool = False
    """HEAD of a route that knows GET only."""
    redirect: str = ""
    """The same path without the slash at its end, if that is a route."""
    route: BaseRoute | None = None
    matched: Mapping[str, Any] = field(default_factory=dict)
    """What the route adds to the scope: the parameters of its path."""


NOWHERE: Final = Found(None)


class RouteTable:
    """All routes of an application, in the order in which they are tried."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.routes = tuple(routes)
        self._by_prefix = [(_fixed_part(route), _is_whole(route), route) for route in routes]
        plain = {_path_of(route) for route in routes if "{" not in _path_of(route)}
        self._by_path = {path: tuple(self._beginning(path)) for path in plain}

    def _beginning(self, path: str) -> Iterator[BaseRoute]:
        """Return the routes that a path may be of, by what their paths begin with."""
        return (
            route
            for prefix, is_whole, route in self._by_prefix
            if path.startswith(prefix) and (not is_whole or path == prefix)
        )

    def find(self, scope: AsgiScope) -> Found:
        """Return the route of a request."""
        methods: set[str] = set()
        partial: BaseRoute | None = None
        path = scope["path"]
        for route in self._by_path.get(path) or self._beginning(path):
            match, matched = route.matches(scope)
            if match is Match.FULL:
                return Found(access_of_route(route), route=route, matched=matched)
            if match is Match.PARTIAL:
                partial = partial or route
                methods |= set(getattr(route, "methods", None) or ())
        if partial is None:
            return self._without_slash(scope)
        if scope["method"] == "HEAD" and "GET" in methods:
            return replace(self.find({**scope, "method": "GET"}), reads_by_get=True)
        return Found(access_of_route(partial), frozenset(methods))

    def _without_slash(self, scope: AsgiScope) -> Found:
        path = scope["path"]
        plain = path.rstrip("/")
        if plain == path or not plain or plain.startswith("//"):
            return NOWHERE
        found = self.find({**scope, "path": plain})
        if found.access is None or found.methods:
            return NOWHERE
        raw = scope.get("raw_path") or b""
        return Found(found.access, redirect=raw.decode("ascii", "replace").rstrip("/"))


def _fixed_part(route: BaseRoute) -> str:
    """Return what every path of a route begins with."""
    return _path_of(route).partition("{")[0]


def _is_whole(route: BaseRoute) -> bool:
    """Return whether a route has one path, with nothing below it and no parameter."""
    return isinstance(route, Route) and "{" not in route.path


def _path_of(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))


def access_of_route(route: BaseRoute) -> RouteAccess | None:
    """Return what a route, or a mounted application, declares."""
    endpoint = getattr(route, "endpoint", None) or getattr(route, "app", None)
    return access_of(endpoint)
