"""The IP filter in force, and its replacement while connections go on."""

import logging
import time
from functools import partial
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread

from torrent_engine.base.config import IpFilterConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.disk.ip_filter_files import FilterFileStamp, LoadedFilter, load_filter
from torrent_engine.net.sockets.resolver import Resolver, resolve
from torrent_engine.policy.ip_filter.filter import IpFilter

logger = logging.getLogger(__name__)

STAND_BACK_S: Final = 1e-4  # ours: long enough for the loop to take over


class LiveIpFilter:
    """The filter that was loaded last; empty before the first."""

    def __init__(self, config: IpFilterConfig, resolver: Resolver = resolve) -> None:
        self.config = config
        self._resolver = resolver
        self.files: tuple[FilterFileStamp, ...] = ()
        """What the files of the filter had in them."""
        self.generation = 0
        """Grows with each filter: links that were allowed are checked again."""
        self.refusals = 0
        """How often an address of a peer was refused; servers do not count."""
        self._current = IpFilter()
        self._turn = anyio.Lock()

    @property
    def current(self) -> IpFilter:
        """The filter that holds now."""
        return self._current

    def allows(self, address: PeerAddress) -> bool:
        """Return whether connections with this address are allowed, in either direction."""
        is_allowed = self._current.allows(address)
        self.refusals += not is_allowed
        return is_allowed

    def allows_dial(self, address: PeerAddress) -> bool:
        """Return whether an address may be dialled."""
        is_allowed = self._current.allows_dial(address)
        self.refusals += not is_allowed
        return is_allowed

    def is_unlimited(self, host: str) -> bool:
        """Return whether an address is exempt from rate limits; asked once a connection."""
        return self._current.is_unlimited(host)

    async def resolve(self, host: str, port: int) -> list[str]:
        """Resolve the host of a tracker or web seed; return the addresses that are allowed.

        Raises NetworkError if there is none.
        """
        found = await self._resolver(host, port)
        if not self.config.apply_to_servers:
            return found
        current = self._current
        allowed = [each for each in found if current.allows(PeerAddress(each, port))]
        if not allowed:
            raise NetworkError(f"{host} is forbidden by the IP filter")
        return allowed

    async def load(self) -> None:
        """Read what the configuration names, if anything. Raises as :meth:`reload` does."""
        if self.config != IpFilterConfig():
            await self.reload()

    async def reload(self, config: IpFilterConfig | None = None) -> tuple[FilterFileStamp, ...]:
        """Read the files again, or those of another configuration, and let the outcome hold.

        Links that are forbidden now end soon. The work is done in a thread. Returns what the files
        had in them. Raises StorageError, IpFilterError and ConfigError; the filter that held goes
        on to hold then.
        """
        async with self._turn:
            config = config or self.config
            loaded = await anyio.to_thread.run_sync(partial(load_filter, config, _stand_back))
            self.config = config
            self._take(loaded)
        return self.files

    def _take(self, loaded: LoadedFilter) -> None:
        self._current, self.files = loaded.ip_filter, loaded.files
        self.generation += 1
        for path, facts in ((each.path, each.facts) for each in loaded.files):
            logger.info("%s: %d ranges", path, facts.ranges)
            if facts.bad_lines:
                bad = f"{facts.bad_lines}, such as {'; '.join(facts.examples)}"
                logger.warning("%s: lines that are no ranges: %s", path, bad)


def _stand_back() -> None:
    """Yield to the event loop; raise if the caller was cancelled."""
    anyio.from_thread.check_cancelled()
    time.sleep(STAND_BACK_S)
