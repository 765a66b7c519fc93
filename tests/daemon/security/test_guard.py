"""The checks before every request, each by its answer, and their order."""

import base64
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tests.support.daemon_app import TOKEN, AppClient, make_client
from torrent_engine.daemon.api import overview, session, tokens
from torrent_engine.daemon.security.access import Page, needs, public
from torrent_engine.daemon.security.cookie_sessions import OWN, csrf_token_of
from torrent_engine.daemon.security.guard import GuardRules, principal_of
from torrent_engine.daemon.security.hosts import HostRule, OriginRule
from torrent_engine.daemon.security.passwords import hash_password
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.request_facts import AddressRange

pytestmark = pytest.mark.anyio


def things() -> APIRouter:
    """Return routes that show what reaches them."""
    routes = APIRouter()

    @routes.get("/things")
    @needs(Scope.READ)
    async def read(request: Request) -> Response:
        principal = principal_of(request.scope)
        return JSONResponse({"name": principal.name, "means": principal.means})

    @routes.post("/things")
    @needs(Scope.CONTROL)
    async def change(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    @routes.post("/upload")
    @needs(Scope.ADD, media_types=frozenset({"application/x-bittorrent"}), max_body_bytes=1000)
    async def upload(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    @routes.get("/events")
    @needs(Scope.READ, takes_ticket=True)
    async def events() -> Response:
        return Response("data: 1\n\n")

    @routes.get("/stream/{info_hash}/{index}/{name}")
    @needs(Scope.STREAM, takes_signed_url=True, page=Page.STREAM)
    async def stream() -> Response:
        return Response("payload")

    @routes.get("/front-page", include_in_schema=False)
    @public(page=Page.FOREIGN_UI)
    async def page() -> Response:
        return Response("<p>", headers={"Server": "other", "Cache-Control": "max-age=5"})

    @routes.get("/prompt")
    @needs(Scope.METRICS, prompts=True)
    async def prompt() -> Response:
        return Response("1")

    @routes.get("/forgotten")
    async def forgotten() -> Response:
        return Response("secret")

    @routes.get("/bug")
    @needs(Scope.READ)
    async def bug() -> Response:
        raise RuntimeError("the detail that nobody may see")

    return routes


def client(**parts: Any) -> AppClient:
    own = (overview.router, session.router, tokens.router)
    return make_client(routers=own, extra=things(), **parts)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- 2: addresses ----------------------------------------------------------------------------------


def ranges(*texts: str) -> list[AddressRange]:
    from ipaddress import ip_network

    return [ip_network(text) for text in texts]


@pytest.mark.parametrize(
    ("address", "status"),
    [("192.0.2.7", 200), ("::ffff:192.0.2.7", 200), ("192.0.3.1", 403), ("2001:db8::1", 403)],
)
async def test_only_allowed_addresses_may_ask(address: str, status: int) -> None:
    asking = client(rules=GuardRules(allow_from=ranges("192.0.2.0/24"))).bearer()
    asking.client = (address, 1)
    assert (await asking.ask("GET", "/things")).status == status


async def test_unix_socket_is_no_address() -> None:
    asking = client(rules=GuardRules(allow_from=ranges("192.0.2.0/24"))).bearer()
    asking.client = None
    assert (await asking.ask("GET", "/things")).status == 200


# -- 3: lock-out -----------------------------------------------------------------------------------


async def test_fifth_failure_locks_an_address_out_for_an_hour_and_no_other() -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    for _ in range(5):
        assert (await asking.bearer("wrong").ask("GET", "/things")).code == "unauthenticated"
    refused = await asking.bearer().ask("GET", "/things")
    assert refused.code == "locked_out"
    assert refused.header("retry-after") == "3601"
    asking.client = ("192.0.2.8", 1)
    assert (await asking.bearer().ask("GET", "/things")).status == 200
    asking.client = ("192.0.2.7", 1)
    asking.clock.now_s += 3_601
    assert (await asking.bearer().ask("GET", "/things")).status == 200


async def test_who_is_logged_in_at_an_address_does_not_help_who_guesses_there() -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    for _ in range(4):
        assert (await asking.bearer("wrong").ask("GET", "/things")).code == "unauthenticated"
        assert (await asking.bearer().ask("GET", "/things")).status == 200
    await asking.bearer("wrong").ask("GET", "/things")
    assert (await asking.bearer("wrong").ask("GET", "/things")).code == "locked_out"


async def test_loopback_is_not_locked_out_but_answered_late() -> None:
    asking = client()
    for _ in range(8):
        assert (await asking.bearer("wrong").ask("GET", "/things")).code == "unauthenticated"
    assert asking.clock.slept_s == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (await asking.bearer().ask("GET", "/things")).status == 200
    assert len(asking.clock.slept_s) == 8


async def test_ticket_or_signature_that_has_ended_is_no_failure() -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    for _ in range(10):
        await asking.ask("GET", "/events?ticket=used")
        await asking.ask("GET", f"/stream/{HASH}/0/a?t=old")
    assert len(asking.context.lockout) == 0


async def test_request_without_credential_is_no_failure() -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    for _ in range(20):
        assert (await asking.ask("GET", "/things")).code == "unauthenticated"
    assert (await asking.bearer().ask("GET", "/things")).status == 200


async def test_transmission_shows_its_own_status_to_who_is_locked_out() -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    for _ in range(5):
        await asking.bearer("wrong").ask("GET", "/things")
    assert (await asking.bearer().ask("POST", "/transmission/rpc")).status == 403


async def test_failed_login_is_logged_in_fixed_words_without_the_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asking = client()
    asking.client = ("192.0.2.7", 1)
    await asking.bearer("the-wrong-secret").ask("GET", "/a%0Ab%1B[31m")
    assert "authentication failed from 192.0.2.7 for /a" in caplog.text
    assert "the-wrong-secret" not in caplog.text
    assert caplog.text.count("\n") == 1
    assert "\x1b" not in caplog.text


# -- 4: Host ---------------------------------------------------------------------------------------

HOSTS: dict[str, int] = {
    "127.0.0.1:9091": 200,
    "127.0.0.1": 200,
    "[::1]:9091": 200,
    "[2001:db8::1]": 200,
    "192.0.2.1:80": 200,
    "localhost": 200,
    "LOCALHOST:9091": 200,
    "localhost.": 200,
    "nas.example": 200,
    "nas.example.:9091": 200,
    "a.lan.example": 200,
    "a.b.lan.example": 200,
    "lan.example": 421,
    "evil.example": 421,
    "nas.example.evil.example": 421,
    "evilnas.example": 421,
    "xlan.example": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "a.localhost": 421,
    "0x7f000001": 421,
    "2130706433": 421,
    "": 421,
    "a b": 421,
    "nas.example@evil.example": 421,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_host_must_be_an_address_or_one_of_ours_also_with_a_credential(host: str) -> None:
    rules = GuardRules(hosts=HostRule(["nas.example", "*.lan.example"]))
    asking = client(rules=rules).bearer()
    asking.host = host
    answer = await asking.ask("GET", "/things")
    assert answer.status == HOSTS[host]
    if answer.status == 421:
        assert answer.code == "host_refused"


async def test_host_of_public_pages_is_checked_too() -> None:
    asking = client()
    asking.host = "evil.example"
    assert (await asking.ask("GET", "/healthz")).code == "host_refused"


async def test_host_of_a_unix_socket_is_not_checked() -> None:
    asking = client().bearer()
    asking.client, asking.host = None, "anything"
    assert (await asking.ask("GET", "/things")).status == 200


# -- 5 and 6: origins ------------------------------------------------------------------------------

ORIGINS: dict[str, tuple[dict[str, str], int]] = {
    "none": ({}, 200),
    "own": ({"origin": "http://127.0.0.1:9091"}, 200),
    "listed": ({"origin": "https://ui.example"}, 200),
    "listed_and_cross_site": (
        {"origin": "https://ui.example", "sec-fetch-site": "cross-site"},
        200,
    ),
    "other": ({"origin": "https://evil.example"}, 403),
    "other_port": ({"origin": "http://127.0.0.1:8080"}, 403),
    "other_scheme": ({"origin": "https://127.0.0.1:9091"}, 403),
    "own_as_a_prefix": ({"origin": "http://127.0.0.1:9091.evil.example"}, 403),
    "listed_as_a_prefix": ({"origin": "https://ui.example.evil.example"}, 403),
    "null": ({"origin": "null"}, 200),
    "null_and_cross_site": ({"origin": "null", "sec-fetch-site": "cross-site"}, 403),
    "cross_site": ({"sec-fetch-site": "cross-site"}, 403),
    "same_site": ({"sec-fetch-site": "same-site"}, 200),
    "empty": ({"origin": ""}, 403),
}


@pytest.mark.parametrize("name", ORIGINS)
async def test_page_of_another_site_may_change_nothing(name: str) -> None:
    fields, status = ORIGINS[name]
    asking = client(rules=GuardRules(origins=OriginRule(["https://ui.example"]))).bearer()
    answer = await asking.ask("POST", "/things", json_body={}, headers=fields)
    assert answer.status == status
    if status == 403:
        assert answer.code == "origin_refused"
        assert answer.header("access-control-allow-origin") is None
    assert (await asking.ask("GET", "/things", headers=fields)).status == 200


async def test_two_origins_are_refused() -> None:
    fields = [("origin", "http://127.0.0.1:9091"), ("origin", "https://evil.example")]
    answer = await client().bearer().ask("POST", "/things", json_body={}, headers=fields)
    assert answer.code == "origin_refused"


async def test_preflight_of_a_listed_origin_is_answered_without_a_credential() -> None:
    asking = client(rules=GuardRules(origins=OriginRule(["https://ui.example"])))
    fields = {"origin": "https://ui.example", "access-control-request-method": "PATCH"}
    answer = await asking.ask("OPTIONS", "/things", headers=fields)
    assert answer.status == 204
    assert answer.header("access-control-allow-origin") == "https://ui.example"
    assert answer.header("access-control-allow-credentials") == "true"
    assert answer.header("vary") == "Origin"
    assert "PATCH" in (answer.header("access-control-allow-methods") or "")
    other = fields | {"origin": "https://evil.example"}
    refused = await asking.ask("OPTIONS", "/things", headers=other)
    assert refused.status == 401
    assert refused.header("access-control-allow-origin") is None


async def test_no_origin_is_told_anything_by_default() -> None:
    answer = await client().bearer().ask("GET", "/things", headers={"origin": "http://a"})
    assert [n for n, _ in answer.headers if n.startswith("access-control")] == []


# -- 7: credentials --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credential",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        basic("torrent", TOKEN),
        basic("", TOKEN),
        basic("anybody", "passwörd"),
    ],
)
async def test_credential_lets_in(credential: str) -> None:
    asking = client(password_hash=hash_password("passwörd")).having(authorization=credential)
    assert (await asking.ask("GET", "/things")).status == 200


WRONG = {
    "no_token": "Bearer ",
    "other_token": f"Bearer {TOKEN[:-1]}x",
    "longer_token": f"Bearer {TOKEN}x",
    "prefix_of_the_token": f"Bearer {TOKEN[:-1]}",
    "two_tokens": f"Bearer {TOKEN} {TOKEN}",
    "no_scheme": TOKEN,
    "other_scheme": f"Digest {TOKEN}",
    "token_as_user": basic(TOKEN, ""),
    "wrong_password": basic("torrent", "wrong"),
    "empty_password": basic("torrent", ""),
    "no_colon": "Basic " + base64.b64encode(TOKEN.encode()).decode(),
    "no_base64": "Basic !!!",
    "no_text": "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    "hash_as_password": basic("torrent", "HASH"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_credential_is_refused_also_at_the_unix_socket(name: str) -> None:
    hashed = hash_password("password")
    wrong = WRONG[name]
    if name == "hash_as_password":
        wrong = basic("torrent", hashed)
    asking = client(password_hash=hashed).having(authorization=wrong)
    assert (await asking.ask("GET", "/things")).code == "unauthenticated"
    asking.client, asking.uid = None, next(iter(asking.context.authenticator.secrets.socket_users))
    assert (await asking.ask("GET", "/things")).code == "unauthenticated"


async def test_two_authorizations_are_refused() -> None:
    fields = [("authorization", f"Bearer {TOKEN}")] * 2
    assert (await client().ask("GET", "/things", headers=fields)).code == "unauthenticated"


async def test_basic_must_name_the_configured_user() -> None:
    asking = client(user="torrent")
    good = asking.having(authorization=basic("torrent", TOKEN))
    assert (await good.ask("GET", "/things")).status == 200
    other = asking.having(authorization=basic("other", TOKEN))
    assert (await other.ask("GET", "/things")).status == 401


async def test_no_password_is_right_while_none_is_set() -> None:
    for password in ("", "password"):
        asking = client().having(authorization=basic("torrent", password))
        assert (await asking.ask("GET", "/things")).status == 401


async def test_unix_peer_is_known_by_its_user() -> None:
    asking = client()
    asking.client = None
    for uid, status in ((next(iter(asking.context.authenticator.secrets.socket_users)), 200),
                        (54_321, 401), (None, 401)):  # fmt: skip
        asking.uid = uid
        assert (await asking.ask("GET", "/things")).status == status


BY_A_PROXY = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "nas.example",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=192.0.2.1",
    "X-Real-IP": "192.0.2.1",
    "Via": "1.1 proxy",
    "Origin": "http://127.0.0.1:9091",
    "Referer": "http://127.0.0.1:9091/",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
}
"""What proxies send, and browsers, which need one to reach a unix socket."""


@pytest.mark.parametrize("name", BY_A_PROXY)
async def test_unix_peer_that_passes_requests_on_is_not_who_asks(name: str) -> None:
    asking = client()
    asking.client = None
    asking.uid = next(iter(asking.context.authenticator.secrets.socket_users))
    for value in (BY_A_PROXY[name], ""):
        assert (await asking.ask("GET", "/things", headers={name: value})).status == 401
        sent = {name: value, "authorization": f"Bearer {TOKEN}"}
        assert (await asking.ask("GET", "/things", headers=sent)).status == 200


async def test_user_of_tcp_is_never_believed() -> None:
    asking = client()
    asking.uid = next(iter(asking.context.authenticator.secrets.socket_users))
    assert (await asking.ask("GET", "/things")).status == 401


async def test_browser_is_asked_for_a_password_only_where_it_shall_be() -> None:
    asking = client()
    for path, scheme in (("/things", "Bearer"), ("/prompt", "Basic"), ("/nowhere", "Bearer")):
        answer = await asking.ask("GET", path)
        assert answer.status == 401
        assert (answer.header("www-authenticate") or "").startswith(scheme)


async def test_ticket_lets_in_once_within_a_minute_and_only_where_it_is_taken() -> None:
    asking = client()
    ticket = (await asking.bearer().ask("POST", "/api/v1/session/ticket")).json["ticket"]
    assert (await asking.ask("GET", f"/things?ticket={ticket}")).status == 401
    assert (await asking.ask("GET", f"/events?ticket={ticket}")).status == 200
    assert (await asking.ask("GET", f"/events?ticket={ticket}")).status == 401
    late = (await asking.bearer().ask("POST", "/api/v1/session/ticket")).json["ticket"]
    asking.clock.now_s += 61
    assert (await asking.ask("GET", f"/events?ticket={late}")).status == 401


async def test_ticket_has_the_rights_of_who_asked_for_it() -> None:
    asking = client()
    _, secret = asking.context.authenticator.tokens.make("metrics", [Scope.METRICS])
    ticket = (await asking.bearer(secret).ask("POST", "/api/v1/session/ticket")).json["ticket"]
    assert (await asking.ask("GET", f"/events?ticket={ticket}")).code == "forbidden"


# -- signed URLs -----------------------------------------------------------------------------------

HASH = "ab" * 20


async def test_signed_url_reads_its_file_until_it_ends() -> None:
    asking = client()
    links, now_s = asking.context.authenticator.links, int(asking.clock.now_s)
    one, every = links.sign(HASH, "3", now_s + 60), links.sign(HASH, "*", now_s + 60)
    for path, status in (
        (f"/stream/{HASH}/3/a.mkv?t={one}", 200),
        (f"/stream/{HASH.upper()}/3/a.mkv?t={one}", 200),
        (f"/stream/{HASH}/4/a.mkv?t={one}", 401),
        (f"/stream/{HASH}/4/a.mkv?t={every}", 200),
        (f"/stream/{'cd' * 20}/3/a.mkv?t={one}", 401),
        (f"/stream/{'cd' * 20}/3/a.mkv?t={every}", 401),
        (f"/stream/{HASH}/3/a.mkv?t={one}x", 401),
        (f"/stream/{HASH}/3/a.mkv?t={one}&t={every}", 401),
        (f"/stream/{HASH}/3/a.mkv?t={every.replace('a.', 'f.', 1)}", 401),
        (f"/stream/{HASH}/3/a.mkv?t=", 401),
        (f"/things?t={every}", 401),
    ):
        assert (await asking.ask("GET", path)).status == status, path
    later = links.sign(HASH, "3", now_s + 600)
    expiry = later.split(".")[1]
    forged = ".".join([one.split(".")[0], expiry, one.split(".")[2]])
    assert (await asking.ask("GET", f"/stream/{HASH}/3/a.mkv?t={forged}")).status == 401
    asking.clock.now_s += 60
    assert (await asking.ask("GET", f"/stream/{HASH}/3/a.mkv?t={one}")).status == 401


# -- 8: CSRF ---------------------------------------------------------------------------------------


async def test_cookie_changes_nothing_without_its_csrf_token() -> None:
    asking = client()
    cookie = asking.context.authenticator.sessions.begin(OWN)
    with_cookie = asking.having(cookie=f"{OWN.name}={cookie}")
    assert (await with_cookie.ask("GET", "/things")).json["means"] == "cookie"
    other = csrf_token_of(asking.context.authenticator.sessions.begin(OWN))
    for fields, status in (
        ({}, 403),
        ({"x-csrf-token": ""}, 403),
        ({"x-csrf-token": other}, 403),
        ({"x-csrf-token": cookie}, 403),
        ({"x-csrf-token": csrf_token_of(cookie)}, 200),
    ):
        answer = await with_cookie.ask("POST", "/things", json_body={}, headers=fields)
        assert answer.status == status
        if status == 403:
            assert answer.code == "csrf_invalid"


async def test_cookie_of_tls_has_another_name() -> None:
    asking = client()
    cookie = asking.context.authenticator.sessions.begin(OWN)
    asking.scheme = "https"
    plain = asking.having(cookie=f"te_session={cookie}")
    assert (await plain.ask("GET", "/things")).status == 401
    own = asking.having(cookie=f"__Host-te_session={cookie}")
    assert (await own.ask("GET", "/things")).status == 200


async def test_form_of_a_browser_that_knows_the_password_is_refused() -> None:
    asking = client().having(authorization=basic("", TOKEN), origin="http://127.0.0.1:9091")
    form = {"content-type": "application/x-bittorrent"}
    assert (await asking.ask("POST", "/upload", b"d1:ai1ee", headers=form)).code == "csrf_invalid"
    assert (await asking.ask("POST", "/things", json_body={})).status == 200
    hidden = client().having(authorization=basic("", TOKEN), origin="null")
    assert (await hidden.ask("POST", "/things")).code == "csrf_invalid"
    assert (await hidden.ask("POST", "/things", json_body={})).code == "csrf_invalid"
    program = client().having(authorization=basic("", TOKEN))
    assert (await program.ask("POST", "/upload", b"d1:ai1ee", headers=form)).status == 200


# -- 9: scopes and routes --------------------------------------------------------------------------


@pytest.mark.parametrize("scope", Scope)
async def test_token_may_do_what_its_scope_says_only(scope: Scope) -> None:
    asking = client()
    _, secret = asking.context.authenticator.tokens.make("program", [scope])
    for method, path, needed in (
        ("GET", "/things", Scope.READ),
        ("POST", "/things", Scope.CONTROL),
        ("GET", "/prompt", Scope.METRICS),
        ("GET", f"/stream/{HASH}/0/a", Scope.STREAM),
        ("GET", "/api/v1/tokens", Scope.ADMIN),
    ):
        answer = await asking.bearer(secret).ask(method, path)
        assert answer.status == (200 if needed is scope else 403)
        if needed is not scope:
            assert answer.code == "forbidden"
            assert answer.json["scope"] == needed


async def test_route_that_declares_nothing_is_refused_to_everybody() -> None:
    assert (await client().ask("GET", "/forgotten")).status == 401
    answer = await client().bearer().ask("GET", "/forgotten")
    assert answer.code == "not_found"
    assert b"secret" not in answer.body


async def test_unknown_path_and_method_are_told_to_principals_only() -> None:
    asking = client()
    for method, path in (("GET", "/nowhere"), ("DELETE", "/things")):
        assert (await asking.ask(method, path)).status == 401
    assert (await asking.bearer().ask("GET", "/nowhere")).code == "not_found"
    answer = await asking.bearer().ask("DELETE", "/things")
    assert answer.code == "method_not_allowed"
    assert answer.header("allow") == "GET, POST"


async def test_head_is_get_without_a_body_and_a_slash_is_taken_off() -> None:
    asking = client().bearer()
    assert (await asking.ask("HEAD", "/things")).status == 200
    moved = await asking.ask("GET", "/things/?a=1")
    assert (moved.status, moved.header("location")) == (308, "/things?a=1")
    assert (await asking.ask("GET", "/nowhere/")).code == "not_found"
    for path in ("//evil.example/", "//things/"):
        assert (await asking.ask("GET", path)).status == 404


# -- 10: bodies ------------------------------------------------------------------------------------


async def test_body_is_limited_by_its_type_and_its_length() -> None:
    asking = client().bearer()
    torrent = {"content-type": "application/x-bittorrent"}
    assert (await asking.ask("POST", "/upload", bytes(1000), headers=torrent)).status == 200
    long = await asking.ask("POST", "/upload", bytes(1001), headers=torrent)
    assert long.code == "too_large"
    assert long.json["limit"] == 1000
    for kind in ("text/plain", "application/jsonx", "multipart/form-data", ""):
        answer = await asking.ask("POST", "/things", b"{}", headers={"content-type": kind})
        assert answer.code == "unsupported_media_type"
    parameters = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await asking.ask("POST", "/things", b"{}", headers=parameters)).status == 200
    assert (await asking.ask("POST", "/things", json_body="x" * 2**21)).code == "too_large"


