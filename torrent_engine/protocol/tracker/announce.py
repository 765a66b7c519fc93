"""Owns what an announce or a scrape says and what comes back, whichever the transport.

Source: BEP 3, 7, 15, 24, 48.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId

MAX_INTERVAL_S: Final = 86_400.0  # ours: a tracker that says "never" must not lose us for good
MAX_TEXT_BYTES: Final = 512  # ours: failure reasons and warnings are one line


class AnnounceEvent(Enum):
    """Why a tracker is told something (BEP 3); the value is the number of BEP 15."""

    NONE = 0
    COMPLETED = 1
    STARTED = 2
    STOPPED = 3


@dataclass(frozen=True, slots=True)
class AnnounceTotals:
    """What a tracker counts: payload moved since "started", payload still wanted."""

    uploaded_bytes: int
    downloaded_bytes: int
    left_bytes: int
    """0 for a seed."""


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """One announce, before it is bound to HTTP or UDP."""

    info_hash: InfoHash
    peer_id: PeerId
    port: int
    """TCP port that we listen on."""
    totals: AnnounceTotals
    event: AnnounceEvent = AnnounceEvent.NONE
    numwant: int = 50
    key: int = 0
    """32 random bits, the same for a torrent's whole session and all address families (BEP 7)."""
    tracker_id: bytes | None = None
    """What this tracker gave us to hand back (BEP 3 "trackerid"); HTTP only."""


@dataclass(frozen=True, slots=True)
class AnnounceResponse:
    """What a tracker answered; None where it did not say."""

    interval_s: float | None
    peers: tuple[PeerAddress, ...]
    min_interval_s: float | None = None
    seeds: int | None = None
    leeches: int | None = None
    downloads: int | None = None
    tracker_id: bytes | None = None
    external_ip: str | None = None
    """Our address as the tracker sees it (BEP 24)."""
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class ScrapeCounts:
    """The state of one swarm (BEP 48); None where the tracker did not say."""

    seeds: int | None
    leeches: int | None
    downloads: int | None
    """How often the torrent was completed, ever."""


def tracker_text(raw: bytes) -> str:
    """Decode text of a tracker: UTF-8, bad bytes replaced, cut to 512 bytes, one line."""
    text = raw[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def merge_responses(responses: list[AnnounceResponse]) -> AnnounceResponse:
    """Join what one tracker answered on several address families: all peers, the first's facts.

    ``responses`` has at least one element.
    """
    first = responses[0]
    if len(responses) == 1:
        return first
    peers = dict.fromkeys(peer for response in responses for peer in response.peers)
    return AnnounceResponse(
        interval_s=first.interval_s,
        peers=tuple(peers),
        min_interval_s=first.min_interval_s,
        seeds=_largest([response.seeds for response in responses]),
        leeches=_largest([response.leeches for response in responses]),
        downloads=_largest([response.downloads for response in responses]),
        tracker_id=first.tracker_id,
        external_ip=first.external_ip,
        warning=first.warning,
    )


def _largest(counts: list[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)
