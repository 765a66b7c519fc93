"""Owners of downloads, such as tabs of a browser: their generations, which the daemon counts."""

import hmac
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.requests import principal_in
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Means, Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_OWNERS: Final = 10_000  # ours: the least recent are forgotten first
_OwnerId = Annotated[str, Path(min_length=1, max_length=255)]


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/owners/{owner_id}", tags=["owners"])
    owners = OwnerGenerations(context)

    @routes.get("")
    @needs(Scope.CONTROL)
    async def get_owner(request: Request, owner_id: _OwnerId) -> Response:
        """Return an owner's generation and what it owns."""
        return await json_reply(request, json_bytes(owners.value(owner_id)))

    @routes.post("/generation", status_code=201)
    @needs(Scope.CONTROL)
    async def begin_generation(request: Request, owner_id: _OwnerId) -> Response:
        """Begin a new generation; downloads of older ones are cancelled."""
        generation, cancelled = owners.advance(owner_id)
        told = {"generation": generation, "cancelled": cancelled}
        return await json_reply(request, json_bytes(told), status=201)

    @routes.delete("", status_code=204)
    @needs(Scope.CONTROL)
    async def end_owner(owner_id: _OwnerId) -> Response:
        """Cancel all downloads of an owner."""
        owners.advance(owner_id)
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
        owners.advance(owner_id)
        return Response(status_code=204)

    return routes


class OwnerGenerations:
    """Counts generations: each is above all that an owner ever had, over restarts too."""

    def __init__(self, context: "DaemonContext") -> None:
        self._engine = context.port.engine
        self._state = context.state
        self._table = context.state.store.table("owners")

    def present(self, owner_id: str) -> int | None:
        """Return the highest generation of an owner that is known; None: it is not known."""
        stored = self._table.get(owner_id)
        known = [self._engine.owner_generation(owner_id)]
        known += [stored] if isinstance(stored, int) else []
        known += [tie.generation for tie in self._ties(owner_id)]
        return max((each for each in known if each is not None), default=None)

    def _ties(self, owner_id: str) -> list[Any]:
        ties = (row.settings.owner for row in self._state.torrents)
        return [tie for tie in ties if tie is not None and tie.owner_id == owner_id]

    def advance(self, owner_id: str) -> tuple[int, int]:
        """Begin the next generation; return it, and how many downloads were cancelled."""
        present = self.present(owner_id)
        generation = 1 if present is None else present + 1
        cancelled = self._engine.advance_owner(owner_id, generation)
        if len(self._table) >= MAX_OWNERS and owner_id not in self._table:
            self._forget_one()
        self._table.drop(owner_id)  # so that it is the most recent
        self._table.put(owner_id, generation)
        return generation, cancelled

    def _forget_one(self) -> None:
        unused = (each for each, _ in self._table.items() if not self._ties(each))
        if (oldest := next(unused, None)) is not None:
            self._table.drop(oldest)

    def value(self, owner_id: str) -> dict[str, Any]:
        """Return an owner as it is told. Raises ProblemError if it is not known."""
        generation = self.present(owner_id)
        if generation is None:
            raise ProblemError(Problem("not_found", "there is no such owner"))
        owned = [
            row.hash
            for row in self._state.torrents
            if row.settings.owner is not None and row.settings.owner.owner_id == owner_id
        ]
        return {"id": owner_id, "generation": generation, "torrents": owned}
