"""Torrents that are added: sources, options, and what cannot be."""

import math
from typing import Any

import pytest

from tests.daemon.qbittorrent.web_api_scene import MAGNET, MAGNET_HASH, WebApiScene, torrent_of
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, SeedRules
from torrent_engine.service.add_options import AddOptions, StopAfter

pytestmark = pytest.mark.anyio
URL = "https://indexer.example/one.torrent"


async def add_file(scene: WebApiScene, name: str = "root", **data: Any) -> str:
    files = {"torrents": (f"{name}.torrent", torrent_of(name).to_bytes())}
    answer = await scene.ask("POST", "torrents/add", data=data, files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def options_of(scene: WebApiScene) -> AddOptions:
    """Return the options of the last torrent that was added."""
    calls = [arguments for name, arguments in scene.engine.calls if name == "add"]
    options = calls[-1][1]
    assert isinstance(options, AddOptions)
    return options


async def test_links_urls_and_files_are_added(scene: WebApiScene) -> None:
    scene.engine.sources[URL] = torrent_of("fetched")
    assert await scene.post("torrents/add", urls=f"{MAGNET}\r\n\n {URL} \n") == "Ok."
    assert await add_file(scene) == "Ok."
    names = {each["name"] for each in await scene.get("torrents/info")}
    assert names == {"linked", "fetched", "root"}


async def test_a_torrent_that_is_there_fails_and_stays_as_it_is(scene: WebApiScene) -> None:
    assert await add_file(scene) == "Ok."
    assert await add_file(scene, category="other", stopped="true") == "Fails."
    (told,) = await scene.get("torrents/info")
    assert (told["category"], told["state"]) == ("", "stalledDL")


@pytest.mark.parametrize(
    "urls",
    ["nonsense", "magnet:?xt=urn:btih:zz", "https://gone.example/x", "file:///etc/passwd", "/etc"],
)
async def test_what_leads_to_no_torrent_fails(scene: WebApiScene, urls: str) -> None:
    assert await scene.post("torrents/add", urls=urls) == "Fails."
    assert await scene.get("torrents/count") == 0


async def test_a_file_that_is_no_torrent_is_refused_before_others_are_added(
    scene: WebApiScene,
) -> None:
    for data in (b"nothing", b"", b"d4:infod0:0:ee", b"\xff" * 99):
        files = [
            ("torrents", ("good.torrent", torrent_of().to_bytes())),
            ("torrents", ("bad.torrent", data)),
        ]
        answer = await scene.ask("POST", "torrents/add", files=files)
        assert answer.status_code == 415
        assert "bad.torrent" in answer.text
    assert await scene.get("torrents/count") == 0


@pytest.mark.parametrize("data", [{}, {"urls": ""}, {"urls": " \n "}, {"category": "x"}])
async def test_nothing_to_add_is_a_bad_request(scene: WebApiScene, data: dict[str, str]) -> None:
    assert await scene.refused("torrents/add", **data) == 400
    assert await scene.refused("torrents/add", urls="x\n" * 1_001) == 400


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"stopped": "true"}, {"paused": True}),
        ({"paused": "true"}, {"paused": True}),
        ({"stopped": "false", "paused": "true"}, {"paused": False}),
        ({"savepath": "/downloads/x"}, {"save_path": "/downloads/x"}),
        ({"savepath": "below"}, {"save_path": "/downloads/below"}),
        ({"tags": "a, b,,a"}, {"labels": ("a", "b")}),
        ({"rename": " new\nname "}, {"rename": "new name"}),
        ({"upLimit": "2000", "dlLimit": "-1"}, {"max_upload_bytes_per_s": 2_000}),
        ({"upLimit": "NaN", "dlLimit": "1000"}, {"max_download_bytes_per_s": 1_000}),
        ({"sequentialDownload": "true"}, {"sequential": True}),
        ({"addToTopOfQueue": "true"}, {"position": 0}),
        ({"stopCondition": "MetadataReceived"}, {"stop_after": StopAfter.METADATA}),
        ({"stopCondition": "FilesChecked"}, {"stop_after": StopAfter.CHECK}),
        ({"stopCondition": "None"}, {"stop_after": None}),
        ({"category": ""}, {"category": None, "save_path": "/downloads"}),
    ],
    ids=str,
)
async def test_options(
    scene: WebApiScene, said: dict[str, str], expected: dict[str, object]
) -> None:
    assert await scene.post("torrents/add", urls=MAGNET, **said) == "Ok."
    options = options_of(scene)
    assert {name: getattr(options, name) for name in expected} == expected


async def test_rules_for_the_end_of_seeding_are_those_of_the_request(scene: WebApiScene) -> None:
    await scene.post(
        "torrents/add",
        urls=MAGNET,
        ratioLimit="1.5",
        seedingTimeLimit="10",
        inactiveSeedingTimeLimit="-1",
    )
    key = InfoHash.parse(MAGNET_HASH)
    rules = scene.engine.torrents[key].facts.settings.seed_rules
    assert rules == SeedRules(1.5, 600.0, math.inf)


async def test_unknown_category_is_made_and_decides_where_files_go(scene: WebApiScene) -> None:
    await scene.post("torrents/createCategory", category="tv", savePath="series")
    await scene.post("torrents/add", urls=MAGNET, category="tv")
    assert options_of(scene).save_path == "/downloads/series"
    await add_file(scene, category="new")
    assert set(await scene.get("torrents/categories")) == {"tv", "new"}
    assert options_of(scene).save_path == "/downloads"
    await add_file(scene, "third", category="tv", savepath="/other/x")
    assert options_of(scene).save_path == "/other/x"


async def test_switches_are_set_after_a_torrent_was_added(scene: WebApiScene) -> None:
    await add_file(scene, forced="true", firstLastPiecePrio="true", autoTMM="true", tags="x")
    (told,) = await scene.get("torrents/info")
    assert (told["force_start"], told["f_l_piece_prio"], told["auto_tmm"]) == (True, True, True)
    assert (told["state"], told["tags"]) == ("forcedDL", "x")
    assert await scene.get("torrents/tags") == ["x"]


@pytest.mark.parametrize("path", ["/etc", "/downloads/../etc", "../x", "\0", "/other/../root"])
async def test_a_folder_that_is_not_allowed_is_refused(scene: WebApiScene, path: str) -> None:
    assert await scene.refused("torrents/add", urls=MAGNET, savepath=path) == 409
    assert await scene.get("torrents/count") == 0


@pytest.mark.parametrize("name", ["/a", "a/", "a//b", "a\\b", "x" * 256, "\x1b[31m"])
async def test_a_category_that_cannot_be_one_is_refused(scene: WebApiScene, name: str) -> None:
    assert await scene.refused("torrents/add", urls=MAGNET, category=name) == 409
    assert await scene.get("torrents/count") == 0


async def test_a_stopped_torrent_that_is_forced_stays_stopped(scene: WebApiScene) -> None:
    await add_file(scene, forced="true", stopped="true")
    (told,) = await scene.get("torrents/info")
    assert told["state"] == "stoppedDL"
    assert scene.engine.torrents[InfoHash.parse(told["hash"])].facts.progress.state is (
        EngineState.PAUSED
    )
