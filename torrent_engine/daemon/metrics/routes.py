"""``/metrics``: the daemon's numbers for Prometheus, in its text format or OpenMetrics.

The torrents' own numbers are at ``/metrics/torrents``, if the setting ``metrics.torrents`` allows
that: each torrent is a further set of time series.
"""

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.metrics.exposition import Expositions


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes, numbers = APIRouter(tags=["metrics"]), _Numbers(context)

    @routes.get("/metrics")
    @needs(Scope.METRICS, prompts=True)
    async def metrics(request: Request) -> Response:
        """Return the numbers of the daemon and of all torrents together."""
        if not context.settings().metrics.enabled:
            raise ProblemError(Problem("not_found", "metrics are switched off"))
        return await (await numbers.expositions()).general.answer(request)

    @routes.get("/metrics/torrents")
    @needs(Scope.METRICS, prompts=True)
    async def torrent_metrics(request: Request) -> Response:
        """Return numbers of each torrent."""
        chosen = context.settings().metrics
        if not (chosen.enabled and chosen.torrents):
            raise ProblemError(Problem("not_found", "metrics.torrents is off"))
        return await (await numbers.expositions()).each_torrent.answer(request)

    return routes


class _Numbers:
    """The expositions, made at the first request: most daemons are never asked for numbers."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._making = anyio.Lock()
        self._made: Expositions | None = None

    async def expositions(self) -> "Expositions":
        """Return them."""
        async with self._making:
            if self._made is None:
                self._made = await anyio.to_thread.run_sync(self._make)
            return self._made

    def _make(self) -> "Expositions":
        from torrent_engine.daemon.metrics.exposition import Expositions

        return Expositions(self._context)
