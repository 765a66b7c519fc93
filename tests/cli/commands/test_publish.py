"""``torrent-engine publish`` and what its links lead to, with a node of ours on loopback."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from tests.support.dht_client import EngineNode, bootstrap_options
from tests.support.libtorrent_node import public_key
from tests.support.netns import LOOPBACK as HERE
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode

FIRST, SECOND = "5a" * 20, "6b" * 20
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineNode]:
    with EngineNode(HERE, tmp_path_factory.mktemp("node")) as running:
        yield running


def options_of(node: EngineNode) -> list[str]:
    return ["--listen", LOOPBACK, *bootstrap_options([node.address])]


def publish(node: EngineNode, torrent: str, key: Path, *words: object) -> Result:
    arguments = ["publish", torrent, "--key-file", str(key), "--once", *map(str, words)]
    return CliRunner().invoke(cli, [*arguments, *options_of(node)])


def test_bep46_versions_count_up_and_the_same_torrent_keeps_its_number(
    node: EngineNode, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    records = [
        json.loads(publish(node, torrent, key, "--json", "--salt", "s").stdout)
        for torrent in (FIRST, FIRST, f"magnet:?xt=urn:btih:{SECOND}")
    ]
    assert [(each["seq"], each["info_hash"]) for each in records] == [
        (0, FIRST),
        (0, FIRST),
        (1, SECOND),
    ]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    public = public_key(key.read_bytes()).hex()
    assert {each["link"] for each in records} == {f"magnet:?xs=urn:btpk:{public}&s=73"}
    assert all(each["stored_at"] for each in records)


def test_bep44_a_version_that_cannot_replace_the_newest_is_an_error(
    node: EngineNode, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    done = publish(node, FIRST, key, "--seq", 5)
    assert done.stdout.splitlines()[1] == f"version 5 of {FIRST}: kept by 1 node"
    for words, message in (
        (("--seq", 4), "version 4 cannot replace version 5"),
        (("--cas", 3), "the newest version is 5, not 3"),
    ):
        refused = publish(node, SECOND, key, *words)
        assert refused.exit_code == ExitCode.BAD_OPTION
        assert message in refused.stderr
    assert "version 6 of" in publish(node, SECOND, key, "--cas", 5).stdout


def test_bep46_private_torrents_and_those_of_v2_only_are_not_published(
    node: EngineNode, tmp_path: Path
) -> None:
    info = {**torrents.info_of("one", {"one": b"x"}, single=True), b"private": 1}
    torrents.write_torrent(tmp_path / "one.torrent", info)
    private = publish(node, str(tmp_path / "one.torrent"), tmp_path / "key")
    assert "is private" in private.stderr
    v2 = publish(node, "magnet:?xt=urn:btmh:1220" + "ab" * 32, tmp_path / "key")
    assert "no v1 info-hash" in v2.stderr
    assert not (tmp_path / "key").exists()


def test_bep46_it_is_kept_until_a_signal(node: EngineNode, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torrent_engine", "publish", FIRST, "--json"]
    command += ["--key-file", str(tmp_path / "key"), *options_of(node)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            assert json.loads(running.stdout.readline())["stored_at"]
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=50) == ExitCode.OK
        finally:
            running.kill()


def test_bep46_download_looks_the_link_up_and_gets_what_it_names(
    node: EngineNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORRENT_ENGINE_NO_DHT", "0")
    key = tmp_path / "key"
    link = publish(node, FIRST, key).stdout.splitlines()[0]
    words = ["download", f"{link}&dn=news", "--stop-timeout", "1", "-d", str(tmp_path), "--json"]
    words += ["--listen", LOOPBACK, "--port", "0", "--state-dir", str(tmp_path / "state")]
    words += ["--dht-bootstrap", "{}:{}".format(*node.address)]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == ExitCode.TIMED_OUT, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    added = next(each for each in records if each["type"] == "torrent.added")
    assert (added["info_hash"], added["name"]) == (FIRST, "news")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dht", "get-peers", "magnet:?xs=urn:btpk:" + "ab" * 32], "public key"),
        (["download", "magnet:?xs=urn:btpk:ab"], "64 hexadecimal digits"),
        (["metadata", "--no-dht", "magnet:?xs=urn:btpk:" + "ab" * 32], "switched off"),
        (["publish", FIRST], "--key-file"),
        (["publish", FIRST, "--key-file", "key", "--seq", "-1"], "-1"),
        (["publish", FIRST, "--key-file", "key", "--salt", "x" * 65], "64 bytes"),
    ],
)
def test_bep46_mistakes_are_told(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = ["--listen", LOOPBACK, "--port", "0", "--state-dir", "state"]
    result = CliRunner().invoke(cli, words + (local if words[0] == "download" else []))
    assert result.exit_code != ExitCode.OK
    assert message in result.stderr
