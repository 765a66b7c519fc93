"""Limits and intervals of many torrents in one process: their queue, rest, jobs, limits and ports.

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How many torrents move payload at a time; 0 is unlimited."""

    max_active_downloads: int = 0
    max_active_seeds: int = 0


@dataclass(frozen=True, slots=True)
class RestConfig:
    """When a torrent of a TorrentManager gives up its tasks and files until it has work."""

    enabled: bool = True
    after_s: float = 60.0
    """Time without a peer, a candidate or a request after which it rests."""
    max_announces_per_s: float = 50.0
    """Announces of resting torrents that begin in one second; the rest wait their turn."""


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Records of what was done."""

    keep_s: float = 86_400.0
    """How long a finished job is remembered."""


@dataclass(frozen=True, slots=True)
class PortMappingConfig:
    """Opening our port in the router (UPnP IGD, NAT-PMP, PCP)."""

    enabled: bool = False
    """A library changes no router unasked; the command line asks."""


@dataclass(frozen=True, slots=True)
class BandwidthConfig:
    """How the limits on rates are applied."""

    limits_local_network: bool = True
    """Whether peers of our own network count; if not, they are as fast as they can."""
