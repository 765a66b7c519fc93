"""Port mapping requests and responses, independent of the protocol.

Source: RFC 6886 (NAT-PMP), RFC 6887 (PCP). A :class:`MappingProtocol` encodes and decodes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from torrent_engine.base.errors import LocalProtocolError

GATEWAY_PORT: Final = 5351  # RFC 6886, RFC 6887: the port of the server


class MappedTransport(IntEnum):
    """A transport protocol, by its number at IANA, which PCP uses."""

    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True)
class PortKey:
    """One internal port to map."""

    transport: MappedTransport
    internal_port: int
    """1 to 65535."""


def check_keys(keys: Iterable[PortKey]) -> None:
    """Raise LocalProtocolError for a port that cannot be mapped.

    Port 0 means all ports of the host: its removal is that of other programs' mappings, too
    (RFC 6886 section 3.4, RFC 6887 section 11.1).
    """
    for key in keys:
        if not 0 < key.internal_port < 1 << 16:
            raise LocalProtocolError(f"port {key.internal_port} cannot be mapped")


@dataclass(frozen=True, slots=True)
class MapRequest:
    """A mapping request."""

    key: PortKey
    external_port: int
    """Suggested external port; 0: any."""
    lifetime_s: int
    """0 removes the mapping."""
    external_host: str | None = None
    """Suggested external address (PCP); None: any."""


@dataclass(frozen=True, slots=True)
class EpochSeen:
    """An epoch value of the gateway, and when it was received."""

    epoch_s: int
    """Seconds since the gateway's mapping state was reset."""
    at_s: float


@dataclass(frozen=True, slots=True)
class GatewayReply:
    """The fields of every response."""

    epoch_s: int


@dataclass(frozen=True, slots=True)
class Mapped(GatewayReply):
    """A mapping was created or removed (RFC 6886 section 3.3, RFC 6887 section 11)."""

    key: PortKey
    external_port: int
    lifetime_s: int
    """0: removed."""
    external_host: str | None
    """Literal address; None if the protocol does not include it."""


@dataclass(frozen=True, slots=True)
class ExternalAddressReply(GatewayReply):
    """The gateway's external address (RFC 6886 section 3.2)."""

    external_host: str


@dataclass(frozen=True, slots=True)
class EpochReply(GatewayReply):
    """A response that has only the epoch (RFC 6887 section 14.1)."""


@dataclass(frozen=True, slots=True)
class Refused(GatewayReply):
    """The gateway refused a request."""

    code: int
    reason: str
    """Text of the code."""
    key: PortKey | None
    """The port it is about; None: unknown, or none."""
    retry_in_s: float | None
    """How long the refusal is valid (PCP); None: unknown."""


@dataclass(frozen=True, slots=True)
class VersionRefused:
    """The gateway does not support this protocol (RFC 6887 section 9, RFC 6886 section 3.5)."""

    supported_version: int
    """The version that it supports: 0 is NAT-PMP, 1 a draft of PCP, 2 PCP."""


class MappingProtocol(Protocol):
    """The encoding of one port mapping protocol."""

    @property
    def name(self) -> str:
        """The usual name."""

    @property
    def checks_first(self) -> bool:
        """Whether the check has information that mappings lack, and therefore comes first."""

    @property
    def is_patient(self) -> bool:
        """Whether a request to map a port is repeated only after seconds."""

    def map_request(self, request: MapRequest) -> bytes:
        """Encode a request to create, renew or remove a mapping."""

    def check_request(self) -> bytes:
        """Encode a request that only returns the epoch."""

    def decode(self, data: bytes) -> GatewayReply | VersionRefused:
        """Decode one datagram of the gateway. Raises GatewayError for an invalid response."""

    def has_restarted(self, before: EpochSeen, now: EpochSeen) -> bool:
        """Return whether the gateway may have lost its mappings between two responses."""
