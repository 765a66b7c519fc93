"""Every limit and interval, with its unit in its name, its default and where the default is from.

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BencodeLimits:
    """What a decoder accepts before it refuses the input (RELIABILITY rows A1 to A4)."""

    max_depth: int = 100
    """Containers inside each other."""
    max_tokens: int = 3_000_000
    """Integers, strings, lists and dictionaries together."""
    max_bytes: int = 10 * MIB
    """Length of the whole input."""


@dataclass(frozen=True, slots=True)
class MagnetLimits:
    """What a magnet link may hold (BEP 9, 53; row A15); what is over the counts is dropped."""

    max_uri_bytes: int = 64 * KIB
    """Length of the whole link; a longer one is refused."""
    max_trackers: int = 100
    max_web_seeds: int = 100
    max_peers: int = 50
    max_selected_files: int = 100_000


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What one peer connection accepts (BEP 3, 6, 10; rows B1, B4, B5, B8)."""

    max_message_bytes: int = MIB + 9
    """Length of one message, unless it is a bitfield that fits the torrent."""
    max_queued_requests: int = 2_000
    """Requests of a peer that wait for their block; more are rejected."""
    max_choked_requests: int = 300
    """Requests sent while choked before the peer is dropped."""
    max_unrequested_blocks: int = 50
    """Blocks that nobody asked for before the peer is dropped."""
    max_extension_message_bytes: int = 512 * KIB
    """Length of one BEP 10 message."""
    max_early_pieces: int = 0x200000
    """Pieces of which a peer may speak while it is not known how many there are."""
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    """Silence after which a connection is closed."""
    unread_timeout_s: float = 120.0
    """Time in which a peer took nothing of what we send; then the connection is closed."""
    inactivity_timeout_s: float = 600.0
    """Time in which neither side wanted or moved payload; then the connection is closed."""
    keep_alive_s: float = 110.0
    """Our own silence after which we send a keep-alive; BEP 3 says about two minutes."""
    reqq: int = 2_000
    """What we announce as our request queue (BEP 10)."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How many connections, and how eagerly they are made."""

    max_connections_per_torrent: int = 200
    max_connections: int = 500
    max_half_open: int = 50
    max_per_ip: int = 1
    """Connections from one IP address; more only where :attr:`allow_multiple_per_ip` is set."""
    allow_multiple_per_ip: bool = False
    connect_timeout_s: float = 10.0
    max_candidates: int = 3_000
    max_dials_per_ip_per_minute: int = 5
    backoff_first_s: float = 15.0
    """Wait after the first failed dial; doubled after each further one."""
    quick_retry_first_s: float = 3.0
    """The same, times 0.5 to 1.5 by chance, where the next dial may well succeed: the peer hung up
    before it answered our handshake, or the user named it."""
    backoff_max_s: float = 1_800.0
    max_failures: int = 6
    """Dials that may fail in a row before a candidate is forgotten."""
    max_candidates_per_ip: int = 8
    """Ports of one IP address that are remembered, unless :attr:`allow_multiple_per_ip`."""
    ban_s: float = 3_600.0
    """How long a peer that sent bad data stays out."""
    replacement_interval_s: float = 10.0
    """Least time between two peers of a full torrent that make room for one of higher priority
    (BEP 40)."""
    bans_before_ip_ban: int = 3
    """Different peers of one IP address that are banned before all of it is."""


