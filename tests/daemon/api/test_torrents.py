"""Lists of torrents, one torrent, and what is done to them, over a fake engine."""

import base64
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.errors import (
    DiskFullError,
    FileInUseError,
    StateTransitionError,
    StorageError,
)
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.daemon.api.torrent_fields import LISTED, TORRENT_FIELDS
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState, ErrorKind
from torrent_engine.daemon.state.labels import Category

pytestmark = pytest.mark.anyio
URL = "/api/v1/torrents"


def put(engine: FakeEngine, name: str, **facts: Any) -> InfoHash:
    return engine.put(name=name, **facts)


async def names(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(URL, params={"fields": "name", **query})
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["items"]]


async def test_a_torrent_has_its_listed_fields_with_their_types(engine: FakeEngine) -> None:
    one = put(
        engine,
        "a",
        state=EngineState.DOWNLOADING,
        total_bytes=100,
        wanted_bytes=80,
        completed_bytes=20,
        download_bytes_per_s=5,
        added_at=1_700_000_000.25,
        piece_count=4,
    )
    async with client_of(make_context(engine)) as client:
        answer = await client.get(URL)
    told = answer.json()
    (item,) = told["items"]
    assert set(item) == set(LISTED)
    assert item["hash"] == one.hex()
    assert item["status"] == "downloading"
    assert item["progress"] == 0.25
    assert item["left_bytes"] == 60
    assert item["added_at"] == "2023-11-14T22:13:20.250Z"
    assert item["completed_at"] is None
    assert item["eta_s"] is None
    assert item["error"] is None
    assert (told["total"], told["next"]) == (1, None)
    assert answer.headers["etag"] == f'W/"{told["rev"]}"'


