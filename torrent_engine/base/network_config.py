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

    @property
    def is_preferred(self) -> bool:
        """Whether we like encrypted links better than plain ones, in either direction."""
        liked = {EncryptionPolicy.PREFERRED, EncryptionPolicy.REQUIRED}
        return not liked.isdisjoint((self.incoming, self.outgoing))


@dataclass(frozen=True, slots=True)
class UtpConfig:
    """uTP (BEP 29; rows C3 and C4)."""

    incoming: bool = True
    outgoing: bool = True
    tcp_head_start_s: float = 1.0
    """How long a dial over TCP has before one over uTP begins beside it."""
    target_delay_s: float = 0.06
    """Queueing delay that LEDBAT allows itself to cause. RFC 6817 allows 0.1; with less TCP gets
    more where the queue of a router is as short as that."""
    receive_window_bytes: int = MIB
    send_buffer_bytes: int = MIB
    max_reorder_bytes: int = 32 * MIB
    """Of all connections together: what waits for what was lost before it."""
    max_unacknowledged_bytes: int = 32 * MIB
    """Of all connections together: what is to be sent or under way. When much of it is taken, one
    connection may hold less than :attr:`send_buffer_bytes`, down to 64 KiB."""
    min_rto_s: float = 0.5
    max_rto_s: float = 60.0
    syn_attempts: int = 3
    max_remembered_resets: int = 1_000
    max_resets_per_s: int = 100
    """Answers to packets of connections that we do not know."""
    max_syns_per_s: int = 500
    """Connections of others that may begin, before they are confirmed."""
    max_unconfirmed: int = 1_000
    """Connections whose other side has not shown yet that it is at its address; the oldest goes."""
    max_unconfirmed_per_network: int = 50
    """The same, of one IPv4 /24 or IPv6 /64."""
    max_syns_per_s_of_one: int = 100
    """As :attr:`max_syns_per_s`, of one IPv4 address or IPv6 /64."""
    max_incoming_of_one: int = 256
    """Connections that one IPv4 address or IPv6 /64 began; its further SYNs are passed over."""
    max_closing_of_one: int = 32
    """Connections to one IPv4 address or IPv6 /64 that we closed, which still have something to
    deliver; the oldest is reset."""
    max_closing: int = 512
    """The same, of all."""


@dataclass(frozen=True, slots=True)
class HolepunchConfig:
    """Connecting two peers behind NAT through a third (BEP 55)."""

    enabled: bool = True
    max_rendezvous_per_minute: int = 30
    """Of one peer, that we act on; more are passed over."""
    max_introductions_per_minute: int = 30
    """How often one peer is told to dial another at the wish of others."""
    max_connects_per_minute: int = 30
    """Introductions of one peer that we did not ask for and yet follow."""
    retry_s: float = 120.0
    """Least time between two attempts to be introduced to one address."""
    max_relays: int = 3
    """Peers that are asked to introduce us, one after the other, in one attempt."""
    max_remembered: int = 500
    """Attempts of one torrent, and peers whose messages are counted; the oldest go first."""
    max_able: int = 2_000
    """Addresses of one torrent that are said to speak the extension; the oldest go first."""


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


class ClassRule(StrEnum):
    """What a class of addresses is for."""

    BLOCKED = "blocked"
    """They are neither let in nor dialled."""
    ALLOWED = "allowed"
    """They are, whatever other classes say."""
    UNLIMITED = "unlimited"
    """The limits of rates are not for them."""


@dataclass(frozen=True, slots=True)
class AddressClass:
    """A named set of addresses."""

    name: str
    rule: ClassRule = ClassRule.BLOCKED
    ranges: tuple[str, ...] = ()
    """Each ADDRESS, ADDRESS/LENGTH or FIRST-LAST."""
    paths: tuple[str, ...] = ()
    """Lists, in the formats of :attr:`IpFilterConfig.paths`."""


@dataclass(frozen=True, slots=True)
class IpFilterConfig:
    """Which addresses are let in and dialled."""

    paths: tuple[str, ...] = ()
    """Lists of who is blocked, in the formats P2P, DAT, CIDR or P2B, gzipped or not."""
    classes: tuple[AddressClass, ...] = ()
    """More sets of addresses, each with its rule."""
    blocked_ports: tuple[tuple[int, int], ...] = ()
    """(first, last) pairs of ports that are not dialled."""
    always_allows_local: bool = False
    """Addresses of the local network are let in whatever the lists say."""
    covers_servers: bool = True
    """Trackers and web seeds at such addresses are not asked either, unless a proxy asks them."""
    max_ranges: int = 10_000_000
    """Of all lists together; more are refused."""


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