@dataclass(frozen=True, slots=True)
class ChokerConfig:
    """Who may download from us (BEP 3)."""

    upload_slots: int = 8
    """Peers unchoked by rate at once, for one torrent."""
    optimistic_slots: int = 1
    rechoke_interval_s: float = 10.0
    optimistic_interval_s: float = 30.0
    snub_timeout_s: float = 60.0
    """A peer that owes us blocks and sent none for this long is snubbed."""
    seed_round_robin_bytes: int = 32 * MIB
    """What a leech may take from our seed before its slot goes round."""
    seed_turn_s: float = 60.0
    """How long a slow leech may keep a slot of our seed while others wait."""


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Announcing (BEP 3, 7, 12, 15, 23, 31, 41, 48)."""

    numwant: int = 50
    max_response_bytes: int = MIB
    """After decompression."""
    max_header_bytes: int = 16 * KIB
    max_redirects: int = 5
    max_peers: int = 2_000
    """Peers kept of one response."""
    read_timeout_s: float = 10.0
    total_timeout_s: float = 30.0
    stop_grace_s: float = 5.0
    max_concurrent: int = 50
    min_interval_s: float = 60.0
    """Floor below which no tracker's interval is believed."""
    default_interval_s: float = 1_800.0
    backoff_first_s: float = 10.0
    backoff_max_s: float = 3_600.0
    udp_first_timeout_s: float = 15.0
    """BEP 15: 15 x 2^n seconds, n up to :attr:`udp_max_retries`."""
    udp_max_retries: int = 8
    udp_connection_id_s: float = 60.0
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """Files, the write queue and the resume database."""

    write_queue_high_bytes: int = 32 * MIB
    """Payload waiting for the disk at which peers are no longer read."""
    write_queue_low_bytes: int = 16 * MIB
    """Payload waiting at which they are read again."""
    max_open_files: int = 40
    sync_interval_s: float = 2.0
    sync_bytes: int = 64 * MIB
    """Verified payload, or time, after which files are synced and pieces become durable."""
    preallocate: bool = False
    write_threads: int = 2
    """Threads of one torrent that hash and write what came."""
    hash_threads: int = 2
    disk_threads: int = 4
    state_reserve_bytes: int = 64 * MIB
    partial_memory_bytes: int = 32 * MIB
    """Unverified blocks held in memory before they are written ahead of their piece."""
    retry_after_disk_full_s: float = 60.0


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """The download pipeline."""

    receive_buffer_bytes: int = MIB
    slow_receive_buffer_bytes: int = 32 * KIB
    min_outstanding_requests: int = 4
    max_outstanding_requests: int = 1_000
    request_queue_s: float = 3.0
    """Seconds of a peer's present rate that are kept requested."""
    max_upload_queue_bytes: int = MIB
    """Payload read ahead for one peer and not yet taken by its socket."""


