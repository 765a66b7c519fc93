"""What is to be done between two runs is done, also when the last run is just ending."""

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.lowlevel
import pytest

from tests.support.swarm import content, reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config.session import SessionConfig
from torrent_engine.base.errors import (
    BusyError,
    DiskFullError,
    SessionError,
    StateTransitionError,
    StorageError,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.disk_counts import DiskCounts
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session import run_loop
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.session.run_loop import RunLoop, WorkBetweenRuns
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import Signal, State, StateMachine

if TYPE_CHECKING:
    from torrent_engine.engine.events import Event

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(100_000)
TORRENT, _ = make_torrent(PAYLOAD)


def held_back(call: Callable[..., Awaitable[object]]) -> tuple[anyio.Event, Callable[..., Any]]:
    """Return a call that waits for an event before it does what it does."""
    gate = anyio.Event()

    async def late(*arguments: object) -> object:
        await gate.wait()
        return await call(*arguments)

    return gate, late


@asynccontextmanager
async def seeding(tmp_path: Path) -> AsyncIterator[tuple[SharedResources, Session]]:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with resources(tmp_path) as shared:
        session = await Session.create(TORRENT, shared, save_path=tmp_path / "files")
        async with session:
            await reach(session, State.SEEDING)
            yield shared, session


async def test_a_move_that_is_asked_for_while_the_session_ends_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (shared, session):
        gate, release_late = held_back(shared.release)
        monkeypatch.setattr(shared, "release", release_late)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.stop)
                await until(lambda: session.state is State.STOPPED)
                tasks.start_soon(session.move_storage, tmp_path / "other")
                await anyio.wait_all_tasks_blocked()
                gate.set()
        assert session.save_path == tmp_path / "other"
        assert content(TORRENT, tmp_path / "other") == PAYLOAD


async def test_a_move_that_waits_for_a_start_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(TORRENT, shared, save_path=tmp_path / "files")
        failed: list[str] = []

        async def fail() -> None:
            raise StorageError(tmp_path, "gone")

        async def fails(work: Callable[[], Awaitable[None]]) -> None:
            with pytest.raises((StorageError, SessionError)) as raised:
                await work()
            failed.append(raised.typename)

        gate, fail_late = held_back(fail)
        monkeypatch.setattr(shared, "acquire", fail_late)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fails, session.start)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(fails, lambda: session.move_storage(tmp_path / "other"))
                await anyio.wait_all_tasks_blocked()
                gate.set()
        monkeypatch.undo()
        assert sorted(failed) == ["SessionError", "StorageError"]
        await session.move_storage(tmp_path / "other")
        assert session.save_path == tmp_path / "other"


async def test_no_start_comes_between_what_is_done_to_a_stopped_torrent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (_, session):
        await session.stop()
        gate, settle_late = held_back(session._relocation.settle)
        monkeypatch.setattr(Relocation, "settle", lambda _, metainfo: settle_late(metainfo))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.move_storage, tmp_path / "other")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(BusyError, match="while its files are moved"):
                await session.start()
            gate.set()
        await session.start()
        await reach(session, State.SEEDING)
        assert session.save_path == tmp_path / "other"


async def test_no_start_comes_between_the_end_and_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (shared, session):

        async def stop_and_start() -> None:
            await session.stop()
            with pytest.raises(StateTransitionError, match="the torrent is removed"):
                await session.start()

        gate, release_late = held_back(shared.release)
        monkeypatch.setattr(shared, "release", release_late)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_and_start)
            await until(lambda: session.state is State.STOPPED)
            tasks.start_soon(partial(session.cancel, delete_files=True))
            await anyio.wait_all_tasks_blocked()
            gate.set()
        assert session.state is State.STOPPED


# -- runs one after the other ---------------------------------------------------------------------


