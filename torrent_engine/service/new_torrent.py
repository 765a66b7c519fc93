"""A torrent to be added by another process, and the request of it."""

from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.service.request_fields import (
    read_limit,
    read_object,
    read_optional_flag,
    read_priority,
    read_text,
    read_texts,
)

_RATES: Final = ("download_bytes_per_s", "upload_bytes_per_s")


@dataclass(frozen=True, slots=True)
class NewTorrent:
    """A torrent to be added, and what is said of it; None: as the settings of the process say."""

    source: str | bytes
    """A magnet link, a URL, or the bytes of a .torrent."""
    save_path: str | None = None
    """Absolute."""
    paused: bool | None = None
    sequential: bool | None = None
    priority: int | None = None
    """In the queue."""
    position: int | None = None
    """In the queue, from 0."""
    download_bytes_per_s: int | None = None
    upload_bytes_per_s: int | None = None
    labels: tuple[str, ...] = ()
    category: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the request that adds it, in the form of the daemon's interface."""
        source = self.source
        told: dict[str, object] = {
            "source": source if isinstance(source, str) else {"torrent": _base64(source)},
            "save_path": self.save_path,
            "paused": self.paused,
            "sequential": self.sequential,
            "priority": self.priority,
            "position": self.position,
            "labels": list(self.labels) or None,
            "category": self.category or None,
            "limits": _rates_json(self),
        }
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, value: object) -> "NewTorrent":
        """Read a request. Raises ConfigError, which says what is wrong with it."""
        known = {each.name for each in fields(cls)} - set(_RATES) | {"limits"}
        given = read_object(value, "the request", known)
        limits = read_object(given.get("limits") or {}, "limits", set(_RATES))
        path = given.get("save_path")
        found = cls(
            source=_source(given.get("source")),
            save_path=None if path is None else read_text(path, "save_path"),
            paused=read_optional_flag(given.get("paused"), "paused"),
            sequential=read_optional_flag(given.get("sequential"), "sequential"),
            priority=None if given.get("priority") is None else read_priority(given["priority"]),
            position=read_limit(given.get("position"), "position"),
            labels=read_texts(given.get("labels") or [], "labels"),
            category=read_text(given.get("category") or "", "category"),
            **{name: read_limit(limits.get(name), name) for name in _RATES},
        )
        if found.save_path is not None and not Path(found.save_path).is_absolute():
            raise ConfigError(f"save_path: {found.save_path!r} is not absolute")
        return found


@dataclass(frozen=True, slots=True)
class AdditionReport:
    """What became of a torrent that was to be added."""

    info_hash: str
    name: str
    is_new: bool
    """False: it was there already, and stays as it is."""


def _source(value: object) -> str | bytes:
    if not isinstance(value, dict):
        return read_text(value, "source")
    data = read_object(value, "source", {"torrent"}).get("torrent")
    try:
        return b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError:
        raise ConfigError("source: the .torrent is no base64") from None


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _rates_json(torrent: NewTorrent) -> dict[str, int] | None:
    rates = {name: getattr(torrent, name) for name in _RATES}
    return {name: rate for name, rate in rates.items() if rate is not None} or None