@dataclass(frozen=True, slots=True)
class DhtConfig:
    """The distributed hash table (BEP 5, 32, 33, 42 to 45, 51; rows C1 and C2)."""

    enabled: bool = True
    bootstrap: tuple[tuple[str, int], ...] = (
        ("dht.libtorrent.org", 25_401),
        ("dht.transmissionbt.com", 6_881),
        ("router.bittorrent.com", 6_881),
    )
    """(host, port) of the routers that are asked while no other node is known."""
    read_only: bool = False
    """Ask, and answer nobody (BEP 43)."""
    announce_interval_s: float = 900.0
    """How often one torrent is announced and its peers are looked up."""
    first_retry_s: float = 5.0
    """The same after a round that found nobody; doubled each time, up to the interval."""
    min_announce_interval_s: float = 60.0
    """The same for a torrent that is in need of peers although some were found."""
    rounds_per_s: float = 2.0
    """Rounds of all torrents that begin in a second, in the long run."""
    max_rounds: int = 16
    """Rounds of different torrents at a time, and how many may begin at once."""
    max_peers_per_round: int = 1_000
    """Addresses that one torrent takes of one round."""
    bucket_nodes: int = 8
    """Nodes of a k-bucket, and of an answer: k of BEP 5."""
    max_replacements: int = 8
    """Nodes that wait for a place in a full bucket."""
    good_node_s: float = 900.0
    """Silence after which a node is questionable (BEP 5)."""
    retry_node_s: float = 60.0
    """Time before the same questionable node is asked again."""
    refresh_s: float = 900.0
    """Time without a change after which a bucket is refreshed (BEP 5)."""
    bad_node_failures: int = 2
    """Queries in a row without an answer that make a node bad: a waiting one takes its place."""
    max_node_failures: int = 8
    """The same, after which it leaves even if nobody waits: it may be our own link that failed."""
    restrict_node_ips: bool = True
    """One node an IP address in the table, one a /24 (IPv6: a /64) in a bucket; local addresses
    are exempt (row C2)."""
    prefer_valid_ids: bool = True
    """Nodes whose id fits their address (BEP 42) take the places of others in full buckets."""
    enforce_valid_ids: bool = False
    """Nodes whose id does not fit their address never enter the table (BEP 42)."""
    max_queries_per_ip_per_s: int = 5
    """Answered queries of one IP address (IPv6: of one /64) a second; 0 is unlimited."""
    max_queries_per_ip_in_10_s: int = 50
    """Queries of one IP address in ten seconds; after more it gets no answer for some time."""
    silence_s: float = 300.0
    """How long that is."""
    max_throttled_ips: int = 4_096
    """IP addresses whose queries are counted, and as many that are not answered."""
    max_upload_bytes_per_s: int = 8_000
    """Answers of one address family; what is over it is not sent. 0 is unlimited."""
    max_reply_bytes: int = 1_400
    max_amplification: float = 3.0
    """Bytes of an answer for each byte of the query, while the sender may be spoofed."""
    max_large_replies_per_minute: int = 10
    """Answers above that to one IP address which has shown that it receives what is sent to it."""
    proven_s: float = 900.0
    """How long it counts as shown."""
    token_s: float = 300.0
    """Age at which the secret behind the write tokens is changed; the last one is still taken."""
    peer_expiry_s: float = 1_800.0
    """Time after its last announce in which a peer is told of."""
    max_torrents: int = 2_000
    """Torrents whose peers are kept for others."""
    max_peers_per_torrent: int = 500
    max_torrents_per_ip: int = 100
    """Torrents in which one IP address may be a peer."""
    max_values: int = 50
    """Peers of one answer."""
    max_samples: int = 20
    """Info-hashes of one answer (BEP 51)."""
    sample_interval_s: float = 21_600.0
    """Time in which the same ones are told (BEP 51)."""
    max_items: int = 700
    """Values that are kept for others (BEP 44), immutable and mutable together."""
    max_items_per_ip: int = 100
    item_expiry_s: float = 7_200.0
    """Time after its last put in which a value is kept (BEP 44)."""
    max_item_bytes: int = 1_000
    """Bencoded length of a value (BEP 44)."""
    max_salt_bytes: int = 64
    query_timeout_s: float = 10.0
    """Time after which no answer to a query of ours is taken."""
    first_short_timeout_s: float = 1.0
    """Time after which a query no longer holds up its lookup, before any round trip was seen."""
    min_short_timeout_s: float = 0.2
    max_outstanding_queries: int = 1_000
    """Queries of ours that wait for an answer, over all lookups and pings."""
    lookup_width: int = 8
    """Closest nodes that a lookup wants answers of, and that are written to: k of BEP 5."""
    wide_lookup_width: int = 24
    """The same where few of the closest have what is looked for, as when they lie (row C2)."""
    lookup_parallelism: int = 4
    """Queries of one lookup that may be waited for: alpha of Kademlia."""
    max_lookup_in_flight: int = 16
    """The same with those that are late."""
    max_lookup_queries: int = 200
    """Nodes that one lookup asks; then it ends with what it has."""
    max_lookup_candidates: int = 400
    """Nodes that one lookup remembers."""
    max_nodes_per_response: int = 8
    """Nodes that are taken of one answer (row C2)."""
    max_asked_per_site: int = 3
    """Nodes of one /24, or /64, that one lookup asks (row C2); local networks are free of it."""
    max_lookups: int = 50
    """Lookups at a time; more wait for their turn."""
    max_waiting_lookups: int = 5_000
    refresh_lookup_interval_s: float = 5.0
    """Pause between lookups that only refresh buckets."""
    check_interval_s: float = 1.0
    """Pause between pings of nodes that were not heard of for long, or never answered us."""
    bootstrap_retry_first_s: float = 5.0
    """Wait before an empty table is filled again; doubled each time, up to the next field."""
    bootstrap_retry_max_s: float = 300.0
    external_votes: int = 5
    """Answers of different networks that must agree before the node takes another id (BEP 42)."""
    max_external_votes: int = 50
    id_change_interval_s: float = 600.0
    """Time for which a new node id is kept, whatever is said."""
    save_interval_s: float = 300.0
    """How often the routing tables are saved."""


