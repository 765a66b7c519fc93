"""Every route of the daemon without a credential: the table is walked, so none is forgotten."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from tests.support.daemon_app import AppClient, make_client
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.route_table import access_of_route
from torrent_engine.daemon.settings.model import DaemonSettings, QbittorrentSettings

pytestmark = pytest.mark.anyio
PUBLIC = {"/healthz", "/livez", "/api/v1/session", "/api/v2/auth/login"}
"""What everybody may ask; pages of web interfaces, and what leads to them, apart."""
PAGES = {"/", "/ui/{version}/{name:path}", "/transmission", "/transmission/", "/transmission/web"}
EVERYTHING = replace(DaemonSettings(), qbittorrent=QbittorrentSettings(enabled=True))
"""Settings with all interfaces on."""


def path_of(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))


def asked(route: BaseRoute) -> list[tuple[str, str]]:
    """Return a request for each method of a route."""
    path = re.sub(r"\{[^}]*\}", "0" * 40, path_of(route))
    return [(method, path) for method in sorted(getattr(route, "methods", None) or {"GET"})]


def all_routes(client: AppClient) -> list[BaseRoute]:
    return list(client.app.routes.routes)


async def test_every_route_declares_what_it_needs() -> None:
    client = make_client(settings=EVERYTHING)
    assert [path_of(r) for r in all_routes(client) if access_of_route(r) is None] == []


async def test_no_route_but_a_few_answers_without_a_credential() -> None:
    client = make_client(settings=EVERYTHING)
    open_paths = set()
    for route in all_routes(client):
        for method, path in asked(route):
            answer = await client.ask(method, path)
            if answer.status not in {401, 403}:
                open_paths.add(path_of(route))
    assert open_paths <= PUBLIC | PAGES | {"/problems/{code}"}
    assert {"/healthz", "/livez"} <= open_paths


def told_by(path: str, scope: Scope) -> Callable[[Request], Awaitable[Response]]:
    @needs(scope)
    async def answer(request: Request) -> Response:
        return JSONResponse([path, request.path_params, request.method])

    return answer


async def test_route_that_was_checked_is_the_one_that_answers() -> None:
    routes = APIRouter()
    for path, scope in (
        ("/things/first", Scope.READ),
        ("/things/{name}", Scope.ADMIN),
        ("/things/last", Scope.READ),
        ("/other/{path:path}", Scope.READ),
    ):
        routes.add_api_route(path, told_by(path, scope), methods=["GET"])
    client = make_client(extra=routes)
    _, secret = client.context.authenticator.tokens.make("reader", [Scope.READ])
    reader, owner = client.bearer(secret), client.bearer()
    assert (await reader.ask("GET", "/things/first")).json == ["/things/first", {}, "GET"]
    assert (await reader.ask("GET", "/things/last")).code == "forbidden"
    found = (await owner.ask("GET", "/things/last")).json
    assert found == ["/things/{name}", {"name": "last"}, "GET"]
    other = await reader.ask("HEAD", "/other/a%2Fb/c")
    assert other.json == ["/other/{path:path}", {"path": "a/b/c"}, "GET"]


async def test_start_of_a_server_is_answered_and_a_web_socket_is_closed() -> None:
    sent: list[str] = []
    waiting = ["lifespan.startup", "lifespan.shutdown", "websocket.connect"]

    async def receive() -> dict[str, str]:
        return {"type": waiting.pop(0)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    app = make_client().app
    asgi = {"asgi": {"version": "3.0", "spec_version": "2.4"}}
    await app({"type": "lifespan", "state": {}, **asgi}, receive, send)
    await app({"type": "websocket", "path": "/api/v1", "headers": [], **asgi}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


async def test_interface_of_qbittorrent_is_off_by_default() -> None:
    paths = [path_of(route) for route in all_routes(make_client())]
    assert not any(path.startswith("/api/v2") for path in paths)
    assert (await make_client().bearer().ask("GET", "/api/v2/app/version")).status == 404


async def test_interface_of_qbittorrent_has_all_its_routes_behind_the_checks() -> None:
    client = make_client(settings=EVERYTHING)
    routes = [route for route in all_routes(client) if path_of(route).startswith("/api/v2/")]
    assert len(routes) >= 83
    for route in routes:
        if path_of(route) in PUBLIC:
            continue
        for method, path in asked(route):
            assert (await client.ask(method, path)).status == 403, path
            other = client.bearer().having(origin="https://other.example")
            answer = await other.ask(method, path)
            assert (answer.status == 403) is (method == "POST"), path
            rebound = await client.bearer().ask(method, path, headers={})
            assert rebound.status not in {401, 500}, path


async def test_no_route_but_public_ones_answers_a_principal_without_any_scope() -> None:
    client = make_client(settings=EVERYTHING)
    tokens = client.context.authenticator.tokens
    for route in all_routes(client):
        access = access_of_route(route)
        if access is None or access.scope is None:
            continue
        others = [scope for scope in Scope if scope is not access.scope]
        record, secret = tokens.make("other", others)
        for method, path in asked(route):
            answer = await client.bearer(secret).ask(method, path)
            assert answer.status == 403, (method, path)
        tokens.revoke(record.id)


async def test_every_route_that_changes_something_wants_the_csrf_token_of_a_cookie() -> None:
    from torrent_engine.daemon.security.cookie_sessions import OWN

    client = make_client(settings=EVERYTHING)
    cookie = client.context.authenticator.sessions.begin(OWN)
    with_cookie = client.having(cookie=f"{OWN.name}={cookie}")
    refused = 0
    for route in all_routes(client):
        access = access_of_route(route)
        if access is None or access.is_public or access.has_own_csrf:
            continue
        for method, path in asked(route):
            if method in {"GET", "HEAD", "OPTIONS"}:
                continue
            answer = await with_cookie.ask(method, path)
            assert answer.code == "csrf_invalid", (method, path)
            refused += 1
    assert refused > 3
