"""Configuration of transports, interfaces, proxies, the IP filter and port mapping."""

from dataclasses import dataclass, field
from enum import StrEnum

from torrent_engine.base.checks import Checked, PeerPort, Port
from torrent_engine.base.config.units import MIB
from torrent_engine.base.config.wire import EncryptionConfig
from torrent_engine.base.errors import ConfigError


class TransportProtocol(StrEnum):
    """Transport protocol of a peer connection."""

    TCP = "tcp"
    """TCP."""
    UTP = "utp"
    """uTP over UDP (BEP 29)."""


@dataclass(frozen=True, slots=True, repr=False)
class UtpConfig(Checked):
    """The uTorrent transport protocol, uTP (BEP 29; fault model, rows C3 and C4)."""

    incoming: bool = True
    """Accept uTP connections."""
    outgoing: bool = True
    """Dial over uTP."""
    tcp_head_start_s: float = 1.0
    """Time that a dial over TCP has before one over uTP starts in parallel."""
    target_delay_s: float = 0.06
    """Queueing delay that LEDBAT aims for. RFC 6817 allows 0.1; a smaller one leaves more bandwidth
    to TCP where the router's queue is that short."""
    receive_window_bytes: int = MIB
    """Receive window of a connection."""
    send_buffer_bytes: int = MIB
    """Send buffer of a connection; sending waits while it is full."""
    max_reorder_bytes: int = 32 * MIB
    """Memory of all connections for packets received out of order; beyond it such packets are
    dropped and sent again."""
    max_unacknowledged_bytes: int = 16 * MIB
    """Memory of all connections for data to send and in flight. When little is left, a connection
    may use less than :attr:`send_buffer_bytes`, down to 64 KiB."""
    max_unread_bytes: int = 32 * MIB
    """Memory of all connections for data received in order and not read yet. When little is left, a
    connection may use less than :attr:`receive_window_bytes`, down to 64 KiB."""
    max_unproductive_packets_per_s: int = 500
    """Average rate of packets with little or no data from one IPv4 address or IPv6 /64; above it,
    packets from there are dropped unread for a while. 0 is unlimited."""
    unproductive_packets_burst: int = 4_000
    """Such packets of one IPv4 address or IPv6 /64 that are accepted at once."""
    max_shared_unproductive_packets_per_s: int = 5_000
    """Such packets beyond these limits, from all addresses together."""
    min_rto_s: float = 0.5
    """Shortest retransmission timeout."""
    max_rto_s: float = 60.0
    """Longest retransmission timeout."""
    syn_attempts: int = 3
    """SYN packets that are sent before a dial has failed."""
    max_remembered_resets: int = 1_000
    """RESET packets that are remembered, so that one is not repeated for each packet of an unknown
    connection."""
    max_resets_per_s: int = 100
    """RESET packets sent per second for packets of unknown connections."""
    max_syns_per_s: int = 500
    """Incoming connections that may start per second; further SYN packets are dropped."""
    max_unconfirmed: int = 1_000
    """Incoming connections whose source address may still be spoofed, because the other side has
    not acknowledged anything; the oldest is dropped for a new one."""
    max_unconfirmed_per_network: int = 50
    """As :attr:`max_unconfirmed`, for one IPv4 /24 or IPv6 /48."""
    max_syns_per_ip_per_s: int = 100
    """As :attr:`max_syns_per_s`, for one IPv4 address or IPv6 /64."""
    max_incoming_per_ip: int = 256
    """Incoming connections of one IPv4 address or IPv6 /64; further SYN packets are dropped."""
    max_closing_per_ip: int = 32
    """Connections to one IPv4 address or IPv6 /64 that we closed and that still have data to
    deliver; the oldest is reset."""
    max_closing: int = 512
    """As :attr:`max_closing_per_ip`, over all addresses."""


@dataclass(frozen=True, slots=True, repr=False)
class HolepunchConfig(Checked):
    """Connecting two peers behind NAT through a third, the relay (BEP 55)."""

    enabled: bool = True
    """Send and answer holepunch messages."""
    max_rendezvous_per_minute: int = 30
    """``rendezvous`` messages of one peer that we relay per minute; more are ignored."""
    max_introductions_per_minute: int = 30
    """``connect`` messages that we send to one peer per minute on behalf of others."""
    max_connects_per_minute: int = 30
    """Unrequested ``connect`` messages of one peer that we follow per minute; more are ignored. Of
    all peers of a torrent together three times as many are followed."""
    retry_s: float = 120.0
    """Shortest time between two attempts to reach one address through relays."""
    max_relays: int = 3
    """Relays that are tried, one after the other, in one attempt."""
    max_remembered: int = 500
    """Attempts of one torrent, and peers whose messages are counted, that are remembered; the
    oldest is forgotten."""
    max_capable_peers: int = 2_000
    """Addresses of one torrent that are known to support the extension; the oldest is forgotten."""


class ProxyKind(StrEnum):
    """The protocol of a proxy."""

    SOCKS5 = "socks5"
    """SOCKS version 5 (RFC 1928)."""
    SOCKS4 = "socks4"
    """SOCKS version 4; host names need version 4a at the proxy."""
    HTTP = "http"
    """HTTP with CONNECT."""


@dataclass(frozen=True, slots=True, repr=False)
class ProxyConfig(Checked):
    """A proxy server and the traffic that uses it."""

    kind: ProxyKind
    """Protocol of the proxy."""
    host: str
    """Host name or IP address of the proxy."""
    port: PeerPort
    """TCP port of the proxy."""
    username: str = field(default="", repr=False)
    """User name; empty: no authentication."""
    password: str = field(default="", repr=False)
    """Password for :attr:`username`; never shown in ``repr()``."""
    for_peers: bool = True
    """Use it for peer connections."""
    for_trackers: bool = True
    """Use it for trackers."""
    for_web_seeds: bool = True
    """Use it for web seeds."""
    required: bool = False
    """Allow no traffic around the proxy: no incoming connections, no DHT, no local DNS queries."""