@dataclass(frozen=True, slots=True)
class LsdConfig:
    """Local service discovery (BEP 14; row C6)."""

    enabled: bool = True
    announce_interval_s: float = 300.0
    """How often one torrent is announced; BEP 14 says 5 minutes."""
    min_interval_s: float = 60.0
    """The same for a torrent that has no peers; never sooner, whatever happens."""
    datagram_interval_s: float = 60.0
    """Time between datagrams on one interface in the long run; BEP 14 says a minute."""
    burst_datagrams: int = 5
    """Datagrams that may go out at once before that, for torrents that just began."""
    gather_s: float = 0.2
    """How long a torrent that begins waits for others to share its datagram."""
    ttl: int = 1
    """How far a datagram goes; 1 is not beyond the first router."""
    max_places: int = 32
    """Interfaces, each once a family, on which we announce."""
    rescan_interval_s: float = 60.0
    """How often we look for new interfaces to hear on."""
    max_heard_per_minute: int = 3_000
    """Datagrams of neighbours; more are not read."""
    max_heard_per_host_per_minute: int = 300
    max_peers_per_interval: int = 200
    """Addresses that one torrent takes within :attr:`announce_interval_s`."""


@dataclass(frozen=True, slots=True)
class PexConfig:
    """Peer exchange (BEP 11; row B9)."""

    enabled: bool = True
    interval_s: float = 60.0
    """Least time between two messages to one peer."""
    max_contacts: int = 50
    """Additions, and as many droppings, that one message has or is read for; also the addresses of
    one peer that are kept, and the new ones taken from it in :attr:`interval_s`."""
    max_message_bytes: int = 500 * KIB
    max_messages_per_interval: int = 6
    """More messages of a peer in :attr:`interval_s` end its link."""
    min_judged: int = 20
    """Addresses of one peer that were dialled before it is judged by them."""
    min_reached_share: float = 0.1
    """Share of them that must have answered; most peers behind a router cannot."""
    distrust_s: float = 3_600.0
    """How long nothing is taken from a peer whose addresses did not answer, or that was banned."""


@dataclass(frozen=True, slots=True)
class MetadataConfig:
    """Metadata from peers (BEP 9; rows B2 and B3)."""

    max_bytes: int = 30 * MIB
    """Length of the info dictionary, whatever a peer says."""
    max_held_bytes: int = 64 * MIB
    """Pieces of the metadata that are held or on their way, in all copies that are not whole."""
    max_requests_per_peer: int = 2
    request_timeout_s: float = 3.0
    """Time after which a piece is asked of somebody else; the late answer still counts."""
    max_timeouts: int = 3
    """Requests in a row that a peer left unanswered before it has a rest."""
    rest_min_s: float = 20.0
    """How long a peer that rejects, or does not answer, is not asked; at least."""
    rest_max_s: float = 70.0
    first_copies: int = 3
    """Copies that are fetched beside each other, where peers disagree on the length, or cannot all
    be right."""
    first_duplicates: int = 2
    """Peers that may be asked for one piece at a time, once every piece is asked for."""
    widen_after_s: float = 1.0
    """Time after which these two numbers double, again and again."""
    probe_after_s: float = 5.0
    """Time after which a peer that did not say how long the metadata is, is asked all the same."""
    max_strikes: int = 50
    """Pieces that nobody asked for before a peer is dropped."""
    max_queued_requests: int = 1_024
    """Requests of one peer that wait for our answer; more are rejected."""
    max_upload_bytes_per_s: int = 256 * KIB
    """Metadata sent to one peer."""
    max_copies_per_peer: int = 5
    """How often one connection may have all of the metadata; then its requests are rejected."""
    serve_private: bool = False
    """Give the metadata of private torrents too; other clients do not."""


