"""Our DHT node with aria2's and Transmission's: each enters by the other, and finds its peers.

They take their time, so all that they do runs at once, in threads.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.aria2_client import Aria2Client
from tests.support.dht_client import EngineNode, EngineNodes, ask_dht, peers_of, wait_found
from tests.support.engine_client import Address, EngineSeed
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, require_program
from tests.support.transmission_client import TransmissionClient

pytestmark = pytest.mark.interop

ANNOUNCE_PATIENCE_S = 360.0  # Transmission: 12 s until it has nine nodes, then three rounds
Hosts = tuple[Host, Host]
OtherClient = Aria2Client | TransmissionClient
StartOther = Callable[[Host, Path, EngineNodes], AbstractContextManager[OtherClient]]


def aria2(host: Host, folder: Path, nodes: EngineNodes) -> Aria2Client:
    port = free_port()
    return Aria2Client(
        host, folder, port=port, address=host.address(4), dht_node=nodes.addresses[0]
    )


def transmission(host: Host, folder: Path, nodes: EngineNodes) -> TransmissionClient:
    port = free_port()
    return TransmissionClient(
        host, folder, port=port, address=host.address(5), dht_nodes=nodes.addresses
    )


OTHERS: Mapping[str, StartOther] = {"aria2": aria2, "transmission": transmission}


def seed_is_found(start: StartOther, hosts: Hosts, folder: Path, nodes: EngineNodes) -> None:
    """The other program enters by our nodes and announces its seed; a node enters by it."""
    left, right = hosts
    payload = make_payload(folder, folder.name, {folder.name: 300_003})
    info_hash = payload.info_hash.hex()
    with start(right, folder / "other", nodes) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        with EngineNode(left, folder / "node", seed.address) as ours:
            ours.wait_nodes(8, timeout_s=ANNOUNCE_PATIENCE_S)
        wait_found(
            seed.address,
            lambda: peers_of(left, info_hash, nodes.addresses[1]),
            timeout_s=ANNOUNCE_PATIENCE_S,
        )


def leech_finds_us(start: StartOther, hosts: Hosts, folder: Path, nodes: EngineNodes) -> None:
    """A seed of ours is announced; the other program finds it and downloads from it."""
    left, right = hosts
    payload = make_payload(folder, folder.name, {folder.name: 300_003})
    with announced_seed(left, folder, payload, nodes.addresses[1]) as seed:
        seed.wait_seeding()  # whoever comes before that is refused, and is long in coming again
        with start(right, folder / "other", nodes) as leech:
            leech.add(payload, folder / "saved")
            leech.wait_complete(payload, timeout_s=ANNOUNCE_PATIENCE_S)
    assert payload.is_complete_in(folder / "saved")


def announced_seed(host: Host, folder: Path, payload: Payload, node: Address) -> EngineSeed:
    """Announce a seed from its address, and start it without a DHT."""
    port = free_port()
    stored = ask_dht(host, "announce", payload.info_hash.hex(), str(port), "--seed", by=[node])
    assert len(stored["stored_at"]) >= 8
    return EngineSeed(host, folder / "seed", [payload], port=port, extra=["--no-dht"])


@pytest.fixture(scope="session")
def running(
    hosts: Hosts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[tuple[str, str], Future[None]]]:
    """All that the other programs do, started at the same time, in a network of its own.

    No node of it has ended: Transmission waits long for those that do not answer.
    """
    require_program("aria2c", "aria2")
    require_program("transmission-daemon", "transmission-daemon")
    scenarios = {"seed": seed_is_found, "leech": leech_finds_us}

    def folder(kind: str, name: str) -> Path:
        path = tmp_path_factory.mktemp(f"dht-{kind}-{name}")  # the torrent's name, too
        path.chmod(0o755)
        return path

    with (
        EngineNodes(hosts[0], tmp_path_factory.mktemp("nodes")) as nodes,
        ThreadPoolExecutor(len(OTHERS) * len(scenarios)) as threads,
    ):
        yield {
            (kind, name): threads.submit(scenario, start, hosts, folder(kind, name), nodes)
            for kind, start in OTHERS.items()
            for name, scenario in scenarios.items()
        }


@pytest.mark.parametrize("kind", OTHERS)
def test_bep5_the_seed_of_another_program_is_found_and_it_leads_us_in(
    kind: str, running: Mapping[tuple[str, str], Future[None]]
) -> None:
    assert running[kind, "seed"].result() is None


@pytest.mark.parametrize("kind", OTHERS)
def test_bep5_another_program_downloads_from_the_peer_that_our_nodes_name(
    kind: str, running: Mapping[tuple[str, str], Future[None]]
) -> None:
    assert running[kind, "leech"].result() is None
