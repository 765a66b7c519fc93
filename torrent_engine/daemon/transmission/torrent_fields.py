"""Every field of ``torrent_get``, in one table. Whole numbers are ints: clients insist on it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.daemon.engine_port.facts import ErrorKind
from torrent_engine.daemon.state.magnets import magnet_of
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus
from torrent_engine.daemon.transmission import file_fields
from torrent_engine.daemon.transmission.peer_fields import peer_object, peers_from
from torrent_engine.daemon.transmission.tracker_fields import (
    tracker_list,
    tracker_object,
    tracker_stats_object,
)
from torrent_engine.daemon.transmission.views import KB, Compute, Need, TorrentView

NOT_AVAILABLE: Final = -1
UNKNOWN: Final = -2
GENERAL_MODE, OWN_MODE, NEVER_MODE = 0, 1, 2
DEFAULT_LIMIT_KB: Final = 100
DEFAULT_RATIO: Final = 2.0
DEFAULT_IDLE_MIN: Final = 30
_MINUTE_S: Final = 60

STATUSES: Final = {
    TorrentStatus.STOPPED: 0,
    TorrentStatus.PAUSED: 0,
    TorrentStatus.FINISHED: 0,
    TorrentStatus.ERROR: 0,
    TorrentStatus.CHECK_QUEUED: 1,
    TorrentStatus.CHECKING: 2,
    TorrentStatus.DOWNLOAD_QUEUED: 3,
    TorrentStatus.METADATA: 4,
    TorrentStatus.DOWNLOADING: 4,
    TorrentStatus.SEED_QUEUED: 5,
    TorrentStatus.SEEDING: 6,
}
ERRORS: Final = {ErrorKind.NONE: 0, ErrorKind.TRACKER_WARNING: 1, ErrorKind.TRACKER_ERROR: 2}
LOCAL_ERROR: Final = 3


@dataclass(frozen=True, slots=True)
class Field:
    """How one field is computed."""

    compute: Compute
    needs: frozenset[Need] = frozenset()
    is_live: bool = False
    """It changes with the time alone."""

    @property
    def is_kept(self) -> bool:
        """Whether it can be kept while the row is the same."""
        return not self.needs and not self.is_live


def eta(view: TorrentView) -> int:
    """Return the seconds until it is complete, or until its ratio is reached."""
    row = view.row
    if row.status in {TorrentStatus.DOWNLOADING, TorrentStatus.METADATA}:
        return UNKNOWN if row.rates.eta_s is None else row.rates.eta_s
    if row.status is not TorrentStatus.SEEDING:
        return NOT_AVAILABLE
    own, general = row.settings.seed_rules.ratio, view.general.seed_rules.ratio
    ratio = general if own is None else own
    if ratio is None or math.isinf(ratio):
        return NOT_AVAILABLE
    base = row.progress.all_downloaded_bytes or row.progress.wanted_bytes
    left = max(ratio * base - row.progress.all_uploaded_bytes, 0.0)
    rate = row.rates.upload_bytes_per_s
    return math.ceil(left / rate) if rate else UNKNOWN


def eta_idle(view: TorrentView) -> int:
    """Return the seconds until the rule about idle seeding stops it."""
    row = view.row
    own, general = row.settings.seed_rules.idle_s, view.general.seed_rules.idle_s
    limit = general if own is None else own
    if row.status is not TorrentStatus.SEEDING or row.rates.upload_bytes_per_s >= 1:
        return NOT_AVAILABLE
    if limit is None or math.isinf(limit):
        return NOT_AVAILABLE
    since = max(row.progress.activity_at, row.progress.started_at)
    return max(round(limit - (view.now_at - since)), 0)


def upload_ratio(row: StateRow) -> float:
    """Return uploaded over what is wanted."""
    if row.progress.wanted_bytes > 0:
        return row.progress.all_uploaded_bytes / row.progress.wanted_bytes
    return float(UNKNOWN if row.progress.all_uploaded_bytes else NOT_AVAILABLE)


def percent_complete(row: StateRow) -> float:
    """Return the part of everything that is here."""
    if not row.about.total_bytes:
        return 1.0 if row.about.has_metadata else 0.0
    return min(row.progress.have_bytes / row.about.total_bytes, 1.0)


def _mode(value: float | None) -> int:
    if value is None:
        return GENERAL_MODE
    return NEVER_MODE if math.isinf(value) else OWN_MODE


def seed_idle_limit(view: TorrentView) -> int:
    """Return minutes; what is kept while the mode is another one."""
    own = view.row.settings.seed_rules.idle_s
    if own is None or math.isinf(own):
        return int(view.kept_number("seed_idle_limit", DEFAULT_IDLE_MIN))
    return round(own / _MINUTE_S)


def seed_ratio_limit(view: TorrentView) -> float:
    """Return the ratio; what is kept while the mode is another one."""
    own = view.row.settings.seed_rules.ratio
    if own is None or math.isinf(own):
        return float(view.kept_number("seed_ratio_limit", DEFAULT_RATIO))
    return float(own)


def _limit_kb(view: TorrentView, name: str, bytes_per_s: int) -> int:
    if not bytes_per_s:
        return int(view.kept_number(name, DEFAULT_LIMIT_KB))
    return max(round(bytes_per_s / KB), 1)


def peer_limit(view: TorrentView) -> int:
    """Return how many peers it may have."""
    return view.row.settings.limits.max_peers or view.general.peer_limit


def magnet_link(row: StateRow) -> str:
    """Return the magnet link that a torrent was added by, or one that leads to it."""
    return row.about.magnet or str(magnet_of(row))


def torrent_file(view: TorrentView) -> str:
    """Return where a copy of the .torrent is kept; "" if none is."""
    folder = view.general.torrents_folder
    return f"{folder}/{view.row.hash}.torrent" if folder else ""


def _web_seeds(view: TorrentView) -> list[dict[str, object]]:
    return [
        {
            "download_bytes_per_second": round(each.download_bytes_per_s),
            "is_downloading": each.active_requests > 0,
            "url": each.url,
        }
        for each in view.details.web_seeds
    ]


def _tracker_stats(view: TorrentView) -> list[dict[str, object]]:
    dialect, is_active = view.dialect, view.is_active
    return [
        tracker_stats_object(each, dialect, is_active=is_active) for each in view.details.trackers
    ]


_FILES: Final = frozenset({Need.FILES})
_PEERS: Final = frozenset({Need.PEERS})
_TRACKERS: Final = frozenset({Need.TRACKERS})
_PIECES: Final = frozenset({Need.PIECES})
_AVAILABILITY: Final = frozenset({Need.PIECES, Need.AVAILABILITY})

FIELDS: Final[dict[str, Field]] = {
    "activity_date": Field(lambda v: int(v.row.progress.activity_at)),
    "added_date": Field(lambda v: int(v.row.about.added_at)),
    "availability": Field(file_fields.availability, _AVAILABILITY),
    "bandwidth_priority": Field(
        lambda v: (v.row.settings.priority > 0) - (v.row.settings.priority < 0)
    ),
    "bytes_completed": Field(lambda v: [f.completed_bytes for f in v.details.files], _FILES),
    "comment": Field(lambda v: v.row.comment),
    "corrupt_ever": Field(lambda v: v.row.progress.failed_bytes),
    "creator": Field(lambda v: v.row.about.creator),
    "date_created": Field(lambda v: int(v.row.about.created_at)),
    "desired_available": Field(file_fields.desired_available, _AVAILABILITY | _FILES),
    "done_date": Field(lambda v: int(v.row.progress.completed_at)),
    "download_dir": Field(lambda v: v.row.settings.save_path),
    "download_limit": Field(
        lambda v: _limit_kb(v, "download_limit", v.row.settings.limits.download_bytes_per_s)
    ),
    "download_limited": Field(lambda v: v.row.settings.limits.download_bytes_per_s > 0),
    "downloaded_ever": Field(lambda v: v.row.progress.all_downloaded_bytes),
    "edit_date": Field(lambda v: int(v.row.progress.edited_at)),
    "error": Field(lambda v: ERRORS.get(v.row.error_kind, LOCAL_ERROR)),
    "error_string": Field(lambda v: v.row.error),
    "eta": Field(eta),
    "eta_idle": Field(eta_idle, is_live=True),
    "file_count": Field(lambda v: v.row.about.file_count),
    "file_stats": Field(file_fields.file_stats, _FILES),
    "files": Field(file_fields.files, _FILES),
    "group": Field(lambda v: v.row.settings.group),
    "hash_string": Field(lambda v: v.row.hash),
    "have_unchecked": Field(lambda _: 0),  # the engine counts a block with its piece
    "have_valid": Field(lambda v: v.row.progress.have_bytes),
    "honors_session_limits": Field(lambda v: v.row.settings.honors_session_limits),
    "id": Field(lambda v: v.row.id),
    "is_finished": Field(
        lambda v: v.row.status is TorrentStatus.FINISHED and v.row.progress.have_bytes > 0
    ),
    "is_private": Field(lambda v: v.row.about.is_private),
    "is_stalled": Field(lambda v: v.row.is_stalled),
    "labels": Field(lambda v: list(v.row.user.labels)),
    "left_until_done": Field(lambda v: v.row.left_bytes),
    "magnet_link": Field(lambda v: magnet_link(v.row)),
    "manual_announce_time": Field(lambda _: NOT_AVAILABLE),  # deprecated
    "max_connected_peers": Field(peer_limit),
    "metadata_percent_complete": Field(lambda v: float(v.row.progress.metadata_fraction)),
    "name": Field(lambda v: v.row.name),
    "peer_limit": Field(peer_limit),
    "peers": Field(lambda v: [peer_object(each, v.dialect) for each in v.details.peers], _PEERS),
    "peers_connected": Field(lambda v: v.row.rates.peers),
    "peers_from": Field(lambda v: peers_from(v.details.peers, v.dialect), _PEERS),
    "peers_getting_from_us": Field(lambda v: v.row.rates.getting_from_us),
    "peers_sending_to_us": Field(lambda v: v.row.rates.sending_to_us),
    "percent_complete": Field(lambda v: percent_complete(v.row)),
    "percent_done": Field(lambda v: float(v.row.fraction)),
    "piece_count": Field(lambda v: v.row.about.piece_count),
    "piece_size": Field(lambda v: v.row.about.piece_bytes),
    "pieces": Field(file_fields.pieces, _PIECES),
    "primary_mime_type": Field(file_fields.primary_mime_type, _FILES),
    "priorities": Field(
        lambda v: [file_fields.priority_of(each) for each in v.details.files], _FILES
    ),
    "queue_position": Field(lambda v: v.row.settings.queue_position),
    "rate_download": Field(lambda v: v.row.rates.download_bytes_per_s),
    "rate_upload": Field(lambda v: v.row.rates.upload_bytes_per_s),
    "recheck_progress": Field(lambda v: float(v.row.progress.checked_fraction)),
    "seconds_downloading": Field(lambda v: int(v.row.progress.downloading_s)),
    "seconds_seeding": Field(lambda v: int(v.row.progress.seeding_s)),
    "seed_idle_limit": Field(seed_idle_limit),
    "seed_idle_mode": Field(lambda v: _mode(v.row.settings.seed_rules.idle_s)),
    "seed_ratio_limit": Field(seed_ratio_limit),
    "seed_ratio_mode": Field(lambda v: _mode(v.row.settings.seed_rules.ratio)),
    "sequential_download": Field(lambda v: v.row.settings.is_sequential),
    "sequential_download_from_piece": Field(lambda v: v.row.settings.sequential_from),
    "size_when_done": Field(lambda v: v.row.progress.wanted_bytes),
    "source": Field(lambda v: v.row.about.source),
    "start_date": Field(lambda v: int(v.row.progress.started_at)),
    "status": Field(lambda v: STATUSES[v.row.status]),
    "torrent_file": Field(torrent_file),
    "total_size": Field(lambda v: v.row.about.total_bytes),
    "tracker_list": Field(lambda v: tracker_list(v.row.settings.trackers)),
    "tracker_stats": Field(_tracker_stats, _TRACKERS),
    "trackers": Field(lambda v: [tracker_object(each) for each in v.details.trackers], _TRACKERS),
    "upload_limit": Field(
        lambda v: _limit_kb(v, "upload_limit", v.row.settings.limits.upload_bytes_per_s)
    ),
    "upload_limited": Field(lambda v: v.row.settings.limits.upload_bytes_per_s > 0),
    "upload_ratio": Field(lambda v: upload_ratio(v.row)),
    "uploaded_ever": Field(lambda v: v.row.progress.all_uploaded_bytes),
    "wanted": Field(file_fields.wanted, _FILES),
    "webseeds": Field(lambda v: list(v.row.settings.web_seeds)),
    "webseeds_ex": Field(_web_seeds, frozenset({Need.WEB_SEEDS})),
    "webseeds_sending_to_us": Field(lambda v: v.row.rates.web_seeds_sending),
}


def needs_of(names: Iterable[str]) -> frozenset[Need]:
    """Return what some fields need beside the row."""
    return frozenset().union(*(FIELDS[name].needs for name in names))


def values_of(view: TorrentView, names: Sequence[str]) -> list[object]:
    """Return the values of some fields, in their order."""
    return [FIELDS[name].compute(view) for name in names]
