"""Which torrents a call means."""

from typing import Any

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.codec.magnet import Magnet

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(scene: RpcScene) -> list[InfoHash]:
    return [scene.put(name=name, total_bytes=1) for name in "abc"]


async def names(scene: RpcScene, **params: Any) -> list[str]:
    result = await scene.call("torrent_get", fields=["name"], **params)
    return [each["name"] for each in result["torrents"]]


async def test_ids_are_numbers_hashes_or_a_list(scene: RpcScene, keys: list[InfoHash]) -> None:
    assert await names(scene) == ["a", "b", "c"]
    assert await names(scene, ids=2) == ["b"]
    assert await names(scene, ids=keys[1].hex()) == ["b"]
    assert await names(scene, ids=keys[1].hex().upper()) == ["b"]
    assert await names(scene, ids=[3, keys[0].hex()]) == ["c", "a"]


@pytest.mark.parametrize(
    "ids", [[], None, True, 1.0, {}, "", "x", [None], [True], [1.5], [99], ["0" * 40], [[1]]]
)
async def test_what_names_no_torrent_means_none(
    scene: RpcScene, keys: list[InfoHash], ids: Any
) -> None:
    assert await names(scene, ids=ids) == []
    await scene.call("torrent_remove", ids=ids)
    assert len(scene.engine.torrents) == len(keys)


async def test_bep52_a_hybrid_is_found_by_either_hash(
    scene: RpcScene, keys: list[InfoHash]
) -> None:
    scene.engine.change(keys[1], info_hash_v1=keys[1], info_hash_v2=InfoHashV2(bytes(range(32))))
    assert await names(scene, ids=bytes(range(20)).hex()) == ["b"]
    assert await names(scene, ids=[bytes(range(32)).hex(), keys[1].hex()]) == ["b"]


async def test_bep52_a_link_has_the_hashes_that_the_torrent_has(
    scene: RpcScene, keys: list[InfoHash]
) -> None:
    v2 = InfoHashV2(bytes(range(32)))
    scene.engine.change(keys[0], info_hash_v1=keys[0], info_hash_v2=v2)
    only = scene.put(name="v2", info_hash=v2.truncated, info_hash_v2=v2)
    fields = await scene.call("torrent_get", fields=["magnet_link"], ids=[keys[0].hex(), 4])
    links = [Magnet.parse(each["magnet_link"]) for each in fields["torrents"]]
    assert [each.info_hash for each in links] == [keys[0], only]
    assert [(each.has_v1, each.info_hash_v2) for each in links] == [(True, v2), (False, v2)]


async def test_a_torrent_that_is_named_twice_is_told_once(
    scene: RpcScene, keys: list[InfoHash]
) -> None:
    assert await names(scene, ids=[1, 1, keys[0].hex()]) == ["a"]


async def test_no_ids_mean_all_also_for_remove(scene: RpcScene, keys: list[InfoHash]) -> None:
    assert len(keys) == 3
    await scene.ask("torrent-remove")
    assert await names(scene) == []


@pytest.mark.parametrize("word", ["recently-active", "recently_active"])
async def test_recently_active_tells_what_changed_and_what_went(
    scene: RpcScene, keys: list[InfoHash], word: str
) -> None:
    scene.now_s += 120
    result = await scene.call("torrent_get", fields=["name"], ids=word)
    assert result == {"torrents": [], "removed": []}
    scene.engine.change(keys[1], error="changed")
    await scene.call("torrent_remove", ids=[1])
    result = await scene.call("torrent_get", fields=["name"], ids=word)
    assert result == {"torrents": [{"name": "b"}], "removed": [1]}
    scene.now_s += 61
    result = await scene.call("torrent_get", fields=["name"], ids=word)
    assert result == {"torrents": [], "removed": []}


async def test_removed_is_told_for_what_changed_lately_only(
    scene: RpcScene, keys: list[InfoHash]
) -> None:
    await scene.call("torrent_remove", ids=[1])
    assert "removed" not in await scene.call("torrent_get", fields=["name"])
    assert await names(scene, ids=["recently-active"]) == []
    assert len(keys) == 3


async def test_ids_are_never_used_again(scene: RpcScene, keys: list[InfoHash]) -> None:
    await scene.call("torrent_remove", ids=[3])
    again = scene.put(keys[2], name="c again")
    assert scene.id(again) == 4


async def test_fields_are_told_once_in_their_order_and_unknown_ones_left_out(
    scene: RpcScene, keys: list[InfoHash]
) -> None:
    fields = ["name", "id", "nothing", "name", 5]
    result = await scene.call("torrent_get", fields=fields, ids=[1], format="table")
    assert result["torrents"] == [["name", "id"], ["a", 1]]
    result = await scene.call("torrent_get", fields="name", ids=[1])
    assert result["torrents"] == [{"name": "a"}]
    assert len(keys) == 3


@pytest.mark.parametrize("fields", [None, [], ["nothing"], {}, 5, "nothing"])
async def test_no_known_field_is_an_error(scene: RpcScene, fields: Any) -> None:
    error = await scene.error("torrent_get", fields=fields)
    assert error["data"]["error_string"] == "no fields specified"


async def test_another_format_is_an_error(scene: RpcScene) -> None:
    assert (
        "format"
        in (await scene.error("torrent_get", fields=["id"], format="xml"))["data"]["error_string"]
    )


async def test_a_table_of_nothing_has_its_head(scene: RpcScene) -> None:
    result = await scene.ask("torrent-get", fields=["hash_string"], format="table")
    assert result["torrents"] == [["hashString"]]
