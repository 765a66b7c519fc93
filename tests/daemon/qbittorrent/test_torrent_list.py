"""The list of torrents: its fields in every state, filters, order and pages."""

import math
import threading
from typing import Any

import pytest

from tests.daemon.qbittorrent.web_api_scene import NO_HASH, TRACKER, WebApiScene
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.facts import (
    EngineState,
    ErrorKind,
    Limits,
    PeerFacts,
    SeedRules,
    TrackerFacts,
    TrackerSummary,
)
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
S = EngineState
COMPLETE: dict[str, Any] = {"completed_bytes": 200_001, "wanted_bytes": 200_001}
STATES: dict[str, tuple[dict[str, Any], str]] = {
    "downloading": ({"state": S.DOWNLOADING, "download_bytes_per_s": 9}, "downloading"),
    "stalled_download": ({"state": S.DOWNLOADING}, "stalledDL"),
    "forced_download": ({"state": S.DOWNLOADING, "is_forced": True}, "forcedDL"),
    "stopped": ({"state": S.STOPPED}, "stoppedDL"),
    "stopped_complete": ({"state": S.STOPPED, **COMPLETE}, "stoppedUP"),
    "paused": ({"state": S.PAUSED, "is_paused_by_user": True}, "stoppedDL"),
    "finished": ({"state": S.STOPPED, "stop_reason": "ratio", **COMPLETE}, "stoppedUP"),
    "checking": ({"state": S.CHECKING}, "checkingDL"),
    "checking_complete": ({"state": S.CHECKING, **COMPLETE}, "checkingUP"),
    "check_queued": (
        {"state": S.PAUSED, "is_held": True, "paused_state": S.CHECKING},
        "checkingResumeData",
    ),
    "download_queued": (
        {"state": S.PAUSED, "is_held": True, "paused_state": S.DOWNLOADING},
        "queuedDL",
    ),
    "seed_queued": (
        {"state": S.PAUSED, "is_held": True, "paused_state": S.SEEDING, **COMPLETE},
        "queuedUP",
    ),
    "uploading": ({"state": S.SEEDING, "upload_bytes_per_s": 9, **COMPLETE}, "uploading"),
    "stalled_seed": ({"state": S.SEEDING, **COMPLETE}, "stalledUP"),
    "forced_seed": ({"state": S.SEEDING, "is_forced": True, **COMPLETE}, "forcedUP"),
    "error": ({"state": S.ERROR, "error": "x", "error_kind": ErrorKind.DISK}, "error"),
    "missing": (
        {"state": S.ERROR, "error": "x", "error_kind": ErrorKind.MISSING_FILES},
        "missingFiles",
    ),
    "moving": ({"state": S.SEEDING, "is_moving": True, **COMPLETE}, "moving"),
}


@pytest.mark.parametrize("name", STATES)
async def test_state_is_told_in_the_words_of_qbittorrent(scene: WebApiScene, name: str) -> None:
    facts, word = STATES[name]
    key = scene.put(**facts)
    assert (await scene.torrent(key))["state"] == word


async def test_magnet_without_metadata_is_told_so(scene: WebApiScene) -> None:
    key = scene.engine.put(name="linked", state=S.FETCHING_METADATA)
    told = await scene.torrent(key)
    assert told["state"] == "metaDL"
    assert (told["private"], told["has_metadata"], told["content_path"]) == (None, False, "")
    assert (told["total_size"], told["progress"]) == (-1, 0.0)
    scene.engine.change(key, is_forced=True)
    scene.context.state.look(key)
    assert (await scene.torrent(key))["state"] == "forcedMetaDL"


