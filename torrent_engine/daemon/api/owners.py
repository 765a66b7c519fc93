"""Owners of downloads, such as tabs of a browser: their generations, which the daemon counts."""

import hmac
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.requests import Input, principal_in
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Means, Scope
from torrent_engine.daemon.state.owners import MAX_LEASE_S

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

_OwnerId = Annotated[str, Path(min_length=1, max_length=255)]


class LeaseInput(Input):
    """How long what an owner began outlives its last event stream."""

    lease_s: float | None = Field(default=None, ge=0, le=MAX_LEASE_S)
    """Seconds; 0: it has no end. null: as before, at first a minute."""


class RenewalInput(Input):
    """A renewal of a lease."""

    lease_s: float | None = Field(default=None, ge=0, le=MAX_LEASE_S)
    """Seconds; 0: it has no end. null: as before."""
    holder: str = Field(default="", max_length=64)
    """One of several who renew it; `DELETE` with the same name ends the owner with the last."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/owners/{owner_id}", tags=["owners"])
    owners = context.state.owners

    @routes.get("")
    @needs(Scope.CONTROL)
    async def get_owner(request: Request, owner_id: _OwnerId) -> Response:
        """Return an owner's generation, what it owns, and how long its lease lasts."""
        told = owners.value(owner_id)
        if told is None:
            raise ProblemError(Problem("not_found", "there is no such owner"))
        return await json_reply(request, json_bytes(told))

    @routes.post("/generation", status_code=201)
    @needs(Scope.CONTROL)
    async def begin_generation(
        request: Request, owner_id: _OwnerId, given: LeaseInput | None = None
    ) -> Response:
        """Begin a new generation; downloads of older ones are cancelled."""
        generation, cancelled = owners.advance(
            owner_id, given.lease_s if given else None, by=principal_in(request).csrf_token
        )
        told = {"generation": generation, "cancelled": cancelled}
        return await json_reply(request, json_bytes(told), status=201)

    @routes.put("/lease", status_code=204)
    @needs(Scope.CONTROL)
    async def renew_lease(owner_id: _OwnerId, given: RenewalInput | None = None) -> Response:
        """Renew the lease of an owner that has no event stream open."""
        if owners.present(owner_id) is None:
            raise ProblemError(Problem("not_found", "there is no such owner"))
        given = given or RenewalInput()
        owners.renew(owner_id, given.lease_s, given.holder)
        return Response(status_code=204)

    @routes.delete("", status_code=204)
    @needs(Scope.CONTROL)
    async def end_owner(
        owner_id: _OwnerId, holder: Annotated[str, Query(max_length=64)] = ""
    ) -> Response:
        """Cancel all downloads of an owner; with a `holder` only if nobody else holds the lease."""
        if holder:
            owners.release(owner_id, holder)
        else:
            owners.end(owner_id)
        return Response(status_code=204)

    @routes.post("/bye", status_code=204)
    @needs(Scope.CONTROL, has_own_csrf=True, media_types=frozenset())
    async def say_bye(
        request: Request,
        owner_id: _OwnerId,
        csrf: Annotated[str, Query(max_length=255)] = "",
    ) -> Response:
        """Cancel all downloads of a tab that is closed; a beacon has no field for its token."""
        principal = principal_in(request)
        is_known = hmac.compare_digest(csrf.encode(), principal.csrf_token.encode())
        if principal.means is Means.COOKIE and not (principal.csrf_token and is_known):
            raise ProblemError(Problem("csrf_invalid", "the token of the session is needed"))
        owners.end(owner_id)
        return Response(status_code=204)

    return routes
