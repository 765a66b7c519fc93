"""Torrents, chosen, sorted and cut: ``torrents/info``."""

from collections.abc import Sequence
from typing import Any, Final

from torrent_engine.daemon.common.replies import joined
from torrent_engine.daemon.qbittorrent.details import tracker_values
from torrent_engine.daemon.qbittorrent.errors import bad_request
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.states import FILTERS, state_of
from torrent_engine.daemon.qbittorrent.torrent_fields import (
    TORRENT_VALUES,
    FieldSource,
    values_of,
)
from torrent_engine.daemon.qbittorrent.transport import (
    JsonText,
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    reads,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.state.rows import StateRow

INFO: Final = "info"


class TorrentListing:
    """Lists torrents."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [reads("torrents/info", self.info), reads("torrents/count", self.count)]

    async def count(self, call: WebApiCall) -> WebApiResult:
        """Return how many torrents there are."""
        return len(self._parts.state.torrents)

    async def info(self, call: WebApiCall) -> WebApiResult:
        """Return torrents."""
        params = call.params
        source = self._parts.source(has_secrets=call.has_secrets)
        rows = sorted_rows(self._chosen(params), params, source)
        rows = page_of(rows, params.integer("limit") or 0, params.integer("offset") or 0)
        if params.flag("includeTrackers"):
            return [self._with_trackers(row, source) for row in rows]
        shape = self._parts.shape(INFO, source, TORRENT_VALUES)
        return JsonText(joined(await shape.many(rows)))

    def _with_trackers(self, row: StateRow, source: FieldSource) -> dict[str, Any]:
        values = values_of(row, source, TORRENT_VALUES)
        trackers = self._parts.port.torrents.trackers(row.info_hash)
        return {**values, "trackers": [tracker_values(each, source) for each in trackers]}

    def _chosen(self, params: FormParams) -> list[StateRow]:
        hashes = params.parts("hashes")
        rows = self._parts.rows(params) if hashes else self._parts.state.torrents.rows()
        category, tag = params.optional("category"), params.optional("tag")
        test, is_private = FILTERS.get(params.text("filter")), params.flag("private")
        return [
            row
            for row in rows
            if (category is None or _is_in(category, row))
            and (tag is None or (tag in row.user.labels if tag else not row.user.labels))
            and (is_private is None or row.about.is_private is is_private)
            and (test is None or test(row, state_of(row)))
        ]


def _is_in(category: str, row: StateRow) -> bool:
    return row.user.category == category


def sorted_rows(
    rows: Sequence[StateRow], params: FormParams, source: FieldSource
) -> list[StateRow]:
    """Return rows by the field that "sort" names. Raises WebApiError if there is none such."""
    name, is_reversed = params.text("sort"), bool(params.flag("reverse"))
    if not name:
        return list(reversed(rows)) if is_reversed else list(rows)
    if name not in TORRENT_VALUES:
        raise bad_request("'sort' parameter is invalid")
    value = TORRENT_VALUES[name].value

    def key(row: StateRow) -> tuple[bool, Any]:
        found = value(row, source)
        return found is not None, "" if found is None else found

    return sorted(rows, key=key, reverse=is_reversed)


def page_of(rows: Sequence[StateRow], limit: int, offset: int) -> list[StateRow]:
    """Return some rows; an offset below 0 counts from the end, a limit of 0 or less is none."""
    begin = max(len(rows) + offset, 0) if offset < 0 else offset
    end = begin + limit if limit > 0 else len(rows)
    return list(rows[begin:end])
