"""What is done to torrents: life, queue, limits, labels, files, sources."""

import math
from typing import Any

import anyio
import pytest

from tests.daemon.qbittorrent.web_api_scene import NO_HASH, TRACKER, WebApiScene
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, SeedRules
from torrent_engine.daemon.settings.model import QueueSettings

pytestmark = pytest.mark.anyio
S = EngineState
OTHER = "https://other.example/announce"


def called(scene: WebApiScene, name: str) -> list[tuple[Any, ...]]:
    return [arguments for each, arguments in scene.engine.calls if each == name]


NEED_HASHES = [
    *(f"torrents/{name}" for name in ("stop", "start", "pause", "resume", "recheck", "delete")),
    *(f"torrents/{name}" for name in ("reannounce", "topPrio", "bottomPrio", "increasePrio")),
    *(f"torrents/{name}" for name in ("decreasePrio", "toggleSequentialDownload")),
    *(f"torrents/{name}" for name in ("toggleFirstLastPiecePrio", "uploadLimit", "downloadLimit")),
    "torrents/removeTags",
]


@pytest.mark.parametrize("path", NEED_HASHES)
async def test_hashes_are_needed_and_unknown_ones_are_ignored(
    scene: WebApiScene, path: str
) -> None:
    assert await scene.refused(path) == 400
    for hashes in (NO_HASH, "", "nonsense|||", "é", f"{NO_HASH}|all"):
        await scene.post(path, hashes=hashes)


async def test_torrents_are_stopped_and_started_by_both_names(scene: WebApiScene) -> None:
    one, two = scene.put("one", state=S.DOWNLOADING), scene.put("two", state=S.DOWNLOADING)
    for stop, start in (("stop", "start"), ("pause", "resume")):
        await scene.post(f"torrents/{stop}", hashes=f"{one.hex()}|{two.hex()}")
        assert (await scene.torrent(one))["state"] == "stoppedDL"
        await scene.post(f"torrents/{start}", hashes="all")
        assert (await scene.torrent(two))["state"] == "stalledDL"


async def test_force_start_goes_and_comes(scene: WebApiScene) -> None:
    one = scene.put(state=S.STOPPED)
    await scene.post("torrents/setForceStart", hashes=one.hex(), value="true")
    assert (await scene.torrent(one))["state"] == "forcedDL"
    await scene.post("torrents/setForceStart", hashes=one.hex(), value="false")
    assert (await scene.torrent(one))["force_start"] is False
    await scene.post("torrents/setForceStart", hashes=one.hex(), value="true")
    await scene.post("torrents/start", hashes=one.hex())
    assert (await scene.torrent(one))["force_start"] is False
    assert await scene.refused("torrents/setForceStart", hashes=one.hex()) == 400


@pytest.mark.parametrize(("said", "expected"), [("true", True), ("false", False), (None, False)])
async def test_torrents_are_deleted(
    scene: WebApiScene, said: str | None, *, expected: bool
) -> None:
    one = scene.put()
    more = {} if said is None else {"deleteFiles": said}
    await scene.post("torrents/delete", hashes=one.hex(), **more)
    assert await scene.get("torrents/info") == []
    assert scene.engine.removed[one].is_deleted is expected


async def test_recheck_and_reannounce_reach_the_engine(scene: WebApiScene) -> None:
    one, two = scene.put("one", state=S.SEEDING), scene.put("two", state=S.CHECKING)
    await scene.post("torrents/recheck", hashes="all")
    await scene.post("torrents/reannounce", hashes="all")
    assert called(scene, "recheck") == [(one,)]
    assert called(scene, "reannounce") == [(one,), (two,)]


async def test_an_error_of_the_engine_is_a_conflict_and_the_others_go_on(
    scene: WebApiScene,
) -> None:
    scene.put("one", state=S.SEEDING)
    scene.put("two", state=S.SEEDING)
    scene.engine.failures["pause"] = StorageError("/downloads", "the disk is gone")
    answer = await scene.ask("POST", "torrents/stop", data={"hashes": "all"})
    assert (answer.status_code, answer.text) == (409, "/downloads: the disk is gone")
    assert len(called(scene, "pause")) == 2


async def test_places_in_the_queue(scene: WebApiScene) -> None:
    keys = [scene.put(name) for name in "abcd"]

    async def order() -> str:
        found = await scene.get("torrents/info", sort="priority")
        return "".join(each["name"] for each in found)

    async def move(name: str, *chosen: int) -> str:
        await scene.post(f"torrents/{name}", hashes="|".join(keys[at].hex() for at in chosen))
        return await order()

    assert await order() == "abcd"
    assert await move("topPrio", 2, 3) == "cdab"
    assert await move("increasePrio", 0) == "cadb"
    assert await move("decreasePrio", 2) == "acdb"
    assert await move("bottomPrio", 0, 2) == "dbac"


