"""A run in the foreground, on a manager that does what the test says."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.cli import fakes, torrents
from torrent_engine.base.config import IpFilterConfig, ManagerConfig
from torrent_engine.base.errors import ConfigError, StateDatabaseError
from torrent_engine.base.ids import FileIndex, InfoHash, PeerAddress
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.output.overview import OverviewEntry
from torrent_engine.cli.output.render import JsonReporter, PlainReporter, Reporter
from torrent_engine.cli.tasks import foreground as foreground_module
from torrent_engine.cli.tasks import run_display
from torrent_engine.cli.tasks.foreground import ForegroundRun, RunOptions
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.events import (
    Event,
    FileCompleted,
    MetadataReceived,
    SessionCompleted,
    SessionErrored,
    SessionStopped,
)
from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter
from torrent_engine.engine.states import State
from torrent_engine.service import watch_folder as watch_module

pytestmark = pytest.mark.anyio

HASH = "1" * 40
LINK = f"magnet:?xt=urn:btih:{HASH}&dn=one"


@dataclass
class FakeManaged:
    """What the command line reads of a Session of a manager."""

    info_hash: bytes
    name: str
    current: fakes.FakeStats = field(default_factory=fakes.FakeStats)
    is_held: bool = False
    is_resting: bool = False
    save_path: Path = Path("out")
    final_path: Path = Path("out")
    error: Exception | None = None

    def peers(self) -> list[Any]:
        return []

    def trackers(self) -> list[Any]:
        return []

    @property
    def state(self) -> State:
        return self.current.state

    def stats(self) -> fakes.FakeStats:
        return self.current


@dataclass
class FakeManager:
    """Remembers what was added."""

    by_hash: dict[bytes, FakeManaged] = field(default_factory=dict)
    subscribers: list[Callable[[Event], None]] = field(default_factory=list)
    config: ManagerConfig = field(default_factory=ManagerConfig)
    max_torrents: int = 100
    is_closed: bool = False
    flushed: int = 0
    asked: int = 0
    shared: Any = field(
        default_factory=lambda: SimpleNamespace(
            state_dir=Path("state"),
            listen_port=6881,
            http=None,
            ip_filter=LiveIpFilter(IpFilterConfig()),
        )
    )

    @property
    def sessions(self) -> tuple[FakeManaged, ...]:
        return tuple(self.by_hash.values())

    def get_session(self, info_hash: bytes) -> FakeManaged | None:
        return self.by_hash.get(info_hash)

    async def add(self, torrent: Any, **_: Any) -> Any:
        self.asked += 1
        if len(self.by_hash) >= self.max_torrents:
            raise ConfigError(f"no more than {self.max_torrents} torrents")
        made = FakeManaged(torrent.info_hash, torrent.name)
        session = self.by_hash.setdefault(torrent.info_hash, made)
        return SimpleNamespace(session=session, is_new=session is made)

    @property
    def events(self) -> "FakeManager":
        return self

    def subscribe(self, kind: str, subscriber: Callable[[Event], None]) -> Any:
        assert kind == "*"
        self.subscribers.append(subscriber)
        return SimpleNamespace(cancel=lambda: self.subscribers.remove(subscriber))

    def publish(self, event: Event) -> None:
        for subscriber in self.subscribers:
            subscriber(event)

    async def flush(self) -> None:
        self.flushed += 1


class Bench:
    """A keeper that runs while the test looks at it."""

    def __init__(self, *sources: str, reporter: Reporter | None = None, **options: Any) -> None:
        self.manager = FakeManager()
        run = RunOptions(config=ManagerConfig(), sources=sources, watch_interval_s=0.01, **options)
        self.keeper = ForegroundRun(run, reporter or PlainReporter(), self.open)  # type: ignore[arg-type]
        self.code: ExitCode | None = None

    @asynccontextmanager
    async def open(self, config: ManagerConfig) -> AsyncIterator[FakeManager]:
        assert isinstance(config, ManagerConfig)
        try:
            yield self.manager
        finally:
            self.manager.is_closed = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the keeper beside the block; when the block is done it is stopped by a signal."""

        async def run() -> None:
            self.code = await self.keeper.run()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await self.until(lambda: bool(self.manager.subscribers))
            yield
            os.kill(os.getpid(), signal.SIGTERM)
            await self.until(lambda: self.code is not None)

    async def until_printed(self, capsys: pytest.CaptureFixture[str], text: str) -> str:
        """Wait until a text is printed; return all that was printed since the last reading."""
        printed = ""

        def is_there() -> bool:
            nonlocal printed
            printed += capsys.readouterr().out
            return text in printed

        await self.until(is_there)
        return printed

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(30):
            while not condition():  # noqa: ASYNC110 - the fakes have no hook for this
                await anyio.sleep(0.002)


