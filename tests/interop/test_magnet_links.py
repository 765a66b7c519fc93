"""Links that libtorrent writes say the same to us, and ours to it."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from tests.support.processes import missing
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.codec.magnet import Magnet

pytestmark = pytest.mark.interop

HASH = InfoHash(bytes(range(20)))
START = f"magnet:?xt=urn:btih:{HASH.hex()}"
LINKS = {
    "hash": START,
    "base32": "magnet:?xt=urn:btih:AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT",
    "name": f"{START}&dn=The+old%20film%2B%E2%82%AC.mkv",
    "trackers": f"{START}&tr=http%3A%2F%2Ft%2Fa%3Fb%3D1%26c&tr.1=udp%3A%2F%2Fu%3A80&tr=udp://u:81",
    "web_seeds": f"{START}&ws=http://w/a%2520b&ws=https%3A%2F%2Fw%2Fc%2F",
    "peers": f"{START}&x.pe=10.0.0.1:6881&x.pe=[2001:db8::1]:6882",
    "files": f"{START}&so=0,2,4-6",
    "hybrid": f"magnet:?xt=urn:btmh:1220{'ab' * 32}&xt=urn:btih:{HASH.hex()}",
}


@pytest.fixture(scope="module")
def libtorrent() -> Any:
    if importlib.util.find_spec("libtorrent") is None:
        missing("libtorrent is not installed (PyPI package libtorrent)")
    return importlib.import_module("libtorrent")


def said_by(parameters: Any) -> Magnet:
    """Return what libtorrent understood."""
    wanted = tuple(i for i, priority in enumerate(parameters.file_priorities) if priority)
    hashes = parameters.info_hashes
    return Magnet(
        InfoHash(hashes.v1.to_bytes()),
        info_hash_v2=InfoHashV2(hashes.v2.to_bytes()) if hashes.has_v2() else None,
        name=parameters.name or None,
        trackers=tuple(parameters.trackers),
        web_seeds=tuple(parameters.url_seeds),
        peers=tuple(parameters.peers),
        selected_files=wanted or None,
    )


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_bep9_libtorrent_reads_a_link_as_we_do(link: str, libtorrent: Any) -> None:
    ours = Magnet.parse(link)
    assert said_by(libtorrent.parse_magnet_uri(link)) == ours
    assert said_by(libtorrent.parse_magnet_uri(str(ours))) == ours


@pytest.mark.parametrize("name", sorted(LINKS))
def test_bep9_we_read_what_libtorrent_writes(name: str, libtorrent: Any) -> None:
    link = libtorrent.make_magnet_uri(libtorrent.parse_magnet_uri(LINKS[name]))
    assert Magnet.parse(link) == Magnet.parse(LINKS[name])


def test_bep9_the_link_of_a_torrent_is_the_same(libtorrent: Any) -> None:
    tiers = (("http://a/announce",), ("udp://b:1",))
    metainfo, _ = make_torrent(payload_of(9), name="x y", tiers=tiers, web_seeds=["http://w/"])
    info = libtorrent.torrent_info(libtorrent.bdecode(metainfo.source))
    ours = replace(Magnet.of(metainfo), total_bytes=None)
    assert Magnet.parse(libtorrent.make_magnet_uri(info)) == ours
    assert said_by(libtorrent.parse_magnet_uri(str(Magnet.of(metainfo)))) == ours
