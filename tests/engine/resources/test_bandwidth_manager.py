"""The limits of a process: whom they concern, how changes reach everybody, and real swarms."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.support.clock import ManualClock
from tests.support.managers import manager as managed
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import BandwidthConfig, SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.resources.bandwidth_manager import (
    BandwidthManager,
    RateLimits,
    TorrentBandwidth,
)
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import BandwidthGroup

pytestmark = pytest.mark.anyio

KIB, MIB = 1024, 1024 * 1024
FAR, NEAR = "192.0.32.7", "192.168.1.7"


class Link:
    """Has what the manager sets."""

    def __init__(self) -> None:
        self.download_throttle: Any = None
        self.upload_throttle: Any = None

    @property
    def limited(self) -> tuple[bool, bool]:
        return self.download_throttle is not None, self.upload_throttle is not None


def make_manager(clock: Callable[[], float] = time.monotonic, **settings: bool) -> BandwidthManager:
    return BandwidthManager(BandwidthConfig(**settings), clock)


def joined(manager: BandwidthManager, **limits: Any) -> TorrentBandwidth:
    torrent = manager.of_torrent(RateLimits(**limits))
    torrent.join()
    return torrent


@asynccontextmanager
async def serving(manager: BandwidthManager) -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run)
        with anyio.fail_after(30):
            yield tasks
        tasks.cancel_scope.cancel()


# -- whom a limit concerns ----------------------------------------------------------------------


def test_without_a_limit_nothing_has_a_throttle_and_nobody_is_counted() -> None:
    manager = make_manager()
    torrent, link, web_seed = joined(manager), Link(), Link()
    torrent.add_link(link, FAR)
    torrent.add_web_seed(web_seed)
    assert link.limited == web_seed.limited == (False, False)
    assert not torrent._down._throttles
    assert not torrent._up._throttles


@pytest.mark.parametrize(
    ("change", "limited"),
    [
        ({"download": KIB}, (True, False)),
        ({"upload": KIB}, (False, True)),
        ({"peer_download": KIB}, (True, False)),
        ({"peer_upload": KIB}, (False, True)),
    ],
)
def test_limits_of_a_torrent_concern_its_links_only(
    change: dict[str, Any], limited: tuple[bool, bool]
) -> None:
    manager = make_manager()
    torrent, other = joined(manager), joined(manager)
    link, stranger = Link(), Link()
    torrent.add_link(link, FAR)
    other.add_link(stranger, FAR)
    torrent.set_limits(RateLimits(**change))
    assert (link.limited, stranger.limited) == (limited, (False, False))
    torrent.set_limits(RateLimits())
    assert link.limited == (False, False)


def test_what_sends_other_bytes_has_the_limits_of_the_torrent() -> None:
    manager, sender = make_manager(), Link()
    torrent = joined(manager)
    torrent.add_sender(sender)
    assert sender.limited == (False, False)
    torrent.set_limits(RateLimits(upload=5 * MIB))
    assert sender.limited == (False, True)
    manager.set_rate_limits(download_bytes_per_s=MIB)
    torrent.set_limits(RateLimits())
    assert sender.limited == (True, False)


def test_a_limit_over_all_reaches_every_torrent_at_once_and_goes_again() -> None:
    manager = make_manager()
    links = [Link() for _ in range(6)]
    torrents = [joined(manager) for _ in range(3)]
    for number, link in enumerate(links):
        torrents[number % 3].add_link(link, FAR)
    manager.set_rate_limits(download_bytes_per_s=MIB)
    assert all(link.limited == (True, False) for link in links)
    manager.set_rate_limits(upload_bytes_per_s=MIB)
    assert all(link.limited == (True, True) for link in links)
    manager.set_rate_limits(download_bytes_per_s=0, upload_bytes_per_s=0)
    assert all(link.limited == (False, False) for link in links)


def test_a_torrent_that_joins_later_has_the_limits_that_hold_then() -> None:
    manager = make_manager()
    torrent, web_seed, link = manager.of_torrent(RateLimits(upload=KIB)), Link(), Link()
    torrent.add_web_seed(web_seed)
    manager.set_rate_limits(download_bytes_per_s=MIB)
    assert web_seed.limited == (False, False)
    torrent.join()
    torrent.add_link(link, FAR)
    assert (web_seed.limited, link.limited) == ((True, False), (True, True))
    torrent.leave()
    manager.set_rate_limits(download_bytes_per_s=0)
    assert link.limited == (True, True)
    assert not manager.torrents


def test_the_limit_of_single_peers_is_not_for_web_seeds() -> None:
    torrent, web_seed = joined(make_manager(), peer_download=KIB), Link()
    torrent.add_web_seed(web_seed)
    assert web_seed.limited == (False, False)
    torrent.set_limits(RateLimits(download=KIB))
    assert web_seed.limited == (True, False)


@pytest.mark.parametrize(("exempts", "limited"), [(True, False), (False, True)])
def test_the_local_network_is_exempt_on_request(exempts: bool, limited: bool) -> None:
    manager = make_manager(limit_local_network=not exempts)
    torrent, near, far = joined(manager, download=KIB), Link(), Link()
    torrent.add_link(near, NEAR)
    torrent.add_link(far, FAR)
    assert (near.limited[0], far.limited[0]) == (limited, True)
    manager.set_rate_limits(upload_bytes_per_s=1)
    assert (near.limited[1], far.limited[1]) == (limited, True)
    torrent.remove_link(near)
    torrent.remove_link(far)
    assert not torrent._down._throttles


def test_blocks_are_paced_where_one_takes_a_tenth_of_a_second() -> None:
    torrent, slow, fast = joined(make_manager(), peer_upload=40 * KIB), Link(), Link()
    torrent.add_link(slow, FAR)
    assert slow.upload_throttle.pace_bytes_per_s == 50 * KIB
    torrent.set_limits(RateLimits(upload=MIB))
    torrent.add_link(fast, FAR)
    assert fast.upload_throttle.pace_bytes_per_s == 0


# -- those who wait -----------------------------------------------------------------------------


async def move(link: Link, seconds: float, clock: Callable[[], float] = time.monotonic) -> int:
    """Take blocks for a while; return the bytes."""
    end_s, moved = clock() + seconds, 0
    while clock() < end_s:
        moved += await link.upload_throttle.acquire(4 * BLOCK_BYTES)
        await anyio.lowlevel.checkpoint()
    return moved


async def test_who_waits_is_served_at_the_rate() -> None:
    manager = make_manager()
    torrent, link = joined(manager, upload=2 * MIB), Link()
    torrent.add_link(link, FAR)
    room = 2 * MIB * 0.2 + 8 * BLOCK_BYTES
    async with serving(manager):
        for _ in range(20):  # a busy machine may serve late, but not always
            begun_s = time.monotonic()
            moved = await move(link, 0.6)
            lasted_s = time.monotonic() - begun_s
            assert moved <= 2 * MIB * lasted_s + room
            if moved >= 2 * MIB * lasted_s - room:
                break
    assert moved >= 2 * MIB * lasted_s - room


async def test_torrents_share_a_limit_however_many_peers_they_have() -> None:
    manager = make_manager()
    manager.set_rate_limits(upload_bytes_per_s=4 * MIB)
    few, many = joined(manager), joined(manager)
    moved = [0, 0]

    async def work(torrent: TorrentBandwidth, which: int) -> None:
        link = Link()
        torrent.add_link(link, FAR)
        count = await move(link, 0.8)
        moved[which] += count

    async with serving(manager), anyio.create_task_group() as peers:
        peers.start_soon(work, few, 0)
        for _ in range(20):
            peers.start_soon(work, many, 1)
    assert moved[0] == pytest.approx(moved[1], rel=0.6)


async def test_a_peer_that_leaves_while_it_waits_takes_nothing_along() -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    torrent, gone, here = joined(manager, upload=64 * KIB), Link(), Link()
    torrent.add_link(gone, FAR)
    torrent.add_link(here, FAR)
    tree = manager.upload.tree
    async with serving(manager) as tasks:
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await gone.upload_throttle.acquire(MIB)

        tasks.start_soon(wait)
        await until(lambda: tree.waits)
        scope.cancel()
        throttle = gone.upload_throttle
        await until(lambda: not throttle.leaf.wanted_bytes)
        torrent.remove_link(gone)
        clock.advance(0.1)
        assert await here.upload_throttle.acquire(BLOCK_BYTES) == BLOCK_BYTES
        await until(lambda: not tree.waits)
    assert throttle.leaf.granted_bytes == 0


async def test_whoever_waits_goes_on_when_the_limit_is_lifted() -> None:
    manager = make_manager(ManualClock())
    torrent, link = joined(manager, download=MIB), Link()
    torrent.add_link(link, FAR)
    got: list[int] = []

    async def wait() -> None:
        got.append(await link.download_throttle.acquire(MIB))

    async with serving(manager) as tasks:
        tasks.start_soon(wait)
        await until(lambda: manager.download.tree.waits)
        torrent.set_limits(RateLimits())
        assert link.limited == (False, False)
        await until(lambda: got)
    assert got == [MIB]


async def test_nothing_runs_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = make_manager()
    torrent, link = joined(manager, upload=MIB), Link()
    torrent.add_link(link, FAR)
    delays: list[float] = []
    real = anyio.move_on_after

    def move_on_after(delay_s: float) -> anyio.CancelScope:
        delays.append(delay_s)
        return real(delay_s)

    fake = SimpleNamespace(Event=anyio.Event, move_on_after=move_on_after)
    monkeypatch.setattr("torrent_engine.engine.resources.bandwidth_manager.anyio", fake)
    async with serving(manager):
        await move(link, 0.2)
        await until(lambda: not manager.upload.tree.waits)
        await until(lambda: delays[-1] == float("inf"))
        rounds = len(delays)
        for _ in range(5):
            await anyio.sleep(0.02)
    assert len(delays) == rounds


async def test_after_a_restart_of_the_services_who_waits_is_served() -> None:
    manager = make_manager()
    async with serving(manager):
        await anyio.lowlevel.checkpoint()
    torrent, link = joined(manager, upload=MIB), Link()
    torrent.add_link(link, FAR)
    async with serving(manager):
        assert await link.upload_throttle.acquire(BLOCK_BYTES) == BLOCK_BYTES


# -- real swarms --------------------------------------------------------------------------------

PAYLOAD = payload_of(6 * MIB)


def torrent_of(name: str) -> Any:
    return make_torrent(PAYLOAD, piece_bytes=64 * KIB, name=name)


async def leech(stack: AsyncExitStack, folder: Path, name: str, peer: tuple[str, int]) -> None:
    """Start one with services of its own."""
    metainfo, _ = torrent_of(name)
    shared = await stack.enter_async_context(resources(folder))
    config = SessionConfig(peers=(peer,))
    session = await Session.create(metainfo, shared, save_path=folder / "out", config=config)
    await stack.enter_async_context(session)


async def test_a_seed_of_two_torrents_gives_each_its_share_and_keeps_to_the_limit(
    tmp_path: Path,
) -> None:
    rate = 3 * MIB
    async with AsyncExitStack() as stack:
        seeded = seed(tmp_path / "seed", *torrent_of("few"), max_upload_bytes_per_s=16 * KIB)
        few, address = await stack.enter_async_context(seeded)
        metainfo, payload = torrent_of("many")
        write_files(metainfo, payload, tmp_path / "seed" / "files")
        many = await Session.create(
            metainfo, few._core.shared, save_path=tmp_path / "seed" / "files"
        )
        await stack.enter_async_context(many)
        await reach(many, State.SEEDING)
        for number in range(4):
            await leech(stack, tmp_path / f"many{number}", "many", address)
        await leech(stack, tmp_path / "few", "few", address)
        await until(lambda: few.stats().peers == 1 and many.stats().peers == 4)
        few._core.shared.set_rate_limits(upload_bytes_per_s=rate)  # till now none could complete
        begun_s = time.monotonic()
        before = few.stats().uploaded_bytes, many.stats().uploaded_bytes
        await anyio.sleep(1.5)
        lasted_s = time.monotonic() - begun_s
        gave_few = few.stats().uploaded_bytes - before[0]
        gave_many = many.stats().uploaded_bytes - before[1]
    # How near to it: tests/policy/transfer/test_bandwidth.py, on virtual time, and bench/limits.py.
    assert gave_few + gave_many <= 1.25 * rate * lasted_s
    assert min(gave_few, gave_many) > 0


async def test_no_more_is_asked_of_peers_than_a_limit_lets_in_soon(tmp_path: Path) -> None:
    """What is asked for is sent, and would wait in the buffers of the system."""
    rate = 500 * KIB
    metainfo, payload = torrent_of("one")
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (source, address),
        resources(tmp_path / "leech", max_download_bytes_per_s=rate) as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().downloaded_bytes > 2 * rate)
            ahead = source.stats().uploaded_bytes - session.stats().downloaded_bytes
            session.set_rate_limits(download_bytes_per_s=0)
            shared.set_rate_limits(download_bytes_per_s=0)
            await reach(session, State.SEEDING)
    assert ahead < rate / 2


async def test_a_leech_keeps_to_limits_of_its_peers_changed_on_the_way(tmp_path: Path) -> None:
    metainfo, payload = torrent_of("one")
    async with (
        seed(tmp_path / "a", metainfo, payload) as (_, first),
        seed(tmp_path / "b", metainfo, payload) as (_, second),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(first, second), max_peer_download_bytes_per_s=300 * KIB)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().peers == 2)
            await until(lambda: session.stats().downloaded_bytes)
            begun_s, before = time.monotonic(), session.stats().downloaded_bytes
            await until(lambda: session.stats().downloaded_bytes - before >= 600 * KIB)
            moved = session.stats().downloaded_bytes - before
            lasted_s = time.monotonic() - begun_s
            assert moved <= 600 * KIB * (lasted_s + 0.35)
            assert all(peer.downloaded_bytes > 100 * KIB for peer in session.peers())
            session.set_rate_limits(peer_download_bytes_per_s=0)
            await reach(session, State.SEEDING)
    assert session.config.max_peer_download_bytes_per_s == 0


# -- groups ------------------------------------------------------------------------------------


def takes(link: Link, wanted: int = MIB) -> int:
    """Take what one may receive now; without a throttle that is all."""
    throttle = link.download_throttle
    return wanted if throttle is None else throttle.take(wanted)


def with_link(manager: BandwidthManager, **limits: Any) -> tuple[TorrentBandwidth, Link]:
    torrent, link = joined(manager, **limits), Link()
    torrent.add_link(link, FAR)
    return torrent, link


def test_a_limit_of_a_group_is_for_its_torrents_only() -> None:
    manager = make_manager()
    (_, inside), (_, outside) = with_link(manager, group="a"), with_link(manager)
    assert inside.limited == outside.limited == (False, False)
    manager.set_group(BandwidthGroup("a", download_bytes_per_s=KIB))
    assert (inside.limited, outside.limited) == ((True, False), (False, False))
    manager.set_group(BandwidthGroup("a", upload_bytes_per_s=KIB))
    assert (inside.limited, outside.limited) == ((False, True), (False, False))
    assert manager.remove_group("a")
    assert not manager.remove_group("a")
    assert inside.limited == (False, False)


def test_a_limit_of_a_group_is_shared_by_its_torrents() -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    manager.set_group(BandwidthGroup("a", download_bytes_per_s=100 * KIB))
    links = [with_link(manager, group="a")[1] for _ in range(2)]
    _, alone = with_link(manager, group="b")
    got = 0
    for _ in range(100):
        clock.advance(0.1)
        got += sum(takes(link) for link in links)
    assert got == pytest.approx(10 * 100 * KIB, rel=0.1)
    assert takes(alone) == MIB


def test_the_limit_over_all_is_for_a_group_too_unless_it_does_not_honor_it() -> None:
    manager = make_manager()
    (_, inside), (_, outside) = with_link(manager, group="a"), with_link(manager)
    manager.set_rate_limits(download_bytes_per_s=KIB)
    assert inside.limited == outside.limited == (True, False)
    manager.set_group(BandwidthGroup("a", honors_session_limits=False))
    assert (inside.limited, outside.limited) == ((False, False), (True, False))
    manager.set_group(BandwidthGroup("a", upload_bytes_per_s=KIB, honors_session_limits=False))
    assert (inside.limited, outside.limited) == ((False, True), (True, False))
    manager.set_group(BandwidthGroup("a", upload_bytes_per_s=KIB))
    assert inside.limited == (True, True)


def test_a_torrent_that_honors_no_limits_has_its_own_only() -> None:
    manager = make_manager()
    manager.set_rate_limits(download_bytes_per_s=KIB)
    manager.set_group(BandwidthGroup("a", upload_bytes_per_s=KIB))
    torrent, link = with_link(manager, group="a", honors_session_limits=False)
    assert link.limited == (False, False)
    torrent.set_limits(RateLimits(upload=KIB, group="a", honors_session_limits=False))
    assert link.limited == (False, True)
    torrent.set_limits(RateLimits(group="a"))
    assert link.limited == (True, True)
    torrent.set_limits(RateLimits())
    assert link.limited == (True, False)


def test_a_group_that_is_limited_before_a_torrent_joins_holds_from_its_join() -> None:
    manager = make_manager()
    torrent, web_seed = manager.of_torrent(RateLimits(group="a")), Link()
    torrent.add_web_seed(web_seed)
    manager.set_group(BandwidthGroup("a", download_bytes_per_s=KIB))
    assert web_seed.limited == (False, False)
    torrent.join()
    assert web_seed.limited == (True, False)


@pytest.mark.parametrize("change", ["group goes", "group honors no limits", "torrent leaves"])
async def test_who_waits_in_a_group_gets_on_when_that_changes(change: str) -> None:
    manager = make_manager()
    manager.set_group(BandwidthGroup("a", download_bytes_per_s=10))
    torrent, link = with_link(manager, group="a")
    throttle = link.download_throttle
    granted: list[int] = []
    async with serving(manager) as tasks:

        async def move() -> None:
            throttle.take(MIB)
            granted.append(await throttle.acquire(MIB))

        tasks.start_soon(move)
        await anyio.lowlevel.checkpoint()
        if change == "group goes":
            manager.remove_group("a")
        elif change == "group honors no limits":
            manager.set_group(BandwidthGroup("a", honors_session_limits=False))
        else:
            torrent.set_limits(RateLimits())
        await until(lambda: granted)
    assert granted[0] > 0
    assert takes(link) > 0


MOVES: dict[str, Callable[[BandwidthManager, TorrentBandwidth], object]] = {
    "the torrent honors no limits": lambda _manager, torrent: torrent.set_limits(
        RateLimits(group="a", honors_session_limits=False)
    ),
    "the torrent joins a group": lambda _manager, torrent: torrent.set_limits(
        RateLimits(group="free")
    ),
    "the group honors no limits": lambda manager, _torrent: manager.set_group(
        BandwidthGroup("a", MIB, MIB, honors_session_limits=False)
    ),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_who_waits_for_the_limits_of_a_place_asks_again_when_its_torrent_is_moved(
    move: Callable[[BandwidthManager, TorrentBandwidth], object],
) -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    manager.set_group(BandwidthGroup("a", MIB, MIB))
    manager.set_group(BandwidthGroup("free", MIB, MIB, honors_session_limits=False))
    manager.set_rate_limits(download_bytes_per_s=10, upload_bytes_per_s=10)
    torrent, link = with_link(manager, group="a")
    web_seed, granted = Link(), list[int]()
    torrent.add_web_seed(web_seed)

    async def move_bytes(throttle: Any) -> None:
        while throttle.take(BLOCK_BYTES):
            pass
        granted.append(await throttle.acquire(BLOCK_BYTES))

    async with anyio.create_task_group() as tasks:
        for throttle in (link.download_throttle, link.upload_throttle, web_seed.download_throttle):
            tasks.start_soon(move_bytes, throttle)
        await anyio.wait_all_tasks_blocked()
        assert granted == []
        move(manager, torrent)
        await anyio.wait_all_tasks_blocked()
        clock.advance(0.1)  # worth one byte where they waited
        manager._serve()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert granted == [BLOCK_BYTES] * 3


async def test_who_waits_in_a_place_that_is_limited_too_is_served_by_its_limit() -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    manager.set_group(BandwidthGroup("slow", upload_bytes_per_s=1))
    manager.set_group(BandwidthGroup("fast", upload_bytes_per_s=MIB))
    _, other = with_link(manager, group="fast")
    torrent, link = with_link(manager, group="slow")
    granted: list[int] = []

    async def move_bytes() -> None:
        link.upload_throttle.take(BLOCK_BYTES)
        granted.append(await link.upload_throttle.acquire(BLOCK_BYTES))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move_bytes)
        await anyio.wait_all_tasks_blocked()
        while other.upload_throttle.take(BLOCK_BYTES):
            pass
        torrent.set_limits(RateLimits(group="fast"))
        await anyio.wait_all_tasks_blocked()
        assert granted == []
        clock.advance(0.1)
        manager._serve()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert granted == [BLOCK_BYTES]


async def test_what_was_granted_before_a_move_and_not_taken_goes_to_the_others() -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    manager.set_rate_limits(download_bytes_per_s=100)
    _, other = with_link(manager)
    torrent, link = with_link(manager)
    granted: list[int] = []

    async def move_bytes() -> None:
        while takes(link, 10):
            pass
        granted.append(await link.download_throttle.acquire(10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move_bytes)
        await anyio.wait_all_tasks_blocked()
        clock.advance(0.1)
        manager._serve()
        before = manager.download.tree.root.bucket.available(clock())
        torrent.set_limits(RateLimits(honors_session_limits=False))
        assert manager.download.tree.root.bucket.available(clock()) == before + 10
        await anyio.wait_all_tasks_blocked()
    assert granted == [10]
    manager._serve()
    assert not manager.download.tree.waits
    assert takes(other, 10) == 10


async def test_who_is_cancelled_after_a_move_waits_nowhere() -> None:
    clock = ManualClock()
    manager = make_manager(clock)
    manager.set_rate_limits(download_bytes_per_s=10)
    manager.set_group(BandwidthGroup("a", 10))
    torrent, link = with_link(manager)
    async with anyio.create_task_group() as tasks:
        link.download_throttle.take(MIB)
        tasks.start_soon(link.download_throttle.acquire, MIB)
        await anyio.wait_all_tasks_blocked()
        torrent.set_limits(RateLimits(group="a"))
        await anyio.wait_all_tasks_blocked()
        assert manager.download.tree.waits
        tasks.cancel_scope.cancel()
    clock.advance(60)
    manager._serve()
    assert not manager.download.tree.waits


def test_a_bad_rate_of_a_group_changes_nothing() -> None:
    manager = make_manager()
    with pytest.raises(ConfigError):
        manager.set_group(BandwidthGroup("a", download_bytes_per_s=-1))
    assert manager.groups == ()


async def test_torrents_of_a_group_keep_to_its_limit(tmp_path: Path) -> None:
    torrents = [make_torrent(payload_of(4 * MIB, n), name=f"t{n}") for n in range(2)]
    async with AsyncExitStack() as stack:
        sessions = []
        manager = await stack.enter_async_context(managed(tmp_path))
        manager.set_bandwidth_group("slow", download_bytes_per_s=100 * KIB)
        for number, (metainfo, payload) in enumerate(torrents):
            folder = tmp_path / f"seed{number}"
            _, address = await stack.enter_async_context(seed(folder, metainfo, payload))
            config = SessionConfig(peers=(address,), bandwidth_group="slow")
            sessions.append(await manager.add_torrent(metainfo, config=config))
        began = time.monotonic()
        await until(lambda: sum(each.totals.downloaded_bytes for each in sessions) > 200 * KIB)
        assert time.monotonic() - began > 1.0
        for session in sessions:
            session.set_bandwidth(honors_session_limits=False)
            await reach(session, State.SEEDING)
        assert time.monotonic() - began < 60.0  # more than eighty seconds at the limit
        sessions[0].set_bandwidth(group="other", honors_session_limits=True)
        names = [each.name for each in manager.bandwidth_groups()]
        assert sorted(names) == ["other", "slow"]
        assert sessions[0].config.bandwidth_group == "other"
        assert manager.remove_bandwidth_group("slow")
        with pytest.raises(ConfigError):
            manager.set_bandwidth_group("")
