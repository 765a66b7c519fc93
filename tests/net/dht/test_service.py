"""The DHT on real sockets: nodes on loopback find each other, and each other's peers."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.clock import let_tasks_run
from tests.support.swarm import until
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.net.dht.bootstrap import routers_for
from torrent_engine.net.dht.driver import DhtDriver
from torrent_engine.net.dht.service import (
    MAX_NAMES_WAITING,
    DhtHost,
    DhtService,
    SavedTables,
    open_dht,
)
from torrent_engine.net.sockets.datagrams import open_datagrams
from torrent_engine.net.sockets.name_resolver import NameResolver
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    ExternalAddressChanged,
    LookupEnded,
    PingEnded,
)
from torrent_engine.protocol.dht.krpc import NodeInfo, Response, decode_message
from torrent_engine.protocol.dht.node import DhtNode, SavedTable

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"
INFO_HASH = InfoHash(b"\x5a" * 20)
QUICK = DhtConfig(
    bootstrap=(), bootstrap_retry_first_s=0.05, query_timeout_s=20.0, check_interval_s=0.02
)
HASTY = replace(QUICK, query_timeout_s=0.3)
"""For nodes that ask one which does not answer; others share a busy machine."""


@asynccontextmanager
async def node(
    *routers: tuple[str, int],
    hosts: Sequence[str] = (LOOPBACK,),
    config: DhtConfig = QUICK,
    host: DhtHost | None = None,
) -> AsyncIterator[DhtService]:
    async with (
        open_datagrams(hosts, 0) as datagrams,
        open_dht(config, datagrams, routers=routers, host=host) as service,
    ):
        yield service


@asynccontextmanager
async def network(count: int, **options: Any) -> AsyncIterator[list[DhtService]]:
    """Run nodes that all began with the first one, and know each other."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(node(**options))
        nodes = [first]
        where = options.get("hosts", (LOOPBACK,))[0]
        for _ in range(count - 1):
            service = await stack.enter_async_context(node((where, first.port), **options))
            await service.wait_ready()
            nodes.append(service)
        await until(lambda: first.node_count == count - 1)
        for service in nodes[1:]:
            await service.look_up(find_node)
        yield nodes


def find_node(node: DhtNode, now: float) -> int:
    return node.find_node(node.node_id, now=now)


async def found_by(service: DhtService, port: int = 1) -> tuple[list[PeerAddress], int]:
    peers: list[PeerAddress] = []
    stored = await service.search(INFO_HASH, port=port, is_seed=False, on_peers=peers.extend)
    return peers, stored


def driver_of(service: DhtService, *, is_ipv6: bool = False) -> DhtDriver:
    return service.drivers[is_ipv6]


# -- entering -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_bep5_nodes_enter_by_a_router_and_know_each_other(host: str) -> None:
    async with network(4, hosts=(host,)) as nodes:
        await until(lambda: all(each.node_count == 3 for each in nodes))
        assert all(len(each.drivers) == 1 for each in nodes)


async def test_bep5_who_enters_at_the_same_moment_is_known_too() -> None:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(node())
        for _ in range(6):
            await stack.enter_async_context(node((LOOPBACK, router.port)))
        await until(lambda: router.node_count == 6)
        assert router.stats()[False].traffic.queries_in == 6


async def test_bep32_both_networks_are_entered_by_one_name() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return {"router.test": [LOOPBACK, "::1"]}[host]

    hosts = (LOOPBACK, "::1")
    async with (
        node(hosts=hosts) as router,
        node(("router.test", router.port), hosts=hosts, host=DhtHost(resolver=resolver)) as service,
    ):
        assert set(await service.wait_ready()) == {False, True}
        assert service.node_count == 2


async def test_a_router_whose_name_is_not_found_is_tried_again() -> None:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        if len(asked) < 3:
            raise NetworkError("no such host")
        return [LOOPBACK]

    async with (
        node() as router,
        node(("late.test", router.port), host=DhtHost(resolver=resolver)) as service,
    ):
        with anyio.fail_after(30):
            await service.wait_ready()
        assert asked == ["late.test"] * 3


