"""The port of the engine over a TorrentManager."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from torrent_engine.base.config import ManagerConfig
from torrent_engine.daemon.engine_port.control import ManagerActions
from torrent_engine.daemon.engine_port.events import ManagerEvents
from torrent_engine.daemon.engine_port.general import ManagerControl
from torrent_engine.daemon.engine_port.jobs import ManagerJobs
from torrent_engine.daemon.engine_port.opened import OpenManager
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.engine_port.reading import ManagerReading
from torrent_engine.daemon.engine_port.settings import ManagerSettings
from torrent_engine.engine.manager.torrent_manager import TorrentManager


class ManagerPort:
    """Makes an EnginePort that outlives its managers: there may be another one after a restart.

    ::

        ports = ManagerPort()
        async with ports.open(config):
            ports.port.torrents.hashes()
    """

    def __init__(self) -> None:
        self._opened = opened = OpenManager()
        reading = ManagerReading(opened)
        self._events = ManagerEvents(reading.forget)
        self.port = EnginePort(
            torrents=reading,
            control=ManagerActions(opened),
            settings=ManagerSettings(opened),
            engine=ManagerControl(opened),
            jobs=ManagerJobs(opened),
            events=self._events,
        )
        """The calls; they raise ClosedError while there is no manager."""

    @asynccontextmanager
    async def open(self, config: ManagerConfig) -> AsyncIterator[EnginePort]:
        """Open a manager and let the port work on it until the end of the block.

        Raises what opening a TorrentManager raises, such as StateInUseError.
        """
        async with TorrentManager(config) as manager:
            with self.over(manager):
                yield self.port

    @contextmanager
    def over(self, manager: TorrentManager) -> Iterator[EnginePort]:
        """Let the port work on a manager that is open, until the end of the block."""
        self._opened.set(manager)
        self._events.attach(manager)
        try:
            yield self.port
        finally:
            self._events.detach()
            self._opened.set(None)
