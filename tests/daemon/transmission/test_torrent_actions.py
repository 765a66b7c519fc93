"""What is done to torrents, and their places in the queue."""

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from tests.support.torrents import make_torrent
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState

pytestmark = pytest.mark.anyio
CALLS = {
    "torrent-start": "start",
    "torrent-start-now": "start_now",
    "torrent-stop": "pause",
    "torrent-verify": "recheck",
    "torrent-reannounce": "reannounce",
}


@pytest.mark.parametrize(("method", "called"), CALLS.items())
async def test_each_torrent_gets_its_call(scene: RpcScene, method: str, called: str) -> None:
    keys = [scene.put(name=name, total_bytes=9, state=EngineState.SEEDING) for name in "abc"]
    answer = await scene.ask(method, ids=[1, keys[2].hex()])
    assert answer == {}
    assert [each[1][0] for each in scene.engine.calls if each[0] == called] == [keys[0], keys[2]]


async def test_start_and_stop_are_seen_at_once(scene: RpcScene) -> None:
    key = scene.put(name="a", total_bytes=9, state=EngineState.DOWNLOADING)
    await scene.ask("torrent-stop")
    assert await scene.field("status", key) == 0
    await scene.ask("torrent-start")
    assert await scene.field("status", key) == 4


@pytest.mark.parametrize("delete", [True, False])
async def test_remove_deletes_files_if_asked_for(scene: RpcScene, *, delete: bool) -> None:
    key = scene.put(name="a")
    await scene.ask("torrent-remove", ids=[1], delete_local_data=delete)
    assert scene.engine.removed[key].is_deleted is delete


async def test_what_fails_with_one_torrent_is_done_with_the_others(scene: RpcScene) -> None:
    keys = [scene.put(name=name, total_bytes=9) for name in "ab"]
    scene.engine.failures["recheck"] = StorageError("/downloads", "the disk is gone")
    assert "the disk is gone" in await scene.refused("torrent-verify")
    assert [each[1][0] for each in scene.engine.calls if each[0] == "recheck"] == keys


MOVES = {
    "queue-move-top": ([2, 4], "bdace"),
    "queue-move-bottom": ([2, 4], "acebd"),
    "queue-move-up": ([1, 2, 4], "abdce"),
    "queue-move-down": ([2, 4, 5], "acbde"),
}


@pytest.mark.parametrize(("method", "case"), MOVES.items())
async def test_the_queue_keeps_the_order_of_what_moves(
    scene: RpcScene, method: str, case: tuple[list[int], str]
) -> None:
    for name in "abcde":
        scene.put(name=name, total_bytes=1)
    ids, order = case
    await scene.ask(method, ids=ids)
    result = await scene.call("torrent_get", fields=["name", "queue_position"])
    places = {each["queue_position"]: each["name"] for each in result["torrents"]}
    assert "".join(places[place] for place in range(5)) == order


async def test_a_queue_moves_as_transmission_moves_it(scene: RpcScene) -> None:
    keys = [scene.put(name=name, total_bytes=1) for name in "abc"]
    for _ in range(3):
        await scene.ask("queue-move-up", ids=[3])
    assert scene.engine.order == [keys[2], keys[0], keys[1]]
    for _ in range(3):
        await scene.ask("queue-move-down", ids=[3])
    assert scene.engine.order == keys


# -- files ----------------------------------------------------------------------------------------


def put_files(scene: RpcScene) -> InfoHash:
    files = {"sub/one.txt": b"1" * 10, "sub/two.txt": b"2" * 10, "three.txt": b"3"}
    return scene.put(metainfo=make_torrent(files, name="root")[0])


async def test_a_move_goes_on_in_the_background(scene: RpcScene) -> None:
    key = put_files(scene)
    await scene.ask("torrent-set-location", ids=[1], location="/other/x", move=True)
    assert await scene.field("download_dir", key) == "/downloads"
    await scene.background[0]()
    assert await scene.field("download_dir", key) == "/other/x"


async def test_files_are_found_elsewhere_without_a_move(scene: RpcScene) -> None:
    key = put_files(scene)
    await scene.ask("torrent-set-location", ids=[1], location="/other")
    assert ("set_save_path", (key, "/other")) in scene.engine.calls
    assert await scene.field("download_dir", key) == "/other"


LOCATIONS = {
    "no location": {},
    "new location path is not absolute": {"location": "other"},
    "path is outside the allowed folders": {"location": "/etc"},
}


@pytest.mark.parametrize(("text", "arguments"), LOCATIONS.items())
async def test_a_location_that_cannot_be_is_refused(
    scene: RpcScene, text: str, arguments: dict[str, str]
) -> None:
    put_files(scene)
    assert await scene.refused("torrent-set-location", **arguments) == text


RENAMES = {
    "root/sub/one.txt": ("eins.txt", ["root/sub/eins.txt", "root/sub/two.txt", "root/three.txt"]),
    "root/sub": ("unter", ["root/unter/one.txt", "root/unter/two.txt", "root/three.txt"]),
    "root": ("other", ["other/sub/one.txt", "other/sub/two.txt", "other/three.txt"]),
}


@pytest.mark.parametrize(("path", "case"), RENAMES.items())
async def test_files_and_folders_are_renamed(
    scene: RpcScene, path: str, case: tuple[str, list[str]]
) -> None:
    key = put_files(scene)
    name, paths = case
    answer = await scene.ask("torrent-rename-path", ids=[1], path=path, name=name)
    assert answer == {"id": 1, "name": name, "path": path}
    assert [each["name"] for each in await scene.field("files", key)] == paths


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../x", "a\\b", "..\\x"])
async def test_a_name_that_is_a_path_is_refused(scene: RpcScene, name: str) -> None:
    put_files(scene)
    error = await scene.error("torrent_rename_path", ids=[1], path="root", name=name)
    assert error["data"]["error_string"] == "Invalid argument"
    assert error["data"]["result"] == {"id": 1, "name": name, "path": "root"}


async def test_a_path_that_is_not_there_is_refused(scene: RpcScene) -> None:
    put_files(scene)
    text = await scene.refused("torrent-rename-path", ids=[1], path="root/su", name="x")
    assert text == "No such file or directory"


@pytest.mark.parametrize("ids", [{}, {"ids": []}, {"ids": [1, 2]}])
async def test_a_rename_is_of_one_torrent(scene: RpcScene, ids: dict[str, list[int]]) -> None:
    put_files(scene)
    scene.put(name="second")
    text = await scene.refused("torrent-rename-path", path="root", name="x", **ids)
    assert text == "torrent-rename-path requires 1 torrent"
