"""Each row of docs/tolerance.md, as far as it is about this package, and what bounds the cost."""

import gzip
import tracemalloc
import zlib
from hashlib import sha1, sha256

import pytest

from tests.support.odd_torrents import GOOD, HEX, V2_HASH, Row, magnets, torrent, torrents
from tests.support.tolerance_table import DOCUMENT, NO, ours, read_table
from torrent_engine.base.config import BencodeLimits, torrent_limits
from torrent_engine.base.errors import (
    BencodeError,
    ConfigError,
    MetainfoError,
)
from torrent_engine.codec import tolerant
from torrent_engine.codec.bencode import BencodeLimitError, decode, encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.tolerant import correct, decode_reply

DOCUMENTED = read_table(DOCUMENT.read_text())
ROWS = {row.what: row for row in (*torrents(), *magnets())}
LIMITS = BencodeLimits()


def test_the_document_has_all_rows_and_no_others() -> None:
    assert list(DOCUMENTED) == list(ROWS)


@pytest.mark.parametrize("what", ROWS)
def test_a_row_says_what_becomes_of_it_here(what: str) -> None:
    assert ours(ROWS[what]) == DOCUMENTED[what]["torrent_engine"]


LOADED = [
    row for row in torrents() if row.kept_info and DOCUMENTED[row.what]["torrent_engine"] != NO
]  # fmt: skip


@pytest.mark.parametrize("row", LOADED, ids=lambda row: row.what)
def test_bep3_the_info_hash_is_over_the_bytes_as_received(row: Row) -> None:
    metainfo, info = Metainfo.from_bytes(row.data), row.info
    assert info is not None
    assert metainfo.info_bytes == info
    digest = sha1 if metainfo.info_hash_v1 else sha256
    assert metainfo.info_hash == digest(info).digest()[:20]
    again = Metainfo.from_bytes(metainfo.to_bytes())
    assert (again.info_hash, again.files, again.tiers) == (
        metainfo.info_hash,
        metainfo.files,
        metainfo.tiers,
    )
    fetched = Metainfo.from_info_bytes(info)
    assert (fetched.info_hash, fetched.files) == (metainfo.info_hash, metainfo.files)


def test_what_stands_behind_a_torrent_is_not_written_again() -> None:
    assert Metainfo.from_bytes(torrent(GOOD) + b"\n").to_bytes() == torrent(GOOD)


@pytest.mark.parametrize(
    "link", [row for row in magnets() if ours(row) != NO], ids=lambda r: r.what
)
def test_bep9_all_links_that_load_name_the_same_torrent(link: Row) -> None:
    named = V2_HASH[4:44] if link.what == "link: v2 alone" else HEX
    assert Magnet.parse(link.data.decode()).info_hash.hex() == named


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("an HTML page", "an HTML page"),
        ("an empty file", "an empty file"),
        ("gzipped and cut short", "gzip file that is cut short"),
        ("101 MiB long", "more than 104857600"),
        ("length twice, different", "duplicate dictionary key in a place that is read"),
    ],
)
def test_a_refusal_says_what_is_wrong(row: str, words: str) -> None:
    with pytest.raises((MetainfoError, BencodeError), match=words):
        Metainfo.from_bytes(ROWS[row].data)


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html>",
        b"\xef\xbb\xbf\r\n <!doctype HTML public>",
        b"<HTML lang=en>",
        b"<!-- x --><html>",
        b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>',
        gzip.compress(b"<html><body>403</body></html>", mtime=0),
    ],
    ids=range(6),
)
def test_an_html_page_is_named_as_one(page: bytes) -> None:
    with pytest.raises(MetainfoError, match="HTML page"):
        Metainfo.from_bytes(page)


def test_a_magnet_link_in_the_file_is_named_as_one() -> None:
    with pytest.raises(MetainfoError, match="magnet link"):
        Metainfo.from_bytes(f"magnet:?xt=urn:btih:{HEX}\n".encode())


def test_what_is_no_dictionary_is_called_no_torrent() -> None:
    with pytest.raises(BencodeError, match=r"^no torrent: not a dictionary at byte 0$"):
        Metainfo.from_bytes(b"b.torrent")


# -- gzip ------------------------------------------------------------------------------------------


def test_a_gzip_file_of_several_members_is_one_torrent() -> None:
    data = torrent(GOOD)
    packed = gzip.compress(data[:9]) + gzip.compress(data[9:]) + b"\0\0"
    assert Metainfo.from_bytes(packed).source == data


