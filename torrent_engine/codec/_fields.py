"""Typed access to decoded dictionaries: a value of a wrong type is an error or absent."""

from collections.abc import Iterator

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.bencode import BencodeValue

BencodeDict = dict[bytes, BencodeValue]

MAX_TEXT_BYTES = 64 * 1024


def required_int(mapping: BencodeDict, key: bytes, owner: str) -> int:
    """Return an integer; MetainfoError if it is missing or of another type."""
    value = mapping.get(key)
    if not isinstance(value, int):
        raise MetainfoError(f'"{key.decode()}" of {owner} is missing or no integer')
    return value


def required_bytes(mapping: BencodeDict, key: bytes, owner: str) -> bytes:
    """Return a string; MetainfoError if it is missing or of another type."""
    value = mapping.get(key)
    if not isinstance(value, bytes):
        raise MetainfoError(f'"{key.decode()}" of {owner} is missing or no string')
    return value


def optional_int(mapping: BencodeDict, key: bytes) -> int | None:
    """Return an integer that is not negative, or None."""
    value = mapping.get(key)
    return value if isinstance(value, int) and value >= 0 else None


def optional_text(mapping: BencodeDict, key: bytes) -> str | None:
    """Return a text, its ``.utf-8`` twin first; None if there is none. At most 64 KiB of it."""
    for candidate in (mapping.get(key + b".utf-8"), mapping.get(key)):
        if isinstance(candidate, bytes):
            return candidate[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    return None


def strings(value: BencodeValue | None) -> Iterator[bytes]:
    """Iterate over the strings of a list, or over a single string."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, bytes):
                yield item
