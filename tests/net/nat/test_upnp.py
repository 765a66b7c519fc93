"""Our ports at a scripted UPnP gateway on loopback, and what it may not do to us."""

import importlib.util
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio.abc import SocketStream

from tests.support.upnp_device import UpnpDevice, serve_device
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError, LocalProtocolError
from torrent_engine.net.nat import upnp as module
from torrent_engine.net.nat.gateway import Gateway
from torrent_engine.net.nat.mapping_status import MappingStatus
from torrent_engine.net.nat.port_mapping import MapperHost, PortMapper
from torrent_engine.net.nat.upnp import UpnpGateway, UpnpRefusedError, open_upnp
from torrent_engine.net.nat.upnp_mapping import UpnpMappings
from torrent_engine.protocol.nat.facts import MappedTransport, PortKey

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
TCP, UDP = PortKey(MappedTransport.TCP, 6881), PortKey(MappedTransport.UDP, 6882)
CONFIG = PortMappingConfig(
    enabled=True,
    protocols=("UPnP",),
    gateway_poll_s=0.05,
    upnp_search_s=20,
    check_interval_s=0.05,
    removal_timeout_s=60.0,  # the gateway shares a busy machine
)


def mapper_at(ssdp_port: int, config: PortMappingConfig = CONFIG) -> PortMapper:
    host = MapperHost(
        clock=time.monotonic,
        listen_hosts=("0.0.0.0",),
        secret=b"",
        find_gateway={False: Gateway(HERE, HERE)}.get,
        ssdp_port=ssdp_port,
    )
    return PortMapper(config, (TCP, UDP), host)


@asynccontextmanager
async def running(mapper: PortMapper) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mapper.run)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def opened(
    device: UpnpDevice, config: PortMappingConfig = CONFIG
) -> AsyncIterator[UpnpGateway]:
    async with (
        serve_device(device) as port,
        open_upnp(Gateway(HERE, HERE), config, port) as gateway,
    ):
        yield gateway


async def refusal_of(device: UpnpDevice, config: PortMappingConfig = CONFIG) -> str:
    """Return why a gateway opens no port."""
    async with serve_device(device) as port:
        with pytest.raises(GatewayError) as caught:
            async with open_upnp(Gateway(HERE, HERE), config, port) as gateway:
                await gateway.open(TCP, 6881, 60)
    return str(caught.value)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - nothing of a gateway tells of itself
            await anyio.sleep(0.01)


def open_count(mapper: PortMapper) -> int:
    return sum(each.is_open for each in mapper.status())


async def test_both_ports_are_opened_and_closed_at_the_end() -> None:
    device = UpnpDevice()
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            tcp, udp, *_ = mapper.status()
            assert set(device.open) == {("TCP", 6881), ("UDP", 6882)}
            entry = device.open["TCP", 6881]
            assert (entry["NewInternalClient"], entry["NewInternalPort"]) == (HERE, "6881")
            assert entry["NewLeaseDuration"] == "7200"
            assert (tcp.protocol, tcp.external_port, udp.external_port) == ("UPnP", 6881, 6882)
            assert tcp.external_address == "203.0.113.9"
        assert device.open == {}
        assert open_count(mapper) == 0


async def test_a_gateway_that_forgot_is_asked_again() -> None:
    device = UpnpDevice()
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            device.open.clear()
            await until(lambda: len(device.open) == 2)
        assert device.open == {}


async def test_mappings_are_renewed_at_half_of_their_lifetime() -> None:
    device = UpnpDevice()
    async with serve_device(device) as port:
        mapper = mapper_at(port, replace(CONFIG, lifetime_s=1))
        async with running(mapper):
            await until(lambda: device.asked.count("AddPortMapping") >= 6)
            assert set(device.open) == {("TCP", 6881), ("UDP", 6882)}


async def test_a_gateway_that_gives_nothing_any_more_is_looked_for_again() -> None:
    device = UpnpDevice()
    config = replace(CONFIG, min_retry_s=0.1, upnp_timeout_s=1.0)
    async with serve_device(device) as port:
        mapper = mapper_at(port, config)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            device.faults = dict.fromkeys(device.actions, 501)
            device.open.clear()
            await until(lambda: open_count(mapper) == 0)
            device.faults = {}
            await until(lambda: len(device.open) == 2)
        assert device.open == {}


