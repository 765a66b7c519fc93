"""Deltas: what a client adds up is what there is, whatever it names."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.qbittorrent.web_api_scene import NO_HASH, TRACKER, WebApiScene
from torrent_engine.daemon.engine_port.facts import (
    EngineState,
    ErrorKind,
    PeerFacts,
    TrackerSummary,
)
from torrent_engine.daemon.qbittorrent.sync_points import SyncPoints

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash

pytestmark = pytest.mark.anyio
S = EngineState
MAPS = ("torrents", "categories", "trackers")


class SyncClient:
    """A client that keeps what it was told, as qBittorrent's own page does."""

    def __init__(self, scene: WebApiScene) -> None:
        self.scene = scene
        self.rid: int | None = 0
        self.state: dict[str, Any] = {}

    async def sync(self) -> dict[str, Any]:
        """Ask for a delta, take it, and return it."""
        delta = dict(await self.scene.get("sync/maindata", rid=self.rid))
        self.rid = delta["rid"]
        if delta.get("full_update"):
            self.state = {name: {} for name in (*MAPS, "server_state")} | {"tags": []}
        for name in MAPS:
            self._merge(name, delta.get(name, {}), delta.get(f"{name}_removed", []))
        gone = set(delta.get("tags_removed", []))
        tags = {each for each in self.state["tags"] if each not in gone}
        self.state["tags"] = sorted(tags | set(delta.get("tags", [])))
        self.state["server_state"] |= delta.get("server_state", {})
        return delta

    def _merge(self, name: str, changed: dict[str, Any], removed: list[str]) -> None:
        for key, value in changed.items():
            known = self.state[name].get(key)
            is_map = isinstance(value, dict) and known is not None
            self.state[name][key] = {**known, **value} if is_map else value
        for key in removed:
            del self.state[name][key]


async def test_first_answer_is_full(scene: WebApiScene) -> None:
    one = scene.put()
    await scene.post("torrents/createTags", tags="a")
    await scene.post("torrents/createCategory", category="tv", savePath="tv")
    told = await scene.get("sync/maindata")
    assert told["full_update"] is True
    assert isinstance(told["rid"], int)
    assert told["tags"] == ["a"]
    assert told["categories"] == {"tv": {"name": "tv", "savePath": "tv"}}
    assert told["trackers"] == {TRACKER: [one.hex()]}
    assert list(told["torrents"]) == [one.hex()]
    assert "hash" not in told["torrents"][one.hex()]
    assert told["torrents"][one.hex()]["has_tracker_error"] is False
    state = told["server_state"]
    for name in ("global_ratio", "read_cache_hits", "read_cache_overload", "write_cache_overload"):
        assert isinstance(state[name], str)
    assert (state["refresh_interval"], state["use_subcategories"]) == (1_500, False)
    assert state["free_space_on_disk"] > 0


async def test_nothing_new_is_an_answer_with_a_number_only(scene: WebApiScene) -> None:
    scene.put()
    client = SyncClient(scene)
    await client.sync()
    delta = await client.sync()
    assert delta == {"rid": client.rid} or set(delta) == {"rid", "server_state"}


async def test_delta_has_the_fields_that_changed(scene: WebApiScene) -> None:
    one, two = scene.put("one", state=S.DOWNLOADING), scene.put("two")
    client = SyncClient(scene)
    await client.sync()
    scene.engine.change(one, completed_bytes=5)
    delta = await client.sync()
    assert list(delta["torrents"]) == [one.hex()]
    assert delta["torrents"][one.hex()]["completed"] == 5
    assert "name" not in delta["torrents"][one.hex()]
    scene.engine.take(two)
    delta = await client.sync()
    assert delta["torrents_removed"] == [two.hex()]
    assert "torrents" not in delta
    scene.engine.change(one, tracker=TrackerSummary("x", "failed", "no", ErrorKind.TRACKER_ERROR))
    assert (await client.sync())["torrents"][one.hex()]["has_tracker_error"] is True
    warned = TrackerSummary("x", "working", "soon", ErrorKind.TRACKER_WARNING)
    scene.engine.change(one, tracker=warned)
    told = (await client.sync())["torrents"][one.hex()]
    assert (told["has_tracker_warning"], told["has_tracker_error"]) == (True, False)


async def test_categories_tags_and_trackers_come_and_go(scene: WebApiScene) -> None:
    one = scene.put()
    client = SyncClient(scene)
    await client.sync()
    await scene.post("torrents/createCategory", category="tv")
    await scene.post("torrents/addTags", hashes="all", tags="a")
    delta = await client.sync()
    assert (delta["categories"], delta["tags"]) == ({"tv": {"name": "tv", "savePath": ""}}, ["a"])
    await scene.post("torrents/removeCategories", categories="tv")
    await scene.post("torrents/deleteTags", tags="a")
    await scene.post("torrents/removeTrackers", hash=one.hex(), urls=TRACKER)
    delta = await client.sync()
    assert (delta["categories_removed"], delta["tags_removed"]) == (["tv"], ["a"])
    assert delta["trackers_removed"] == [TRACKER]