async def test_without_a_queue_places_are_a_conflict() -> None:
    async with WebApiScene(queue=QueueSettings(downloads=0)).open() as scene:
        one = scene.put()
        for name in ("topPrio", "bottomPrio", "increasePrio", "decreasePrio"):
            assert await scene.refused(f"torrents/{name}", hashes=one.hex()) == 409
        assert (await scene.torrent(one))["priority"] == 0


# -- limits ---------------------------------------------------------------------------------------


def rules_of(scene: WebApiScene, key: InfoHash) -> SeedRules:
    return scene.engine.torrents[key].facts.settings.seed_rules


async def test_rules_for_the_end_of_seeding(scene: WebApiScene) -> None:
    one = scene.put()
    path, hashes = "torrents/setShareLimits", one.hex()
    named = {"ratioLimit": "1.5", "seedingTimeLimit": "10", "inactiveSeedingTimeLimit": "-1"}
    await scene.post(path, hashes=hashes, **named)
    assert rules_of(scene, one) == SeedRules(1.5, 600.0, math.inf)
    await scene.post(path, hashes=hashes, ratioLimit="-2", seedingTimeLimit="-1")
    assert rules_of(scene, one) == SeedRules(None, math.inf, math.inf)
    await scene.post(path, hashes=hashes, ratioLimit="0")
    assert rules_of(scene, one).ratio == 0
    assert await scene.refused(path, hashes=hashes) == 400
    for wrong in ("", "x", "nan", "inf", "1e999", "--1"):
        assert await scene.refused(path, hashes=hashes, ratioLimit=wrong) == 400


async def test_rates_of_torrents(scene: WebApiScene) -> None:
    one = scene.put()
    await scene.post("torrents/setUploadLimit", hashes="all", limit="1000")
    await scene.post("torrents/setDownloadLimit", hashes=one.hex(), limit="2000")
    hashes = f"{one.hex()}|{NO_HASH}"
    up = await scene.get("torrents/uploadLimit", hashes=hashes)
    assert up == {one.hex(): 1_000, NO_HASH: -1}
    assert (await scene.get("torrents/downloadLimit", hashes=hashes))[one.hex()] == 2_000
    await scene.post("torrents/setUploadLimit", hashes="all", limit="-1")
    assert (await scene.torrent(one))["up_limit"] == 0
    for wrong in ("", "x", "1.5", "9" * 30):
        assert await scene.refused("torrents/setUploadLimit", hashes="all", limit=wrong) == 400


async def test_switches(scene: WebApiScene) -> None:
    one = scene.put()

    async def switches() -> tuple[bool, ...]:
        told = await scene.torrent(one)
        names = ("seq_dl", "f_l_piece_prio", "super_seeding", "auto_tmm")
        return tuple(told[name] for name in names)

    assert await switches() == (False, False, False, False)
    for expected in (True, False):
        await scene.post("torrents/toggleSequentialDownload", hashes=one.hex())
        await scene.post("torrents/toggleFirstLastPiecePrio", hashes=one.hex())
        value = str(expected).lower()
        await scene.post("torrents/setSuperSeeding", hashes=one.hex(), value=value)
        await scene.post("torrents/setAutoManagement", hashes=one.hex(), enable=value)
        assert await switches() == (expected,) * 4


# -- labels ---------------------------------------------------------------------------------------


async def test_categories(scene: WebApiScene) -> None:
    one = scene.put()
    await scene.post("torrents/createCategory", category="tv", savePath="/downloads/tv")
    await scene.post("torrents/createCategory", category="films")
    assert await scene.get("torrents/categories") == {
        "films": {"name": "films", "savePath": ""},
        "tv": {"name": "tv", "savePath": "/downloads/tv"},
    }
    assert await scene.refused("torrents/createCategory", category="tv") == 409
    assert await scene.refused("torrents/createCategory", category="") == 400
    assert await scene.refused("torrents/createCategory", category="a//b") == 409
    assert await scene.refused("torrents/createCategory", category="x", savePath="/etc") == 409
    await scene.post("torrents/editCategory", category="tv", savePath="series")
    assert (await scene.get("torrents/categories"))["tv"]["savePath"] == "series"
    assert await scene.refused("torrents/editCategory", category="none", savePath="") == 409
    await scene.post("torrents/setCategory", hashes=one.hex(), category="tv")
    assert (await scene.torrent(one))["category"] == "tv"
    assert await scene.refused("torrents/setCategory", hashes="all", category="none") == 409
    await scene.post("torrents/removeCategories", categories="tv\nnone\nfilms")
    assert await scene.get("torrents/categories") == {}
    assert (await scene.torrent(one))["category"] == ""


