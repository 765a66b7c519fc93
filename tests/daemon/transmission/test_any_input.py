"""Whatever is sent gets an answer of the protocol, and is no bug; names come back as they are."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.transmission.rpc_scene import RpcScene
from tests.support.torrents import make_torrent
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.security.principals import ALL_SCOPES
from torrent_engine.daemon.transmission.names import METHODS, SESSION, SPELLINGS, TORRENT

pytestmark = pytest.mark.anyio
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["recently-active", "/downloads/x", "https://a.example/announce", "udp://a"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
OF_METHODS = [
    *("ids", "fields", "format", "path", "name", "location", "move", "delete_local_data"),
    *("filename", "metainfo", "cookies", "paused", "ip_protocol"),
]
"""What only methods know, not torrents or sessions."""
PARAMS = st.dictionaries(
    st.sampled_from(sorted({*TORRENT, *SESSION, *OF_METHODS})), VALUES, max_size=6
)
CALLS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from(METHODS), "id": st.integers()},
    optional={"params": PARAMS | VALUES},
)
OLDER = st.fixed_dictionaries(
    {"method": st.sampled_from(sorted(SPELLINGS)) | st.text(max_size=5)},
    optional={"arguments": PARAMS | VALUES, "tag": VALUES},
)


def filled_scene() -> RpcScene:
    scene = RpcScene()
    metainfo, _ = make_torrent({"a": b"1" * 100, "b": b"2"}, name="root")
    scene.put(metainfo=metainfo, state=EngineState.DOWNLOADING)
    scene.put(name="magnet", state=EngineState.FETCHING_METADATA)
    return scene


async def answer_of(value: Any) -> bytes | None:
    return await filled_scene().rpc.answer(json.dumps(value).encode(), ALL_SCOPES)


@pytest.mark.parametrize("name", OF_METHODS)
@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", [], [[]], {}, {"a": []}], ids=repr)
async def test_any_type_of_a_param_is_answered_without_a_bug(name: str, value: object) -> None:
    scene = filled_scene()
    for method in METHODS:
        params = {"fields": ["id"], name: value}
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await scene.rpc.answer(json.dumps(call).encode(), ALL_SCOPES)
        assert answer is not None
        assert b"-32603" not in answer, (method, answer)


@given(CALLS)
@settings(max_examples=300)
async def test_any_call_is_answered_without_a_bug(value: dict[str, Any]) -> None:
    answer = json.loads(await answer_of(value) or b"")
    assert answer["id"] == value["id"]
    assert ("result" in answer) is not ("error" in answer)
    assert answer.get("error", {}).get("code") != -32603, answer


@given(OLDER)
@settings(max_examples=300)
async def test_any_older_call_is_answered_without_a_bug(value: dict[str, Any]) -> None:
    answer = json.loads(await answer_of(value) or b"")
    assert isinstance(answer["result"], str)
    assert isinstance(answer["arguments"], dict)
    assert "this is a bug" not in answer["result"], answer


@given(VALUES | st.lists(CALLS | OLDER | VALUES, max_size=4))
@settings(max_examples=200)
async def test_any_json_is_answered_without_a_bug(value: Any) -> None:
    answer = await answer_of(value)
    assert answer is None or "-32603" not in answer.decode()


@given(st.binary(max_size=60) | st.text('{}[]":,0123456789.eE-+ntf\\u ').map(str.encode))
@settings(max_examples=200)
async def test_any_bytes_are_answered(body: bytes) -> None:
    answer = await RpcScene().rpc.answer(body, ALL_SCOPES)
    assert answer is None or json.loads(answer) is not None


NAMES = [
    'quote " and \\ backslash',
    "line\nbreak\r\n\ttab",
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left",
    "nul \x00 and \x1b[31m escape",
    "\ud800 half a character",
    "emoji 🎬 and ü",
    "{{7*7}} %s %n ${x}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["objects", "table"])
async def test_names_come_back_as_they_are(scene: RpcScene, name: str, form: str) -> None:
    for _ in range(25):  # enough to be told from what is kept
        scene.put(name=name, comment=name)
    asked = {"method": "torrent-get", "arguments": {"fields": ["name", "comment"], "format": form}}
    body = await scene.rpc.answer(json.dumps(asked).encode(), ALL_SCOPES)
    assert body is not None
    assert all(32 <= byte < 127 for byte in body)
    told = json.loads(body)["arguments"]["torrents"][-1]
    assert told == ([name, name] if form == "table" else {"name": name, "comment": name})
