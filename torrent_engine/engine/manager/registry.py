"""The torrents of a manager as its queue and its database have them."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import SessionClocks, SessionRecord
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import (
    ChangedGroup,
    QueueChanged,
    TorrentAdded,
    TorrentChanged,
    TorrentRemoved,
)
from torrent_engine.engine.manager.queue import QueueController
from torrent_engine.engine.manager.store import ManagerStore
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.resources.shared_resources import NOT_OPEN
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.saved import settings_of
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import parse_info_hash
from torrent_engine.engine.states import State


class Registry:
    """Adds, removes and reorders torrents: in the list, in the queue and in the database.

    ``events`` is the bus of the manager.
    """

    def __init__(self, torrents: TorrentList, queue: QueueController, events: EventBus) -> None:
        self._torrents = torrents
        self._queue = queue
        self._events = events
        self._store: ManagerStore | None = None
        self._frozen: dict[InfoHash, State] = {}
        """States that are saved in place of the present ones."""
        self._leaving: dict[InfoHash, anyio.Event] = {}
        """Torrents that are being removed, and are saved no more."""
        self.is_closing = False
        self._is_restoring = False

    # -- open and closed ------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the database is open."""
        return self._store is not None

    @property
    def store(self) -> ManagerStore:
        """What saves the torrents. Raises ClosedError before the start."""
        if self._store is None:
            raise ClosedError("TorrentManager", NOT_OPEN)
        return self._store

    def open(self, store: StateStore) -> ManagerStore:
        """Save what changes to this database from now on."""
        self._store = opened = ManagerStore(store, self._record, self._metainfo_saved, self._timed)
        return opened

    def discard(self) -> None:
        """Forget the database: the start failed."""
        self._store = None

    def check_open(self) -> None:
        """Raise ClosedError unless torrents may be added."""
        if self.is_closing or self._store is None:
            raise ClosedError("TorrentManager", NOT_OPEN)

    def find(self, info_hash: InfoHash | str) -> Session:
        """Return the Session of a torrent, by either info-hash of a hybrid.

        Raises UnknownTorrentError or ClosedError.
        """
        key = parse_info_hash(info_hash)
        if (session := self._torrents.named(key)) is None:
            self.check_open()
            raise UnknownTorrentError(key)
        return session

    # -- changes --------------------------------------------------------------------------------

    def add(
        self, session: Session, priority: int, position: int | None, *, saved_place: int = 0
    ) -> None:
        """Add a Session; ``saved_place`` is the number by which it was ordered in the database."""
        self._torrents.add(session, priority, position)
        self.store.appended(session.info_hash, saved_place)
        if position is not None:
            self.store.reordered(self._torrents.order())
        self._queue.changed()
        added = TorrentAdded(session.info_hash, session.name, self._is_restoring)
        self._events.publish(added)
        if position is not None:
            self._events.publish(QueueChanged(session.info_hash))

    def leaving(self, info_hash: InfoHash) -> None:
        """Save a torrent no more, which is about to end; :meth:`remove` is to follow.

        Its end removes it from the database, and what is saved after that would be a torrent
        without its .torrent at the next start.
        """
        self._leaving.setdefault(info_hash, anyio.Event())

    def left(self, info_hash: InfoHash) -> anyio.Event | None:
        """Return what is set when a torrent has left, which is about to; None if it stays."""
        return self._leaving.get(info_hash)

    def remove(self, info_hash: InfoHash) -> None:
        """Remove a torrent from list and queue; :meth:`ManagerStore.remove` is to follow."""
        if (left := self._leaving.pop(info_hash, None)) is not None:
            left.set()
        self._torrents.remove(info_hash)
        self._frozen.pop(info_hash, None)
        self.store.forget(info_hash)
        self._queue.changed()
        self._events.publish(TorrentRemoved(info_hash))
        self._events.publish(QueueChanged(info_hash))

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        """Give a torrent another position in the queue."""
        self._torrents.move_to(info_hash, position)
        self.store.reordered(self._torrents.order())
        self._queue.changed()
        self._events.publish(QueueChanged(info_hash))

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        """Set the priority of a torrent in the queue."""
        self._torrents.set_priority(info_hash, priority)
        self.store.changed(info_hash)
        self._queue.changed()
        self._events.publish(TorrentChanged(info_hash, ChangedGroup.SETTINGS))
        self._events.publish(QueueChanged(info_hash))

    def state_changed(self, session: SessionAdmin, old: State, new: State) -> None:
        """Save a transition of a Session, unless it is another manager's."""
        known = self._torrents.get(session.info_hash)
        if known is None or known.admin is not session or self.is_closing:
            return
        self._torrents.learned(session.info_hash)
        if not self._is_restoring:
            self._frozen.pop(session.info_hash, None)
            self.store.changed(session.info_hash)
            self._queue.state_changed(session, old, new)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Save no transitions meanwhile: torrents are put into the states that are saved."""
        self._is_restoring = True
        try:
            yield
        finally:
            self._is_restoring = False

    # -- what is saved --------------------------------------------------------------------------

    def freeze(self, info_hash: InfoHash, state: State) -> None:
        """Save this state of a torrent instead of the present one, until :meth:`thaw`."""
        self._frozen[info_hash] = state

    def freeze_all(self) -> None:
        """Save the present states of all torrents, whatever follows: the manager is closing."""
        self.is_closing = True
        present = {each.info_hash: each.state for each in self._torrents.unordered}
        self._frozen = present | self._frozen

    def thaw(self, info_hash: InfoHash) -> None:
        """Save the present state of a torrent again."""
        self._frozen.pop(info_hash, None)

    def _record(self, info_hash: InfoHash) -> SessionRecord | None:
        session = self._torrents.get(info_hash)
        if session is None or info_hash in self._leaving:
            return None
        priority, state = self._torrents.priority(info_hash), self._frozen.get(info_hash)
        settings = settings_of(session.admin.saved(priority=priority, state=state))
        is_known = self.store.has_metainfo(info_hash)
        source = b"" if is_known else session.admin.metainfo_source()
        place, clocks = self.store.place_of(info_hash), session.admin.clocks()
        return SessionRecord(info_hash, place, settings, source, clocks=clocks)

    def _timed(self) -> list[tuple[InfoHash, SessionClocks]]:
        found = (
            (each.info_hash, each.admin.clocks(if_running=True))
            for each in self._torrents.unordered
        )
        return [(info_hash, clocks) for info_hash, clocks in found if clocks is not None]

    def _metainfo_saved(self, info_hash: InfoHash) -> None:
        if (session := self._torrents.get(info_hash)) is not None:
            session.admin.metainfo_saved()
