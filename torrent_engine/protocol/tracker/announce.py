"""Announce and scrape requests and responses, independent of the transport.

Source: BEP 3, 7, 15, 21, 24, 48.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId

MAX_INTERVAL_S: Final = 86_400.0  # ours: a cap on excessive intervals
MAX_NUMBER: Final = 2**31 - 1  # ours: of peers or seconds; higher values are an unsigned -1
MAX_TEXT_BYTES: Final = 512  # ours: of failure reasons and warnings


class AnnounceEvent(Enum):
    """The event of an announce (BEP 3); the value is the number of BEP 15."""

    NONE = 0
    COMPLETED = 1
    STARTED = 2
    STOPPED = 3


@dataclass(frozen=True, slots=True)
class AnnounceTotals:
    """The totals of an announce: payload moved, and payload left."""

    uploaded_bytes: int
    downloaded_bytes: int
    left_bytes: int
    """0 for a seed."""
    is_partial_seed: bool = False
    """Nothing of what is left is wanted (BEP 21). BEP 15 has no number for it: only HTTP tells."""

    def since(self, base: "AnnounceTotals") -> "AnnounceTotals":
        """Return these without the payload that had been moved at an earlier time."""
        return replace(
            self,
            uploaded_bytes=max(self.uploaded_bytes - base.uploaded_bytes, 0),
            downloaded_bytes=max(self.downloaded_bytes - base.downloaded_bytes, 0),
        )


NOTHING_MOVED: Final = AnnounceTotals(uploaded_bytes=0, downloaded_bytes=0, left_bytes=0)


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
    """The "trackerid" of an earlier response of this tracker (BEP 3); HTTP only."""


@dataclass(frozen=True, slots=True)
class AnnounceResponse:
    """The response to an announce; None for fields that it lacks."""

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
    """The counts of one swarm (BEP 48); None if missing in the response."""

    seeds: int | None
    leeches: int | None
    downloads: int | None
    """Number of completed downloads ever."""


def tracker_text(raw: bytes) -> str:
    """Decode text of a tracker: UTF-8 with replacement, at most 512 bytes, one line."""
    text = raw[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def merge_responses(responses: list[AnnounceResponse]) -> AnnounceResponse:
    """Merge the responses of one tracker over several address families.

    All peers are kept; the other fields are those of the first. ``responses`` is not empty.
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
