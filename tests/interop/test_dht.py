"""Our DHT node with libtorrent's: each enters by the other, and finds its peers and values."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dht_client import (
    PATIENCE_S,
    EngineNode,
    EngineNodes,
    ask_dht,
    ask_engine,
    peers_of,
    wait_found,
)
from tests.support.engine_client import format_peer
from tests.support.libtorrent_node import LibtorrentNode, public_key
from tests.support.netns import Host
from tests.support.processes import wait_until

pytestmark = pytest.mark.interop

HASH = "5a" * 20
Hosts = tuple[Host, Host]


@pytest.fixture(scope="session")
def nodes(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineNodes]:
    """Eighteen nodes of ours that know each other, on the left host."""
    with EngineNodes(hosts[0], tmp_path_factory.mktemp("nodes")) as running:
        yield running


def test_bep5_libtorrent_enters_by_our_nodes_and_peers_are_found_both_ways(
    hosts: Hosts, folder: Path, nodes: EngineNodes
) -> None:
    left, right = hosts
    router, other = nodes.addresses[:2]
    with LibtorrentNode(right, folder / "lt", router, address=right.address(3)) as theirs:
        theirs.wait_nodes(8)
        theirs.announce(HASH, 4001)
        wait_found((right.address(3), 4001), lambda: peers_of(left, HASH, other))
        stored = ask_dht(left, "announce", HASH, "4002", by=[other])
        assert len(stored["stored_at"]) >= 8
        wait_found((left.address(), 4002), lambda: theirs.find_peers(HASH))


@pytest.mark.parametrize("family", [4, 6])
def test_bep5_bep32_we_enter_by_libtorrent_and_peers_are_found_both_ways(
    hosts: Hosts, folder: Path, family: int
) -> None:
    left, right = hosts
    here = left.address6(1) if family == 6 else left.address(1)
    there = right.address6(3) if family == 6 else right.address(3)
    with (
        LibtorrentNode(right, folder / "lt", address=there) as theirs,
        EngineNode(left, folder / "node", theirs.address, address=here) as ours,
    ):
        ours.wait_nodes(1)
        theirs.wait_nodes(1)
        theirs.announce(HASH, 4001)
        wait_found((there, 4001), lambda: peers_of(left, HASH, ours.address, here))
        stored = ask_dht(left, "announce", HASH, "4002", by=[ours.address], address=here)
        assert format_peer(theirs.address) in stored["stored_at"]
        wait_found((here, 4002), lambda: theirs.find_peers(HASH))


def test_bep44_values_of_libtorrent_and_ours_are_read_by_the_other(
    hosts: Hosts, folder: Path, nodes: EngineNodes
) -> None:
    left, right = hosts
    by, seed, salt = nodes.addresses[:1], os.urandom(32), "notes"
    key = public_key(seed)
    (folder / "key").write_bytes(seed)
    with LibtorrentNode(right, folder / "lt", by[0], address=right.address(3)) as theirs:
        theirs.wait_nodes(8)
        ours = ask_dht(left, "put", "ours", by=by)
        assert theirs.get(ours["target"]) == ["ours"]
        words = ("--key-file", str(folder / "key"), "--salt", salt)
        assert ask_dht(left, "put", "one", *words, by=by)["seq"] == 0
        assert theirs.get_signed(key, salt)[-1:] == ["one"]

        target = theirs.put("theirs")
        theirs.put_signed("two", seed, salt)
        wait_until(
            lambda: ask_dht(left, "get", target, by=by).get("value") == "theirs",
            timeout_s=PATIENCE_S,
            what="libtorrent's value",
        )
        wait_until(
            lambda: ask_dht(left, "get", key.hex(), "--salt", salt, by=by).get("value") == "two",
            timeout_s=PATIENCE_S,
            what="libtorrent's signed value",
        )


def test_bep46_libtorrent_stores_what_we_publish_and_gives_it_to_ours(
    hosts: Hosts, folder: Path
) -> None:
    left, right = hosts
    seed, salt = os.urandom(32), "news"
    key = public_key(seed)
    (folder / "key").write_bytes(seed)
    with LibtorrentNode(right, folder / "lt", address=right.address(3)) as theirs:
        by, words = [theirs.address], ("--key-file", str(folder / "key"), "--salt", salt, "--once")
        for version, info_hash in enumerate((HASH, "6b" * 20)):
            done = ask_engine(left, "publish", info_hash, *words, by=by)
            assert (done["seq"], done["info_hash"]) == (version, info_hash)
            assert done["stored_at"] == [format_peer(theirs.address)]
            found = ask_dht(left, "get", key.hex(), "--salt", salt, by=by)
            assert (found["seq"], found["value"]["ih"]) == (
                version,
                bytes.fromhex(info_hash).decode(),
            )


def test_bep46_libtorrent_reads_what_we_publish_in_place_of_what_it_signed(
    hosts: Hosts, folder: Path, nodes: EngineNodes
) -> None:
    left, right = hosts
    by, seed, salt = nodes.addresses[:1], os.urandom(32), "news"
    key = public_key(seed)
    (folder / "key").write_bytes(seed)
    with LibtorrentNode(right, folder / "lt", by[0], address=right.address(3)) as theirs:
        theirs.wait_nodes(8)
        theirs.put_signed("a text", seed, salt)
        wait_until(
            lambda: "value" in ask_dht(left, "get", key.hex(), "--salt", salt, by=by),
            timeout_s=PATIENCE_S,
            what="libtorrent's signed value",
        )
        words = ("--key-file", str(folder / "key"), "--salt", salt, "--once")
        done = ask_engine(left, "publish", HASH, *words, by=by)
        assert done["seq"] >= 2, "libtorrent's first version is 1, and ours follows it"
        wait_until(
            lambda: theirs.get_signed(key, salt)[-1:] == [{"ih": HASH}],
            timeout_s=PATIENCE_S,
            what="libtorrent reads our version",
        )
