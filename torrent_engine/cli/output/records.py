"""Events as dictionaries that JSON can carry, and which of them are printed: ``--json``."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.event_bus import known_types
from torrent_engine.engine.events import (
    Event,
    JobChanged,
    JobsRemoved,
    QueueChanged,
    StatsUpdated,
    TorrentChanged,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OWN_TYPES: Final = frozenset(
    {
        "hook.done",
        "hook.failed",
        "hook.started",
        "metadata.saved",
        "run.started",
        "torrent.added",
        "torrent.complete",
        "torrent.duplicate",
        "torrent.refused",
        "torrent.result",
        "torrent.started",
    }
)
"""What the command line adds to the events of the engine."""
NOT_IN_RECORDS: Final = frozenset({"have", "elapsed_s", "loop_lag"})
"""Statistics that are left out: as long as the torrent has pieces, or different every time."""
ALWAYS: Final = frozenset({"events.dropped"})  # what is missing is told whatever is chosen
ON_REQUEST: Final = frozenset(
    each.type for each in (TorrentChanged, QueueChanged, JobChanged, JobsRemoved)
)
"""Printed only if they are chosen: they tell a front end what to ask for anew."""
EARLY_S: Final = 0.1  # ours: a record that comes so much before its time is not held back


class RecordFilter:
    """Which records are printed: those of the chosen types; statistics only if they changed."""

    def __init__(
        self,
        patterns: Sequence[str] = (),
        stats_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patterns = tuple(patterns)  # none: all types
        self._interval_s = stats_interval_s
        self._clock = clock
        self._printed: dict[object, tuple[dict[str, object], float]] = {}

    def passes(self, record: Mapping[str, object]) -> bool:
        """Return whether a record is to be printed, and remember statistics that are."""
        type_ = str(record["type"])
        if type_ not in ALWAYS and not self._is_chosen(type_):
            return False
        return type_ != StatsUpdated.type or self._is_news(record)

    def _is_chosen(self, type_: str) -> bool:
        patterns = self._patterns
        if not patterns:
            return type_ not in ON_REQUEST
        return any(fnmatchcase(type_, pattern) for pattern in patterns)

    def _is_news(self, record: Mapping[str, object]) -> bool:
        now, key = self._clock(), record.get("info_hash")
        numbers = {name: value for name, value in record.items() if name != "time"}
        before, when = self._printed.get(key, (None, -math.inf))
        if numbers == before or now - when < self._interval_s - EARLY_S:
            return False
        self._printed[key] = (numbers, now)
        return True


def parse_patterns(text: str) -> tuple[str, ...]:
    """Read ``tracker.*,stats.update``. Raises ValueError for what matches no type of a record."""
    types = sorted(known_types() | OWN_TYPES)
    patterns = tuple(filter(None, (part.strip() for part in text.split(","))))
    for pattern in patterns or ("",):
        if not any(fnmatchcase(type_, pattern) for type_ in types):
            raise ValueError(f"no event is called {pattern!r}; there are {', '.join(types)}")
    return patterns


def event_record(event: Event, *, time_s: float) -> dict[str, object]:
    """Return an event's fields with its ``type`` and the wall-clock ``time``.

    Bytes are hexadecimal, peers ``host:port``, numbers that JSON lacks are null. The statistics of
    a StatsUpdated are fields of the record itself.
    """
    record = {"time": round(time_s, 3), "type": event.type}
    if isinstance(event, StatsUpdated):
        return record | {"info_hash": plain(event.info_hash)} | _fields(event.stats, NOT_IN_RECORDS)
    return record | _fields(event)


def plain(value: object) -> object:
    """Return a value as JSON can carry it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PeerAddress):
        return str(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return _container(value)


def _container(value: object) -> object:
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return value


def _fields(
    value: "DataclassInstance", left_out: frozenset[str] = frozenset()
) -> dict[str, object]:
    names = (field.name for field in dataclasses.fields(value))
    return {name: plain(getattr(value, name)) for name in names if name not in left_out}
