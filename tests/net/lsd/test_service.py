"""Announces between two machines: network namespaces that a wire joins, with a second wire."""

import logging
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_interface
from typing import Any, cast

import anyio
import pytest

from tests.support.netns import Host, ip_batch, namespaces
from tests.support.processes import missing
from tests.support.swarm import until
from torrent_engine.base.config import LsdConfig
from torrent_engine.base.errors import NetworkError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.lsd import service as lsd_service
from torrent_engine.net.lsd.service import GROUPS, LsdService
from torrent_engine.net.sockets import multicast
from torrent_engine.net.sockets.interfaces import Interface
from torrent_engine.net.sockets.multicast import (
    OutgoingInterface,
    join,
    leave,
    open_receiver,
    send_to_group,
)
from torrent_engine.protocol.lsd import LsdAnnounce, decode_announce, encode_announce

EVERYWHERE = ("0.0.0.0", "::")
ONE = InfoHash(b"\x01" * 20)
TWO = InfoHash(b"\x02" * 20)
IP_RECVTTL = 12  # Linux
FOREIGN = "198.51.100.7"
Heard = list[tuple[tuple[InfoHash, ...], PeerAddress]]


def ip(host: Host, *arguments: str) -> None:
    assert host.namespace
    command = ["ip", "-n", host.namespace, *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Host, Host]]:
    pair = namespaces()
    try:
        left, right = pair.__enter__()
    except (OSError, subprocess.CalledProcessError):
        missing("network namespaces are not allowed here")
    try:
        assert right.namespace
        ip(
            left,
            *["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns"],
            right.namespace,
        )
        for machine, number in ((left, 1), (right, 2)):
            ip(machine, "link", "set", "cable", "up")
            ip(machine, "address", "add", f"10.78.0.{number}/24", "dev", "cable")
            ip(machine, "address", "add", f"fd00:78::{number}/64", "dev", "cable", "nodad")
        ip(right, "address", "add", f"{FOREIGN}/32", "dev", "wire")
        yield left, right
    finally:
        pair.__exit__(None, None, None)


