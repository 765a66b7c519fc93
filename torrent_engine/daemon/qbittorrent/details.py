"""What is told of one torrent on request: properties, files, trackers, web seeds, pieces."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from torrent_engine.daemon.common.replies import listed, torrent_bytes
from torrent_engine.daemon.engine_port.facts import FileFacts, PeerFacts, TrackerFacts
from torrent_engine.daemon.qbittorrent.errors import conflict, not_found
from torrent_engine.daemon.qbittorrent.numbers import in_qt_style
from torrent_engine.daemon.qbittorrent.torrent_fields import (
    TORRENT_VALUES,
    FieldSource,
    active_s,
    seconds_of,
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

NOT_CONTACTED, WORKING, UPDATING, NOT_WORKING = 1, 2, 3, 4
DISABLED: Final = 0
TRACKER_STATES: Final = {
    "announcing": UPDATING,
    "working": WORKING,
    "waiting": NOT_CONTACTED,
    "failed": NOT_WORKING,
    "disabled": DISABLED,
}
HAVE_PIECE: Final = 2
_SAME: Final = (
    "comment",
    "download_path",
    "eta",
    "has_metadata",
    "hash",
    "infohash_v1",
    "infohash_v2",
    "name",
    "popularity",
    "private",
    "progress",
    "reannounce",
    "save_path",
    "seeding_time",
    "total_size",
)
"""Fields of a torrent that "torrents/properties" tells as they are."""
_SOURCES: Final = {"** [DHT] **": "dht", "** [PeX] **": "pex", "** [LSD] **": "lsd"}


class TorrentDetails:
    """One torrent in detail."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._torrents = parts.port.torrents

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            reads("torrents/properties", self.properties),
            reads("torrents/files", self.files),
            reads("torrents/trackers", self.trackers),
            reads("torrents/webseeds", self.web_seeds),
            reads("torrents/pieceStates", self.piece_states),
            reads("torrents/pieceHashes", self.piece_hashes),
            reads("torrents/export", self.export),
            reads("torrents/SSLParameters", self.no_parameters),
        ]

    async def properties(self, call: WebApiCall) -> WebApiResult:
        """Return what belongs to the torrent as a whole."""
        row = self._parts.row_of(call.params)
        source = self._parts.source(has_secrets=call.has_secrets)
        limits, general = row.settings.limits, source.general
        return {
            **values_of(row, source, {name: TORRENT_VALUES[name] for name in _SAME}),
            **_moved(row, source),
            **_people(row),
            "addition_date": seconds_of(row.about.added_at),
            "completion_date": seconds_of(row.progress.completed_at),
            "created_by": row.about.creator,
            "creation_date": seconds_of(row.about.created_at),
            "dl_limit": limits.download_bytes_per_s or -1,
            "is_private": row.about.is_private,
            "last_seen": seconds_of(row.progress.completed_at),
            "nb_connections_limit": limits.max_peers or general.peers_per_torrent,
            "piece_size": row.about.piece_bytes if row.about.has_metadata else -1,
            "pieces_have": row.progress.pieces_have if row.about.has_metadata else -1,
            "pieces_num": row.about.piece_count if row.about.has_metadata else -1,
            "share_ratio": TORRENT_VALUES["ratio"].value(row, source),
            "time_elapsed": active_s(row),
            "up_limit": limits.upload_bytes_per_s or -1,
        }

    async def files(self, call: WebApiCall) -> WebApiResult:
        """Return the files, or those of some indexes."""
        row = self._parts.row_of(call.params)
        files = await self._torrents.files(row.info_hash)
        if "indexes" in call.params:
            files = chosen_files(files, call.params.parts("indexes"))
        availability = self._torrents.availability(row.info_hash)

        def values(facts: FileFacts) -> Any:  # noqa: ANN401 - what JSON has
            told = _file_values(facts, availability)
            if facts is files[0] and facts.index == 0:
                told["is_seed"] = row.is_complete
            return in_qt_style(told)

        return JsonText(await listed(files, values))

    async def trackers(self, call: WebApiCall) -> WebApiResult:
        """Return the trackers, below what else names peers."""
        row = self._parts.row_of(call.params)
        source = self._parts.source(has_secrets=call.has_secrets)
        trackers = self._torrents.trackers(row.info_hash)
        return [*self._other_sources(row), *(tracker_values(each, source) for each in trackers)]

    def _other_sources(self, row: StateRow) -> list[dict[str, Any]]:
        network, peers = self._parts.context.settings().network, self._torrents.peers(row.info_hash)
        return [
            _source_values(
                title,
                [peer for peer in peers if peer.source == name],
                is_on=bool(getattr(network, name)),
                is_private=row.about.is_private,
            )
            for title, name in _SOURCES.items()
        ]

    async def web_seeds(self, call: WebApiCall) -> WebApiResult:
        """Return the web seeds."""
        row = self._parts.row_of(call.params)
        source = self._parts.source(has_secrets=call.has_secrets)
        return [{"url": source.url(url)} for url in row.settings.web_seeds]

    async def piece_states(self, call: WebApiCall) -> WebApiResult:
        """Return for each piece 2 if it is here, else 0."""
        row = self._parts.row_of(call.params)
        pieces, count = self._torrents.pieces(row.info_hash), row.about.piece_count
        return [HAVE_PIECE * has_piece(pieces, piece) for piece in range(count)]

    async def piece_hashes(self, call: WebApiCall) -> WebApiResult:
        """Return the SHA-1 of each piece, or what a v2-only torrent has instead."""
        row = self._parts.row_of(call.params)
        torrent = await self._torrents.metainfo(row.info_hash)
        if torrent is None:
            return []
        hash_of = torrent.piece_hash if torrent.piece_hashes else torrent.hashes.expected
        pieces = range(torrent.piece_count)
        return JsonText(await listed(pieces, lambda piece: (hash_of(piece) or b"").hex()))

    async def export(self, call: WebApiCall) -> WebApiResult:
        """Return the .torrent; without its trackers for whoever may not control torrents."""
        row = self._parts.row_of(call.params)
        torrent = await self._torrents.metainfo(row.info_hash)
        if torrent is None:
            raise conflict("Unable to export torrent file. Error: there is no metadata yet")
        headers = {"Content-Disposition": f'attachment; filename="{row.hash}.torrent"'}
        body = await torrent_bytes(torrent, has_trackers=call.has_secrets)
        return Response(body, 200, headers, "application/x-bittorrent")

    async def no_parameters(self, call: WebApiCall) -> WebApiResult:
        """Raise WebApiError: no torrent has certificates."""
        self._parts.row_of(call.params)
        raise not_found()


