"""Events as dictionaries that JSON can carry: what ``--json`` prints."""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.events import Event

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def event_record(event: Event, *, time_s: float) -> dict[str, object]:
    """Return an event's fields with its ``type`` and the wall-clock ``time``.

    Bytes are hexadecimal, peers ``host:port``, numbers that JSON lacks are null.
    """
    return {"time": round(time_s, 3), "type": event.type, **_fields(event)}


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


def _fields(value: "DataclassInstance") -> dict[str, object]:
    return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
