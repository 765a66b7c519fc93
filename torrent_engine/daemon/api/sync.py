"""``/api/v1/sync``: everything, or what changed since a revision, waited for if asked to."""

from typing import TYPE_CHECKING, Annotated

import anyio
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.delta import DEFAULT_PAGE, MAX_PAGE, DeltaChoice, delta_body
from torrent_engine.daemon.api.requests import principal_in
from torrent_engine.daemon.api.torrent_fields import chosen_fields
from torrent_engine.daemon.common.replies import (
    is_unchanged,
    json_reply,
    not_modified,
    weak_etag,
)
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_HASHES = 1_000


def router(context: "DaemonContext") -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/api/v1/sync", tags=["sync"])
    @needs(Scope.READ)
    async def sync(  # noqa: PLR0913 - the parameters of the query
        request: Request,
        since: Annotated[str | None, Query(max_length=64)] = None,
        torrents: Annotated[str, Query(max_length=50_000)] = "list",
        fields: Annotated[str | None, Query(max_length=2_000)] = None,
        jobs: Annotated[bool, Query()] = True,  # noqa: FBT002 - of the query
        wait: Annotated[float, Query(ge=0, le=30)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
        cursor: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """Return what changed since a revision; all, page by page, without one that is known.

        ``torrents`` is "list", "none" or info-hashes with commas. While pages of a full answer
        are read, the revision of the first page is the one to continue from.
        """
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        choice = choice_of(torrents, fields, has_jobs=jobs, limit=limit, has_secrets=has_secrets)
        state = context.state
        if wait and not cursor:
            await _wait(context, since, wait)
            if not context.authenticator.is_current(principal_in(request)):
                raise ProblemError(Problem("unauthenticated", "its credential has ended"))
        etag = weak_etag(state.revisions.text())
        if is_unchanged(request, etag):
            return not_modified(etag)
        delta = state.delta(since if not cursor else None)
        return await json_reply(request, await delta_body(state, choice, delta, cursor), etag=etag)

    return routes


async def _wait(context: "DaemonContext", since: str | None, seconds: float) -> None:
    """Return when something changes, the time is over or the daemon stops."""
    async with anyio.create_task_group() as tasks:

        async def end_with_the_daemon() -> None:
            await context.life.stopping.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(end_with_the_daemon)
        await context.state.wait(since, seconds)
        tasks.cancel_scope.cancel()


def choice_of(
    torrents: str,
    fields: str | None,
    *,
    has_jobs: bool,
    limit: int = DEFAULT_PAGE,
    has_secrets: bool = False,
) -> DeltaChoice:
    """Return what a query asks for. Raises ProblemError."""
    hashes = None
    if torrents not in {"list", "none"}:
        hashes = frozenset(each.lower() for each in torrents.split(","))
        if len(hashes) > MAX_HASHES or not all(map(_is_hash, hashes)):
            wrong = InputError("/torrents", '"list", "none" or info-hashes with commas')
            raise ProblemError(Problem("input_invalid", "torrents", errors=[wrong]))
    return DeltaChoice(
        chosen_fields(fields),
        torrents != "none",
        hashes,
        has_jobs=has_jobs,
        has_secrets=has_secrets,
        limit=limit,
    )


def _is_hash(text: str) -> bool:
    return len(text) == 40 and all(c in "0123456789abcdef" for c in text)