async def test_fields_of_a_torrent_that_downloads(scene: WebApiScene) -> None:
    key = scene.put(
        state=S.DOWNLOADING,
        download_bytes_per_s=5_000,
        upload_bytes_per_s=7,
        eta_s=60,
        peers=5,
        seeds=2,
        swarm_seeds=20,
        completed_bytes=100_000,
        all_downloaded_bytes=110_000,
        all_uploaded_bytes=55_000,
        ratio=0.5,
        downloading_s=30.5,
        activity_at=1_700_000_100.0,
        limits=Limits(1_000, 2_000),
        is_sequential=True,
        user_data=(("category", "tv"), ("labels", '["a", "b"]')),
        tracker=TrackerSummary("tracker.example", "working"),
    )
    told = await scene.torrent(key)
    expected = {
        "added_on": 1_700_000_000,
        "amount_left": 100_001,
        "category": "tv",
        "completed": 100_000,
        "completion_on": -1,
        "content_path": "/downloads/root",
        "dl_limit": 1_000,
        "dlspeed": 5_000,
        "downloaded": 110_000,
        "downloaded_session": 110_000,
        "eta": 60,
        "hash": key.hex(),
        "last_activity": 1_700_000_100,
        "name": "root",
        "num_complete": 20,
        "num_incomplete": -1,
        "num_leechs": 3,
        "num_seeds": 2,
        "priority": 1,
        "private": False,
        "ratio": 0.5,
        "root_path": "/downloads/root",
        "save_path": "/downloads",
        "seq_dl": True,
        "size": 200_001,
        "tags": "a, b",
        "time_active": 30,
        "total_size": 200_001,
        "tracker": TRACKER,
        "trackers_count": 1,
        "up_limit": 2_000,
        "uploaded": 55_000,
    }
    assert {name: told[name] for name in expected} == expected
    assert told["progress"] == pytest.approx(0.5, abs=0.01)
    assert told["content_path"] != told["save_path"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (SeedRules(), (-2, -2, -2)),
        (SeedRules(1.5, 600.0, 1_200.0), (1.5, 10, 20)),
        (SeedRules(math.inf, math.inf, math.inf), (-1, -1, -1)),
    ],
)
async def test_rules_for_the_end_of_seeding(
    scene: WebApiScene, rules: SeedRules, expected: tuple[float, ...]
) -> None:
    told = await scene.torrent(scene.put(seed_rules=rules))
    names = ("ratio_limit", "seeding_time_limit", "inactive_seeding_time_limit")
    assert tuple(told[name] for name in names) == expected
    general = tuple(-1 if each == -2 else each for each in expected)
    effective = ("max_ratio", "max_seeding_time", "max_inactive_seeding_time")
    assert tuple(told[name] for name in effective) == general


async def test_general_rule_is_effective_where_a_torrent_has_none(scene: WebApiScene) -> None:
    key = scene.put()
    assert (await scene.torrent(key))["max_ratio"] == -1
    await scene.post("app/setPreferences", json='{"max_ratio_enabled": true, "max_ratio": 2.5}')
    told = await scene.torrent(key)
    assert (told["max_ratio"], told["ratio_limit"]) == (2.5, -2)


@pytest.mark.parametrize("ratio", [math.inf, 9_999.0, 1e9])
async def test_ratio_without_an_end_is_minus_one(scene: WebApiScene, ratio: float) -> None:
    assert (await scene.torrent(scene.put(ratio=ratio)))["ratio"] == -1


FILTERS = {
    "all": 4,
    "": 4,
    "downloading": 2,
    "seeding": 1,
    "completed": 2,
    "stopped": 2,
    "paused": 2,
    "running": 2,
    "resumed": 2,
    "active": 1,
    "inactive": 3,
    "stalled": 1,
    "stalled_uploading": 1,
    "stalled_downloading": 0,
    "errored": 0,
    "checking": 0,
    "moving": 0,
    "no such filter": 4,
}


@pytest.mark.parametrize("name", FILTERS)
async def test_filters(scene: WebApiScene, name: str) -> None:
    scene.put("one", state=S.DOWNLOADING, download_bytes_per_s=1)
    scene.put("two", state=S.SEEDING, **COMPLETE)
    scene.put("three", state=S.STOPPED)
    scene.put("four", state=S.STOPPED, **COMPLETE)
    assert len(await scene.get("torrents/info", filter=name)) == FILTERS[name]


