"""Configuration of trackers, DHT, LSD, PEX, magnet links and metadata exchange."""

from dataclasses import dataclass
from typing import Final

from torrent_engine.base.checks import Checked, Count, PeerPort, Share
from torrent_engine.base.config.units import KIB, MIB


@dataclass(frozen=True, slots=True, repr=False)
class MagnetLimits(Checked):
    """Limits on the contents of a magnet link (BEP 9, 53; fault model, row A15).

    Entries beyond a limit are ignored.
    """

    max_uri_bytes: int = 64 * KIB
    """Length of the whole link; a longer one raises MagnetError."""
    max_trackers: int = 100
    """Trackers (``tr``) that are kept."""
    max_web_seeds: int = 100
    """Web seeds (``ws``) that are kept."""
    max_peers: int = 50
    """Peer addresses (``x.pe``) that are kept."""
    max_selected_files: int = 100_000
    """File indices (``so``, BEP 53) that are kept."""


STORED_MAGNET_LIMITS: Final = MagnetLimits(
    max_uri_bytes=64 * MIB,
    max_trackers=1_000,
    max_web_seeds=1_000,
    max_peers=100_000,
    max_selected_files=4_000_000,
)
"""For the resume database: whatever was accepted and saved can be read again.

What is written is percent-encoded, so that it may be several times as long as the link was.
"""


@dataclass(frozen=True, slots=True, repr=False)
class TrackerConfig(Checked):
    """Tracker announces and scrapes (BEP 3, 7, 12, 15, 23, 31, 41, 48)."""

    numwant: int = 50
    """Number of peers to ask for in one announce."""
    max_response_bytes: int = MIB
    """Length of a response body after decompression; a longer one is a failed announce."""
    max_header_bytes: int = 16 * KIB
    """Length of the HTTP headers of a response; longer ones are a failed announce."""
    max_redirects: int = 5
    """HTTP redirects that are followed for one announce."""
    max_peers: int = 2_000
    """Peers that are used of one response; the others are ignored."""
    read_timeout_s: float = 10.0
    """Time without data from an HTTP tracker after which an announce has failed."""
    total_timeout_s: float = 30.0
    """Time in which an HTTP announce must be complete, connecting and redirects included."""
    stop_grace_s: float = 5.0
    """Time that closing waits for trackers to answer the ``stopped`` announce."""
    max_concurrent: Count = 50
    """Announces and scrapes in progress at once, over all torrents; more are queued."""
    min_interval_s: float = 60.0
    """Shortest time between two announces to one tracker, even if the tracker asks for less."""
    default_interval_s: float = 1_800.0
    """Announce interval of a tracker that gives none."""
    backoff_first_s: float = 10.0
    """Wait after the first failed announce; doubled after each further failure in a row."""
    backoff_max_s: float = 3_600.0
    """Longest wait after failed announces."""
    udp_first_timeout_s: float = 15.0
    """Time to wait for the first answer of a UDP tracker. BEP 15: 15 x 2^n seconds, with n from 0
    to :attr:`udp_max_retries`."""
    udp_max_retries: int = 8
    """Retransmissions of a UDP request before the announce has failed (n of BEP 15)."""
    udp_connection_id_s: float = 60.0
    """Time for which a connection id of a UDP tracker is used (BEP 15)."""
    verify_tls: bool = True
    """Verify the certificates of HTTPS trackers."""
    dns_preferences: bool = False
    """Ask the DNS where the trackers of a host are, if they are not asked by a proxy (BEP 34).
    Needs dnspython."""


@dataclass(frozen=True, slots=True, repr=False)
class FeedConfig(Checked):
    """Feeds of torrents (BEP 39), which a TorrentManager asks for newer versions."""

    enabled: bool = False
    """Ask feeds, and replace torrents by newer versions that their originator has signed. The
    server of a feed learns that the torrent is there."""
    interval_s: float = 21_600.0
    """Time between two requests to the feed of a torrent."""
    first_retry_s: float = 600.0
    """Time after a request that failed; doubled after each further one in a row."""
    max_retry_s: float = 86_400.0
    """Longest time after a request that failed."""


