"""Stopping, reading settings again, and the password: for administrators."""

from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from torrent_engine.daemon.api.requests import Input, principal_in
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.passwords import MAX_CHARACTERS, hash_password
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


class PasswordInput(Input):
    """A new password; an empty one: none."""

    password: str = Field(max_length=MAX_CHARACTERS)


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["administration"])

    @routes.post("/shutdown", status_code=202)
    @needs(Scope.ADMIN, allows_while_starting=True)
    async def shutdown() -> Response:
        """Stop the daemon."""
        context.life.stop()
        return JSONResponse({"stopping": True}, 202)

    @routes.post("/reload", status_code=202)
    @needs(Scope.ADMIN)
    async def reload() -> Response:
        """Read the configuration file again; returns what needs a new start of the process."""
        report = await context.life.reload()
        return JSONResponse({"changed": report.changed, "pending": report.pending}, 202)

    @routes.put("/password", status_code=204)
    @needs(Scope.ADMIN)
    async def set_password(given: PasswordInput, request: Request) -> Response:
        """Set the password, and end all sessions of browsers."""
        hashed = await run_sync(hash_password, given.password) if given.password else None
        by = principal_in(request).name
        context.settings_store.change({"auth.password_hash": hashed}, by, is_local=True)
        context.authenticator.sessions.end_all()
        return Response(status_code=204)

    return routes
