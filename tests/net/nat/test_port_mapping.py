"""Our ports at a scripted gateway on loopback: opened, moved, closed; strangers are not heard."""

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from tests.support.nat_gateway import TCP, UDP, ScriptedGateway, serve_gateway
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.net.nat.gateway import Gateway
from torrent_engine.net.nat.port_mapping import MapperHost, PortMapper
from torrent_engine.protocol.nat.facts import MappedTransport, PortKey

pytestmark = pytest.mark.anyio

KEYS = (PortKey(MappedTransport.TCP, 6881), PortKey(MappedTransport.UDP, 6882))
CONFIG = PortMappingConfig(
    enabled=True,
    protocols=("PCP", "NAT-PMP"),
    first_timeout_s=0.05,
    pcp_first_timeout_s=0.05,
    gateway_poll_s=0.05,
    removal_timeout_s=60.0,  # the gateway shares a busy machine
)
EVERYWHERE = ("0.0.0.0", "::")
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


@dataclass
class Network:
    """What a mapper finds: which gateways there are, and what it told."""

    gateways: dict[bool, Gateway | None] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def hear(self, mapper: PortMapper) -> None:
        self.told += [host for host in mapper.external_hosts if host not in self.told]

    def host(self, port: int, listen_hosts: tuple[str, ...] = EVERYWHERE) -> MapperHost:
        return MapperHost(
            clock=time.monotonic,
            listen_hosts=listen_hosts,
            secret=b"secret",
            on_change=self.hear,
            find_gateway=self.gateways.get,
            gateway_port=port,
        )


def scripted(host: str = "127.0.0.1") -> ScriptedGateway:
    return ScriptedGateway(time.monotonic, client_host=host)


def network(host: str) -> Network:
    return Network({":" in host: Gateway(host, host)})


@asynccontextmanager
async def running(mapper: PortMapper) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mapper.run)
        yield
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - nothing of a gateway tells of itself
            await anyio.sleep(0.01)


def open_count(mapper: PortMapper) -> int:
    return sum(each.is_open for each in mapper.status())


@HOSTS
async def test_both_ports_are_opened_told_and_closed_at_the_end(host: str) -> None:
    gateway, net = scripted(host), network(host)
    async with serve_gateway(gateway, host) as port:
        mapper = PortMapper(CONFIG, KEYS, net.host(port))
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            assert set(gateway.opened) == {(TCP, 6881), (UDP, 6882)}
            facts = [each for each in mapper.status() if each.is_ipv6 == (":" in host)]
            assert {each.protocol for each in facts} == {"PCP"}
            assert {each.gateway for each in facts} == {host}
            assert [each.external_port for each in facts] == [6881, 6882]
            assert all(7000 < (each.expires_in_s or 0) <= 7200 for each in facts)
            assert net.told == [facts[0].external_address]
        assert gateway.opened == {}


async def test_a_gateway_without_pcp_is_asked_in_natpmp() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    gateway.speaks = ("NAT-PMP",)
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(CONFIG, KEYS, net.host(port))
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            assert {each.protocol for each in mapper.status()} == {"NAT-PMP", None}
            assert net.told == ["203.0.113.7"]
        assert gateway.opened == {}


async def test_the_external_port_is_the_one_that_was_given() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    gateway.port_offset = 1000
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(CONFIG, KEYS, net.host(port))
        assert mapper.external_port(MappedTransport.TCP) is None
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            assert mapper.external_port(MappedTransport.TCP) == 7881
            assert mapper.external_port(MappedTransport.UDP) == 7882


async def test_a_restarted_gateway_gets_its_mappings_again() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    config = replace(CONFIG, check_interval_s=0.05)
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(config, KEYS, net.host(port))
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            gateway.restart()
            await until(lambda: len(gateway.opened) == 2)
        assert gateway.opened == {}


async def test_who_moves_to_another_gateway_opens_the_ports_there() -> None:
    first, second, net = scripted(), scripted(), network("127.0.0.1")
    async with serve_gateway(first, "127.0.0.1") as port, anyio.create_task_group() as tasks:
        mapper = PortMapper(CONFIG, KEYS, net.host(port))
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.2", port))
                sock.setblocking(False)
                tasks.start_soon(answer_at, sock, second)
                net.gateways[False] = Gateway("127.0.0.2", "127.0.0.1")
                await until(lambda: len(second.opened) == 2)
                await until(lambda: open_count(mapper) == 2)
                assert {each.gateway for each in mapper.status()} == {"127.0.0.2", None}
                net.gateways[False] = None
                await until(lambda: open_count(mapper) == 0)
                tasks.cancel_scope.cancel()


async def answer_at(sock: socket.socket, gateway: ScriptedGateway) -> None:
    while True:
        await anyio.wait_readable(sock)
        data, address = sock.recvfrom(2048)
        if (answer := gateway.answer(data)) is not None:
            sock.sendto(answer, address)


