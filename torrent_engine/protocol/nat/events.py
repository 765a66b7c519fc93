"""What a port mapping client tells."""

from dataclasses import dataclass

from torrent_engine.protocol.nat.facts import PortKey


class NatEvent:
    """Base of all of them."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One port that the gateway leads to us."""

    key: PortKey
    external_port: int
    external_host: str | None
    """None: the gateway has not said it."""
    expires_s: float
    """When it ends unless it is renewed, by the clock of ``now``."""


@dataclass(frozen=True, slots=True)
class PortOpened(NatEvent):
    """A mapping is there, or was renewed."""

    mapping: Mapping


@dataclass(frozen=True, slots=True)
class PortLost(NatEvent):
    """A mapping was not renewed in time."""

    key: PortKey


@dataclass(frozen=True, slots=True)
class PortClosed(NatEvent):
    """A mapping was removed as we asked."""

    key: PortKey


@dataclass(frozen=True, slots=True)
class PortRefused(NatEvent):
    """The gateway does not open a port; it is asked again at ``retry_s``."""

    key: PortKey
    code: int
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class ExternalHostTold(NatEvent):
    """The gateway said at which address the network behind it sees us."""

    host: str


@dataclass(frozen=True, slots=True)
class GatewayRestarted(NatEvent):
    """The gateway has forgotten its mappings; all are asked for again."""


@dataclass(frozen=True, slots=True)
class DialectChanged(NatEvent):
    """The gateway does not speak one protocol; the next one is tried."""

    name: str
    """Of the new one."""


@dataclass(frozen=True, slots=True)
class AnswerIgnored(NatEvent):
    """A datagram was no answer to us."""

    reason: str


@dataclass(frozen=True, slots=True)
class GatewayFailed(NatEvent):
    """There is nothing more to be had from this gateway; the client has ended."""

    reason: str
