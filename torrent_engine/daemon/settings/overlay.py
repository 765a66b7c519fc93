"""Settings that were changed at run time; they are kept apart from the user's file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torrent_engine.daemon.settings.model import SPECS


class OverlayTable(Protocol):
    """Where the overlay survives a restart; writing is not waited for."""

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over all keys and values."""

    def put(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Set a value that JSON has."""

    def drop(self, key: str) -> bool:
        """Delete a key; False if it is not there."""


class MemoryOverlay:
    """An :class:`OverlayTable` that forgets all at the end of the process."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over all keys and values."""
        return iter(list(self._values.items()))

    def put(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Set a value that JSON has."""
        self._values[key] = value

    def drop(self, key: str) -> bool:
        """Delete a key; False if it is not there."""
        return self._values.pop(key, None) is not None


@dataclass(frozen=True, slots=True)
class OverlayEntry:
    """A value that was changed at run time."""

    value: Any
    changed_at: float
    """Seconds since 1970."""
    by: str
    """Who changed it."""


class Overlay:
    """All of them. What a newer version does not know, or would refuse, is left out."""

    def __init__(self, table: OverlayTable, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now
        self._entries: dict[str, OverlayEntry] = {}
        for key, stored in table.items():
            if (entry := _entry(key, stored)) is not None:
                self._entries[key] = entry

    @property
    def values(self) -> dict[str, Any]:
        """The values by key, in their own types."""
        return {key: entry.value for key, entry in self._entries.items()}

    def get(self, key: str) -> OverlayEntry | None:
        """Return one; None if the key was not changed."""
        return self._entries.get(key)

    def put(self, key: str, value: Any, by: str) -> None:  # noqa: ANN401
        """Change one; the value is checked already."""
        entry = self._entries[key] = OverlayEntry(value, self._now(), by)
        stored = list(value) if isinstance(value, tuple) else value
        self._table.put(key, {"value": stored, "changed_at": entry.changed_at, "by": by})

    def drop(self, key: str) -> bool:
        """Return to what files and defaults say; False if the key was not changed."""
        self._entries.pop(key, None)
        return self._table.drop(key)


def _entry(key: str, stored: Any) -> OverlayEntry | None:  # noqa: ANN401
    try:
        value = SPECS[key].read(stored["value"])
        return OverlayEntry(value, float(stored["changed_at"]), str(stored["by"]))
    except (KeyError, TypeError, ValueError):
        return None
