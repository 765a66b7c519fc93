"""DHT bootstrap: routers for nodes without contacts.

Routers are well-known nodes; they are queried only while no other node answers.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import anyio

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.dht.driver import DhtDriver
from torrent_engine.net.sockets.resolver import Resolver

logger = logging.getLogger(__name__)

LOOKUP_TIMEOUT_S: Final = 20.0  # ours: for one name
PUBLIC_ROUTERS: Final = DhtConfig().bootstrap

HostPort = tuple[str, int]
"""Host name or literal address, and UDP port."""


def routers_for(config: DhtConfig, listen_hosts: Sequence[str]) -> Sequence[HostPort]:
    """Return the bootstrap routers; no public ones for listeners that cannot reach them."""
    if config.bootstrap == PUBLIC_ROUTERS and all(map(_is_loopback, listen_hosts)):
        return ()
    return config.bootstrap


class Bootstrap:
    """Gives routers to nodes without contacts, with exponential backoff."""

    def __init__(
        self,
        drivers: Sequence[DhtDriver],
        routers: Sequence[HostPort],
        *,
        config: DhtConfig,
        resolver: Resolver,
        has_saved: bool = False,
    ) -> None:
        self._has_saved = has_saved
        self._drivers = drivers
        self._routers = routers
        self._config = config
        self._resolver = resolver

    async def run(self) -> None:
        """Bootstrap nodes without contacts, until cancelled."""
        first_s, max_s = self._config.bootstrap_retry_first_s, self._config.bootstrap_retry_max_s
        if self._has_saved and self._routers == PUBLIC_ROUTERS:
            await anyio.sleep(first_s)  # saved nodes may respond, so that no router is needed
        delay_s = first_s
        while self._routers:
            drivers = [driver for driver in self._drivers if not driver.node.node_count]
            if drivers:
                await self._bootstrap_nodes(drivers)
            else:
                delay_s = first_s
            await anyio.sleep(delay_s)
            delay_s = min(2 * delay_s, max_s)

    async def _bootstrap_nodes(self, drivers: Sequence[DhtDriver]) -> None:
        addresses = await resolve_all(self._routers, self._resolver)
        for driver in drivers:
            driver.bootstrap(addresses)


async def resolve_all(endpoints: Iterable[HostPort], resolver: Resolver) -> list[PeerAddress]:
    """Resolve several hosts at once; return the addresses in their order."""
    found: Mapping[HostPort, list[PeerAddress]] = {endpoint: [] for endpoint in endpoints}
    async with anyio.create_task_group() as tasks:
        for endpoint, addresses in found.items():
            tasks.start_soon(_resolve, endpoint, addresses, resolver)
    return list(dict.fromkeys(address for each in found.values() for address in each))


async def _resolve(endpoint: HostPort, into: list[PeerAddress], resolver: Resolver) -> None:
    host, port = endpoint
    try:
        with anyio.fail_after(LOOKUP_TIMEOUT_S):
            into += [PeerAddress(literal, port) for literal in await resolver(host, port)]
    except (NetworkError, TimeoutError) as error:
        logger.info("cannot resolve a DHT node: %s", str(error) or host)


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")