async def test_category_tag_private_and_hashes_choose(scene: WebApiScene) -> None:
    one = scene.put("one", user_data=(("category", "tv"), ("labels", '["x"]')))
    two = scene.put("two", is_private=True)

    async def names(**params: Any) -> list[str]:
        return [each["name"] for each in await scene.get("torrents/info", **params)]

    assert await names(category="tv") == ["one"]
    assert await names(category="") == ["two"]
    assert await names(category="none such") == []
    assert await names(tag="x") == ["one"]
    assert await names(tag="") == ["two"]
    assert await names(private="true") == ["two"]
    assert await names(hashes=f"{two.hex()}|{NO_HASH}|nonsense") == ["two"]
    assert sorted(await names(hashes=f"{one.hex().upper()}|{two.hex()}")) == ["one", "two"]


async def test_sort_limit_and_offset(scene: WebApiScene) -> None:
    for number in range(5):
        scene.put(f"name {number}", added_at=1_000.0 - number, all_uploaded_bytes=number % 2)

    async def names(**params: Any) -> str:
        found = await scene.get("torrents/info", **params)
        return "".join(each["name"][-1] for each in found)

    assert await names(sort="name") == "01234"
    assert await names(sort="name", reverse="true") == "43210"
    assert await names(sort="added_on") == "43210"
    assert await names(sort="name", limit=2) == "01"
    assert await names(sort="name", limit=2, offset=1) == "12"
    assert await names(sort="name", offset=-2) == "34"
    assert await names(sort="name", offset=-9, limit=1) == "0"
    assert await names(sort="name", offset=9) == ""
    assert await names(sort="name", limit="x", offset="y") == "01234"
    assert len(await names(sort="private")) == 5
    assert (await scene.ask("GET", "torrents/info?sort=nonsense")).status_code == 400
    assert await scene.get("torrents/count") == 5


async def test_trackers_come_with_the_list_if_asked_for(scene: WebApiScene) -> None:
    scene.put()
    told = await scene.get("torrents/info", includeTrackers="true")
    assert [each["url"] for each in told[0]["trackers"]] == [TRACKER]
    assert "trackers" not in (await scene.get("torrents/info"))[0]


# -- one torrent in detail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *(f"torrents/{name}" for name in ("properties", "files", "trackers", "webseeds")),
        *(f"torrents/{name}" for name in ("pieceStates", "pieceHashes", "export")),
        "torrents/SSLParameters",
        "sync/torrentPeers",
    ],
)
async def test_details_of_an_unknown_torrent_are_not_found(scene: WebApiScene, path: str) -> None:
    for text in (NO_HASH, "", "nonsense", "é" * 40):
        assert (await scene.ask("GET", path, params={"hash": text})).status_code == 404
    assert (await scene.ask("GET", path)).status_code == 400


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
async def test_bep52_a_torrent_is_found_by_either_hash(scene: WebApiScene, make: Any) -> None:
    metainfo = Metainfo.from_bytes(torrent_around(*make({"a": b"12345"})))
    key, v2 = scene.engine.put(metainfo=metainfo), metainfo.info_hash_v2
    assert v2 is not None
    for text in {str(key), str(v2.truncated), str(v2)}:
        told = await scene.get("torrents/properties", hash=text)
        assert told["hash"] == str(key)
        assert told["infohash_v1"] == str(metainfo.info_hash_v1 or "")
        assert told["infohash_v2"] == str(v2)
        assert len(await scene.get("torrents/info", hashes=f"{text}|{key}")) == 1
    plain = await scene.torrent(scene.put())
    assert (plain["infohash_v1"], plain["infohash_v2"]) == (plain["hash"], "")


async def test_properties(scene: WebApiScene) -> None:
    key = scene.put(state=S.SEEDING, seeding_s=20.0, all_uploaded_bytes=400, **COMPLETE)
    told = await scene.get("torrents/properties", hash=key.hex())
    assert told["hash"] == key.hex()
    assert (told["pieces_num"], told["piece_size"]) == (13, 16_384)
    assert (told["dl_limit"], told["up_limit"], told["nb_connections_limit"]) == (-1, -1, 50)
    assert (told["up_speed_avg"], told["seeding_time"], told["time_elapsed"]) == (20, 20, 20)
    assert told["addition_date"] == 1_700_000_000
    assert told["save_path"] == "/downloads"


