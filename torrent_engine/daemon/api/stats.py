"""Numbers of all torrents together, now and in the past."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.delta import stats_value
from torrent_engine.daemon.api.requests import seconds_of
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

STEPS_S: Final = {"1": 1, "60": 60, "900": 900}


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/stats", tags=["statistics"])

    @routes.get("")
    @needs(Scope.READ)
    async def get_stats(request: Request) -> Response:
        """Return rates, and totals since the start and of all time."""
        facts = context.state.total_facts
        told = {
            **stats_value(context.state),
            "resting": facts.resting,
            "connections": facts.connections,
            "loop_lag_s": round(facts.loop_lag_s, 4),
        }
        return await json_reply(request, json_bytes(told))

    @routes.get("/history")
    @needs(Scope.READ)
    async def get_history(
        request: Request,
        step: Literal["1", "60", "900"] = "1",
        since: Annotated[datetime | None, Query(alias="from")] = None,
    ) -> Response:
        """Return mean rates of the past: ``[time, download, upload]`` of each step."""
        since_at = 0.0 if since is None else seconds_of(since)
        samples = context.state.history.samples(STEPS_S[step], since_at)
        told = {"step_s": STEPS_S[step], "samples": [list(each) for each in samples]}
        return await json_reply(request, json_bytes(told))

    return routes
