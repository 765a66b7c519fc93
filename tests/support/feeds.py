"""Torrents with a feed (BEP 39), in several versions of one originator."""

from functools import cache

from tests.support.signers import make_certificate, signing_key
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.certificates import Certificate
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.signatures import sign_torrent

URL = "http://feed.example/next"
WITH_A_THIRD_FILE = 100
"""The first version that has one."""
KEPT = payload_of(50_000)


@cache
def originator() -> Certificate:
    return make_certificate("com.example")


def files_of(number: int) -> dict[str, bytes]:
    """Return the files of a version: one that all have, and one that is always another."""
    files = {"kept.bin": KEPT, "news.bin": payload_of(40_000, number)}
    return {**files, "zz.bin": b"z"} if number >= WITH_A_THIRD_FILE else files


def version(number: int, url: str = URL, *, originator: str | None = "own") -> Metainfo:
    """Return a version, unsigned, of the same name and with the same feed."""
    metainfo, _ = make_torrent(files_of(number))
    info = decode(metainfo.info_bytes)
    assert isinstance(info, dict)
    info[b"update-url"] = url.encode()
    if originator:
        info[b"originator"] = _der()
    return Metainfo.from_bytes(encode({"info": info}))


def signed_version(number: int, url: str = URL) -> Metainfo:
    return sign_torrent(version(number, url), signing_key(), originator())


def _der() -> bytes:
    return originator().der
