"""Configuration of connections, requests, choking, web seeds, readers and super-seeding."""

from dataclasses import dataclass

from torrent_engine.base.checks import Checked, Count, check_order
from torrent_engine.base.config.units import KIB, MIB


@dataclass(frozen=True, slots=True, repr=False)
class PoolConfig(Checked):
    """Number of peer connections, and how fast new ones are made."""

    max_connections_per_torrent: int = 200
    """Peer connections of one torrent."""
    max_connections: int = 500
    """Peer connections of all torrents together, shared fairly; 0 is unlimited."""
    max_half_open: int = 50
    """Outgoing connections of one torrent that are being established, handshakes included."""
    max_half_open_incoming: int = 200
    """Incoming connections without a complete handshake, over all torrents."""
    max_incoming_per_ip_per_s: float = 50.0
    """Average rate of connections accepted from one IPv4 address or IPv6 /64; 0 is unlimited."""
    incoming_burst_per_ip: int = 300
    """Connections accepted from one IPv4 address or IPv6 /64 at once. It is high because many peers
    may share one NAT address and connect when we start."""
    max_incoming_per_s: float = 100.0
    """Average rate of accepted connections. Networks without a connection in the last ten seconds
    may have half as many more. 0 is unlimited."""
    incoming_burst: int = 400
    """Connections accepted at once."""
    max_connections_per_ip: int = 1
    """Connections of a torrent with one IPv4 address or IPv6 /64; not limited where
    :attr:`allow_multiple_per_ip` is set."""
    max_connections_per_ip_in_all: int = 8
    """Connections of all torrents together with one IPv4 address or IPv6 /64 once half of
    :attr:`max_connections` is in use; 0 is unlimited. Local addresses are not limited, and none is
    where :attr:`allow_multiple_per_ip` is set."""
    allow_multiple_per_ip: bool = False
    """Allow any number of connections with one IP address."""
    connect_timeout_s: float = 10.0
    """Time after which a dial has failed."""
    max_candidates: int = 3_000
    """Known peer addresses of one torrent; the least useful is dropped for a new one."""
    max_dials_per_ip_per_minute: int = 5
    """Dials per minute of an IP address that only peers or the DHT named and that never completed a
    handshake. Successful dials do not count."""
    max_dials_per_known_ip_per_minute: int = 120
    """As :attr:`max_dials_per_ip_per_minute`, for an address that completed a handshake before, was
    named by a tracker or connected to us."""
    backoff_first_s: float = 15.0
    """Wait after the first failed dial of a peer; doubled after each further one."""
    quick_retry_first_s: float = 3.0
    """First wait, times a random factor from 0.5 to 1.5, if the next dial is likely to succeed: the
    peer closed the connection before its handshake, or the user named the peer."""
    backoff_max_s: float = 1_800.0
    """Longest wait between two dials of a peer."""
    max_failures: int = 6
    """Failed dials in a row after which a peer is forgotten."""
    max_candidates_per_ip: int = 8
    """Known ports of one IP address, unless :attr:`allow_multiple_per_ip` is set."""
    ban_s: float = 3_600.0
    """Time for which a peer that sent bad data is banned."""
    replacement_interval_s: float = 10.0
    """Shortest time between two replacements of an idle peer by another, such as one with a higher
    priority (BEP 40), in a torrent that has all its connections."""
    replacement_idle_s: float = 60.0
    """Time without payload after which a connection may be replaced."""
    bans_before_ip_ban: int = 3
    """Banned peers of one IP address after which the address is banned."""


@dataclass(frozen=True, slots=True, repr=False)
class ChokerConfig(Checked):
    """Choking: which peers may download from us (BEP 3)."""

    upload_slots: int = 8
    """Peers of one torrent that are unchoked for their rate, optimistic unchokes not counted."""
    optimistic_slots: int = 1
    """Peers of one torrent that are unchoked in turn whatever their rate."""
    rechoke_interval_s: float = 10.0
    """Time between two choices of the unchoked peers (BEP 3)."""
    optimistic_interval_s: float = 30.0
    """Time between two choices of the optimistic unchoke (BEP 3)."""
    snub_timeout_s: float = 60.0
    """Time without a requested block after which a peer is snubbed."""
    seed_round_robin_bytes: int = 32 * MIB
    """Payload after which a peer gives its upload slot of our seed to the next one."""
    seed_turn_s: float = 60.0
    """Time after which a slow peer gives its upload slot of our seed to a waiting one."""