class ClassRule(StrEnum):
    """Rule for an address class."""

    BLOCKED = "blocked"
    """Connections from and to these addresses are refused."""
    ALLOWED = "allowed"
    """Connections are allowed, whatever other classes say."""
    UNLIMITED = "unlimited"
    """Rate limits do not apply."""


@dataclass(frozen=True, slots=True, repr=False)
class AddressClass(Checked):
    """A named set of IP addresses with a rule."""

    name: str
    """Name for logs and reports."""
    rule: ClassRule = ClassRule.BLOCKED
    """What applies to the addresses."""
    ranges: tuple[str, ...] = ()
    """IP addresses, each as ADDRESS, ADDRESS/LENGTH or FIRST-LAST."""
    paths: tuple[str, ...] = ()
    """Files with IP addresses, in the formats of :attr:`IpFilterConfig.paths`."""


@dataclass(frozen=True, slots=True, repr=False)
class IpFilterConfig(Checked):
    """The IP filter: which addresses may connect and are dialled."""

    paths: tuple[str, ...] = ()
    """Files with blocked IP addresses in the formats P2P, DAT, CIDR or P2B, gzipped or not."""
    classes: tuple[AddressClass, ...] = ()
    """Further sets of addresses, each with its rule."""
    blocked_ports: tuple[tuple[Port, Port], ...] = ()
    """(first, last) pairs of ports that are never dialled."""
    always_allow_local: bool = False
    """Allow addresses of the local network even if a list blocks them."""
    apply_to_servers: bool = True
    """Apply the filter to trackers and web seeds, too, unless they are reached through a proxy."""
    max_ranges: int = 10_000_000
    """Address ranges of all files together; reading more raises IpFilterError."""


@dataclass(frozen=True, slots=True, repr=False)
class NetworkConfig(Checked):
    """Transports, encryption, proxy, interface and IP filter."""

    tcp: bool = True
    """Dial and accept peer connections over TCP."""
    encryption: EncryptionConfig = field(default_factory=EncryptionConfig)
    """Message Stream Encryption of peer connections."""
    utp: UtpConfig = field(default_factory=UtpConfig)
    """uTP, beside or instead of TCP."""
    holepunch: HolepunchConfig = field(default_factory=HolepunchConfig)
    """Connecting peers behind NAT."""
    proxy: ProxyConfig | None = None
    """Proxy server; None: connect directly."""
    interface: str | None = None
    """Name of a network interface, or one of its IP addresses, that all traffic is bound to."""
    anonymous: bool = False
    """Send nothing that identifies this client: no client name or version, no listening port, no
    local service discovery."""
    ip_filter: IpFilterConfig = field(default_factory=IpFilterConfig)
    """Which addresses may connect and are dialled."""
    loopback_only: bool = False
    """Use only this machine: no DHT, local service discovery or port mapping, no DNS query but for
    localhost, and no peers, trackers or web seeds elsewhere."""

    def check_together(self) -> None:
        """Raise ConfigError for a proxy together with ``loopback_only``."""
        if self.loopback_only and self.proxy is not None:
            raise ConfigError("NetworkConfig.loopback_only: a proxy leads to other machines")


@dataclass(frozen=True, slots=True, repr=False)
class PortMappingConfig(Checked):
    """Port mapping in the router (PCP, NAT-PMP, UPnP IGD)."""

    enabled: bool = False
    """Request port mappings. Off by default because a library should not change a router unasked;
    the command line turns it on."""
    protocols: tuple[str, ...] = ("PCP", "NAT-PMP", "UPnP")
    """Protocols to try, in this order; UPnP needs the extra ``nat``."""
    lifetime_s: int = 7_200
    """Requested lifetime of a mapping, which is renewed after half of it (RFC 6886: two hours)."""
    max_lifetime_s: int = 86_400
    """Longest lifetime that is accepted from a router; a longer one is treated as this."""
    first_timeout_s: float = 0.25
    """Time to wait for the first answer; doubled after each further request (RFC 6886)."""
    pcp_first_timeout_s: float = 3.0
    """The same of a PCP request to map a port (RFC 6887 section 8.1.1). miniupnpd, which runs in
    many home routers, opens a port of IPv6 twice if it is asked twice, and cannot close it then."""
    probe_tries: int = 4
    """Requests per protocol to a router that never answered, before the protocol counts as
    unsupported."""
    pcp_probe_tries: int = 2
    """The same of PCP, whose first timeout is longer."""
    tries: int = 9
    """Requests to a router that has answered before (RFC 6886)."""
    pcp_tries: int = 5
    """The same of PCP."""
    check_interval_s: float = 120.0
    """Time between two checks whether the router was restarted and lost its mappings."""
    min_recovery_interval_s: float = 10.0
    """Shortest time between two renewals of all mappings after the router lost them."""
    min_retry_s: float = 30.0
    """Shortest wait after a refusal, whatever the router says."""
    retry_s: float = 600.0
    """Wait after which a router that granted nothing is tried again."""
    gateway_poll_s: float = 30.0
    """Time between two look-ups of the default gateway."""
    removal_timeout_s: float = 2.0
    """Time that closing waits for mappings to be removed."""
    upnp_search_s: int = 3
    """Time to wait for UPnP gateways to answer a search."""
    upnp_timeout_s: float = 10.0
    """Timeout of one request to a UPnP gateway."""
    max_upnp_bytes: int = 64 * 1024
    """Length of one answer of a UPnP gateway; a longer one is a failed request."""
