"""How programs are started: their commands and files, and short runs with the programs."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import missing, require_program
from torrent_engine.conformance.adapters import transmission_add, webtorrent
from torrent_engine.conformance.adapters.download import kind_below
from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder
from torrent_engine.conformance.adapters.nodes import NODE_BUILDERS, node_builder_named
from torrent_engine.conformance.adapters.programs import BUILDERS, builder_named
from torrent_engine.conformance.bencoding import parse_dictionary
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.lab import KitAddresses
from torrent_engine.conformance.swarm.network import LoopbackNetwork
from torrent_engine.conformance.swarm.subject import FileKind
from torrent_engine.conformance.torrent_set import basic_torrent, write_sample

LINK = basic_torrent().magnet()
CLIENTS = sorted(set(BUILDERS) - {"opentracker"})


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LaunchOrder]:
    """Return a function that makes orders; every program is installed."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("transmission-daemon", "aria2c", "rtorrent", "qbittorrent-nox", "node"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    module = tmp_path / "node_modules" / "webtorrent"
    module.mkdir(parents=True)
    (module / "index.js").touch()
    monkeypatch.setenv(webtorrent.FOLDER, str(tmp_path))
    path = write_sample(basic_torrent(), tmp_path)

    def make(**changes: Any) -> LaunchOrder:
        facts = {"host": "127.0.0.1", "port": 7_001, **changes}
        return LaunchOrder(path, tmp_path / "data", tmp_path / "home", **facts)

    return make


def told(command: LaunchCommand) -> str:
    """Return everything that a program is told."""
    files = b"\n".join(command.files.values()).decode(errors="replace")
    return "\n".join((*command.argv, *command.environment.values(), files))


@pytest.mark.parametrize("name", CLIENTS)
def test_program_is_told_torrent_folder_port_and_nothing_of_the_users(
    name: str, order: Callable[..., LaunchOrder], tmp_path: Path
) -> None:
    command = BUILDERS[name](order())
    text = told(command)
    assert "7001" in text
    assert str(tmp_path / "data") in text
    assert "sample.torrent" in text or "basic.torrent" in text or "watched" in text
    assert command.version_argv
    assert all(not Path(each).is_absolute() for each in command.files)
    if name not in {"libtorrent", "torrent-engine"}:
        assert command.environment["HOME"] == str(tmp_path / "home")


@pytest.mark.parametrize("name", CLIENTS)
def test_program_is_told_the_link_to_download(name: str, order: Callable[..., LaunchOrder]) -> None:
    assert LINK in told(BUILDERS[name](order(downloads=True, magnet=LINK)))


@pytest.mark.parametrize("name", CLIENTS)
def test_program_without_utp_is_not_started_for_it(
    name: str, order: Callable[..., LaunchOrder]
) -> None:
    if name in {"aria2", "rtorrent"}:
        with pytest.raises(NotOfferedError, match="has no uTP"):
            BUILDERS[name](order(over_utp=True))
    else:
        assert BUILDERS[name](order(over_utp=True)).argv


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("torrent-engine", "--no-lsd"),
        ("libtorrent", "--lsd"),
        ("aria2", "--bt-enable-lpd=true"),
        ("transmission", '"lpd-enabled": true'),
        ("qbittorrent", "LSDEnabled=true"),
    ],
)
def test_program_is_told_whether_it_finds_neighbours(
    name: str, word: str, order: Callable[..., LaunchOrder]
) -> None:
    is_off = word.startswith("--no")
    assert (word in told(BUILDERS[name](order(downloads=True)))) is is_off
    assert (word in told(BUILDERS[name](order(downloads=True, has_lsd=True)))) is not is_off


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("torrent-engine", "preferred"),
        ("libtorrent", "--reconnect"),
        ("rtorrent", "try_outgoing"),
        ("qbittorrent", "Encryption=0"),
        ("webtorrent", '"encryption": true'),
    ],
)
def test_download_is_told_whether_it_tries_encryption(
    name: str, word: str, order: Callable[..., LaunchOrder]
) -> None:
    assert word not in told(BUILDERS[name](order(downloads=True)))
    assert word in told(BUILDERS[name](order(downloads=True, has_encryption=True)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"has_lsd": True}, "local discovery"),
        ({"has_encryption": True}, "encryption"),
        ({"over_utp": True}, "uTP"),
    ],
)
def test_program_of_a_file_is_not_started_with_what_it_has_no_words_for(
    changes: dict[str, bool], reason: str, order: Callable[..., LaunchOrder], tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('command = ["seed"]\ndownload = ["load"]\n')
    builder = builder_named(str(path))
    assert builder(order(downloads=True)).argv == ("load",)
    with pytest.raises(NotOfferedError, match=reason):
        builder(order(downloads=True, **changes))


def test_what_has_a_name_in_a_folder_is_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "plain").write_bytes(b"")
    (folder / "tool").write_bytes(b"")
    (folder / "tool").chmod(0o755)
    (folder / "inside").symlink_to("nobody")
    (folder / "outside").symlink_to("../../stray")
    names = ("nothing", "plain", "tool", "inside", "outside")
    assert [kind_below(folder, each) for each in names] == [
        FileKind.NOTHING,
        FileKind.FILE,
        FileKind.EXECUTABLE,
        FileKind.LINK,
        FileKind.LINK_OUTSIDE,
    ]