async def test_tags(scene: WebApiScene) -> None:
    one, two = scene.put("one"), scene.put("two")
    await scene.post("torrents/createTags", tags="a, b,")
    await scene.post("torrents/addTags", hashes=one.hex(), tags="a,c")
    assert await scene.get("torrents/tags") == ["a", "b", "c"]
    await scene.post("torrents/setTags", hashes="all", tags="b,d")
    assert (await scene.torrent(one))["tags"] == "b, d"
    await scene.post("torrents/removeTags", hashes=one.hex(), tags="d")
    await scene.post("torrents/removeTags", hashes=two.hex())
    assert [(await scene.torrent(each))["tags"] for each in (one, two)] == ["b", ""]
    await scene.post("torrents/deleteTags", tags="b,c,none")
    assert await scene.get("torrents/tags") == ["a", "d"]
    assert await scene.refused("torrents/createTags", tags="x" * 300) == 400
    assert await scene.refused("torrents/addTags", hashes="all") == 400


# -- files ----------------------------------------------------------------------------------------


async def test_names_of_torrents(scene: WebApiScene) -> None:
    one = scene.put()
    await scene.post("torrents/rename", hash=one.hex(), name="new\r\nname")
    assert (await scene.torrent(one))["name"] == "new  name"
    assert await scene.refused("torrents/rename", hash=one.hex(), name=" ") == 409
    assert await scene.refused("torrents/rename", hash=NO_HASH, name="x") == 404


async def test_torrents_are_moved_in_the_background(scene: WebApiScene) -> None:
    one, moved = scene.put(), anyio.Event()
    scene.engine.listeners.append(lambda _: moved.set())
    await scene.post("torrents/setLocation", hashes=one.hex(), location="/other/place")
    with anyio.fail_after(30):
        await moved.wait()
    assert called(scene, "move") == [(one, "/other/place")]
    assert (await scene.torrent(one))["save_path"] == "/other/place"
    assert await scene.refused("torrents/setLocation", hashes="all", location="") == 400
    assert await scene.refused("torrents/setLocation", hashes="all", location="/etc") == 409
    assert await scene.refused("torrents/setLocation", hashes="all", location="../..") == 409


async def test_torrents_are_moved_by_the_newer_names_of_parameters_too(scene: WebApiScene) -> None:
    info_hash, moved = scene.put(), anyio.Event()
    scene.engine.listeners.append(lambda _: moved.set())
    moved_to = {"id": info_hash.hex(), "path": "/other/there"}
    assert (await scene.ask("POST", "torrents/setSavePath", data=moved_to)).status_code == 200
    with anyio.fail_after(30):
        await moved.wait()
    assert called(scene, "move") == [(info_hash, "/other/there")]
    for path, status in {"": 400, "/etc": 409}.items():
        refused = {"id": info_hash.hex(), "path": path}
        answer = await scene.ask("POST", "torrents/setSavePath", data=refused)
        assert answer.status_code == status


async def test_priorities_of_files(scene: WebApiScene) -> None:
    one = scene.put()
    path = "torrents/filePrio"
    await scene.post(path, hash=one.hex(), id="0|1", priority="7")
    await scene.post(path, hash=one.hex(), id="1", priority="0")
    assert called(scene, "set_file_priorities") == [(one, {0: 7, 1: 7}), (one, {1: 0})]
    told = await scene.get("torrents/files", hash=one.hex())
    assert [each["priority"] for each in told] == [7, 0]
    for wrong in ("2", "-1", "x", ""):
        assert await scene.refused(path, hash=one.hex(), id="0", priority=wrong) == 400
    assert await scene.refused(path, hash=one.hex(), id="x", priority="1") == 400
    for wrong in ("2", "9" * 40):
        assert await scene.refused(path, hash=one.hex(), id=wrong, priority="1") == 409
    assert await scene.refused(path, hash=NO_HASH, id="0", priority="1") == 404
    magnet = scene.engine.put(name="linked")
    assert await scene.refused(path, hash=magnet.hex(), id="0", priority="1") == 409


