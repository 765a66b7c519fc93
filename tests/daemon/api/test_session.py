"""Logging in and out, tickets, named tokens, the password, settings and shutdown over HTTP."""

import math
import time
from pathlib import Path

import anyio
import pytest

from tests.support.daemon_app import TOKEN, AppClient, make_client
from torrent_engine.daemon.app import MAX_SHOWN_ERRORS
from torrent_engine.daemon.security.access import MAX_PUBLIC_BYTES
from torrent_engine.daemon.security.authentication import MAX_HASHING
from torrent_engine.daemon.security.cookie_sessions import MAX_SESSIONS, OWN
from torrent_engine.daemon.security.passwords import hash_password, matches
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
SESSION = "/api/v1/session"


async def log_in(client: AppClient, password: str = TOKEN) -> AppClient:
    """Return a client with a cookie and its CSRF token."""
    answer = await client.ask("POST", SESSION, json_body={"password": password})
    assert answer.status == 201
    cookie = (answer.header("set-cookie") or "").partition(";")[0]
    return client.having(cookie=cookie, x_csrf_token=answer.json["csrf_token"])


# -- sessions --------------------------------------------------------------------------------------


async def test_login_sets_a_cookie_that_no_script_reads_and_no_other_site_sends() -> None:
    client = make_client()
    answer = await client.ask("POST", SESSION, json_body={"password": TOKEN})
    assert answer.status == 201
    cookie, *attributes = (answer.header("set-cookie") or "").split("; ")
    assert cookie.startswith("te_session=")
    assert {each.lower() for each in attributes} == {
        "httponly",
        "samesite=strict",
        "path=/",
        f"max-age={30 * 86_400}",
    }
    assert cookie.partition("=")[2] not in answer.body.decode()
    client.scheme = "https"
    secure = await client.ask("POST", SESSION, json_body={"password": TOKEN})
    assert (secure.header("set-cookie") or "").startswith("__Host-te_session=")
    assert "Secure" in (secure.header("set-cookie") or "")


async def test_strangers_send_no_long_bodies_and_are_told_few_errors() -> None:
    client = make_client()
    keys = {f"key {number}": 0 for number in range(200)}
    answer = await client.ask("POST", SESSION, json_body=keys)
    assert answer.status == 422
    assert len(answer.json["errors"]) == MAX_SHOWN_ERRORS
    long = await client.ask("POST", SESSION, json_body={"password": "x" * MAX_PUBLIC_BYTES})
    assert (long.status, long.code) == (413, "too_large")
    assert long.json["limit"] == MAX_PUBLIC_BYTES


async def test_session_tells_who_it_is_and_ends_with_its_logout() -> None:
    client = make_client()
    with_cookie = await log_in(client)
    shown = (await with_cookie.ask("GET", SESSION)).json
    assert shown["means"] == "cookie"
    assert shown["csrf_token"] == with_cookie.headers["x-csrf-token"]
    assert shown["expires_at"] == client.clock.now_s + OWN.life_s
    assert shown["epoch"] == client.context.life.epoch
    assert (await with_cookie.ask("DELETE", SESSION)).status == 204
    assert (await with_cookie.ask("GET", SESSION)).code == "unauthenticated"


async def test_login_with_a_valid_cookie_returns_the_same_session() -> None:
    client = make_client()
    with_cookie = await log_in(client)
    again = await with_cookie.ask("POST", SESSION)
    assert again.status == 200
    assert again.json["csrf_token"] == with_cookie.headers["x-csrf-token"]
    assert again.header("set-cookie") is None


async def test_hundred_simultaneous_initialisations_of_a_cookie_give_one_session() -> None:
    client = make_client()
    with_cookie = await log_in(client)
    tokens: list[str] = []

    async def initialise() -> None:
        tokens.append((await with_cookie.ask("POST", SESSION)).json["csrf_token"])

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(initialise)
    assert set(tokens) == {with_cookie.headers["x-csrf-token"]}
    assert len(tokens) == 100
    assert len(client.context.authenticator.sessions) == 1


async def test_session_that_never_comes_back_ends_in_a_minute_another_lives_30_days() -> None:
    client = make_client()
    unused, used = await log_in(client), await log_in(client)
    assert (await used.ask("GET", SESSION)).status == 200
    client.clock.now_s += 61
    assert (await unused.ask("GET", SESSION)).status == 401
    for _ in range(3):
        assert (await used.ask("GET", SESSION)).status == 200
        client.clock.now_s += 29 * 86_400
    assert (await used.ask("GET", SESSION)).status == 200
    client.clock.now_s += 30 * 86_400
    assert (await used.ask("GET", SESSION)).status == 401


