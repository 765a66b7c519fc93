"""A v2-only torrent that was read for another purpose does not get into a session."""

import pytest

from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.errors import MagnetError, MetainfoError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.torrent_loader import load_torrent
from torrent_engine.net.http.client import HttpClient

TORRENT = torrent_around(v2_info({"a": b"12345", "b": b"1"})[0])


def no_http() -> HttpClient:
    raise AssertionError("nothing is fetched")


@pytest.mark.anyio
async def test_bep52_v2_only_is_refused_in_every_form() -> None:
    metainfo = Metainfo.from_bytes(TORRENT, any_version=True)
    for source in (TORRENT, metainfo):
        with pytest.raises(MetainfoError, match=r"v2-only torrent \(BEP 52\)"):
            await load_torrent(source, no_http)
    for link in (Magnet.of(metainfo), str(Magnet.of(metainfo))):
        with pytest.raises(MagnetError, match=r"v2-only link \(BEP 52\)"):
            await load_torrent(link, no_http)