async def test_a_router_that_does_not_answer_is_asked_again_until_it_does() -> None:
    async with open_datagrams((LOOPBACK,), 0) as reserved:
        port = reserved.port
        async with node((LOOPBACK, port), config=HASTY) as service:
            await until(lambda: service.stats()[False].traffic.timeouts >= 1)
            assert service.node_count == 0
            async with open_dht(QUICK, reserved, routers=()):
                await until(lambda: service.node_count == 1)


PUBLIC = DhtConfig().bootstrap
MINE = (("router.test", 1),)


@pytest.mark.parametrize(
    ("bootstrap", "hosts", "routers"),
    [
        (PUBLIC, (LOOPBACK, "::1"), ()),
        (PUBLIC, ("127.8.8.8",), ()),
        (PUBLIC, (LOOPBACK, "192.0.2.1"), PUBLIC),
        (PUBLIC, ("::",), PUBLIC),
        (MINE, (LOOPBACK,), MINE),
        ((), ("::",), ()),
    ],
)
def test_public_routers_are_not_asked_from_loopback(
    bootstrap: Any, hosts: Sequence[str], routers: Any
) -> None:
    assert routers_for(replace(QUICK, bootstrap=bootstrap), hosts) == routers


async def test_public_routers_are_left_alone_while_saved_nodes_answer() -> None:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return []

    async with node() as old:
        known = NodeInfo(driver_of(old).node.node_id, PeerAddress(LOOPBACK, old.port))
        saved = {False: SavedTable(NodeId(b"s" * 20), (known,))}
        host = DhtHost(resolver=resolver, saved=saved)
        config = replace(QUICK, bootstrap_retry_first_s=1.0)
        async with node(*PUBLIC, config=config, host=host) as service:
            await until(lambda: service.node_count == 1)
            await anyio.sleep(1.2)  # longer than the saved nodes have
            assert asked == []
        async with node(*PUBLIC, config=config, host=replace(host, saved={})):
            await until(lambda: asked)
    assert set(asked) == {name for name, _ in PUBLIC}


async def test_bep5_a_port_message_or_a_torrent_leads_to_a_node() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return [LOOPBACK] if host == "node.test" else []

    for name in (LOOPBACK, "node.test"):
        async with node() as other, node(host=DhtHost(resolver=resolver)) as service:
            service.add_node("::1", other.port)  # no socket of that family: ignored
            service.add_node("unknown.test", other.port)
            service.add_node(name, other.port)
            await until(lambda: service.node_count == 1)
            assert driver_of(service).can_bootstrap


async def test_names_of_nodes_that_wait_are_bounded() -> None:
    begun: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        begun.append(host)
        await anyio.sleep_forever()
        return []

    async with node(host=DhtHost(resolver=resolver)) as service:
        for number in range(200):
            service.add_node(f"n{number}.test", 1)
        await until(lambda: begun)
        await anyio.wait_all_tasks_blocked()
        assert len(begun) == 50


# -- lookups --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_bep5_who_announces_is_found_by_the_others(host: str) -> None:
    async with network(5, hosts=(host,)) as nodes:
        nobody, stored = await found_by(nodes[1], port=7001)
        assert nobody == []
        assert stored == 4
        peers, _ = await found_by(nodes[4], port=7004)
        assert peers == [PeerAddress(host, 7001)]
        again, _ = await found_by(nodes[2])
        assert set(again) == {PeerAddress(host, 7001), PeerAddress(host, 7004)}


async def test_nodes_that_are_gone_do_not_hold_up_the_first_search() -> None:
    config = replace(QUICK, query_timeout_s=60.0)
    async with node() as router, open_datagrams((LOOPBACK,), 0) as silent:
        gone = NodeInfo(NodeId(b"g" * 20), PeerAddress(LOOPBACK, silent.port))
        known = NodeInfo(driver_of(router).node.node_id, PeerAddress(LOOPBACK, router.port))
        found: list[PeerAddress] = []
        await found_by(router)
        async with node((LOOPBACK, router.port)) as other:
            await other.wait_ready()
            assert (await found_by(other, port=7001))[1] == 1
        saved = {False: SavedTable(NodeId(b"s" * 20), (gone, known))}
        async with (
            node(config=config, host=DhtHost(saved=saved)) as service,
            anyio.create_task_group() as tasks,
        ):

            async def search() -> None:
                await service.search(INFO_HASH, port=1, is_seed=False, on_peers=found.extend)

            tasks.start_soon(search)
            await until(lambda: found == [PeerAddress(LOOPBACK, 7001)])
            assert (
                not driver_of(service).node.stats().is_bootstrapped
            )  # it still waits for who is gone
            tasks.cancel_scope.cancel()