async def test_sessions_are_bounded() -> None:
    sessions = make_client().context.authenticator.sessions
    first = sessions.begin(OWN)
    for _ in range(MAX_SESSIONS):
        sessions.begin(OWN)
    assert len(sessions) == MAX_SESSIONS
    assert sessions.principal(first, OWN) is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"password": ""},
        {"password": "wrong"},
        {"password": None},
        {"ticket": "wrong"},
        {"ticket": ""},
        {"user": "torrent"},
        {"user": "other", "password": TOKEN},
    ],
)
async def test_wrong_login_is_refused(body: object) -> None:
    client = make_client(user="torrent")
    answer = await client.ask("POST", SESSION, json_body=body)
    assert answer.code == "unauthenticated"
    assert answer.header("set-cookie") is None
    assert len(client.context.authenticator.sessions) == 0


async def test_failed_logins_lock_the_form_too() -> None:
    client = make_client()
    client.client = ("192.0.2.7", 1)
    for _ in range(5):
        await client.ask("POST", SESSION, json_body={"password": "wrong"})
    answer = await client.ask("POST", SESSION, json_body={"password": TOKEN})
    assert answer.code == "locked_out"


@pytest.mark.parametrize("body", [b'{"password": 1}', b'{"pass": "x"}', b"[]", b"{", b'"x"'])
async def test_login_that_is_no_login_is_a_problem(body: bytes) -> None:
    answer = await make_client().ask(
        "POST", SESSION, body, headers={"content-type": "application/json"}
    )
    assert answer.code == "input_invalid"
    assert answer.json["errors"]


async def test_ticket_logs_a_browser_in_once() -> None:
    client = make_client()
    ticket = (await client.bearer().ask("POST", f"{SESSION}/ticket")).json["ticket"]
    assert (await client.ask("POST", SESSION, json_body={"ticket": ticket})).status == 201
    assert (await client.ask("POST", SESSION, json_body={"ticket": ticket})).status == 401


async def test_ticket_ends_with_what_made_it() -> None:
    client = make_client()
    tokens = client.context.authenticator.tokens
    record, secret = tokens.make("t", list(Scope))
    for maker in (await log_in(client), client.bearer(secret)):
        left = (await maker.ask("POST", f"{SESSION}/ticket")).json["ticket"]
        if maker.headers.get("cookie"):
            assert (await maker.ask("DELETE", SESSION)).status == 204
        else:
            assert tokens.revoke(record.id)
        refused = await client.ask("POST", SESSION, json_body={"ticket": left})
        assert (refused.status, refused.code) == (401, "unauthenticated")


async def test_nobody_gets_more_rights_by_a_session_or_a_ticket() -> None:
    client = make_client()
    made = await client.bearer().ask(
        "POST", "/api/v1/tokens", json_body={"name": "reader", "scopes": ["read"]}
    )
    reader = client.bearer(made.json["token"])
    assert (await reader.ask("POST", SESSION)).status == 401
    ticket = (await reader.ask("POST", f"{SESSION}/ticket")).json["ticket"]
    assert (await client.ask("POST", SESSION, json_body={"ticket": ticket})).status == 401
    assert (await client.bearer().ask("POST", SESSION)).status == 201


# -- tokens ----------------------------------------------------------------------------------------


async def test_token_is_shown_once_listed_without_its_secret_and_revoked() -> None:
    client = make_client()
    body = {"name": "sonarr", "scopes": ["read", "add"], "expires_at": client.clock.now_s + 60}
    made = (await client.bearer().ask("POST", "/api/v1/tokens", json_body=body)).json
    listed = await client.bearer().ask("GET", "/api/v1/tokens")
    assert made["token"].encode() not in listed.body
    assert [each["name"] for each in listed.json["items"]] == ["sonarr"]
    other = client.bearer(made["token"])
    assert (await other.ask("GET", "/api/v1")).status == 200
    used = (await client.bearer().ask("GET", "/api/v1/tokens")).json["items"][0]
    assert used["last_used_at"] == client.clock.now_s
    client.clock.now_s += 60
    assert (await other.ask("GET", "/api/v1")).status == 401
    client.clock.now_s -= 60
    assert (await other.ask("GET", "/api/v1")).status == 200
    path = f"/api/v1/tokens/{made['id']}"
    assert (await client.bearer().ask("DELETE", path)).status == 204
    assert (await other.ask("GET", "/api/v1")).status == 401
    assert (await client.bearer().ask("DELETE", path)).code == "not_found"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["read"]},
        {"name": " ", "scopes": ["read"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "x" * 65, "scopes": ["read"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["root"]},
        {"name": "a"},
        {"name": "a", "scopes": ["read"], "id": "mine"},
        {"name": "a", "scopes": ["read"], "expires_at": math.nan},
        {"name": "a", "scopes": ["read"], "expires_at": math.inf},
    ],
)
async def test_wrong_token_is_not_made(body: object) -> None:
    client = make_client()
    answer = await client.bearer().ask("POST", "/api/v1/tokens", json_body=body)
    assert answer.status in {400, 422}
    assert answer.code in {"input_invalid", "setting_invalid"}
    assert client.context.authenticator.tokens.all == ()


# -- password and settings -------------------------------------------------------------------------


