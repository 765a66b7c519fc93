"""Trackers of many torrents are told from what was kept, for a while."""

from typing import Any

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, TrackerFacts
from torrent_engine.daemon.transmission import torrent_get

pytestmark = pytest.mark.anyio
URL = "https://tracker.example/announce"


@pytest.fixture
def keys(scene: RpcScene) -> list[InfoHash]:
    return [
        scene.put(name=str(number), state=EngineState.SEEDING, trackers=((URL,),))
        for number in range(40)
    ]


async def counts(scene: RpcScene) -> list[Any]:
    result = await scene.ask("torrent-get", fields=["name", "trackerStats"])
    return [each["trackerStats"][0]["seederCount"] for each in result["torrents"]]


async def test_a_torrent_that_changed_is_asked_again(scene: RpcScene, keys: list[InfoHash]) -> None:
    assert await counts(scene) == [-1] * 40
    for key in keys:
        scene.engine.torrents[key].trackers = [TrackerFacts(0, URL, 0, seeds=5)]
    scene.engine.change(keys[3], error="something else")
    assert await counts(scene) == [-1] * 3 + [5] + [-1] * 36


async def test_all_are_asked_again_after_a_while(scene: RpcScene, keys: list[InfoHash]) -> None:
    await counts(scene)
    for key in keys:
        scene.engine.torrents[key].trackers = [TrackerFacts(0, URL, 0, seeds=5)]
    scene.now_s += 14
    assert await counts(scene) == [-1] * 40
    scene.now_s += 2
    assert await counts(scene) == [5] * 40


async def test_a_torrent_that_is_gone_is_not_told(scene: RpcScene, keys: list[InfoHash]) -> None:
    await counts(scene)
    await scene.ask("torrent-remove", ids=[1])
    scene.put(name="new", state=EngineState.SEEDING, trackers=((URL,),))
    result = await scene.ask("torrent-get", fields=["name", "trackerStats"])
    names = [each["name"] for each in result["torrents"]]
    assert names == [str(number) for number in range(1, len(keys))] + ["new"]


async def test_an_answer_is_bounded(
    scene: RpcScene, keys: list[InfoHash], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torrent_get, "MAX_ANSWER_BYTES", 20_000)
    text = await scene.refused("torrent-get", fields=["trackerStats"])
    assert text.startswith("the answer is too long")
    assert len(keys) == 40
