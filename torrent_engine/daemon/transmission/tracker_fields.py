"""The trackers of a torrent, as its fields ``trackers``, ``tracker_stats`` and ``tracker_list``."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.urls import host_of
from torrent_engine.daemon.engine_port.facts import TrackerFacts, TrackerRequestFacts
from torrent_engine.daemon.transmission.dialect import Dialect
from torrent_engine.daemon.transmission.names import TORRENT
from torrent_engine.protocol.tracker.urls import scrape_url

INACTIVE: Final = 0
WAITING: Final = 1
QUEUED: Final = 2
ACTIVE: Final = 3
UNKNOWN: Final = -1
_NEVER: Final = TrackerRequestFacts(0.0)
_PORTS: Final = {"http": 80, "https": 443, "udp": 80, "ws": 80, "wss": 443}
_SECOND_LEVELS: Final = frozenset({"ac", "co", "com", "edu", "gov", "gv", "ne", "net", "or", "org"})


def tracker_list(tiers: Sequence[Sequence[str]]) -> str:
    """Return URLs one a line, with an empty line between tiers."""
    return "\n\n".join("\n".join(tier) for tier in tiers)


def place_of(url: str) -> str:
    """Return host and port of a tracker; "" if the URL is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return ""
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def sitename_of(url: str) -> str:
    """Return the name of a tracker's site without its top-level domain, such as "ubuntu"."""
    host = host_of(url)
    labels = host.split(".")
    if len(labels) < 2 or ":" in host or labels[-1].isdigit():
        return host
    is_national = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS
    return labels[-3] if is_national else labels[-2]


def scrape_of(url: str) -> str:
    """Return where a tracker is scraped; "" if that is not known (BEP 48)."""
    try:
        return url if url.startswith("udp:") else scrape_url(url) or ""
    except TorrentEngineError:
        return ""


def tracker_object(facts: TrackerFacts) -> dict[str, object]:
    """Return an element of ``trackers``; its names are the same in both dialects."""
    return {
        "announce": facts.url,
        "id": facts.id,
        "scrape": scrape_of(facts.url),
        "sitename": sitename_of(facts.url),
        "tier": facts.tier,
    }


def tracker_stats_object(
    facts: TrackerFacts, dialect: Dialect, *, is_active: bool
) -> dict[str, object]:
    """Return an element of ``tracker_stats``; ``is_active``: the torrent runs."""
    values = {
        **tracker_object(facts),
        "host": place_of(facts.url),
        "is_backup": facts.is_backup,
        **_announces(facts, is_active=is_active),
        **_scrapes(facts, is_active=is_active),
        "seeder_count": _count(facts.seeds),
        "leecher_count": _count(facts.leeches),
        "download_count": _count(facts.downloads),
        "downloader_count": UNKNOWN,
    }
    if dialect is Dialect.JSON_RPC:
        return values
    return {TORRENT[name]: value for name, value in values.items()}


def _count(number: int | None) -> int:
    return UNKNOWN if number is None else number


def _announces(facts: TrackerFacts, *, is_active: bool) -> dict[str, object]:
    last = facts.last_announce or _NEVER
    state = _announce_state(facts) if is_active and not facts.is_backup else INACTIVE
    return {
        "announce_state": state,
        "has_announced": last.began_at > 0,
        "last_announce_peer_count": last.peers,
        "last_announce_result": facts.message or _result(last),
        "last_announce_start_time": int(last.began_at),
        "last_announce_succeeded": last.is_success,
        "last_announce_time": int(last.ended_at),
        "last_announce_timed_out": last.is_timeout,
        "next_announce_time": int(facts.next_announce_at) if state else 0,
    }


def _result(request: TrackerRequestFacts) -> str:
    return request.error or ("Success" if request.is_success else "")


def _announce_state(facts: TrackerFacts) -> int:
    if facts.state == "disabled":
        return INACTIVE
    if facts.state == "announcing":
        return ACTIVE
    return WAITING if facts.next_announce_at else QUEUED


def _scrapes(facts: TrackerFacts, *, is_active: bool) -> dict[str, object]:
    last = facts.last_scrape or _NEVER
    is_asked = last.began_at > 0 and not last.ended_at
    return {
        "has_scraped": last.began_at > 0,
        "last_scrape_result": _result(last),
        "last_scrape_start_time": int(last.began_at),
        "last_scrape_succeeded": last.is_success,
        "last_scrape_time": int(last.ended_at),
        "last_scrape_timed_out": last.is_timeout,
        "next_scrape_time": 0,
        "scrape_state": ACTIVE if is_active and is_asked else INACTIVE,
    }
