"""The routes below ``/transmission``: the protocol, and web interfaces of others."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from torrent_engine.daemon.common.web_files import answer_file, read_file
from torrent_engine.daemon.security.access import MAX_BODY_BYTES, Page, needs, public
from torrent_engine.daemon.security.guard import principal_of
from torrent_engine.daemon.transmission.assembly import DaemonParts, make_groups, make_rpc
from torrent_engine.daemon.transmission.session_ids import SessionIds
from torrent_engine.daemon.transmission.transport import RpcTransport

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

RPC_PATH: Final = "/transmission/rpc"
WEB_PATH: Final = "/transmission/web/"
_ALL_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""The session id is checked before the method."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes; none if the interface is switched off."""
    routes = APIRouter()
    if context.settings().transmission.enabled:
        _add_rpc(routes, context)
        _add_web(routes, context)
    return routes


def _add_rpc(routes: APIRouter, context: "DaemonContext") -> None:
    session_ids = SessionIds(time.monotonic)
    parts = _parts_of(context)
    transport = RpcTransport(make_rpc(parts, session_ids), session_ids)
    context.on_open.append(make_groups(parts).apply)

    @needs(
        None,
        media_types=frozenset(),
        max_json_bytes=MAX_BODY_BYTES,
        prompts=True,
        has_own_csrf=True,
    )
    async def answer(request: Request) -> Response:
        """Answer calls of the protocol; each method needs its own scope."""
        return await transport.answer(request, principal_of(request.scope))

    for path in (RPC_PATH, f"{RPC_PATH}/"):
        routes.add_api_route(path, answer, methods=_ALL_METHODS, include_in_schema=False)


def _parts_of(context: "DaemonContext") -> DaemonParts:
    return DaemonParts(
        context.port,
        context.state,
        context.settings_store,
        context.paths,
        context.errands.start,
        context.life.stop,
        context.state_dir,
        lambda: None if context.background is None else context.background.lists,
    )


def _add_web(routes: APIRouter, context: "DaemonContext") -> None:
    root = context.settings().transmission.web_root
    start = context.settings().listen.root_path + (WEB_PATH if root else "/")

    @public(page=Page.FOREIGN_UI)
    async def to_start() -> Response:
        """Lead to the first page."""
        return RedirectResponse(start, 301)

    for path in ("/transmission", "/transmission/", "/transmission/web"):
        routes.add_api_route(path, to_start, methods=["GET", "HEAD"], include_in_schema=False)
    if not root:
        return
    read = partial(read_file, Path(root))

    @public(page=Page.FOREIGN_UI)
    async def file(path: str, request: Request) -> Response:
        """Send a file of the web interface that is configured."""
        return await answer_file(read, path, dict(request.headers))

    routes.add_api_route(
        f"{WEB_PATH}{{path:path}}", file, methods=["GET", "HEAD"], include_in_schema=False
    )
