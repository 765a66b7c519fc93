"""What the fields of a torrent are computed from."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Final

from torrent_engine.daemon.engine_port.facts import (
    FileFacts,
    PeerFacts,
    SeedRules,
    TrackerFacts,
    WebSeedFacts,
)
from torrent_engine.daemon.engine_port.port import TorrentReading
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.transmission.dialect import Dialect

KB: Final = 1000
"""Bytes in the unit of rates."""


class Need(Enum):
    """What some fields need beside the row of a torrent."""

    FILES = "files"
    PEERS = "peers"
    TRACKERS = "trackers"
    WEB_SEEDS = "web_seeds"
    PIECES = "pieces"
    AVAILABILITY = "availability"


@dataclass(frozen=True, slots=True)
class GeneralFacts:
    """Settings of all torrents that fields of one depend on."""

    seed_rules: SeedRules = field(default_factory=SeedRules)
    peer_limit: int = 50
    torrents_folder: str = ""
    """Where copies of .torrents are kept; "": nowhere."""


@dataclass(frozen=True, slots=True)
class Details:
    """What is told of a torrent on request only."""

    files: Sequence[FileFacts] = ()
    peers: Sequence[PeerFacts] = ()
    trackers: Sequence[TrackerFacts] = ()
    web_seeds: Sequence[WebSeedFacts] = ()
    pieces: bytes = b""
    availability: Sequence[int] = ()

    @property
    def length(self) -> int:
        """How many things there are to tell, about."""
        return max(len(self.files), len(self.peers), len(self.pieces), len(self.availability))


NO_DETAILS: Final = Details()


async def read_details(torrents: TorrentReading, row: StateRow, needs: Collection[Need]) -> Details:
    """Return what some fields need of a torrent. Raises UnknownTorrentError, ClosedError."""
    key = row.info_hash
    return Details(
        files=await torrents.files(key) if Need.FILES in needs else (),
        peers=torrents.peers(key) if Need.PEERS in needs else (),
        trackers=torrents.trackers(key) if Need.TRACKERS in needs else (),
        web_seeds=torrents.web_seeds(key) if Need.WEB_SEEDS in needs else (),
        pieces=torrents.pieces(key) if Need.PIECES in needs else b"",
        availability=torrents.availability(key) if Need.AVAILABILITY in needs else (),
    )


class TorrentView:
    """One torrent, as its fields are computed."""

    def __init__(
        self,
        row: StateRow,
        dialect: Dialect,
        general: GeneralFacts,
        now_at: float,
        details: Details = NO_DETAILS,
    ) -> None:
        self.row = row
        self.dialect = dialect
        self.general = general
        self.now_at = now_at
        self.details = details

    @cached_property
    def kept(self) -> dict[str, str]:
        """What this interface keeps with the torrent."""
        return dict(self.row.user.other)

    def kept_number(self, name: str, default: float) -> float:
        """Return a number that is kept while it has no effect."""
        try:
            return float(self.kept[kept_key(name)])
        except (KeyError, ValueError):
            return default

    @cached_property
    def have(self) -> str:
        """Which pieces are verified: "1" for each that is, else "0"."""
        return bits(self.details.pieces, self.row.about.piece_count)

    @property
    def is_active(self) -> bool:
        """Whether it runs, so that its trackers are asked."""
        return self.row.status not in {"stopped", "paused", "finished", "error"}


def kept_key(name: str) -> str:
    """Return the key of what this interface keeps with a torrent."""
    return f"transmission.{name}"


def bits(bitfield: bytes, count: int) -> str:
    """Return the first bits of a BEP 3 bitfield, each as "1" or "0"."""
    if not bitfield:
        return "0" * count
    text = format(int.from_bytes(bitfield, "big"), f"0{len(bitfield) * 8}b")
    return text[:count].ljust(count, "0")


Compute = Callable[[TorrentView], object]
