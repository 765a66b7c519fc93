"""Owns what is known of our ports at the gateway of one address family, and tells it as facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torrent_engine.protocol.nat.events import Mapping
from torrent_engine.protocol.nat.facts import PortKey, Transport


@dataclass(frozen=True, slots=True)
class PortMappingStatus:
    """How one port of ours stands at the gateway of one address family."""

    transport: Transport
    is_ipv6: bool
    internal_port: int
    gateway: str | None = None
    """Its address; None: there is none, or it is not known."""
    protocol: str | None = None
    """"PCP", "NAT-PMP" or "UPnP"; None: the port is not open."""
    external_port: int | None = None
    external_address: str | None = None
    expires_in_s: float | None = None
    """When the mapping ends unless it is renewed."""
    error: str | None = None
    """Why the port is not open; None: it is, or nobody has answered yet."""

    @property
    def is_open(self) -> bool:
        """Whether the gateway leads to us."""
        return self.protocol is not None


class MappingBoard:
    """What one family's mapper writes down, and everybody may read."""

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
        """Whether anything was open since :meth:`begin`."""
        self._protocol: str | None = None
        self._mappings: dict[PortKey, Mapping] = {}
        self._keys = keys
        self._clock = clock
        self._on_change = on_change

    def begin(self, gateway: str | None, error: str | None = None) -> None:
        """Begin anew, at a gateway or at none."""
        self._mappings.clear()
        self.has_opened = False
        self.gateway, self.external_host, self.error = gateway, None, error
        self._on_change()

    def opened(self, mapping: Mapping, protocol: str) -> None:
        """Take a mapping that is there."""
        self._mappings[mapping.key] = mapping
        self._protocol, self.error, self.has_opened = protocol, None, True
        self.external_host = mapping.external_host or self.external_host
        self._on_change()

    def closed(self, key: PortKey) -> None:
        """Forget one that is gone."""
        self._mappings.pop(key, None)
        self._on_change()

    def told_host(self, host: str) -> None:
        """Take what the gateway says of its address."""
        self.external_host = host
        self._on_change()

    def external_port(self, transport: Transport) -> int | None:
        """Return the port outside that leads to ours; None while there is none."""
        for key, mapping in self._mappings.items():
            if key.transport == transport:
                return mapping.external_port
        return None

    def status(self) -> list[PortMappingStatus]:
        """Return the facts of every port."""
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
