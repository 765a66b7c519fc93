"""The events of a port mapping client."""

from dataclasses import dataclass

from torrent_engine.protocol.nat.facts import PortKey


class NatEvent:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class MappedPort:
    """One active port mapping."""

    key: PortKey
    external_port: int
    external_host: str | None
    """None: not reported by the gateway."""
    expires_s: float
    """When it expires unless renewed, by the clock of ``now``."""


@dataclass(frozen=True, slots=True)
class PortOpened(NatEvent):
    """A mapping was created or renewed."""

    mapping: MappedPort


@dataclass(frozen=True, slots=True)
class PortLost(NatEvent):
    """A mapping was not renewed in time."""

    key: PortKey


@dataclass(frozen=True, slots=True)
class PortClosed(NatEvent):
    """A mapping was removed at our request."""

    key: PortKey


@dataclass(frozen=True, slots=True)
class PortRefused(NatEvent):
    """The gateway refused a mapping; the next attempt is at ``retry_s``."""

    key: PortKey
    code: int
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class ExternalHostReported(NatEvent):
    """The gateway reported our external address."""

    host: str


@dataclass(frozen=True, slots=True)
class GatewayRestarted(NatEvent):
    """The gateway may have lost its mappings; all are requested again."""


@dataclass(frozen=True, slots=True)
class ProtocolChanged(NatEvent):
    """The gateway does not support one protocol; the next one is tried."""

    name: str
    """Name of the next protocol."""


@dataclass(frozen=True, slots=True)
class AnswerIgnored(NatEvent):
    """A datagram was not a valid response."""

    reason: str


@dataclass(frozen=True, slots=True)
class GatewayFailed(NatEvent):
    """No protocol works with this gateway; the client has ended."""

    reason: str
