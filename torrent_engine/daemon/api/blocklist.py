"""The lists of addresses that are refused: ``/api/v1/blocklist``."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.jobs.blocklist import ListStatus
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.service.sources import shown

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/blocklist", tags=["settings"])

    @routes.get("")
    @needs(Scope.READ)
    async def get_blocklist(request: Request) -> Response:
        """Return the lists that are fetched, and when each was; URLs without secrets."""
        statuses = {} if context.background is None else context.background.lists.statuses
        lists = [list_value(url, status) for url, status in statuses.items()]
        told = {"rules": sum(each["rules"] for each in lists), "lists": lists}
        return await json_reply(request, json_bytes(told))

    @routes.post("/update", status_code=202)
    @needs(Scope.SETTINGS)
    async def update_blocklist() -> Response:
        """Fetch all lists soon."""
        if context.background is None or not context.background.lists.statuses:
            raise ProblemError(Problem("state_conflict", "no list is fetched"))
        context.background.lists.update_now()
        return Response(status_code=202)

    return routes


def list_value(url: str, status: ListStatus) -> dict[str, Any]:
    """Return a list as it is told."""
    return {
        "url": shown(url),
        "rules": status.ranges,
        "checked_at": timestamp(status.checked_at),
        "changed_at": timestamp(status.changed_at),
        "error": status.error or None,
    }
