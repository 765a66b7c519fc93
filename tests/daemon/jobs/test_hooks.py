"""Hooks: what they are told, when they are run, and what a crash leaves due."""

import errno
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from torrent_engine.base.errors import ConfigError, StateDatabaseError
from torrent_engine.daemon.jobs import hooks as hooks_module
from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent, HookTorrent
from torrent_engine.daemon.jobs.hooks import DueHook, Hook, HookRunner
from torrent_engine.service.programs import Program, ProgramEnd

pytestmark = pytest.mark.anyio

TORRENT = HookTorrent(
    hash="ab" * 20,
    name="$(reboot) `x` \n\0 name",
    id=7,
    save_path="/data/films",
    content_path="/data/films/name",
    category="films",
    labels=("new", "hd"),
    size_bytes=1_000,
    downloaded_bytes=1_200,
    priority=5,
    tracker_hosts=("tracker.example", "other.example"),
)
COMPLETED = HookCall(HookEvent.TORRENT_COMPLETED, 1_000.5, TORRENT)
ADDED = replace(COMPLETED, event=HookEvent.TORRENT_ADDED)
STARTED = HookCall(HookEvent.DAEMON_STARTED, 1.0)


@dataclass
class MemoryDue:
    """A table that survives a runner, not a process."""

    rows: dict[int, DueHook] = field(default_factory=dict)
    fails: bool = False

    def add(self, key: str, call: str) -> DueHook:
        due = DueHook(max(self.rows, default=0) + 1, key, call)
        self.rows[due.id] = due
        return due

    async def flush(self) -> None:
        if self.fails:
            raise StateDatabaseError("disk full")

    async def failed(self, due_id: int) -> None:
        self.rows[due_id] = replace(self.rows[due_id], attempts=self.rows[due_id].attempts + 1)

    async def remove(self, due_id: int) -> None:
        del self.rows[due_id]

    def all(self) -> list[DueHook]:
        return list(self.rows.values())


@dataclass
class Bench:
    """A runner whose programs end as the test says."""

    hooks: list[Hook]
    due: MemoryDue = field(default_factory=MemoryDue)
    outcomes: list[str] = field(default_factory=list)
    """Failures of the next programs; "" afterwards."""
    programs: list[Program] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    gate: anyio.Event | None = None
    running: int = 0
    most_running: int = 0

    async def run_program(self, program: Program) -> ProgramEnd:
        self.programs.append(program)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.running -= 1
        return ProgramEnd(failure=self.outcomes.pop(0) if self.outcomes else "")

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[HookRunner]:
        runner = HookRunner(
            self.hooks,
            self.due,
            run=self.run_program,
            environment={"PATH": "/bin", "HOME": "/home/x", "SECRET": "no"},
            sleep=self.sleep,
            alert=lambda program, text: self.alerts.append((program, text)),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run)
            await anyio.wait_all_tasks_blocked()
            yield runner
            tasks.cancel_scope.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(30):
            while not condition():  # noqa: ASYNC110 - the runner tells nobody
                await anyio.sleep(0.002)


def hook(event: HookEvent = HookEvent.TORRENT_COMPLETED, **changes) -> Hook:
    return Hook(event, ("/bin/true", "argument"), **changes)


async def test_a_program_gets_facts_in_its_environment_and_as_json() -> None:
    bench = Bench([hook(environment={"MINE": "1"}, timeout_s=7.0)])
    async with bench.open() as runner:
        runner.fire(COMPLETED)
        await bench.until(lambda: not bench.due.rows and len(bench.programs) == 1)
    (program,) = bench.programs
    assert program.command == ("/bin/true", "argument")  # nothing of a torrent is an argument
    assert (program.time_limit_s, program.end_grace_s) == (7.0, 5.0)
    assert program.output.max_bytes == 65_536
    assert json.loads(program.stdin)["torrent"]["name"] == TORRENT.name
    assert dict(program.environment) | {"TR_TIME_LOCALTIME": "", "TR_APP_VERSION": ""} == {
        "PATH": "/bin",
        "HOME": "/home/x",
        "MINE": "1",
        "TE_EVENT": "torrent_completed",
        "TE_HASH": "ab" * 20,
        "TE_NAME": TORRENT.name,
        "TE_PATH": "/data/films",
        "TE_CONTENT_PATH": "/data/films/name",
        "TE_CATEGORY": "films",
        "TE_LABELS": "new,hd",
        "TE_SIZE_BYTES": "1000",
        "TE_TRACKER_HOST": "tracker.example",
        "TR_APP_VERSION": "",
        "TR_TIME_LOCALTIME": "",
        "TR_TORRENT_BYTES_DOWNLOADED": "1200",
        "TR_TORRENT_DIR": "/data/films",
        "TR_TORRENT_HASH": "ab" * 20,
        "TR_TORRENT_ID": "7",
        "TR_TORRENT_LABELS": "new,hd",
        "TR_TORRENT_NAME": TORRENT.name,
        "TR_TORRENT_PRIORITY": "1",
        "TR_TORRENT_TRACKERS": "tracker.example,other.example",
    }


