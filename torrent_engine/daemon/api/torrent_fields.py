"""A torrent as the daemon's own interface tells it: names, units and where each value comes from.

Sizes are bytes, times RFC 3339 in UTC, and what is unknown is null.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from torrent_engine.daemon.engine_port.facts import FactGroup, SeedRules
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.state.magnets import magnet_of
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.shapes import Shape, Shapes

Value = Callable[[StateRow], Any]


@dataclass(frozen=True, slots=True)
class TorrentField:
    """One field: what it is told from, and the groups of facts with which it changes."""

    value: Value
    groups: frozenset[FactGroup]
    is_listed: bool = True
    """Whether lists have it unless they are asked for other fields."""
    public: Value | None = None
    """For whoever must not see passkeys; None: it has none."""

    def teller(self, *, has_secrets: bool) -> Value:
        """Return what tells the field."""
        return self.value if has_secrets or self.public is None else self.public


def timestamp(seconds: float) -> str | None:
    """Return a date as RFC 3339; None for 0, which is never or unknown."""
    if seconds <= 0:
        return None
    try:
        told = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seed_rules_value(rules: SeedRules) -> dict[str, float | str | None]:
    """Return rules: null is the general rule, "never" no end."""
    return {
        "ratio": _rule(rules.ratio),
        "time_s": _rule(rules.time_s),
        "idle_s": _rule(rules.idle_s),
    }


def _rule(value: float | None) -> float | str | None:
    return "never" if value is not None and math.isinf(value) else value


def _error(row: StateRow) -> dict[str, str] | None:
    return {"kind": row.error_kind.value, "message": row.error} if row.error else None


def _limits(row: StateRow) -> dict[str, int]:
    limits = row.settings.limits
    return {
        "download_bytes_per_s": limits.download_bytes_per_s,
        "upload_bytes_per_s": limits.upload_bytes_per_s,
        "peer_limit": limits.max_peers,
    }


def _owner(row: StateRow) -> dict[str, Any] | None:
    owner = row.settings.owner
    return None if owner is None else {"id": owner.owner_id, "generation": owner.generation}


def _links(row: StateRow) -> dict[str, str]:
    base = f"/api/v1/torrents/{row.hash}"
    return {
        "self": base,
        "files": f"{base}/files",
        "peers": f"{base}/peers",
        "trackers": f"{base}/trackers",
        "playlist": f"/stream/{row.hash}/playlist.m3u8",
    }


def _of(*groups: FactGroup, is_listed: bool = True) -> Callable[[Value], TorrentField]:
    return lambda value: TorrentField(value, frozenset(groups), is_listed)


_about = _of(FactGroup.ABOUT)
_about_detail = _of(FactGroup.ABOUT, is_listed=False)
_settings = _of(FactGroup.SETTINGS)
_settings_detail = _of(FactGroup.SETTINGS, is_listed=False)
_progress = _of(FactGroup.PROGRESS)
_progress_detail = _of(FactGroup.PROGRESS, is_listed=False)
_rates = _of(FactGroup.RATES)

TORRENT_FIELDS: Final[Mapping[str, TorrentField]] = {
    "hash": _about(lambda row: row.hash),
    "id": _about(lambda row: row.id),
    "name": _of(FactGroup.ABOUT, FactGroup.SETTINGS)(lambda row: row.name),
    "status": _progress(lambda row: row.status.value),
    "is_stalled": _of(FactGroup.PROGRESS, FactGroup.RATES)(lambda row: row.is_stalled),
    "is_moving": _progress(lambda row: row.progress.is_moving),
    "is_private": _about(lambda row: row.about.is_private),
    "error": _progress(_error),
    "progress": _progress(lambda row: round(row.fraction, 6)),
    "total_bytes": _about(lambda row: row.about.total_bytes),
    "wanted_bytes": _progress(lambda row: row.progress.wanted_bytes),
    "completed_bytes": _progress(lambda row: row.progress.completed_bytes),
    "left_bytes": _progress(lambda row: row.left_bytes),
    "downloaded_bytes": _progress(lambda row: row.progress.all_downloaded_bytes),
    "uploaded_bytes": _progress(lambda row: row.progress.all_uploaded_bytes),
    "wasted_bytes": _progress_detail(lambda row: row.progress.wasted_bytes),
    "ratio": _progress(lambda row: _finite(row.progress.ratio)),
    "download_bytes_per_s": _rates(lambda row: row.rates.download_bytes_per_s),
    "upload_bytes_per_s": _rates(lambda row: row.rates.upload_bytes_per_s),
    "eta_s": _rates(lambda row: row.rates.eta_s),
    "peers": _rates(lambda row: row.rates.peers),
    "seeds": _rates(lambda row: row.rates.seeds),
    "swarm_seeds": _rates(lambda row: row.rates.swarm_seeds),
    "swarm_leeches": _rates(lambda row: row.rates.swarm_leeches),
    "queue_position": _settings(lambda row: row.settings.queue_position),
    "priority": _settings(lambda row: row.settings.priority),
    "category": _settings(lambda row: row.user.category),
    "labels": _settings(lambda row: list(row.user.labels)),
    "save_path": _settings(lambda row: row.settings.save_path),
    "added_at": _about(lambda row: timestamp(row.about.added_at)),
    "completed_at": _progress(lambda row: timestamp(row.progress.completed_at)),
    "activity_at": _progress(lambda row: timestamp(row.progress.activity_at)),
    "seeding_s": _progress(lambda row: int(row.progress.seeding_s)),
    "downloading_s": _progress(lambda row: int(row.progress.downloading_s)),
    "checked_fraction": _progress(lambda row: round(row.progress.checked_fraction, 4)),
    "tracker_host": _progress(lambda row: row.progress.tracker.host),
    "tracker_state": _progress(lambda row: row.progress.tracker.state),
    "info_hash_v1": _about_detail(lambda row: row.info_hash_v1 and str(row.info_hash_v1)),
    "info_hash_v2": _about_detail(
        lambda row: row.about.info_hash_v2 and str(row.about.info_hash_v2)
    ),
    "piece_bytes": _about_detail(lambda row: row.about.piece_bytes),
    "piece_count": _about_detail(lambda row: row.about.piece_count),
    "pieces_have": _progress_detail(lambda row: row.progress.pieces_have),
    "file_count": _about_detail(lambda row: row.about.file_count),
    "comment": _of(FactGroup.ABOUT, FactGroup.SETTINGS, is_listed=False)(lambda row: row.comment),
    "creator": _about_detail(lambda row: row.about.creator),
    "created_at": _about_detail(lambda row: timestamp(row.about.created_at)),
    "magnet": TorrentField(
        lambda row: str(magnet_of(row)),
        frozenset({FactGroup.ABOUT, FactGroup.SETTINGS}),
        is_listed=False,
        public=lambda row: str(magnet_of(row, has_secrets=False)),
    ),
    "limits": _settings_detail(_limits),
    "seed_rules": _settings_detail(lambda row: seed_rules_value(row.settings.seed_rules)),
    "sequential": _settings_detail(lambda row: row.settings.is_sequential),
    "super_seeding": _settings_detail(lambda row: row.settings.is_super_seeding),
    "forced": _settings_detail(lambda row: row.settings.is_forced),
    "owner": _settings_detail(_owner),
    "ephemeral": _settings_detail(lambda row: row.user.ephemeral or None),
    "links": _about_detail(_links),
}
LISTED: Final = tuple(name for name, field in TORRENT_FIELDS.items() if field.is_listed)


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def chosen_fields(text: str | None, default: Collection[str] = LISTED) -> tuple[str, ...]:
    """Return the fields that a query names, the hash first. Raises ProblemError for others."""
    if text is None:
        return tuple(default)
    names = dict.fromkeys(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in TORRENT_FIELDS]
    if unknown:
        wrong = InputError("/fields", f"there is no field {unknown[0]!r:.80}")
        raise ProblemError(Problem("unknown_key", "unknown field", errors=[wrong]))
    return tuple(dict.fromkeys(["hash", *names]))


def groups_of(names: Collection[str]) -> frozenset[FactGroup]:
    """Return the groups with which some fields change."""
    return frozenset().union(*(TORRENT_FIELDS[name].groups for name in names))


def value_of(row: StateRow, names: Collection[str], *, has_secrets: bool) -> dict[str, Any]:
    """Return some fields of a row."""
    return {name: TORRENT_FIELDS[name].teller(has_secrets=has_secrets)(row) for name in names}


def shape_of(shapes: Shapes, names: tuple[str, ...], *, has_secrets: bool) -> Shape:
    """Return the shape of rows with some fields."""
    encode = encoder(names, has_secrets=has_secrets)
    return shapes.get(("own", names, has_secrets), encode, groups_of(names))


def encoder(names: Collection[str], *, has_secrets: bool = False) -> Callable[[StateRow], bytes]:
    """Return what encodes some fields of a row as JSON."""
    chosen = [(name, TORRENT_FIELDS[name].teller(has_secrets=has_secrets)) for name in names]

    def encode(row: StateRow) -> bytes:
        told = {name: value(row) for name, value in chosen}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )

    return encode
