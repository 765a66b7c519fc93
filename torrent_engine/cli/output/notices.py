"""Messages for events of a torrent."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from torrent_engine.cli.output import sizes
from torrent_engine.cli.output.text import safe
from torrent_engine.engine.events import (
    Event,
    MetadataReceived,
    SessionCompleted,
    SessionErrored,
    SessionStopped,
)

if TYPE_CHECKING:
    from torrent_engine.engine.session.session import Session

_REASONS: Final = {
    "ratio": "stopped: its share ratio is reached",
    "time": "stopped: it was seeded long enough",
    "idle": "stopped: nobody wanted anything of it any more",
    "owner_changed": "cancelled: its owner is gone",
    "cancelled": "removed",
}
"""Ends that nobody asked for at this keyboard; the others are no news."""


def notice_of(event: Event, session: "Session") -> str | None:
    """Return the message for an event, without the name; None if there is none."""
    message_for = _MESSAGES.get(type(event))
    return None if message_for is None else message_for(event, session)


def _completed(event: SessionCompleted, session: "Session") -> str:
    size = sizes.format_size(session.stats().wanted_bytes)
    time = sizes.format_duration(event.elapsed_s)
    return f"complete, {size} in {time}, in {safe(str(session.final_path))}"


def _metadata(event: MetadataReceived, session: "Session") -> str:
    del session
    files = "1 file" if event.file_count == 1 else f"{event.file_count:,} files"
    return f"metadata is there: {sizes.format_size(event.total_bytes)} in {files}"


def _errored(event: SessionErrored, session: "Session") -> str:
    del session
    return f"error: {safe(event.message.strip())}"


def _stopped(event: SessionStopped, session: "Session") -> str | None:
    del session
    return _REASONS.get(event.reason)


_MESSAGES: Final[Mapping[type[Event], Callable[[Any, "Session"], str | None]]] = {
    SessionCompleted: _completed,
    MetadataReceived: _metadata,
    SessionErrored: _errored,
    SessionStopped: _stopped,
}
