"""The torrents: lists, one of them, and its settings."""

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.requests import principal_in
from torrent_engine.daemon.api.torrent_changes import TorrentPatch, apply_patch
from torrent_engine.daemon.api.torrent_control import row_of
from torrent_engine.daemon.api.torrent_fields import (
    TORRENT_FIELDS,
    chosen_fields,
    shape_of,
    value_of,
)
from torrent_engine.daemon.api.torrent_list import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    TorrentFilter,
    page_of,
)
from torrent_engine.daemon.common.replies import (
    is_unchanged,
    joined,
    json_bytes,
    json_reply,
    not_modified,
    weak_etag,
)
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/torrents", tags=["torrents"])

    @routes.get("")
    @needs(Scope.READ)
    async def list_torrents(  # noqa: PLR0913 - the parameters of the query
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        cursor: Annotated[str | None, Query(max_length=4_096)] = None,
        sort: Annotated[str, Query(max_length=200)] = "id",
        fields: Annotated[str | None, Query(max_length=2_000)] = None,
        q: Annotated[str | None, Query(max_length=256)] = None,
        status: Annotated[str | None, Query(max_length=200)] = None,
        label: Annotated[str | None, Query(max_length=256)] = None,
        category: Annotated[str | None, Query(max_length=256)] = None,
        tracker: Annotated[str | None, Query(max_length=256)] = None,
        private: Annotated[bool | None, Query()] = None,
        path: Annotated[str | None, Query(max_length=4_096)] = None,
    ) -> Response:
        """Return one page of the torrents."""
        etag = weak_etag(context.state.revisions.text())
        if is_unchanged(request, etag):
            return not_modified(etag)
        chosen = TorrentFilter(q, status, label, category, tracker, private, path)
        page = page_of(context.state.torrents.rows(), chosen, sort, limit=limit, cursor=cursor)
        names = chosen_fields(fields)
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        shape = shape_of(context.state.shapes, names, has_secrets=has_secrets)
        rest = {"next": page.next, "total": page.total, "rev": context.state.revisions.text()}
        rows = await shape.many(page.rows)
        body = joined(rows, b'{"items":', b"," + json_bytes(rest)[1:])
        return await json_reply(request, body, etag=etag)

    @routes.get("/{info_hash}")
    @needs(Scope.READ)
    async def get_torrent(
        request: Request,
        info_hash: str,
        fields: Annotated[str | None, Query(max_length=2_000)] = None,
    ) -> Response:
        """Return one torrent."""
        row = row_of(context.state, info_hash)
        etag = weak_etag(context.state.revisions.text(row.revision))
        if is_unchanged(request, etag):
            return not_modified(etag)
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        names = chosen_fields(fields, TORRENT_FIELDS)
        told = value_of(row, names, has_secrets=has_secrets)
        return await json_reply(request, json_bytes(told), etag=etag)

    @routes.patch("/{info_hash}")
    @needs(
        Scope.CONTROL, media_types=frozenset({"application/json", "application/merge-patch+json"})
    )
    async def change_torrent(request: Request, info_hash: str, given: TorrentPatch) -> Response:
        """Change settings of a torrent; what is not named stays as it is (RFC 7396)."""
        row = row_of(context.state, info_hash)
        await apply_patch(context, row, given)
        told = value_of(row_of(context.state, info_hash), TORRENT_FIELDS, has_secrets=True)
        return await json_reply(request, json_bytes(told))

    return routes
