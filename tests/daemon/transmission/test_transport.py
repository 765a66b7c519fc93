"""The protocol over HTTP: the session id and its refusal, scopes, compression, paths."""

import base64
import gzip
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.support.daemon_app import TOKEN, AppAnswer, AppClient, make_client
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.transmission.session_ids import SessionIds
from torrent_engine.daemon.transmission.transport import takes_gzip

pytestmark = pytest.mark.anyio
RPC = "/transmission/rpc"
FIELD = "x-transmission-session-id"
GET_ALL = {"method": "torrent-get", "arguments": {"fields": ["name", "hashString"]}}


@pytest.fixture
def nobody() -> AppClient:
    return make_client()


@pytest.fixture
def client(nobody: AppClient) -> AppClient:
    """A remote with its credential, as it begins."""
    secret = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    return nobody.having(authorization=f"Basic {secret}")


async def with_id(client: AppClient) -> AppClient:
    answer = await client.ask("GET", RPC)
    return client.having(**{FIELD: answer.header(FIELD) or ""})


async def post(client: AppClient, value: Any, path: str = RPC, **headers: str) -> AppAnswer:
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return await client.ask("POST", path, json.dumps(value).encode(), headers=fields)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("given", ["", "wrong", "0" * 48])
async def test_without_the_session_id_every_method_gets_409_with_it(
    client: AppClient, method: str, given: str
) -> None:
    answer = await client.ask(method, RPC, headers={FIELD: given} if given else {})
    assert answer.status == 409
    number = answer.header(FIELD)
    assert number is not None
    assert re.fullmatch("[0-9A-Za-z]{48}", number)
    assert answer.header("x-transmission-rpc-version") == "6.0.1"
    assert re.search(rf"X-Transmission-Session-Id: {number}\b", answer.body.decode())


async def test_the_credential_comes_before_the_session_id(nobody: AppClient) -> None:
    answer = await nobody.ask("POST", RPC)
    assert answer.status == 401
    assert (answer.header("www-authenticate") or "").startswith("Basic realm=")
    assert answer.header(FIELD) is None
    wrong = base64.b64encode(b"any:wrong").decode()
    assert (await nobody.having(authorization=f"Basic {wrong}").ask("GET", RPC)).status == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_method_is_checked_after_the_session_id(client: AppClient, method: str) -> None:
    answer = await (await with_id(client)).ask(method, RPC)
    assert answer.status == 405
    assert answer.header("allow") == "POST"


@pytest.mark.parametrize("path", [RPC, f"{RPC}/"])
@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
async def test_any_type_of_body_is_answered_with_json(
    client: AppClient, path: str, kind: str
) -> None:
    ready = await with_id(client)
    headers = {"content_type": kind} if kind else {}
    answer = await post(ready, {**GET_ALL, "tag": 4}, path, **headers)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    assert answer.header(FIELD) == ready.headers[FIELD]
    assert answer.json == {"arguments": {"torrents": []}, "result": "success", "tag": 4}


async def test_no_json_is_answered_with_200(client: AppClient) -> None:
    answer = await (await with_id(client)).ask("POST", RPC, b"{")
    assert answer.status == 200
    assert answer.json["error"]["code"] == -32700


async def test_a_notification_is_answered_with_nothing(client: AppClient) -> None:
    ready = await with_id(client)
    answer = await post(ready, {"jsonrpc": "2.0", "method": "torrent_stop"})
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header(FIELD) == ready.headers[FIELD]


async def test_an_etag_is_never_sent(client: AppClient) -> None:
    answer = await post(await with_id(client), GET_ALL, if_none_match="*")
    assert answer.status == 200
    assert answer.header("etag") is None
    assert answer.header("cache-control") == "no-store"


async def test_a_body_may_be_as_long_as_a_large_torrent(client: AppClient) -> None:
    ready = await with_id(client)
    value = {"method": "torrent-add", "arguments": {"metainfo": "A" * (14 << 20)}}
    answer = await post(ready, value, content_type="application/json")
    assert answer.status == 200
    assert "corrupt" in answer.json["result"]
    answer = await ready.ask("POST", RPC, b" " * ((16 << 20) + 1))
    assert answer.status == 413


