"""Merging of a second source of a torrent into its Session."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from torrent_engine.base.errors import TrackerError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.protocol.tracker.schedule import MAX_TRACKERS


def merge_trackers(session: Session, torrent: Metainfo | Magnet) -> int:
    """Add the trackers of another source of the same torrent; return how many are new.

    A private torrent keeps its own (BEP 27). Trackers of unsupported schemes are skipped.
    """
    added = 0
    if session.is_private:
        return 0
    if isinstance(torrent, Metainfo) and torrent.is_private:
        return 0
    for url in islice(_trackers_of(torrent), MAX_TRACKERS):  # no torrent uses more
        with suppress(TrackerError):
            added += session.add_tracker(url)
    return added


def _trackers_of(torrent: Metainfo | Magnet) -> Iterator[str]:
    if isinstance(torrent, Magnet):
        yield from torrent.trackers
    else:
        yield from (url for tier in torrent.tiers for url in tier)
