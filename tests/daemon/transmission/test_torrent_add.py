"""Torrents are added by their bytes, links, URLs and paths on the server."""

import base64
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from tests.support.torrents import make_torrent
from torrent_engine.base.errors import MetainfoError, NetworkError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.settings.tables import CategorySettings, TableSettings
from torrent_engine.daemon.state.labels import Category
from torrent_engine.daemon.transmission import torrent_add
from torrent_engine.service.regular_files import read_resolved

pytestmark = pytest.mark.anyio
HASH = "0123456789abcdef0123456789abcdef01234567"
BASE32 = "AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH"
URL = "http://indexer.example/get/1.torrent"


def torrent(name: str = "root", *, is_private: bool = False) -> Metainfo:
    return make_torrent({"a": b"1" * 10, "b": b"2" * 10}, name=name, is_private=is_private)[0]


def encoded(metainfo: Metainfo) -> str:
    return base64.b64encode(metainfo.to_bytes()).decode()


async def test_the_bytes_of_a_torrent_are_added(scene: RpcScene) -> None:
    metainfo = torrent()
    answer = await scene.ask("torrent-add", metainfo=encoded(metainfo))
    told = {"hashString": metainfo.info_hash.hex(), "id": 1, "name": "root"}
    assert answer == {"torrent-added": told}
    assert await scene.field("status", metainfo.info_hash) == 4


async def test_the_newer_dialect_names_it_in_snake_case(scene: RpcScene) -> None:
    metainfo = torrent()
    answer = await scene.call("torrent_add", metainfo=encoded(metainfo))
    told = {"hash_string": metainfo.info_hash.hex(), "id": 1, "name": "root"}
    assert answer == {"torrent_added": told}


async def test_bytes_count_more_than_a_name_and_may_have_line_breaks(scene: RpcScene) -> None:
    text = base64.encodebytes(torrent().to_bytes()).decode()
    answer = await scene.ask("torrent-add", metainfo=text, filename="/not/there")
    assert answer["torrent-added"]["name"] == "root"


@pytest.mark.parametrize(
    "source", [f"magnet:?xt=urn:btih:{HASH}", HASH, HASH.upper(), BASE32, f"  {HASH} "]
)
async def test_links_and_hashes_are_added(scene: RpcScene, source: str) -> None:
    answer = await scene.ask("torrent-add", filename=source)
    assert answer["torrent-added"]["hashString"] == HASH


async def test_the_same_again_is_a_duplicate_and_stays_as_it_is(scene: RpcScene) -> None:
    metainfo = torrent()
    first = await scene.ask("torrent-add", metainfo=encoded(metainfo), paused=True)
    again = await scene.ask("torrent-add", metainfo=encoded(metainfo), paused=False)
    assert again == {"torrent-duplicate": first["torrent-added"]}
    assert await scene.field("status", metainfo.info_hash) == 0


async def test_a_url_is_fetched_with_its_cookies(scene: RpcScene) -> None:
    scene.engine.sources[URL] = torrent()
    answer = await scene.ask("torrent-add", filename=URL, cookies="uid=1; pass=2")
    assert answer["torrent-added"]["name"] == "root"
    _, (url, options) = scene.engine.calls[0]
    assert (url, options.cookies, options.allow_private) == (URL, "uid=1; pass=2", False)


async def test_a_url_may_lead_to_a_link(scene: RpcScene) -> None:
    scene.engine.sources[URL] = Magnet.parse(f"magnet:?xt=urn:btih:{HASH}")
    answer = await scene.ask("torrent-add", filename=URL)
    assert answer["torrent-added"]["hashString"] == HASH


async def test_bep46_a_link_to_a_public_key_is_looked_up(scene: RpcScene) -> None:
    link = "magnet:?xs=urn:btpk:" + "ab" * 32
    scene.engine.sources[link] = Magnet.parse(f"magnet:?xt=urn:btih:{HASH}")
    answer = await scene.ask("torrent-add", filename=link)
    assert answer["torrent-added"]["hashString"] == HASH


async def test_a_url_that_fails_tells_why(scene: RpcScene) -> None:
    error = await scene.error("torrent_add", filename=URL)
    assert (error["code"], error["message"]) == (8, "HTTP error from backend service")
    assert error["data"]["error_string"] == f"Couldn't fetch torrent: {URL}: 404 (404)"
    scene.engine.failures["fetch_torrent"] = NetworkError("no route")
    error = await scene.error("torrent_add", filename=URL)
    assert error["data"]["error_string"] == "Couldn't fetch torrent: no route (0)"
    scene.engine.failures["fetch_torrent"] = MetainfoError("a page")
    assert (await scene.error("torrent_add", filename=URL))["code"] == 9


async def test_a_file_of_the_server_is_added_if_it_is_allowed(
    scene: RpcScene, tmp_path: Path
) -> None:
    path = tmp_path / "x.torrent"
    path.write_bytes(torrent().to_bytes())
    refused = await scene.refused("torrent-add", filename=str(path))
    assert refused == await scene.refused("torrent-add", filename=str(tmp_path / "none"))
    scene.roots.append(str(tmp_path))
    answer = await scene.ask("torrent-add", filename=str(path))
    assert answer["torrent-added"]["name"] == "root"
    assert await scene.refused("torrent-add", filename=str(tmp_path)) == refused


