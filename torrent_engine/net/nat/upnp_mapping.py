"""Port mappings at a UPnP gateway."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.nat.mapping_status import MappingStatus
from torrent_engine.net.nat.upnp import CONFLICT, Granted, UpnpGateway, UpnpRefusedError
from torrent_engine.protocol.nat.events import MappedPort
from torrent_engine.protocol.nat.facts import PortKey, check_keys

logger = logging.getLogger(__name__)

NAME: Final = "UPnP"
MAX_FAILURES: Final = 2  # ours: failed requests in a row
MAX_PORT_TRIES: Final = 4  # ours: ports tried if the first is in use


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
        self._requested: dict[PortKey, set[int]] = {}
        """Port -> external ports that were requested, also those without a response."""
        self._failures = 0

    async def run(self, keys: Sequence[PortKey]) -> None:
        """Keep the ports mapped; return, or raise GatewayError, when the gateway refuses all.

        The mappings are always removed at the end, in a bounded time. Raises LocalProtocolError for
        port 0.
        """
        check_keys(keys)
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
        granted = await self._open_from(key, known.external_port if known else key.internal_port)
        lifetime_s = granted.lifetime_s or self._config.lifetime_s
        host = self._status_board.external_host
        mapping = MappedPort(key, granted.external_port, host, self._clock() + lifetime_s)
        self._open[key] = mapping
        self._status_board.opened(mapping, NAME)

    async def _open_from(self, key: PortKey, first_port: int) -> Granted:
        """Open a port or, if it is in use, a following one. Raises GatewayError."""
        last_error: GatewayError | None = None
        for port in range(first_port, min(first_port + MAX_PORT_TRIES, 1 << 16)):
            self._requested.setdefault(key, set()).add(port)  # before a response, which may be lost
            try:
                return await self._gateway.open(key, port, self._config.lifetime_s)
            except UpnpRefusedError as error:
                if error.code != CONFLICT:
                    raise
                last_error = error
        raise GatewayError(f"no free port at the gateway: {last_error}")

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
        """Remove the mappings, the known ones first because the time may not do for all."""
        for key, mapping in list(self._open.items()):
            self._requested[key].discard(mapping.external_port)
            await self._remove(key, mapping.external_port)
            self._forget(key)
        for key, ports in self._requested.items():
            for port in sorted(ports):
                await self._remove(key, port, if_ours=True)

    async def _remove(self, key: PortKey, port: int, *, if_ours: bool = False) -> None:
        """Remove a mapping; with ``if_ours`` only if it does not belong to another host."""
        try:
            if not if_ours or await self._gateway.is_open(key, port):
                await self._gateway.close(key, port)
        except GatewayError as error:
            logger.debug("cannot remove a port mapping: %s", error)
