"""What a TorrentManager gives to its Sessions when it makes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.config import DormancyConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.event_bus import EventBus


class Member(Protocol):
    """A Session, as its manager is told of it."""

    @property
    def info_hash(self) -> InfoHash:
        """Which torrent it is."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The same for all Sessions of one manager.

    A member that is made from an info-hash alone has its metainfo in the database.
    """

    rest: DormancyConfig
    """When its torrents become dormant."""
    events: EventBus | None = None
    """The bus that gets the events of all torrents."""
    on_owner_gone: Callable[[Member], Awaitable[None]] | None = None
    """Called with a Session whose torrent was removed because its owner moved on.

    An UnknownTorrentError that it raises is ignored.
    """