async def test_one_torrent_has_all_fields(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    one = put(engine, "a", state=EngineState.ERROR, error="disk full", error_kind=ErrorKind.DISK)
    await context.state.reload()
    answer = await client.get(f"{URL}/{one}")
    assert set(answer.json()) == set(TORRENT_FIELDS)
    assert answer.json()["error"] == {"kind": "disk", "message": "disk full"}
    again = await client.get(f"{URL}/{one}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get(f"{URL}/{'0' * 40}")).json()["code"] == "torrent_not_found"
    assert (await client.get(f"{URL}/zzz")).status_code == 404


async def test_filters_choose_and_sorting_orders(engine: FakeEngine) -> None:
    put(engine, "Beta", state=EngineState.SEEDING, save_path="/d/x", total_bytes=5)
    put(engine, "alpha", state=EngineState.DOWNLOADING, is_private=True, total_bytes=5)
    put(engine, "gamma", state=EngineState.STOPPED, save_path="/d/xy", total_bytes=1)
    context = make_context(engine)
    async with client_of(context) as client:
        assert await names(client, sort="name") == ["alpha", "Beta", "gamma"]
        assert await names(client, sort="-total_bytes,name") == ["alpha", "Beta", "gamma"]
        assert await names(client, sort="total_bytes,-name") == ["gamma", "Beta", "alpha"]
        assert await names(client, sort="-id,name") == ["gamma", "alpha", "Beta"]
        assert await names(client, sort="total_bytes,-id,name") == ["gamma", "alpha", "Beta"]
        assert await names(client, q="BET") == ["Beta"]
        assert await names(client, status="seeding,stopped", sort="name") == ["Beta", "gamma"]
        assert await names(client, private="true") == ["alpha"]
        assert await names(client, path="/d/x") == ["Beta"]
        assert await names(client, category="") == ["Beta", "alpha", "gamma"]
        assert await names(client, label="none") == []


async def test_pages_follow_one_another_whatever_is_removed(engine: FakeEngine) -> None:
    hashes = [put(engine, f"t{number:03}", total_bytes=number % 3) for number in range(25)]
    context = make_context(engine)
    async with client_of(context) as client:
        whole = await names(client, sort="-total_bytes", limit=100)
        found: list[str] = []
        query: dict[str, Any] = {"sort": "-total_bytes", "limit": 4, "fields": "name"}
        while True:
            page = (await client.get(URL, params=query)).json()
            found += [each["name"] for each in page["items"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
            if len(found) == 8:  # the torrent that the cursor names goes
                gone = next(h for h in hashes if engine.torrents[h].facts.about.name == found[-1])
                await engine.port.control.remove(gone)
                context.state.look(gone)
    assert found == whole


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "nonsense"},
        {"sort": "name,id,ratio,peers,seeds"},
        {"cursor": "!!"},
        {"cursor": "eyJhIjoxfQ"},
        {"cursor": "W10"},
        {"cursor": base64.urlsafe_b64encode(b"[" * 3_000).decode()},
        {"cursor": "WzEsMiwzXQ"},
        {"status": "flying"},
        {"fields": "name,secret"},
        {"limit": "0"},
        {"limit": "10001"},
    ],
)
async def test_a_query_that_cannot_be_is_a_problem(
    client: httpx2.AsyncClient, query: dict[str, str]
) -> None:
    answer = await client.get(URL, params=query)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


async def test_nothing_is_sent_again_that_the_client_has(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    one = put(engine, "a")
    context.state.look(one)
    etag = (await client.get(URL)).headers["etag"]
    assert (await client.get(URL, headers={"If-None-Match": etag})).status_code == 304
    engine.change(one, name="b")
    context.state.look(one)
    assert (await client.get(URL, headers={"If-None-Match": etag})).status_code == 200


SIMPLE = ["start", "start_now", "pause", "stop", "recheck", "reannounce"]


@pytest.mark.parametrize("action", SIMPLE)
async def test_an_action_reaches_the_engine(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext, action: str
) -> None:
    one = put(engine, "a")
    context.state.look(one)
    answer = await client.post(f"{URL}/{one}/{action}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (action, one) in [(name, arguments[0]) for name, arguments in engine.calls]


async def test_actions_on_many_say_what_failed(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    both = [put(engine, "a"), put(engine, "b")]
    await context.state.reload()
    ids = [both[0].hex(), "0" * 40, both[1].hex().upper()]
    answer = await client.post(f"{URL}/actions", json={"action": "pause", "ids": ids})
    assert answer.status_code == 200
    assert answer.json() == {
        "done": 2,
        "failed": [{"id": "0" * 40, "code": "torrent_not_found", "detail": "no such torrent"}],
    }
    engine.failures["recheck"] = StateTransitionError("it is moving")
    answer = await client.post(f"{URL}/actions", json={"action": "recheck", "all": True})
    assert answer.json()["done"] == 0
    assert {each["code"] for each in answer.json()["failed"]} == {"state_conflict"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageError("/films/a", "Permission denied"), 409, "io_error"),
        (FileInUseError("/films/a", b"b" * 20), 409, "file_exists"),
        (DiskFullError("/films/a", "no space left"), 507, "not_enough_space"),
    ],
)
async def test_errors_of_the_disk_have_codes_of_their_own(
    engine: FakeEngine,
    client: httpx2.AsyncClient,
    context: DaemonContext,
    error: StorageError,
    status: int,
    code: str,
) -> None:
    key = put(engine, "a").hex()
    await context.state.reload()
    engine.failures["remove"] = error
    answer = await client.delete(f"{URL}/{key}", params={"delete_files": True})
    told = answer.json()
    assert (answer.status_code, told["code"], told["detail"]) == (status, code, str(error))


@pytest.mark.parametrize(
    "body",
    [
        {"action": "pause"},
        {"action": "pause", "ids": [], "all": True},
        {"action": "pause", "all": False},
        {"action": "fly", "all": True},
        {"action": "pause", "all": 1},
        {"action": "pause", "all": True, "extra": 1},
        {"action": "pause", "ids": "all"},
        [],
    ],
)
async def test_no_action_means_all_by_accident(
    engine: FakeEngine, client: httpx2.AsyncClient, body: Any
) -> None:
    put(engine, "a")
    answer = await client.post(f"{URL}/actions", json=body)
    assert answer.status_code == 422
    assert engine.calls == []


async def test_several_torrents_keep_their_order_in_the_queue(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    hashes = [put(engine, name) for name in "abcd"]
    await context.state.reload()
    ids = [hashes[2].hex(), hashes[3].hex()]
    await client.post(f"{URL}/actions", json={"action": "queue_top", "ids": ids})
    assert await names(client, sort="queue_position") == ["c", "d", "a", "b"]
    await client.put(f"{URL}/{hashes[0]}/position", json={"position": 3})
    assert await names(client, sort="queue_position") == ["c", "d", "b", "a"]


@pytest.mark.parametrize("position", [-1, 2**31, 2**70, 1.5, "1"])
async def test_no_place_in_the_queue_is_out_of_range(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext, position: Any
) -> None:
    one = put(engine, "a")
    context.state.look(one)
    answer = await client.put(f"{URL}/{one}/position", json={"position": position})
    assert answer.json()["code"] == "input_invalid"
    assert engine.calls == []


async def test_labels_and_categories_are_set(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    one = put(engine, "a")
    await context.state.reload()
    context.state.labels.put_category(Category("films"))
    body = {"action": "set_labels", "all": True, "args": {"labels": ["x", "y"]}}
    assert (await client.post(f"{URL}/actions", json=body)).json()["done"] == 1
    body = {"action": "set_category", "all": True, "args": {"category": "films"}}
    assert (await client.post(f"{URL}/actions", json=body)).json()["done"] == 1
    assert await names(client, label="y", category="films") == ["a"]
    wrong = await client.patch(f"{URL}/{one}", json={"category": "none such"})
    assert wrong.status_code == 400
    assert await names(client, category="films") == ["a"]


async def test_a_patch_changes_what_it_names(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    one = put(engine, "a")
    await context.state.reload()
    patch = {
        "name": "shown",
        "labels": ["l"],
        "limits": {"upload_bytes_per_s": 1000},
        "seed_rules": {"ratio": "never", "idle_s": 60},
        "sequential": True,
        "priority": 3,
    }
    told = (await client.patch(f"{URL}/{one}", json=patch)).json()
    assert (told["name"], told["labels"], told["priority"]) == ("shown", ["l"], 3)
    assert told["limits"] == {
        "download_bytes_per_s": 0,
        "upload_bytes_per_s": 1000,
        "peer_limit": 0,
    }
    assert told["seed_rules"] == {"ratio": "never", "time_s": None, "idle_s": 60}
    assert told["sequential"] is True
    told = (
        await client.patch(f"{URL}/{one}", json={"name": None, "seed_rules": {"ratio": None}})
    ).json()
    assert told["name"] == "a"
    assert told["seed_rules"] == {"ratio": None, "time_s": None, "idle_s": 60}


@pytest.mark.parametrize(
    "patch",
    [
        {"limits": {"upload_bytes_per_s": -1}},
        {"limits": {"upload_bytes_per_s": "1"}},
        {"seed_rules": {"ratio": -1}},
        {"seed_rules": {"ratio": "sometimes"}},
        {"priority": 10**9},
        {"labels": ["a,b"]},
        {"hash": "0" * 40},
    ],
)
async def test_a_patch_that_cannot_be_changes_nothing(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext, patch: dict[str, Any]
) -> None:
    one = put(engine, "a")
    await context.state.reload()
    before = (await client.get(f"{URL}/{one}")).json()
    answer = await client.patch(f"{URL}/{one}", json=patch)
    assert answer.status_code in {400, 422}
    assert (await client.get(f"{URL}/{one}")).json() == before


async def test_a_torrent_is_removed_with_its_files(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext
) -> None:
    one = put(engine, "a")
    await context.state.reload()
    assert (await client.delete(f"{URL}/{one}", params={"delete_files": "true"})).status_code == 204
    assert engine.removed[one].is_deleted
    assert (await client.get(f"{URL}/{one}")).status_code == 404


async def test_bep52_a_hybrid_is_found_and_changed_by_either_hash(engine: FakeEngine) -> None:
    one, v2 = put(engine, "a"), InfoHashV2(bytes(range(32)))
    engine.change(one, info_hash_v1=one, info_hash_v2=v2)
    plain = put(engine, "b")
    async with client_of(make_context(engine)) as client:
        for text in (str(one), str(v2.truncated), str(v2)):
            told = (await client.get(f"{URL}/{text}")).json()
            assert (told["hash"], told["name"]) == (str(one), "a")
            assert (told["info_hash_v1"], told["info_hash_v2"]) == (str(one), str(v2))
        told = (await client.get(f"{URL}/{plain}")).json()
        assert (told["info_hash_v1"], told["info_hash_v2"]) == (str(plain), None)
        assert (await client.get(f"{URL}/{'0' * 64}")).status_code == 404
        answer = await client.delete(f"{URL}/{v2}")
        assert answer.status_code < 300
    assert one not in engine.torrents
