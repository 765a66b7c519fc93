"""Everything that is wrong with settings is told at once, whether alone or together."""

from pathlib import Path

import pytest

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.loading import Places, SettingsError, load
from torrent_engine.daemon.settings_check import check_settings, check_sources

NOWHERE = Path("/nonexistent/daemon.toml")
WRONG = """
[limits]
peers = "many"
[listen]
address = "1.2.3.4.5:99999"
origins = ["*"]
allow_from = ["10.0.0.0/33"]
trusted_proxies = ["proxy"]
root_path = "torrents"
socket_users = ["nobody of this name"]
[tls]
certificate = "/nonexistent/chain.pem"
[network]
proxy = "ftp://user:secret@proxy:1"
dht_bootstrap = ["node", "other"]
[auth]
password_hash = "plain"
[[listeners]]
address = "127.0.0.1:1"
origins = ["example"]
[[category]]
name = "/films/"
[[blocklist]]
url = "https://lists.example/a"
every = "daily"
[[hook]]
event = "torrent_added"
command = ["/nonexistent/program"]
[[hook]]
event = "disk_low"
command = ["relative"]
"""


def places(tmp_path: Path, text: str, *options: str, **environment: str) -> Places:
    file = tmp_path / "daemon.toml"
    file.write_text(text)
    return Places(environment, options, file, NOWHERE)


def test_all_errors_of_all_kinds_are_told_at_once(tmp_path: Path) -> None:
    wrong = places(tmp_path, WRONG, "queue.downloads=x", TORRENT_ENGINE_LIMIT__PEERS="1")
    with pytest.raises(SettingsError) as raised:
        check_sources(wrong, tmp_path)
    found = raised.value.errors
    for expected in (
        "command line: queue.downloads: 'x': a whole number",
        "TORRENT_ENGINE_LIMIT__PEERS: there is no section 'limit'; the nearest is 'limits'",
        "limits.peers: 'many'",
        "listen.address: '1.2.3.4.5:99999': an address is HOST:PORT",
        "listen.origins: '*'",
        "listen.allow_from: ",
        "listen.trusted_proxies: ",
        "listen.root_path: ",
        "listen.socket_users: there is no user",
        "tls: /nonexistent/chain.pem",
        "network.proxy: ",
        "network.dht_bootstrap: 'node'",
        "network.dht_bootstrap: 'other'",
        "auth.password_hash: ",
        "[[listeners]] 1: origins: 'example'",
        "category: '/films/' cannot be a name",
        "blocklist: every: 'daily'",
        "hook for torrent_added: /nonexistent/program: no such file",
        "hook for disk_low: command: an absolute path",
    ):
        assert sum(expected in line for line in found) == 1, (expected, found)
    assert len(found) == 19
    assert not any("secret" in line for line in found)


def test_settings_in_order_are_returned(tmp_path: Path) -> None:
    merged = check_sources(places(tmp_path, "[limits]\npeers = 7\n"), tmp_path)
    assert merged.settings.limits.peers == 7


def test_certificate_is_looked_at_before_the_start_only(tmp_path: Path) -> None:
    text = '[tls]\ncertificate = "/nonexistent/chain.pem"\n'
    check_settings(load(places(tmp_path, text)), tmp_path)
    with pytest.raises(ConfigError, match=r"chain\.pem"):
        check_sources(places(tmp_path, text), tmp_path)