async def test_files_and_folders_get_other_names(scene: WebApiScene) -> None:
    one = scene.put()

    async def names() -> list[str]:
        return [each["name"] for each in await scene.get("torrents/files", hash=one.hex())]

    old, new = "root/a.mkv", "root/new.mkv"
    await scene.post("torrents/renameFile", hash=one.hex(), oldPath=old, newPath=new)
    await scene.post("torrents/renameFile", hash=one.hex(), id="1", name="c.txt")
    await scene.post("torrents/renameFolder", hash=one.hex(), oldPath="root/sub", newPath="root/s")
    assert await names() == ["root/new.mkv", "root/s/c.txt"]
    for path in ("renameFile", "renameFolder"):
        for target in ("../x", "/etc/x", "a//b", "a/./b", ""):
            data = {"oldPath": "root/s" if path == "renameFolder" else new, "newPath": target}
            assert await scene.refused(f"torrents/{path}", hash=one.hex(), **data) == 409
        data = {"oldPath": "none", "newPath": "x"}
        assert await scene.refused(f"torrents/{path}", hash=one.hex(), **data) == 409
    assert await names() == ["root/new.mkv", "root/s/c.txt"]


# -- sources --------------------------------------------------------------------------------------


def trackers_of(scene: WebApiScene, key: InfoHash) -> tuple[tuple[str, ...], ...]:
    return scene.engine.torrents[key].facts.settings.trackers


async def test_trackers(scene: WebApiScene) -> None:
    one = scene.put(state=S.SEEDING)
    urls = f"{OTHER}\nnonsense\n\nudp://third.example:1/announce"
    await scene.post("torrents/addTrackers", hash=one.hex(), urls=urls)
    assert trackers_of(scene, one) == ((TRACKER,), (OTHER,), ("udp://third.example:1/announce",))
    path, new = "torrents/editTracker", "https://new.example/announce"
    await scene.post(path, hash=one.hex(), origUrl=OTHER, newUrl=new)
    assert trackers_of(scene, one)[1] == (new,)
    assert called(scene, "reannounce") == [(one,)]
    assert await scene.refused(path, hash=one.hex(), origUrl=OTHER, newUrl=OTHER + "2") == 409
    assert await scene.refused(path, hash=one.hex(), origUrl=new, newUrl=TRACKER) == 409
    assert await scene.refused(path, hash=one.hex(), origUrl=new, newUrl="nonsense") == 400
    assert await scene.refused(path, hash=one.hex(), origUrl=new) == 400
    await scene.post("torrents/removeTrackers", hash=one.hex(), urls=f"{new}|{OTHER}")
    assert len(trackers_of(scene, one)) == 2
    await scene.post("torrents/removeTrackers", hash="*", urls=TRACKER)
    assert trackers_of(scene, one) == (("udp://third.example:1/announce",),)
    assert await scene.refused("torrents/addTrackers", hash=NO_HASH, urls=OTHER) == 404


async def test_web_seeds(scene: WebApiScene) -> None:
    key = scene.put().hex()
    one, two = "http://seed.example/a b/", "https://seed.example/two/"

    async def told() -> list[str]:
        return [each["url"] for each in await scene.get("torrents/webseeds", hash=key)]

    encoded = "http%3A%2F%2Fseed.example%2Fa%20b%2F"
    await scene.post("torrents/addWebSeeds", hash=key, urls=f"{encoded}|{two}")
    assert await told() == [one, two]
    refused = "torrents/addWebSeeds"
    assert await scene.refused(refused, hash=key, urls=f"http://new.example/|{'ftp://x/'}") == 400
    assert await told() == [one, two]
    edited = {"hash": key, "origUrl": encoded}
    await scene.post("torrents/editWebSeed", **edited, newUrl="http://seed.example/new/")
    assert await told() == [two, "http://seed.example/new/"]
    assert await scene.refused("torrents/editWebSeed", **edited, newUrl=one) == 409
    edited["origUrl"] = two
    newer = "http://seed.example/new/"
    assert await scene.refused("torrents/editWebSeed", **edited, newUrl=newer) == 409
    assert await scene.refused("torrents/editWebSeed", **edited, newUrl="nothing") == 400
    await scene.post("torrents/removeWebSeeds", hash=key, urls=f"{two}|http://unknown.example/")
    assert await told() == [newer]
    assert await scene.refused("torrents/removeWebSeeds", hash=NO_HASH, urls=two) == 404


async def test_peers_are_added(scene: WebApiScene) -> None:
    one = scene.put()
    peers = "192.0.2.1:6881|[2001:db8::1]:1|name:1|192.0.2.1|192.0.2.1:0|2001:db8::1:1|:1"
    answer = await scene.ask("POST", "torrents/addPeers", data={"hashes": "all", "peers": peers})
    assert answer.json() == {one.hex(): {"added": 2, "failed": 5}}
    assert called(scene, "add_peer") == [(one, "192.0.2.1", 6881), (one, "2001:db8::1", 1)]
    assert await scene.refused("torrents/addPeers", hashes="all", peers="x|y") == 400
