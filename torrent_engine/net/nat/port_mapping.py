"""Port mapping at the default gateways.

Failures of gateways are not raised but reported by ``status()``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError, NetworkError
from torrent_engine.net.nat.gateway import Gateway, find_gateway
from torrent_engine.net.nat.gateway_link import GatewayLink, connected_socket
from torrent_engine.net.nat.mapping_status import MappingStatus, PortMappingStatus
from torrent_engine.net.nat.upnp import open_upnp
from torrent_engine.net.nat.upnp_mapping import UpnpMappings
from torrent_engine.policy.peers.external_address import listens_at
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.events import (
    AnswerIgnored,
    ExternalHostReported,
    GatewayFailed,
    NatEvent,
    PortClosed,
    PortLost,
    PortOpened,
    PortRefused,
)
from torrent_engine.protocol.nat.facts import (
    GATEWAY_PORT,
    MappedTransport,
    MappingProtocol,
    PortKey,
)
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
    """Collaborators of a PortMapper."""

    clock: Callable[[], float]
    listen_hosts: Sequence[str]
    """Our listen addresses; gateways that cannot reach them are not used."""
    secret: bytes
    """The secret of PCP nonces."""
    on_change: Callable[["PortMapper"], None] = lambda _mapper: None
    """Called when the status has changed."""
    find_gateway: Callable[[bool], Gateway | None] = find_gateway
    """Called with True for IPv6."""
    gateway_port: int = GATEWAY_PORT
    ssdp_port: int = SSDP_PORT


class PortMapper:
    """Maps our ports at the IPv4 and IPv6 gateways; :meth:`run` is its only task."""

    def __init__(
        self, config: PortMappingConfig, keys: Sequence[PortKey], host: MapperHost
    ) -> None:
        self._host = host
        self._keys = keys
        self._families = [
            _Family(config, keys, host, self._on_change, is_ipv6=is_ipv6)
            for is_ipv6 in (False, True)
        ]

    def status(self) -> tuple[PortMappingStatus, ...]:
        """Return the status of each port in each address family."""
        return tuple(each for family in self._families for each in family.status_board.status())

    def external_port(self, transport: MappedTransport) -> int | None:
        """Return the external port; None without a mapping.

        Only IPv4 counts: IPv6 firewalls do not change ports.
        """
        return self._families[0].status_board.external_port(transport)

    @property
    def external_hosts(self) -> tuple[str, ...]:
        """External addresses as reported by the gateways, which may be behind other gateways."""
        hosts = (family.status_board.external_host for family in self._families)
        return tuple(host for host in hosts if host is not None)

    async def run(self) -> None:
        """Keep the ports mapped until cancelled; then remove the mappings, in a bounded time.

        Without a port this returns at once, and no gateway is asked.
        """
        if not self._keys:
            return
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
        self.status_board = MappingStatus(
            keys, is_ipv6=is_ipv6, clock=host.clock, on_change=on_change
        )
        self.status_board.error = None if config.enabled else SWITCHED_OFF
        self._config = config
        self._keys = keys
        self._host = host
        self._is_ipv6 = is_ipv6

    async def run(self) -> None:
        """Keep the ports mapped at the current gateway; failures are logged and retried."""
        while True:
            try:
                await self._run_once()
            except Exception:
                logger.exception("port mapping failed")
                self.status_board.begin(None, "internal error; see the log")
                await anyio.sleep(self._config.retry_s)

    async def _run_once(self) -> None:
        gateway = self._gateway()
        if gateway is None:
            self.status_board.begin(None, "no gateway")
            await anyio.sleep(self._config.gateway_poll_s)
            return
        self.status_board.begin(gateway.host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, gateway, tasks.cancel_scope)
            await self._use(gateway)
            is_good = self.status_board.has_opened  # for example, the gateway is restarting
            await anyio.sleep(self._config.min_retry_s if is_good else self._config.retry_s)
            tasks.cancel_scope.cancel()

    def _gateway(self) -> Gateway | None:
        """Return the gateway, if it could reach one of our listeners."""
        gateway = self._host.find_gateway(self._is_ipv6)
        if gateway is None or not listens_at(gateway.local_host, self._host.listen_hosts):
            return None
        return gateway

    async def _watch(self, gateway: Gateway, scope: anyio.CancelScope) -> None:
        """Cancel ``scope`` as soon as the default gateway changes."""
        while True:
            await anyio.sleep(self._config.gateway_poll_s)
            if self._gateway() != gateway:
                scope.cancel()

    async def _use(self, gateway: Gateway) -> None:
        """Keep the ports mapped at a gateway, until every protocol has failed."""
        for map_ports in (self._run_client, self._run_upnp):
            try:
                await map_ports(gateway)
            except (NetworkError, GatewayError) as error:
                self._failed(str(error))

    def _protocols(self, gateway: Gateway) -> list[MappingProtocol]:
        available: dict[str, Callable[[], MappingProtocol]] = {
            PCP: lambda: Pcp(gateway.local_host, self._host.secret)
        }
        if not gateway.is_ipv6:
            available[NATPMP] = NatPmp
        return [available[name]() for name in self._config.protocols if name in available]

    async def _run_upnp(self, gateway: Gateway) -> None:
        if gateway.is_ipv6 or UPNP not in self._config.protocols:
            return
        async with open_upnp(gateway, self._config, self._host.ssdp_port) as upnp:
            await UpnpMappings(upnp, self._config, self.status_board, self._host.clock).run(
                self._keys
            )

    async def _run_client(self, gateway: Gateway) -> None:
        host, protocols = self._host, self._protocols(gateway)
        if not protocols:
            return
        client = NatClient(protocols, self._keys, self._config, now=host.clock())

        def on_event(event: NatEvent) -> None:
            self._on_event(event, client)

        with connected_socket(gateway, host.gateway_port) as sock:
            link = GatewayLink(client, sock, host.clock, on_event)
            try:
                await link.run()
            finally:
                await link.close(self._config.removal_timeout_s)

    def _on_event(self, event: NatEvent, client: NatClient) -> None:
        status_board = self.status_board
        match event:
            case PortOpened():
                status_board.opened(event.mapping, client.protocol.name)
            case PortLost() | PortClosed():
                status_board.closed(event.key)
            case ExternalHostReported():
                status_board.set_external_host(event.host)
            case PortRefused():
                status_board.error = f"{client.protocol.name}: {event.reason}"
            case GatewayFailed():
                self._failed(event.reason)
            case AnswerIgnored():
                logger.debug("ignored a datagram from the gateway: %s", event.reason)
            case _:
                logger.debug("the gateway %s: %s", status_board.gateway, type(event).__name__)

    def _failed(self, reason: str) -> None:
        before = self.status_board.error
        if before is None or reason in before:
            self.status_board.error = before or reason
        else:  # another protocol failed before
            self.status_board.error = f"{before}; {reason}"
        logger.debug("no port mapping at %s: %s", self.status_board.gateway, reason)
