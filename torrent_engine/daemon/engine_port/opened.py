"""The manager that the port works on; another one after a soft restart."""

from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session


class OpenManager:
    """Holds the manager while it is open; everything raises ClosedError while there is none."""

    def __init__(self) -> None:
        self._manager: TorrentManager | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a manager."""
        return self._manager is not None

    @property
    def manager(self) -> TorrentManager:
        """The manager. Raises ClosedError while there is none."""
        if self._manager is None:
            raise ClosedError("TorrentManager", "is not open now")
        return self._manager

    def set(self, manager: TorrentManager | None) -> None:
        """Work on this manager from now on; None: on none."""
        self._manager = manager

    def session(self, info_hash: InfoHash) -> Session:
        """Return the Session of a torrent. Raises UnknownTorrentError or ClosedError."""
        if (session := self.manager.get_session(info_hash)) is None:
            raise UnknownTorrentError(info_hash)
        return session