async def test_an_event_without_a_torrent_has_its_details_only() -> None:
    bench = Bench([hook(HookEvent.DISK_LOW)])
    async with bench.open() as runner:
        runner.fire(HookCall(HookEvent.DISK_LOW, 1.0, details={"root": "/data"}))
        await bench.until(lambda: len(bench.programs) == 1)
    names = {name for name in bench.programs[0].environment if name.startswith(("TE_", "TR_"))}
    assert names == {"TE_EVENT", "TE_ROOT"}
    assert bench.programs[0].folder == Path("/")


def test_a_call_is_read_as_it_was_written() -> None:
    assert HookCall.from_json(COMPLETED.to_json()) == COMPLETED
    assert HookCall.from_json(STARTED.to_json()) == STARTED


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"event": "x", "time": 1}', "null", "{" * 999])
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        HookCall.from_json(text)


FILTERS = {
    "all": (hook(), True),
    "label": (hook(labels=frozenset({"hd"})), True),
    "other_label": (hook(labels=frozenset({"x"})), False),
    "category": (hook(categories=frozenset({"films"})), True),
    "either": (hook(labels=frozenset({"x"}), categories=frozenset({"films"})), True),
    "other_event": (hook(HookEvent.TORRENT_ADDED), False),
}


@pytest.mark.parametrize(("one", "expected"), FILTERS.values(), ids=FILTERS)
def test_a_hook_is_run_for_the_torrents_that_it_names(one: Hook, expected: bool) -> None:
    assert one.wants(COMPLETED) is expected


async def test_a_completion_is_due_until_the_program_succeeds() -> None:
    gate = anyio.Event()
    bench = Bench([hook()], outcomes=["exit status 1"], gate=gate)
    async with bench.open() as runner:
        runner.fire(COMPLETED)
        await bench.until(lambda: len(bench.programs) == 1)
        assert [due.attempts for due in bench.due.rows.values()] == [0]
        gate.set()
        await bench.until(lambda: not bench.due.rows)
    assert (len(bench.programs), bench.waits) == (2, [30.0])
    assert bench.alerts == []


async def test_the_third_failure_is_the_last() -> None:
    bench = Bench([hook()], outcomes=["no"] * 9)
    async with bench.open() as runner:
        runner.fire(COMPLETED)
        await bench.until(lambda: len(bench.programs) == 3 and not bench.due.rows)
    assert bench.waits == [30.0, 300.0]
    assert bench.alerts == [("/bin/true", "torrent_completed: no")]


async def test_what_a_crash_left_due_is_run_by_the_next_process() -> None:
    due = MemoryDue()
    first = Bench([hook()], due, gate=anyio.Event())
    async with first.open() as runner:
        runner.fire(COMPLETED)
        await first.until(lambda: len(first.programs) == 1)
    assert len(due.rows) == 1  # it was running, and is not known to have ended
    second = Bench([hook()], due)
    async with second.open():
        await second.until(lambda: not due.rows)
    assert second.programs[0].stdin == first.programs[0].stdin


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOTCONN, "a server is gone"), RuntimeError("can't start new thread")]
)
async def test_a_save_path_that_cannot_be_looked_at_keeps_no_hook_from_running(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    is_dir = Path.is_dir

    def look(path: Path) -> bool:
        if path == Path(TORRENT.save_path):
            raise fault
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", look)
    bench = Bench([hook()], MemoryDue({1: DueHook(1, hook().key, COMPLETED.to_json())}))
    async with bench.open():
        await bench.until(lambda: not bench.due.rows)
    assert [program.folder for program in bench.programs] == [Path("/")]


async def test_attempts_of_an_earlier_process_count() -> None:
    due = MemoryDue({1: DueHook(1, hook().key, COMPLETED.to_json(), attempts=2)})
    bench = Bench([hook()], due, outcomes=["no"] * 9)
    async with bench.open():
        await bench.until(lambda: not due.rows)
    assert len(bench.programs) == 1


async def test_rows_of_hooks_that_are_gone_and_damaged_ones_are_dropped() -> None:
    rows = {1: DueHook(1, "gone", COMPLETED.to_json()), 2: DueHook(2, hook().key, "{")}
    bench = Bench([hook()], MemoryDue(rows))
    async with bench.open():
        await bench.until(lambda: not rows)
    assert bench.programs == []


async def test_other_events_are_not_repeated() -> None:
    bench = Bench([hook(HookEvent.TORRENT_ADDED), hook(HookEvent.DAEMON_STARTED)], outcomes=["no"])
    async with bench.open() as runner:
        runner.fire(ADDED)
        runner.fire(STARTED)
        await bench.until(lambda: len(bench.programs) == 2)
        await anyio.wait_all_tasks_blocked()
    assert (len(bench.programs), bench.waits, bench.due.rows) == (2, [], {})
    ((program, text),) = bench.alerts
    assert (program, text.partition(": ")[2]) == ("/bin/true", "no")


async def test_a_database_that_fails_does_not_keep_a_hook_from_running() -> None:
    bench = Bench([hook()], MemoryDue(fails=True))
    async with bench.open() as runner:
        runner.fire(COMPLETED)
        await bench.until(lambda: len(bench.programs) == 1 and not bench.due.rows)
    assert len(bench.programs) == 1


async def test_each_hook_runs_a_few_at_a_time() -> None:
    gate = anyio.Event()
    bench = Bench([hook(parallel=2)], gate=gate)
    async with bench.open() as runner:
        for _ in range(7):
            runner.fire(COMPLETED)
        await bench.until(lambda: len(bench.due.rows) == 7)
        await bench.until(lambda: bench.running == 2)
        gate.set()
        await bench.until(lambda: not bench.due.rows)
    assert (len(bench.programs), bench.most_running) == (7, 2)


async def test_a_full_queue_loses_events_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "MAX_QUEUED", 3)
    due = MemoryDue()
    runner = HookRunner([hook(), hook(HookEvent.TORRENT_ADDED)], due)
    for _ in range(5):
        runner.fire(ADDED)
        runner.fire(COMPLETED)
    assert runner.lost == 2
    assert len(due.rows) == 5  # of completions none


