"""UPnP IGD client: discovery of the gateway, and its port mappings.

Source: UPnP IGD, versions 1 and 2. SOAP is done by async-upnp-client, an extra (``nat``), which is
imported lazily in a worker thread, if installed. All its errors are mapped to GatewayError.
"""

import importlib
import importlib.util
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.nat.gateway import Gateway
from torrent_engine.net.nat.upnp_http import GatewayRequester, open_requester
from torrent_engine.protocol.nat.facts import PortKey
from torrent_engine.protocol.nat.ssdp import (
    GATEWAY_TYPES,
    GROUP_IPV4,
    MAX_DATAGRAM_BYTES,
    SSDP_PORT,
    decode_answer,
    encode_search,
)

logger = logging.getLogger(__name__)

LIBRARY: Final = "async_upnp_client.client_factory"
DESCRIPTION: Final = "torrent_engine"
SEARCH_EVERY_S: Final = 1.0  # ours: datagrams may be lost
SERVICES: Final = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
INVALID_ARGUMENTS: Final = 402
NO_SUCH_MAPPING: Final = 714
CONFLICT: Final = 718
ONLY_PERMANENT: Final = 725


class ServiceAction(Protocol):
    """An action of the library."""

    async_call: Callable[..., Awaitable[Mapping[str, Any]]]


class Service(Protocol):
    """A service of the library."""

    service_type: str

    def has_action(self, name: str) -> bool:
        """Return whether the service has an action of this name."""

    def action(self, name: str) -> ServiceAction:
        """Return the action of this name."""


class Device(Protocol):
    """A device of the library."""

    all_services: Sequence[Service]


@dataclass(frozen=True, slots=True)
class Granted:
    """A granted mapping."""

    external_port: int
    lifetime_s: int
    """0: permanent."""


class UpnpGateway:
    """The WAN connection service of a gateway; open it with :func:`open_upnp`."""

    def __init__(self, service: Service, requester: GatewayRequester, local_host: str) -> None:
        self._service = service
        self._requester = requester
        self._local_host = local_host

    async def external_host(self) -> str | None:
        """Return the external address that the gateway reports; None if it has none."""
        try:
            answer = await self._call("GetExternalIPAddress")
            host = str(IPv4Address(str(answer.get("NewExternalIPAddress"))))
        except (GatewayError, ValueError) as error:
            logger.debug("UPnP: no external address: %s", error)
            return None
        return None if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound

    async def open(self, key: PortKey, external_port: int, lifetime_s: int) -> Granted:
        """Create or renew a mapping; gateways without lifetimes create a permanent one.

        Raises GatewayError; UpnpRefusedError with code CONFLICT if the port is in use.
        """
        try:
            await self._add(key, external_port, lifetime_s)
        except UpnpRefusedError as error:
            if error.code not in (ONLY_PERMANENT, INVALID_ARGUMENTS) or not lifetime_s:
                raise
            await self._add(key, external_port, 0)
            return Granted(external_port, 0)
        return Granted(external_port, lifetime_s)

    async def _add(self, key: PortKey, port: int, lifetime_s: int) -> None:
        await self._call(
            "AddPortMapping",
            NewRemoteHost="",
            NewExternalPort=port,
            NewProtocol=key.transport.name,
            NewInternalPort=key.internal_port,
            NewInternalClient=self._local_host,
            NewEnabled=True,
            NewPortMappingDescription=DESCRIPTION,
            NewLeaseDuration=lifetime_s,
        )

    async def close(self, key: PortKey, external_port: int) -> None:
        """Remove a mapping; a missing one is no error. Raises GatewayError."""
        try:
            await self._call("DeletePortMapping", **_entry(key, external_port))
        except UpnpRefusedError as error:
            if error.code != NO_SUCH_MAPPING:
                raise

    async def is_open(self, key: PortKey, external_port: int) -> bool:
        """Return whether the gateway still maps a port to us. Raises GatewayError."""
        try:
            answer = await self._call("GetSpecificPortMappingEntry", **_entry(key, external_port))
        except UpnpRefusedError:
            return False
        leads_to = answer.get("NewInternalClient"), answer.get("NewInternalPort")
        return leads_to == (self._local_host, key.internal_port)

    async def _call(self, name: str, **arguments: object) -> Mapping[str, Any]:
        self._requester.begin_call(1)
        with _mapped():
            if not self._service.has_action(name):
                raise GatewayError(f"the gateway has no {name}")
            return await self._service.action(name).async_call(**arguments)


