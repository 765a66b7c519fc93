"""Events as dictionaries that JSON can carry: what ``--json`` prints."""

import dataclasses
import math
from enum import Enum

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.events import Event


def event_record(event: Event, *, time_s: float) -> dict[str, object]:
    """Return an event's fields with its ``type`` and the wall-clock ``time``.

    Bytes are hexadecimal, peers ``host:port``, numbers that JSON lacks are null.
    """
    fields = {field.name: plain(getattr(event, field.name)) for field in dataclasses.fields(event)}
    return {"time": round(time_s, 3), "type": event.type, **fields}


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
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
