"""The newest records of the log: ``/api/v1/log``."""

import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.state.log_tail import MAX_RECORDS, LogEntry

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

LevelName = Literal["debug", "info", "warning", "error"]


def router(context: "DaemonContext") -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/api/v1/log", tags=["administration"])
    @needs(Scope.ADMIN)
    async def read_log(
        request: Request,
        level: LevelName = "debug",
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_RECORDS)] = MAX_RECORDS,
    ) -> Response:
        """Return records behind a number, the oldest first; ``last`` is the newest number."""
        found = context.log.after(after, level_number(level), limit)
        told = {"items": [log_value(each) for each in found], "last": context.log.last}
        return await json_reply(request, json_bytes(told))

    return routes


def level_number(name: str) -> int:
    """Return the number of a level."""
    return logging.getLevelNamesMapping()[name.upper()]


def log_value(entry: LogEntry) -> dict[str, Any]:
    """Return a record as it is told."""
    return {
        "number": entry.number,
        "at": timestamp(entry.at),
        "level": logging.getLevelName(entry.level).lower(),
        "logger": entry.logger,
        "text": entry.text,
    }
