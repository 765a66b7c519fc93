"""The daemon behind nginx, as the manual configures it."""

import re
from pathlib import Path

import httpx2

from tests.support import slow_http as http
from tests.support.netns import LOOPBACK
from tests.support.nginx import Nginx
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import free_port, require_program

MANUAL = Path(__file__).parents[2] / "docs" / "daemon.md"
NAME = {"Host": "nas.example"}


def block(language: str, beginning: str) -> str:
    """Return an example of the manual, by its language and its beginning."""
    found = re.findall(rf"```{language}\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    (one,) = [each for each in found if each.startswith(beginning)]
    return str(one)


def test_daemon_is_used_below_a_path_of_a_proxy_as_the_manual_says(tmp_path: Path) -> None:
    require_program("nginx", "nginx-light")
    config = tmp_path / "daemon.toml"
    config.write_text(block("toml", "[listen]\nroot_path"))
    with OwnDaemon(tmp_path, options=[f"--config={config}"]) as daemon:
        location = block("nginx", "location").replace(":9091", f":{daemon.port}")
        port = free_port()
        web = Nginx(
            LOOPBACK, tmp_path / "nginx", tmp_path, address=("127.0.0.1", port), extra=location
        )
        try:
            at = f"{web.url}torrents"
            bearer = {**NAME, "Authorization": f"Bearer {daemon.token}"}
            assert http.get(f"{at}/healthz", headers=NAME).text == "ok\n"
            assert http.get(f"{at}/", headers=NAME).text.startswith("<!doctype html>")
            assert http.get(f"{at}/healthz", headers={"Host": "evil.example"}).status_code == 421
            assert http.get(f"{at}/api/v1", headers=bearer).json()["name"] == "torrent_engine"
            login(at, daemon)
            upload = http.post(
                f"{at}/api/v1/torrents",
                headers={**bearer, "Content-Type": "application/x-bittorrent"},
                content=bytes(3_000_000),
            )
            assert upload.headers["content-type"] == "application/problem+json"  # not nginx' 413
            events_come(at, bearer, daemon)
            assert logged_address(at, daemon) == "127.0.0.1"
        finally:
            web.end()


def login(at: str, daemon: OwnDaemon) -> None:
    """Log in as a browser does, and change something with the cookie."""
    origin = {**NAME, "Origin": "http://nas.example"}
    with httpx2.Client(headers=origin, timeout=http.TIMEOUT_S) as browser:
        session = browser.post(f"{at}/api/v1/session", json={"password": daemon.token})
        assert session.status_code == 201, session.text
        cookie = session.headers["set-cookie"].partition(";")[0]
        fields = {"Cookie": cookie, "X-CSRF-Token": session.json()["csrf_token"]}
        changed = browser.patch(
            f"{at}/api/v1/settings", json={"limits.upload_kb_s": 7}, headers=fields
        )
        assert changed.status_code == 200, changed.text


def events_come(at: str, bearer: dict[str, str], daemon: OwnDaemon) -> None:
    """See that an event arrives while its answer goes on."""
    with httpx2.stream(
        "GET", f"{at}/api/v1/events", headers=bearer, timeout=http.TIMEOUT_S
    ) as answer:
        assert answer.status_code == 200
        first = next(iter(answer.iter_lines()))
        assert first
    assert daemon.ask("GET", "/api/v1")["api"] == 1


def logged_address(at: str, daemon: OwnDaemon) -> str:
    """Return whose address a failed login is logged with."""
    answer = http.get(f"{at}/api/v1", headers={**NAME, "Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    found = re.search(r"authentication failed from (\S+) for", daemon.output())
    assert found is not None, daemon.output()
    return found[1]
