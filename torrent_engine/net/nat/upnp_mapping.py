"""Port mappings at a UPnP gateway."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.nat.mapping_status import MappingStatus
from torrent_engine.net.nat.upnp import UpnpGateway, UpnpRefusedError
from torrent_engine.protocol.nat.events import MappedPort
from torrent_engine.protocol.nat.facts import PortKey

logger = logging.getLogger(__name__)

NAME: Final = "UPnP"
MAX_FAILURES: Final = 2  # ours: failed requests in a row


class UpnpMappings:
    """The port mappings at one gateway."""

    def __init__(
        self,
        gateway: UpnpGateway,
        config: PortMappingConfig,
        status_board: MappingStatus,
        clock: Callable[[], float],
    ) -> None:
        self._gateway = gateway
        self._config = config
        self._status_board = status_board
        self._clock = clock
        self._open: dict[PortKey, MappedPort] = {}
        self._requested: dict[PortKey, int] = {}
        """Port -> requested external port of mappings that may exist."""
        self._failures = 0

    async def run(self, keys: Sequence[PortKey]) -> None:
        """Keep the ports mapped; return, or raise GatewayError, when the gateway refuses all.

        The mappings are always removed at the end, in a bounded time.
        """
        async with self._closing():
            await self._refresh(keys)
            pause_s = min(self._config.check_interval_s, self._config.lifetime_s / 4)
            while self._open:
                await anyio.sleep(pause_s)
                await self._refresh(keys)

    async def _refresh(self, keys: Sequence[PortKey]) -> None:
        """Create mappings and renew those that expire soon; refused ones are retried next time.

        Raises GatewayError after two failures in a row, because the gateway may have changed.
        """
        await self._update_external_host()
        refusals: list[GatewayError] = []
        for key in keys:
            try:
                await self._renew(key)
                self._failures = 0
            except GatewayError as error:
                refusals.append(error)
                self._failures += not isinstance(error, UpnpRefusedError)
        if refusals and (not self._open or self._failures >= MAX_FAILURES):
            raise refusals[0]

    async def _update_external_host(self) -> None:
        host = await self._gateway.external_host()
        if host is not None and host != self._status_board.external_host:
            self._status_board.set_external_host(host)

    async def _renew(self, key: PortKey) -> None:
        exists = await self._exists(key)
        if exists and self._clock() < self._open[key].expires_s - self._config.lifetime_s / 2:
            return
        try:
            await self._request(key)
        except UpnpRefusedError:
            if not exists:
                self._forget(key)
            raise

    async def _exists(self, key: PortKey) -> bool:
        mapping = self._open.get(key)
        if mapping is not None and mapping.expires_s <= self._clock():
            self._forget(key)
            return False
        return mapping is not None and await self._gateway.is_open(key, mapping.external_port)

    async def _request(self, key: PortKey) -> None:
        known = self._open.get(key)
        port = known.external_port if known else key.internal_port
        self._requested.setdefault(key, port)
        granted = await self._gateway.open(key, port, self._config.lifetime_s)
        self._requested[key] = granted.external_port
        lifetime_s = granted.lifetime_s or self._config.lifetime_s
        host = self._status_board.external_host
        mapping = MappedPort(key, granted.external_port, host, self._clock() + lifetime_s)
        self._open[key] = mapping
        self._status_board.opened(mapping, NAME)

    def _forget(self, key: PortKey) -> None:
        if self._open.pop(key, None) is not None:
            self._status_board.closed(key)

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with anyio.move_on_after(self._config.removal_timeout_s, shield=True):
                await self._close()

    async def _close(self) -> None:
        for key, port in self._requested.items():
            try:  # a request without a response may belong to another host
                if key in self._open or await self._gateway.is_open(key, port):
                    await self._gateway.close(key, port)
            except GatewayError as error:
                logger.debug("cannot remove a port mapping: %s", error)
            self._forget(key)
