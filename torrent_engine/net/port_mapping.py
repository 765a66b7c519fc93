"""Owns our ports at the gateways: opened, renewed, opened again at another gateway, and closed.

Nothing that a gateway does, or none at all, is an error for others: it is told by ``status()``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError, NetworkError
from torrent_engine.net.gateway import Gateway, find_gateway
from torrent_engine.net.gateway_link import GatewayLink, connected_socket
from torrent_engine.net.mapping_board import MappingBoard, PortMappingStatus
from torrent_engine.net.upnp import open_upnp
from torrent_engine.net.upnp_mapping import UpnpMappings
from torrent_engine.policy.own_address import listens_at
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.events import (
    AnswerIgnored,
    ExternalHostTold,
    GatewayFailed,
    NatEvent,
    PortClosed,
    PortLost,
    PortOpened,
    PortRefused,
)
from torrent_engine.protocol.nat.facts import GATEWAY_PORT, Dialect, PortKey, Transport
from torrent_engine.protocol.nat.natpmp import NatPmp
from torrent_engine.protocol.nat.pcp import Pcp
from torrent_engine.protocol.nat.ssdp import SSDP_PORT

logger = logging.getLogger(__name__)

PCP: Final = "PCP"
NATPMP: Final = "NAT-PMP"
UPNP: Final = "UPnP"
SWITCHED_OFF: Final = "switched off"


@dataclass(frozen=True, slots=True)
class MapperHost:
    """What a PortMapper is given by its process."""

    clock: Callable[[], float]
    listen_hosts: Sequence[str]
    """Where we listen: of a gateway that leads elsewhere nothing is asked."""
    secret: bytes
    """From which the nonces of PCP come."""
    on_change: Callable[["PortMapper"], None] = lambda _mapper: None
    """Hears that something of what it can be asked is another."""
    find_gateway: Callable[[bool], Gateway | None] = find_gateway
    """Called with True for IPv6."""
    gateway_port: int = GATEWAY_PORT
    ssdp_port: int = SSDP_PORT


class PortMapper:
    """Opens our ports at the gateways of IPv4 and IPv6; :meth:`run` is its one task."""

    def __init__(
        self, config: PortMappingConfig, keys: Sequence[PortKey], host: MapperHost
    ) -> None:
        self._host = host
        self._families = [
            _Family(config, keys, host, self._on_change, is_ipv6=is_ipv6)
            for is_ipv6 in (False, True)
        ]

    def status(self) -> tuple[PortMappingStatus, ...]:
        """Return how each port stands in each address family."""
        return tuple(each for family in self._families for each in family.board.status())

    def external_port(self, transport: Transport) -> int | None:
        """Return which port outside leads to ours; None while there is none.

        IPv4 decides: a firewall of IPv6 changes no numbers.
        """
        return self._families[0].board.external_port(transport)

    @property
    def external_hosts(self) -> tuple[str, ...]:
        """What the gateways say of our addresses, which another gateway may lie behind."""
        hosts = (family.board.external_host for family in self._families)
        return tuple(host for host in hosts if host is not None)

    async def run(self) -> None:
        """Keep the ports open until cancelled; then they are closed, in a bounded time."""
        async with anyio.create_task_group() as tasks:
            for family in self._families:
                tasks.start_soon(family.run)

    def _on_change(self) -> None:
        self._host.on_change(self)


class _Family:
    """The mappings of one address family."""

    def __init__(
        self,
        config: PortMappingConfig,
        keys: Sequence[PortKey],
        host: MapperHost,
        on_change: Callable[[], None],
        *,
        is_ipv6: bool,
    ) -> None:
        self.board = MappingBoard(keys, is_ipv6=is_ipv6, clock=host.clock, on_change=on_change)
        self.board.error = None if config.enabled else SWITCHED_OFF
        self._config = config
        self._keys = keys
        self._host = host
        self._is_ipv6 = is_ipv6

    async def run(self) -> None:
        """Keep the ports open, at whichever gateway there is; a fault is logged, and it goes on."""
        while True:
            try:
                await self._run_at_a_gateway()
            except Exception:
                logger.exception("port mapping failed")
                self.board.begin(None, "a fault; see the log")
                await anyio.sleep(self._config.retry_s)

    async def _run_at_a_gateway(self) -> None:
        gateway = self._gateway()
        if gateway is None:
            self.board.begin(None, "no gateway")
            await anyio.sleep(self._config.gateway_poll_s)
            return
        self.board.begin(gateway.host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, gateway, tasks.cancel_scope)
            await self._use(gateway)
            is_good = self.board.has_opened  # and may well be so again, as after a restart
            await anyio.sleep(self._config.min_retry_s if is_good else self._config.retry_s)
            tasks.cancel_scope.cancel()

    def _gateway(self) -> Gateway | None:
        """Return the gateway, if it could lead anybody to where we listen."""
        gateway = self._host.find_gateway(self._is_ipv6)
        if gateway is None or not listens_at(gateway.local_host, self._host.listen_hosts):
            return None
        return gateway

    async def _watch(self, gateway: Gateway, scope: anyio.CancelScope) -> None:
        """End what goes on at a gateway as soon as there is another one."""
        while True:
            await anyio.sleep(self._config.gateway_poll_s)
            if self._gateway() != gateway:
                scope.cancel()

    async def _use(self, gateway: Gateway) -> None:
        """Keep the ports open at a gateway, until nothing more is to be had from it."""
        for talk in (self._talk, self._talk_upnp):
            try:
                await talk(gateway)
            except (NetworkError, GatewayError) as error:
                self._failed(str(error))

    def _dialects(self, gateway: Gateway) -> list[Dialect]:
        offered: dict[str, Callable[[], Dialect]] = {
            PCP: lambda: Pcp(gateway.local_host, self._host.secret)
        }
        if not gateway.is_ipv6:
            offered[NATPMP] = NatPmp
        return [offered[name]() for name in self._config.protocols if name in offered]

    async def _talk_upnp(self, gateway: Gateway) -> None:
        if gateway.is_ipv6 or UPNP not in self._config.protocols:
            return
        async with open_upnp(gateway, self._config, self._host.ssdp_port) as upnp:
            await UpnpMappings(upnp, self._config, self.board, self._host.clock).run(self._keys)

    async def _talk(self, gateway: Gateway) -> None:
        host, dialects = self._host, self._dialects(gateway)
        if not dialects:
            return
        client = NatClient(dialects, self._keys, self._config, now=host.clock())

        def take(event: NatEvent) -> None:
            self._take(event, client)

        with connected_socket(gateway, host.gateway_port) as sock:
            link = GatewayLink(client, sock, host.clock, take)
            try:
                await link.run()
            finally:
                await link.close(self._config.removal_timeout_s)

    def _take(self, event: NatEvent, client: NatClient) -> None:
        board = self.board
        match event:
            case PortOpened():
                board.opened(event.mapping, client.dialect.name)
            case PortLost() | PortClosed():
                board.closed(event.key)
            case ExternalHostTold():
                board.told_host(event.host)
            case PortRefused():
                board.error = f"{client.dialect.name}: {event.reason}"
            case GatewayFailed():
                self._failed(event.reason)
            case AnswerIgnored():
                logger.debug("a datagram of the gateway is ignored: %s", event.reason)
            case _:
                logger.debug("the gateway %s: %s", board.gateway, type(event).__name__)

    def _failed(self, reason: str) -> None:
        before = self.board.error
        if before is None or reason in before:
            self.board.error = before or reason
        else:  # each protocol has failed in its own way
            self.board.error = f"{before}; {reason}"
        logger.debug("no port mapping at %s: %s", self.board.gateway, reason)
