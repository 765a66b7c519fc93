"""Every field of a torrent as "torrents/info" and "sync/maindata" tell it, in one table.

Sizes are bytes, rates bytes per second, dates seconds since 1970, limits of time minutes.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.codec.urls import host_of
from torrent_engine.daemon.engine_port.facts import ErrorKind, FactGroup
from torrent_engine.daemon.engine_port.port import TorrentReading
from torrent_engine.daemon.qbittorrent.numbers import in_qt_style
from torrent_engine.daemon.qbittorrent.session_counts import SessionCounts
from torrent_engine.daemon.qbittorrent.states import state_of
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.service.sources import shown

UNKNOWN_ETA_S: Final = 8_640_000
"""What the protocol says for an end that is not known: a hundred days."""
MAX_RATIO: Final = 9_999.0
GENERAL_RULE: Final = -2
NO_LIMIT: Final = -1
NEVER: Final = -1
_MINUTE_S: Final = 60.0
_MONTH_S: Final = 30 * 86_400.0
AUTO_TMM: Final = "qbittorrent.auto_tmm"
"""The switch for automatic folders, kept with a torrent."""


@dataclass(frozen=True, slots=True)
class GeneralLimits:
    """Settings of all torrents that fields of one depend on."""

    ratio: float | None = None
    time_min: int | None = None
    idle_min: int | None = None
    is_queueing: bool = True
    peers_per_torrent: int = 50


@dataclass(frozen=True, slots=True)
class FieldSource:
    """What fields are told from beside the row."""

    reading: TorrentReading
    counts: SessionCounts
    wall_clock: Callable[[], float]
    general: GeneralLimits
    has_secrets: bool

    def url(self, url: str) -> str:
        """Return a URL as it may be told."""
        return url if self.has_secrets else shown(url)


FieldValue = Callable[[StateRow, FieldSource], Any]


@dataclass(frozen=True, slots=True)
class WebApiField:
    """One field, and the groups of facts with which it changes."""

    value: FieldValue
    groups: frozenset[FactGroup]


# -- values ---------------------------------------------------------------------------------------


def seconds_of(date: float) -> int:
    """Return a date; -1 for one that never was or is not known."""
    return int(date) if date > 0 else NEVER


def ratio_of(ratio: float) -> float:
    """Return a ratio; -1 for one that has no end."""
    return round(ratio, 6) if math.isfinite(ratio) and ratio < MAX_RATIO else -1.0


def active_s(row: StateRow) -> int:
    """Return for how long a torrent was downloading or seeding."""
    return int(row.progress.downloading_s + row.progress.seeding_s)


def popularity_of(row: StateRow) -> float:
    """Return the ratio for each month of activity."""
    months = active_s(row) / _MONTH_S
    return ratio_of(row.progress.ratio / months) if months > 0 else 0.0


def rule_value(rule: float | None, unit: float = 1.0) -> float:
    """Return a rule for the end of seeding: -2 the general one, -1 never."""
    if rule is None:
        return GENERAL_RULE
    return NO_LIMIT if math.isinf(rule) else rule / unit


def effective(rule: float | None, general: float | None, unit: float = 1.0) -> float:
    """Return the rule that holds for a torrent: -1 for none."""
    if rule is None:
        return NO_LIMIT if general is None else general
    return NO_LIMIT if math.isinf(rule) else rule / unit


def content_path(row: StateRow) -> str:
    """Return where the file of a torrent is, or the folder of its files; "" before the metadata."""
    if not row.about.has_metadata:
        return ""
    return f"{row.settings.current_path.rstrip('/')}/{row.about.root}"


def is_single_file(row: StateRow) -> bool:
    """Return whether a torrent is a file and no folder, as far as its name tells."""
    about = row.about
    return about.file_count == 1 and about.name.endswith(about.largest_suffix)


def queue_place(row: StateRow, general: GeneralLimits) -> int:
    """Return the place in the queue, from 1; 0 for torrents that do not wait there."""
    return row.settings.queue_position + 1 if general.is_queueing and not row.is_complete else 0


def tracker_url(row: StateRow) -> str:
    """Return the URL of the tracker that works; "" if none does."""
    summary = row.progress.tracker
    if summary.state != "working":
        return ""
    urls = [url for tier in row.settings.trackers for url in tier]
    return next((url for url in urls if host_of(url) == summary.host), "")


def next_announce_s(row: StateRow, source: FieldSource) -> int:
    """Return in how many seconds the next tracker is asked; 0 if none is."""
    if row.status in {"stopped", "paused", "finished", "error"}:
        return 0
    try:
        trackers = source.reading.trackers(row.info_hash)
    except (UnknownTorrentError, ClosedError):
        return 0
    dates = [each.next_announce_at for each in trackers if each.next_announce_at]
    return max(int(min(dates) - source.wall_clock()), 0) if dates else 0


def _availability(row: StateRow, source: FieldSource) -> float:
    """Return the distributed copies; -1 for a torrent that does not download."""
    if row.status != "downloading":
        return -1.0
    try:
        return float(round(source.reading.swarm(row.info_hash).distributed_copies, 3))
    except (UnknownTorrentError, ClosedError):
        return -1.0


def _magnet(row: StateRow, source: FieldSource) -> str:
    magnet = row.about.magnet
    return magnet if source.has_secrets else magnet.partition("&tr=")[0]


def kept_switch(row: StateRow, key: str) -> bool:
    """Return a switch that is kept with a torrent."""
    return (key, "1") in row.user.other


def _count(number: int | None) -> int:
    return NEVER if number is None else number


def _minutes(value: float) -> int:
    return int(value)


# -- the table ------------------------------------------------------------------------------------

_A, _S, _P, _R = FactGroup.ABOUT, FactGroup.SETTINGS, FactGroup.PROGRESS, FactGroup.RATES


def _of(*groups: FactGroup) -> Callable[[FieldValue], WebApiField]:
    return lambda value: WebApiField(value, frozenset(groups))


_about, _settings, _progress, _rates = _of(_A), _of(_S), _of(_P), _of(_R)

TORRENT_VALUES: Final[Mapping[str, WebApiField]] = {
    "added_on": _about(lambda row, _: seconds_of(row.about.added_at)),
    "amount_left": _progress(lambda row, _: row.left_bytes),
    "auto_tmm": _settings(lambda row, _: kept_switch(row, AUTO_TMM)),
    "availability": _of(_P, _R)(_availability),
    "category": _settings(lambda row, _: row.user.category),
    "comment": _of(_A, _S)(lambda row, _: row.comment),
    "completed": _progress(lambda row, _: row.progress.completed_bytes),
    "completion_on": _progress(lambda row, _: seconds_of(row.progress.completed_at)),
    "content_path": _of(_A, _S)(lambda row, _: content_path(row)),
    "dl_limit": _settings(lambda row, _: row.settings.limits.download_bytes_per_s),
    "dlspeed": _rates(lambda row, _: row.rates.download_bytes_per_s),
    "download_path": _settings(lambda row, _: row.settings.incomplete_path),
    "downloaded": _progress(lambda row, _: row.progress.all_downloaded_bytes),
    "downloaded_session": _progress(lambda row, source: source.counts.of(row).downloaded_bytes),
    "eta": _rates(lambda row, _: UNKNOWN_ETA_S if row.rates.eta_s is None else row.rates.eta_s),
    "f_l_piece_prio": _settings(lambda row, _: row.settings.is_first_last_first),
    "force_start": _settings(lambda row, _: row.settings.is_forced),
    "has_metadata": _about(lambda row, _: row.about.has_metadata),
    "hash": _about(lambda row, _: row.hash),
    "inactive_seeding_time_limit": _settings(
        lambda row, _: _minutes(rule_value(row.settings.seed_rules.idle_s, _MINUTE_S))
    ),
    "infohash_v1": _about(lambda row, _: str(row.info_hash_v1 or "")),
    "infohash_v2": _about(lambda row, _: str(row.about.info_hash_v2 or "")),
    "last_activity": _progress(lambda row, _: seconds_of(row.progress.activity_at)),
    "magnet_uri": _about(_magnet),
    "max_inactive_seeding_time": _settings(
        lambda row, source: _minutes(
            effective(row.settings.seed_rules.idle_s, source.general.idle_min, _MINUTE_S)
        )
    ),
    "max_ratio": _settings(
        lambda row, source: effective(row.settings.seed_rules.ratio, source.general.ratio)
    ),
    "max_seeding_time": _settings(
        lambda row, source: _minutes(
            effective(row.settings.seed_rules.time_s, source.general.time_min, _MINUTE_S)
        )
    ),
    "name": _of(_A, _S)(lambda row, _: row.name),
    "num_complete": _rates(lambda row, _: _count(row.rates.swarm_seeds)),
    "num_incomplete": _rates(lambda row, _: _count(row.rates.swarm_leeches)),
    "num_leechs": _rates(lambda row, _: max(row.rates.peers - row.rates.seeds, 0)),
    "num_seeds": _rates(lambda row, _: row.rates.seeds),
    "popularity": _progress(lambda row, _: popularity_of(row)),
    "priority": _of(_S, _P)(lambda row, source: queue_place(row, source.general)),
    "private": _about(lambda row, _: row.about.is_private if row.about.has_metadata else None),
    "progress": _progress(lambda row, _: round(row.fraction, 6)),
    "ratio": _progress(lambda row, _: ratio_of(row.progress.ratio)),
    "ratio_limit": _settings(lambda row, _: rule_value(row.settings.seed_rules.ratio)),
    "reannounce": _of(_P, _R)(next_announce_s),
    "root_path": _of(_A, _S)(lambda row, _: "" if is_single_file(row) else content_path(row)),
    "save_path": _settings(lambda row, _: row.settings.save_path),
    "seeding_time": _progress(lambda row, _: int(row.progress.seeding_s)),
    "seeding_time_limit": _settings(
        lambda row, _: _minutes(rule_value(row.settings.seed_rules.time_s, _MINUTE_S))
    ),
    "seen_complete": _progress(lambda row, _: seconds_of(row.progress.completed_at)),
    "seq_dl": _settings(lambda row, _: row.settings.is_sequential),
    "size": _progress(lambda row, _: row.progress.wanted_bytes),
    "state": _of(_S, _P, _R)(lambda row, _: state_of(row)),
    "super_seeding": _settings(lambda row, _: row.settings.is_super_seeding),
    "tags": _settings(lambda row, _: ", ".join(row.user.labels)),
    "time_active": _progress(lambda row, _: active_s(row)),
    "total_size": _about(lambda row, _: row.about.total_bytes if row.about.has_metadata else -1),
    "tracker": _of(_S, _P)(lambda row, source: source.url(tracker_url(row))),
    "trackers_count": _settings(lambda row, _: sum(map(len, row.settings.trackers))),
    "up_limit": _settings(lambda row, _: row.settings.limits.upload_bytes_per_s),
    "uploaded": _progress(lambda row, _: row.progress.all_uploaded_bytes),
    "uploaded_session": _progress(lambda row, source: source.counts.of(row).uploaded_bytes),
    "upspeed": _rates(lambda row, _: row.rates.upload_bytes_per_s),
}
_IN_DELTAS_ONLY: Final[Mapping[str, WebApiField]] = {
    "has_tracker_error": _progress(lambda row, _: row.error_kind is ErrorKind.TRACKER_ERROR),
    "has_tracker_warning": _progress(lambda row, _: row.error_kind is ErrorKind.TRACKER_WARNING),
    "has_other_announce_error": _progress(lambda row, _: row.progress.tracker.state == "failed"),
}
SYNC_VALUES: Final[Mapping[str, WebApiField]] = {
    name: each for name, each in {**TORRENT_VALUES, **_IN_DELTAS_ONLY}.items() if name != "hash"
}
"""What "sync/maindata" tells of a torrent; its key there is the hash."""


def values_of(
    row: StateRow,
    source: FieldSource,
    fields: Mapping[str, WebApiField],
    groups: Collection[FactGroup] | None = None,
) -> dict[str, Any]:
    """Return fields of a row; only those that some groups concern, if groups are given."""
    return {
        name: field.value(row, source)
        for name, field in fields.items()
        if groups is None or not field.groups.isdisjoint(groups)
    }


def encoder(source: FieldSource, fields: Mapping[str, WebApiField]) -> Callable[[StateRow], bytes]:
    """Return what encodes fields of a row as JSON."""

    def encode(row: StateRow) -> bytes:
        told = in_qt_style(values_of(row, source, fields))
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8", "replace")

    return encode