async def test_a_pipe_of_the_server_holds_nobody_up(scene: RpcScene, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.torrent")
    scene.roots.append(str(tmp_path))
    with anyio.fail_after(30):
        refused = await scene.refused("torrent-add", filename=str(tmp_path / "x.torrent"))
    assert refused == "No such file or directory"


async def test_a_link_that_is_planted_after_the_check_is_not_followed(
    scene: RpcScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.torrent"
    inside.mkdir()
    path = inside / "x.torrent"
    for each in (path, outside):
        each.write_bytes(torrent().to_bytes())
    scene.roots.append(str(inside))
    refused = await scene.refused("torrent-add", filename=str(outside))

    def exchanged(where: Path, max_bytes: int) -> bytes:
        path.unlink()
        path.symlink_to(outside)
        return read_resolved(where, max_bytes)

    monkeypatch.setattr(torrent_add, "read_resolved", exchanged)
    assert await scene.refused("torrent-add", filename=str(path)) == refused


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({}, -32602, "no filename or metainfo specified"),
    "empty": ({"filename": "", "metainfo": ""}, -32602, "no filename or metainfo specified"),
    "no_base64": ({"metainfo": "%%%"}, 9, "invalid or corrupt torrent file"),
    "no_torrent": ({"metainfo": "eHl6"}, 9, "invalid or corrupt torrent file"),
    "no_link": ({"filename": "magnet:?xt=urn:nothing"}, 4, "unrecognized info"),
    "relative": ({"filename": "x.torrent"}, 5, "No such file or directory"),
    "relative_folder": (
        {"filename": HASH, "download_dir": "films"},
        3,
        "download directory path is not absolute",
    ),
    "folder": (
        {"filename": HASH, "download_dir": "/etc"},
        -32602,
        "path is outside the allowed folders",
    ),
    "label": ({"filename": HASH, "labels": [""]}, -32602, "labels cannot be empty"),
    "file": ({"metainfo": encoded(torrent()), "files_unwanted": [2]}, 6, ""),
}


@pytest.mark.parametrize(("asked", "code", "text"), WRONG.values(), ids=WRONG)
async def test_what_cannot_be_added_is_an_error(
    scene: RpcScene, asked: dict[str, Any], code: int, text: str
) -> None:
    error = await scene.error("torrent_add", **asked)
    assert error["code"] == code
    assert error.get("data", {}).get("error_string", "").startswith(text)
    assert scene.engine.torrents == {}


async def test_options_are_told(scene: RpcScene) -> None:
    metainfo = torrent()
    await scene.ask(
        "torrent-add",
        metainfo=encoded(metainfo),
        download_dir="/downloads/films",
        paused=True,
        peer_limit=7,
        bandwidthPriority=1,
        sequential_download=True,
        files_unwanted=[0],
        priority_high=[1],
    )
    key = metainfo.info_hash
    told = {
        "download_dir": "/downloads/films",
        "status": 0,
        "peer_limit": 7,
        "bandwidth_priority": 1,
        "sequential_download": True,
        "wanted": [False, True],
        "priorities": [0, 1],
    }
    assert {name: await scene.field(name, key) for name in told} == told


async def test_labels_go_to_the_engine_with_the_torrent(scene: RpcScene) -> None:
    await scene.ask("torrent-add", filename=HASH, labels=["b", "a"])
    _, (_, options) = scene.engine.calls[0]
    assert options.labels == ("b", "a")


async def test_files_of_a_link_wait_for_the_metadata(scene: RpcScene) -> None:
    await scene.ask("torrent-add", filename=HASH, files_unwanted=[1], priority_low=[2])
    _, (_, options) = scene.engine.calls[0]
    assert options.file_priorities == {1: 0, 2: 1}


async def test_settings_count_where_nothing_is_said(scene: RpcScene) -> None:
    tracker = "https://tracker.example/announce"
    values = {"adding.paused": True, "adding.sequential": True, "adding.trackers": [tracker]}
    scene.settings.change(values, "test")
    public, private = torrent("public"), torrent("private", is_private=True)
    for each in (public, private):
        await scene.ask("torrent-add", metainfo=encoded(each))
        assert await scene.field("status", each.info_hash) == 0
        assert await scene.field("sequential_download", each.info_hash) is True
    assert await scene.field("tracker_list", public.info_hash) == tracker
    assert await scene.field("tracker_list", private.info_hash) == ""
    await scene.ask("torrent-add", filename=HASH, paused=False)
    result = await scene.call("torrent_get", ids=[HASH], fields=["status"])
    assert result["torrents"] == [{"status": 4}]


async def test_the_folder_of_a_category_counts_for_its_label(scene: RpcScene) -> None:
    scene.settings.tables = TableSettings(
        category=(CategorySettings("sonarr", "tv"), CategorySettings("radarr", "/other/films"))
    )
    for label, folder in (("sonarr", "/downloads/tv"), ("radarr", "/other/films")):
        metainfo = torrent(label)
        await scene.ask("torrent-add", metainfo=encoded(metainfo), labels=[label])
        assert await scene.field("download_dir", metainfo.info_hash) == folder
    scene.state.labels.put_category(Category("sonarr", "", 5_000, seed_ratio=2.0))
    metainfo = torrent("limited")
    await scene.ask("torrent-add", metainfo=encoded(metainfo), labels=["sonarr"])
    assert await scene.field("download_limit", metainfo.info_hash) == 5
    assert await scene.field("seed_ratio_limit", metainfo.info_hash) == 2.0
    metainfo = torrent("own")
    asked = {"metainfo": encoded(metainfo), "labels": ["sonarr"]}
    await scene.ask("torrent-add", **asked, download_dir="/downloads")
    assert await scene.field("download_dir", metainfo.info_hash) == "/downloads"