@pytest.fixture(autouse=True)
def quick_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file has to stand still before it is read."""
    make = watch_module.WatchFolder

    def impatient(*arguments: Any) -> Any:
        watcher = make(*arguments)
        watcher._schedule._settle_s = 0.0
        return watcher

    monkeypatch.setattr(foreground_module, "WatchFolder", impatient)


async def test_a_signal_closes_the_manager_and_exits_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    async with bench.running():
        pass
    assert bench.code is ExitCode.OK
    assert bench.manager.is_closed
    assert bench.manager.subscribers == []
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "no torrents yet; state in state; port 6881",
        "stopping; Ctrl-C again ends at once",
    ]
    assert err == ""


async def test_it_says_what_was_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(watched=(tmp_path,))
    for number, state in enumerate([State.SEEDING, State.DOWNLOADING, State.SEEDING]):
        stats = replace(fakes.FakeStats(), state=state)
        bench.manager.by_hash[bytes([number])] = FakeManaged(bytes([number]), f"t{number}", stats)
    async with bench.running():
        pass
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "3 torrents restored; state in state; port 6881",
        f"watching {tmp_path}",
    ]


async def test_a_log_has_a_line_about_all_torrents_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_display, "FIRST_LOG_S", 0.01)
    monkeypatch.setattr(run_display, "LOG_INTERVAL_S", 0.01)
    bench = Bench()
    managed = bench.manager.by_hash[b"1"] = FakeManaged(b"1", "one")
    async with bench.running():
        await bench.until_printed(capsys, "1 torrent: 1 downloading; down 0 B/s, ")
        await anyio.sleep(0.1)
        assert capsys.readouterr().out == ""  # nothing changed
        managed.current = managed.current.complete()
        await bench.until_printed(capsys, "1 torrent: 1 seeding; ")
    assert bench.code is ExitCode.OK


async def test_sources_are_added_and_bad_ones_do_not_stop_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(torrents.multi(tmp_path))
    bench = Bench("missing.torrent", good, LINK, good)
    async with bench.running():
        await bench.until(lambda: bench.manager.asked == 3)
    assert bench.code is ExitCode.NOT_FOUND
    out, err = capsys.readouterr()
    assert f"stuff: added ({good})\none: added (one)\nstuff: is there already ({good})\n" in out
    assert err == "torrent-engine: missing.torrent: no such file or directory\n"


async def test_a_torrent_that_the_manager_refuses_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(LINK, str(torrents.multi(tmp_path)))
    bench.manager.max_torrents = 1
    async with bench.running():
        await bench.until(lambda: bench.keeper._code is not ExitCode.OK)
    assert bench.code is ExitCode.BAD_OPTION
    assert "stuff.torrent: no more than 1 torrents\n" in capsys.readouterr().err


async def test_what_is_put_into_a_watched_folder_is_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    bench = Bench(watched=folders)
    async with bench.running():
        torrents.multi(folders[0])
        (folders[1] / "links.magnet").write_text(f"{LINK}\n")
        await bench.until((folders[1] / "links.magnet.added").exists)
        await bench.until((folders[0] / "stuff.torrent.added").exists)
    assert {session.name for session in bench.manager.sessions} == {"stuff", "one"}
    assert bench.manager.flushed >= 2
    out = capsys.readouterr().out
    assert out.count(f"stuff: added ({folders[0]}/stuff.torrent)\n") == 1


async def test_sighup_looks_into_the_folders_at_once(tmp_path: Path) -> None:
    bench = Bench(watched=(tmp_path,))
    bench.keeper._options = replace(bench.keeper._options, watch_interval_s=3_600.0)
    async with bench.running():
        await bench.until(lambda: bool(bench.keeper._watchers))
        torrents.multi(tmp_path)
        os.kill(os.getpid(), signal.SIGHUP)
        await bench.until((tmp_path / "stuff.torrent.added").exists)
    assert bench.code is ExitCode.OK


EVENTS: dict[str, tuple[Callable[[InfoHash], Event], str]] = {
    "complete": (lambda h: SessionCompleted(h, 1 << 20, 61.0), "complete, 1.0 MiB in 1:01, in out"),
    "metadata": (
        lambda h: MetadataReceived(h, "one", 3 << 20, 4, 2),
        "metadata is there: 3.0 MiB in 2 files",
    ),
    "error": (lambda h: SessionErrored(h, "out:\n\x1b[2Jbad"), "error: out:\\n\\x1b[2Jbad"),
    "ratio": (lambda h: SessionStopped(h, "ratio"), "stopped: its share ratio is reached"),
}


@pytest.mark.parametrize(("make", "text"), EVENTS.values(), ids=EVENTS)
async def test_news_of_a_torrent_are_lines(
    capsys: pytest.CaptureFixture[str], make: Callable[[InfoHash], Event], text: str
) -> None:
    bench = Bench(LINK)
    info_hash = InfoHash(bytes.fromhex(HASH))
    async with bench.running():
        await bench.until(lambda: len(bench.manager.sessions) == 1)
        bench.manager.publish(FileCompleted(info_hash, FileIndex(0), "no news"))
        bench.manager.publish(SessionStopped(InfoHash(b"?" * 20), "ratio"))  # of one that is gone
        bench.manager.publish(make(info_hash))
        printed = await bench.until_printed(capsys, text)
    assert f"one: {text}\n" in printed
    assert "no news" not in printed


async def test_json_has_every_event_and_what_was_added(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(LINK, "missing", reporter=JsonReporter())
    info_hash = InfoHash(bytes.fromhex(HASH))
    async with bench.running():
        printed = await bench.until_printed(capsys, "torrent.refused")
        bench.manager.publish(FileCompleted(info_hash, FileIndex(0), "a/b"))
        printed += await bench.until_printed(capsys, "a/b")
    events = [json.loads(line) for line in printed.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds == ["run.started", "torrent.added", "torrent.refused", "file.completed"]
    assert events[0]["listen_port"] == 6881
    assert events[1] | {"time": 0} == {
        "time": 0,
        "type": "torrent.added",
        "source": "one",
        "is_new": True,
        "info_hash": HASH,
        "name": "one",
    }
    assert all(isinstance(event["time"], float) for event in events)


async def test_on_a_terminal_the_torrents_are_drawn() -> None:
    class Drawing(Reporter):
        draws = True
        drawn: tuple[OverviewEntry, ...] = ()

        def show_overview(self, entries: Any) -> None:
            self.drawn = tuple(entries)

    reporter = Drawing()
    bench = Bench(LINK, reporter=reporter)
    async with bench.running():
        await bench.until(lambda: len(reporter.drawn) == 1)
    assert [(entry.label, entry.word) for entry in reporter.drawn] == [("one", "downloading")]


async def test_a_manager_that_does_not_open_ends_the_run_with_its_error() -> None:
    @asynccontextmanager
    async def refuse(config: ManagerConfig) -> AsyncIterator[Any]:
        raise StateDatabaseError("state is in use by another run")
        yield

    keeper = ForegroundRun(RunOptions(config=ManagerConfig()), PlainReporter(), refuse)
    with pytest.raises(ExceptionGroup) as caught:
        await keeper.run()
    assert caught.group_contains(StateDatabaseError, match="in use by another run")


def test_a_magnet_is_what_the_fakes_think_it_is() -> None:
    assert Magnet.parse(LINK).name == "one"


async def test_a_hangup_reads_the_lists_of_the_ip_filter_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"1.2.3.4\n5.6.7.8\nwhat\n")
    bench, live = Bench(), LiveIpFilter(IpFilterConfig(paths=(str(path),)))
    bench.manager.shared.ip_filter = live
    async with bench.running():
        os.kill(os.getpid(), signal.SIGHUP)
        printed = await bench.until_printed(capsys, "invalid lines: 1, such as 'what'")
        assert f"{path}: 2 address ranges blocked" in printed
        path.unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        await bench.until(lambda: "no such file" in capsys.readouterr().err)
    assert bench.code == ExitCode.OK
    assert not live.allows(PeerAddress("1.2.3.4", 1))
