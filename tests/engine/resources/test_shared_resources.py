"""Ref-counting, single-flight starts, closing in order, and errors that leave as themselves."""

import random
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.clock import let_tasks_run
from tests.support.swarm import PATIENCE_S, open_descriptors, resources, until
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import LocalProtocolError, NetworkError, StateDatabaseError
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.discovery.dormant_announcer import DormantAnnouncer
from torrent_engine.engine.discovery.peer_discovery import PeerDiscovery
from torrent_engine.engine.jobs.job_log import JobLog
from torrent_engine.engine.jobs.session_jobs import SessionJobs
from torrent_engine.engine.resources.bandwidth_manager import BandwidthManager
from torrent_engine.engine.resources.heap_trim import HeapTrim
from torrent_engine.engine.resources.loop_watch import LoopWatch
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.resources.state_folder import default_state_dir
from torrent_engine.engine.timers import DormantTimers
from torrent_engine.net.nat.port_mapping import PortMapper
from torrent_engine.net.sockets import keep_running
from torrent_engine.net.sockets.tcp import listen

pytestmark = pytest.mark.anyio


class Counted:
    """Counts what is opened and closed, in order; can make the next opens fail or wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.failures = 0
        self.turns = 0
        self._listen = listen
        self._open, self._close = StateStore.open, StateStore.close
        monkeypatch.setattr("torrent_engine.net.sockets.listening.listen", self.listen)
        monkeypatch.setattr(StateStore, "open", self.open)

        async def close(store: StateStore) -> None:
            self.log.append("store closed")
            await self._close(store)

        monkeypatch.setattr(StateStore, "close", close)

    def listen(self, *arguments: Any) -> list[socket.socket]:
        if self.failures:
            self.failures -= 1
            self.log.append("listen failed")
            raise NetworkError("no port")
        self.log.append("listening")
        return self._listen(*arguments)

    async def open(self, *arguments: Any, **options: Any) -> StateStore:
        self.log.append("store opened")
        await let_tasks_run(self.turns)
        return await self._open(*arguments, **options)

    def count(self, what: str) -> int:
        return Counter(self.log)[what]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


async def test_a_hundred_tasks_that_acquire_at_once_cause_one_start(
    tmp_path: Path, counted: Counted
) -> None:
    async with resources(tmp_path) as shared:
        await shared.release()
        counted.log.clear()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(shared.acquire)
        assert shared.references == 100
        assert counted.log == ["store opened", "listening"]
        for _ in range(100):
            await shared.release()
        assert counted.log == ["store opened", "listening", "store closed"]


async def test_a_failed_start_is_told_to_all_and_tried_again(
    tmp_path: Path, counted: Counted
) -> None:
    failed: list[NetworkError] = []
    async with resources(tmp_path) as shared:
        await shared.release()
        counted.log.clear()
        counted.failures = 1
        before = open_descriptors()

        async def acquire() -> None:
            try:
                await shared.acquire()
            except NetworkError as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(acquire)
        assert len(failed) == 10
        assert counted.log == ["store opened", "listen failed", "store closed"]
        assert (shared.references, open_descriptors()) == (0, before)
        await shared.acquire()
        assert shared.listen_port


async def test_a_start_goes_on_when_who_began_it_is_cancelled(
    tmp_path: Path, counted: Counted
) -> None:
    async with resources(tmp_path) as shared:
        await shared.release()
        counted.log.clear()
        counted.turns = 20
        async with anyio.create_task_group() as second, anyio.create_task_group() as first:
            first.start_soon(shared.acquire)
            await let_tasks_run(2)
            second.start_soon(shared.acquire)
            await let_tasks_run(2)
            first.cancel_scope.cancel()
        assert shared.references == 1
        assert counted.log == ["store opened", "listening"]


async def test_a_start_that_nobody_waits_for_any_more_is_closed_again(
    tmp_path: Path, counted: Counted
) -> None:
    async with resources(tmp_path) as shared:
        await shared.release()
        counted.log.clear()
        counted.turns = 20
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.acquire)
            await let_tasks_run(3)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(30):
            while counted.count("store closed") == 0:
                await anyio.lowlevel.checkpoint()
        assert shared.references == 0
        await shared.acquire()
        assert shared.listen_port


async def test_acquiring_while_the_last_reference_goes_gets_services_that_stay(
    tmp_path: Path, counted: Counted
) -> None:
    async with resources(tmp_path) as shared:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.release)
            tasks.start_soon(shared.acquire)
        await let_tasks_run(20)
        assert shared.references == 1
        assert shared.listen_port


@pytest.mark.parametrize("seed", range(12))
async def test_random_lives_open_and_close_in_turn(
    tmp_path: Path, counted: Counted, seed: int
) -> None:
    rng = random.Random(seed)
    held = 0
    async with resources(tmp_path) as shared:
        await shared.release()
        counted.log.clear()

        async def live() -> None:
            nonlocal held
            for _ in range(6):
                await let_tasks_run(rng.randrange(12))
                counted.turns = rng.randrange(10)
                counted.failures = rng.random() < 0.2
                with anyio.CancelScope() as scope:
                    if rng.random() < 0.3:
                        scope.deadline = anyio.current_time() + rng.random() * 0.01
                    try:
                        await shared.acquire()
                    except NetworkError:
                        continue
                if scope.cancelled_caught:
                    continue
                held += 1
                assert shared.references == held
                assert shared.listen_port
                await let_tasks_run(rng.randrange(8))
                assert shared.listen_port
                held -= 1
                await shared.release()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(live)
        assert shared.references == 0
    opened = 0
    for entry in counted.log:  # never two at once, and each is closed
        opened += {"store opened": 1, "store closed": -1}.get(entry, 0)
        assert opened in {0, 1}
    assert opened == 0


async def test_releasing_too_often_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        await shared.release()
        with pytest.raises(LocalProtocolError):
            await shared.release()


async def test_who_lost_a_reference_by_a_close_may_release_it_once(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        await shared.acquire()
    await shared.release()
    with pytest.raises(LocalProtocolError):
        await shared.release()


async def test_close_forces_it_whoever_holds_references_and_twice_is_harmless(
    tmp_path: Path, counted: Counted
) -> None:
    async with resources(tmp_path) as shared:
        await shared.acquire()
        await shared.close()
        await shared.close()
        assert counted.count("store closed") == 1
        with pytest.raises(LocalProtocolError):
            _ = shared.listen_port


async def test_outside_of_its_block_nothing_can_be_acquired(tmp_path: Path) -> None:
    shared = resources(tmp_path)
    with pytest.raises(LocalProtocolError):
        await shared.acquire()
    async with shared:
        pass
    with pytest.raises(LocalProtocolError):
        await shared.acquire()


async def test_what_is_raised_in_the_block_leaves_as_itself(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(KeyError):
        async with resources(tmp_path):
            raise KeyError("mine")
    assert open_descriptors() == before


async def test_a_taken_port_is_a_network_error_of_its_own(tmp_path: Path, counted: Counted) -> None:
    counted.failures = 1
    with pytest.raises(NetworkError):
        async with resources(tmp_path):
            raise AssertionError


async def test_a_state_folder_that_cannot_be_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(StateDatabaseError, match="state"):
        async with resources(tmp_path):
            raise AssertionError


def test_the_default_state_folder_is_below_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_state_dir() == Path("/somewhere/torrent_engine")
    assert SharedResources().state_dir == Path("/somewhere/torrent_engine")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_state_dir() == Path("/home/me/.local/state/torrent_engine")


@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_the_garbage_collector_of_the_process_is_left_alone_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked_for: bool
) -> None:
    calls: list[None] = []
    name = "torrent_engine.engine.resources.shared_resources.exempt_living_objects"
    monkeypatch.setattr(name, lambda: calls.append(None))
    changes: dict[str, Any] = {"freeze_garbage_collector": True} if is_asked_for else {}
    async with resources(tmp_path, **changes):
        assert len(calls) == is_asked_for


async def test_f10_a_bug_in_a_task_of_one_torrent_reaches_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = anyio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def go_on() -> None:
        await anyio.wait_all_tasks_blocked()
        other.set()

    async with resources(tmp_path) as shared:
        shared.start_task(go_on)
        shared.start_task(fail)
        with anyio.fail_after(PATIENCE_S):
            await other.wait()
    assert "a bug ended a task of a torrent" in caplog.messages


async def test_f10_a_bug_in_one_service_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keep_running, "RESTART_S", 0.0)
    failed: list[type] = []
    again: set[type] = set()

    def fail_once(service: type) -> None:
        async def run(_self: object) -> None:
            if service not in failed:
                failed.append(service)
                raise ZeroDivisionError
            again.add(service)
            await anyio.sleep_forever()

        monkeypatch.setattr(service, "run", run)

    services = (
        *(PeerDiscovery, JobLog, SessionJobs, DormantAnnouncer, DormantTimers),
        *(BandwidthManager, LoopWatch, HeapTrim, PortMapper),
    )
    for service in services:
        fail_once(service)
    mapping = PortMappingConfig(enabled=True)
    async with resources(tmp_path, port_mapping=mapping) as shared:
        await until(lambda: again == set(services))
        assert shared.listen_port
    assert len(caplog.records) == len(services)