@pytest.mark.parametrize("rid", ["", "0", "-1", "x", "99", "9" * 15, "1.5", "null"])
async def test_unknown_numbers_get_everything(scene: WebApiScene, rid: str) -> None:
    scene.put()
    await scene.get("sync/maindata")
    assert (await scene.get("sync/maindata", rid=rid))["full_update"] is True


async def test_two_clients_and_a_lost_answer_do_not_disturb_one_another(
    scene: WebApiScene,
) -> None:
    one = scene.put("one")
    left, right = SyncClient(scene), SyncClient(scene)
    await left.sync()
    await right.sync()
    scene.engine.change(one, completed_bytes=5)
    await scene.get("sync/maindata", rid=left.rid)  # this answer is lost
    scene.engine.change(one, is_sequential=True)
    for client in (left, right):
        assert "full_update" not in await client.sync()
        told = client.state["torrents"][one.hex()]
        assert (told["completed"], told["seq_dl"]) == (5, True)


async def test_a_changed_general_rule_is_told_of_all_torrents(scene: WebApiScene) -> None:
    one = scene.put()
    client = SyncClient(scene)
    await client.sync()
    await scene.post("app/setPreferences", json='{"max_ratio_enabled": true, "max_ratio": 3}')
    await client.sync()
    assert client.state["torrents"][one.hex()]["max_ratio"] == 3


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "take", "change", "tag", "category", "sync"]), st.integers(0, 4)
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=25)
async def test_deltas_add_up_to_what_there_is(steps: list[tuple[str, int]]) -> None:
    async with WebApiScene().open() as scene:
        client = SyncClient(scene)
        keys: list[InfoHash] = []
        await client.sync()
        for number, (step, which) in enumerate(steps):
            key = keys[which % len(keys)] if keys else None
            if step == "put":
                keys.append(scene.put(f"torrent {number}", state=S.DOWNLOADING))
            elif step == "sync":
                await client.sync()
            elif key is None:
                continue
            elif step == "take":
                keys.remove(key)
                scene.engine.take(key)
            elif step == "change":
                scene.engine.change(key, completed_bytes=number, priority=number)
            elif step == "tag":
                await scene.post("torrents/addTags", hashes=key.hex(), tags=f"t{which}")
            else:
                await scene.post("torrents/createTags", tags=f"c{number}")
        await client.sync()
        full = await scene.get("sync/maindata")
        for name in MAPS:
            assert client.state[name] == full[name]
        assert client.state["tags"] == full["tags"]


def test_points_are_bounded_and_the_same_is_not_given_twice() -> None:
    points: SyncPoints[str] = SyncPoints(max_points=3)
    first = points.give("a")
    assert points.give("a") == first
    numbers = [points.give(each) for each in "bcd"]
    assert numbers == [first + 1, first + 2, first + 3]
    assert points.find(first) is None
    assert points.find(numbers[-1]) == "d"
    assert 0 < first < 2**31


# -- peers ----------------------------------------------------------------------------------------


async def test_peers_of_a_torrent(scene: WebApiScene) -> None:
    one = scene.put(state=S.DOWNLOADING)
    torrent = scene.engine.torrents[one]
    torrent.peers = [
        PeerFacts(
            "192.0.2.1",
            6881,
            client="qBittorrent 4.5.2",
            peer_id=b"-qB4520-\xff\x00abcdefghij",
            source="dht",
            transport="utp",
            encryption="rc4",
            is_incoming=True,
            sends_to_us=True,
            progress=0.25,
            download_bytes_per_s=10.4,
        ),
        PeerFacts("2001:db8::1", 1, is_seed=True),
    ]
    told = await scene.get("sync/torrentPeers", hash=one.hex(), rid=0)
    assert told["full_update"] is True
    assert set(told["peers"]) == {"192.0.2.1:6881", "[2001:db8::1]:1"}
    peer = told["peers"]["192.0.2.1:6881"]
    assert (peer["connection"], peer["peer_id_client"]) == ("\u03bcTP", "-qB4520-")
    assert peer["flags"] == "D I H E P"
    assert peer["flags_desc"].splitlines()[0].startswith("D = ")
    assert (peer["dl_speed"], peer["progress"], peer["relevance"]) == (10, 0.25, 0.25)
    assert told["peers"]["[2001:db8::1]:1"]["relevance"] == 1.0
    torrent.peers = torrent.peers[:1]
    delta = await scene.get("sync/torrentPeers", hash=one.hex(), rid=told["rid"])
    assert delta == {"rid": delta["rid"], "peers_removed": ["[2001:db8::1]:1"]}
    again = await scene.get("sync/torrentPeers", hash=one.hex(), rid=delta["rid"])
    assert again == {"rid": delta["rid"]}


async def test_number_of_another_torrent_gets_all_peers(scene: WebApiScene) -> None:
    one, two = scene.put("one"), scene.put("two")
    first = await scene.get("sync/torrentPeers", hash=one.hex())
    other = await scene.get("sync/torrentPeers", hash=two.hex(), rid=first["rid"])
    assert other["full_update"] is True
    assert (await scene.ask("GET", f"sync/torrentPeers?hash={NO_HASH}")).status_code == 404
    assert json.dumps(other)