async def test_files(scene: WebApiScene) -> None:
    key = scene.put()
    told = await scene.get("torrents/files", hash=key.hex())
    assert [each["name"] for each in told] == ["root/a.mkv", "root/sub/b.txt"]
    assert told[0]["piece_range"] == [0, 12]
    assert told[0]["is_seed"] is False
    assert "is_seed" not in told[1]
    assert [each["priority"] for each in told] == [1, 1]
    one = await scene.get("torrents/files", hash=key.hex(), indexes="1")
    assert [each["index"] for each in one] == [1]
    for text in ("2", "-1", "x", "1|9"):
        params = {"hash": key.hex(), "indexes": text}
        assert (await scene.ask("GET", "torrents/files", params=params)).status_code == 409


async def test_trackers_begin_with_what_else_names_peers(scene: WebApiScene) -> None:
    key = scene.put()
    torrent = scene.engine.torrents[key]
    torrent.peers = [PeerFacts("192.0.2.1", 1, source="dht", is_seed=True)]
    torrent.trackers = [
        TrackerFacts(1, TRACKER, 0, "working", seeds=3, leeches=2, downloads=9),
        TrackerFacts(2, "udp://other.example:1/announce", 1, "failed", "no answer"),
    ]
    told = await scene.get("torrents/trackers", hash=key.hex())
    assert [each["url"] for each in told[:3]] == ["** [DHT] **", "** [PeX] **", "** [LSD] **"]
    assert [each["tier"] for each in told] == [-1, -1, -1, 0, 1]
    assert told[0]["num_seeds"] == 1
    assert (told[3]["status"], told[3]["num_seeds"], told[3]["num_downloaded"]) == (2, 3, 9)
    assert (told[4]["status"], told[4]["msg"], told[4]["num_seeds"]) == (4, "no answer", -1)
    scene.engine.change(key, is_private=True)
    told = await scene.get("torrents/trackers", hash=key.hex())
    assert {each["status"] for each in told[:3]} == {0}


async def test_pieces_web_seeds_and_export(scene: WebApiScene) -> None:
    key = scene.put(web_seeds=("https://seed.example/a",))
    scene.engine.torrents[key].pieces = b"\x80\x08"
    states = await scene.get("torrents/pieceStates", hash=key.hex())
    assert states == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    hashes = await scene.get("torrents/pieceHashes", hash=key.hex())
    assert len(hashes) == 13
    assert {len(each) for each in hashes} == {40}
    assert await scene.get("torrents/webseeds", hash=key.hex()) == [
        {"url": "https://seed.example/a"}
    ]
    answer = await scene.ask("GET", "torrents/export", params={"hash": key.hex()})
    metainfo = scene.engine.torrents[key].metainfo
    assert metainfo is not None
    assert answer.content == metainfo.to_bytes()
    _, secret = scene.context.authenticator.tokens.make("t", [Scope.READ])
    scene.client.headers["authorization"] = f"Bearer {secret}"
    answer = await scene.ask("GET", "torrents/export", params={"hash": key.hex()})
    assert Metainfo.from_bytes(answer.content).info_hash == metainfo.info_hash
    assert TRACKER.encode() in metainfo.to_bytes()
    assert TRACKER.encode() not in answer.content
    assert answer.headers["content-type"] == "application/x-bittorrent"


async def test_f11_an_export_is_written_in_a_thread(
    scene: WebApiScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, write = list[int](), Metainfo.to_bytes

    def noting(torrent: Metainfo) -> bytes:
        threads.append(threading.get_ident())
        return write(torrent)

    key = scene.put()
    monkeypatch.setattr(Metainfo, "to_bytes", noting)
    assert (await scene.ask("GET", f"torrents/export?hash={key.hex()}")).status_code == 200
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_what_needs_metadata_is_empty_or_in_conflict_without(scene: WebApiScene) -> None:
    key = scene.engine.put(name="linked").hex()
    for name in ("files", "pieceStates", "pieceHashes"):
        assert await scene.get(f"torrents/{name}", hash=key) == []
    assert (await scene.ask("GET", f"torrents/export?hash={key}")).status_code == 409
    told = await scene.get("torrents/properties", hash=key)
    assert (told["piece_size"], told["pieces_num"], told["total_size"]) == (-1, -1, -1)
