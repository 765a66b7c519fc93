"""``/healthz`` and ``/livez``, and what the daemon is: ``/api/v1``."""

import os
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from torrent_engine import __version__
from torrent_engine.daemon.security.access import MAX_BODY_BYTES, MAX_JSON_BYTES, needs, public
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.get("/healthz", include_in_schema=False)
    @public(allows_while_starting=True)
    async def health() -> Response:
        """Return whether the daemon serves its interfaces; no more, since anyone may ask."""
        phase = context.life.phase
        if phase == "running":
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"{phase}\n", 503, headers={"Retry-After": "1"})

    @routes.get("/livez", include_in_schema=False)
    @public(allows_while_starting=True)
    async def alive() -> Response:
        """Return that the process answers, also while torrents are restored or saved."""
        return PlainTextResponse("ok\n")

    @routes.get("/api/v1", tags=["overview"])
    @needs(Scope.READ)
    async def overview() -> Response:
        """Return the version, the limits and where everything is."""
        return JSONResponse(_overview(context))

    return routes


def _overview(context: "DaemonContext") -> dict[str, Any]:
    return {
        "name": "torrent_engine",
        "version": __version__,
        "api": 1,
        "epoch": context.life.epoch,
        "pid": os.getpid(),
        "listeners": list(context.life.listeners),
        "interfaces": dict(context.life.interfaces),
        "limits": {"body_bytes": MAX_BODY_BYTES, "json_bytes": MAX_JSON_BYTES},
        "links": {
            "alive": "/livez",
            "ready": "/healthz",
            "health": "/api/v1/health",
            "description": "/api/v1/openapi.json",
            "torrents": "/api/v1/torrents",
            "jobs": "/api/v1/jobs",
            "sync": "/api/v1/sync",
            "stats": "/api/v1/stats",
            "categories": "/api/v1/categories",
            "labels": "/api/v1/labels",
            "network": "/api/v1/network",
            "paths": "/api/v1/paths",
            "session": "/api/v1/session",
            "settings": "/api/v1/settings",
            "tokens": "/api/v1/tokens",
        },
    }