def _moved(row: StateRow, source: FieldSource) -> dict[str, Any]:
    progress, rates, counts = row.progress, row.rates, source.counts.of(row)
    active = active_s(row)
    loading = int(progress.downloading_s)
    return {
        "dl_speed": rates.download_bytes_per_s,
        "dl_speed_avg": progress.all_downloaded_bytes // loading if loading else -1,
        "total_downloaded": progress.all_downloaded_bytes,
        "total_downloaded_session": counts.downloaded_bytes,
        "total_uploaded": progress.all_uploaded_bytes,
        "total_uploaded_session": counts.uploaded_bytes,
        "total_wasted": progress.wasted_bytes,
        "up_speed": rates.upload_bytes_per_s,
        "up_speed_avg": progress.all_uploaded_bytes // active if active else -1,
    }


def _people(row: StateRow) -> dict[str, int]:
    rates = row.rates
    return {
        "nb_connections": rates.peers,
        "peers": max(rates.peers - rates.seeds, 0),
        "peers_total": -1 if rates.swarm_leeches is None else rates.swarm_leeches,
        "seeds": rates.seeds,
        "seeds_total": -1 if rates.swarm_seeds is None else rates.swarm_seeds,
    }


def has_piece(bitfield: bytes, piece: int) -> bool:
    """Return whether a BEP 3 bitfield has a piece; an empty one has none."""
    byte = piece >> 3
    return byte < len(bitfield) and bool(bitfield[byte] & (0x80 >> (piece & 7)))


# -- files ----------------------------------------------------------------------------------------

NORMAL, HIGH, MAXIMAL = 1, 6, 7
ENGINE_PRIORITIES: Final = {0: 0, NORMAL: 4, HIGH: 6, MAXIMAL: 7}
"""The engine's priority for each of the protocol."""
_ENGINE_HIGH, _ENGINE_MAXIMAL = 5, 7


def priority_of(facts: FileFacts) -> int:
    """Return the priority of a file: 0 not wanted, 1 normal, 6 high, 7 maximal."""
    if facts.priority >= _ENGINE_MAXIMAL:
        return MAXIMAL
    return HIGH if facts.priority >= _ENGINE_HIGH else min(facts.priority, NORMAL)


def chosen_files(files: Sequence[FileFacts], texts: Sequence[str]) -> list[FileFacts]:
    """Return the files of some indexes. Raises WebApiError for one that does not exist."""
    by_index = {str(each.index): each for each in files}
    for text in texts:
        if text not in by_index:
            raise conflict(f'"{text:.20}" is not a valid file index.')
    return [by_index[text] for text in texts]


def _file_values(facts: FileFacts, availability: Sequence[int]) -> dict[str, Any]:
    size, counts = facts.size_bytes, availability[facts.first_piece : facts.end_piece]
    return {
        "index": facts.index,
        "name": facts.path,
        "size": size,
        "progress": round(facts.completed_bytes / size, 6) if size else 1.0,
        "priority": priority_of(facts),
        "piece_range": [facts.first_piece, max(facts.end_piece - 1, facts.first_piece)],
        "availability": sum(map(bool, counts)) / len(counts) if counts else -1.0,
    }


# -- trackers -------------------------------------------------------------------------------------


def tracker_values(facts: TrackerFacts, source: FieldSource) -> dict[str, Any]:
    """Return a tracker."""
    return {
        "url": source.url(facts.url),
        "tier": facts.tier,
        "status": TRACKER_STATES.get(facts.state, NOT_CONTACTED),
        "msg": facts.message,
        "num_peers": facts.peers,
        "num_seeds": -1 if facts.seeds is None else facts.seeds,
        "num_leeches": -1 if facts.leeches is None else facts.leeches,
        "num_downloaded": -1 if facts.downloads is None else facts.downloads,
    }


def _source_values(
    title: str, peers: Sequence[PeerFacts], *, is_on: bool, is_private: bool
) -> dict[str, Any]:
    seeds = sum(peer.is_seed for peer in peers)
    return {
        "url": title,
        "tier": -1,
        "status": WORKING if is_on and not is_private else DISABLED,
        "msg": "This torrent is private" if is_private else "",
        "num_peers": 0,
        "num_seeds": seeds,
        "num_leeches": len(peers) - seeds,
        "num_downloaded": 0,
    }