@dataclass(frozen=True, slots=True)
class WebSeedConfig:
    """Web seeds (BEP 17 and 19; rows A14, B6 and D1)."""

    enabled: bool = True
    allow_local: bool = False
    """Ask web seeds at loopback and private addresses too; link-local ones never are (row D1)."""
    max_active: int = 8
    """Web seeds of one torrent that are asked at the same time; the others wait their turn."""
    max_requests: int = 4
    """Requests in flight at one web seed."""
    min_range_bytes: int = MIB
    """What one request asks for at first, and of a slow web seed."""
    max_range_bytes: int = 8 * MIB
    """What one request asks for at most; a piece that is longer is asked for in parts."""
    range_s: float = 4.0
    """Seconds of a web seed's present rate that are asked for at once, over all its requests."""
    max_skipped_bytes: int = 4 * MIB
    """Payload that may be thrown away of a server that answers a range with the whole file."""
    read_timeout_s: float = 20.0
    """Silence, of a connection attempt too, after which a request has failed."""
    slow_after_s: float = 30.0
    """Time in which a request must bring :attr:`min_bytes_per_s`, our own waiting left out."""
    min_bytes_per_s: int = 1_024
    max_header_bytes: int = 16 * KIB
    max_redirects: int = 5
    idle_close_s: float = 15.0
    """Time without work after which the connections to a web seed are closed."""
    backoff_first_s: float = 5.0
    """Wait after the first failed request; doubled after each further one."""
    backoff_max_s: float = 1_800.0
    max_retry_after_s: float = 3_600.0
    """The longest wait that a web seed may name itself."""
    max_failures: int = 8
    """Requests that may fail in a row before a web seed is given up."""


@dataclass(frozen=True, slots=True)
class SharedConfig:
    """Everything that a SharedResources needs."""

    listen_port: int = 6881
    """TCP port; 0 lets the system choose, a busy one moves on to the next of a few."""
    listen_hosts: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - peers come from anywhere
    """Literal addresses to bind; an address family that the host lacks is left out."""
    state_dir: str | None = None
    """Folder of the resume database; None: below the user's state folder."""
    max_download_bytes_per_s: int = 0
    """Over all torrents; 0 is unlimited."""
    max_upload_bytes_per_s: int = 0
    user_agent: str = "torrent_engine/0.1.0"
    wire: WireLimits = field(default_factory=WireLimits)
    pool: PoolConfig = field(default_factory=PoolConfig)
    choker: ChokerConfig = field(default_factory=ChokerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    dht: DhtConfig = field(default_factory=DhtConfig)
    lsd: LsdConfig = field(default_factory=LsdConfig)
    pex: PexConfig = field(default_factory=PexConfig)
    metadata: MetadataConfig = field(default_factory=MetadataConfig)
    web_seed: WebSeedConfig = field(default_factory=WebSeedConfig)
    disk: DiskConfig = field(default_factory=DiskConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What one torrent may be told at its start."""

    sequential: bool = False
    file_priorities: tuple[int, ...] | None = None
    """One number a file, 0 (skip) to 7; None: all files at 4."""
    renamed_files: tuple[tuple[int, str], ...] = ()
    """(file index, path below the save path) pairs."""
    seed_ratio: float | None = None
    """Stop seeding at this ratio of uploaded to downloaded; None: no rule. 0: stop at once."""
    seed_time_s: float | None = None
    """Stop seeding after this long; None: no rule. 0: stop at once."""
    max_download_bytes_per_s: int = 0
    max_upload_bytes_per_s: int = 0
    use_resume: bool = True
    """Trust the resume database; if not, all data that is there is hashed."""
    check_only: bool = False
    """Hash what is there, then stop."""
    paused: bool = False
    peers: tuple[tuple[str, int], ...] = ()
    """(host, port) of peers to try at once."""
    metadata_only: bool = False
    """Of a magnet link: stop, with reason "metadata", when the metadata is there."""
    file_priorities_of: Callable[[Any], tuple[int, ...] | None] | None = None
    """Of a magnet link: called once with its Metainfo, gives :attr:`file_priorities`."""
    renamed_files_of: Callable[[Any], tuple[tuple[int, str], ...]] | None = None
    """Of a magnet link: called once with its Metainfo, gives :attr:`renamed_files`."""


FILE_BENCODE_LIMITS: Final = BencodeLimits()
METADATA_BENCODE_LIMITS: Final = BencodeLimits(max_tokens=2_500_000, max_bytes=32 * MIB)
METADATA_MESSAGE_BENCODE_LIMITS: Final = BencodeLimits(
    max_depth=10, max_tokens=500, max_bytes=17 * KIB
)
TRACKER_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=20_000, max_bytes=MIB)
EXTENSION_BENCODE_LIMITS: Final = BencodeLimits(
    max_depth=10, max_tokens=10_000, max_bytes=512 * KIB
)
DHT_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=500, max_bytes=4 * KIB)