async def test_password_is_kept_as_a_hash_and_ends_sessions() -> None:
    client = make_client()
    with_cookie = await log_in(client)
    answer = await with_cookie.ask("PUT", "/api/v1/password", json_body={"password": "new"})
    assert answer.status == 204
    assert (await with_cookie.ask("GET", SESSION)).status == 401
    stored = client.context.settings().auth.password_hash
    assert matches("new", stored)
    assert "new" not in stored
    shown = await client.bearer().ask("GET", "/api/v1/settings")
    assert stored.encode() not in shown.body
    await client.bearer().ask("PUT", "/api/v1/password", json_body={"password": ""})
    assert client.context.settings().auth.password_hash == ""


async def test_password_is_hashed_once_for_a_program_that_sends_it_again_and_again() -> None:
    client = make_client(password_hash=hash_password("password"))
    authenticator = client.context.authenticator
    assert await authenticator.check_password("password") is None
    begun_s = time.process_time()  # hashes are made in threads
    for _ in range(100):
        assert await authenticator.check_password("password") is None
    assert time.process_time() - begun_s < 2.0  # a hundred hashes take 10 s
    authenticator.secrets.password_hash = hash_password("other")
    assert await authenticator.check_password("password") is not None


async def test_more_than_two_passwords_are_not_hashed_at_once() -> None:
    client = make_client(password_hash=hash_password("password"))
    found: list[str] = []

    async def try_one(number: int) -> None:
        denial = await client.context.authenticator.check_password(f"wrong {number}")
        found.append("right" if denial is None else denial.value)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(try_one, number)
    assert found.count("wrong") == MAX_HASHING
    assert found.count("busy") == 10 - MAX_HASHING


async def test_settings_are_shown_with_their_origin_changed_and_reset() -> None:
    client = make_client().bearer()
    before = (await client.ask("GET", "/api/v1/settings")).json
    key = "limits.download_kb_s"
    assert before["settings"][key]["origin"] == "default"
    changed = await client.ask("PATCH", "/api/v1/settings", json_body={key: 9})
    assert changed.json["changed"] == {"live": [key], "restart": [], "process": []}
    assert changed.json["rev"] != before["rev"]
    assert changed.json["settings"][key]["value"] == 9
    assert changed.json["settings"][key]["changed_by"] == "token"
    reset = await client.ask("DELETE", f"/api/v1/settings/{key}")
    assert (reset.json["value"], reset.json["origin"]) == (0, "default")
    assert set((await client.ask("GET", "/api/v1/settings/schema")).json["properties"]) == set(
        before["settings"]
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"limits.download_kb_s": -1}, "setting_invalid"),
        ({"limits.download": 1}, "unknown_key"),
        ({"listen.address": "0.0.0.0:80"}, "setting_invalid"),
        ([], "input_invalid"),
    ],
)
async def test_wrong_setting_is_a_problem(body: object, code: str) -> None:
    client = make_client().bearer()
    assert (await client.ask("PATCH", "/api/v1/settings", json_body=body)).code == code
    assert client.context.settings().limits.download_kb_s == 0


@pytest.mark.parametrize("key", ["paths.download", "paths.incomplete", "paths.torrents_copy"])
async def test_folders_are_set_below_allowed_ones_only(tmp_path: Path, key: str) -> None:
    client = make_client(roots=[tmp_path]).bearer()
    refused = await client.ask("PATCH", "/api/v1/settings", json_body={key: "/etc"})
    assert refused.code == "path_not_allowed"
    for path in (f"{tmp_path}/a", ""):
        changed = await client.ask("PATCH", "/api/v1/settings", json_body={key: path})
        assert changed.json["settings"][key]["value"] == path


async def test_who_is_let_in_is_for_administrators() -> None:
    client = make_client()
    _, secret = client.context.authenticator.tokens.make("t", [Scope.SETTINGS])
    mine = client.bearer(secret)
    for key, value in {
        "listen.trusted_proxies": ["0.0.0.0/0"],
        "listen.origins": ["https://a.example"],
        "auth.user": "me",
        "stream.public_url": "https://a.example",
    }.items():
        answer = await mine.ask("PATCH", "/api/v1/settings", json_body={key: value})
        assert (answer.status, answer.code) == (403, "forbidden")
        assert (await mine.ask("DELETE", f"/api/v1/settings/{key}")).status == 403
        assert (
            await client.bearer().ask("PATCH", "/api/v1/settings", json_body={key: value})
        ).status == 200
    body = {"limits.download_kb_s": 1}
    assert (await mine.ask("PATCH", "/api/v1/settings", json_body=body)).status == 200


async def test_shutdown_is_for_administrators_and_works_while_starting() -> None:
    client = make_client()
    client.context.life.starting()
    assert (await client.ask("POST", "/api/v1/shutdown")).code == "unauthenticated"
    assert (await client.bearer().ask("POST", "/api/v1/shutdown")).status == 202
    assert client.context.life.stopping.is_set()
