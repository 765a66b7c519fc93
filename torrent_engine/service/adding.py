"""Adding torrents to a manager by what users name them, with a report of each."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from torrent_engine.base.config import ManagerConfig
from torrent_engine.base.errors import ConfigError, SessionError, TrackerError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.service import sources
from torrent_engine.service.add_options import AddOptions

if TYPE_CHECKING:
    from torrent_engine.base.config import SessionConfig
    from torrent_engine.engine.manager.adding import Added
    from torrent_engine.engine.resources.shared_resources import SharedResources
    from torrent_engine.engine.session.session import Session
    from torrent_engine.net.http.torrent_fetch import FetchOptions


class AddReporter(Protocol):
    """Receiver of reports about torrents that are added."""

    def added(self, session: "Session", source: str, *, is_new: bool) -> None:
        """Report a torrent; ``source`` is without secrets."""

    def refused(self, error: Exception, source: str) -> None:
        """Report a source that could not be added; what this raises ends the adding."""


class AddsTorrents(Protocol):
    """What is needed of a TorrentManager."""

    @property
    def config(self) -> ManagerConfig:
        """Defaults of torrents."""

    @property
    def shared(self) -> "SharedResources":
        """The HTTP client of URLs."""

    async def add(
        self,
        source: Metainfo | Magnet,
        *,
        save_path: str | None,
        config: "SessionConfig | None",
        priority: int,
        position: int | None,
    ) -> "Added":
        """Add a torrent, or return the one that is there."""


class Adder:
    """Adds torrents to a manager, one after the other."""

    def __init__(
        self,
        manager: AddsTorrents,
        reporter: AddReporter,
        max_torrent_bytes: int = sources.MAX_TORRENT_BYTES,
    ) -> None:
        self._manager = manager
        self._reporter = reporter
        self._max_torrent_bytes = max_torrent_bytes

    async def add_all(self, named: Sequence[str], stdin: bytes = b"") -> None:
        """Add the torrents of paths, URLs and links; an error of one is reported."""
        for source in named:
            try:
                await self.add_source(source, stdin=stdin)
            except Exception as error:
                self._reporter.refused(error, sources.shown(source))

    async def add_source(
        self,
        source: str,
        options: AddOptions | None = None,
        *,
        stdin: bytes = b"",
        fetching: "FetchOptions | None" = None,
    ) -> "Added":
        """Add the torrent of a path, a URL or a link and report it.

        Raises OSError and TorrentEngineError.
        """
        shared = self._manager.shared
        torrent = await sources.load(
            source, stdin, shared.http, self._max_torrent_bytes, fetching, lambda: shared.dht
        )
        return await self.add(torrent, sources.shown(source), options)

    async def add(
        self, torrent: Metainfo | Magnet, source: str, options: AddOptions | None = None
    ) -> "Added":
        """Add one torrent and report it; one that is there already stays as it is.

        Raises TorrentEngineError.
        """
        try:
            added = await self._add(torrent, options or AddOptions())
        except SessionError as error:  # there are as many as there may be
            raise ConfigError(str(error)) from error
        self._reporter.added(added.session, source, is_new=added.is_new)
        return added

    async def _add(self, torrent: Metainfo | Magnet, options: AddOptions) -> "Added":
        added = await self._manager.add(
            torrent,
            save_path=options.save_path,
            config=options.session_config(torrent, self._manager.config.session),
            priority=options.priority or 0,
            position=options.position,
        )
        for url in options.trackers or () if added.is_new else ():
            with suppress(TrackerError):  # of a scheme that is not spoken
                added.session.add_tracker(url)
        return added
