"""``torrent-engine dht``: questions to a node of ours on loopback, and that node itself."""

import hashlib
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from tests.support.dht_client import EngineNode
from tests.support.libtorrent_node import public_key
from tests.support.netns import LOOPBACK as HERE
from torrent_engine.cli.dht.lookups import client_name, counted
from torrent_engine.cli.dht.values import as_json, shown
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode

HASH = "5a" * 20
NOBODYS = "00" * 20
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineNode]:
    """A node that was asked things, by its address."""
    with EngineNode(HERE, tmp_path_factory.mktemp("node")) as running:
        yield running


def invoke(*words: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["dht", *map(str, words)], input=stdin)


def ask(node: EngineNode, *words: object, stdin: bytes = b"") -> Result:
    """Ask through one node, as a user does."""
    options = ("--listen", LOOPBACK, "-b", "{}:{}".format(*node.address))
    return invoke(*words, *options, stdin=stdin)


def ask_json(node: EngineNode, *words: object) -> dict[str, Any]:
    result = ask(node, *words, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def shown_as(node: EngineNode) -> str:
    return "{}:{}".format(*node.address)


# -- questions ------------------------------------------------------------------------------------


def test_bep5_what_is_announced_is_found(node: EngineNode) -> None:
    announced = ask(node, "announce", HASH, 7777, "--seed")
    assert announced.stdout.splitlines() == [
        shown_as(node),
        "kept by 1 node; 1 of 1 nodes answered",
    ]
    found = ask(node, "get-peers", HASH)
    assert found.stdout.splitlines() == [
        f"{LOOPBACK}:7777",
        "1 peer, 1 of 1 nodes answered",
    ]
    assert (announced.exit_code, found.exit_code) == (0, 0)


def test_bep33_a_scrape_estimates_seeds_and_leeches(node: EngineNode) -> None:
    ask(node, "announce", "5b" * 20, 7777, "--seed")
    answer = ask_json(node, "get-peers", "5b" * 20, "--scrape")
    assert (answer["seeds"], answer["leeches"]) == (1, 0)
    assert answer["peers"] == [f"{LOOPBACK}:7777"]
    assert (answer["nodes_asked"], answer["nodes_answered"]) == (1, 1)
    ask(node, "announce", "5c" * 20, 7777)
    assert "1 peer, 0 seeds, 1 leech, " in ask(node, "get-peers", "5c" * 20, "--scrape").stdout


def test_bep9_a_torrent_may_be_named_by_its_file_or_its_link(
    node: EngineNode, tmp_path: Path
) -> None:
    torrent = torrents.single(tmp_path)
    info_hash = ask_json(node, "announce", torrent, 7001)["info_hash"]
    link = f"magnet:?xt=urn:btih:{info_hash}"
    assert ask_json(node, "get-peers", link)["peers"] == [f"{LOOPBACK}:7001"]


def test_bep27_a_private_torrent_is_not_asked_for(node: EngineNode, tmp_path: Path) -> None:
    info = {**torrents.info_of("one", {"one": b"x"}, single=True), b"private": 1}
    torrents.write_torrent(tmp_path / "private.torrent", info)
    result = ask(node, "get-peers", tmp_path / "private.torrent")
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "is private" in result.stderr


def test_nobody_found_is_exit_code_3(node: EngineNode) -> None:
    result = ask(node, "get-peers", NOBODYS)
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stdout == "0 peers, 1 of 1 nodes answered\n"
    value = ask(node, "get", NOBODYS)
    assert value.exit_code == ExitCode.NOT_FOUND
    assert value.stderr == "torrent-engine: no node has it; 1 of 1 nodes answered\n"


def test_bep5_ping_names_each_node_and_who_is_not_there(node: EngineNode) -> None:
    both = invoke("ping", shown_as(node), f"{LOOPBACK}:9", "--timeout", "2")
    assert both.exit_code == ExitCode.TIMED_OUT
    line, error = both.stdout.strip(), both.stderr.strip()
    assert line.split("  ")[0] == shown_as(node)
    assert len(line.split("  ")[1]) == 40
    assert error == f"torrent-engine: {LOOPBACK}:9: does not answer"
    named = f"localhost:{node.address[1]}"
    record = json.loads(invoke("ping", named, "--json").stdout)[0]
    assert (record["node"], record["address"]) == (named, shown_as(node))


def test_bep51_samples_of_a_node_and_of_the_network(node: EngineNode) -> None:
    ask(node, "announce", "5c" * 20, 7777)
    one = json.loads(invoke("sample", shown_as(node), "--json").stdout)
    assert [each["node"] for each in one["nodes"]] == [shown_as(node)]
    assert one["nodes"][0]["stored"] >= 1
    network = ask(node, "sample")
    assert network.exit_code == 0
    assert "info-hashes of 1 node; 1 of 1 nodes answered" in network.stdout
    assert ask(node, "sample", "5c" * 20).exit_code == 0


# -- values ---------------------------------------------------------------------------------------


def test_bep44_an_immutable_value_is_found_by_its_hash(node: EngineNode) -> None:
    target = hashlib.sha1(b"5:hello").hexdigest()
    assert ask(node, "put", "hello").stdout.splitlines()[:2] == [
        f"target {target}",
        shown_as(node),
    ]
    assert ask(node, "get", target).stdout == "hello\n"
    assert ask(node, "get", target, "--raw").stdout == b"5:hello".hex() + "\n"


def test_bep44_a_value_may_come_from_standard_input_or_be_bencoding(node: EngineNode) -> None:
    stored = ask(node, "put", "-", "--bencoded", "--json", stdin=b"d1:ai1e1:b2:\xff\xfee")
    target = json.loads(stored.stdout)["target"]
    assert ask_json(node, "get", target)["value"] == {"a": 1, "b": {"hex": "fffe"}}
    assert ask(node, "get", target).stdout == '{"a": 1, "b": {"hex": "fffe"}}\n'


def test_bep44_what_a_key_signed_can_be_changed_and_versions_count_up(
    node: EngineNode, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    versions = [
        ask_json(node, "put", text, "--key-file", file, "--salt", "s") for text in ("a", "b")
    ]
    assert [each["seq"] for each in versions] == [0, 1]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = public_key(file.read_bytes()).hex()
    assert {each["key"] for each in versions} == {key}
    found = ask_json(node, "get", key, "--salt", "s")
    assert (found["value"], found["seq"], found["salt"]) == ("b", 1, "73")
    assert ask_json(node, "put", "c", "--key-file", file, "--seq", 7)["seq"] == 7  # no salt
    assert ask(node, "get", key).stdout == "c\n"


def test_bep44_an_older_version_is_refused_with_the_reason(
    node: EngineNode, tmp_path: Path
) -> None:
    for sequence, code in ((5, 0), (4, ExitCode.NETWORK)):
        result = ask(node, "put", f"v{sequence}", "--key-file", tmp_path / "key", "--seq", sequence)
        assert result.exit_code == code
    assert f"no node took it: {shown_as(node)}: " in result.stderr


# -- mistakes -------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[list[str], ExitCode, str]] = {
    "no_info_hash": (["get-peers"], ExitCode.BAD_OPTION, "missing argument 'INFO_HASH'"),
    "no_such_file": (["get-peers", "x.torrent"], ExitCode.NOT_FOUND, "no such file"),
    "bad_port": (["announce", HASH, "0"], ExitCode.BAD_OPTION, "1 to 65535"),
    "bad_target": (["get", "5a"], ExitCode.BAD_OPTION, "40 hexadecimal digits"),
    "bad_node": (["ping", "localhost"], ExitCode.BAD_OPTION, "HOST:PORT"),
    "unknown_host": (["ping", "no.such.host.invalid:1"], ExitCode.TIMED_OUT, "cannot resolve"),
    "bad_where": (["sample", "zz"], ExitCode.BAD_OPTION, "HOST:PORT"),
    "long_salt": (["get", HASH, "--salt", "s" * 65], ExitCode.BAD_OPTION, "64 bytes"),
    "long_value": (["put", "x" * 997], ExitCode.BAD_OPTION, "1000 bytes at most"),
    "no_bencoding": (["put", "i03e", "--bencoded"], ExitCode.BAD_BENCODE, "VALUE: "),
    "seq_without_key": (["put", "x", "--seq", "1"], ExitCode.BAD_OPTION, "--key-file"),
    "bad_seq": (["put", "x", "--seq", "-1"], ExitCode.BAD_OPTION, "--seq"),
    "loopback_without_node": (
        ["get-peers", HASH, "--listen", LOOPBACK],
        ExitCode.BAD_OPTION,
        "--bootstrap",
    ),
    "nobody_answers": (
        ["get-peers", HASH, "--listen", LOOPBACK, "-b", f"{LOOPBACK}:9", "--timeout", "1"],
        ExitCode.TIMED_OUT,
        "no node of the DHT answered in time",
    ),
}


@pytest.mark.parametrize(("words", "code", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_a_code(words: list[str], code: ExitCode, message: str) -> None:
    result = invoke(*words)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_file_that_is_no_key_is_refused_and_kept(node: EngineNode, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"important")
    result = ask(node, "put", "x", "--key-file", file)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "32 bytes" in result.stderr
    assert file.read_bytes() == b"important"


def test_without_a_command_there_is_help() -> None:
    result = invoke()
    assert result.exit_code == 0
    for name in ("ping", "get-peers", "announce", "get", "put", "sample", "node"):
        assert f"\n  {name} " in result.stdout


# -- the node -------------------------------------------------------------------------------------


def test_a_node_ends_at_sigterm_and_is_the_same_one_the_next_time(tmp_path: Path) -> None:
    ids: list[object] = []
    with EngineNode(HERE, tmp_path / "router") as router:
        for _ in range(2):
            with EngineNode(HERE, tmp_path / "node", router.address) as node:
                node.wait_nodes(1)
                ids.append(list(node.events("dht.started"))[-1]["ids"])
                node.process.send_signal(signal.SIGTERM)
                assert node.wait(60) == 0
            node.log.unlink()
    assert ids[0] == ids[1]


def test_a_node_says_who_it_is_and_what_it_knows(tmp_path: Path) -> None:
    with EngineNode(HERE, tmp_path / "router") as router:
        command = ["node", "--listen", LOOPBACK, "--udp-port", "0", "-b", shown_as(router)]
        argv = [sys.executable, "-m", "torrent_engine", "dht", *command]
        argv += ["--state-dir", str(tmp_path / "s")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            process.terminate()
    assert lines[0].startswith("IPv4 node ")
    assert "Ctrl-C ends it" in lines[1]
    assert "nodes known 1, queries taken" in lines[2]
    assert process.returncode == 0


# -- small parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (b"LT\x01\x02", "LT 1.2"),
        (b"", ""),
        (b"\x00\x01\x02\x03", "00010203"),
        (b"TE\x01", "544501"),
    ],
)
def test_the_program_of_a_node_is_named_where_it_follows_the_custom(
    version: bytes, name: str
) -> None:
    assert client_name(version) == name


def test_numbers_have_their_noun() -> None:
    assert [counted(n, "peer") for n in (0, 1, 1_000)] == ["0 peers", "1 peer", "1,000 peers"]


def test_a_value_is_shown_as_text_or_as_json() -> None:
    assert shown(b"t\xc3\xa4xt") == "täxt"
    assert shown([1, b"a"]) == '[1, "a"]'
    assert as_json({b"k\xff": [b"\xff"]}) == {"k\\xff": [{"hex": "ff"}]}
