"""The IP filter of a running engine: who is kept out, and what a change of it does."""

import socket
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.abc
import pytest

from tests.support.swarm import LOOPBACK, kinds, record, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    AddressClass,
    ClassRule,
    IpFilterConfig,
    NetworkConfig,
    SessionConfig,
    WireLimits,
)
from torrent_engine.base.errors import ConfigError, HttpError, IpFilterError, StorageError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.events import PeerDisconnected
from torrent_engine.engine.resources import live_ip_filter as module
from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

WAIT_S = 30.0
FOE = PeerAddress("1.2.3.4", 6881)
PATIENT = WireLimits(handshake_timeout_s=3_600.0)  # nobody is hung up on for being silent


def blocking(*ranges: str) -> NetworkConfig:
    return NetworkConfig(ip_filter=filter_of(*ranges))


def filter_of(*ranges: str) -> IpFilterConfig:
    return IpFilterConfig(classes=(AddressClass("foes", ranges=ranges),))


# -- who comes, who is dialled ------------------------------------------------------------


async def knock(address: tuple[str, int], come_from: str) -> anyio.abc.ByteStream:
    return await anyio.connect_tcp(*address, local_host=come_from)


async def is_hung_up_on(stream: anyio.abc.ByteStream) -> bool:
    try:
        return not await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return True


async def test_who_comes_from_a_forbidden_address_is_hung_up_on_at_once(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(b"x" * 50_000)
    config = blocking("127.0.0.2", "10.0.0.0/8")
    async with seed(tmp_path, metainfo, payload, network=config, wire=PATIENT) as (_, address):
        with anyio.fail_after(WAIT_S):
            async with await knock(address, LOOPBACK) as welcome:
                async with await knock(address, "127.0.0.2") as foe:
                    assert await is_hung_up_on(foe)
                await welcome.send(b"\x13Bit")
                with anyio.move_on_after(0.2) as still_here:
                    await is_hung_up_on(welcome)
        assert still_here.cancelled_caught


async def test_a_forbidden_peer_is_not_dialled(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(b"x" * 50_000)
    with socket.create_server((LOOPBACK, 0)) as foe, socket.create_server(("127.0.0.2", 0)) as good:
        good.setblocking(False)
        foe.setblocking(False)
        peers = (foe.getsockname(), good.getsockname())
        async with resources(tmp_path, network=blocking(LOOPBACK)) as shared:
            session = await Session.create(
                metainfo, shared, save_path=tmp_path / "files", config=SessionConfig(peers=peers)
            )
            async with session:
                with anyio.fail_after(WAIT_S):
                    await anyio.wait_readable(good)
            assert shared.ip_filter.refusals == 1
        with pytest.raises(BlockingIOError):
            foe.accept()


async def test_links_that_a_new_filter_forbids_end_and_come_again_when_it_allows_them(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent(payload_of(4_000_000))
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech", max_download_bytes_per_s=20_000) as shared,
    ):
        session = await Session.create(
            metainfo, shared, save_path=tmp_path / "files", config=SessionConfig(peers=(address,))
        )
        events = record(session)
        async with session:
            await until(lambda: "peer.connected" in kinds(events), timeout_s=WAIT_S)
            await shared.ip_filter.reload(filter_of("127.0.0.0/8"))
            await until(lambda: "peer.disconnected" in kinds(events), timeout_s=WAIT_S)
            ended = next(event for event in events if isinstance(event, PeerDisconnected))
            assert ended.reason == "forbidden by the IP filter"
            await session.add_peer(*address)
            await shared.ip_filter.reload(IpFilterConfig())
            shared.set_rate_limits(download_bytes_per_s=0)
            await session.add_peer(*address)
            with anyio.fail_after(WAIT_S):
                await session.wait(State.SEEDING)


async def test_limits_are_not_for_the_unlimited(tmp_path: Path) -> None:
    near = AddressClass("near", ClassRule.UNLIMITED, ("9.9.0.0/16",))
    config = NetworkConfig(ip_filter=IpFilterConfig(classes=(near,)))
    async with resources(tmp_path, network=config, max_download_bytes_per_s=1) as shared:
        assert not shared.bandwidth.limits("9.9.1.1")
        assert shared.bandwidth.limits("9.8.1.1")


async def test_trackers_and_web_seeds_at_forbidden_addresses_are_not_asked(tmp_path: Path) -> None:
    async with resources(tmp_path, network=blocking("127.0.0.0/8", "::1")) as shared:
        for client in (shared.http, shared.web_seed_http):
            with pytest.raises(HttpError, match="forbidden by the IP filter"):
                await client.get("http://127.0.0.1:9/announce", max_bytes=100)
        assert await shared.ip_filter.resolve("9.9.9.9", 80) == ["9.9.9.9"]
    live = LiveIpFilter(replace(filter_of("9.9.9.9"), apply_to_servers=False))
    await live.load()
    assert await live.resolve("9.9.9.9", 80) == ["9.9.9.9"]


# -- loading ------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "list"
    path.write_bytes(b"1.2.3.0/24\n")
    return path


async def test_the_files_are_read_at_the_start_and_again_when_asked(
    path: Path, tmp_path: Path
) -> None:
    config = NetworkConfig(ip_filter=IpFilterConfig(paths=(str(path),)))
    async with resources(tmp_path, network=config) as shared:
        assert not shared.ip_filter.allows(FOE)
        path.write_bytes(b"5.6.7.8\n")  # noqa: ASYNC240 - a few bytes
        files = await shared.ip_filter.reload()
        assert [each.facts.ranges for each in files] == [1]
        assert shared.ip_filter.allows(FOE)
        assert shared.ip_filter.generation == 2


async def test_an_engine_with_a_list_that_is_not_there_does_not_start(tmp_path: Path) -> None:
    config = NetworkConfig(ip_filter=IpFilterConfig(paths=(str(tmp_path / "none"),)))
    shared = resources(tmp_path, network=config)
    with pytest.raises(StorageError, match="none: no such file"):
        async with shared:
            raise AssertionError("it started")
    assert shared.references == 0


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ({"paths": ("/nowhere/list",)}, StorageError),
        ({"max_ranges": 0}, IpFilterError),
        ({"classes": (AddressClass("mine", ranges=("x",)),)}, ConfigError),
    ],
)
async def test_after_a_failed_reload_the_filter_holds_that_held_before(
    damage, error: type[Exception], path: Path
) -> None:
    live = LiveIpFilter(IpFilterConfig(paths=(str(path),)))
    await live.load()
    with pytest.raises(error):
        await live.reload(replace(live.config, **damage))
    assert not live.allows(FOE)
    assert live.generation == 1
    await live.reload()
    assert live.generation == 2


