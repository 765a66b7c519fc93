"""Torrents and magnet links that are odd, of which docs/tolerance.md says who accepts them."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torrent_engine.codec.bencode import encode

MIB: Final = 1 << 20
GOOD: Final[dict[str, Any]] = {
    "length": 5, "name": "n", "piece length": 16_384, "pieces": bytes(20)
}  # fmt: skip
TREE: Final[dict[str, Any]] = {"name": "n", "piece length": 16_384, "pieces": bytes(20)}
HEX: Final = "0123456789abcdef0123456789abcdef01234567"
BASE32: Final = "AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH"
V2_HASH: Final = "1220" + "ab" * 32
BITCOMET: Final = (
    "_____padding_file_0_if you see this file, please update to BitComet 0.85 or above"
)
PAGE: Final = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"
V2_TREE: Final = {"a": {"": {"length": 5, "pieces root": bytes(range(32))}}}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    """Words for it, unlike those of any other row."""
    kept: bytes | Callable[[], bytes]
    """What ``data`` is, or what makes it: the largest are made when they are asked for."""
    kept_info: bytes | Callable[[], bytes] | None = None

    @property
    def data(self) -> bytes:
        """Return the bytes of the file, or of the link."""
        return self.kept if isinstance(self.kept, bytes) else self.kept()

    @property
    def info(self) -> bytes | None:
        """Return the info dictionary as it stands in ``data``; None: there is none to read."""
        return self.kept_info() if callable(self.kept_info) else self.kept_info


def torrent(info: bytes | dict[str, Any], before: bytes = b"", behind: bytes = b"") -> bytes:
    """Return a .torrent around an info dictionary."""
    raw = info if isinstance(info, bytes) else encode(info)
    return b"d%b4:info%b%be" % (before, raw, behind)


def _with(raw: bytes) -> bytes:
    """Return the good info dictionary with some bencoding in front of its keys."""
    return b"d" + raw + encode(GOOD)[1:]


def _files(*entries: dict[str, Any]) -> bytes:
    return encode({**TREE, "files": list(entries)})


def _row(what: str, info: bytes | dict[str, Any], behind: bytes = b"") -> Row:
    raw = info if isinstance(info, bytes) else encode(info)
    return Row(what, torrent(raw, behind=behind), raw)


def _long(what: str, filler: int) -> Row:
    good = encode(GOOD)
    return Row(what, lambda: torrent(good, behind=encode("x") + encode(bytes(filler))), good)


def _many_pieces(what: str, count: int) -> Row:
    info = partial(_pieces_of, 1, count)
    return Row(what, lambda: torrent(info()), info)


def _pieces_of(piece_bytes: int, length: int) -> bytes:
    hashes = bytes(20 * -(-length // piece_bytes))
    return encode({**GOOD, "length": length, "piece length": piece_bytes, "pieces": hashes})


def torrents() -> Iterator[Row]:
    """Iterate over the rows that are .torrent files."""
    yield from _around()
    yield from _keys()
    yield from _numbers()
    yield from _piece_lengths()
    yield from _file_entries()
    yield from _private()
    yield from _versions()


def _around() -> Iterator[Row]:
    good = encode(GOOD)
    yield _row("a plain torrent", good)
    yield Row("a line feed behind it", torrent(good) + b"\n", good)
    yield Row("a thousand bytes behind it", torrent(good) + bytes(1_000), good)
    yield Row("gzipped", gzip.compress(torrent(good), mtime=0), good)
    yield Row("gzipped and cut short", gzip.compress(torrent(good), mtime=0)[:-12])
    yield Row("bytes in front of it", b"\n" + torrent(good))
    yield Row("its last byte missing", torrent(good)[:-1])
    yield Row("an empty file", b"")
    yield Row("an HTML page", PAGE)
    yield _long("11 MB long", 11_000_000)
    yield _long("70 MiB long", 70 * MIB)
    yield _long("99 MiB long", 99 * MIB)
    yield _long("101 MiB long", 101 * MIB)


def _keys() -> Iterator[Row]:
    good = encode(GOOD)
    yield _row("keys unsorted", _with(b"1:zi1e"))
    yield _row("an unread key twice, in info", _with(b"1:ai1e1:ai2e"))
    yield Row("an unread key twice, outside", torrent(good, b"1:ai1e1:ai2e"), good)
    yield Row(
        "announce twice", torrent(good, b"8:announce10:http://t/a8:announce10:http://t/b"), good
    )
    yield Row("info twice, the same", torrent(good, behind=b"4:info" + good), good)
    yield Row("info twice, different", torrent(good, behind=b"4:infode"), good)
    yield _row("name twice, the same", _with(b"4:name1:n"))
    yield _row("name twice, different", _with(b"4:name1:x"))
    yield _row("length twice, different", _with(b"6:lengthi4e"))
    yield _row("a key that is no string", _with(b"i1e1:x"))


def _numbers() -> Iterator[Row]:
    good = encode(GOOD)
    yield _row("an integer with a leading zero, unread", _with(b"1:ai007e"))
    yield _row("an integer with a leading zero, read", good.replace(b"i5e", b"i05e"))
    yield _row("minus zero, unread", _with(b"1:ai-0e"))
    yield _row("an integer of 20 digits, unread", _with(b"1:ai%de" % (2**64 - 1)))
    yield _row("an integer of 40 digits, unread", _with(b"1:ai%be" % (b"9" * 40)))
    yield _row("creation date of 20 digits", good, b"13:creation datei%de" % (2**64 - 1))
    yield _row("length above 64 bits", good.replace(b"i5e", b"i%de" % 2**65))
    yield _row("a string length with a leading zero", _with(b"01:ai1e"))
    yield _row("an integer without digits", _with(b"1:aie"))


def _piece_lengths() -> Iterator[Row]:
    yield _row("pieces of 1 byte", _pieces_of(1, 5))
    yield _row("pieces of 128 bytes", _pieces_of(128, 1_000))
    yield _row("pieces of 1,000,000 bytes", _pieces_of(1_000_000, 3_000_000))
    yield _row("pieces of 128 MiB and 1 byte", _pieces_of(128 * MIB + 1, 5))
    yield _row("pieces of 512 MiB less 16 KiB", _pieces_of(512 * MIB - 16_384, 5))
    yield _row("pieces of 512 MiB", _pieces_of(512 * MIB, 5))
    yield _row("pieces of 512 MiB and 1 byte", _pieces_of(512 * MIB + 1, 5))
    yield _row("pieces of 0 bytes", encode({**GOOD, "piece length": 0}))
    yield _many_pieces("2,097,152 pieces", 0x200000)
    yield _many_pieces("2,097,153 pieces", 0x200001)
    yield _row("a hash too many", encode({**GOOD, "pieces": bytes(40)}))


def _file_entries() -> Iterator[Row]:
    first = {"length": 5, "path": ["a"]}
    yield _row("path.utf-8 a string", _files({**first, "path.utf-8": "b"}))
    yield _row("path.utf-8 an empty list", _files({**first, "path.utf-8": []}))
    yield _row("path.utf-8 of integers", _files({**first, "path.utf-8": [1]}))
    yield _row("path.utf-8 alone", _files({"length": 5, "path.utf-8": ["a"]}))
    yield _row("name.utf-8 no string", {**GOOD, "name.utf-8": 1})
    yield _row("no path", _files(first, {"length": 5}))
    yield _row("a path of 101 names", _files({**first, "path": ["a"] * 101}))
    yield _row("a pad file", _files(first, {"length": 3, "path": [".pad", "3"], "attr": "p"}))
    yield _row("a pad file without a path", _files(first, {"length": 3, "attr": "p"}))
    yield _row("a pad file of BitComet", _files(first, {"length": 3, "path": [BITCOMET]}))
    yield _row("a symbolic link", _files(first, _link(["a"])))
    yield _row("a symbolic link without a target", _files(first, _link(None)))
    yield _row("a symbolic link to nothing", _files(first, _link([])))
    yield _row("a symbolic link to an integer", _files(first, _link([1])))
    yield _row("one name 600 times", _files(*[{"length": 1, "path": ["a"]}] * 600))
    yield _row("files empty", _files())
    yield _row("files a string, beside a length", {**GOOD, "files": "x"})
    yield _row("no payload", {**GOOD, "length": 0, "pieces": b""})


def _link(target: list[Any] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"length": 0, "path": ["l"], "attr": "l"}
    return entry if target is None else {**entry, "symlink path": target}


def _private() -> Iterator[Row]:
    for value in (1, 0, 2, -1):
        yield _row(f"private {value}", {**GOOD, "private": value})
    yield _row('private "1", a string', {**GOOD, "private": "1"})
    yield _row("private of 20 digits", _with(b"7:privatei%de" % (2**64 - 1)))


def _versions() -> Iterator[Row]:
    yield _row("meta version 0", {**GOOD, "meta version": 0})
    yield _row('meta version "2", a string', {**GOOD, "meta version": "2"})
    yield _row("meta version 3", {**GOOD, "meta version": 3})
    info: dict[str, Any] = {
        "name": "a",
        "piece length": 16_384,
        "meta version": 2,
        "file tree": V2_TREE,
    }
    yield _row("v2 alone", encode(info), b"12:piece layersde")


def magnets() -> Iterator[Row]:
    """Iterate over the rows that are magnet links."""
    for what, link in (
        ("link: magnet:?xt=", f"magnet:?xt=urn:btih:{HEX}"),
        ("link: magnet:///?xt=", f"magnet:///?xt=urn:btih:{HEX}"),
        ("link: magnet://?xt=", f"magnet://?xt=urn:btih:{HEX}"),
        ("link: MAGNET:?xt=", f"MAGNET:?xt=urn:btih:{HEX}"),
        ("link: XT=URN:BTIH:", f"magnet:?XT=URN:BTIH:{HEX}"),
        ("link: hexadecimal in capitals", f"magnet:?xt=urn:btih:{HEX.upper()}"),
        ("link: base32 in capitals", f"magnet:?xt=urn:btih:{BASE32}"),
        ("link: base32 in small letters", f"magnet:?xt=urn:btih:{BASE32.lower()}"),
        ("link: base32 in both", f"magnet:?xt=urn:btih:{BASE32[:9].lower()}{BASE32[9:]}"),
        ("link: xt.1=", f"magnet:?xt.1=urn:btih:{HEX}"),
        ("link: xt percent-encoded", f"magnet:?xt=urn%3Abtih%3A{HEX}"),
        ("link: &amp; for &", f"magnet:?dn=n&amp;xt=urn:btih:{HEX}"),
        ("link: xt not the first", f"magnet:?dn=n&tr=http%3A%2F%2Ft%2Fa&xt=urn:btih:{HEX}"),
        ("link: a bad hash behind a good one", f"magnet:?xt=urn:btih:{HEX}&xt=urn:btih:12"),
        ("link: a bad hash before a good one", f"magnet:?xt=urn:btih:12&xt=urn:btih:{HEX}"),
        ("link: v1 and v2", f"magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:{V2_HASH}"),
        ("link: v2 alone", f"magnet:?xt=urn:btmh:{V2_HASH}"),
        ("link: 39 digits", f"magnet:?xt=urn:btih:{HEX[:-1]}"),
        ("link: 40 characters, not hexadecimal", f"magnet:?xt=urn:btih:{'z' * 40}"),
        ("link: a lone percent sign in the name", f"magnet:?xt=urn:btih:{HEX}&dn=100%"),
        ("link: no info-hash", "magnet:?dn=n"),
    ):
        yield Row(what, link.encode())
