"""Which events of a torrent a person is told of, and in which words."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from torrent_engine.cli import sizes
from torrent_engine.cli.render import safe
from torrent_engine.engine.events import (
    Event,
    MetadataReceived,
    SessionCompleted,
    SessionErrored,
    SessionStopped,
)

if TYPE_CHECKING:
    from torrent_engine.engine.session import Session

_REASONS: Final = {
    "ratio": "stopped: its share ratio is reached",
    "time": "stopped: it was seeded long enough",
    "idle": "stopped: nobody wanted anything of it any more",
    "owner_changed": "cancelled: its owner is gone",
    "cancelled": "removed",
}
"""Ends that nobody asked for at this keyboard; the others are no news."""


def telling(event: Event, session: "Session") -> str | None:
    """Return the line that tells of an event; None for what is only for programs."""
    teller = _TELLERS.get(type(event))
    text = None if teller is None else teller(event, session)
    return None if text is None else f"{safe(session.name)}: {text}"


def _completed(event: SessionCompleted, session: "Session") -> str:
    size = sizes.format_size(session.stats().wanted_bytes)
    time = sizes.format_duration(event.elapsed_s)
    return f"complete, {size} in {time}, in {safe(str(session.save_path))}"


def _metadata(event: MetadataReceived, session: "Session") -> str:
    del session
    files = "1 file" if event.file_count == 1 else f"{event.file_count:,} files"
    return f"metadata is there: {sizes.format_size(event.total_bytes)} in {files}"


def _errored(event: SessionErrored, session: "Session") -> str:
    del session
    return f"error: {safe(' '.join(event.message.split()))}"


def _stopped(event: SessionStopped, session: "Session") -> str | None:
    del session
    return _REASONS.get(event.reason)


_TELLERS: Final[Mapping[type[Event], Callable[[Any, "Session"], str | None]]] = {
    SessionCompleted: _completed,
    MetadataReceived: _metadata,
    SessionErrored: _errored,
    SessionStopped: _stopped,
}
