"""What a hook is told: variables of its environment, and a JSON object on standard input."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from torrent_engine import __version__
from torrent_engine.base.errors import ConfigError

KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG")
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_OWN: Final = "TE_"
_TRANSMISSION: Final = "TR_"


class HookEvent(StrEnum):
    """When hooks are run."""

    TORRENT_ADDED = "torrent_added"
    METADATA_RECEIVED = "metadata_received"
    TORRENT_COMPLETED = "torrent_completed"
    """All that is wanted is there and lies where it stays."""
    SEEDING_FINISHED = "seeding_finished"
    TORRENT_REMOVED = "torrent_removed"
    TORRENT_ERROR = "torrent_error"
    FILE_COMPLETED = "file_completed"
    DISK_LOW = "disk_low"
    DAEMON_STARTED = "daemon_started"
    DAEMON_STOPPING = "daemon_stopping"


@dataclass(frozen=True, slots=True)
class HookTorrent:
    """The torrent of an event; nothing in it is a secret."""

    hash: str
    name: str
    id: int = 0
    save_path: str = ""
    """Where its files are."""
    content_path: str = ""
    """Its only file, or its folder."""
    category: str = ""
    labels: tuple[str, ...] = ()
    size_bytes: int = 0
    downloaded_bytes: int = 0
    """Over all runs."""
    priority: int = 0
    tracker_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HookCall:
    """One event for hooks."""

    event: HookEvent
    time: float
    """Seconds since 1970."""
    torrent: HookTorrent | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    """Further facts by name, such as "error" or "file"."""

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the variables: a few of ours, ``TE_*``, and Transmission's ``TR_*``."""
        kept = {name: inherited[name] for name in KEPT_VARIABLES if name in inherited}
        values = {"PATH": DEFAULT_PATH, **kept, f"{_OWN}EVENT": str(self.event)}
        values |= {f"{_OWN}{name.upper()}": text for name, text in self.details.items()}
        if self.torrent is not None:
            values |= _own(self.torrent) | _transmission(self.torrent, self.time)
        return values

    def to_json(self) -> str:
        """Return the JSON object, on one line."""
        torrent = None if self.torrent is None else asdict(self.torrent)
        values = {"event": str(self.event), "time": round(self.time, 3), "torrent": torrent}
        return json.dumps({**values, "details": dict(self.details)})

    @classmethod
    def from_json(cls, text: str) -> "HookCall":
        """Read what :meth:`to_json` wrote. Raises ConfigError."""
        try:
            values = json.loads(text)
            return cls(
                HookEvent(values["event"]),
                float(values["time"]),
                _torrent_of(values["torrent"]),
                {str(name): str(value) for name, value in values["details"].items()},
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"no record of a hook: {error}") from error


def _torrent_of(values: dict[str, Any] | None) -> HookTorrent | None:
    if values is None:
        return None
    lists = {name: tuple(values[name]) for name in ("labels", "tracker_hosts")}
    return HookTorrent(**{**values, **lists})


def _own(torrent: HookTorrent) -> dict[str, str]:
    values = {
        "HASH": torrent.hash,
        "NAME": torrent.name,
        "PATH": torrent.save_path,
        "CONTENT_PATH": torrent.content_path,
        "CATEGORY": torrent.category,
        "LABELS": ",".join(torrent.labels),
        "SIZE_BYTES": str(torrent.size_bytes),
        "TRACKER_HOST": torrent.tracker_hosts[0] if torrent.tracker_hosts else "",
    }
    return {_OWN + name: value for name, value in values.items()}


def _transmission(torrent: HookTorrent, now: float) -> dict[str, str]:
    """Return what scripts for Transmission read."""
    values = {
        "APP_VERSION": __version__,
        "TIME_LOCALTIME": time.asctime(time.localtime(now)),
        "TORRENT_BYTES_DOWNLOADED": str(torrent.downloaded_bytes),
        "TORRENT_DIR": torrent.save_path,
        "TORRENT_HASH": torrent.hash,
        "TORRENT_ID": str(torrent.id),
        "TORRENT_LABELS": ",".join(torrent.labels),
        "TORRENT_NAME": torrent.name,
        "TORRENT_PRIORITY": str(max(-1, min(1, torrent.priority))),
        "TORRENT_TRACKERS": ",".join(torrent.tracker_hosts),
    }
    return {_TRANSMISSION + name: value for name, value in values.items()}