class FakeRun:
    """A run that ends as the test has planned."""

    keeps_sources = False
    needs_check = False

    def __init__(self, ending: str | Exception) -> None:
        self.stop_reason = ending if isinstance(ending, str) else None
        self.error = ending if isinstance(ending, Exception) else None
        self.sources = SimpleNamespace(stop=nothing)

    async def run(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error


async def nothing(*_: object) -> None:
    await anyio.lowlevel.checkpoint()


class Core:
    """The core of a torrent whose metainfo is there."""

    def __init__(self) -> None:
        self.info_hash = TORRENT.info_hash
        self.held_metainfo = TORRENT
        self.config = SessionConfig()
        self.published: list[Event] = []
        self.events = SimpleNamespace(publish=self.published.append)
        self.machine = StateMachine()
        self.machine.fire(Signal.START)
        self.room = SimpleNamespace(drop=lambda: None, begin=self._begin_wait, wait=nothing)
        self.waits = 0
        self.error: Exception | None = None
        self.stop_wanted: str | None = None
        self.stop_reason = ""
        self.trusts_resume = True
        self.is_ending = False
        self.run: Any = None
        self.ended = anyio.Event()
        self.released = 0
        self.shared = SimpleNamespace(
            sessions=SimpleNamespace(remove=lambda _: None),
            router=SimpleNamespace(unregister=lambda _: None),
            release=self._release,
            connection_slots=SimpleNamespace(share=lambda _: None),
            disk_counts=DiskCounts(),
        )

    @property
    def state(self) -> State:
        return self.machine.state

    def claim_other_hash(self) -> None:
        """Stand in for a torrent with one info-hash."""

    def _begin_wait(self, _error: Exception, on_room: Callable[[], None]) -> None:
        self.waits += 1
        self.on_room = on_room

    async def _release(self) -> None:
        self.released += 1


class Loop(RunLoop):
    """A loop over planned runs; a run with the ending "rest" makes the torrent dormant."""

    def __init__(self, core: Core, *endings: str | Exception) -> None:
        parts: Any = SimpleNamespace(
            finish_unfinished=nothing,
            load_stored=nothing,
            rank_pieces=nothing,
            learn_trackers=nothing,
            settle=nothing,
            go_home=nothing,
        )
        super().__init__(cast("Any", core), parts, parts, self._dormancy, lambda: cast("Any", None))
        self.runs = [FakeRun(each) for each in endings]
        self.begun: list[bool] = []

    def make_run(self, _metainfo: Metainfo, *, trust: bool) -> Any:
        self.begun.append(trust)
        run = self.runs[len(self.begun) - 1]
        run.keeps_sources = run.stop_reason == "rest"
        return run

    def _dormancy(self, run: Any, *, has_work: bool) -> bool:
        return run.stop_reason == "rest" and not has_work

    async def go(self) -> None:
        with anyio.fail_after(30):
            await self._run()


def kinds(core: Core) -> list[str]:
    return [event.type for event in core.published]


async def test_a_run_that_was_stopped_is_the_last_and_its_reason_is_that_of_the_session() -> None:
    core = Core()
    await Loop(core, "ratio").go()
    assert (core.stop_reason, core.state) == ("ratio", State.STOPPED)
    assert kinds(core) == ["session.stopped"]
    assert (core.ended.is_set(), core.released) == (True, 1)


async def test_after_a_recheck_the_next_run_begins() -> None:
    core = Core()
    loop = Loop(core, "recheck", "stopped")
    await loop.go()
    assert len(loop.begun) == 2


async def test_a_run_without_descriptors_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_loop, "OPEN_AGAIN_S", 0.0)
    core, refused = Core(), StorageError("/files", "too many open files")
    refused.__cause__ = OSError(errno.EMFILE, "too many open files")
    loop = Loop(core, refused, "stopped")
    await loop.go()
    assert (len(loop.begun), core.error, core.stop_reason) == (2, None, "stopped")


@pytest.mark.parametrize("reason", ["between", "rest", "recheck"])
async def test_a_run_that_failed_and_waits_may_be_stopped_for_work_before_the_next(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, refused = Core(), StorageError("/files", "too many open files")
    refused.__cause__ = OSError(errno.EMFILE, "too many open files")
    loop = Loop(core, refused, DiskFullError("/files", "no space"), "ratio")

    async def stop_meanwhile(*_: object) -> None:
        core.run.stop_reason = reason
        await anyio.lowlevel.checkpoint()

    core.room.wait = stop_meanwhile
    monkeypatch.setattr(anyio, "sleep", stop_meanwhile)
    await loop.go()
    assert (len(loop.begun), core.stop_reason) == (3, "ratio")


async def test_any_other_error_ends_the_session_in_state_error() -> None:
    core, error = Core(), StorageError("/files", "is gone")
    await Loop(core, error).go()
    assert (core.state, core.error) == (State.ERROR, error)
    assert kinds(core) == ["session.error"]
    assert core.ended.is_set()


async def test_f10_a_bug_in_a_run_is_an_error_of_this_torrent_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = Core()
    await Loop(core, ZeroDivisionError("by zero")).go()
    assert isinstance(core.error, SessionError)
    assert "internal error" in str(core.error)
    assert "a bug ended its run" in caplog.text


async def test_a_full_disk_is_waited_for_and_the_next_run_begins() -> None:
    core = Core()
    loop = Loop(core, DiskFullError("/files", "no space"), "stopped")
    await loop.go()
    assert (core.waits, len(loop.begun)) == (1, 2)
    assert core.shared.disk_counts.errors["full"] == 1
    assert kinds(core) == ["session.error", "session.stopped"]


async def test_a_dormant_torrent_has_no_task_and_is_not_ended() -> None:
    core = Core()
    await Loop(core, "rest").go()
    assert (core.ended.is_set(), core.released, kinds(core)) == (False, 0, [])


async def test_work_is_done_before_a_run_and_its_error_is_its_callers() -> None:
    core, done = Core(), list[int]()
    loop = Loop(core, "stopped")

    async def work() -> None:
        done.append(len(loop.begun))
        raise StorageError("/files", "in use")

    added = loop.add_work(work)
    assert loop.has_work
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop.go)
        with pytest.raises(StorageError, match="in use"):
            await added.wait()
    assert (done, len(loop.begun), core.error) == ([0], 1, None)


async def test_work_that_comes_too_late_for_a_run_is_done_at_the_end() -> None:
    core, done = Core(), list[str]()
    loop = Loop(core, "stopped")

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append(core.stop_reason)

    core.stop_wanted = "cancelled"
    loop.add_work(work)
    await loop.go()
    assert (done, loop.begun) == (["cancelled"], [])


async def test_work_that_is_cancelled_is_no_success() -> None:
    work = WorkBetweenRuns(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work.do)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    with pytest.raises(SessionError, match="ended before the work was done"):
        await work.wait()
