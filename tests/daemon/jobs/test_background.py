"""All background work over an engine of facts: what is made from settings, and what it does."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.cli import torrents
from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.engine_port.facts import EngineState, Moment, MomentNotice
from torrent_engine.daemon.jobs.background import (
    Background,
    block_lists,
    hooks_of,
    interval_of,
    list_files,
)
from torrent_engine.daemon.settings.merge import Merged, merge
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.tables import (
    BlocklistSettings,
    HookSettings,
    TableSettings,
    WatchSettings,
)
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.labels import Category
from torrent_engine.daemon.state.store import DaemonStore

pytestmark = pytest.mark.anyio

TELL = (
    "import os, sys\n"
    "with open(sys.argv[1], 'a') as out:\n"
    "    print(os.environ['TE_EVENT'], os.environ.get('TE_NAME', '-'), file=out)\n"
)


class Bench:
    """Background work with settings by their keys, such as ``limits__alt_enabled=True``."""

    def __init__(self, folder: Path, tables: TableSettings | None = None, **settings: Any) -> None:
        self.engine = FakeEngine(save_path=str(folder))
        self.store = DaemonStore()
        self.state = DaemonState(self.engine.port, self.store)
        self.tables = tables or TableSettings()
        self.alerts: list[tuple[str, str]] = []
        self.folder = folder
        self.background = self.make(**settings)

    def make(self, **settings: Any) -> Background:
        lists = block_lists(self.tables.blocklist, self.engine.engine, self.folder / "lists")
        return Background(self.state, self.merged(**settings), lists, self.alert)

    def merged(self, **settings: Any) -> Merged:
        values = {"paths__download": str(self.folder), "paths__min_free_mib": 0, **settings}
        found = DaemonSettings()
        for key, value in values.items():
            section, _, name = key.partition("__")
            changed = replace(getattr(found, section), **{name: value})
            found = replace(found, **{section: changed})
        return replace(merge([]), settings=found, tables=self.tables)

    def alert(self, about: str, text: str) -> None:
        self.alerts.append((about, text))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await self.state.reload()
            tasks.start_soon(self.state.run)
            tasks.start_soon(self.background.run)
            await anyio.wait_all_tasks_blocked()
            yield
            tasks.cancel_scope.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(60):
            while not condition():  # noqa: ASYNC110 - programs and threads tell nobody
                await anyio.sleep(0.005)


def telling(folder: Path, *events: str, **changes: Any) -> TableSettings:
    """Return hooks that write the names of events to a file."""
    command = (sys.executable, "-c", TELL, str(folder / "told"))
    return TableSettings(hook=tuple(HookSettings(each, command, **changes) for each in events))


async def test_hooks_are_run_at_moments_of_torrents_and_of_the_daemon(tmp_path: Path) -> None:
    events = (
        "torrent_added",
        "metadata_received",
        "torrent_completed",
        "seeding_finished",
        "torrent_removed",
        "torrent_error",
        "file_completed",
        "daemon_started",
        "daemon_stopping",
    )
    bench = Bench(tmp_path, telling(tmp_path, *events))
    engine, told = bench.engine, tmp_path / "told"

    def lines() -> int:
        return len(told.read_text().splitlines()) if told.exists() else 0

    async with bench.running():
        one = engine.put(name="one", total_bytes=1_000, state=EngineState.DOWNLOADING)
        for moment in Moment:
            engine.report(MomentNotice(one, moment, "ratio"))
        engine.report(MomentNotice(one, Moment.STOPPED, "stopped"))  # by the user
        engine.take(one)
        await bench.until(lambda: lines() >= 8)
        await bench.background.hooks.run_last(  # as at the end, with as much time as it takes
            replace(bench_call(bench)), limit_s=60.0
        )
    said = sorted(told.read_text().splitlines())
    own = {"daemon_started -", "daemon_stopping -"}
    assert said == sorted({f"{each} one" for each in events if "daemon" not in each} | own)
    assert list(bench.store.table("hook_due").items()) == []


def bench_call(bench: Bench) -> Any:
    from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent

    assert bench.background.hooks.wants(HookEvent.DAEMON_STOPPING)
    return HookCall(HookEvent.DAEMON_STOPPING, 1.0)


async def test_a_completion_that_was_not_told_is_told_after_the_next_start(tmp_path: Path) -> None:
    tables = telling(tmp_path, "torrent_completed", timeout_s=1)
    bench = Bench(tmp_path, tables)
    bench.background.hooks._run_program = anyio.sleep_forever  # type: ignore[assignment]
    one = bench.engine.put(name="one", total_bytes=1_000)
    async with bench.running():
        bench.background.hooks._run_program = never_ends
        bench.engine.report(MomentNotice(one, Moment.COMPLETED))
        await bench.until(lambda: len(bench.store.table("hook_due")) == 1)
    (row,) = dict(bench.store.table("hook_due").items()).values()
    assert json.loads(row[1])["torrent"]["name"] == "one"
    bench.background = bench.make()
    async with bench.running():
        await bench.until(lambda: not len(bench.store.table("hook_due")))
    assert (tmp_path / "told").read_text() == "torrent_completed one\n"


async def never_ends(_program: Any) -> Any:
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("then", "call"),
    [("remove", False), ("remove_with_files", True)],
)
async def test_a_torrent_that_has_seeded_enough_is_removed(
    tmp_path: Path, then: str, call: bool
) -> None:
    bench = Bench(tmp_path, seeding__then=then)
    one = bench.engine.put(state=EngineState.STOPPED, stop_reason="ratio")
    two = bench.engine.put(state=EngineState.STOPPED, stop_reason="stopped")
    async with bench.running():
        for each, reason in ((one, "ratio"), (two, "stopped")):
            bench.engine.report(MomentNotice(each, Moment.STOPPED, reason))
        await bench.until(lambda: one in bench.engine.removed)
    assert list(bench.engine.torrents) == [two]
    removals = [arguments for name, arguments in bench.engine.calls if name == "remove"]
    assert removals == [(one, call)]


async def test_a_torrent_that_has_seeded_enough_super_seeds(tmp_path: Path) -> None:
    bench = Bench(tmp_path, seeding__then="super_seed")
    one = bench.engine.put(
        total_bytes=10, completed_bytes=10, state=EngineState.STOPPED, stop_reason="time"
    )
    async with bench.running():
        bench.engine.report(MomentNotice(one, Moment.STOPPED, "time"))
        await bench.until(lambda: bench.engine.torrents[one].facts.settings.is_super_seeding)
        await bench.until(lambda: "start" in {name for name, _ in bench.engine.calls})
    assert bench.engine.torrents[one].facts.settings.seed_rules.ratio == float("inf")


async def test_a_watched_folder_gives_its_torrents_a_category_and_labels(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    tables = TableSettings(watch=(WatchSettings(str(watched), "films", ("new",), True),))
    bench = Bench(tmp_path, tables)
    bench.state.labels.put_category(Category("films", "below", 7, seed_ratio=2.0))
    metainfo = torrents.multi(watched)
    async with bench.running():
        await bench.until(metainfo.with_name("stuff.torrent.added").exists)
        (one,) = bench.engine.torrents
        bench.state.look(one)
        row = bench.state.torrents.get(one)
    assert row is not None
    ((_, options),) = [arguments for name, arguments in bench.engine.calls if name == "add"]
    assert (options.category, options.labels) == ("films", ("new",))
    assert row.settings.save_path == str(tmp_path / "below")
    assert row.settings.limits.download_bytes_per_s == 7
    assert row.settings.seed_rules.ratio == 2.0
    assert row.progress.is_paused_by_user


async def test_downloads_wait_while_the_disk_is_nearly_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, paths__min_free_mib=1 << 40)
    one = bench.engine.put(total_bytes=10, state=EngineState.DOWNLOADING)
    bench.engine.put(total_bytes=10, completed_bytes=10, state=EngineState.SEEDING)
    async with bench.running():
        await bench.until(lambda: ("bar_downloads", (frozenset({one}),)) in bench.engine.calls)
        assert bench.alerts[0][0] == str(tmp_path)
        bench.background.change(bench.merged(paths__min_free_mib=0))
        await bench.until(lambda: bench.engine.calls[-1] == ("bar_downloads", (frozenset(),)))


async def test_speeds_are_those_of_the_settings(tmp_path: Path) -> None:
    rates: dict[str, Any] = {"limits__download_kb_s": 100, "limits__alt_download_kb_s": 10}
    bench = Bench(tmp_path, **rates)
    async with bench.running():
        await bench.until(lambda: bench.engine.engine.limits == (100_000, 0))
        bench.background.change(bench.merged(**rates, limits__alt_enabled=True))
        assert bench.engine.engine.limits == (10_000, 50_000)
        bench.background.speeds.switch(is_on=False)
        bench.background.change(bench.merged(**rates, limits__alt_enabled=True))
        assert bench.engine.engine.limits == (100_000, 0)  # the user's switch holds


async def test_a_move_that_failed_is_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    one = bench.engine.put(
        total_bytes=10,
        completed_bytes=10,
        save_path="/there",
        current_path="/incomplete",
        state=EngineState.SEEDING,
    )
    async with bench.running():
        bench.background.incomplete.look_soon()
        await bench.until(lambda: ("move", (one, "/there")) in bench.engine.calls)
    assert bench.background.incomplete.errors == {}


async def test_the_state_of_every_part_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.running():
        health = {each.name: each.state for each in bench.background.health()}
    names = (
        *("hooks", "watch", "schedule"),
        *("after_seeding", "incomplete", "disk", "torrent_copies"),
    )
    assert health == {**dict.fromkeys(names, "running"), "blocklist": "ended"}  # there is none


async def test_block_lists_are_fetched_and_loaded(tmp_path: Path) -> None:
    url = "https://lists.example/x"
    tables = TableSettings(blocklist=(BlocklistSettings(url), BlocklistSettings(file="/a/b")))
    bench = Bench(tmp_path, tables)
    bench.engine.engine.lists[url] = b"1.2.3.4\n"
    async with bench.running():
        await bench.until(lambda: ("reload_ip_filter", ()) in bench.engine.calls)
    (path,) = bench.background.lists.paths
    assert await anyio.Path(path).read_bytes() == b"1.2.3.4\n"
    assert list_files(tables.blocklist) == ["/a/b"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86_400.0), ("7 d", 604_800.0), ("1m", 900.0), ("90m", 5_400.0)]
)
def test_an_interval_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert interval_of(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1w", "1.5h"])
def test_an_interval_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="m, h or d"):
        interval_of(text)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HookSettings("torrent_added", ("x",)), "absolute"),
        (HookSettings("torrent_added", ("/bin/sh",), env=("x",)), "NAME=VALUE"),
    ],
)
def test_a_hook_that_cannot_be_run_is_refused(table: HookSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hooks_of([table])
