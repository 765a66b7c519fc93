"""What changed since a revision, as clients of the daemon's own interface get it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.daemon.api.job_fields import job_value
from torrent_engine.daemon.api.torrent_fields import LISTED, TORRENT_FIELDS, Value, shape_of
from torrent_engine.daemon.common.replies import json_bytes
from torrent_engine.daemon.engine_port.facts import FactGroup
from torrent_engine.daemon.state.daemon_state import DaemonState, StateDelta
from torrent_engine.daemon.state.rows import StateRow

DEFAULT_PAGE: Final = 2_000
MAX_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class DeltaChoice:
    """What a client wants to be told."""

    fields: tuple[str, ...] = LISTED
    has_torrents: bool = True
    hashes: frozenset[str] | None = None
    """Only these torrents; None: all."""
    has_jobs: bool = True
    has_secrets: bool = False
    """Whether it may see passkeys."""
    limit: int = DEFAULT_PAGE
    """Torrents in one page of a full answer."""

    def wants(self, row: StateRow) -> bool:
        """Return whether a torrent is told."""
        return self.has_torrents and (self.hashes is None or row.hash in self.hashes)


def stats_value(state: DaemonState) -> dict[str, Any]:
    """Return the numbers of all torrents together."""
    totals, now, ever = state.total_facts, state.totals.current, state.totals.ever
    return {
        "download_bytes_per_s": int(totals.download_bytes_per_s),
        "upload_bytes_per_s": int(totals.upload_bytes_per_s),
        "torrents": len(state.torrents),
        "peers": totals.peers,
        "since_start": {
            "downloaded_bytes": now.downloaded_bytes,
            "uploaded_bytes": now.uploaded_bytes,
            "seconds": int(now.active_s),
        },
        "ever": {
            "downloaded_bytes": ever.downloaded_bytes,
            "uploaded_bytes": ever.uploaded_bytes,
            "seconds": int(ever.active_s),
        },
    }


async def delta_body(
    state: DaemonState, choice: DeltaChoice, delta: StateDelta, after_id: int = 0
) -> bytes:
    """Return a delta as JSON; a full one has the torrents behind an id, ``limit`` of them."""
    told: dict[str, Any] = {
        "rev": delta.revision,
        "full": delta.is_full,
        "stats": stats_value(state),
        **_topics(state, delta),
    }
    if choice.has_jobs and not after_id:
        told["jobs"] = [job_value(job) for job in delta.jobs.changed]
        told["jobs_removed"] = delta.jobs.removed
    if not delta.is_full:
        told["torrents"] = _changes(delta, choice)
        told["removed"] = _removed(delta, choice)
        return json_bytes(told)
    rows = [row for row, _ in delta.torrents.changed if row.id > after_id and choice.wants(row)]
    shown = rows[: choice.limit]
    told["next"] = str(shown[-1].id) if len(rows) > len(shown) else None
    told["removed"] = []
    return json_bytes(told)[:-1] + b',"torrents":{' + await _rows(state, choice, shown) + b"}}"


async def _rows(state: DaemonState, choice: DeltaChoice, rows: Sequence[StateRow]) -> bytes:
    names = choice.fields
    shape = shape_of(state.shapes, names, has_secrets=choice.has_secrets)
    encoded = await shape.many(rows)
    return b",".join(
        b'"%b":%b' % (row.hash.encode(), data) for row, data in zip(rows, encoded, strict=True)
    )


def _changes(delta: StateDelta, choice: DeltaChoice) -> dict[str, dict[str, Any]]:
    """Return the fields of the groups that changed, by torrent."""
    tellers: dict[frozenset[FactGroup], list[tuple[str, Value]]] = {}
    changes = {}
    for row, groups in delta.torrents.changed:
        if not choice.wants(row):
            continue
        key = frozenset(groups)
        if (chosen := tellers.get(key)) is None:
            chosen = tellers[key] = _tellers(choice, key)
        if chosen:
            changes[row.hash] = {name: value(row) for name, value in chosen}
    return changes


def _tellers(choice: DeltaChoice, groups: frozenset[FactGroup]) -> list[tuple[str, Value]]:
    """Return what tells the fields that change with some groups."""
    return [
        (name, TORRENT_FIELDS[name].teller(has_secrets=choice.has_secrets))
        for name in choice.fields
        if not groups.isdisjoint(TORRENT_FIELDS[name].groups)
    ]


def _removed(delta: StateDelta, choice: DeltaChoice) -> list[str]:
    if not choice.has_torrents:
        return []
    gone = [info_hash.hex() for info_hash in delta.torrents.gone]
    return [each for each in gone if choice.hashes is None or each in choice.hashes]


def _topics(state: DaemonState, delta: StateDelta) -> dict[str, Any]:
    """Return what is told as a whole when any of it has changed."""
    told: dict[str, Any] = {"settings_rev": state.topics.revision("settings")}
    if delta.is_full or "categories" in delta.topics:
        told["categories"] = {
            each.name: {"save_path": each.save_path} for each in state.labels.categories()
        }
    if delta.is_full or "labels" in delta.topics:
        told["labels"] = state.labels.labels()
    return told
