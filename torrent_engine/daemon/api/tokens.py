"""Named tokens: ``/api/v1/tokens``."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter
from pydantic import Field, Strict
from starlette.responses import JSONResponse, Response

from torrent_engine.daemon.api.requests import Input
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.security.records import TokenRecord


class TokenInput(Input):
    """A token to make."""

    name: str = Field(min_length=1, max_length=64)
    scopes: list[Annotated[Scope, Strict(strict=False)]] = Field(min_length=1)
    expires_at: float | None = None
    """Seconds since 1970."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])

    @routes.get("")
    @needs(Scope.ADMIN)
    async def list_tokens() -> Response:
        """Return all named tokens, without their secrets."""
        return JSONResponse({"items": [_shown(each) for each in context.authenticator.tokens.all]})

    @routes.post("", status_code=201)
    @needs(Scope.ADMIN)
    async def make(token: TokenInput) -> Response:
        """Make a token; the answer is the only place where its secret is shown."""
        tokens = context.authenticator.tokens
        record, secret = tokens.make(token.name, token.scopes, token.expires_at)
        return JSONResponse({**_shown(record), "token": secret}, 201)

    @routes.delete("/{token_id}", status_code=204)
    @needs(Scope.ADMIN)
    async def revoke(token_id: str) -> Response:
        """Revoke a token."""
        if not context.authenticator.tokens.revoke(token_id):
            raise ProblemError(Problem("not_found", "there is no such token"))
        return Response(status_code=204)

    return routes


def _shown(record: "TokenRecord") -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created_at": record.created_at,
        "last_used_at": record.last_used_at,
        "expires_at": record.expires_at,
    }
