"""Login, cookies, and requests of other sites' pages."""

import base64

import pytest

from tests.daemon.contexts import TOKEN
from tests.daemon.qbittorrent.web_api_scene import WebApiScene
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio
ADDRESS = "http://127.0.0.1:9091"


async def test_login_answers_ok_with_a_cookie_that_opens_everything() -> None:
    async with WebApiScene().open(token=None) as scene:
        answer = await scene.ask(
            "POST", "auth/login", data={"username": "torrent", "password": TOKEN}
        )
        assert (answer.status_code, answer.text) == (200, "Ok.")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("SID=")
        for part in ("HttpOnly", "Path=/", "SameSite=strict"):
            assert part in cookie
        assert await scene.text("app/version") == "v5.1.4"  # the client has the cookie now
        assert await scene.post("torrents/stop", hashes="all") == ""
        assert await scene.post("auth/login", username="", password="") == "Ok."  # still logged in
        await scene.post("auth/logout")
        assert (await scene.ask("GET", "app/version")).status_code == 403


@pytest.mark.parametrize("name", ["torrent", "somebody", ""])
async def test_login_with_a_wrong_password_answers_fails(name: str) -> None:
    async with WebApiScene().open(token=None) as scene:
        answer = await scene.ask("POST", "auth/login", data={"username": name, "password": "no"})
        assert (answer.status_code, answer.text) == (200, "Fails.")
        assert "set-cookie" not in answer.headers


async def test_without_a_credential_every_answer_is_403_in_plain_text() -> None:
    async with WebApiScene().open(token=None) as scene:
        for path in ("app/webapiVersion", "torrents/info", "sync/maindata"):
            answer = await scene.ask("GET", path)
            assert (answer.status_code, answer.text) == (403, "Forbidden")
        answer = await scene.ask("GET", "app/version", headers={"Cookie": "SID=guessed"})
        assert answer.status_code == 403


@pytest.mark.parametrize("user", ["torrent", "anybody"])
async def test_basic_and_bearer_are_accepted_on_every_route(user: str) -> None:
    async with WebApiScene().open(token=None) as scene:
        secret = base64.b64encode(f"{user}:{TOKEN}".encode()).decode()
        for value in (f"Basic {secret}", f"Bearer {TOKEN}"):
            headers = {"Authorization": value}
            assert (await scene.ask("GET", "app/version", headers=headers)).status_code == 200
            answer = await scene.ask(
                "POST", "torrents/stop", data={"hashes": "all"}, headers=headers
            )
            assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://other.example"},
        {"Origin": "null"},
        {"Referer": "https://other.example/page"},
        {"Referer": "about:blank"},
        {"Referer": f"{ADDRESS}.other.example/"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
async def test_pages_of_other_sites_change_nothing(
    scene: WebApiScene, headers: dict[str, str]
) -> None:
    answer = await scene.ask("POST", "torrents/stop", data={"hashes": "all"}, headers=headers)
    assert answer.status_code == 403
    login = {"username": "torrent", "password": TOKEN}
    assert (await scene.ask("POST", "auth/login", data=login, headers=headers)).status_code == 403


@pytest.mark.parametrize("name", ["Origin", "Referer"])
async def test_own_pages_are_served(scene: WebApiScene, name: str) -> None:
    headers = {name: ADDRESS if name == "Origin" else f"{ADDRESS}/index.html"}
    answer = await scene.ask("POST", "torrents/stop", data={"hashes": "all"}, headers=headers)
    assert answer.status_code == 200


async def test_a_token_does_what_its_scopes_say() -> None:
    scene = WebApiScene()
    _, secret = scene.context.authenticator.tokens.make("reader", [Scope.READ])
    async with scene.open(token=secret):
        scene.put()
        assert len(await scene.get("torrents/info")) == 1
        assert await scene.refused("torrents/stop", hashes="all") == 403
        assert await scene.refused("app/setPreferences", json="{}") == 403
        assert await scene.refused("app/shutdown") == 403


async def test_urls_of_trackers_keep_their_secret_from_readers() -> None:
    scene = WebApiScene()
    _, secret = scene.context.authenticator.tokens.make("reader", [Scope.READ])
    async with scene.open(token=secret):
        key = scene.put(magnet="magnet:?xt=urn:btih:1&tr=https://t.example/0123456789abcdef0123")
        for path in ("torrents/info", "sync/maindata", f"torrents/trackers?hash={key.hex()}"):
            answer = await scene.ask("GET", path)
            assert answer.status_code == 200
            assert "0123456789abcdef0123" not in answer.text.replace(key.hex(), "")


async def test_what_changes_something_is_refused_by_get(scene: WebApiScene) -> None:
    for path in ("torrents/delete", "torrents/add", "app/shutdown", "auth/login"):
        answer = await scene.ask("GET", path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
    assert (await scene.ask("POST", "torrents/info")).status_code == 200