async def test_long_answers_are_compressed_if_asked_for(client: AppClient) -> None:
    ready = await with_id(client)
    value = {"method": "session-get"}
    plain = await post(ready, value)
    assert plain.header("content-encoding") is None
    packed = await post(ready, value, accept_encoding="deflate, gzip;q=1.0")
    assert packed.header("content-encoding") == "gzip"
    assert packed.header("vary") == "Accept-Encoding"
    told = json.loads(gzip.decompress(packed.body))
    assert told["arguments"].keys() == plain.json["arguments"].keys()
    assert len(packed.body) < len(plain.body)


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("gzip", True), ("br, GZIP", True), ("gzip;q=0", False), ("gzip; q=0.0", False), ("", False)],
)
def test_the_weight_of_gzip_counts(accepted: str, *, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


async def test_a_page_of_another_site_gets_nothing(client: AppClient) -> None:
    ready = await with_id(client)
    answer = await post(ready, GET_ALL, origin="https://evil.example")
    assert (answer.status, answer.code) == (403, "origin_refused")
    other = replace(ready, host="evil.example")
    assert (await post(other, GET_ALL)).status == 421


SCOPES: dict[Scope, list[dict[str, Any]]] = {
    Scope.READ: [GET_ALL, {"method": "session-get"}, {"method": "session-stats"}],
    Scope.ADD: [{"method": "torrent-add"}],
    Scope.CONTROL: [{"method": "torrent-stop"}, {"method": "queue-move-top"}],
    Scope.SETTINGS: [{"method": "session-set"}, {"method": "group-set"}],
    Scope.ADMIN: [{"method": "session-close"}],
}


@pytest.mark.parametrize("scope", SCOPES)
async def test_each_method_needs_its_scope(nobody: AppClient, scope: Scope) -> None:
    _, secret = nobody.context.authenticator.tokens.make("one", [scope])
    ready = await with_id(nobody.bearer(secret))
    for needed, calls in SCOPES.items():
        for call in calls:
            answer = await post(ready, call)
            assert answer.status == (200 if needed is scope else 403), call
            if needed is not scope:
                assert answer.json["scope"] == needed.value


async def test_a_batch_needs_the_scopes_of_all_its_calls(nobody: AppClient) -> None:
    _, secret = nobody.context.authenticator.tokens.make("one", [Scope.READ])
    ready = await with_id(nobody.bearer(secret))
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": name} for name in ("session_stats", "torrent_stop")
    ]
    assert (await post(ready, calls[:1])).status == 200
    assert (await post(ready, calls)).status == 403


async def test_a_cookie_needs_no_other_token_than_the_session_id(nobody: AppClient) -> None:
    from torrent_engine.daemon.security.cookie_sessions import OWN

    cookie = nobody.context.authenticator.sessions.begin(OWN)
    ready = await with_id(nobody.having(cookie=f"{OWN.name}={cookie}"))
    assert (await post(ready, GET_ALL)).status == 200


async def test_the_interface_can_be_switched_off() -> None:
    settings = DaemonSettings()
    off = replace(settings, transmission=replace(settings.transmission, enabled=False))
    answer = await make_client(settings=off).bearer().ask("GET", RPC)
    assert answer.status == 404


async def test_the_version_that_is_told_can_be_set() -> None:
    settings = DaemonSettings()
    older = replace(settings, transmission=replace(settings.transmission, rpc_version=17))
    ready = await with_id(make_client(settings=older).bearer())
    answer = await post(ready, {"method": "session-get", "arguments": {"fields": ["rpc-version"]}})
    assert answer.json["arguments"] == {"rpc-version": 17}


# -- the session id -------------------------------------------------------------------------------


def test_an_id_is_good_for_one_to_two_hours() -> None:
    now = [0.0]
    ids = SessionIds(lambda: now[0])
    first = ids.present
    now[0] = 3_599
    assert ids.present == first
    now[0] = 3_601
    second = ids.present
    assert second != first
    assert ids.is_valid(first)
    assert ids.is_valid(second)
    now[0] = 7_202
    assert not ids.is_valid(first)
    assert ids.is_valid(second)
    now[0] = 50_000
    assert not ids.is_valid(second)
    assert ids.is_valid(ids.present)


@pytest.mark.parametrize("text", [None, "", "x", "\udcff" * 48])
def test_other_ids_are_never_good(text: str | None) -> None:
    assert not SessionIds(lambda: 0.0).is_valid(text)
