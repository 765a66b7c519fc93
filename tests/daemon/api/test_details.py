"""Files, pieces, peers, trackers and web seeds of a torrent, over a fake engine."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.api.torrent_files import runs_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import JobFacts, PeerFacts
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
SECRET = "http://t.example/0123456789abcdef0123456789abcdef/announce"
ONE, _ = make_torrent(
    {"a/b.mkv": b"1" * 40_000, "c": b"2" * 10}, tiers=[[SECRET], ["http://u.example/a"]]
)


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    engine.put(metainfo=ONE)
    return make_context(engine, roots=[tmp_path])


def token_of(context: DaemonContext, scopes: Sequence[Scope]) -> dict[str, str]:
    _, secret = context.authenticator.tokens.make("limited", scopes)
    return {"Authorization": f"Bearer {secret}"}


URL = f"/api/v1/torrents/{ONE.info_hash}"


async def test_files_are_told(client: httpx2.AsyncClient) -> None:
    first, second = (await client.get(f"{URL}/files")).json()["items"]
    assert (first["path"], first["size_bytes"], first["priority"]) == ("payload/a/b.mkv", 40_000, 4)
    assert (first["first_piece"], first["end_piece"]) == (0, 3)
    assert first["stream"] == f"/stream/{ONE.info_hash}/0/b.mkv"
    assert second["media_type"] == "application/octet-stream"


async def test_files_get_priorities_and_paths(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    body = [{"index": 1, "priority": 0}, {"index": 0, "path": "payload/x.mkv"}]
    answer = await client.patch(f"{URL}/files", json=body)
    assert answer.status_code == 200, answer.text
    told = [(each["path"], each["priority"]) for each in answer.json()["items"]]
    assert told == [("payload/x.mkv", 4), ("payload/c", 0)]
    wrong = [{"index": 0, "priority": 7}, {"index": 2, "priority": 7}]
    answer = await client.patch(f"{URL}/files", json=wrong)
    assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")
    assert engine.torrents[ONE.info_hash].files[0].priority == 4


async def test_a_file_may_have_any_number(client: httpx2.AsyncClient) -> None:
    answer = await client.patch(f"{URL}/files", json=[{"index": 250_000, "priority": 0}])
    assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")


@pytest.mark.parametrize(
    "body", [{}, [{}], [{"index": -1}], [{"index": 0, "priority": 8}], [{"index": 0, "path": ""}]]
)
async def test_a_change_of_files_that_cannot_be_is_a_problem(
    client: httpx2.AsyncClient, body: Any
) -> None:
    assert (await client.patch(f"{URL}/files", json=body)).status_code == 422


async def test_folders_are_renamed(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{URL}/rename", json={"from": "payload/a", "to": "payload/z"})
    assert answer.status_code == 204
    assert (await client.get(f"{URL}/files")).json()["items"][0]["path"] == "payload/z/b.mkv"


async def test_a_magnet_link_has_no_files_yet(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    key = engine.put(name="m")
    context.state.look(key)
    url = f"/api/v1/torrents/{key}"
    assert (await client.get(f"{url}/files")).json() == {"items": []}
    for answer in (
        await client.patch(f"{url}/files", json=[{"index": 0, "priority": 1}]),
        await client.get(f"{url}/torrent_file"),
        await client.post(f"{url}/rename", json={"from": "a", "to": "b"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "no_metadata_yet")


async def test_pieces_are_bits_or_runs(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    engine.torrents[ONE.info_hash].pieces = b"\xc0"
    answer = await client.get(f"{URL}/pieces")
    assert (answer.content, answer.headers["content-type"]) == (b"\xc0", "application/octet-stream")
    etag = {"If-None-Match": answer.headers["etag"]}
    assert (await client.get(f"{URL}/pieces", headers=etag)).status_code == 304
    told = (await client.get(f"{URL}/pieces?format=runs", headers=etag)).json()
    assert told == {"piece_count": 3, "runs": [[1, 2], [0, 1]]}
    engine.torrents[ONE.info_hash].availability = (0, 300, 2)
    assert (await client.get(f"{URL}/availability")).content == bytes([0, 255, 2])


def test_runs_cover_all_pieces() -> None:
    assert runs_of(b"", 0) == []
    assert runs_of(b"", 5) == [[0, 5]]
    assert runs_of(b"\xff\x80", 9) == [[1, 9]]
    assert runs_of(b"\xa0", 4) == [[1, 1], [0, 1], [1, 1], [0, 1]]


async def test_the_torrent_file_is_an_attachment(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    odd, _ = make_torrent(b"x", name='é"\r\nX: y')
    engine.put(metainfo=odd)
    context.state.look(odd.info_hash)
    answer = await client.get(f"/api/v1/torrents/{odd.info_hash}/torrent_file")
    assert answer.content == odd.to_bytes()
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=")
    assert "\n" not in disposition
    assert "x" not in answer.headers


async def test_secrets_are_for_whoever_controls(
    context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    reader = token_of(context, [Scope.READ])
    whole = (await client.get(f"{URL}/trackers")).json()["items"]
    hidden = (await client.get(f"{URL}/trackers", headers=reader)).json()["items"]
    assert whole[0]["url"] == SECRET
    assert "0123456789" not in hidden[0]["url"]
    assert hidden[1]["url"] == "http://u.example/a"
    data = (await client.get(f"{URL}/torrent_file", headers=reader)).content
    assert Metainfo.from_bytes(data).info_hash == ONE.info_hash
    assert b"0123456789" not in data
    assert (await client.put(f"{URL}/trackers", json=[], headers=reader)).status_code == 403


async def test_f11_a_torrent_file_is_written_in_a_thread(
    context: DaemonContext, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, write = list[int](), Metainfo.to_bytes

    def noting(torrent: Metainfo) -> bytes:
        threads.append(threading.get_ident())
        return write(torrent)

    monkeypatch.setattr(Metainfo, "to_bytes", noting)
    for scopes in ([Scope.READ], [Scope.READ, Scope.CONTROL]):
        token = token_of(context, scopes)
        assert (await client.get(f"{URL}/torrent_file", headers=token)).status_code == 200
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_trackers_are_replaced_if_they_are_those_that_were_read(
    engine: FakeEngine, client: httpx2.AsyncClient
) -> None:
    etag = (await client.get(f"{URL}/trackers")).headers["etag"]
    tiers = [["http://a.example/1", "http://b.example/2"], ["http://c.example/3"]]
    answer = await client.put(f"{URL}/trackers", json=tiers, headers={"If-Match": etag})
    assert answer.status_code == 200
    assert [(each["tier"], each["url"]) for each in answer.json()["items"]] == [
        (0, "http://a.example/1"),
        (0, "http://b.example/2"),
        (1, "http://c.example/3"),
    ]
    late = await client.put(f"{URL}/trackers", json=[], headers={"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert len(engine.torrents[ONE.info_hash].facts.settings.trackers) == 2


@pytest.mark.parametrize(
    "url", ["a", "ftp://t.example/", "http://t.example/a b\n", "udp://t.example"]
)
async def test_what_is_no_url_of_a_tracker_is_refused(
    client: httpx2.AsyncClient, engine: FakeEngine, url: str
) -> None:
    before = engine.torrents[ONE.info_hash].facts.settings.trackers
    for answer in (
        await client.post(f"{URL}/trackers", json={"url": url}),
        await client.put(f"{URL}/trackers", json=[["http://t.example/announce", url]]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "url_refused")
    assert engine.torrents[ONE.info_hash].facts.settings.trackers == before


async def test_a_tracker_is_added_and_removed(client: httpx2.AsyncClient) -> None:
    body = {"url": "http://v.example/a", "tier": 0}
    answer = await client.post(f"{URL}/trackers", json=body)
    assert answer.status_code == 201
    assert (await client.post(f"{URL}/trackers", json=body)).status_code == 200
    (found,) = (each for each in answer.json()["items"] if each["url"] == body["url"])
    assert found["tier"] == 0
    assert (await client.delete(f"{URL}/trackers/{found['id']}")).status_code == 204
    urls = [each["url"] for each in (await client.get(f"{URL}/trackers")).json()["items"]]
    assert body["url"] not in urls
    assert (await client.delete(f"{URL}/trackers/99")).status_code == 404


async def test_web_seeds_are_added_and_removed(client: httpx2.AsyncClient) -> None:
    url = "http://w.example/files/"
    assert (await client.post(f"{URL}/web_seeds", json={"url": url})).status_code == 201
    assert (await client.post(f"{URL}/web_seeds", json={"url": url})).status_code == 200
    assert [e["url"] for e in (await client.get(f"{URL}/web_seeds")).json()["items"]] == [url]
    assert (await client.delete(f"{URL}/web_seeds", params={"url": url})).status_code == 204
    assert (await client.delete(f"{URL}/web_seeds", params={"url": url})).status_code == 404


async def test_peers_are_told_and_added(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    peer = PeerFacts("192.0.2.1", 6881, client="X", download_bytes_per_s=1.6)
    engine.torrents[ONE.info_hash].peers = [peer]
    (told,) = (await client.get(f"{URL}/peers")).json()["items"]
    assert (told["host"], told["client"], told["download_bytes_per_s"]) == ("192.0.2.1", "X", 2)
    body = {"host": "192.0.2.2", "port": 1}
    assert (await client.post(f"{URL}/peers", json=body)).status_code == 204
    assert ("add_peer", (ONE.info_hash, "192.0.2.2", 1)) in engine.calls
    assert (await client.post(f"{URL}/peers", json={"host": "x", "port": 0})).status_code == 422


async def test_an_address_is_banned(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    body = {"address": "192.0.2.7", "seconds": 60}
    assert (await client.post(f"{URL}/peers/ban", json=body)).status_code == 204
    assert ("ban", ("192.0.2.7", 60)) in engine.calls
    wrong = await client.post(f"{URL}/peers/ban", json={"address": "host.example"})
    assert wrong.json()["code"] == "setting_invalid"


async def test_files_are_moved_below_allowed_folders(
    engine: FakeEngine, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.post(f"{URL}/move", json={"path": str(tmp_path / "x")})
    assert (answer.status_code, answer.json()) == (200, {"done": True, "job": None})
    assert (await client.get(URL)).json()["save_path"] == str(tmp_path / "x")
    body = {"path": str(tmp_path), "move_data": False}
    assert (await client.post(f"{URL}/move", json=body)).status_code == 200
    assert ("set_save_path", (ONE.info_hash, str(tmp_path))) in engine.calls
    refused = await client.post(f"{URL}/move", json={"path": "/etc"})
    assert refused.json()["code"] == "path_not_allowed"
    assert (await client.delete(f"{URL}/move")).status_code == 409


async def test_a_long_move_is_a_job(
    engine: FakeEngine,
    client: httpx2.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def move(info_hash: InfoHash, path: str) -> None:
        engine.put_job(JobFacts("j1", "move", "running", info_hash))
        await anyio.sleep_forever()

    monkeypatch.setattr("torrent_engine.daemon.api.torrent_files.MOVE_WAIT_S", 0.01)
    monkeypatch.setattr(engine.port.control, "move", move)
    answer = await client.post(f"{URL}/move", json={"path": str(tmp_path)})
    assert (answer.status_code, answer.json()) == (202, {"done": False, "job": "j1"})
    assert answer.headers["location"] == "/api/v1/jobs/j1"
    facts = engine.torrents[ONE.info_hash].facts
    engine.torrents[ONE.info_hash].facts = replace(
        facts, progress=replace(facts.progress, is_moving=True)
    )
    assert (await client.delete(f"{URL}/move")).status_code == 204