def run_in(host: Host, work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine on an event loop of the namespace."""
    host.call(partial(anyio.run, work, backend="asyncio"))


async def do_in(host: Host, work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a blocking function in a namespace from a coroutine that runs in another one."""
    return await anyio.to_thread.run_sync(host.call, partial(work, *arguments))


def service(hosts: Sequence[str] = EVERYWHERE, **options: Any) -> tuple[LsdService, Heard]:
    config = options.pop("config", LsdConfig())
    heard = Heard()

    def hear(hashes: Sequence[InfoHash], address: PeerAddress) -> None:
        heard.append((tuple(hashes), address))

    return LsdService(hosts, config=config, on_announce=hear, **options), heard


@asynccontextmanager
async def hearing(
    hosts: Sequence[str] = EVERYWHERE, **options: Any
) -> AsyncIterator[tuple[LsdService, Heard]]:
    """Run a service that hears on all of its multicast_interfaces when the block begins."""
    made, heard = service(hosts, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await until(lambda: made._interfaces and len(made._joined) == len(made._interfaces))
        yield made, heard
        tasks.cancel_scope.cancel()


def announce(hosts: Sequence[str] = EVERYWHERE, *hashes: InfoHash) -> int:
    return service(hosts)[0].announce(6881, hashes or (ONE,))


def senders(heard: Heard) -> set[str]:
    return {address.host for _, address in heard}


def datagram(*, is_ipv6: bool = False, cookie: bytes = b"x") -> bytes:
    return encode_announce(LsdAnnounce(6882, (TWO,), cookie), is_ipv6=is_ipv6)


def test_bep14_announces_are_heard_on_every_interface_over_ipv4_and_ipv6(
    machines: tuple[Host, Host],
) -> None:
    left, right = machines

    async def work() -> None:
        async with hearing() as (_, heard):
            assert await do_in(right, announce, EVERYWHERE, ONE, TWO) == 4
            expected = {"10.77.2.1", "10.78.0.2", "fd00:78::2"}
            await until(lambda: expected <= senders(heard) and len(senders(heard)) == 4)
            assert {found for found, _ in heard} == {(ONE, TWO)}
            assert {address.port for _, address in heard} == {6881}
            six = senders(heard) - expected
            assert all(host.startswith("fd00:77::2:") for host in six)

    run_in(left, work)


def test_bep14_who_listens_at_one_address_announces_that_address_only(
    machines: tuple[Host, Host],
) -> None:
    left, right = machines
    hosts = (right.address(3), right.address6(4))

    async def work() -> None:
        async with hearing() as (_, heard):
            assert await do_in(right, announce, hosts) == 2
            await until(lambda: len(heard) >= 2)
            assert senders(heard) == set(hosts)

    run_in(left, work)


def test_bep14_who_listens_at_ipv4_only_neither_sends_nor_hears_ipv6(
    machines: tuple[Host, Host],
) -> None:
    left, right = machines

    async def work() -> None:
        async with hearing(("0.0.0.0",)) as (_, heard), hearing(("::",)) as (_, heard6):
            assert await do_in(right, announce, EVERYWHERE) == 4
            await until(lambda: len(heard) >= 2 and len(heard6) >= 2)
            assert not any(":" in host for host in senders(heard))
            assert all(":" in host for host in senders(heard6))

    run_in(left, work)
    assert right.call(partial(announce, ("0.0.0.0",))) == 2


def test_c6_datagrams_have_a_ttl_of_1_so_that_no_router_hands_them_on(
    machines: tuple[Host, Host],
) -> None:
    left, right = machines

    def open_receivers() -> list[socket.socket]:
        index = socket.if_nametoindex("wire")
        receivers = [open_receiver(GROUPS[False]), open_receiver(GROUPS[True])]
        receivers[0].setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        receivers[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        for receiver, group in zip(receivers, GROUPS.values(), strict=True):
            join(receiver, group, index)
            receiver.settimeout(5.0)
        return receivers

    receivers = left.call(open_receivers)
    assert right.call(announce) == 4
    for receiver in receivers:
        with receiver:
            data, extra, _, _ = receiver.recvmsg(2_000, 100)
            assert decode_announce(data).info_hashes == (ONE,)
            assert [int.from_bytes(value, "little") for _, _, value in extra] == [1]


def test_c6_a_sender_of_a_foreign_network_is_not_believed(machines: tuple[Host, Host]) -> None:
    left, right = machines
    reached: list[tuple[bytes, Any]] = []

    def send_foreign() -> None:
        index = socket.if_nametoindex("wire")
        send_to_group(datagram(), GROUPS[False], OutgoingInterface(index, FOREIGN))
        send_to_group(datagram(), GROUPS[False], OutgoingInterface(index, right.address(5)))

    async def work() -> None:
        async with hearing() as (made, heard):
            witness = open_receiver(GROUPS[False])
            join(witness, GROUPS[False], socket.if_nametoindex("wire"))
            with witness:
                await do_in(right, send_foreign)
                await until(lambda: heard)
                while len(reached) < 2:
                    await anyio.wait_readable(witness)
                    reached.append(witness.recvfrom(2_000))
            assert made._budgets[False]._read_count == 1
            assert heard == [((TWO,), PeerAddress(right.address(5), 6882))]

    run_in(left, work)
    assert [sender[0] for _, sender in reached] == [FOREIGN, right.address(5)]


def test_c6_our_own_announce_comes_back_and_is_dropped_other_programs_here_hear_it(
    machines: tuple[Host, Host],
) -> None:
    async def work() -> None:
        async with hearing() as (made, heard), hearing() as (_, others):
            datagrams = 0

            def count(data: bytes, host: str) -> None:
                nonlocal datagrams
                datagrams += 1
                LsdService.receive_datagram(made, data, host)

            made.receive_datagram = count  # type: ignore[method-assign]
            assert made.announce(6881, [ONE]) == 4
            await until(lambda: len(others) >= 4 and datagrams >= 4)
            assert heard == []

    run_in(machines[0], work)


def test_c6_garbage_is_dropped_and_what_follows_is_heard(machines: tuple[Host, Host]) -> None:
    left, right = machines
    garbage = [b"", b"\0" * 1_472, b"BT-SEARCH", datagram()[:80], b"\xff" * 1_401]

    def send_all() -> None:
        index = socket.if_nametoindex("wire")
        for data in [*garbage, datagram()]:
            send_to_group(data, GROUPS[False], OutgoingInterface(index))

    async def work() -> None:
        async with hearing() as (made, heard):
            await do_in(right, send_all)
            await until(lambda: made._budgets[False]._read_count == 3)  # BT-SEARCH alone is read
            assert [found for found, _ in heard] == [(TWO,)]

    run_in(left, work)


def test_bep14_programs_that_bind_the_port_on_all_addresses_do_not_stand_in_the_way(
    machines: tuple[Host, Host],
) -> None:
    left, right = machines

    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("", 6771))
            async with hearing() as (_, heard):
                await do_in(right, announce)
                await until(lambda: len(senders(heard)) == 4)
                assert len(senders(heard)) == 4

    run_in(left, work)


def test_bep14_a_dead_interface_does_not_hurt_the_others_and_is_heard_again_when_it_is_back(
    machines: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    left, right = machines
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)

    async def work() -> None:
        async with hearing(config=LsdConfig(rescan_interval_s=0.05)) as (made, heard):
            await do_in(left, ip, left, "link", "set", "cable", "down")
            await until(lambda: len(made._joined) == 2)
            assert made.announce(6881, [ONE]) == 2
            assert await do_in(right, announce, (right.address(1),)) == 1
            await until(lambda: senders(heard) == {"10.77.2.1"})
            await do_in(left, ip, left, "link", "set", "cable", "up")
            await do_in(left, ip, left, "address", "add", "fd00:78::1/64", "dev", "cable", "nodad")
            await until(lambda: len(made._joined) == 4)
            await do_in(right, announce, ("10.78.0.2",))
            await until(lambda: "10.78.0.2" in senders(heard))
            assert senders(heard) == {"10.77.2.1", "10.78.0.2"}

    run_in(left, work)


def test_bep14_a_receiver_that_cannot_be_opened_is_tried_again(
    machines: tuple[Host, Host],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)
    left, right = machines
    failures = ["no descriptor"] * 4  # of both families, twice

    def open_later(group: multicast.Group) -> socket.socket:
        if failures:
            raise NetworkError(failures.pop())
        return open_receiver(group)

    monkeypatch.setattr(lsd_service, "open_receiver", open_later)

    async def work() -> None:
        async with hearing(config=LsdConfig(rescan_interval_s=0.01)) as (_, heard):
            await do_in(right, announce)
            await until(lambda: len(senders(heard)) == 4)
            assert caplog.messages == ["local service discovery: no descriptor"]

    run_in(left, work)


TUNNEL = (
    "link add tunnel type veth peer name far",
    "address add 10.79.0.1/24 dev tunnel",
    "address add fd00:79::1/64 dev tunnel nodad",
    "link set far up",
    "link set tunnel up",
)


def test_bep14_an_interface_that_is_made_anew_again_and_again_is_always_heard(
    machines: tuple[Host, Host],
) -> None:
    left = machines[0]

    async def work() -> None:
        async with hearing() as (made, _):
            for _ in range(20):  # Linux: 20 IPv4 memberships of a socket, two of which are in use
                await do_in(left, ip_batch, left.namespace, *TUNNEL)
                index = socket.if_nametoindex("tunnel")
                made.update_interfaces()
                assert {(False, index), (True, index)} <= made._joined
                await do_in(left, ip_batch, left.namespace, "link delete tunnel")
                made.update_interfaces()
                assert len(made._joined) == 4
                for is_ipv6, receiver in made._receivers.items():
                    with pytest.raises(NetworkError, match="cannot leave"):  # it has left already
                        leave(receiver, GROUPS[is_ipv6], index)

    run_in(left, work)


def test_bep14_on_loopback_two_programs_hear_each_other(machines: tuple[Host, Host]) -> None:
    left = machines[0]

    async def work() -> None:
        async with hearing(("127.0.0.1",)) as (made, heard), hearing(("127.0.0.1",)) as (_, others):
            assert made.announce(6881, [ONE]) == 1
            await until(lambda: others)
            assert others[0] == ((ONE,), PeerAddress("127.0.0.1", 6881))
            assert heard == []
        async with hearing() as (_, outside), hearing(("127.0.0.1",)) as (made, _):
            made.announce(6881, [ONE])
            announcer, _ = service()
            announcer.announce(6883, [TWO])
            await until(lambda: outside)
            assert {address.port for _, address in outside} == {6883}  # loopback stays inside

    run_in(left, work)


def test_bep14_ipv6_on_loopback_has_no_groups_and_is_silent(
    machines: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)
    made, _ = service(("::1",))
    for _ in range(3):
        assert machines[0].call(partial(made.announce, 6881, [ONE])) == 0
    why = "interface 1: cannot send to ff15::efc0:988f: Network is unreachable"
    assert caplog.messages == [f"local service discovery: {why}"]


# -- without a network ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_bep14_without_an_interface_there_is_no_discovery_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)
    looks: list[int] = []

    def look() -> list[Interface]:
        looks.append(1)
        return [Interface("eth7", 7, False, True, ())]

    made, _ = service(find_interfaces=look, config=LsdConfig(rescan_interval_s=0.001))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await until(lambda: len(looks) > 3)
        assert made.announce(6881, [ONE]) == 0
        tasks.cancel_scope.cancel()
    assert caplog.messages == ["local service discovery: no usable interface"]


@pytest.mark.anyio
async def test_bep14_a_host_without_an_address_family_uses_the_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)

    def open_some(group: multicast.Group) -> socket.socket:
        if group.is_ipv6:
            raise NetworkError("no IPv6 here")
        return open_receiver(group)

    monkeypatch.setattr(lsd_service, "open_receiver", open_some)
    made, _ = service(("127.0.0.1", "::1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        await until(lambda: made._joined)
        tasks.cancel_scope.cancel()
    assert "local service discovery: no IPv6 here" in caplog.messages
    assert made._joined == set()
    assert made._receivers == {}


def test_bep14_an_interface_that_cannot_be_joined_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)
    ghost = Interface("ghost", 9_999, False, True, (ip_interface("192.0.2.9/24"),))
    made, _ = service(("0.0.0.0",), find_interfaces=lambda: [ghost])
    with open_receiver(GROUPS[False]) as receiver:
        made._receivers[False] = receiver
        assert made.announce(6881, [ONE]) == 0
        assert made.announce(6881, [ONE]) == 0
    assert len(caplog.messages) == 2  # one for hearing, one for sending
    assert all("interface 9999" in message for message in caplog.messages)


def test_bep14_what_cannot_be_announced_is_not_and_raises_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger=lsd_service.__name__)
    sent: list[bytes] = []
    monkeypatch.setattr(lsd_service, "send_to_group", lambda data, *_: sent.append(data))
    lan = Interface("lan", 7, False, True, (ip_interface("192.0.2.1/24"),))
    made, _ = service(("0.0.0.0",), find_interfaces=lambda: [lan])
    assert made.announce(0, [ONE]) == 0  # nobody can connect to us
    assert caplog.messages == []
    assert made.announce(6881, [ONE] * (made.capacity + 1)) == 0
    assert "info-hashes in one datagram" in caplog.text
    assert sent == []
    assert made.announce(6881, [ONE]) == len(sent) == 1


def test_c6_a_host_that_floods_is_not_read_any_more_the_others_are() -> None:
    now = 0.0
    lan = Interface("lan", 7, False, True, (ip_interface("192.0.2.1/24"),))
    config = LsdConfig(max_received_per_minute=50, max_received_per_host_per_minute=10)
    made, heard = service(
        ("0.0.0.0",), find_interfaces=lambda: [lan], config=config, clock=lambda: now
    )
    made.update_interfaces()
    for _ in range(60):  # more than all together may send
        made.receive_datagram(datagram(), "192.0.2.2")
    made.receive_datagram(datagram(), "192.0.2.3")
    assert len(heard) == 11
    for number in range(100, 200):
        made.receive_datagram(datagram(), f"192.0.2.{number}")
    assert len(heard) == 50
    now = 61.0
    made.receive_datagram(datagram(), "192.0.2.2")
    assert heard[-1] == ((TWO,), PeerAddress("192.0.2.2", 6882))


@pytest.mark.parametrize("garbage", [b"x", b"BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n"])
def test_c6_garbage_of_many_addresses_keeps_no_neighbour_out(garbage: bytes) -> None:
    lan = Interface("lan", 7, False, True, (ip_interface("2001:db8::1/64"),))
    made, heard = service(("::",), find_interfaces=lambda: [lan], clock=lambda: 0.0)
    made.update_interfaces()
    for number in range(20):
        for _ in range(300):
            with suppress(RemoteProtocolError):
                made.receive_datagram(garbage, f"2001:db8::bad:{number:x}")
    made.receive_datagram(datagram(is_ipv6=True), "2001:db8::1234")
    assert senders(heard) == {"2001:db8::1234"}


def test_c6_a_flood_over_ipv6_keeps_nobody_out_over_ipv4() -> None:
    networks = (ip_interface("2001:db8::1/64"), ip_interface("192.0.2.1/24"))
    lan = Interface("lan", 7, False, True, networks)
    made, heard = service(find_interfaces=lambda: [lan], clock=lambda: 0.0)
    made.update_interfaces()
    for number in range(5_000):
        made.receive_datagram(datagram(is_ipv6=True), f"2001:db8::bad:{number:x}")
    assert len(heard) == 3_000
    made.receive_datagram(datagram(), "192.0.2.9")
    assert heard[-1][1] == PeerAddress("192.0.2.9", 6882)


@pytest.mark.anyio
async def test_a_socket_that_fails_is_read_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lsd_service, "ERROR_PAUSE_S", 0.0)
    made, heard = service(("127.0.0.1",))
    made.update_interfaces()

    class Broken:
        answers = iter([OSError("once"), (datagram(), ("127.0.0.1", 5000))])

        def recvfrom(self, _size: int) -> Any:
            answer = next(self.answers, None)
            if answer is None:
                raise BlockingIOError
            if isinstance(answer, OSError):
                raise answer
            return answer

    async def never(_sock: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(anyio, "wait_readable", never)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made._receive, cast("socket.socket", Broken()))
        await until(lambda: heard)
        tasks.cancel_scope.cancel()
    assert heard == [((TWO,), PeerAddress("127.0.0.1", 6882))]