async def test_without_a_filter_nothing_is_read() -> None:
    live = LiveIpFilter(IpFilterConfig())
    await live.load()
    assert live.generation == 0
    assert live.allows(FOE)
    assert live.allows_dial(FOE)
    assert not live.is_unlimited(FOE.host)


async def test_bad_lines_are_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"1.2.3.4\nwhat\n")  # noqa: ASYNC240 - a few bytes
    await LiveIpFilter(IpFilterConfig(paths=(str(path),))).reload()
    assert "lines that are no ranges: 1, such as 'what': not an address range" in caplog.text


async def test_a_reload_that_is_cancelled_ends_in_the_middle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveIpFilter(IpFilterConfig(paths=(str(path),)))
    begun = anyio.Event()

    def stand_back_for_ever() -> None:
        anyio.from_thread.run_sync(begun.set)
        while True:
            anyio.from_thread.check_cancelled()

    monkeypatch.setattr(module, "_stand_back", stand_back_for_ever)
    with anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live.reload)
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert live.generation == 0
    assert live.allows(FOE)


async def test_two_reloads_at_once_are_made_one_after_the_other(path: Path) -> None:
    live = LiveIpFilter(IpFilterConfig(paths=(str(path),)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live.reload)
        tasks.start_soon(live.reload, IpFilterConfig())
    assert live.generation == 2
    assert live.config == IpFilterConfig()
    assert live.allows(FOE)