@dataclass(frozen=True, slots=True, repr=False)
class DhtConfig(Checked):
    """The distributed hash table (BEP 5, 32, 33, 42 to 45, 51; fault model, rows C1 and C2)."""

    enabled: bool = True
    """Run a DHT node. Private torrents never use it."""
    bootstrap: tuple[tuple[str, PeerPort], ...] = (
        ("dht.libtorrent.org", 25_401),
        ("dht.transmissionbt.com", 6_881),
        ("router.bittorrent.com", 6_881),
    )
    """(host, port) of the routers that are queried while the routing table is empty."""
    read_only: bool = False
    """Send queries but answer none (BEP 43)."""
    send_client_version: bool = True
    """Send the client version (``v``) with every message."""
    announce_interval_s: float = 900.0
    """Time between two rounds of a torrent. A round looks up peers and announces the torrent."""
    first_retry_s: float = 5.0
    """Wait after the first round that found no peers; doubled after each further one, up to
    :attr:`announce_interval_s`."""
    min_announce_interval_s: float = 60.0
    """Shortest time between two rounds of a torrent that found some peers but needs more."""
    update_interval_s: float = 1_800.0
    """Time between two lookups of a torrent that follows a public key (BEP 46); nodes that have
    lost what the key published get it again (BEP 44: at least once in two hours)."""
    rounds_per_s: float = 2.0
    """Average number of rounds that start per second, over all torrents."""
    max_rounds: int = 16
    """Rounds of all torrents in progress at once, and how many may start at the same moment."""
    max_peers_per_round: int = 1_000
    """Peers that a torrent accepts from one round; the others are ignored."""
    bucket_nodes: int = 8
    """Size of a k-bucket, and number of nodes in an answer (k of BEP 5)."""
    max_replacements: int = 8
    """Replacement nodes that are remembered for each full bucket."""
    good_node_s: float = 900.0
    """Time without a message after which a node is questionable (BEP 5)."""
    retry_node_s: float = 60.0
    """Shortest time between two pings of the same questionable node."""
    refresh_s: float = 900.0
    """Time without a change after which a bucket is refreshed by a lookup (BEP 5)."""
    bad_node_failures: int = 2
    """Unanswered queries in a row after which a node is replaced if a replacement is known."""
    max_node_failures: int = 8
    """Unanswered queries in a row after which a node is removed without a replacement. It is more
    than :attr:`bad_node_failures` because our own network may be down."""
    restrict_node_ips: bool = True
    """Allow one node per IP address in the routing table, and one per /24 (IPv6: /64) in a bucket.
    Addresses of the local network are exempt (row C2)."""
    prefer_valid_ids: bool = True
    """In full buckets replace nodes whose id does not match their IP address by nodes whose id does
    (BEP 42)."""
    enforce_valid_ids: bool = False
    """Never add nodes whose id does not match their IP address (BEP 42)."""
    max_queries_per_ip_per_s: int = 5
    """Queries per second that are answered for one IPv4 address or IPv6 /64; 0 is unlimited."""
    max_queries_per_ip_in_10_s: int = 50
    """Queries within ten seconds of one IPv4 address or IPv6 /64 above which it is ignored for
    :attr:`throttle_s`."""
    throttle_s: float = 300.0
    """Time for which an address that sent too many queries is ignored."""
    max_throttled_ips: int = 4_096
    """Addresses whose queries are counted, and as many that are ignored; the oldest is forgotten.
    """
    max_upload_bytes_per_s: int = 8_000
    """Rate of answers for each address family; answers beyond it are dropped. 0 is unlimited."""
    max_reply_bytes: int = 1_400
    """Length of an answer with a value (BEP 44), which stays in one unfragmented datagram; others
    have at most 1,024 bytes (BEP 32)."""
    max_amplification: float = 3.0
    """Largest ratio of answer to query in bytes for an address that may be spoofed. This makes the
    node useless for reflection attacks."""
    max_large_replies_per_minute: int = 10
    """Answers above :attr:`max_amplification` to one IP address that is verified, that is, has
    returned a token or answered a query."""
    verified_ip_s: float = 900.0
    """Time for which an IP address stays verified."""
    token_s: float = 300.0
    """Time after which the secret of the write tokens is changed. Tokens of the previous secret
    stay valid."""
    peer_expiry_s: float = 1_800.0
    """Time after its last announce for which a peer is returned to others."""
    max_torrents: int = 2_000
    """Info-hashes for which peers of others are stored; the least useful is dropped for a new one.
    """
    max_peers_per_torrent: int = 500
    """Peers that are stored for one info-hash."""
    max_torrents_per_ip: int = 100
    """Info-hashes for which one IP address may be stored as a peer."""
    max_values: int = 50
    """Peers in one answer to ``get_peers``."""
    max_samples: int = 20
    """Info-hashes in one answer to ``sample_infohashes`` (BEP 51)."""
    sample_interval_s: float = 21_600.0
    """Time for which the same sample of info-hashes is returned (BEP 51)."""
    max_items: int = 700
    """Values stored for others (BEP 44), immutable and mutable together."""
    max_items_per_ip: int = 100
    """Values stored for one IP address."""
    item_expiry_s: float = 7_200.0
    """Time after its last ``put`` for which a value is stored (BEP 44)."""
    max_item_bytes: int = 1_000
    """Bencoded length of a value (BEP 44); a longer one is rejected."""
    max_salt_bytes: int = 64
    """Length of the salt of a mutable value (BEP 44); a longer one is rejected."""
    query_timeout_s: float = 10.0
    """Time after which a query has failed and a late answer is ignored."""
    first_short_timeout_s: float = 1.0
    """Time after which a lookup no longer waits for a query and sends another one, before any
    round-trip time was measured."""
    min_short_timeout_s: float = 0.2
    """Shortest such time once round-trip times were measured."""
    max_outstanding_queries: int = 1_000
    """Queries in flight, over all lookups and pings; more are queued."""
    lookup_width: int = 8
    """Number of closest nodes that must answer before a lookup ends, and to which announces and
    values are sent (k of BEP 5)."""
    wide_lookup_width: int = 40
    """Width of a lookup when few of the closest nodes have what is looked for, which happens when
    they are malicious (row C2)."""
    lookup_parallelism: int = 4
    """Queries of one lookup in flight, slow ones not counted (alpha of Kademlia)."""
    max_lookup_in_flight: int = 16
    """Queries of one lookup in flight, slow ones included."""
    max_lookup_queries: int = 200
    """Queries of one lookup, after which it ends with what it has found."""
    max_lookup_candidates: int = 400
    """Nodes that one lookup remembers; the most distant are dropped."""
    max_nodes_per_response: int = 8
    """Nodes that are used of one answer (row C2)."""
    max_lookup_queries_per_network: int = 3
    """Nodes of one /24 (IPv6: /64) that one lookup queries (row C2). Addresses of the local network
    are exempt."""
    max_lookups: int = 50
    """Lookups in progress at once; more are queued."""
    max_waiting_lookups: int = 5_000
    """Lookups in the queue; further ones fail."""
    refresh_lookup_interval_s: float = 5.0
    """Pause between lookups that only refresh buckets."""
    check_interval_s: float = 1.0
    """Pause between pings of questionable nodes and of nodes that never answered."""
    max_new_nodes_per_s: int = 20
    """Unknown nodes that sent a query and are considered for the routing table, per second."""
    bootstrap_retry_first_s: float = 5.0
    """Wait after the first failed bootstrap; doubled after each further one, up to
    :attr:`bootstrap_retry_max_s`."""
    bootstrap_retry_max_s: float = 300.0
    """Longest wait between two bootstraps."""
    external_votes: int = 5
    """Nodes of different networks that must report the same external address before the node id is
    changed to match it (BEP 42)."""
    max_external_votes: int = 50
    """Reports of our external address that are remembered; the oldest is forgotten."""
    id_change_interval_s: float = 600.0
    """Shortest time between two changes of the node id."""
    save_interval_s: float = 300.0
    """Time between two saves of the routing tables."""


