"""The trackers, web seeds and DHT nodes of a torrent.

Malformed entries are skipped.
Source: BEP 3, BEP 5 (nodes), BEP 12 (tiers), BEP 17 (httpseeds), BEP 19 (url-list).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec._fields import BencodeDict, strings
from torrent_engine.codec.bencode import BencodeValue
from torrent_engine.codec.urls import TRACKER_PREFIXES, WEB_PREFIXES, url_text

MAX_URLS: Final = 1_000  # ours: of one kind in one torrent
MAX_URL_BYTES: Final = 4_096
MAX_NODES: Final = 1_000
MAX_HOST_BYTES: Final = 255

Tiers = tuple[tuple[str, ...], ...]


def parse_tiers(torrent: BencodeDict) -> Tiers:
    """Return the trackers of a .torrent; "announce" only counts without an "announce-list"."""
    listed = torrent.get(b"announce-list")
    groups = [list(strings(group)) for group in listed] if isinstance(listed, list) else []
    return clean_tiers(groups) or clean_tiers([strings(torrent.get(b"announce"))])


def clean_tiers(groups: Iterable[Iterable[bytes]]) -> Tiers:
    """Return the valid trackers of each group, without duplicates and empty groups."""
    seen: set[str] = set()
    tiers: list[tuple[str, ...]] = []
    for group in groups:
        fresh = [url for url in _urls(group, TRACKER_PREFIXES) if url not in seen]
        tier = tuple(dict.fromkeys(fresh[: MAX_URLS - len(seen)]))
        seen.update(tier)
        if tier:
            tiers.append(tier)
    return tuple(tiers)


def parse_web_urls(value: BencodeValue | None) -> tuple[str, ...]:
    """Return the HTTP(S) URLs of a string or a list of strings, without duplicates."""
    return tuple(dict.fromkeys(_urls(strings(value), WEB_PREFIXES)))[:MAX_URLS]


def optional_web_url(mapping: BencodeDict, key: bytes) -> str | None:
    """Return the HTTP(S) URL that a key has; None for anything else."""
    value = mapping.get(key)
    return next(iter(parse_web_urls(value)), None) if isinstance(value, bytes) else None


def parse_nodes(value: BencodeValue | None) -> tuple[PeerAddress, ...]:
    """Return the DHT nodes of a list of ``[host, port]``; a host may be a name."""
    pairs = value if isinstance(value, list) else []
    return tuple(node for pair in pairs[:MAX_NODES] for node in _node(pair))


def _urls(values: Iterable[bytes], schemes: tuple[str, ...]) -> Iterator[str]:
    for value in values:
        text = url_text(value.strip()) if len(value) <= MAX_URL_BYTES else ""
        if text.isprintable() and text.lower().startswith(schemes):
            yield text


def _node(pair: BencodeValue) -> Iterator[PeerAddress]:
    if not isinstance(pair, list) or len(pair) != 2:
        return
    host, port = pair
    if not isinstance(host, bytes) or not isinstance(port, int):
        return
    if 0 < len(host) <= MAX_HOST_BYTES and host.isascii() and 0 < port <= 0xFFFF:
        yield PeerAddress(host.decode("ascii"), port)
