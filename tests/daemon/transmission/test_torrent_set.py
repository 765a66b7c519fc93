"""Settings of torrents: everything is checked before anything is changed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.facts import EngineState, FileFacts, SeedRules
from torrent_engine.daemon.engine_port.user_data import UserData

pytestmark = pytest.mark.anyio
ONE, TWO, THREE = (f"https://tracker.example/{name}/announce" for name in ("one", "two", "three"))


@pytest.fixture
def key(scene: RpcScene) -> InfoHash:
    files = {"a": b"1" * 100, "b": b"2" * 100, "c": b"3" * 40_000}
    metainfo, _ = make_torrent(files, name="root", tiers=[[ONE], [TWO]])
    return scene.put(metainfo=metainfo, state=EngineState.DOWNLOADING)


async def told(scene: RpcScene, key: InfoHash, *names: str) -> list[Any]:
    return [await scene.field(name, key) for name in names]


SIMPLE = {
    "bandwidth_priority": -1,
    "download_limit": 500,
    "download_limited": True,
    "upload_limit": 50,
    "upload_limited": True,
    "group": "slow ones",
    "honors_session_limits": False,
    "labels": ["one", "two"],
    "peer_limit": 33,
    "seed_idle_limit": 45,
    "seed_idle_mode": 1,
    "seed_ratio_limit": 1.25,
    "seed_ratio_mode": 1,
    "sequential_download": True,
    "sequential_download_from_piece": 1,
    "tracker_list": f"{THREE}\n\n{ONE}",
}


@pytest.mark.parametrize(("name", "value"), SIMPLE.items())
async def test_what_is_set_is_told(
    scene: RpcScene, key: InfoHash, name: str, value: object
) -> None:
    assert await scene.call("torrent_set", ids=[1], **{name: value}) == {}
    assert await scene.field(name, key) == value


async def test_everything_at_once_is_told_in_the_older_dialect_too(
    scene: RpcScene, key: InfoHash
) -> None:
    await scene.call("torrent_set", ids=[1], **SIMPLE)
    names = list(SIMPLE)
    answer = await scene.ask("torrent-get", fields=names, format="table")
    assert dict(zip(names, answer["torrents"][1], strict=True)) == SIMPLE
    assert scene.engine.torrents[key].facts.settings.limits.download_bytes_per_s == 500_000


async def test_a_limit_that_is_off_keeps_its_number(scene: RpcScene, key: InfoHash) -> None:
    await scene.call("torrent_set", ids=[1], download_limit=300, download_limited=True)
    await scene.call("torrent_set", ids=[1], download_limited=False)
    assert await told(scene, key, "download_limited", "download_limit") == [False, 300]
    assert scene.engine.torrents[key].facts.settings.limits.download_bytes_per_s == 0
    await scene.call("torrent_set", ids=[1], download_limited=True)
    assert scene.engine.torrents[key].facts.settings.limits.download_bytes_per_s == 300_000
    assert "transmission.download_limit" not in dict(
        scene.engine.torrents[key].facts.settings.user_data
    )


async def test_a_number_alone_does_not_switch_a_limit_on(scene: RpcScene, key: InfoHash) -> None:
    await scene.call("torrent_set", ids=[1], upload_limit=77)
    assert await told(scene, key, "upload_limited", "upload_limit") == [False, 77]


RULES = {
    "general": ({"seed_ratio_mode": 0, "seed_idle_mode": 0}, SeedRules()),
    "own": (
        {"seed_ratio_mode": 1, "seed_ratio_limit": 3, "seed_idle_mode": 1, "seed_idle_limit": 2},
        SeedRules(3.0, None, 120.0),
    ),
    "never": ({"seed_ratio_mode": 2, "seed_idle_mode": 2}, SeedRules(math.inf, None, math.inf)),
}


@pytest.mark.parametrize(("asked", "rules"), RULES.values(), ids=RULES)
async def test_seed_rules_are_general_own_or_never(
    scene: RpcScene, key: InfoHash, asked: dict[str, Any], rules: SeedRules
) -> None:
    await scene.call("torrent_set", ids=[1], seed_ratio_mode=2, seed_idle_mode=1)
    await scene.call("torrent_set", ids=[1], **asked)
    assert scene.engine.torrents[key].facts.settings.seed_rules == rules
    modes = await told(scene, key, "seed_ratio_mode", "seed_idle_mode")
    assert modes == [asked["seed_ratio_mode"], asked["seed_idle_mode"]]


async def test_a_ratio_is_kept_while_the_mode_is_another_one(
    scene: RpcScene, key: InfoHash
) -> None:
    await scene.call("torrent_set", ids=[1], seed_ratio_mode=1, seed_ratio_limit=4.5)
    await scene.call("torrent_set", ids=[1], seed_ratio_mode=0)
    assert await told(scene, key, "seed_ratio_mode", "seed_ratio_limit") == [0, 4.5]


# -- files ----------------------------------------------------------------------------------------

FILES: list[tuple[dict[str, list[int]], list[int], list[int]]] = [
    ({"files_unwanted": [1]}, [1, 0, 1], [0, 0, 0]),
    ({"files_unwanted": []}, [0, 0, 0], [0, 0, 0]),
    ({"files_unwanted": [], "files_wanted": [2]}, [0, 0, 1], [0, 0, 0]),
    ({"priority_high": [0], "priority_low": [2]}, [1, 1, 1], [1, 0, -1]),
    ({"priority_high": []}, [1, 1, 1], [1, 1, 1]),
    ({"priority_high": [], "priority_normal": [1]}, [1, 1, 1], [1, 0, 1]),
    ({"files_unwanted": [0], "priority_high": [0, 1]}, [0, 1, 1], [0, 1, 0]),
]


@pytest.mark.parametrize(("asked", "wanted", "priorities"), FILES)
async def test_files_are_wanted_and_urgent_as_said(
    scene: RpcScene,
    key: InfoHash,
    asked: dict[str, list[int]],
    wanted: list[int],
    priorities: list[int],
) -> None:
    await scene.ask("torrent-set", ids=[1], **asked)
    answer = await scene.ask("torrent-get", fields=["wanted", "priorities"])
    assert answer["torrents"] == [{"wanted": wanted, "priorities": priorities}]
    assert await scene.field("wanted", key) == [bool(each) for each in wanted]


async def test_pad_files_are_not_counted(scene: RpcScene) -> None:
    files: list[dict[str, Any]] = [
        {"length": 100, "path": ["a"]},
        {"length": 28, "path": [".pad", "28"], "attr": "p"},
        {"length": 100, "path": ["b"]},
    ]
    info: dict[str, Any] = {
        "files": files,
        "name": "padded",
        "piece length": 16_384,
        "pieces": bytes(20),
    }
    key = scene.put(metainfo=Metainfo.from_bytes(encode({"info": info})))
    await scene.call("torrent_set", ids=[1], files_unwanted=[1])
    assert scene.engine.calls == [("set_file_priorities", (key, {2: 0}))]
    assert await scene.field("wanted", key) == [True, False]
    assert [each["name"] for each in await scene.field("files", key)] == ["padded/a", "padded/b"]


async def test_what_others_change_meanwhile_stays(
    scene: RpcScene, key: InfoHash, monkeypatch: pytest.MonkeyPatch
) -> None:
    torrents, engine = scene.engine.port.torrents, scene.engine
    files = torrents.files

    async def files_late(info_hash: InfoHash) -> Sequence[FileFacts]:
        found = await files(info_hash)
        limits = engine.torrents[key].facts.settings.limits
        engine.port.settings.set_limits(key, replace(limits, max_peers=7))
        engine.port.settings.set_user_data(key, UserData(category="films").values())
        await engine.port.settings.set_file_priorities(key, {0: 0})
        return found

    monkeypatch.setattr(torrents, "files", files_late)
    await scene.call(
        "torrent_set",
        ids=[1],
        files_unwanted=[1],
        labels=["new"],
        download_limit=5,
        download_limited=True,
    )
    settings = engine.torrents[key].facts.settings
    assert (settings.file_priorities or ())[:2] == (0, 0)
    user = UserData.read(dict(settings.user_data))
    assert (user.category, user.labels) == ("films", ("new",))
    assert (settings.limits.max_peers, settings.limits.download_bytes_per_s) == (7, 5_000)


async def test_a_file_that_is_not_there_is_an_error(scene: RpcScene, key: InfoHash) -> None:
    error = await scene.error("torrent_set", ids=[1], files_unwanted=[0, 3])
    assert (error["code"], error["message"]) == (6, "file index out of range")
    assert await scene.field("wanted", key) == [True, True, True]


# -- trackers -------------------------------------------------------------------------------------


async def tiers(scene: RpcScene, key: InfoHash) -> list[list[str]]:
    return [list(tier) for tier in scene.engine.torrents[key].facts.settings.trackers]


async def test_a_tracker_list_has_lines_and_tiers(scene: RpcScene, key: InfoHash) -> None:
    text = f"\n  {THREE}  \r\n{ONE}\n\n\n\n{TWO}\n{ONE}\n"
    await scene.call("torrent_set", ids=[1], tracker_list=text)
    assert await tiers(scene, key) == [[THREE, ONE], [TWO]]
    assert await scene.field("tracker_list", key) == f"{THREE}\n{ONE}\n\n{TWO}"


@pytest.mark.parametrize("url", ["x", "ftp://a/announce", "https://", "udp://host", "http://a:b/"])
async def test_a_list_with_something_else_changes_nothing(
    scene: RpcScene, key: InfoHash, url: str
) -> None:
    error = await scene.error("torrent_set", ids=[1], tracker_list=f"{THREE}\n{url}")
    assert (error["code"], error["message"]) == (2, "Invalid tracker list")
    assert await tiers(scene, key) == [[ONE], [TWO]]


async def test_trackers_are_added_replaced_and_removed_by_number(
    scene: RpcScene, key: InfoHash
) -> None:
    numbers = [each["id"] for each in await scene.field("trackers", key)]
    await scene.ask("torrent-set", ids=[1], trackerAdd=[THREE])
    assert await tiers(scene, key) == [[ONE], [TWO], [THREE]]
    await scene.ask("torrent-set", ids=[1], trackerReplace=[numbers[0], f"{ONE}?x=1"])
    assert await tiers(scene, key) == [[f"{ONE}?x=1"], [TWO], [THREE]]
    await scene.ask("torrent-set", ids=[1], trackerRemove=[numbers[1]])
    assert await tiers(scene, key) == [[f"{ONE}?x=1"], [THREE]]


WRONG_TRACKERS: dict[str, dict[str, Any]] = {
    "there_already": {"tracker_add": [ONE]},
    "no_url": {"tracker_add": ["nonsense"]},
    "unknown_number": {"tracker_remove": [99]},
    "replaced_unknown": {"tracker_replace": [99, THREE]},
    "replaced_by_one_that_is_there": {"tracker_replace": [0, TWO]},
    "odd_list": {"tracker_replace": [0, THREE, 1]},
    "wrong_order": {"tracker_replace": [THREE, 0]},
}


@pytest.mark.parametrize("asked", WRONG_TRACKERS.values(), ids=WRONG_TRACKERS)
async def test_trackers_that_cannot_be_are_an_error(
    scene: RpcScene, key: InfoHash, asked: dict[str, Any]
) -> None:
    error = await scene.error("torrent_set", ids=[1], **asked)
    assert (error["code"], error["message"]) == (1, "error setting announce list")
    assert await tiers(scene, key) == [[ONE], [TWO]]


# -- what is refused ------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "empty_label": ({"labels": ["a", " "]}, "labels cannot be empty"),
    "comma": ({"labels": ["a,b"]}, "labels cannot contain comma (,) character"),
    "labels_no_list": ({"labels": "a"}, "labels: a list of texts is needed"),
    "priority": ({"bandwidth_priority": 2}, "bandwidth_priority"),
    "negative_limit": ({"download_limit": -1}, "download_limit"),
    "limit_text": ({"download_limit": "x"}, "download_limit: a whole number is needed"),
    "limit_half": ({"download_limit": 1.5}, "download_limit: a whole number is needed"),
    "mode": ({"seed_ratio_mode": 3}, "seed_ratio_mode"),
    "negative_ratio": ({"seed_ratio_limit": -1}, "seed_ratio_limit"),
    "later_piece": (
        {"sequential_download_from_piece": 99},
        "piece to sequentially download from is outside pieces range",
    ),
    "flag": ({"sequential_download": "yes"}, "sequential_download: true or false is needed"),
    "peers": ({"peer_limit": 0}, "peer_limit"),
}


@pytest.mark.parametrize(("asked", "text"), WRONG.values(), ids=WRONG)
async def test_wrong_values_are_refused_before_anything_is_changed(
    scene: RpcScene, key: InfoHash, asked: dict[str, Any], text: str
) -> None:
    before = scene.engine.torrents[key].facts
    good = {"upload_limited": True, "seed_idle_mode": 2, "sequential_download": True}
    error = await scene.error("torrent_set", **{**good, **asked})
    assert error["data"]["error_string"].startswith(text)
    assert scene.engine.torrents[key].facts == before
    assert scene.engine.calls == []


async def test_one_wrong_torrent_keeps_all_from_being_changed(
    scene: RpcScene, key: InfoHash
) -> None:
    scene.put(name="without files")
    error = await scene.error("torrent_set", files_unwanted=[0], labels=["x"])
    assert error["code"] == 6
    assert await scene.field("labels", key) == []


async def test_null_means_nothing(scene: RpcScene, key: InfoHash) -> None:
    nothing = dict.fromkeys(SIMPLE)
    assert await scene.call("torrent_set", ids=[1], location="/x", **nothing) == {}
    assert scene.engine.calls == []
    assert await scene.field("labels", key) == []


async def test_labels_are_trimmed_and_told_once(scene: RpcScene, key: InfoHash) -> None:
    await scene.ask("torrent-set", ids=[1], labels=[" a ", "b", "a", "A"])
    assert await scene.field("labels", key) == ["a", "b", "A"]
    await scene.ask("torrent-set", ids=[1], labels=[])
    assert await scene.field("labels", key) == []


async def test_a_place_in_the_queue_is_set(scene: RpcScene, key: InfoHash) -> None:
    for name in "xyz":
        scene.put(name=name)
    await scene.ask("torrent-set", ids=[1], queuePosition=2)
    assert await scene.field("queue_position", key) == 2
    await scene.ask("torrent-set", ids=[1], queuePosition=99)
    assert await scene.field("queue_position", key) == 3