def test_a_gzip_bomb_is_refused_in_little_memory() -> None:
    limits = torrent_limits(1 << 20)
    bomb = _bomb(200 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(MetainfoError, match="more than 1048576 bytes"):
            Metainfo.from_bytes(bomb, limits=limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_gzip_file_of_endless_empty_members_ends() -> None:
    packed = gzip.compress(b"") * 3_000 + gzip.compress(torrent(GOOD))
    assert Metainfo.from_bytes(packed).name == "n"


def _bomb(size: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(1 << 20)
    parts = [deflater.compress(chunk) for _ in range(size >> 20)]
    return b"".join((*parts, deflater.flush()))


@pytest.mark.parametrize("at", [0, 3, 12, 40, -1])
def test_a_damaged_gzip_file_is_refused(at: int) -> None:
    packed = bytearray(gzip.compress(torrent(GOOD), mtime=0))
    packed[at] ^= 0xFF
    with pytest.raises((MetainfoError, BencodeError)):
        Metainfo.from_bytes(bytes(packed))


# -- correction ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "corrected"),
    [
        (b"de", b"de"),
        (b"d1:bi1e1:ai2ee", b"d1:bi1e1:ai2ee"),
        (b"d1:ai1e1:ai2ee", b"d1:ai1ee"),
        (b"d1:ad1:xi1e1:xi2ee1:ali1eee", b"d1:ad1:xi1eee"),
        (b"d1:ald1:xi1e1:x1:yeee", b"d1:ald1:xi1eeee"),
        (b"d001:a0003:abce", b"d1:a3:abce"),
        (b"d1:ai-0e1:bi-007e1:ci00ee", b"d1:ai0e1:bi-7e1:ci0ee"),
        (b"d1:ai9223372036854775808ee", b"d1:ai9223372036854775807ee"),
        (b"d1:ai-99999999999999999999ee", b"d1:ai-9223372036854775808ee"),
        (b"d1:ai" + b"0" * 5_000 + b"12ee", b"d1:ai12ee"),
        (b"d1:a2:bce and more", b"d1:a2:bce"),
    ],
)
def test_what_is_corrected_is_strict_bencoding(data: bytes, corrected: bytes) -> None:
    found = correct(data, limits=LIMITS)
    assert found.data == corrected
    assert decode(found.data) == decode(corrected)
    assert data[found.end :] in {b"", b" and more"}


def test_spans_count_in_the_bytes_that_were_given() -> None:
    data = b"d1:ai007e1:ai1e004:infod1:xi-0ee1:zlee\n"
    found = correct(data, limits=LIMITS)
    taken = {key: data[start:end] for key, (start, end) in found.spans.items()}
    assert taken == {b"a": b"i007e", b"info": b"d1:xi-0ee", b"z": b"le"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"le",
        b"d",
        b"di1e1:ae",
        b"d1:ae",
        b"d1:ai1e1:be",
        b"dle1:ae",
        b"d1:aiee",
        b"d1:ai--1ee",
        b"d1:ai1",
        b"d1:a5:abce",
        b"d1:a-1:e",
        b"d1:a99999999999999999999:e",
        b"d1:a" + b"l" * 100 + b"e" * 101,
        b"d1:a" + b"9" * 100_000,
    ],
)
def test_what_has_no_clear_structure_is_refused(data: bytes) -> None:
    with pytest.raises(BencodeError):
        correct(data, limits=LIMITS)


def test_a2_limits_of_tokens_and_depth_are_those_of_the_strict_decoder() -> None:
    data = encode({"a": [1, 2, [3]], "b": "x"})
    assert correct(data, limits=BencodeLimits(max_tokens=9)).data == data
    with pytest.raises(BencodeError, match="tokens"):
        correct(data, limits=BencodeLimits(max_tokens=8))
    assert correct(data, limits=BencodeLimits(max_depth=3)).data == data
    with pytest.raises(BencodeError, match="deep"):
        correct(data, limits=BencodeLimits(max_depth=2))


def test_a_long_value_that_comes_twice_is_compared_in_little_memory() -> None:
    value = encode(bytes(4 << 20))
    info = encode(GOOD)
    data = b"d4:info" + info + (b"1:x" + value) * 8 + b"e"
    tracemalloc.start()
    try:
        metainfo = Metainfo.from_bytes(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert metainfo.info_bytes == info
    assert peak < 3 * len(data)


@pytest.mark.parametrize("size", [0, -1, (512 << 20) + 1])
def test_a_limit_for_torrent_files_is_checked_where_it_is_given(size: int) -> None:
    with pytest.raises(ConfigError):
        torrent_limits(size)


@pytest.mark.parametrize("data", [b"d1:al" + b"i1e" * 40 + b"ee", b"d1:a" + b"l" * 9 + b"e" * 10])
def test_a2_what_is_beyond_a_limit_is_not_corrected(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = BencodeLimits(max_depth=8, max_tokens=30, max_bytes=1_000)
    with pytest.raises(BencodeError):
        correct(data, limits=limits)  # it would be in vain
    monkeypatch.setattr(tolerant, "correct", None)
    with pytest.raises(BencodeLimitError):
        decode_reply(data, limits=limits)
