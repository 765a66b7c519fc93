"""What the fields of the session are computed from, and what changes of them become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torrent_engine.daemon.transmission.params import Params

INCOMPLETE_KEY = "incomplete_dir"


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The daemon, as one answer tells it."""

    values: Mapping[str, Any]
    """Settings of the daemon by their keys."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and folders that have no effect now."""
    download_dir: str = ""
    listen_port: int = 0
    config_dir: str = ""
    session_id: str = ""
    free_space: int = -1
    """Of the download folder; -1: not known."""
    blocklist_url: str = ""
    blocklist_size: int = 0
    hook_events: frozenset[str] = frozenset()
    """Events at which a program is run."""
    deletes_watched: bool = False
    """A watched folder deletes what it added."""


@dataclass(slots=True)
class SessionChanges:
    """What a call changes; nothing of it before all of it was checked."""

    settings: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    def value(self, key: str, facts: SessionFacts) -> Any:  # noqa: ANN401 - a setting
        """Return a setting as it will be."""
        return self.settings.get(key, facts.values[key])


class SessionEntry(Protocol):
    """One or several fields of the session that belong together."""

    @property
    def names(self) -> tuple[str, ...]:
        """The fields."""

    def tell(self, facts: SessionFacts) -> dict[str, Any]:
        """Return the values of the fields."""

    def change(self, params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
        """Read what a call says of the fields. Raises RpcError."""
