"""Further listeners: what each serves, to whom, with which certificate."""

import ssl
from pathlib import Path

import httpx2
import pytest

from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import free_port
from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.listeners import listen_places
from torrent_engine.daemon.security.served_routes import interface_of
from torrent_engine.daemon.settings.loading import Places, load
from torrent_engine.daemon.settings.merge import Merged
from torrent_engine.daemon.settings_check import check_settings

NOWHERE = Path("/nonexistent/daemon.toml")


def merged_of(folder: Path, text: str, *options: str) -> Merged:
    file = folder / "daemon.toml"
    file.write_text(text)
    return load(Places({"XDG_CONFIG_HOME": "/nonexistent"}, options, file, NOWHERE))


def addresses(merged: Merged) -> list[str]:
    return [each.settings.address or each.settings.socket for each in listen_places(merged)]


def test_listeners_stand_in_the_place_of_an_address_that_nobody_set(tmp_path: Path) -> None:
    rows = '[[listeners]]\naddress = "127.0.0.1:1"\n[[listeners]]\nsocket = "/tmp/a.sock"\n'
    assert addresses(merged_of(tmp_path, "")) == ["127.0.0.1:9091", "auto"]
    assert addresses(merged_of(tmp_path, rows)) == ["auto", "127.0.0.1:1", "/tmp/a.sock"]
    set_too = merged_of(tmp_path, rows, "listen.address=127.0.0.1:2")
    assert addresses(set_too) == ["127.0.0.1:2", "auto", "127.0.0.1:1", "/tmp/a.sock"]
    no_socket = merged_of(tmp_path, rows, "listen.socket=")
    assert addresses(no_socket) == ["127.0.0.1:1", "/tmp/a.sock"]


WRONG = {
    "": "either an address or a socket",
    'address = "127.0.0.1:1"\nsocket = "/tmp/a"': "either an address or a socket",
    'address = "nowhere"': "an address is HOST:PORT",
    'address = "0.0.0.0:1"': "who would see the token",
    'address = "0.0.0.0:1"\ntls = false\ncertificate = "a"': "who would see the token",
    'socket = "/tmp/a"\nserves = ["web"]': "serves: 'web': one of api",
    'socket = "/tmp/a"\nserves = ["ui"]': "the page (ui) needs the api",
    'socket = "/tmp/a"\nserves = ["ui", "api"]\nweb_root = "/x"': "in the place of the page",
    'socket = "/tmp/a"\nkey = "a"': "key: is that of a certificate",
    'socket = "/tmp/a"\norigins = ["*"]': "origins: '*'",
    'socket = "/tmp/a"\nallow_from = ["10.0.0.0/33"]': "allow_from",
}


@pytest.mark.parametrize(("row", "words"), WRONG.items())
def test_listener_that_cannot_be_served_is_refused_by_its_number(
    tmp_path: Path, row: str, words: str
) -> None:
    text = f'[[listeners]]\nsocket = "/tmp/first"\n[[listeners]]\n{row}\n'
    with pytest.raises(ConfigError, match=r"^\[\[listeners\]\] 2: ") as raised:
        check_settings(merged_of(tmp_path, text), tmp_path)
    assert words in str(raised.value)


def test_listener_with_a_certificate_or_leave_may_be_reached_by_others(tmp_path: Path) -> None:
    for row in ("certificate = 'a.pem'", "tls = true", "allow_plain_http = true"):
        text = f'[[listeners]]\naddress = "0.0.0.0:1"\n{row}\n'
        check_settings(merged := merged_of(tmp_path, text), tmp_path)
        assert [each.address for each in merged.tables.listeners] == ["0.0.0.0:1"]


@pytest.mark.parametrize(
    ("path", "interface"),
    [
        ("/", "ui"),
        ("/ui/1/app.js", "ui"),
        ("/api/v1", "api"),
        ("/api/v1/torrents", "api"),
        ("/api/sessions", "api"),
        ("/api/v2/app/version", "qbittorrent"),
        ("/qbittorrent/", "qbittorrent"),
        ("/transmission", "transmission"),
        ("/transmission/rpc", "transmission"),
        ("/stream/x/playlist.m3u8", "stream"),
        ("/metrics/torrents", "metrics"),
        ("/healthz", ""),
        ("/livez", ""),
    ],
)
def test_interface_of_a_path(path: str, interface: str) -> None:
    assert interface_of(path) == interface


def test_each_listener_serves_what_it_says(tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "public").mkdir(parents=True)
    (page / "public" / "index.html").write_text("<title>theirs</title>")
    (page / "secret.txt").write_text("secret")
    foreign, secure, numbers = free_port(), free_port(), tmp_path / "numbers.sock"
    file = tmp_path / "daemon.toml"
    text = f"""
[qbittorrent]
enabled = true
[[listeners]]
address = "127.0.0.1:{foreign}"
serves = ["qbittorrent"]
web_root = "{page}"
hosts = ["nas.example"]
[[listeners]]
socket = "{numbers}"
serves = ["metrics"]
[[listeners]]
address = "127.0.0.1:{secure}"
serves = ["api"]
tls = true
allow_from = ["10.0.0.0/8"]
"""
    file.write_text(text)
    with OwnDaemon(tmp_path, options=[f"--config={file}"]) as daemon:
        bearer = {"Authorization": f"Bearer {daemon.token}"}
        at = f"http://127.0.0.1:{foreign}"
        shown = daemon.ask("GET", "/api/v1")["interfaces"]
        assert f"{at}/" in shown["qbittorrent"]
        assert f"{at}/" not in shown["ui"] + shown["api"] + shown["stream"]
        assert http.get(f"{at}/").text == "<title>theirs</title>"
        assert http.get(f"{at}/", headers={"Host": "nas.example"}).status_code == 200
        assert http.get(daemon.url("/"), headers={"Host": "nas.example"}).status_code == 421
        assert http.get(f"{at}/api/v2/app/version", headers=bearer).text == "v5.1.4"
        assert http.get(f"{at}/api/v2/app/version").status_code == 403
        for path in ("/api/v1", "/metrics", "/transmission/rpc", "/secret.txt", "/..%2fsecret.txt"):
            assert http.get(f"{at}{path}", headers=bearer).status_code == 404, path
        assert http.post(f"{at}/api/v1/shutdown", headers=bearer).status_code == 404
        assert http.get(f"{at}/healthz").text == "ok\n"
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(numbers)), base_url="http://localhost"
        ) as client:
            assert "torrent_engine_" in client.get("/metrics", timeout=http.TIMEOUT_S).text
            assert client.get("/api/v1", timeout=http.TIMEOUT_S).status_code == 404
        trust = ssl.create_default_context(cafile=str(daemon.state / "daemon.crt"))
        refused = http.get(f"https://127.0.0.1:{secure}/api/v1", headers=bearer, verify=trust)
        assert refused.status_code == 403
        assert "<title>theirs" not in daemon.text("/")
        file.write_text(text.replace('serves = ["metrics"]', 'serves = ["api"]'))
        assert daemon.run("reload")[1] == "listeners: takes effect at the next start\n"
    assert not numbers.exists()