async def test_json_is_not_nested_deeper_than_32_levels() -> None:
    asking = client().bearer()
    json = {"content-type": "application/json"}
    deep, flat = b"[" * 33 + b"]" * 33, b"[" + b"[],[{}]," * 1000 + b"1]"
    for body, status in ((deep, 400), (deep[1:-1], 200), (flat, 200), (b"[" * 10_000, 400)):
        assert (await asking.ask("POST", "/things", body, headers=json)).status == status
    quoted = b'{"a": "' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"}'
    assert (await asking.ask("POST", "/things", quoted, headers=json)).status == 200


async def test_body_is_looked_at_after_the_credential() -> None:
    answer = await client().ask("POST", "/things", bytes(100), headers={"content-type": "a/b"})
    assert answer.code == "unauthenticated"


async def test_checks_come_in_their_order() -> None:
    """A request that fails all of them is mended check by check: the next one answers then."""
    asking = client(rules=GuardRules(allow_from=ranges("192.0.2.0/24")))
    made = asking.context.authenticator.tokens.make("reads", [Scope.READ])[1]
    asking.client = ("192.0.2.7", 1)
    for _ in range(5):
        await asking.bearer("wrong").ask("GET", "/things")
    own = f"http://{asking.host}"
    wrong = {"origin": "http://other.example", "content-type": "a/b"}
    form = {"origin": own, "content-type": "a/b", "authorization": basic("", made)}
    steps = [
        ("198.51.100.1", "other.example", wrong, "address_refused"),
        ("192.0.2.7", "other.example", wrong, "locked_out"),
        ("192.0.2.8", "other.example", wrong, "host_refused"),
        ("192.0.2.8", asking.host, wrong, "origin_refused"),
        ("192.0.2.8", asking.host, wrong | {"origin": own}, "unauthenticated"),
        ("192.0.2.8", asking.host, form, "csrf_invalid"),
        ("192.0.2.8", asking.host, form | {"authorization": f"Bearer {made}"}, "forbidden"),
        (
            "192.0.2.8",
            asking.host,
            form | {"authorization": f"Bearer {TOKEN}"},
            "unsupported_media_type",
        ),
    ]
    for address, host, fields, code in steps:
        asking.client, asking.host = (address, 1), host
        assert (await asking.ask("POST", "/things", b"{}", headers=fields)).code == code
    last = {"origin": own, "content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    assert (await asking.ask("POST", "/things", b"{}", headers=last)).status == 200


# -- phases, fields, errors ------------------------------------------------------------------------


async def test_nothing_but_health_is_answered_while_the_engine_starts_or_stops() -> None:
    asking = client()
    asking.context.life.starting()
    health = await asking.ask("GET", "/healthz")
    assert (health.status, health.body) == (503, b"starting\n")
    assert health.header("retry-after") == "1"
    answer = await asking.bearer().ask("GET", "/things")
    assert answer.code == "starting"
    assert answer.header("retry-after") == "1"
    assert (await asking.ask("GET", "/things")).code == "unauthenticated"
    asking.context.life.stop()
    assert (await asking.bearer().ask("GET", "/things")).code == "stopping"
    assert (await asking.ask("GET", "/healthz")).body == b"stopping\n"


async def test_process_is_alive_while_it_starts_and_stops() -> None:
    asking = client()
    asking.context.life.starting()
    assert (await asking.ask("GET", "/livez")).body == b"ok\n"
    asking.context.life.stop()
    assert (await asking.ask("GET", "/livez")).status == 200


async def test_every_answer_carries_the_fields_of_its_kind_of_page() -> None:
    asking = client()
    api = await asking.ask("GET", "/things")
    assert (api.header("content-security-policy") or "").startswith("default-src 'none'")
    assert api.header("x-content-type-options") == "nosniff"
    assert api.header("cache-control") == "no-store"
    assert api.header("x-frame-options") == "DENY"
    page = await asking.ask("GET", "/front-page")
    assert page.header("content-security-policy") == "frame-ancestors 'self'"
    assert page.header("cache-control") == "max-age=5"
    assert page.header("server") is None
    stream = await asking.bearer().ask("GET", f"/stream/{HASH}/0/a")
    assert (stream.header("content-security-policy") or "").startswith("sandbox")
    assert stream.header("cross-origin-resource-policy") == "same-site"


async def test_bug_is_a_500_with_an_incident_and_no_detail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = await client().bearer().ask("GET", "/bug")
    assert answer.code == "internal"
    incident = answer.json["instance"].removeprefix("incident:")
    assert f"incident {incident}" in caplog.text
    assert "the detail that nobody may see" in caplog.text
    assert b"detail that" not in answer.body
    assert (answer.header("content-security-policy") or "").startswith("default-src 'none'")


# -- proxies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:1234", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::1]:1234", "2001:db8::1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.9", "1.1.1.1", "192.0.2.9"),
    ],
)
async def test_forwarded_address_counts_from_a_trusted_proxy_only(
    peer: str, forwarded: str, seen: str
) -> None:
    asking = client(rules=GuardRules(trusted_proxies=ranges("10.0.0.0/8")))
    asking.client = (peer, 1)
    for _ in range(5):
        await asking.bearer("wrong").ask("GET", "/things", headers={"x-forwarded-for": forwarded})
    assert asking.context.lockout.wait_s(seen) > 0
    assert len(asking.context.lockout) == 1


async def test_forwarded_host_and_scheme_count_from_a_trusted_proxy_only() -> None:
    fields = {
        "x-forwarded-host": "nas.example",
        "x-forwarded-proto": "https",
        "origin": "https://nas.example",
    }
    rules = GuardRules(hosts=HostRule(["nas.example"]), trusted_proxies=ranges("10.0.0.0/8"))
    asking = client(rules=rules).bearer()
    asking.client = ("10.0.0.1", 1)
    assert (await asking.ask("POST", "/things", json_body={}, headers=fields)).status == 200
    evil = fields | {"x-forwarded-host": "evil.example"}
    assert (await asking.ask("GET", "/things", headers=evil)).code == "host_refused"
    asking.client = ("192.0.2.9", 1)
    answer = await asking.ask("POST", "/things", json_body={}, headers=fields)
    assert answer.code == "origin_refused"
