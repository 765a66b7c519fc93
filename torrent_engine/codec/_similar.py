"""Which other torrents may have some of the files of a torrent (BEP 38).

They are hints: what is of a wrong type or length is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, TypeVar

from torrent_engine.base.ids import SHA1_BYTES, SHA256_BYTES
from torrent_engine.codec._fields import BencodeDict, strings

MAX_HINTS: Final = 1000  # ours: of each kind; others are left out
MAX_COLLECTION_BYTES: Final = 255  # ours: longer names are left out
_T = TypeVar("_T")
_HASH_SIZES: Final = frozenset({SHA1_BYTES, SHA256_BYTES})


@dataclass(frozen=True, slots=True)
class SimilarTorrents:
    """Torrents that may share files with one."""

    info_hashes: tuple[bytes, ...] = ()
    """Of 20 bytes each, or the whole 32 of v2."""
    collections: tuple[str, ...] = ()
    """Names of collections; torrents of the same one may share files."""


def parse_similar(torrent: BencodeDict, info: BencodeDict) -> SimilarTorrents:
    """Return the hints inside the info dictionary and those around it, each once."""
    hashes = chain(_items(info, b"similar"), _items(torrent, b"similar"))
    names = chain(_items(info, b"collections"), _items(torrent, b"collections"))
    texts = (_text(name) for name in names)
    return SimilarTorrents(
        _first(each for each in hashes if len(each) in _HASH_SIZES),
        _first(text for text in texts if text),
    )


def _items(mapping: BencodeDict, key: bytes) -> Iterable[bytes]:
    value = mapping.get(key)
    return strings(value) if isinstance(value, list) else ()


def _text(name: bytes) -> str:
    """Return a name as text; "" if it is none."""
    if len(name) > MAX_COLLECTION_BYTES:
        return ""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""


def _first(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(islice(dict.fromkeys(values), MAX_HINTS))
