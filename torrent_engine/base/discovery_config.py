"""The limits and intervals of what finds peers without a tracker, as ``base/config.py`` has others.

They are to be had from there, too.
"""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024


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
    tells_client: bool = True
    """Name our program in what we ask ("v")."""
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
    wide_lookup_width: int = 40
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
    max_newcomers_per_s: int = 20
    """Nodes that asked us something for the first time and are looked at for the table."""
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

    max_bytes: int = 48 * MIB
    """Length of the info dictionary, whatever a peer says: 40 MiB are the most pieces there may be.
    """
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
    max_urls: int = 100
    """Web seeds of one torrent that are known; a list of thousands is an attack on a server."""
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
    """Wait after the first failed request; doubled after each further one in a row."""
    backoff_max_s: float = 1_800.0
    """The longest wait; a web seed that does not answer is asked this often, but never given up."""
    max_retry_after_s: float = 3_600.0
    """The longest wait that a web seed may name itself."""
    max_misses: int = 8
    """Files that may be missing in a row before it waits as after a failure, and so on."""
