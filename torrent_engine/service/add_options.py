"""What may be said of a torrent when it is added: one set for every way in."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

WANTED_PRIORITY: Final = 4
NOT_WANTED: Final = 0


class StopAfter(StrEnum):
    """When a torrent stops by itself before it downloads."""

    METADATA = "metadata"
    CHECK = "check"


class Ephemeral(StrEnum):
    """What a torrent is for that goes with its owner."""

    PREVIEW = "preview"
    """Its metadata is looked at."""
    STREAM = "stream"
    """It is played, and not kept."""


@dataclass(frozen=True, slots=True)
class AddOptions:
    """Options of one torrent; None: not said, so that a more general set of options counts.

    The sets are those of the call, of its category, of a watched folder and the defaults, in this
    order (:meth:`over`).
    """

    save_path: str | None = None
    """Absolute."""
    category: str | None = None
    labels: tuple[str, ...] | None = None
    paused: bool | None = None
    position: int | None = None
    """In the queue, from 0."""
    priority: int | None = None
    """In the queue."""
    file_priorities: Mapping[int, int] | None = None
    """Priority, 0 (skip) to 7, by file index; files that are not named are wanted."""
    files_wanted: tuple[int, ...] | None = None
    """Indices; the other files are skipped."""
    sequential: bool | None = None
    first_last_piece: bool | None = None
    """The first and the last piece of each file come first."""
    peer_limit: int | None = None
    """Peers of this torrent; 0: as for all torrents."""
    max_download_bytes_per_s: int | None = None
    max_upload_bytes_per_s: int | None = None
    seed_rules: SeedingConfig | None = None
    stop_after: StopAfter | None = None
    rename: str | None = None
    """The name that is displayed."""
    owner: OwnerTie | None = None
    trackers: tuple[str, ...] | None = None
    """Beside those of the torrent."""
    peers: tuple[tuple[str, int], ...] | None = None
    """(host, port) of peers that are dialled at once."""
    ephemeral: Ephemeral | None = None
    """It goes with its owner; None: it stays."""

    def over(self, general: "AddOptions") -> "AddOptions":
        """Return these options, with those of a more general set where nothing is said."""
        said = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        return replace(general, **said)

    def session_config(self, torrent: Metainfo | Magnet, base: SessionConfig) -> SessionConfig:
        """Return the engine's configuration of a torrent. Raises ConfigError."""
        changes: dict[str, Any] = {
            "sequential": self.sequential,
            "first_last_first": self.first_last_piece,
            "max_connections": self.peer_limit,
            "max_download_bytes_per_s": self.max_download_bytes_per_s,
            "max_upload_bytes_per_s": self.max_upload_bytes_per_s,
            "paused": self.paused,
            "owner": self.owner,
            "peers": None if self.peers is None else base.peers + self.peers,
            **self._seeding(),
            **self._stops(),
            **self._priorities(torrent),
        }
        return replace(base, **{name: each for name, each in changes.items() if each is not None})

    def _seeding(self) -> dict[str, float | None]:
        rules = self.seed_rules
        return {} if rules is None else {each.name: getattr(rules, each.name) for each in _RULES}

    def _stops(self) -> dict[str, bool]:
        if self.stop_after is None:
            return {}
        is_metadata = self.stop_after is StopAfter.METADATA
        return {"metadata_only": is_metadata, "check_only": not is_metadata}

    def _priorities(self, torrent: Metainfo | Magnet) -> dict[str, object]:
        chosen = self._chosen_priorities()
        if chosen is None:
            return {}
        if isinstance(torrent, Magnet):
            return {"magnet_priorities": tuple(chosen.items())}
        return {"file_priorities": priorities_of(chosen, len(torrent.files))}

    def _chosen_priorities(self) -> dict[int | None, int] | None:
        """Return priorities by file index, with None for all other files."""
        if self.files_wanted is None and self.file_priorities is None:
            return None
        is_all = self.files_wanted is None
        chosen: dict[int | None, int] = {None: WANTED_PRIORITY if is_all else NOT_WANTED}
        chosen.update(dict.fromkeys(self.files_wanted or (), WANTED_PRIORITY))
        return chosen | dict(self.file_priorities or {})


_NAMES: Final = tuple(each.name for each in fields(AddOptions))
_RULES: Final = fields(SeedingConfig)


def priorities_of(chosen: Mapping[int | None, int], file_count: int) -> tuple[int, ...]:
    """Return the priority of each file. Raises ConfigError for a file that does not exist."""
    wrong = [index for index in chosen if index is not None and not 0 <= index < file_count]
    if wrong:
        raise ConfigError(f"files: there is no file {wrong[0]}; the torrent has {file_count}")
    other = chosen.get(None, WANTED_PRIORITY)
    return tuple(chosen.get(index, other) for index in range(file_count))