async def test_a_port_that_is_taken_is_given_up_for_one_behind_it() -> None:
    device = UpnpDevice(taken={6881, 6882})
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
            assert mapper.external_port(MappedTransport.TCP) == 6883
            assert set(device.open) == {("TCP", 6883), ("UDP", 6883)}
        assert device.open == {}


async def test_a_gateway_without_free_ports_is_a_failure_that_is_told() -> None:
    device = UpnpDevice(taken=set(range(6881, 7000)))
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(
                lambda: any("no free port" in (each.error or "") for each in mapper.status())
            )
    assert device.open == {}


async def test_a_gateway_that_knows_no_lifetimes_opens_until_it_is_told_to_close() -> None:
    device = UpnpDevice(only_permanent=True)
    async with opened(device) as gateway:
        granted = await gateway.open(TCP, 6881, 7200)
        assert (granted.external_port, granted.lifetime_s) == (6881, 0)
        assert device.open["TCP", 6881]["NewLeaseDuration"] == "0"
        await gateway.close(TCP, 6881)
        assert device.open == {}


@pytest.mark.parametrize("taken", [(), (6881,), (6881, 6882, 6883)])
async def test_a_port_that_may_be_open_for_all_we_know_is_closed_at_the_end(
    taken: tuple[int, ...],
) -> None:
    device = UpnpDevice(taken=set(taken))
    opening = anyio.Event()

    def hold(_path: str, body: bytes) -> bytes:
        if b"AddPortMappingResponse" in body:
            opening.set()
            return body[:-5]  # the gateway has opened it, and says so in half
        return body

    device.rewrite = hold
    async with serve_device(device) as port, running(mapper_at(port)):
        await opening.wait()
    assert "DeletePortMapping" in device.asked
    assert device.open == {}


async def test_a_port_whose_opening_was_not_answered_is_closed_after_another_was_opened() -> None:
    device, everything = UpnpDevice(taken={6881}), set[tuple[str, int]]()

    def lose_first(_path: str, body: bytes) -> bytes:
        everything.update(device.open)
        if b"AddPortMappingResponse" in body and device.taken:
            device.taken.clear()  # the next try gets the first port
            return b""
        return body

    device.rewrite = lose_first
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(lambda: open_count(mapper) == 2)
    assert everything == {("TCP", 6881), ("TCP", 6882), ("UDP", 6882)}
    assert device.open == {}


async def test_all_ports_of_the_host_are_neither_opened_nor_closed() -> None:
    device = UpnpDevice()
    keys = [TCP, PortKey(MappedTransport.UDP, 0)]
    async with opened(device) as gateway:
        board = MappingStatus(keys, is_ipv6=False, clock=time.monotonic, on_change=lambda: None)
        with pytest.raises(LocalProtocolError, match="port 0 cannot be mapped"):
            await UpnpMappings(gateway, CONFIG, board, time.monotonic).run(keys)
    assert not {"AddPortMapping", "DeletePortMapping"} & set(device.asked)


async def test_what_leads_to_somebody_else_is_not_closed() -> None:
    device = UpnpDevice(faults={"AddPortMapping": 501})
    device.open["TCP", 6881] = (
        {"NewInternalClient": "127.0.0.9", "NewInternalPort": "6881"}
        | dict.fromkeys(("NewEnabled", "NewLeaseDuration"), "1")
        | {"NewPortMappingDescription": "theirs"}
    )
    async with serve_device(device) as port:
        mapper = mapper_at(port)
        async with running(mapper):
            await until(lambda: any("501" in (each.error or "") for each in mapper.status()))
    assert "DeletePortMapping" not in device.asked


async def test_closing_what_is_closed_is_no_error() -> None:
    async with opened(UpnpDevice()) as gateway:
        await gateway.close(TCP, 6881)
        assert not await gateway.is_open(TCP, 6881)


async def test_what_leads_to_somebody_else_is_not_open() -> None:
    device = UpnpDevice()
    async with opened(device) as gateway:
        await gateway.open(TCP, 6881, 60)
        assert await gateway.is_open(TCP, 6881)
        device.open["TCP", 6881]["NewInternalClient"] = "127.0.0.9"
        assert not await gateway.is_open(TCP, 6881)