async def test_the_hooks_of_the_end_have_little_time() -> None:
    bench = Bench([hook(HookEvent.DAEMON_STOPPING)], gate=anyio.Event())
    async with bench.open() as runner:
        with anyio.fail_after(30):
            await runner.run_last(HookCall(HookEvent.DAEMON_STOPPING, 1.0), limit_s=0.05)
    assert len(bench.programs) == 1


BAD = {
    "relative": ("bin/x", "an absolute path is needed"),
    "missing": ("/nowhere/x", "no such file"),
    "folder": ("/", "is no program"),
}


@pytest.mark.parametrize(("program", "message"), BAD.values(), ids=BAD)
def test_a_program_that_cannot_be_run_is_refused(program: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Hook(HookEvent.TORRENT_ADDED, (program,)).check()


@pytest.mark.parametrize(
    ("mode", "message"), [(0o644, "no program"), (0o757, "others can change it"), (0o755, None)]
)
def test_a_program_that_others_can_change_is_refused(
    tmp_path: Path, mode: int, message: str | None
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    one = Hook(HookEvent.TORRENT_ADDED, (str(program),))
    if message is None:
        one.check()
        assert one.key == Hook(HookEvent.TORRENT_ADDED, (str(program),)).key
    else:
        with pytest.raises(ConfigError, match=message):
            one.check()


async def test_a_real_program_gets_it_all(tmp_path: Path) -> None:
    code = "import os, sys; open('new', 'w').write(os.environ['TE_NAME'] + sys.stdin.read())"
    torrent = replace(TORRENT, save_path=str(tmp_path))
    due = MemoryDue()
    runner = HookRunner([Hook(HookEvent.TORRENT_COMPLETED, (sys.executable, "-c", code))], due)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.run)
        runner.fire(replace(COMPLETED, torrent=torrent))
        with anyio.fail_after(60):
            while due.rows or not (tmp_path / "new").exists():  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    told = (tmp_path / "new").read_text()
    assert told.startswith(TORRENT.name.replace("\0", ""))
    assert json.loads(told[told.index("{") :])["torrent"]["name"] == TORRENT.name
    assert "TE_NAME" not in os.environ


async def test_what_was_queued_when_the_task_failed_is_run_by_the_next() -> None:
    failed = anyio.Event()

    class SlowDue(MemoryDue):
        async def flush(self) -> None:
            failed.set()
            await anyio.sleep_forever()

    async def broken(_program: Program) -> ProgramEnd:
        await failed.wait()
        raise RuntimeError("a bug")

    due, ran = SlowDue(), list[str]()
    runner = HookRunner([hook(), hook(HookEvent.DAEMON_STARTED)], due, run=broken, environment={})
    runner.fire(STARTED)

    async def fire_more() -> None:
        await anyio.wait_all_tasks_blocked()
        runner.fire(COMPLETED)
        runner.fire(replace(STARTED, time=2.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fire_more)
        with pytest.raises(ExceptionGroup):
            await runner.run()

    async def works(program: Program) -> ProgramEnd:
        ran.append(json.loads(program.stdin)["event"])
        return ProgramEnd()

    runner._run_program = works
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert sorted(ran) == ["daemon_started", "torrent_completed"]
