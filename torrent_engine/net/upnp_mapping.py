"""Owns our ports at a UPnP gateway: opened, renewed, opened again if it forgot them, and closed."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.mapping_board import MappingBoard
from torrent_engine.net.upnp import UpnpGateway, UpnpRefusedError
from torrent_engine.protocol.nat.events import Mapping
from torrent_engine.protocol.nat.facts import PortKey

logger = logging.getLogger(__name__)

NAME: Final = "UPnP"
MAX_SILENCES: Final = 2  # ours: requests in a row that fail


class UpnpMappings:
    """Keeps ports open at one gateway."""

    def __init__(
        self,
        gateway: UpnpGateway,
        config: PortMappingConfig,
        board: MappingBoard,
        clock: Callable[[], float],
    ) -> None:
        self._gateway = gateway
        self._config = config
        self._board = board
        self._clock = clock
        self._open: dict[PortKey, Mapping] = {}
        self._asked: dict[PortKey, int] = {}
        """What may be open: under which port it was asked for."""
        self._silences = 0

    async def run(self, keys: Sequence[PortKey]) -> None:
        """Keep the ports open; return, or raise GatewayError, when the gateway gives none.

        However it ends, they are closed, in a bounded time.
        """
        async with self._closing():
            await self._refresh(keys)
            pause_s = min(self._config.check_interval_s, self._config.lifetime_s / 4)
            while self._open:
                await anyio.sleep(pause_s)
                await self._refresh(keys)

    async def _refresh(self, keys: Sequence[PortKey]) -> None:
        """Open, or renew, what is not open for long any more; a port that is refused waits.

        A gateway that cannot be talked to, twice in a row, may be another one by now: GatewayError.
        """
        await self._ask_for_host()
        refusals: list[GatewayError] = []
        for key in keys:
            try:
                await self._keep_open(key)
                self._silences = 0
            except GatewayError as error:
                refusals.append(error)
                self._silences += not isinstance(error, UpnpRefusedError)
        if refusals and (not self._open or self._silences >= MAX_SILENCES):
            raise refusals[0]

    async def _ask_for_host(self) -> None:
        host = await self._gateway.external_host()
        if host is not None and host != self._board.external_host:
            self._board.told_host(host)

    async def _keep_open(self, key: PortKey) -> None:
        is_there = await self._is_there(key)
        if is_there and self._clock() < self._open[key].expires_s - self._config.lifetime_s / 2:
            return
        try:
            await self._ask_for(key)
        except UpnpRefusedError:
            if not is_there:
                self._forget(key)
            raise

    async def _is_there(self, key: PortKey) -> bool:
        mapping = self._open.get(key)
        if mapping is not None and mapping.expires_s <= self._clock():
            self._forget(key)
            return False
        return mapping is not None and await self._gateway.is_open(key, mapping.external_port)

    async def _ask_for(self, key: PortKey) -> None:
        known = self._open.get(key)
        port = known.external_port if known else key.internal_port
        self._asked.setdefault(key, port)
        granted = await self._gateway.open(key, port, self._config.lifetime_s)
        self._asked[key] = granted.external_port
        lifetime_s = granted.lifetime_s or self._config.lifetime_s
        host = self._board.external_host
        mapping = Mapping(key, granted.external_port, host, self._clock() + lifetime_s)
        self._open[key] = mapping
        self._board.opened(mapping, NAME)

    def _forget(self, key: PortKey) -> None:
        if self._open.pop(key, None) is not None:
            self._board.closed(key)

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with anyio.move_on_after(self._config.removal_timeout_s, shield=True):
                await self._close()

    async def _close(self) -> None:
        for key, port in self._asked.items():
            try:  # what was asked for, and not answered, may lead to somebody else
                if key in self._open or await self._gateway.is_open(key, port):
                    await self._gateway.close(key, port)
            except GatewayError as error:
                logger.debug("a port could not be closed: %s", error)
            self._forget(key)
