"""Port mapping status at the gateway of one address family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torrent_engine.protocol.nat.events import MappedPort
from torrent_engine.protocol.nat.facts import MappedTransport, PortKey


@dataclass(frozen=True, slots=True)
class PortMappingStatus:
    """The mapping of one port at the gateway of one address family."""

    transport: MappedTransport
    is_ipv6: bool
    internal_port: int
    gateway: str | None = None
    """Its address; None: none, or unknown."""
    protocol: str | None = None
    """"PCP", "NAT-PMP" or "UPnP"; None: not mapped."""
    external_port: int | None = None
    external_address: str | None = None
    expires_in_s: float | None = None
    """Seconds until the mapping expires unless renewed."""
    error: str | None = None
    """Why the port is not mapped; None: it is mapped, or there is no response yet."""

    @property
    def is_open(self) -> bool:
        """Whether the port is mapped."""
        return self.protocol is not None


class MappingStatus:
    """Port mapping status of one address family."""

    def __init__(
        self,
        keys: Sequence[PortKey],
        *,
        is_ipv6: bool,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.is_ipv6 = is_ipv6
        self.gateway: str | None = None
        self.external_host: str | None = None
        self.error: str | None = None
        self.has_opened = False
        """Whether any port was mapped since :meth:`begin`."""
        self._protocol: str | None = None
        self._mappings: dict[PortKey, MappedPort] = {}
        self._keys = keys
        self._clock = clock
        self._on_change = on_change

    def begin(self, gateway: str | None, error: str | None = None) -> None:
        """Reset the status for another gateway or none."""
        self._mappings.clear()
        self.has_opened = False
        self.gateway, self.external_host, self.error = gateway, None, error
        self._on_change()

    def opened(self, mapping: MappedPort, protocol: str) -> None:
        """Record an open mapping."""
        self._mappings[mapping.key] = mapping
        self._protocol, self.error, self.has_opened = protocol, None, True
        self.external_host = mapping.external_host or self.external_host
        self._on_change()

    def closed(self, key: PortKey) -> None:
        """Drop a mapping that no longer exists."""
        self._mappings.pop(key, None)
        self._on_change()

    def set_external_host(self, host: str) -> None:
        """Record the external address that the gateway reports."""
        self.external_host = host
        self._on_change()

    def external_port(self, transport: MappedTransport) -> int | None:
        """Return the external port; None without a mapping."""
        for key, mapping in self._mappings.items():
            if key.transport == transport:
                return mapping.external_port
        return None

    def status(self) -> list[PortMappingStatus]:
        """Return the status of every port."""
        return [self._status_of(key) for key in self._keys]

    def _status_of(self, key: PortKey) -> PortMappingStatus:
        mapping = self._mappings.get(key)
        is_open = mapping is not None
        return PortMappingStatus(
            transport=key.transport,
            is_ipv6=self.is_ipv6,
            internal_port=key.internal_port,
            gateway=self.gateway,
            protocol=self._protocol if is_open else None,
            external_port=mapping.external_port if mapping else None,
            external_address=self.external_host,
            expires_in_s=max(mapping.expires_s - self._clock(), 0.0) if mapping else None,
            error=None if is_open else self.error,
        )