async def test_a_refusal_has_its_code() -> None:
    device = UpnpDevice(faults={"AddPortMapping": 606})
    async with opened(device) as gateway:
        with pytest.raises(UpnpRefusedError) as caught:
            await gateway.open(TCP, 6881, 60)
    assert caught.value.code == 606


@pytest.mark.parametrize("host", ["", "0.0.0.0", "no address", "999.1.1.1", "::1"])
async def test_an_external_address_that_is_none_is_not_believed(host: str) -> None:
    async with opened(UpnpDevice(external_host=host)) as gateway:
        assert await gateway.external_host() is None


async def test_a_ppp_connection_will_do() -> None:
    async with opened(UpnpDevice(kind="WANPPPConnection")) as gateway:
        assert (await gateway.open(TCP, 6881, 60)).external_port == 6881


def nothing(_path: str, _body: bytes) -> bytes:
    return b""


def no_xml(_path: str, _body: bytes) -> bytes:
    return b"<root"


def too_long(_path: str, body: bytes) -> bytes:
    return body + b" " * CONFIG.max_upnp_bytes


def entities(_path: str, _body: bytes) -> bytes:
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    return f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{bomb}]><root>&a8;</root>'.encode()


def outside_entity(_path: str, _body: bytes) -> bytes:
    return b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><root>&a;</root>'


def deep(_path: str, _body: bytes) -> bytes:
    return b"<a>" * 50_000 + b"</a>" * 50_000


def no_utf8(_path: str, body: bytes) -> bytes:
    return b"\xff\xfe\xff" + body[:50]


def no_device(_path: str, _body: bytes) -> bytes:
    return b'<root xmlns="urn:schemas-upnp-org:device-1-0"/>'


def many_services(path: str, body: bytes) -> bytes:
    if path != "/device.xml":
        return body
    begin, end = body.index(b"<service>"), body.index(b"</service>") + len(b"</service>")
    return body[:begin] + body[begin:end] * 500 + body[end:]


def long_services(path: str, body: bytes) -> bytes:
    """Ten services, each of almost the length that one description may have."""
    if path != "/device.xml":
        return body + b" " * (CONFIG.max_upnp_bytes - len(body) - 1)
    begin, end = body.index(b"<service>"), body.index(b"</service>") + len(b"</service>")
    return body[:begin] + body[begin:end] * 10 + body[end:]


BAD_DESCRIPTIONS = {
    each.__name__: each
    for each in (
        nothing,
        no_xml,
        too_long,
        entities,
        outside_entity,
        deep,
        no_utf8,
        no_device,
        many_services,
        long_services,
    )
}


@pytest.mark.parametrize("rewrite", BAD_DESCRIPTIONS.values(), ids=BAD_DESCRIPTIONS.keys())
async def test_a_description_that_is_none_is_a_gateway_error(
    rewrite: Callable[[str, bytes], bytes],
) -> None:
    device = UpnpDevice(rewrite=rewrite)
    assert "UPnP" in await refusal_of(device)
    assert len(device.asked) <= 100


def with_entries(body: bytes, count: int, entry: bytes) -> bytes:
    """Return the description of a service with further entries of one kind."""
    end = b"</actionList>" if b"<action" in entry else b"</serviceStateTable>"
    return body.replace(end, entry * count + end)


VARIABLE = b"<stateVariable><name>x</name><dataType>ui2</dataType></stateVariable>"
LONG_VARIABLE = VARIABLE.replace(b"</s", b"<allowedValue>x</allowedValue>" * 40 + b"</s")
MANY_ELEMENTS = {
    "variables": lambda body: with_entries(body, 100, VARIABLE),
    "variables_of_a_prefix": lambda body: with_entries(
        body.replace(b"<scpd ", b'<scpd xmlns:s="urn:schemas-upnp-org:service-1-0" '),
        100,
        VARIABLE.replace(b"<s", b"<s:s").replace(b"</s", b"</s:s"),
    ),
    "actions": lambda body: with_entries(body, 100, b"<action/>"),
    "values": lambda body: with_entries(body, 40, LONG_VARIABLE),
    "attributes": lambda body: with_entries(
        body, 1, b"<x " + b" ".join(b'a%d=""' % n for n in range(2_500)) + b"/>"
    ),
}


@pytest.mark.parametrize("more", MANY_ELEMENTS.values(), ids=MANY_ELEMENTS.keys())
async def test_f11_a_service_of_too_many_elements_is_passed_over(
    more: Callable[[bytes], bytes],
) -> None:
    device = UpnpDevice(rewrite=lambda path, body: more(body) if path == "/scpd.xml" else body)
    assert "no port mapping service" in await refusal_of(device)


