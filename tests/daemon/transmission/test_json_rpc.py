"""The rules of JSON-RPC 2.0, and where the older dialect differs."""

import json
from typing import Any

import pytest

from tests.daemon.transmission.rpc_scene import RpcScene
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.transmission import rpc

pytestmark = pytest.mark.anyio
PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602


def call(method: str = "session_get", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": 1, **more}


def old(method: str = "session-get", **more: Any) -> dict[str, Any]:
    return {"method": method, **more}


NOT_JSON = {
    "nothing": b"",
    "half": b'{"jsonrpc":"2.0","method":',
    "text": b"torrent-get",
    "not_a_number": b'{"jsonrpc":"2.0","method":"session_get","id":NaN}',
    "infinity": b'{"jsonrpc":"2.0","method":"session_get","id":1,"params":{"x":Infinity}}',
    "no_double": b'{"jsonrpc":"2.0","method":"session_get","id":1e999}',
    "not_utf8": b'{"method":"session-get","tag":"\xff\xfe\xfd"}',
    "too_deep": b"[" * 200 + b"]" * 200,
    "trailing": b'{"method":"session-get"} x',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
async def test_what_is_no_json_is_a_parse_error_without_id(scene: RpcScene, body: bytes) -> None:
    answer = await scene.send(body)
    assert answer["error"]["code"] == PARSE
    assert answer["error"]["message"] == "Parse error"
    assert answer["id"] is None
    assert answer["jsonrpc"] == "2.0"


NO_REQUEST = {
    "number": 15,
    "text": "session_get",
    "null": None,
    "empty_batch": [],
    "version_1": call(jsonrpc="1.0"),
    "version_2_as_number": call(jsonrpc=2.0),
    "version_null": call(jsonrpc=None),
    "no_method": {"jsonrpc": "2.0", "id": 1},
    "method_is_number": call(method=1),  # type: ignore[arg-type]
    "id_is_list": call(id=[1]),
    "id_is_object": call(id={}),
    "id_is_true": call(id=True),
}


@pytest.mark.parametrize("value", NO_REQUEST.values(), ids=NO_REQUEST)
async def test_what_is_no_request_is_invalid(scene: RpcScene, value: Any) -> None:
    answer = await scene.send(value)
    assert answer["error"]["code"] == REQUEST
    assert answer["error"]["message"] == "Invalid Request"
    assert answer["error"]["data"]["error_string"]


@pytest.mark.parametrize("number", [0, -7, 1.5, 2**60, "", "a", "☺", None])
async def test_id_is_echoed_as_it_came(scene: RpcScene, number: Any) -> None:
    answer = await scene.send(call(id=number))
    assert answer["id"] == number
    assert answer["jsonrpc"] == "2.0"
    assert "result" in answer
    assert "error" not in answer


async def test_id_is_echoed_with_an_error(scene: RpcScene) -> None:
    answer = await scene.send(call(jsonrpc="1.0", id="mine"))
    assert (answer["id"], answer["error"]["code"]) == ("mine", REQUEST)


@pytest.mark.parametrize("method", ["nothing", "", "session-get", "sessionGet", "torrent-get"])
async def test_methods_have_one_spelling(scene: RpcScene, method: str) -> None:
    answer = await scene.send(call(method))
    assert answer["error"]["code"] == METHOD
    assert answer["error"]["message"] == "Method not found"
    assert "result" not in answer


@pytest.mark.parametrize("params", [[], [[1, 2]], 1, "all", None, True])
async def test_params_without_names_are_invalid_and_mean_nothing(
    scene: RpcScene, params: Any
) -> None:
    scene.put(name="stays")
    answer = await scene.send(call("torrent_remove", params=params))
    assert answer["error"]["code"] == PARAMS
    assert len(scene.engine.torrents) == 1


async def test_no_params_are_no_error(scene: RpcScene) -> None:
    answer = await scene.send(call("session_stats"))
    assert answer["result"]["torrent_count"] == 0


async def test_older_names_of_params_mean_nothing(scene: RpcScene) -> None:
    key = scene.put(name="a", total_bytes=1)
    await scene.call("torrent_set", ids=[scene.id(key)], bandwidthPriority=1)
    assert await scene.field("bandwidth_priority", key) == 0
    await scene.call("torrent_set", ids=[scene.id(key)], bandwidth_priority=1)
    assert await scene.field("bandwidth_priority", key) == 1


async def test_a_notification_changes_something_and_has_no_answer(scene: RpcScene) -> None:
    key = scene.put(name="a", total_bytes=1, state=EngineState.DOWNLOADING)
    value = {"jsonrpc": "2.0", "method": "torrent_stop", "params": {"ids": [scene.id(key)]}}
    assert await scene.send(value) is None
    assert await scene.field("status", key) == 0


async def test_a_notification_that_fails_has_no_answer(scene: RpcScene) -> None:
    value = {"jsonrpc": "2.0", "method": "torrent_set_location", "params": {"location": "x"}}
    assert await scene.send(value) is None


@pytest.mark.parametrize("method", ["session_get", "torrent_get", "nothing"])
async def test_a_notification_that_only_asks_is_not_run(scene: RpcScene, method: str) -> None:
    assert await scene.send({"jsonrpc": "2.0", "method": method, "params": {}}) is None


async def test_id_null_is_no_notification(scene: RpcScene) -> None:
    answer = await scene.send(call("session_stats", id=None))
    assert answer["id"] is None
    assert "result" in answer


async def test_a_batch_is_answered_in_its_order_without_notifications(scene: RpcScene) -> None:
    key = scene.put(name="a", total_bytes=1, state=EngineState.DOWNLOADING)
    answer = await scene.send(
        [
            call("torrent_get", id=1, params={"fields": ["status"]}),
            {"jsonrpc": "2.0", "method": "torrent_stop", "params": {"ids": [scene.id(key)]}},
            call("torrent_get", id=2, params={"fields": ["status"]}),
        ]
    )
    assert [each["id"] for each in answer] == [1, 2]
    assert [each["result"]["torrents"][0]["status"] for each in answer] == [4, 0]


async def test_a_batch_of_notifications_has_no_answer(scene: RpcScene) -> None:
    value = {"jsonrpc": "2.0", "method": "torrent_stop"}
    assert await scene.send([value, value]) is None


async def test_elements_of_a_batch_fail_alone(scene: RpcScene) -> None:
    answer = await scene.send([1, old(), call("nothing", id=3), call("session_stats", id=4)])
    assert [each["id"] for each in answer] == [None, None, 3, 4]
    assert [each.get("error", {}).get("code") for each in answer] == [
        REQUEST,
        REQUEST,
        METHOD,
        None,
    ]


async def test_a_batch_whose_answer_is_long_is_cut(
    scene: RpcScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = scene.put(name="a", total_bytes=1, state=EngineState.DOWNLOADING)
    monkeypatch.setattr(rpc, "MAX_ANSWER_BYTES", 100)
    asked = [call("torrent_get", id=n, params={"fields": ["name", "status"]}) for n in range(9)]
    asked.append(call("torrent_stop", id=9, params={"ids": [scene.id(key)]}))
    answer = await scene.send(asked)
    assert [each["id"] for each in answer] == list(range(10))
    assert [("result" in each) for each in answer] == [True, True, *[False] * 8]
    assert answer[-1]["error"]["data"]["error_string"] == "the answer is too long"
    row = await scene.send(asked[0])
    assert row["result"]["torrents"][0]["status"] == 4  # what is refused is not done


async def test_a_batch_is_bounded(scene: RpcScene) -> None:
    answer = await scene.send([call("session_stats")] * 1_001)
    assert answer["error"]["code"] == REQUEST


async def test_an_error_has_its_code_message_and_text(scene: RpcScene) -> None:
    error = await scene.error("torrent_set_location", location="relative")
    assert error == {
        "code": 3,
        "message": "path is not absolute",
        "data": {"error_string": "new location path is not absolute"},
    }


async def test_an_error_has_what_there_is_all_the_same(scene: RpcScene) -> None:
    error = await scene.error("free_space", path="/elsewhere")
    assert error["code"] == 5
    assert error["data"]["result"] == {"path": "/elsewhere", "size_bytes": -1, "total_size": -1}


async def test_a_bug_is_an_internal_error_with_the_name_of_its_record(scene: RpcScene) -> None:
    key = scene.put(name="a")
    scene.engine.failures["start"] = RuntimeError("something secret")
    error = await scene.error("torrent_start", ids=[scene.id(key)])
    assert (error["code"], error["message"]) == (-32603, "Internal error")
    assert "secret" not in json.dumps(error)


# -- the older dialect ----------------------------------------------------------------------------


async def test_a_request_without_jsonrpc_is_of_the_older_dialect(scene: RpcScene) -> None:
    answer = await scene.send(old("session-stats"))
    assert answer["result"] == "success"
    assert answer["arguments"]["torrentCount"] == 0
    assert "jsonrpc" not in answer


@pytest.mark.parametrize("arguments", [21, None, [], "x", True])
async def test_arguments_that_are_no_object_are_none(scene: RpcScene, arguments: Any) -> None:
    answer = await scene.send(old("session-stats", arguments=arguments))
    assert answer["result"] == "success"


@pytest.mark.parametrize(("tag", "is_echoed"), [(7, True), (0, True), ("x", False), (None, False)])
async def test_only_tags_that_are_numbers_are_echoed(
    scene: RpcScene, tag: Any, *, is_echoed: bool
) -> None:
    answer = await scene.send(old("session-stats", tag=tag))
    assert ("tag" in answer) is is_echoed
    assert answer.get("tag") == (tag if is_echoed else None)


@pytest.mark.parametrize("method", ["torrent-get", "torrent_get", "torrentGet"])
async def test_any_spelling_of_a_method_is_known(scene: RpcScene, method: str) -> None:
    scene.put(name="a")
    answer = await scene.send(old(method, arguments={"fields": ["name"]}))
    assert answer["arguments"]["torrents"] == [{"name": "a"}]


async def test_any_spelling_of_an_argument_is_known_and_the_older_answered(
    scene: RpcScene,
) -> None:
    key = scene.put(name="a", total_bytes=1)
    for name in ("bandwidthPriority", "bandwidth_priority", "bandwidth-priority"):
        scene.engine.change(key, priority=0)
        await scene.send(old("torrent-set", arguments={"ids": [1], name: 1}))
        assert await scene.field("bandwidth_priority", key) == 1
    answer = await scene.send(
        old("torrent-get", arguments={"fields": ["hash_string", "downloadDir", "peer_limit"]})
    )
    assert answer["arguments"]["torrents"][0].keys() == {"hashString", "downloadDir", "peer-limit"}


async def test_an_unknown_method_is_named_as_clients_know_it(scene: RpcScene) -> None:
    for value in (old("nothing"), {}, {"method": 3}, {"tag": 1}):
        answer = await scene.send(value)
        assert answer["result"] == "no method name"
        assert answer["arguments"] == {}


async def test_arguments_are_there_in_errors_too(scene: RpcScene) -> None:
    answer = await scene.send(old("torrent-get", tag=9))
    assert answer == {"arguments": {}, "result": "no fields specified", "tag": 9}


async def test_a_batch_knows_only_the_newer_dialect(scene: RpcScene) -> None:
    answer = await scene.send([old("session-stats", tag=1)])
    assert answer[0]["error"]["code"] == REQUEST