@dataclass(frozen=True, slots=True, repr=False)
class TransferConfig(Checked):
    """Request pipeline and buffers."""

    receive_buffer_bytes: Count = MIB
    """Receive buffer of a fast peer connection."""
    slow_receive_buffer_bytes: Count = 32 * KIB
    """Receive buffer of a slow peer connection."""
    min_outstanding_requests: Count = 4
    """Block requests in flight to a peer, however slow it is."""
    max_outstanding_requests: Count = 1_000
    """Block requests in flight to a peer, however fast it is."""
    request_queue_s: float = 3.0
    """Requests in flight to a peer, in seconds of its present rate."""
    max_upload_queue_bytes: Count = MIB
    """Payload that is read from the disk for one peer before its socket takes it."""

    def check_together(self) -> None:
        """Raise ConfigError if the least number of requests is above the greatest."""
        check_order(self, "min_outstanding_requests", "max_outstanding_requests")


@dataclass(frozen=True, slots=True, repr=False)
class WebSeedConfig(Checked):
    """Web seeds (BEP 17 and 19; fault model, rows A14, B6 and D1)."""

    enabled: bool = True
    """Download from web seeds."""
    allow_local: bool = False
    """Use web seeds at loopback and private addresses, too. Link-local addresses are never used
    (row D1)."""
    max_urls: int = 100
    """Web seeds of one torrent; more are ignored, because a torrent with thousands could be used to
    attack a server."""
    max_active: int = 8
    """Web seeds of one torrent that are used at once; more are queued."""
    max_requests: int = 4
    """Requests in flight to one web seed."""
    min_range_bytes: int = MIB
    """Length of the range of a request to a new or slow web seed."""
    max_range_bytes: int = 8 * MIB
    """Length of the range of a request; a longer piece is requested in parts."""
    range_s: float = 4.0
    """Payload that is requested from one web seed, over all requests, in seconds of its present
    rate."""
    max_skipped_bytes: int = 4 * MIB
    """Payload that may be discarded of a server that ignores the range and sends the whole file."""
    read_timeout_s: float = 20.0
    """Time without data, also while connecting, after which a request has failed."""
    slow_after_s: float = 30.0
    """Time over which a request must reach :attr:`min_bytes_per_s`, not counting time in which we
    did not read; else it has failed."""
    min_bytes_per_s: int = 1_024
    """Lowest rate of a request."""
    max_header_bytes: int = 16 * KIB
    """Length of the HTTP headers of a response; longer ones are a failed request."""
    max_redirects: int = 5
    """HTTP redirects that are followed for one request."""
    idle_close_s: float = 15.0
    """Time without requests after which the connections to a web seed are closed."""
    backoff_first_s: float = 5.0
    """Wait after the first failed request; doubled after each further one in a row."""
    backoff_max_s: float = 1_800.0
    """Longest wait after failed requests; a web seed is never given up."""
    max_retry_after_s: float = 3_600.0
    """Longest wait that is accepted in ``Retry-After``."""
    max_missing_files: int = 8
    """Files in a row that the server may not have (HTTP 404) before the web seed waits as after a
    failed request."""


@dataclass(frozen=True, slots=True, repr=False)
class ReaderConfig(Checked):
    """Read-ahead of ``Session.open`` (streaming)."""

    read_ahead_s: float = 10.0
    """Payload that is downloaded ahead of a reader with priority, in seconds of its reading rate.
    """
    min_read_ahead_bytes: int = 2 * MIB
    """Shortest read-ahead; used after a seek and while the reading rate is unknown."""
    max_read_ahead_bytes: int = 64 * MIB
    """Longest read-ahead."""
    max_read_ahead_pieces: int = 256
    """Longest read-ahead in pieces."""
    assumed_bytes_per_s: int = 512 * KIB
    """Lowest reading rate that piece deadlines are computed with."""
    max_chunk_bytes: Count = MIB
    """Length of one read from the disk."""


@dataclass(frozen=True, slots=True, repr=False)
class SuperSeedConfig(Checked):
    """Super-seeding (BEP 16): pieces are revealed one by one and uploaded about once."""

    max_revealed_pieces: int = 2
    """Pieces revealed to one peer and not yet seen at another one. With two the second is requested
    while the first is in flight."""
    max_revealed_bytes: int = 512 * KIB
    """With small pieces more are revealed: as many as have this length together."""
    single_peer_bytes: int = 8 * MIB
    """With a single peer, or one beside which the others take next to nothing, more are revealed,
    as many as have this length together, because it must download everything from us anyway."""
    reveal_timeout_s: float = 20.0
    """Time after which a peer that has its revealed pieces gets others, although they were seen at
    no other peer: the peers may not be connected with each other. Also that after which pieces
    that a peer could download and did not are revealed to others."""


@dataclass(frozen=True, slots=True, repr=False)
class BandwidthConfig(Checked):
    """Exemptions from rate limits."""

    limit_local_network: bool = True
    """Apply rate limits to peers of the local network, too."""