@pytest.mark.parametrize(
    ("name", "word", "is_ipv6"),
    [
        ("libtorrent", "--ipv6", True),
        ("aria2", "--interface=127.0.0.1", False),
        ("qbittorrent", "InterfaceAddress=127.0.0.1", False),
    ],
)
def test_download_is_told_whether_it_uses_ipv6(
    name: str, word: str, is_ipv6: bool, order: Callable[..., LaunchOrder]
) -> None:
    assert (word in told(BUILDERS[name](order(downloads=True)))) is not is_ipv6
    assert (word in told(BUILDERS[name](order(downloads=True, has_ipv6=True)))) is is_ipv6
    with pytest.raises(NotOfferedError, match="one address"):
        BUILDERS["rtorrent"](order(downloads=True, has_ipv6=True))


@pytest.mark.parametrize("families", [(), (socket.AF_INET,), (socket.AF_INET6,)])
def test_name_without_addresses_of_both_families_is_not_used(
    families: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(each, 0, 0, "", ("somewhere", 0)) for each in families]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(NotOfferedError, match="both families"):
        LoopbackNetwork().twins()


def test_name_with_addresses_of_both_families_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
    found = [(family, 0, 0, "", (host, 0)) for family, host in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert LoopbackNetwork().twins() == ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize("name", ["rtorrent", "webtorrent"])
def test_program_without_local_discovery_is_not_started_for_it(
    name: str, order: Callable[..., LaunchOrder]
) -> None:
    with pytest.raises(NotOfferedError, match="local service discovery"):
        BUILDERS[name](order(has_lsd=True))


@pytest.mark.parametrize("name", ["torrent-engine", "libtorrent", "aria2", "webtorrent"])
def test_node_is_told_the_nodes_that_it_knows_first(
    name: str, order: Callable[..., LaunchOrder]
) -> None:
    assert "127.3.4.5:6881" in told(NODE_BUILDERS[name](order(), ["127.3.4.5:6881"]))


def test_node_of_rtorrent_adds_each_node(order: Callable[..., LaunchOrder]) -> None:
    text = told(NODE_BUILDERS["rtorrent"](order(), ["127.3.4.5:6881", "127.3.4.6:6882"]))
    assert 'schedule2 = node0,1,0,"dht.add_node=127.3.4.5:6881"' in text
    assert 'schedule2 = node1,1,0,"dht.add_node=127.3.4.6:6882"' in text
    assert "dht.port.set = 7001" in text


def test_node_of_qbittorrent_has_the_nodes_in_its_torrent(
    order: Callable[..., LaunchOrder],
) -> None:
    command = NODE_BUILDERS["qbittorrent"](order(), ["127.3.4.5:6881"])
    torrent = parse_dictionary(command.files["nodes.torrent"])
    assert torrent[b"nodes"] == [[b"127.3.4.5", 6881]]
    assert torrent[b"info"] == parse_dictionary(basic_torrent().info)


def test_node_of_transmission_needs_a_network_of_its_own(
    order: Callable[..., LaunchOrder],
) -> None:
    with pytest.raises(NotOfferedError, match="on its own machine"):
        NODE_BUILDERS["transmission"](order(), ["127.3.4.5:6881"])
    command = NODE_BUILDERS["transmission"](order(host="11.0.0.1"), ["11.3.4.5:6881"])
    assert command.files["dht.bootstrap"] == b"11.3.4.5 6881\n"
    assert json.loads(command.files["settings.json"])["dht-enabled"] is True


def test_rtorrent_gets_a_tracker_where_there_is_none(order: Callable[..., LaunchOrder]) -> None:
    torrent = BUILDERS["rtorrent"](order()).files["sample.torrent"]
    assert parse_dictionary(torrent)[b"announce"]
    tracked = order()
    tracked.torrent.write_bytes(basic_torrent().torrent_file("http://127.0.0.1:1/announce"))
    kept = BUILDERS["rtorrent"](tracked).files["sample.torrent"]
    assert kept == tracked.torrent.read_bytes()


@pytest.mark.parametrize("name", ["transmission", "aria2", "rtorrent", "qbittorrent", "webtorrent"])
def test_program_that_is_not_installed_is_named(
    name: str, order: Callable[..., LaunchOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConformanceError, match="is not installed"):
        builder_named(name)(order())
    with pytest.raises(ConformanceError, match="is not installed"):
        node_builder_named(name)(order(host="11.0.0.1"), ["11.0.0.2:1"])


def test_package_of_webtorrent_that_is_not_there_is_named(
    order: Callable[..., LaunchOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webtorrent.FOLDER, "/nowhere")
    with pytest.raises(ConformanceError, match="WEBTORRENT names the folder"):
        builder_named("webtorrent")(order())


class FakeRpc(BaseHTTPRequestHandler):
    """Answers as the RPC of Transmission: a session is asked for first."""

    links: list[str]

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get(transmission_add.SESSION) != "secret":
            self.send_response(409)
            self.send_header(transmission_add.SESSION, "secret")
            self.end_headers()
            return
        self.links.append(json.loads(body)["arguments"]["filename"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def rpc_port() -> Iterator[int]:
    FakeRpc.links = []
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeRpc) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_link_is_added_over_the_rpc_of_transmission(rpc_port: int) -> None:
    assert transmission_add.main([str(rpc_port), LINK]) == 0
    assert FakeRpc.links == [LINK]


def test_nobody_at_the_rpc_ends_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transmission_add, "START_S", 0.3)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        assert transmission_add.main([str(unheard.getsockname()[1]), LINK]) == 1


def test_addresses_of_the_kit_have_a_network_of_their_own_each() -> None:
    addresses = KitAddresses(11).each()
    found = [next(addresses) for _ in range(2_000)]
    assert all(each.startswith("11.") for each in found)
    assert len({each.rpartition(".")[0] for each in found}) == len(found)
    assert all(0 < int(part) < 255 for each in found for part in each.split(".")[3:])


RULES = ("BEP3-HS-01", "BEP3-HS-12", "BEP5-DT-01")
"""What a program is told for each role; before the second, it downloads from an honest seed."""
LOCAL_RULES = ("BEP14-LS-01", "BEP14-LS-04")


def passed(subject: str, *options: str, rules: Sequence[str] = RULES) -> Sequence[str]:
    """Run some rules of each role; return those that passed."""
    argv = (sys.executable, "-m", "torrent_engine", "conformance", "run", "--subject", subject)
    words = (*argv, *rules, "--patience", "5", "--jobs", "2", *options)
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    if "a network of its own needs" in done.stderr:
        missing(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(each.split()[1] for each in done.stdout.splitlines() if each.startswith("P "))


@pytest.mark.interop
@pytest.mark.parametrize(
    ("subject", "program"),
    [("rtorrent", "rtorrent"), ("qbittorrent", "qbittorrent-nox")],
)
def test_program_of_the_table_seeds_downloads_and_runs_a_node(subject: str, program: str) -> None:
    require_program(program, program)
    assert passed(subject) == sorted(RULES)


@pytest.mark.interop
def test_transmission_has_its_peers_in_a_network_of_its_own() -> None:
    require_program("transmission-daemon", "transmission-daemon")
    assert passed("transmission", "--own-network") == sorted(RULES)


@pytest.mark.interop
def test_bep14_this_engine_finds_neighbours_in_a_network_of_its_own() -> None:
    found = passed("torrent-engine", "--own-network", rules=LOCAL_RULES)
    assert found == sorted(LOCAL_RULES)
