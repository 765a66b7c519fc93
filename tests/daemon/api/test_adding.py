"""Torrents that are added by requests of every kind, over a fake engine."""

import base64
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine, info_hash_of
from tests.support.torrents import make_torrent
from torrent_engine.base.errors import SessionError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.state.labels import Category

pytestmark = pytest.mark.anyio
URL = "/api/v1/torrents"
INSPECT = "/api/v1/torrents/inspect"
TORRENT = {"Content-Type": "application/x-bittorrent"}
ONE, _ = make_torrent({"a/b": b"1" * 40_000, "c": b"2" * 10}, tiers=[["http://t.example/announce"]])
TWO, _ = make_torrent(b"3" * 100, name="two")


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    return make_context(engine, roots=[tmp_path])


def magnet(number: int) -> str:
    return f"magnet:?xt=urn:btih:{info_hash_of(number)}&dn=m{number}"


async def test_a_magnet_link_is_added_once(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    answer = await client.post(URL, json={"source": magnet(1)})
    told = answer.json()
    assert (answer.status_code, told["existing"], told["name"]) == (201, False, "m1")
    assert answer.headers["location"] == f"{URL}/{info_hash_of(1)}"
    assert (await client.get(answer.headers["location"])).json()["name"] == "m1"
    again = await client.post(URL, json={"source": magnet(1)})
    assert (again.status_code, again.json()["existing"]) == (200, True)
    bare = await client.post(URL, json={"source": str(info_hash_of(2))})
    assert bare.json()["hash"] == str(info_hash_of(2))
    assert len(engine.order) == 2


async def test_bep46_a_link_to_a_public_key_is_looked_up(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    link = "magnet:?xs=urn:btpk:" + "ab" * 32
    unknown = await client.post(URL, json={"source": link})
    assert unknown.json()["code"] == "url_failed"
    engine.sources[link] = Magnet.parse(magnet(3))
    answer = await client.post(URL, json={"source": link})
    assert (answer.status_code, answer.json()["hash"]) == (201, str(info_hash_of(3)))


async def test_a_torrent_file_is_added_in_three_ways(client: httpx2.AsyncClient) -> None:
    data = ONE.to_bytes()
    source = {"torrent": base64.b64encode(data).decode()}
    assert (await client.post(URL, json={"source": source})).status_code == 201
    raw = await client.post(URL, content=data, headers=TORRENT)
    assert (raw.status_code, raw.json()["hash"]) == (200, str(ONE.info_hash))
    files = [
        ("torrent", ("one.torrent", data)),
        ("torrent", ("two.torrent", TWO.to_bytes())),
        ("torrent", ("bad.torrent", b"no torrent")),
    ]
    form = await client.post(URL, files=files)
    assert form.status_code == 201
    assert [each["existing"] for each in form.json()["added"]] == [True, False]
    (failed,) = form.json()["failed"]
    assert (failed["name"], failed["code"]) == ("bad.torrent", "torrent_invalid")
    assert (await client.post(URL, files=files[2:])).json()["added"] == []


async def test_options_reach_the_engine(
    engine: FakeEngine, client: httpx2.AsyncClient, context: DaemonContext, tmp_path: Path
) -> None:
    context.state.labels.put_category(Category("films", str(tmp_path / "films"), seed_ratio=2.0))
    body = {
        "source": {"torrent": base64.b64encode(ONE.to_bytes()).decode()},
        "category": "films",
        "labels": ["x", "y"],
        "paused": True,
        "position": 0,
        "priority": 2,
        "file_priorities": {"0": 7},
        "files_wanted": [0],
        "sequential": True,
        "skip_check": True,
        "limits": {"download_bytes_per_s": 5, "peer_limit": 9},
        "rename": "shown",
        "owner": {"id": "tab", "generation": 3},
        "trackers": ["http://u.example/announce"],
        "peers": [{"host": "192.0.2.1", "port": 1}],
    }
    engine.put(name="other")
    answer = await client.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    told = (await client.get(answer.json()["links"]["self"])).json()
    assert told["save_path"] == str(tmp_path / "films")
    assert (told["name"], told["category"], told["labels"]) == ("shown", "films", ["x", "y"])
    assert (told["status"], told["queue_position"], told["priority"]) == ("paused", 0, 2)
    assert told["limits"] == {
        "download_bytes_per_s": 5,
        "upload_bytes_per_s": 0,
        "peer_limit": 9,
    }
    assert told["seed_rules"]["ratio"] == 2.0
    assert told["owner"] == {"id": "tab", "generation": 3}
    assert [each.priority for each in engine.torrents[ONE.info_hash].files] == [7, 0]
    assert told["sequential"] is True


async def test_a_torrent_with_a_tracker_that_is_none_is_not_added(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    source = {"torrent": base64.b64encode(ONE.to_bytes()).decode()}
    answer = await client.post(URL, json={"source": source, "trackers": ["u.example"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "url_refused")
    assert not engine.torrents


async def test_options_of_a_raw_torrent_are_in_the_query(
    engine: FakeEngine, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    query = {
        "save_path": str(tmp_path),
        "labels": "x,y",
        "paused": "true",
        "files_wanted": "1",
        "limits": '{"upload_bytes_per_s":7}',
    }
    answer = await client.post(URL, content=ONE.to_bytes(), headers=TORRENT, params=query)
    assert answer.status_code == 201, answer.text
    told = (await client.get(answer.json()["links"]["self"])).json()
    assert (told["save_path"], told["labels"], told["status"]) == (
        str(tmp_path),
        ["x", "y"],
        "paused",
    )
    assert told["limits"]["upload_bytes_per_s"] == 7
    assert [each.priority for each in engine.torrents[ONE.info_hash].files] == [0, 4]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "input_invalid"),
        ({"source": ""}, "input_invalid"),
        ({"source": "relative/path.torrent"}, "input_invalid"),
        ({"source": 1}, "input_invalid"),
        ({"source": {"torrent": "!"}}, "torrent_invalid"),
        ({"source": {"torrent": "ZGVm"}}, "torrent_invalid"),
        ({"source": "magnet:?dn=x"}, "magnet_invalid"),
        ({"source": "http://t.example/none"}, "url_failed"),
        ({"source": "/etc/passwd"}, "file_not_found"),
        ({"source": magnet(1), "extra": 1}, "input_invalid"),
        ({"source": magnet(1), "save_path": "/etc"}, "path_not_allowed"),
        ({"source": magnet(1), "category": "none such"}, "setting_invalid"),
        ({"source": magnet(1), "labels": ["a,b"]}, "setting_invalid"),
        ({"source": magnet(1), "seed_rules": {"ratio": -1}}, "setting_invalid"),
        ({"source": magnet(1), "paused": 1}, "input_invalid"),
        ({"source": magnet(1), "file_priorities": {"0": 8}}, "input_invalid"),
    ],
)
async def test_what_cannot_be_added_is_a_problem(
    engine: FakeEngine, client: httpx2.AsyncClient, body: Any, code: str
) -> None:
    answer = await client.post(URL, json=body)
    assert answer.json()["code"] == code, answer.text
    assert 400 <= answer.status_code < 600
    assert engine.order == []


@pytest.mark.parametrize(
    "query", [{"paused": "maybe"}, {"files_wanted": "x"}, {"nonsense": "1"}, {"limits": "[" * 9999}]
)
async def test_a_query_that_cannot_be_is_a_problem(
    engine: FakeEngine, client: httpx2.AsyncClient, query: dict[str, str]
) -> None:
    answer = await client.post(URL, content=ONE.to_bytes(), headers=TORRENT, params=query)
    assert answer.json()["code"] == "input_invalid"
    assert engine.order == []


async def test_a_file_of_the_server_is_read_only_below_allowed_folders(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    ONE.write(tmp_path / "a.torrent")
    (tmp_path / "link.torrent").symlink_to("/etc/passwd")
    answer = await client.post(URL, json={"source": str(tmp_path / "a.torrent")})
    assert answer.json()["hash"] == str(ONE.info_hash)
    refused = [
        (await client.post(URL, json={"source": path})).text
        for path in (
            "/etc/passwd",
            "/etc/none",
            str(tmp_path / "none"),
            str(tmp_path / "link.torrent"),
        )
    ]
    assert len(set(refused)) == 1


async def test_a_url_is_fetched_from_the_public_internet_only(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    engine.sources["https://t.example/one.torrent"] = ONE
    body = {"source": "https://t.example/one.torrent", "cookies": "a=b"}
    assert (await client.post(URL, json=body)).status_code == 201
    (_, (_, options)) = next(call for call in engine.calls if call[0] == "fetch_torrent")
    assert (options.allow_private, options.cookies) == (False, "a=b")


async def test_a_request_with_a_key_counts_once(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await client.post(URL, json={"source": magnet(1)}, headers=key)
    again = await client.post(URL, json={"source": magnet(1)}, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len([call for call in engine.calls if call[0] == "add"]) == 1
    other = await client.post(URL, json={"source": magnet(2)}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    long = await client.post(
        URL, json={"source": magnet(2)}, headers={"Idempotency-Key": "k" * 256}
    )
    assert long.status_code == 400


async def test_what_failed_is_carried_out_again(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "k1"}
    engine.failures["add"] = SessionError("there are 3 torrents already")
    first = await client.post(URL, json={"source": magnet(1)}, headers=key)
    assert (first.status_code, first.json()["code"]) == (409, "state_conflict")
    del engine.failures["add"]
    assert (await client.post(URL, json={"source": magnet(1)}, headers=key)).status_code == 201


async def test_an_owner_that_moved_on_adds_nothing(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    engine.port.engine.advance_owner("tab", 5)
    old = await client.post(URL, json={"source": magnet(1)}, headers={"TE-Owner": "tab;gen=4"})
    assert (old.status_code, old.json()["code"]) == (409, "owner_changed")
    now = await client.post(URL, json={"source": magnet(1)}, headers={"TE-Owner": "tab;gen=5"})
    assert now.status_code == 201
    wrong = await client.post(URL, json={"source": magnet(1)}, headers={"TE-Owner": "tab"})
    assert wrong.status_code == 400


async def test_a_torrent_is_looked_at_without_being_added(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(INSPECT, content=ONE.to_bytes(), headers=TORRENT)
    told = answer.json()
    assert answer.status_code == 200, answer.text
    assert [each["path"] for each in told["files"]] == ["payload/a/b", "payload/c"]
    assert (told["total_bytes"], told["exists"], told["has_metadata"]) == (40_010, False, True)
    assert told["trackers"] == [["http://t.example/announce"]]
    assert told["free_bytes"] > 0
    told = (await client.post(INSPECT, json={"source": magnet(4)})).json()
    assert (told["name"], told["files"], told["has_metadata"]) == ("m4", None, False)
    told = (await client.post(INSPECT, files=[("t", ("two", TWO.to_bytes()))])).json()
    assert told["name"] == "two"
    assert engine.order == []


async def test_adding_is_refused_with_another_type_of_body(client: httpx2.AsyncClient) -> None:
    answer = await client.post(URL, content=b"x", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
