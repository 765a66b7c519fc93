"""Whatever is sent gets an answer of the protocol, and is no bug; names come back as they are."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.qbittorrent.web_api_scene import MAGNET, TRACKER, WebApiScene, torrent_of
from torrent_engine.daemon.engine_port.facts import EngineState
from torrent_engine.daemon.qbittorrent.web_api import PREFIX

pytestmark = pytest.mark.anyio
STATUSES = {200, 400, 403, 404, 405, 409, 413, 415}
KEY = str(torrent_of().info_hash)
SKIPPED = {"app/shutdown", "auth/logout", "auth/login"}
NAMES = [
    "hash hashes category tag tags sort reverse limit offset private filter urls savepath paused",
    "stopped ratioLimit seedingTimeLimit value deleteFiles json id priority oldPath newPath name",
    "origUrl newUrl peers location rid indexes mode iface dirPath categories savePath enable",
]
PARAMETERS = " ".join(NAMES).split()
TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        *("", "0", "1", "-1", "true", "false", "all", "*", "|", ",", "nan", "1e999", "9" * 40),
        *(KEY, f"{KEY}|x", MAGNET, TRACKER, "192.0.2.1:1", "/downloads/x", "../..", "\0", "\ud7ff"),
        *("[]", "{}", '{"dht": 5}', '{"save_path": "\\u0000"}', "state", "private", "root/a.mkv"),
    ]
)


def paths() -> list[str]:
    """Return all routes but those that end the scene."""
    from torrent_engine.daemon.qbittorrent.routes import router

    found = [str(getattr(route, "path", "")) for route in router(WebApiScene().context).routes]
    return sorted({path.removeprefix(PREFIX) for path in found} - SKIPPED)


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "POST"]),
        st.sampled_from(paths()),
        st.dictionaries(st.sampled_from(PARAMETERS), TEXTS, max_size=5),
    ),
    min_size=1,
    max_size=12,
)


@given(REQUESTS)
@settings(max_examples=40)
async def test_any_form_is_answered_without_a_bug(
    requests: list[tuple[str, str, dict[str, str]]],
) -> None:
    async with WebApiScene().open() as scene:
        scene.put(state=EngineState.DOWNLOADING)
        for method, path, values in requests:
            body: dict[str, Any] = {"params": values} if method == "GET" else {"data": values}
            answer = await scene.ask(method, path, **body)
            assert answer.status_code in STATUSES, (method, path, values, answer.text)
            if answer.headers["content-type"] == "application/json":
                json.loads(answer.content)


@given(st.binary(max_size=200), st.sampled_from(["form", "multipart", "json", ""]))
@settings(max_examples=40)
async def test_any_body_is_answered_without_a_bug(body: bytes, kind: str) -> None:
    types = {
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/form-data; boundary=x; charset=raw_unicode_escape",
        "json": "application/json",
        "": "",
    }
    async with WebApiScene().open() as scene:
        for data in (body, b"--x\r\n" + body, b'--x\r\nContent-Disposition: form-data; name="a'):
            headers = {"Content-Type": types[kind]} if types[kind] else {}
            answer = await scene.ask("POST", "torrents/add", content=data, headers=headers)
            assert answer.status_code in STATUSES, answer.text


HOSTILE = [
    'quote " and \\ backslash',
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left",
    "nul \x00 and \x1b[31m escape",
    "line\nbreak\r\n\ttab",
    "emoji \U0001f3ac and \u00fc",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_names_come_back_as_they_are(scene: WebApiScene, name: str) -> None:
    key = scene.engine.put(name=name, state=EngineState.FETCHING_METADATA)
    assert (await scene.torrent(key))["name"] == name
    told = await scene.get("sync/maindata")
    assert told["torrents"][key.hex()]["name"] == name


@pytest.mark.parametrize("count", [1_001, 5_000])
async def test_too_many_parameters_are_a_bad_request(scene: WebApiScene, count: int) -> None:
    body = "&".join(f"a{number}=1" for number in range(count))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await scene.ask("POST", "torrents/info", content=body.encode(), headers=headers)
    assert answer.status_code == 400


async def test_a_long_body_of_a_stranger_is_refused(scene: WebApiScene) -> None:
    answer = await scene.ask(
        "POST",
        "auth/login",
        content=b"username=" + b"%61" * 3_000,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413


async def test_a_long_body_is_refused(scene: WebApiScene) -> None:
    answer = await scene.ask(
        "POST",
        "torrents/add",
        content=b"x" * (16 * 1024 * 1024 + 1),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413
