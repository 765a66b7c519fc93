"""Which torrents a call means."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.torrent_table import TorrentTable

RECENT_S: Final = 60.0
RECENTLY_ACTIVE: Final = frozenset({"recently_active", "recently-active"})
_HASH: Final = re.compile("[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class ChosenTorrents:
    """Torrents that a call means."""

    rows: list[StateRow]
    removed: list[int] | None = None
    """Numbers that went lately, if the call asks for what changed lately."""


def select(params: Mapping[str, Any], table: TorrentTable, now_s: float) -> ChosenTorrents:
    """Return the torrents of ``ids``: all if there is no such key.

    Unknown torrents are left out; what is neither number, hash nor list means none.
    """
    if "ids" not in params:
        return ChosenTorrents(table.rows())
    value = params["ids"]
    if isinstance(value, str) and value in RECENTLY_ACTIVE:
        recent = sorted(table.changed_within(RECENT_S, now_s), key=lambda row: row.id)
        return ChosenTorrents(recent, table.ids.removed_within(RECENT_S))
    found = _found(value if isinstance(value, list) else [value], table)
    return ChosenTorrents(list({row.info_hash: row for row in found}.values()))


def _found(values: Iterable[object], table: TorrentTable) -> Iterator[StateRow]:
    for value in values:
        row = None
        if isinstance(value, int) and not isinstance(value, bool):
            row = table.by_id(value)
        elif isinstance(value, str) and _HASH.fullmatch(value):
            row = table.named(value)
        if row is not None:
            yield row
