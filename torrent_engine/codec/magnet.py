"""Magnet links: a parsed Magnet is within the limits and safe to show.

Only the info-hash must be right; whatever else is malformed, unknown or too much is left out.
Source: BEP 9, BEP 53 (so=), BEP 52 (btmh), BEP 46 (xs=urn:btpk).
Fault model: row A15.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address
from itertools import chain, islice
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from torrent_engine.base.config import MagnetLimits
from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.codec._magnet_fields import SCHEME as SCHEME
from torrent_engine.codec._magnet_fields import LinkFields, fields_of, unquoted
from torrent_engine.codec._sources import clean_tiers, parse_web_urls
from torrent_engine.codec.mutable_link import MutableKey, MutableLink, key_of, names_key_only
from torrent_engine.codec.paths import clean_element

if TYPE_CHECKING:
    from torrent_engine.codec.metainfo import Metainfo

LIMITS: Final = MagnetLimits()
_BTIH: Final = b"urn:btih:"
_BTMH: Final = b"urn:btmh:"
_SHA256: Final = re.compile(rb"1220([0-9a-f]{64})", re.IGNORECASE)
"""A multihash: which function, how many bytes, and they."""
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_TRIES: Final = 4  # ours: values looked at for each peer that a link may have
_PART_BYTES: Final = 4  # ours: thousands of different numbers have at least three digits each
_FILES: Final = re.compile(rb"([0-9]{1,9})(?:-([0-9]{1,9}))?")

_Address = tuple[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class Magnet:
    """One torrent, as a magnet link names it."""

    info_hash: InfoHash
    """SHA-1; of a v2-only link the first 20 bytes of its SHA-256."""
    name: str | None = None
    """What the link calls it ("dn"), cleaned as names of files are; the torrent may differ."""
    trackers: tuple[str, ...] = ()
    """http, https and udp, at most 100 ("tr")."""
    web_seeds: tuple[str, ...] = ()
    """http and https, at most 100 ("ws")."""
    peers: tuple[tuple[str, int], ...] = ()
    """(host, port) of at most 50 peers ("x.pe"); a host may be a name."""
    selected_files: tuple[int, ...] | None = None
    """Which files are wanted, from 0, in rising order ("so", BEP 53); None: all."""
    total_bytes: int | None = None
    """How much the link says it is ("xl")."""
    info_hash_v2: InfoHashV2 | None = None
    """SHA-256, where the link names the v2 part of a torrent (BEP 52)."""
    updates: MutableKey | None = None
    """Where newer versions of the torrent are published ("xs", BEP 46)."""
    sequence: int = field(default=0, compare=False)
    """Which version of :attr:`updates` this is, if it was looked up; not part of the link."""

    @classmethod
    def parse(cls, text: str, *, limits: MagnetLimits = LIMITS) -> "Magnet":
        """Read a magnet link, or an info-hash alone (40 hexadecimal or 32 base32 digits).

        Raises MagnetError for a link that is too long or without a right info-hash.
        """
        data = text.strip().encode("utf-8", "surrogatepass")
        if len(data) > limits.max_uri_bytes:
            raise MagnetError(f"a link of {len(data)} bytes, more than {limits.max_uri_bytes}")
        bare = _info_hash(data)
        if bare is not None:
            return cls(bare)
        if data[: len(SCHEME)].lower() != SCHEME.encode():
            raise MagnetError('no magnet link: it begins with "magnet:?", or is an info-hash')
        return _from_fields(fields_of(data[len(SCHEME) :]), limits)

    @classmethod
    def published(cls, link: MutableLink, info_hash: InfoHash, sequence: int) -> "Magnet":
        """Return the link of the torrent that a link to a public key leads to (BEP 46).

        Raises MagnetError if it is too long then.
        """
        magnet = cls.parse(f"{link.text}&xt={_BTIH.decode()}{info_hash.hex()}")
        return replace(magnet, sequence=sequence)

    @staticmethod
    def is_link(text: str) -> bool:
        """Return whether a text is a magnet link or info-hash, not a path or URL."""
        is_magnet = text.lstrip()[: len(SCHEME)].lower() == SCHEME
        return is_magnet or _info_hash(text.strip().encode("utf-8", "surrogatepass")) is not None

    @classmethod
    def of(cls, metainfo: "Metainfo", *, limits: MagnetLimits = LIMITS) -> "Magnet":
        """Return the magnet link of a torrent, with as many trackers and web seeds as fit."""
        room = limits.max_uri_bytes // 2
        trackers = _fitting(chain.from_iterable(metainfo.tiers), room)
        return cls(
            metainfo.v1_swarm or metainfo.info_hash,
            name=metainfo.name,
            trackers=trackers[: limits.max_trackers],
            web_seeds=_fitting(metainfo.web_seeds, room // 2)[: limits.max_web_seeds],
            total_bytes=metainfo.total_bytes,
            info_hash_v2=metainfo.info_hash_v2,
        )

    def __repr__(self) -> str:
        """Return name and info-hash; no trackers, which may have a passkey in them."""
        return f"<Magnet {self.name or ''!r:.100} {self.info_hash.hex()}>"

    @property
    def v2_swarm(self) -> InfoHash | None:
        """Return the second info-hash, cut to 20 bytes, if the link has both; else None."""
        is_hybrid = self.has_v1 and self.info_hash_v2 is not None
        return self.info_hash_v2.truncated if is_hybrid and self.info_hash_v2 else None

    @property
    def has_v1(self) -> bool:
        """Return whether the link names a v1 torrent, or the v1 part of one."""
        return self.info_hash_v2 is None or self.info_hash != self.info_hash_v2.truncated

    @property
    def display_name(self) -> str:
        """Return the name, else the info-hash in hexadecimal."""
        return self.name or self.info_hash.hex()

    def __str__(self) -> str:
        """Return the link; parsed again it is the same Magnet."""
        parts = [f"xt={_BTIH.decode()}{self.info_hash.hex()}"] * self.has_v1
        if self.info_hash_v2 is not None:
            parts.append(f"xt={_BTMH.decode()}1220{self.info_hash_v2.hex()}")
        if self.name is not None:
            parts.append(f"dn={quote(self.name, safe='')}")
        if self.total_bytes is not None:
            parts.append(f"xl={self.total_bytes}")
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"ws={quote(url, safe='')}" for url in self.web_seeds]
        parts += [f"x.pe={_address_text(*peer)}" for peer in self.peers]
        if self.selected_files is not None:
            parts.append(f"so={_ranges_text(self.selected_files)}")
        if self.updates is not None:
            parts.append(self.updates.fields)
        return f"{SCHEME}?{'&'.join(parts)}"


def _fitting(urls: Iterable[str], room_bytes: int) -> tuple[str, ...]:
    """Return the first URLs, as many as take no more than so much of a link."""
    fitting: list[str] = []
    for url in urls:
        room_bytes -= len("&tr=") + len(quote(url, safe=""))
        if room_bytes < 0:
            break
        fitting.append(url)
    return tuple(fitting)


def _from_fields(fields: LinkFields, limits: MagnetLimits) -> Magnet:
    if names_key_only(fields):
        raise MagnetError(
            "the link names a public key (BEP 46), not a torrent; `download`, `run` and the daemon"
            " look it up in the DHT"
        )
    info_hash, info_hash_v2 = _info_hashes(unquoted(fields, b"xt"))
    return Magnet(
        info_hash,
        name=_name(fields),
        trackers=_trackers(unquoted(fields, b"tr"))[: limits.max_trackers],
        web_seeds=parse_web_urls([*unquoted(fields, b"ws")])[: limits.max_web_seeds],
        peers=_peers(unquoted(fields, b"x.pe"), limits.max_peers),
        selected_files=_selected(unquoted(fields, b"so"), limits),
        total_bytes=_length(unquoted(fields, b"xl")),
        info_hash_v2=info_hash_v2,
        updates=key_of(fields),
    )


def _info_hashes(topics: Iterable[bytes]) -> tuple[InfoHash, InfoHashV2 | None]:
    """Return the first good info-hash of each version among the exact topics ("xt").

    Without one of v1, that of v2 is cut to its length.
    """
    seen = list(topics)
    digits = [topic[len(_BTIH) :] for topic in seen if topic[: len(_BTIH)].lower() == _BTIH]
    multihashes = [topic[len(_BTMH) :] for topic in seen if topic[: len(_BTMH)].lower() == _BTMH]
    v1 = next(filter(None, map(_info_hash, digits)), None)
    v2 = next(filter(None, map(_info_hash_v2, multihashes)), None)
    if v1 is not None:
        return v1, v2
    if v2 is not None:
        return v2.truncated, v2
    if digits:
        raise MagnetError("the info-hash is neither 40 hexadecimal nor 32 base32 digits")
    if multihashes:
        raise MagnetError('the v2 info-hash (BEP 52) is not "1220" and 64 hexadecimal digits')
    raise MagnetError('a magnet link without an info-hash ("xt=urn:btih:...")')


def _info_hash_v2(multihash: bytes) -> InfoHashV2 | None:
    """Return the SHA-256 of a multihash; None for one of another kind."""
    match = _SHA256.fullmatch(multihash)
    return InfoHashV2.fromhex(match[1].decode()) if match else None


def _info_hash(digits: bytes) -> InfoHash | None:
    try:
        return InfoHash.parse(digits.decode("ascii"))
    except ValueError:
        return None


def _name(fields: LinkFields) -> str | None:
    """Return the first non-blank name; a plus in it is a space."""
    quoted = (value.replace(b"+", b" ") for value in fields.get(b"dn", []))
    names = (clean_element(unquote_to_bytes(value)).strip() for value in quoted)
    return next((name for name in names if name not in {"", ".", ".."}), None)


def _trackers(urls: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(clean_tiers([urls])))


def _peers(values: Iterable[bytes], limit: int) -> tuple[_Address, ...]:
    """Return the first addresses, without others than one each; no more is looked at."""
    found: dict[_Address, None] = {}
    for value in islice(values, _TRIES * limit):
        address = _address(value.decode("utf-8", "replace"))
        if address is not None:
            found[address] = None
            if len(found) == limit:
                break
    return tuple(found)


def _address(text: str) -> _Address | None:
    host, _, port = text.rpartition(":")
    if _PORT.fullmatch(port) is None or not 0 < int(port) < 1 << 16:
        return None
    if host.startswith("[") and host.endswith("]"):
        literal = _v6_literal(host[1:-1])
        return None if literal is None else (literal, int(port))
    return (host, int(port)) if _HOST_NAME.fullmatch(host) else None


def _v6_literal(text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    is_plain = isinstance(address, IPv6Address) and address.scope_id is None
    return str(address) if is_plain else None


def _address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _length(values: Iterable[bytes]) -> int | None:
    """Return the first length that is a number, and one that a torrent can have."""
    numbers = (
        int(value) for value in values if value.isdigit() and len(value) <= len(str(1 << 63))
    )
    return next((number for number in numbers if 0 < number < 1 << 63), None)


def _selected(values: Iterable[bytes], limits: MagnetLimits) -> tuple[int, ...] | None:
    """Return the first numbers of lists such as ``0,2,4-6``; None if there is none.

    No more parts are looked at than the longest link has room for without repetitions.
    """
    parts = (part for value in values for part in value.split(b","))
    looked_at = islice(parts, limits.max_uri_bytes // _PART_BYTES)
    matches = filter(None, map(_FILES.fullmatch, looked_at))
    ranges = sorted((int(match[1]), int(match[2] or match[1])) for match in matches)
    numbers = tuple(islice(_numbers(ranges), limits.max_selected_files))
    return numbers or None


def _numbers(ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Yield each number of sorted ranges once."""
    start = 0
    for first, last in ranges:
        yield from range(max(first, start), last + 1)
        start = max(start, last + 1)


def _ranges_text(numbers: Sequence[int]) -> str:
    """Write rising numbers as ``0,2,4-6``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)