async def test_a_search_where_nobody_is_known_ends_with_nothing() -> None:
    async with node() as service:
        assert await found_by(service) == ([], 0)


async def test_both_families_are_asked_unless_one_is_chosen() -> None:
    async with node(hosts=(LOOPBACK, "::1")) as other, node(hosts=(LOOPBACK, "::1")) as service:
        for host in (LOOPBACK, "::1"):
            service.add_node(host, other.port)
        await until(lambda: service.node_count == 2)
        both = await service.look_up(find_node)
        assert [type(each) for each in both] == [LookupEnded] * 2
        one = await service.look_up(find_node, families=[True])
        assert isinstance(one[0], LookupEnded)
        assert one[0].closest[0].address == PeerAddress("::1", other.port)
        assert len(one) == 1


async def ping(service: DhtService, address: PeerAddress) -> PingEnded:
    families = [":" in address.host]
    (end,) = await service.look_up(lambda node, now: node.ping(address, now=now), families=families)
    assert isinstance(end, PingEnded)
    return end


async def test_bep5_ping_tells_who_is_there_or_that_nobody_is() -> None:
    async with node() as other, node() as service:
        answer = await ping(service, PeerAddress(LOOPBACK, other.port))
        assert answer.node_id == driver_of(other).node.node_id
    async with open_datagrams((LOOPBACK,), 0) as silent, node(config=HASTY) as service:
        before = time.monotonic()
        lost = await ping(service, PeerAddress(LOOPBACK, silent.port))
        assert (lost.node_id, lost.round_trip_s) == (None, None)
        assert time.monotonic() - before < 30  # the timer of the node was kept


async def test_who_gives_a_lookup_up_hears_no_more_of_it() -> None:
    heard: list[DhtEvent] = []
    async with open_datagrams((LOOPBACK,), 0) as silent, node(config=HASTY) as service:
        address = PeerAddress(LOOPBACK, silent.port)
        with anyio.move_on_after(0.05) as scope:
            await service.look_up(lambda node, now: node.ping(address, now=now), heard.append)
        assert scope.cancelled_caught
        await until(lambda: service.stats()[False].outstanding == 0)
        assert heard == []
        assert not driver_of(service)._listeners


async def test_bep43_a_read_only_node_asks_and_is_never_told_to_others() -> None:
    async with network(3) as nodes:
        reader = replace(QUICK, read_only=True)
        async with node((LOOPBACK, nodes[0].port), config=reader) as service:
            await service.wait_ready()
            assert (await found_by(service, port=7009))[1] == 3
            async with node(config=replace(HASTY, read_only=True)) as asker:
                lost = await ping(asker, PeerAddress(LOOPBACK, service.port))
            assert lost.node_id is None
        assert all(each.node_count == 2 for each in nodes)


async def test_bytes_that_are_no_message_are_counted_and_answered_by_nobody() -> None:
    async with node() as service, open_datagrams((LOOPBACK,), 0) as stranger:
        for data in (b"d", b"de", b"d1:", b"d" * 1_400):
            stranger.send(data, PeerAddress(LOOPBACK, service.port))
        await until(lambda: service.stats()[False].traffic.malformed == 4)
        assert service.stats()[False].traffic.datagrams_out == 0


# -- what is kept and what is told ----------------------------------------------------------------


