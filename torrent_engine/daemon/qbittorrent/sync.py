"""What changed since a number that a client has: ``sync/maindata``, ``sync/torrentPeers``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from torrent_engine.daemon.common.replies import json_bytes
from torrent_engine.daemon.qbittorrent.numbers import in_qt_style
from torrent_engine.daemon.qbittorrent.peers import peer_key, peer_values
from torrent_engine.daemon.qbittorrent.sync_points import MainPoint, SyncPoints, TrackerIndex
from torrent_engine.daemon.qbittorrent.torrent_fields import (
    SYNC_VALUES,
    FieldSource,
    values_of,
)
from torrent_engine.daemon.qbittorrent.torrent_labels import category_values
from torrent_engine.daemon.qbittorrent.transfer import Transfers
from torrent_engine.daemon.qbittorrent.transport import (
    JsonText,
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    reads,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.torrent_table import Delta

SYNC: Final = "sync"
MAX_PEER_POINTS: Final = 64
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class PeersPoint:
    """What a client has of the peers of a torrent."""

    hash: str
    peers: Mapping[str, Mapping[str, Any]]


class MainSync:
    """What changed of everything since the answer before."""

    def __init__(self, parts: WebApiParts, transfers: Transfers) -> None:
        self._parts = parts
        self._transfers = transfers
        self._points: SyncPoints[MainPoint] = SyncPoints()
        self._trackers = TrackerIndex(parts.state.torrents)

    def routes(self) -> list[WebApiRoute]:
        """Return the route."""
        return [reads("sync/maindata", self.main_data)]

    async def main_data(self, call: WebApiCall) -> WebApiResult:
        """Return what changed since the number "rid"; everything without one that is known."""
        source = self._parts.source(has_secrets=call.has_secrets)
        now = await self._point(source)
        before = self._points.find(call.params.integer("rid"))
        is_known = before is not None and before.general == now.general
        delta = self._parts.state.torrents.delta(before.revision if before and is_known else None)
        number = self._points.give(now)
        if before is None or delta.is_full:
            return await self._full(number, now, delta, source)
        return {"rid": number, **_torrent_changes(delta, source), **_changes(before, now, source)}

    async def _point(self, source: FieldSource) -> MainPoint:
        state = self._parts.state
        server_state = await self._transfers.server_state()
        return MainPoint(
            state.revisions.number,
            source.general,
            category_values(self._parts.categories()),
            tuple(state.labels.labels()),
            self._trackers.look(),
            server_state,
        )

    async def _full(
        self, number: int, now: MainPoint, delta: Delta, source: FieldSource
    ) -> JsonText:
        rows = [row for row, _ in delta.changed]
        told = {
            "rid": number,
            "full_update": True,
            "categories": now.categories,
            "tags": now.tags,
            "trackers": {source.url(url): hashes for url, hashes in now.trackers.items()},
            "server_state": now.server_state,
        }
        shape = self._parts.shape(SYNC, source, SYNC_VALUES)
        encoded = await shape.many(rows)
        torrents = b",".join(
            b'"%b":%b' % (row.hash.encode(), data) for row, data in zip(rows, encoded, strict=True)
        )
        return JsonText(json_bytes(in_qt_style(told))[:-1] + b',"torrents":{%b}}' % torrents)


def _torrent_changes(delta: Delta, source: FieldSource) -> dict[str, Any]:
    changed: dict[str, Any] = {
        row.hash: values_of(row, source, SYNC_VALUES, groups) for row, groups in delta.changed
    }
    return _without_empty(
        {
            "torrents": {key: values for key, values in changed.items() if values},
            "torrents_removed": [info_hash.hex() for info_hash in delta.removed],
        }
    )


def _changes(before: MainPoint, now: MainPoint, source: FieldSource) -> dict[str, Any]:
    trackers, gone = _difference(before.trackers, now.trackers)
    categories, no_categories = _difference(before.categories, now.categories)
    server_state, _ = _difference(before.server_state, now.server_state)
    return _without_empty(
        {
            "categories": categories,
            "categories_removed": no_categories,
            "tags": [tag for tag in now.tags if tag not in before.tags],
            "tags_removed": [tag for tag in before.tags if tag not in now.tags],
            "trackers": {source.url(url): hashes for url, hashes in trackers.items()},
            "trackers_removed": [source.url(url) for url in gone],
            "server_state": server_state,
        }
    )


def _difference(
    before: Mapping[str, _Value], now: Mapping[str, _Value]
) -> tuple[dict[str, _Value], list[str]]:
    """Return what is new or different, and the keys that are gone."""
    if before is now:
        return {}, []
    missing = object()
    changed = {key: value for key, value in now.items() if before.get(key, missing) != value}
    return changed, [key for key in before if key not in now]


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


class PeerSync:
    """What changed of the peers of a torrent since the answer before."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._points: SyncPoints[PeersPoint] = SyncPoints(MAX_PEER_POINTS)

    def routes(self) -> list[WebApiRoute]:
        """Return the route."""
        return [reads("sync/torrentPeers", self.torrent_peers)]

    async def torrent_peers(self, call: WebApiCall) -> WebApiResult:
        """Return what changed since the number "rid"; all peers without one that is known."""
        row = self._parts.row_of(call.params)
        now = PeersPoint(row.hash, self._peers(row))
        before = self._points.find(call.params.integer("rid"))
        told: dict[str, Any] = {"rid": self._points.give(now)}
        if before is None or before.hash != row.hash:
            return {**told, "full_update": True, "show_flags": False, "peers": now.peers}
        changed, gone = _difference(before.peers, now.peers)
        peers = {key: _peer_changes(before.peers.get(key), each) for key, each in changed.items()}
        return told | _without_empty({"peers": peers, "peers_removed": gone})

    def _peers(self, row: StateRow) -> dict[str, Mapping[str, Any]]:
        peers = self._parts.port.torrents.peers(row.info_hash)
        return {peer_key(each): peer_values(each, row) for each in peers}


def _peer_changes(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Mapping[str, Any]:
    return now if before is None else _difference(before, now)[0]
