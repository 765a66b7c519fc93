"""The limits and choices of how peers are reached: encryption, uTP, hole punching, proxy, filter.

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from torrent_engine.base.discovery_config import MIB


class LinkProtocol(StrEnum):
    """What carries the bytes of a link."""

    TCP = "tcp"
    UTP = "utp"
    """BEP 29."""


class LinkEncryption(StrEnum):
    """How the bytes of a link are encrypted (MSE/PE)."""

    NONE = "none"
    PLAINTEXT = "plaintext"
    """Only the handshake was."""
    RC4 = "rc4"


class EncryptionPolicy(StrEnum):
    """Whether links of one direction are encrypted."""

    DISABLED = "disabled"
    """Encrypted ones are neither made nor taken."""
    ALLOWED = "allowed"
    """Plain ones first; encrypted ones where a plain one does not succeed."""
    PREFERRED = "preferred"
    """The other way round."""
    REQUIRED = "required"
    """Plain ones are neither made nor taken."""


class EncryptionLevel(StrEnum):
    """Which methods an encrypted handshake may agree on."""

    RC4 = "rc4"
    PLAINTEXT = "plaintext"
    EITHER = "either"


class ProxyKind(StrEnum):
    """The protocol of a proxy."""

    SOCKS5 = "socks5"
    SOCKS4 = "socks4"
    HTTP = "http"
    """With CONNECT."""


@dataclass(frozen=True, slots=True)
class EncryptionConfig:
    """Message Stream Encryption (row B11)."""

    incoming: EncryptionPolicy = EncryptionPolicy.ALLOWED
    outgoing: EncryptionPolicy = EncryptionPolicy.ALLOWED
    level: EncryptionLevel = EncryptionLevel.EITHER
    max_handshakes_per_s: int = 100
    """Encrypted handshakes of others that may begin: each costs a millisecond of computing."""


@dataclass(frozen=True, slots=True)
class UtpConfig:
    """uTP (BEP 29; rows C3 and C4)."""

    incoming: bool = True
    outgoing: bool = True
    tcp_head_start_s: float = 1.0
    """How long a dial over TCP has before one over uTP begins beside it."""
    target_delay_s: float = 0.1
    """Queueing delay that LEDBAT allows itself to cause."""
    receive_window_bytes: int = MIB
    send_buffer_bytes: int = MIB
    max_reorder_bytes: int = 32 * MIB
    """Of all connections together: what waits for what was lost before it."""
    min_rto_s: float = 0.5
    max_rto_s: float = 60.0
    syn_attempts: int = 3
    max_remembered_resets: int = 1_000


@dataclass(frozen=True, slots=True)
class HolepunchConfig:
    """Connecting two peers behind NAT through a third (BEP 55)."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """A proxy, and what goes through it."""

    kind: ProxyKind
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    for_peers: bool = True
    for_trackers: bool = True
    for_web_seeds: bool = True
    required: bool = False
    """What cannot go through it does not go at all: nobody is listened to, no DHT, no look-up."""


@dataclass(frozen=True, slots=True)
class IpFilterConfig:
    """Which addresses are let in and dialled."""

    paths: tuple[str, ...] = ()
    """Lists in the formats P2P, DAT or CIDR, gzipped or not."""
    always_allows_local: bool = False
    """Addresses of the local network are let in whatever the lists say."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How peers are reached."""

    tcp: bool = True
    """Dial and accept over TCP."""
    encryption: EncryptionConfig = field(default_factory=EncryptionConfig)
    utp: UtpConfig = field(default_factory=UtpConfig)
    holepunch: HolepunchConfig = field(default_factory=HolepunchConfig)
    proxy: ProxyConfig | None = None
    interface: str | None = None
    """Name of an interface, or one of our literal addresses, that everything is bound to."""
    anonymous: bool = False
    """Say nothing that tells us from others: no name of the program, no port, no local network."""
    ip_filter: IpFilterConfig = field(default_factory=IpFilterConfig)