async def test_bep32_who_wants_both_families_is_told_of_both() -> None:
    hosts = (LOOPBACK, "::1")
    async with node(hosts=hosts) as other, node(hosts=hosts) as service:
        for host in hosts:
            service.add_node(host, other.port)
        await until(lambda: service.node_count == 2)
        query = b"d1:ad2:id20:%b6:target20:%b4:wantl2:n42:n6ee1:q9:find_node1:t2:aa1:y1:qe"
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(query % (b"q" * 20, b"t" * 20), (LOOPBACK, service.port))
            data = await anyio.to_thread.run_sync(sock.recv, 2_000)
        response = decode_message(data)
        assert isinstance(response, Response)
        lists = [response.values[key] for key in (b"nodes", b"nodes6")]
        assert [len(each) for each in lists if isinstance(each, bytes)] == [26, 38]


@dataclass
class Keeper:
    kept: list[SavedTables] = field(default_factory=list)

    async def save(self, tables: Mapping[bool, SavedTable]) -> None:
        await anyio.lowlevel.checkpoint()
        self.kept.append(dict(tables))


async def test_the_nodes_are_saved_at_the_end_and_lead_back_without_routers() -> None:
    keeper = Keeper()
    async with network(3) as nodes:
        known = {PeerAddress(LOOPBACK, each.port) for each in nodes}
        host = DhtHost(save=keeper.save)
        async with node((LOOPBACK, nodes[0].port), host=host) as service:
            await until(lambda: service.node_count == 3)
            node_id = driver_of(service).node.node_id
        (saved,) = keeper.kept
        assert {each.address for each in saved[False].nodes} == known
        async with node(host=DhtHost(saved=saved)) as again:
            await again.wait_ready()
            assert driver_of(again).node.node_id == node_id
            await until(lambda: again.node_count == 3)


async def test_the_nodes_are_saved_now_and_then_and_none_in_place_of_some() -> None:
    keeper = Keeper()
    config = replace(QUICK, save_interval_s=0.05)
    async with node() as other, node(config=config, host=DhtHost(save=keeper.save)) as service:
        await anyio.sleep(0.15)
        assert keeper.kept == []
        service.add_node(LOOPBACK, other.port)
        await until(lambda: len(keeper.kept) >= 2)
    assert [len(each[False].nodes) for each in keeper.kept] == [1] * len(keeper.kept)


async def test_bep42_where_the_internet_sees_us_is_told() -> None:
    told: list[PeerAddress] = []
    async with node(host=DhtHost(on_external=told.append)) as service:
        address = PeerAddress("192.0.2.7", 6881)
        service._on_event(ExternalAddressChanged(address, NodeId(b"i" * 20)))
        assert told == [address]


async def test_silent_names_of_torrents_nodes_keep_no_routers_name_unasked() -> None:
    silence, asked = threading.Event(), list[str]()

    def look_up(name: str) -> list[str]:
        asked.append(name)
        if name.startswith("node"):
            silence.wait(20)
        return ["127.0.0.1"]

    host = DhtHost(resolver=NameResolver(look_up), waits=True)
    try:
        async with (
            open_datagrams(("127.0.0.1",), 0) as datagrams,
            open_dht(DhtConfig(), datagrams, routers=[("router.example", 1)], host=host) as dht,
        ):
            for number in range(MAX_NAMES_WAITING):
                dht.add_node(f"node{number}.example", 1)
            await until(lambda: "router.example" in asked, timeout_s=4.0)
            assert len(asked) <= MAX_NAMES_WAITING
    finally:
        silence.set()


async def test_b10_saved_nodes_are_asked_when_a_torrent_wants_the_dht_not_before() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind((LOOPBACK, 0))
        udp.setblocking(False)
        saved = SavedTable(
            NodeId(b"n" * 20), (NodeInfo(NodeId(b"m" * 20), PeerAddress(*udp.getsockname())),)
        )
        host = DhtHost(saved={False: saved}, waits=True)
        async with (
            open_datagrams((LOOPBACK,), 0) as datagrams,
            open_dht(DhtConfig(), datagrams, routers=(), host=host) as dht,
        ):
            dht.set_gateway_address(PeerAddress("8.8.4.4", 6881))
            await let_tasks_run(20)
            with pytest.raises(BlockingIOError):
                udp.recv(2_000)
            dht.begin()
            with anyio.fail_after(30):
                await anyio.wait_readable(udp)
            assert b"1:y1:q" in udp.recv(2_000)