@dataclass(frozen=True, slots=True, repr=False)
class LsdConfig(Checked):
    """Local service discovery (BEP 14; fault model, row C6)."""

    enabled: bool = True
    """Announce torrents on the local network and use announces of others. Private torrents
    are never announced."""
    announce_interval_s: float = 300.0
    """Time between two announces of one torrent (BEP 14: 5 minutes)."""
    min_interval_s: float = 60.0
    """Time between two announces of one torrent that has no peers."""
    datagram_interval_s: float = 60.0
    """Average time between two datagrams on one interface (BEP 14: 1 minute)."""
    burst_datagrams: int = 5
    """Datagrams that may be sent at once on one interface, for torrents that just started."""
    gather_s: float = 0.2
    """Delay of the first announce of a torrent, so that torrents that start together share a
    datagram."""
    ttl: int = 1
    """Time to live of the datagrams in hops; 1 does not pass a router."""
    max_interfaces: int = 32
    """Network interfaces that are announced on; an interface with IPv4 and IPv6 counts twice."""
    rescan_interval_s: float = 60.0
    """Time between two searches for new network interfaces."""
    max_received_per_minute: int = 3_000
    """Announces that are taken per minute, over IPv4 and IPv6 each; more are dropped. Hosts that
    send more than ten get at most half of them."""
    max_received_per_host_per_minute: int = 300
    """Datagrams of one host that are processed per minute; more are dropped unread."""
    max_peers_per_interval: int = 200
    """Peers that one torrent accepts within :attr:`announce_interval_s`."""


