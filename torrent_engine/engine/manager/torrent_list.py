"""The torrents of a manager, in the order of its queue."""

from collections.abc import ValuesView

from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.session import Session
from torrent_engine.policy.queue.positions import QueuePositions


class TorrentList:
    """Each torrent has one Session, one position and one priority."""

    def __init__(self) -> None:
        self._sessions: dict[InfoHash, Session] = {}
        self._others: dict[InfoHash, InfoHash] = {}
        """By the second info-hash of a hybrid: the one that it has here."""
        self._positions: QueuePositions[InfoHash] = QueuePositions()
        self._priorities: dict[InfoHash, int] = {}
        self._ordered: tuple[Session, ...] | None = None

    def __len__(self) -> int:
        """Return how many torrents there are."""
        return len(self._sessions)

    def get(self, info_hash: InfoHash) -> Session | None:
        """Return the Session of a torrent; None if it is not there."""
        return self._sessions.get(info_hash)

    def find(self, torrent: Metainfo | Magnet) -> Session | None:
        """Return the Session of a torrent, also of a hybrid that is here by its other info-hash."""
        known = self.named(torrent.info_hash)
        other = torrent.v2_swarm
        if known is None and isinstance(torrent, Metainfo):
            other = other or torrent.v1_swarm
        return known if known is not None or other is None else self.get(other)

    def named(self, info_hash: InfoHash) -> Session | None:
        """Return the Session of a torrent by either info-hash of a hybrid; None if it is not there.

        The second one may be known only after the metadata came.
        """
        known = self.get(info_hash)
        return known if known is not None else self.get(self._others.get(info_hash, info_hash))

    def learned(self, info_hash: InfoHash) -> None:
        """Take note of the second info-hash of a torrent, if it is a hybrid and here."""
        session = self.get(info_hash)
        if session is not None and (other := session.other_hash) is not None:
            self._others[other] = info_hash

    @property
    def unordered(self) -> ValuesView[Session]:
        """All Sessions, in no particular order."""
        return self._sessions.values()

    @property
    def ordered(self) -> tuple[Session, ...]:
        """All Sessions, in the order of the queue."""
        if self._ordered is None:
            self._ordered = tuple(self._sessions[each] for each in self._positions.order())
        return self._ordered

    @property
    def queued(self) -> tuple[SessionAdmin, ...]:
        """All torrents as the queue sees them, in its order."""
        return tuple(session.admin for session in self.ordered)

    def order(self) -> tuple[InfoHash, ...]:
        """Return the info-hashes in the order of the queue."""
        return self._positions.order()

    def position(self, info_hash: InfoHash) -> int:
        """Return the position of a torrent, from 0. Raises KeyError if it is not there."""
        return self._positions.position(info_hash)

    def add(self, session: Session, priority: int, position: int | None) -> None:
        """Add a Session at a position, from 0; None: at the end."""
        self._sessions[session.info_hash] = session
        self.learned(session.info_hash)
        if priority:
            self._priorities[session.info_hash] = priority
        self._positions.add(session.info_hash, position)
        self._ordered = None

    def remove(self, info_hash: InfoHash) -> None:
        """Remove a torrent, if it is there."""
        session = self._sessions.pop(info_hash, None)
        if session is not None and (other := session.other_hash) is not None:
            self._others.pop(other, None)
        self._priorities.pop(info_hash, None)
        self._positions.remove(info_hash)
        self._ordered = None

    def clear(self) -> None:
        """Remove all Sessions."""
        self._sessions.clear()
        self._others.clear()
        self._priorities.clear()
        self._positions = QueuePositions()
        self._ordered = None

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        """Give a torrent another position, from 0."""
        self._positions.move_to(info_hash, position)
        self._ordered = None

    def priority(self, info_hash: InfoHash) -> int:
        """Return the priority of a torrent; 0 unless it was set."""
        return self._priorities.get(info_hash, 0)

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        """Set the priority of a torrent."""
        self._priorities[info_hash] = priority
