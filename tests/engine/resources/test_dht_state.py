"""The DHT among what all torrents share, and its nodes in the resume database."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.helpers import CONFIG
from tests.support.clock import let_tasks_run
from tests.support.swarm import LOOPBACK, PATIENCE_S, resources, until
from torrent_engine.base.config import DhtConfig, NetworkConfig, UtpConfig
from torrent_engine.base.errors import LocalProtocolError, NetworkError, StateDatabaseError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import encode
from torrent_engine.disk.state.records import DhtRecord
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.resources.dht_state import DhtTables
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.sockets import keep_running, listening
from torrent_engine.net.utp.service import UtpService
from torrent_engine.protocol.dht.events import ExternalAddressChanged
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.node import SavedTable

pytestmark = pytest.mark.anyio

NODE = NodeInfo(NodeId(b"n" * 20), PeerAddress("192.0.2.9", 6881))
NODE6 = NodeInfo(NodeId(b"m" * 20), PeerAddress("2001:db8::9", 6881))
TABLES = {
    False: SavedTable(NodeId(b"4" * 20), (NODE,)),
    True: SavedTable(NodeId(b"6" * 20), (NODE6,)),
}


def node(folder: Path, *bootstrap: tuple[str, int], **changes: Any) -> SharedResources:
    config = DhtConfig(bootstrap=bootstrap, check_interval_s=0.02)
    return resources(folder, **{"dht": config, **changes})


def dht_of(shared: SharedResources) -> DhtService:
    assert shared.dht is not None
    shared.dht.begin()
    return shared.dht


async def test_bep5_the_dht_has_the_number_of_the_listening_port(tmp_path: Path) -> None:
    async with node(tmp_path, listen_hosts=(LOOPBACK, "::1")) as shared:
        assert dht_of(shared).port == shared.listen_port
        assert set(dht_of(shared).drivers) == {False, True}
    with pytest.raises(LocalProtocolError):
        _ = shared.dht


@pytest.mark.parametrize("service", ["uTP", "DHT"])
async def test_the_others_go_on_after_a_fault_of_one_service(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    service: str,
) -> None:
    monkeypatch.setattr(keep_running, "RESTART_S", 0.0)
    failed: list[str] = []

    def failing_once(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            if not failed:
                failed.append(service)
                raise ZeroDivisionError("a bug")
            method(*arguments, **named)

        return call

    async with node(tmp_path) as shared, node(tmp_path / "other") as other:
        driver = dht_of(shared).drivers[False]
        dht_of(other)
        if service == "uTP":
            faulty = failing_once(UtpService._handle_timers)
            monkeypatch.setattr(UtpService, "_handle_timers", faulty)
            with pytest.raises(NetworkError):
                await shared.network.dial_utp(PeerAddress(LOOPBACK, 9), PATIENCE_S)
        else:
            monkeypatch.setattr(driver.node, "handle_timer", failing_once(driver.node.handle_timer))
            driver._wake.set()
        await until(lambda: failed)
        peer = await other.network.dial_utp(PeerAddress(LOOPBACK, shared.listen_port), PATIENCE_S)
        peer.close()
        driver.node.ping(PeerAddress(LOOPBACK, other.listen_port), now=driver._clock())
        driver.flush()
        await until(lambda: driver.node.table.nodes)
    assert f"{service}: internal error" in caplog.text


async def test_b10_a_dht_that_no_torrent_wants_yet_asks_and_answers_nobody(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind((LOOPBACK, 0))
        udp.setblocking(False)
        async with node(tmp_path, udp.getsockname()) as shared:
            ping = encode({"t": "aa", "y": "q", "q": "ping", "a": {"id": b"i" * 20}})
            udp.sendto(ping, (LOOPBACK, shared.listen_port))
            await let_tasks_run(200)
            with pytest.raises(BlockingIOError):
                udp.recv(2_000)
            dht_of(shared)
            with anyio.fail_after(PATIENCE_S):
                await anyio.wait_readable(udp)
            assert b"9:find_node" in udp.recv(2_000)


async def test_without_dht_and_utp_there_is_no_udp_socket(tmp_path: Path) -> None:
    network = NetworkConfig(utp=UtpConfig(incoming=False, outgoing=False))
    async with node(tmp_path, dht=DhtConfig(enabled=False), network=network) as shared:
        assert shared.dht is None
        assert shared.network.datagrams is None
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind((LOOPBACK, shared.listen_port))


async def test_without_a_udp_socket_the_rest_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENETDOWN, "no UDP here")

    monkeypatch.setattr(listening, "bind_udp", refuse)
    async with node(tmp_path) as shared:
        assert shared.dht is None
        assert shared.listen_port


async def test_bep5_the_nodes_of_the_last_run_lead_back_in(tmp_path: Path) -> None:
    async with node(tmp_path / "router") as router:
        async with node(tmp_path / "a", (LOOPBACK, dht_of(router).port)) as shared:
            await until(lambda: dht_of(shared).node_count == 1)
            node_id = dht_of(shared).drivers[False].node.node_id
        async with node(tmp_path / "a") as again:
            await until(lambda: dht_of(again).node_count == 1)
            assert dht_of(again).drivers[False].node.node_id == node_id
    await again.close()


async def test_bep5_two_engines_announce_to_each_other_and_find_their_peers(
    tmp_path: Path,
) -> None:
    info_hash = InfoHash(b"h" * 20)
    async with (
        node(tmp_path / "a") as first,
        node(tmp_path / "b", (LOOPBACK, first.listen_port)) as second,
    ):
        nodes = [dht_of(first), dht_of(second)]
        await until(lambda: all(each.node_count for each in nodes))
        found: list[PeerAddress] = []
        for shared in (first, second):
            await dht_of(shared).search(
                info_hash, port=shared.listen_port, is_seed=False, on_peers=found.extend
            )
        assert found == [PeerAddress(LOOPBACK, first.listen_port)]


async def test_bep42_the_address_that_nodes_see_decides_what_is_our_own(tmp_path: Path) -> None:
    async with node(tmp_path) as shared:
        event = ExternalAddressChanged(PeerAddress("8.8.4.4", 6881), NodeId(b"i" * 20))
        dht_of(shared)._on_event(event)
        assert shared.external_addresses.hosts == ("8.8.4.4",)


async def test_the_tables_of_both_families_come_back_as_they_were(tmp_path: Path) -> None:
    async with await StateStore.open(tmp_path, config=CONFIG) as store:
        tables = DhtTables(store)
        assert await tables.load() == {}
        await tables.save(TABLES)
    async with await StateStore.open(tmp_path, config=CONFIG) as store:
        assert await DhtTables(store).load() == TABLES


async def test_f7_a_second_process_takes_the_nodes_but_is_another_node(tmp_path: Path) -> None:
    async with await StateStore.open(tmp_path, config=CONFIG) as first:
        ours = DhtTables(first)
        await ours.load()
        await ours.save(TABLES)
        async with await StateStore.open(tmp_path, config=CONFIG) as second:
            theirs = DhtTables(second)
            loaded = await theirs.load()
            assert loaded[False].nodes == TABLES[False].nodes
            assert loaded[False].node_id != TABLES[False].node_id
            await theirs.save({False: SavedTable(NodeId(b"x" * 20), ())})
        assert await ours.load() == TABLES


async def test_f6_a_database_that_fails_costs_the_nodes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> list[DhtRecord]:
        raise StateDatabaseError("told so")

    monkeypatch.setattr(StateStore, "load_dht", fail)
    monkeypatch.setattr(StateStore, "save_dht", fail)
    async with node(tmp_path / "r") as router:
        port = dht_of(router).port
        async with node(tmp_path / "a", (LOOPBACK, port)) as shared:
            await until(lambda: dht_of(shared).node_count == 1)
    assert "cannot be read: told so" in caplog.text
    assert "cannot be saved: told so" in caplog.text