@dataclass(frozen=True, slots=True, repr=False)
class PexConfig(Checked):
    """Peer exchange (BEP 11; fault model, row B9)."""

    enabled: bool = True
    """Send and use PEX messages. Private torrents never do."""
    interval_s: float = 60.0
    """Shortest time between two messages to one peer."""
    max_contacts: int = 50
    """Added and, separately, dropped addresses in one message, sent or received. Also the addresses
    of one peer that are remembered, and the new ones that are used of it within :attr:`interval_s`.
    """
    max_message_bytes: int = 500 * KIB
    """Length of a message; a peer that sends a longer one is disconnected."""
    max_messages_per_interval: int = 6
    """Messages of a peer within :attr:`interval_s`; a peer that sends more is disconnected."""
    min_judged: int = 20
    """Addresses of a peer that must have been dialled before the peer may be distrusted for them.
    """
    min_reached_share: Share = 0.1
    """Share of them that must have answered; with less the peer is distrusted. It is low because
    most peers behind a NAT cannot be reached."""
    distrust_s: float = 3_600.0
    """Time for which addresses from a distrusted or banned peer are ignored."""


@dataclass(frozen=True, slots=True, repr=False)
class MetadataConfig(Checked):
    """Metadata exchange between peers (BEP 9; fault model, rows B2 and B3)."""

    max_bytes: int = 48 * MIB
    """Length of the info dictionary, whatever a peer announces. The largest number of pieces takes
    40 MiB of hashes."""
    max_held_bytes: int = 64 * MIB
    """Memory for metadata pieces that are received or requested, over all copies in progress."""
    max_requests_per_peer: int = 2
    """Requests in flight to one peer."""
    request_timeout_s: float = 3.0
    """Time after which a piece is requested from another peer; a late answer is still used."""
    max_timeouts: int = 3
    """Requests in a row that a peer may leave unanswered before it is paused."""
    rest_min_s: float = 20.0
    """Shortest time for which no metadata is requested from a peer that rejected or did not answer.
    """
    rest_max_s: float = 70.0
    """Longest such time; the time is chosen at random between the two."""
    first_copies: int = 3
    """Copies of the metadata that are fetched in parallel when peers disagree about its length or
    when a copy failed its SHA-1 check."""
    first_duplicates: int = 2
    """Peers from which the same piece may be requested at once when every piece has been requested.
    """
    widen_after_s: float = 1.0
    """Time without progress after which :attr:`first_copies` and :attr:`first_duplicates` are
    doubled, repeatedly."""
    probe_after_s: float = 5.0
    """Time after which metadata is requested from a peer that did not announce its length."""
    max_strikes: int = 50
    """Unrequested metadata pieces after which a peer is disconnected."""
    max_queued_requests: int = 1_024
    """Metadata requests of one peer in the queue; more are rejected."""
    max_upload_bytes_per_s: int = 256 * KIB
    """Rate of metadata sent to one peer."""
    max_total_upload_bytes_per_s: int = 4 * MIB
    """Rate of metadata sent to all peers of one torrent; 0 is unlimited. The limits of uploads are
    for metadata, too."""
    max_copies_per_peer: int = 5
    """Times that one connection may download the whole metadata; then its requests are rejected."""
    max_copies_per_address: int = 20
    """The same for all connections of one IPv4 address or IPv6 /64 in an hour."""
    serve_private: bool = False
    """Serve the metadata of private torrents too; most clients do not."""