async def test_f11_a_gateway_of_too_many_devices_is_refused() -> None:
    def many_devices(path: str, body: bytes) -> bytes:
        return body.replace(b"</device></root>", b"<device/>" * 100 + b"</device></root>")

    assert "UPnP" in await refusal_of(UpnpDevice(rewrite=many_devices))


async def test_a_service_as_large_as_any_of_a_router_is_read() -> None:
    argument = (
        b"<argument><name>x</name><direction>in</direction>"
        b"<relatedStateVariable>NewProtocol</relatedStateVariable></argument>"
    )
    action = b"<action><name>x</name><argumentList>" + argument * 5 + b"</argumentList></action>"

    def large(path: str, body: bytes) -> bytes:
        body = with_entries(with_entries(body, 30, action), 20, VARIABLE)
        return with_entries(
            body, 10, VARIABLE.replace(b"</s", b"<defaultValue>1</defaultValue></s")
        )

    device = UpnpDevice(rewrite=lambda path, body: large(path, body) if "scpd" in path else body)
    async with opened(device) as gateway:
        assert (await gateway.open(TCP, 6881, 60)).external_port == 6881


async def test_what_another_service_has_too_much_of_keeps_no_port_closed() -> None:
    too_much = [b"<scpd>" + b"<x/>" * 10_000 + b"</scpd>"]

    def with_another(path: str, body: bytes) -> bytes:
        if path == "/scpd.xml" and too_much:
            return too_much.pop()
        begin, end = body.find(b"<service>"), body.find(b"</service>") + len(b"</service>")
        other = body[begin:end].replace(b"WANIP", b"X_")
        return body if path != "/device.xml" else body[:begin] + other + body[begin:]

    device = UpnpDevice(rewrite=with_another)
    async with opened(device) as gateway:
        assert (await gateway.open(TCP, 6881, 60)).external_port == 6881
    assert not too_much


BAD_ANSWERS = {each.__name__: each for each in (nothing, no_xml, too_long, entities, deep, no_utf8)}


@pytest.mark.parametrize("rewrite", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_an_answer_that_is_none_is_a_gateway_error(
    rewrite: Callable[[str, bytes], bytes],
) -> None:
    device = UpnpDevice()
    async with opened(device) as gateway:
        device.rewrite = rewrite
        with pytest.raises(GatewayError):
            await gateway.open(TCP, 6881, 60)
        assert await gateway.external_host() is None


async def test_a_device_that_opens_no_ports_is_no_gateway() -> None:
    device = UpnpDevice(actions=("GetExternalIPAddress",))
    assert "no port mapping service" in await refusal_of(device)


ELSEWHERE = [
    "http://127.0.0.9/control",
    "https://127.0.0.1/",
    "http://user@127.0.0.1:{port}/control",
]


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_d1_a_description_leads_nowhere_else(url: str) -> None:
    device = UpnpDevice(control_url=url)
    assert "UPnP" in await refusal_of(device)
    assert "AddPortMapping" not in device.asked


@pytest.mark.parametrize("location", ["http://127.0.0.9/device.xml", "http://localhost/", "gopher"])
async def test_d1_an_answer_to_a_search_leads_nowhere_else(location: str) -> None:
    device = UpnpDevice(location=location)
    assert "no response" in await refusal_of(device, replace(CONFIG, upnp_search_s=1))
    assert device.asked == []


async def test_where_nobody_answers_the_search_ends() -> None:
    device = UpnpDevice(is_mute=True)
    assert "no response" in await refusal_of(device, replace(CONFIG, upnp_search_s=1))


async def test_a_gateway_that_does_not_answer_a_request_is_given_up() -> None:
    device = UpnpDevice()
    config = replace(CONFIG, upnp_timeout_s=0.3)

    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    device.handle = silent  # type: ignore[method-assign]
    assert "timed out" in await refusal_of(device, config)


async def test_without_the_library_upnp_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert not module.is_installed()
    mapper = mapper_at(9)
    async with running(mapper):
        await until(
            lambda: any("torrent-engine[nat]" in (each.error or "") for each in mapper.status())
        )
    assert open_count(mapper) == 0
