"""Trackers where the DNS says that they are (BEP 34): lookups, what is kept, announces."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import anyio
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from tests.net.tracker.test_client import CONFIG, PEERS, REQUEST, resolver
from tests.support.rude_server import answering, response, rude_server
from torrent_engine.base.config import ProxyConfig, ProxyKind, TrackerConfig
from torrent_engine.base.errors import ConfigError, TrackerError, TrackerRefusedError
from torrent_engine.codec.bencode import encode
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.routes import ProxyRoute
from torrent_engine.net.sockets.name_resolver import current_client, resolving_for
from torrent_engine.net.tracker import client as tracker_client
from torrent_engine.net.tracker import preferences
from torrent_engine.net.tracker.client import open_tracker_client
from torrent_engine.net.tracker.preferences import (
    ABSENT_S,
    FAILED_S,
    MAX_KEPT_S,
    MAX_NAMES,
    MIN_KEPT_S,
    PreferencesOfHosts,
    TxtRecords,
    look_up_txt,
)
from torrent_engine.protocol.tracker.preferences import TrackerPlace, TrackerPreferences

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
WITH_DNS = TrackerConfig(read_timeout_s=5.0, total_timeout_s=10.0, dns_preferences=True)


@dataclass
class FakeDns:
    """What names have, what was asked, and the time."""

    records: dict[str, TxtRecords | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    def look_up(self, name: str) -> TxtRecords:
        self.asked.append(name)
        answer = self.records.get(name, TxtRecords())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hosts(self) -> PreferencesOfHosts:
        return PreferencesOfHosts(self.look_up, clock=lambda: self.now)


def txt(*records: bytes, kept_s: float = 300.0) -> TxtRecords:
    return TxtRecords(records, kept_s)


async def test_bep34_preferences_are_kept_as_long_as_the_record_says() -> None:
    fake = FakeDns({"t.example": txt(b"BITTORRENT UDP:80")})
    hosts = fake.hosts()
    for seconds in (0.0, 299.0):
        fake.now = seconds
        found = await hosts.of("T.example.")
        assert found == TrackerPreferences((TrackerPlace(is_udp=True, port=80),))
    fake.now, fake.records = 300.0, {"t.example": txt(b"BITTORRENT")}
    assert await hosts.of("t.example") == TrackerPreferences()
    assert fake.asked == ["t.example"] * 2


KEPT = {
    "too_short": (txt(kept_s=0.0), MIN_KEPT_S),
    "too_long": (txt(b"BITTORRENT", kept_s=2.0**31), MAX_KEPT_S),
    "absent": (TxtRecords(), ABSENT_S),
    "failed": (OSError("servers failed"), FAILED_S),
    "timeout": (TimeoutError(), FAILED_S),
}


@pytest.mark.parametrize(("answer", "kept_s"), KEPT.values(), ids=KEPT)
async def test_answers_are_kept_for_a_bounded_time(
    answer: TxtRecords | Exception, kept_s: float
) -> None:
    fake = FakeDns({"t.example": answer})
    hosts = fake.hosts()
    for seconds in (0.0, kept_s - 1, kept_s):
        fake.now = seconds
        await hosts.of("t.example")
    assert len(fake.asked) == 2


async def test_addresses_and_local_names_are_not_asked_for() -> None:
    fake = FakeDns()
    for host in ("192.0.2.1", "2001:db8::1", "localhost", "tracker"):
        assert await fake.hosts().of(host) is None
    assert fake.asked == []


async def test_names_that_are_kept_are_bounded() -> None:
    fake = FakeDns()
    hosts = fake.hosts()
    hosts._known.update({f"{number}.example": (1.0, None) for number in range(MAX_NAMES)})
    await hosts.of("t.example")
    assert len(hosts._known) == MAX_NAMES
    assert "0.example" not in hosts._known


async def test_torrents_of_one_tracker_ask_few_times() -> None:
    fake = FakeDns({"t.example": txt(b"BITTORRENT UDP:80")})
    hosts = fake.hosts()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(hosts.of, "t.example")
    assert len(fake.asked) <= preferences.LOOKUP_SLOTS.total


@contextmanager
def silent_server(*, knows: str) -> Iterator[Callable[[str], TxtRecords]]:
    """Yield lookups that end with the block, but for one name."""
    ends = threading.Event()

    def look_up(name: str) -> TxtRecords:
        if name != knows:
            ends.wait(20.0)
        return txt(b"BITTORRENT UDP:80")

    try:
        yield look_up
    finally:
        ends.set()


async def test_a_hundred_names_on_a_silent_server_keep_no_other_torrent_waiting() -> None:
    with silent_server(knows="t.example") as look_up:
        hosts = PreferencesOfHosts(look_up)

        async def ask(name: str, key: str) -> TrackerPreferences | None:
            with resolving_for(key):
                return await hosts.of(name)

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ask, f"{number}.example", "greedy")
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(preferences.LOOKUP_TIMEOUT_S / 2):
                assert await ask("t.example", "another") is not None
            tasks.cancel_scope.cancel()


async def test_the_lookup_of_an_announce_is_charged_to_its_torrent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[object] = []

    class Hosts(PreferencesOfHosts):
        async def of(self, host: str) -> TrackerPreferences | None:
            keys.append(current_client().key)
            return await super().of(host)

    monkeypatch.setattr(tracker_client, "PreferencesOfHosts", lambda: Hosts(FakeDns().look_up))
    async with rude_server(answering(response(PEERS))) as server:
        hosts = resolver(**{"t.example": [HERE]})
        async with open_tracker_client(WITH_DNS, resolver=hosts) as client:
            await client.announce(f"http://t.example:{server.port}/announce", REQUEST)
    assert keys == [REQUEST.info_hash]


# -- announces -------------------------------------------------------------------------------------


async def announce(
    monkeypatch: pytest.MonkeyPatch, url: str, fake: FakeDns, config: TrackerConfig = WITH_DNS
) -> object:
    monkeypatch.setattr(tracker_client, "PreferencesOfHosts", fake.hosts)
    hosts = resolver(**{"t.example": [HERE]})
    async with open_tracker_client(config, resolver=hosts) as client:
        return await client.announce(url, REQUEST)


async def test_bep34_announce_goes_to_the_port_of_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rude_server(answering(response(PEERS))) as server:
        fake = FakeDns({"t.example": txt(b"BITTORRENT TCP:%d" % server.port)})
        await announce(monkeypatch, "http://t.example:1/announce?k=1", fake)
    assert server.requests[0].startswith(b"GET /announce?k=1&info_hash=")


async def test_bep34_next_place_is_tried_after_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.create_server((HERE, 0))) as unused:
        closed = unused.getsockname()[1]
    async with rude_server(answering(response(PEERS))) as server:
        record = b"BITTORRENT TCP:%d TCP:%d" % (closed, server.port)
        await announce(
            monkeypatch, "http://t.example/announce", FakeDns({"t.example": txt(record)})
        )
        assert len(server.requests) == 1


async def test_bep34_refusal_of_the_preferred_tracker_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = response(encode({"failure reason": "not registered"}))
    async with rude_server(answering(refusal)) as server:
        record = b"BITTORRENT TCP:%d TCP:1" % server.port
        with pytest.raises(TrackerRefusedError):
            await announce(
                monkeypatch, "http://t.example/announce", FakeDns({"t.example": txt(record)})
            )


async def test_bep34_host_without_trackers_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rude_server(answering(response(PEERS))) as server:
        fake = FakeDns({"t.example": txt(b"BITTORRENT DENY ALL")})
        with pytest.raises(TrackerError, match="BEP 34"):
            await announce(monkeypatch, f"http://t.example:{server.port}/announce", fake)
    assert server.requests == []


async def test_bep34_failed_lookup_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rude_server(answering(response(PEERS))) as server:
        fake = FakeDns({"t.example": OSError("no servers")})
        await announce(monkeypatch, f"http://t.example:{server.port}/announce", fake)
    assert len(server.requests) == 1


async def test_bep34_scrape_goes_to_the_port_of_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = encode({"files": {bytes(REQUEST.info_hash): {"complete": 1, "incomplete": 2}}})
    async with rude_server(answering(response(body))) as server:
        fake = FakeDns({"t.example": txt(b"BITTORRENT TCP:%d" % server.port)})
        monkeypatch.setattr(tracker_client, "PreferencesOfHosts", fake.hosts)
        hosts = resolver(**{"t.example": [HERE]})
        async with open_tracker_client(WITH_DNS, resolver=hosts) as client:
            assert await client.scrape("udp://t.example:1/announce", [REQUEST.info_hash])
    assert server.requests[0].startswith(b"GET /scrape?info_hash=")


async def test_the_dns_is_not_asked_unless_it_is_switched_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeDns()
    async with rude_server(answering(response(PEERS))) as server:
        await announce(monkeypatch, f"http://t.example:{server.port}/announce", fake, CONFIG)
    assert fake.asked == []


async def test_the_dns_is_not_asked_for_what_a_proxy_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server((HERE, 0))) as unused:
        closed = unused.getsockname()[1]
    fake = FakeDns({"t.example": txt(b"BITTORRENT")})
    monkeypatch.setattr(tracker_client, "PreferencesOfHosts", fake.hosts)
    proxy = Proxy(ProxyConfig(ProxyKind.HTTP, HERE, closed))
    http = HttpClient(WITH_DNS, route=ProxyRoute(proxy))
    async with open_tracker_client(WITH_DNS, http=http) as client:
        with pytest.raises(TrackerError) as caught:
            await client.announce("http://t.example/announce", REQUEST)
    assert "BEP 34" not in str(caught.value)
    assert fake.asked == []


async def test_missing_dnspython_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(ConfigError, match="dnspython"):
        PreferencesOfHosts()


# -- dnspython -------------------------------------------------------------------------------------


@contextmanager
def dns_server(
    monkeypatch: pytest.MonkeyPatch, records: Sequence[str], rcode: int = dns.rcode.NOERROR
) -> Iterator[list[str]]:
    """Answer lookups on loopback, and let dnspython ask there; gives the names asked for."""
    asked: list[str] = []
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as server:
        server.bind((HERE, 0))

        def serve() -> None:
            while True:
                data, client = server.recvfrom(4_096)
                if not data:
                    return
                query = dns.message.from_wire(data)
                name = query.question[0].name
                asked.append(str(name))
                answer = dns.message.make_response(query)
                answer.set_rcode(dns.rcode.Rcode(rcode))
                if records:
                    answer.answer.append(dns.rrset.from_text(name, 77, "IN", "TXT", *records))
                server.sendto(answer.to_wire(), client)

        made = dns.resolver.Resolver(configure=False)
        made.nameservers = [HERE]
        made.port = server.getsockname()[1]
        monkeypatch.setattr(dns.resolver, "Resolver", lambda: made)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with closing(socket.socket(type=socket.SOCK_DGRAM)) as end:
                end.sendto(b"", server.getsockname())
            thread.join()


def test_bep34_txt_records_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    records = ['"BITTORRENT " "UDP:80"', '"v=spf1 -all"']
    with dns_server(monkeypatch, records) as asked:
        found = look_up_txt("t.example")
    assert sorted(found.records) == [b"BITTORRENT UDP:80", b"v=spf1 -all"]
    assert (found.kept_s, asked) == (77.0, ["t.example."])


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
def test_names_without_records_have_none(monkeypatch: pytest.MonkeyPatch, rcode: int) -> None:
    with dns_server(monkeypatch, [], rcode):
        assert look_up_txt("t.example") == TxtRecords()


def test_servers_that_refuse_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with dns_server(monkeypatch, [], dns.rcode.REFUSED), pytest.raises(OSError, match="REFUSED"):
        look_up_txt("t.example")


@pytest.mark.parametrize("name", ["a" * 70 + ".example", "a..example", "x." * 200, "\\400.x"])
def test_names_that_no_dns_has_are_a_failure(name: str) -> None:
    with pytest.raises(OSError, match=r"."):
        look_up_txt(name)
