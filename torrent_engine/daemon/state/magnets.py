"""The magnet link of a torrent as it is now, with the trackers that it has now."""

from itertools import chain
from typing import Final

from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.service.sources import shown

MAX_TRACKERS: Final = 50  # ours: links get long
MAX_WEB_SEEDS: Final = 20


def magnet_of(row: StateRow, *, has_secrets: bool = True) -> Magnet:
    """Return the link; without secrets only the URLs are in it that have none."""
    settings = row.settings
    trackers = list(chain.from_iterable(settings.trackers))
    web_seeds = list(settings.web_seeds)
    if not has_secrets:
        trackers = [url for url in trackers if shown(url) == url]
        web_seeds = [url for url in web_seeds if shown(url) == url]
    return Magnet(
        row.info_hash_v1 or row.info_hash,
        name=row.about.name or None,
        trackers=tuple(trackers[:MAX_TRACKERS]),
        web_seeds=tuple(web_seeds[:MAX_WEB_SEEDS]),
        total_bytes=row.about.total_bytes or None,
        info_hash_v2=row.about.info_hash_v2,
    )
