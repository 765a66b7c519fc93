"""Labels that are renamed, alternative speeds, lists of addresses, bans, and copies."""

import json
import logging
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context, settings_store
from tests.daemon.fake_port import FakeEngine
from tests.support.swarm import until
from tests.support.torrents import make_torrent
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import PeerLimits
from torrent_engine.daemon.jobs.background import Background
from torrent_engine.daemon.jobs.blocklist import Blocklists, ListSource
from torrent_engine.daemon.jobs.torrent_copies import TorrentCopyFolder
from torrent_engine.daemon.live_settings import apply_live
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.log_lines import JsonLines
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio
LIST = "https://lists.example/a?key=secret"


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    made = make_context(engine)
    lists = Blocklists(tmp_path / "lists", [ListSource(LIST, 3_600.0)], engine.engine)
    lists.prepare()
    made.background = Background(made.state, made.settings_store.merged, lists)
    return made


async def test_a_label_is_renamed_in_its_torrents_too(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    one, two = engine.put(name="a"), engine.put(name="b")
    await context.state.reload()
    context.state.labels.set_labels(one, ["old", "x"])
    context.state.labels.set_labels(two, ["new", "old"])
    answer = await client.patch("/api/v1/labels/old", json={"name": "new"})
    assert answer.status_code == 204
    assert (await client.get("/api/v1/labels")).json()["items"] == [
        {"name": "new", "torrents": 2},
        {"name": "x", "torrents": 1},
    ]
    told = (await client.get(f"/api/v1/torrents/{two}")).json()
    assert told["labels"] == ["new"]
    gone = await client.patch("/api/v1/labels/old", json={"name": "new"})
    assert gone.status_code == 404
    wrong = await client.patch("/api/v1/labels/new", json={"name": "a,b"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "setting_invalid")


async def test_alternative_speeds_are_switched_and_turned_over(
    context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    url = "/api/v1/settings/alt_speed"
    assert (await client.post(url, json={"enabled": True})).json() == {"enabled": True}
    assert context.background is not None
    assert context.background.speeds.is_on
    assert context.settings().limits.alt_enabled
    assert (await client.post(url)).json() == {"enabled": False}
    assert (await client.post(url)).json() == {"enabled": True}
    assert (await client.post(url, json={"enabled": True})).json() == {"enabled": True}
    assert (await client.post(url, json={"enabled": 3})).status_code == 422


async def test_lists_of_addresses_are_told_without_secrets_and_fetched_on_request(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    assert context.background is not None
    engine.engine.lists[LIST] = b"some:192.0.2.0-192.0.2.255\n"
    await context.background.lists.update()
    told = (await client.get("/api/v1/blocklist")).json()
    assert told["rules"] == told["lists"][0]["rules"] == 1
    assert told["lists"][0]["url"] == "https://lists.example/a?***"
    assert told["lists"][0]["error"] is None
    assert (await client.post("/api/v1/blocklist/update")).status_code == 202
    assert context.background.lists.due_in_s() == 0.0
    context.background = None
    assert (await client.get("/api/v1/blocklist")).json() == {"rules": 0, "lists": []}
    assert (await client.post("/api/v1/blocklist/update")).status_code == 409


async def test_bans_hold_in_the_next_process_until_their_end(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    one = engine.put(name="a")
    await context.state.reload()
    for body in ({"address": "192.0.2.1"}, {"address": "192.0.2.2", "seconds": 60}):
        answer = await client.post(f"/api/v1/torrents/{one}/peers/ban", json=body)
        assert answer.status_code == 204
    engine.engine.banned.clear()
    now_at = [0.0]
    table = context.state.store.table("bans")
    ends_at = table.get("192.0.2.2")
    state = DaemonState(engine.port, context.state.store, wall_clock=lambda: now_at[0])
    now_at[0] = ends_at - 30.0
    await state.reload()
    assert engine.engine.banned["192.0.2.1"] is None
    assert engine.engine.banned["192.0.2.2"] in {29, 30}
    engine.engine.banned.clear()
    now_at[0] = ends_at
    await state.reload()
    assert list(engine.engine.banned) == ["192.0.2.1"]
    assert "192.0.2.2" not in table


async def test_a_copy_of_each_torrent_is_kept_if_a_folder_is_named(
    engine: FakeEngine, tmp_path: Path
) -> None:
    folder = [""]
    copies = TorrentCopyFolder(engine.port, lambda: folder[0])
    engine.port.events.subscribe(copies.take)
    one, _ = make_torrent(b"1" * 10, name="one")
    two, _ = make_torrent(b"2" * 10, name="two")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(copies.run)
        await engine.engine.add(one, AddOptions())
        folder[0] = str(tmp_path / "copies")
        await engine.engine.add(two, AddOptions())
        path = tmp_path / "copies" / f"{two.info_hash}.torrent"
        await until(path.exists)
        tasks.cancel_scope.cancel()
    assert Metainfo.from_bytes(path.read_bytes()).info_hash == two.info_hash
    assert len(list(path.parent.iterdir())) == 1


async def test_limits_of_peers_and_encryption_change_at_once(engine: FakeEngine) -> None:
    store = settings_store()
    changes = {"limits.peers": 70, "network.encryption": "required"}
    change = store.change(changes, "test")
    assert (change.live, change.restart) == (frozenset(changes), frozenset())
    apply_live(engine.port, store.now, change)
    assert engine.engine.peers == PeerLimits(70, store.now.limits.peers_per_torrent)
    assert ("set_encryption", ("required",)) in engine.calls


async def test_a_proxy_may_pass_whole_paths_on(engine: FakeEngine) -> None:
    context = make_context(engine, rules=GuardRules(root_path="/torrents", hsts_s=60))
    async with client_of(context) as client:
        assert (await client.get("/torrents/api/v1")).status_code == 200
        assert (await client.get("/api/v1")).status_code == 200
        assert (await client.get("/torrentsapi/v1")).status_code == 404
        led = await client.get("/torrents/api/v1/torrents/")
        assert (led.status_code, led.headers["location"]) == (308, "/torrents/api/v1/torrents")
        assert "strict-transport-security" not in led.headers
        safe = await client.get("https://127.0.0.1:9091/api/v1")
    assert safe.headers["strict-transport-security"] == "max-age=60"


def test_records_of_the_log_are_lines_of_json() -> None:
    error = ValueError("bad\nvalue")
    kind = (ValueError, error, None)
    record = logging.LogRecord("a.b", logging.ERROR, __file__, 1, "it %s\n", ("failed",), kind)
    line = JsonLines().format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["logger"], told["message"]) == ("error", "a.b", "it failed\n")
    assert told["error"].endswith("ValueError: bad\nvalue")
    assert told["time"].endswith("Z")
