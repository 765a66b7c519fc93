"""Port mapping as facts, whichever the protocol: what is wanted, what a gateway answers.

Source: RFC 6886 (NAT-PMP), RFC 6887 (PCP). A :class:`Dialect` turns them into datagrams and back.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

GATEWAY_PORT: Final = 5351  # RFC 6886, RFC 6887: where a gateway is asked
CLIENT_PORT: Final = 5350  # the same: where it announces, to everybody, that it begins anew
MAX_LIFETIME_S: Final = (1 << 32) - 1  # both: four bytes


class Transport(IntEnum):
    """A transport protocol, by its number at IANA, which PCP uses."""

    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True)
class PortKey:
    """One port of ours: what a mapping leads to."""

    transport: Transport
    internal_port: int
    """1 to 65535."""


@dataclass(frozen=True, slots=True)
class MapRequest:
    """What a gateway is asked for."""

    key: PortKey
    external_port: int
    """Which port we would like; 0: any."""
    lifetime_s: int
    """0 removes the mapping."""
    external_host: str | None = None
    """Which address we would like (PCP); None: any."""


@dataclass(frozen=True, slots=True)
class EpochSeen:
    """A gateway's own clock, as it stood at one moment of ours."""

    epoch_s: int
    """Seconds since it began to keep mappings."""
    at_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What every answer says."""

    epoch_s: int


@dataclass(frozen=True, slots=True)
class Mapped(Answer):
    """A port was opened, or closed (RFC 6886 section 3.3, RFC 6887 section 11)."""

    key: PortKey
    external_port: int
    lifetime_s: int
    """0: the mapping is gone."""
    external_host: str | None
    """Literal address; None where the protocol does not say it here."""


@dataclass(frozen=True, slots=True)
class AddressTold(Answer):
    """The gateway's external address (RFC 6886 section 3.2)."""

    external_host: str


@dataclass(frozen=True, slots=True)
class Alive(Answer):
    """A sign of life, for its epoch (RFC 6887 section 14.1)."""


@dataclass(frozen=True, slots=True)
class Refused(Answer):
    """The gateway says no."""

    code: int
    reason: str
    """The code in words."""
    key: PortKey | None
    """Which port it is about; None: the answer does not say, or it is about none."""
    retry_in_s: float | None
    """How long the refusal holds (PCP); None: not said."""


@dataclass(frozen=True, slots=True)
class VersionRefused:
    """The gateway does not speak this protocol (RFC 6887 section 9, RFC 6886 section 3.5)."""

    spoken_version: int
    """What it says that it speaks: 0 is NAT-PMP, 1 a draft of PCP, 2 PCP."""


class Dialect(Protocol):
    """One protocol of port mapping: facts into datagrams, datagrams into facts."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def checks_first(self) -> bool:
        """Whether the check tells something that mappings do not, and so comes before them."""

    def map_request(self, request: MapRequest) -> bytes:
        """Encode a request to open, renew or close a port."""

    def check_request(self) -> bytes:
        """Encode a request whose answer tells the epoch, and changes nothing."""

    def decode(self, data: bytes) -> Answer | VersionRefused:
        """Decode one datagram of the gateway. Raises GatewayError if it is no answer to us."""

    def has_restarted(self, before: EpochSeen, now: EpochSeen) -> bool:
        """Tell whether the gateway has forgotten its mappings between two answers."""