@HOSTS
async def test_what_others_than_the_gateway_send_is_not_heard(host: str) -> None:
    gateway, liar, net = scripted(host), scripted(host), network(host)
    gateway.is_mute, liar.port_offset = True, 1000
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    async with serve_gateway(gateway, host) as port:
        mapper = PortMapper(
            replace(CONFIG, probe_tries=20, pcp_probe_tries=20), KEYS, net.host(port)
        )
        with socket.socket(family, socket.SOCK_DGRAM) as stranger:
            stranger.bind((host, 0))
            async with running(mapper):
                await until(lambda: bool(gateway.requests))
                lie = liar.answer(gateway.requests[0])
                assert lie
                assert [stranger.sendto(lie, end) for end in udp_ends(port, host)] == [len(lie)]
                asked = len(gateway.requests)
                await until(lambda: len(gateway.requests) > asked + 1)
                assert open_count(mapper) == 0
                gateway.is_mute = False  # the same answer, from the right place
                await until(lambda: open_count(mapper) == 2)
                ports = {each.external_port for each in mapper.status() if each.is_open}
                assert ports == {6881, 6882}


def udp_ends(port: int, host: str) -> list[tuple[str, int]]:
    """Return the local ends of UDP sockets that are connected to ``port``, as the kernel tells."""
    name = "udp6" if ":" in host else "udp"
    found = []
    for line in Path("/proc/net", name).read_text().splitlines()[1:]:
        local, remote = line.split()[1:3]
        if int(remote.rsplit(":", 1)[1], 16) == port:
            found.append((host, int(local.rsplit(":", 1)[1], 16)))
    return found


async def test_without_a_gateway_nothing_happens_and_the_status_says_so() -> None:
    mapper = PortMapper(CONFIG, KEYS, Network().host(9))
    async with running(mapper):
        await until(lambda: all(each.error for each in mapper.status()))
        assert {each.error for each in mapper.status()} == {"no gateway"}
        assert {each.gateway for each in mapper.status()} == {None}


async def test_a_fault_is_logged_and_everything_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    gateway, net = scripted(), network("127.0.0.1")
    faults = [RuntimeError("broken")]

    def find(is_ipv6: bool) -> Gateway | None:
        if faults:
            raise faults.pop()
        return net.gateways.get(is_ipv6)

    async with serve_gateway(gateway) as port:
        host = replace(net.host(port), find_gateway=find)
        mapper = PortMapper(replace(CONFIG, retry_s=0.1), KEYS, host)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
        assert gateway.opened == {}
    assert "port mapping failed" in caplog.text


async def test_a_gateway_where_nothing_listens_is_given_up_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    config = replace(CONFIG, first_timeout_s=60.0, pcp_first_timeout_s=60.0)
    mapper = PortMapper(config, KEYS, network("127.0.0.1").host(port))
    async with running(mapper):
        with anyio.fail_after(50):
            await until(lambda: any(each.error == "port unreachable" for each in mapper.status()))
    assert open_count(mapper) == 0


async def test_a_gateway_that_gave_nothing_is_asked_again_later() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    gateway.result = 2
    config = replace(CONFIG, retry_s=0.2, min_retry_s=0.2)  # one port alone, too
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(config, KEYS, net.host(port))
        async with running(mapper):
            await until(
                lambda: any(each.error == "NAT-PMP: not authorized" for each in mapper.status())
            )
            gateway.result = 0
            await until(lambda: open_count(mapper) == 2)
        assert gateway.opened == {}


async def test_a_gateway_that_leads_not_to_where_we_listen_is_not_asked() -> None:
    gateway = scripted()
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(CONFIG, KEYS, network("127.0.0.1").host(port, ("127.0.0.9",)))
        async with running(mapper):
            await until(lambda: all(each.error for each in mapper.status()))
    assert gateway.requests == []


async def test_a_gateway_that_falls_silent_holds_up_the_end_for_a_bounded_time() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    config = replace(CONFIG, removal_timeout_s=0.3)
    async with serve_gateway(gateway) as port:
        mapper = PortMapper(config, KEYS, net.host(port))
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            gateway.is_mute = True
            began = time.monotonic()
        assert 0.25 <= time.monotonic() - began < 30.0


async def test_mappings_of_a_run_that_died_are_ours_again() -> None:
    gateway, net = scripted(), network("127.0.0.1")
    config = replace(CONFIG, removal_timeout_s=0.0)
    async with serve_gateway(gateway) as port:
        async with running(mapper := PortMapper(config, KEYS, net.host(port))):
            await until(lambda: open_count(mapper) == 2)
            gateway.is_mute = True
        gateway.is_mute = False
        assert len(gateway.opened) == 2
        async with running(again := PortMapper(CONFIG, KEYS, net.host(port))):
            await until(lambda: open_count(again) == 2)
            assert {each.protocol for each in again.status()} == {"PCP", None}
        assert gateway.opened == {}
