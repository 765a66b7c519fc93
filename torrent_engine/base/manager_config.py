"""Limits and intervals of many torrents in one process: their queue, rest, jobs, limits and ports.

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How many torrents run at a time, the others wait their turn; 0 is unlimited."""

    max_active_downloads: int = 0
    """Those that look for their metadata too."""
    max_active_seeds: int = 0
    max_active: int = 0
    """Downloads and seeds together, slow ones too; downloads come first."""
    max_active_checks: int = 0
    """Torrents whose data is hashed; they count against no other limit."""
    counts_slow: bool = False
    """Whether slow torrents count against the first two limits."""
    slow_download_bytes_per_s: float = 2_048.0
    """A download below this rate is slow; libtorrent's default."""
    slow_upload_bytes_per_s: float = 2_048.0
    """A seed below this rate is slow."""
    slow_after_s: float = 60.0
    """Time at a rate after which a torrent is slow, or no longer slow."""
    seed_turn_s: float = 1_800.0
    """Time that a seed may stay before its place goes to one that waits; as in libtorrent."""
    look_interval_s: float = 5.0
    """How often rates are looked at, while there is a limit."""


@dataclass(frozen=True, slots=True)
class SeedingConfig:
    """When seeding ends, of torrents that say nothing themselves; None: no rule, 0: at once."""

    seed_ratio: float | None = None
    """Ratio of uploaded to downloaded."""
    seed_time_s: float | None = None
    """Time spent seeding; pauses do not count."""
    seed_idle_s: float | None = None
    """Time spent seeding in which nobody took anything."""


@dataclass(frozen=True, slots=True)
class RestConfig:
    """When a torrent of a TorrentManager gives up its tasks and files until it has work."""

    enabled: bool = True
    after_s: float = 60.0
    """Time without a peer, a candidate or a request after which it rests."""
    max_announces_per_s: float = 50.0
    """Announces of resting torrents that begin in one second; the rest wait their turn."""
    max_visitors: int = 200
    """Links with torrents at rest, over all of them: who shook hands and wants nothing yet. No more
    than :attr:`PoolConfig.max_half_open_incoming` in any case."""
    visit_s: float = 30.0
    """How long such a link may be."""
    max_wakes_per_s: float = 10.0
    """Torrents that strangers wake by wanting something of them, on average."""
    wakes_at_once: int = 30
    """The same in a burst."""
    max_wakes_per_ip_per_s: float = 5.0
    """The same for one IP address."""
    wakes_at_once_per_ip: int = 20


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Records of what was done."""

    keep_s: float = 86_400.0
    """How long a finished job is remembered."""
    keep_paused_s: float = 30 * 86_400.0
    """How long one is that no process goes on with."""
    max_finished: int = 50_000
    """Finished jobs that are remembered at most, the last ones."""
    write_interval_s: float = 0.5
    """What changes is written together, once in so long."""
    retry_interval_s: float = 10.0
    """When the database could not be written: tried again after this."""
    progress_interval_s: float = 2.0
    """How often the progress of what runs is looked at."""
    clean_interval_s: float = 3_600.0
    """How often old jobs are cleaned away."""


@dataclass(frozen=True, slots=True)
class PortMappingConfig:
    """Opening our port in the router (UPnP IGD, NAT-PMP, PCP)."""

    enabled: bool = False
    """A library changes no router unasked; the command line asks."""
    protocols: tuple[str, ...] = ("PCP", "NAT-PMP", "UPnP")
    """Which are tried, in this order; the last one needs the extra ``nat``."""
    lifetime_s: int = 7_200
    """How long a mapping lives unless it is renewed, at half of it; RFC 6886 says two hours."""
    max_lifetime_s: int = 86_400
    """What is believed at most of the lifetime that a gateway grants."""
    first_timeout_s: float = 0.25
    """Wait for an answer, doubled after each further request (RFC 6886)."""
    probe_tries: int = 4
    """Requests to a gateway that never answered, in each protocol, before it is held for mute."""
    tries: int = 9
    """The same of one that has answered before (RFC 6886)."""
    check_interval_s: float = 120.0
    """How often the gateway is asked whether it has forgotten everything."""
    min_recovery_interval_s: float = 10.0
    """Least time between two renewals of all mappings because it has."""
    min_retry_s: float = 30.0
    """Least wait after a refusal, whatever the gateway says."""
    retry_s: float = 600.0
    """Wait after which a gateway that gave nothing is asked again."""
    gateway_poll_s: float = 30.0
    """How often it is looked up which gateway there is."""
    removal_timeout_s: float = 2.0
    """Time at the end in which mappings are removed."""
    upnp_search_s: int = 3
    """How long UPnP gateways are waited for."""
    upnp_timeout_s: float = 10.0
    """Of one request to one."""
    max_upnp_bytes: int = 512 * 1024
    """Length of one of its answers."""


@dataclass(frozen=True, slots=True)
class BandwidthConfig:
    """How the limits on rates are applied."""

    limits_local_network: bool = True
    """Whether peers of our own network count; if not, they are as fast as they can."""
