"""A magnet link becomes a file with nothing but the DHT in common, from and to libtorrent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dht_client import EngineNodes
from tests.support.engine_client import EngineLeech, EngineSeed, format_peer
from tests.support.libtorrent_node import LibtorrentNode
from tests.support.magnets import link_of
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop

PATIENCE_S = 180.0


@pytest.fixture
def nodes(hosts: tuple[Host, Host], folder: Path) -> Iterator[EngineNodes]:
    """Nodes of ours on the left host, by which everybody enters."""
    with EngineNodes(hosts[0], folder / "nodes") as running:
        yield running


@pytest.fixture
def payload(folder: Path) -> Payload:
    return make_payload(folder, "far.bin", {"far.bin": 1_000_003})


def dht_only(nodes: EngineNodes) -> dict[str, str]:
    """Return the variables of a process of ours that has the DHT and no other way."""
    return {
        "TORRENT_ENGINE_NO_DHT": "0",
        "TORRENT_ENGINE_DHT_BOOTSTRAP": format_peer(nodes.addresses[0]),
    }


def test_bep5_a_link_becomes_a_file_when_a_libtorrent_seed_is_in_the_dht(
    hosts: tuple[Host, Host], folder: Path, nodes: EngineNodes, payload: Payload
) -> None:
    left, right = hosts
    router = nodes.addresses[0]
    with LibtorrentNode(right, folder / "seed", router, address=right.address(3)) as seed:
        seed.wait_nodes(8)
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        seed.ask_for_torrents()
        with EngineLeech(
            left, folder / "leech", [link_of(payload)], port=free_port(), variables=dht_only(nodes)
        ) as leech:
            leech.wait_complete(PATIENCE_S)
    assert payload.is_complete_in(leech.save_dir)


def test_bep5_a_link_becomes_a_file_in_libtorrent_when_our_seed_is_in_the_dht(
    hosts: tuple[Host, Host], folder: Path, nodes: EngineNodes, payload: Payload
) -> None:
    left, right = hosts
    router = nodes.addresses[0]
    with (
        EngineSeed(
            left, folder / "seed", [payload], port=free_port(), variables=dht_only(nodes)
        ) as seed,
        LibtorrentNode(right, folder / "leech", router, address=right.address(3)) as leech,
    ):
        seed.wait_event("dht.peers")
        leech.wait_nodes(8)
        leech.add_magnet(payload, folder / "saved")

        def is_complete() -> bool:
            leech.ask_for_torrents()
            return payload.is_complete_in(folder / "saved")

        wait_until(is_complete, timeout_s=PATIENCE_S, what="libtorrent has the file")
    assert payload.is_complete_in(folder / "saved")