class UpnpRefusedError(GatewayError):
    """The gateway refused, with a UPnP error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"UPnP error {code}: {text}")
        self.code = code


@asynccontextmanager
async def open_upnp(
    gateway: Gateway, config: PortMappingConfig, port: int = SSDP_PORT
) -> AsyncIterator[UpnpGateway]:
    """Discover the UPnP service of a gateway, for as long as the block lasts.

    Raises GatewayError if the library is not installed, there is no response, or the device has no
    port mapping service.
    """
    if not is_installed():
        raise GatewayError("UPnP needs the extra torrent-engine[nat]")
    location = await _search(gateway, config, port)
    library = await anyio.to_thread.run_sync(importlib.import_module, LIBRARY)
    async with open_requester(gateway.host, gateway.local_host, config) as requester:
        requester.begin_call()
        with _mapped():
            factory = library.UpnpFactory(requester, non_strict=True)
            device = await factory.async_create_device(location)
            service = _connection(device)
        yield UpnpGateway(service, requester, gateway.local_host)


def is_installed() -> bool:
    """Return whether the library is installed, without importing it."""
    return importlib.util.find_spec(LIBRARY.partition(".")[0]) is not None


def _connection(device: Device) -> Service:
    """Return the newest port mapping service."""
    services = {service.service_type: service for service in device.all_services}
    for kind in SERVICES:
        if kind in services and services[kind].has_action("AddPortMapping"):
            return services[kind]
    raise GatewayError("the UPnP gateway has no port mapping service")


def _entry(key: PortKey, external_port: int) -> dict[str, object]:
    return {
        "NewRemoteHost": "",
        "NewExternalPort": external_port,
        "NewProtocol": key.transport.name,
    }


@contextmanager
def _mapped() -> Iterator[None]:
    """Map all errors of the library to GatewayError."""
    try:
        yield
    except GatewayError:
        raise
    except TimeoutError as error:
        raise GatewayError("UPnP: timed out") from error
    except Exception as error:
        code = getattr(error, "error_code", None)
        if isinstance(code, int):
            raise UpnpRefusedError(int(code), str(getattr(error, "error_desc", ""))) from error
        raise GatewayError(f"UPnP: {type(error).__name__}: {error}") from error


async def _search(gateway: Gateway, config: PortMappingConfig, port: int) -> str:
    """Return the URL of the gateway's description. Raises GatewayError without a response."""
    try:
        with _search_socket(gateway) as sock, anyio.move_on_after(config.upnp_search_s):
            while True:
                _send_search(sock, gateway, port)
                with anyio.move_on_after(SEARCH_EVERY_S):
                    return await _receive_response(sock, gateway)
    except OSError as error:
        raise GatewayError(f"UPnP: {error.strerror or error}") from error
    raise GatewayError("UPnP: no response")


@contextmanager
def _search_socket(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        local = socket.inet_aton(gateway.local_host)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
        sock.bind((gateway.local_host, 0))
        yield sock


def _send_search(sock: socket.socket, gateway: Gateway, port: int) -> None:
    """Send the search by multicast and by unicast, because some networks block multicast."""
    for target in GATEWAY_TYPES:
        for host in (GROUP_IPV4, gateway.host):
            try:
                sock.sendto(encode_search(target, GROUP_IPV4, 1), (host, port))
            except OSError as error:
                logger.debug("UPnP: cannot search at %s: %s", host, error)


async def _receive_response(sock: socket.socket, gateway: Gateway) -> str:
    """Return the first response of the gateway; ignore other senders."""
    while True:
        await anyio.wait_readable(sock)
        try:
            data, address = sock.recvfrom(MAX_DATAGRAM_BYTES + 1)
            if address[0] == gateway.host:
                return decode_answer(data, gateway.host).location
        except BlockingIOError:
            continue
        except (GatewayError, ConnectionRefusedError) as error:
            logger.debug("UPnP: %s", error)
