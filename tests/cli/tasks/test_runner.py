"""What a run of several torrents does, with Sessions that follow a script."""

import importlib.util
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.cli import fakes
from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.errors import DiskFullError, MetainfoError, SessionError
from torrent_engine.base.ids import InfoHash, PieceIndex
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.output.render import JsonReporter, PlainReporter, Reporter
from torrent_engine.cli.tasks import runner as runner_module
from torrent_engine.cli.tasks import torrent_task as job_module
from torrent_engine.cli.tasks.runner import Runner
from torrent_engine.cli.tasks.torrent_task import TaskOptions
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.events import PieceCompleted
from torrent_engine.engine.states import State
from torrent_engine.service import loop, sources

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def load(source: str, *_others: object, **_options: object) -> Any:
        if source.startswith("bad"):
            raise MetainfoError("piece length 0")
        if source.startswith("missing"):
            raise FileNotFoundError(2, "No such file or directory", source)
        if source.startswith("magnet"):
            return Magnet.parse(source)
        if source.endswith("@slow"):
            await anyio.sleep(0.05)
        name, *trackers = source.split("@")
        return fakes.fake_metainfo(name, trackers=tuple(trackers[1:]))

    monkeypatch.setattr(job_module, "Session", fakes.FakeSession)
    monkeypatch.setattr(runner_module, "SharedResources", fakes.fake_shared)
    monkeypatch.setattr(sources, "load", load)
    fakes.FakeSession.scripts.clear()
    fakes.FakeSession.made.clear()
    yield
    assert all(session.closed for session in fakes.FakeSession.made if session.entered)


def runner_of(
    tmp_path: Path,
    scripts: dict[str, Any],
    *,
    sources_: tuple[str, ...] = (),
    reporter: Reporter | None = None,
    **options: Any,
) -> Runner:
    fakes.FakeSession.scripts.update(scripts)
    job_options = TaskOptions(
        folder=tmp_path, session_config=lambda _: SessionConfig(seed_time_s=0.0), **options
    )
    names = sources_ or tuple(scripts)
    return Runner(names, SharedConfig(), job_options, reporter or PlainReporter())


async def test_a_complete_download_exits_0_and_says_where_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await runner_of(tmp_path, {"one": fakes.completes}).run() == ExitCode.OK
    out, err = capsys.readouterr()
    assert f"one: complete, 1.0 MiB, in {tmp_path}/one\n" in out
    assert err == ""


async def test_bad_torrents_do_not_keep_the_good_one_from_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("missing.torrent", "good", "bad.torrent")
    runner = runner_of(tmp_path, {"good": fakes.completes}, sources_=names)
    assert await runner.run() == ExitCode.NOT_FOUND  # the first failure
    out, err = capsys.readouterr()
    assert "good: complete" in out
    assert sorted(err.splitlines()) == [
        "torrent-engine: bad.torrent: piece length 0",
        "torrent-engine: missing.torrent: no such file or directory",
    ]


async def test_the_same_torrent_twice_is_one_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("one@a", "one@b@http://t/2@gopher://t/3", "one@c@http://t/2")
    runner = runner_of(tmp_path, {"one": fakes.completes}, sources_=names)
    assert await runner.run() == ExitCode.OK
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{names[1]}: is the same torrent as one@a; 1 more tracker\n" in out
    assert f"{names[2]}: is the same torrent as one@a\n" in out
    assert out.count("complete") == len(fakes.FakeSession.made) == 1
    assert fakes.FakeSession.made[0].added_trackers == ["http://t/2"]


async def test_b10_a_private_torrent_gets_no_trackers_of_another_source(tmp_path: Path) -> None:
    names = ("private@a", "private@b@http://t/2")
    runner = runner_of(tmp_path, {"private": fakes.completes}, sources_=names)
    assert await runner.run() == ExitCode.OK
    assert fakes.FakeSession.made[0].added_trackers == []


async def test_a_torrent_on_this_machine_runs_in_place_of_its_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = f"magnet:?xt=urn:btih:{fakes.fake_metainfo('one').info_hash.hex()}&tr=http://t/9"
    runner = runner_of(tmp_path, {"one": fakes.completes}, sources_=(link, "bad", "one@slow"))
    assert await runner.run() == ExitCode.BAD_TORRENT
    assert "is the same torrent as one@slow; 1 more tracker" in capsys.readouterr().out
    assert [session.name for session in fakes.FakeSession.made] == ["one"]


async def test_so_many_download_at_a_time_and_a_failed_one_makes_room(tmp_path: Path) -> None:
    active: set[str] = set()
    seen: list[int] = []

    async def downloads(session: fakes.FakeSession) -> str:
        active.add(session.name)
        seen.append(len(active))
        await anyio.sleep(0.01)
        active.discard(session.name)
        if session.name == "b":
            raise SessionError("broken")
        return await fakes.completes(session)

    scripts = dict.fromkeys("abcdef", downloads)
    runner = runner_of(tmp_path, scripts, max_active=2)
    assert await runner.run() == ExitCode.UNKNOWN
    assert len(seen) == 6
    assert max(seen) == 2


async def test_a_torrent_that_seeds_makes_room_for_the_next(tmp_path: Path) -> None:
    async def seeds(session: fakes.FakeSession) -> str:
        session.current = session.current.complete()
        while len(fakes.FakeSession.made) < 2 or not all(  # noqa: ASYNC110 - no hook for this
            each.current.state is State.SEEDING for each in fakes.FakeSession.made
        ):
            await anyio.sleep(0.002)
        return "time"

    runner = runner_of(tmp_path, {"one": seeds, "two": seeds}, max_active=1)
    with anyio.fail_after(30):
        assert await runner.run() == ExitCode.OK


async def test_what_waits_for_its_turn_is_dropped_at_a_signal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = {"one": fakes.until_stopped, "two": fakes.until_stopped}
    runner = runner_of(tmp_path, scripts, max_active=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_interrupt_once_running, signal.SIGINT)
        with anyio.fail_after(30):
            assert await runner.run() == ExitCode.UNFINISHED
    assert "two: not begun; run it again for that\n" in capsys.readouterr().out


async def test_f1_a_full_disk_exits_9_with_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fills_the_disk(session: fakes.FakeSession) -> str:
        raise SessionError("stopped") from DiskFullError("/data/one", "no space left on device")

    assert await runner_of(tmp_path, {"one": fills_the_disk}).run() == ExitCode.DISK_FULL
    err = capsys.readouterr().err
    assert err == "torrent-engine: one: /data/one: no space left on device\n"


async def test_a_bug_in_one_torrent_is_one_line_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def has_a_bug(session: fakes.FakeSession) -> str:
        raise KeyError("surprise")

    scripts = {"one": has_a_bug, "two": fakes.completes}
    assert await runner_of(tmp_path, scripts).run() == ExitCode.UNKNOWN
    out, err = capsys.readouterr()
    assert "two: complete" in out
    assert err.count("\n") == 1
    assert "one: unexpected KeyError: 'surprise'; run it with --debug" in err


async def test_a_stop_before_the_resources_are_open_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.until_stopped, "two": fakes.until_stopped})

    @asynccontextmanager
    async def stopped_meanwhile(config: Any) -> AsyncIterator[Any]:
        await runner._stop()
        async with fakes.fake_shared(config) as shared:
            yield shared

    monkeypatch.setattr(runner_module, "SharedResources", stopped_meanwhile)
    with anyio.fail_after(30):
        assert await runner.run() is ExitCode.UNFINISHED
    assert not [session for session in fakes.FakeSession.made if session.entered]


async def test_a_stop_while_a_source_is_parsed_in_a_thread_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.until_stopped})
    load = sources.load

    async def load_in_thread(*arguments: Any, **options: Any) -> Any:
        with anyio.CancelScope(shield=True):  # as a worker thread is waited for
            await runner._stop()
            return await load(*arguments, **options)

    monkeypatch.setattr(sources, "load", load_in_thread)
    with anyio.fail_after(30):
        assert await runner.run() is ExitCode.UNFINISHED
    assert not [session for session in fakes.FakeSession.made if session.entered]
    assert "one: not begun; run it again for that" in capsys.readouterr().out


async def test_no_progress_for_the_stop_timeout_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.until_stopped}, stop_timeout_s=0.02)
    assert await runner.run() == ExitCode.TIMED_OUT
    assert capsys.readouterr().err == "torrent-engine: one: no progress for 0.02 s\n"


async def test_progress_puts_the_stop_timeout_off(tmp_path: Path) -> None:
    async def trickles(session: fakes.FakeSession) -> str:
        for count in range(20):
            session.current = replace(session.current, downloaded_bytes=count + 1)
            await anyio.sleep(0.01)
        return await fakes.completes(session)

    runner = runner_of(tmp_path, {"one": trickles}, stop_timeout_s=0.1)
    assert await runner.run() == ExitCode.OK


async def test_a_check_of_incomplete_data_exits_32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def checks(session: fakes.FakeSession) -> str:
        return "checked"

    assert await runner_of(tmp_path, {"one": checks}).run() == ExitCode.CHECK_FAILED
    err = capsys.readouterr().err
    assert err == "torrent-engine: one: incomplete: 0 of 4 pieces are there\n"


async def test_seed_refuses_data_that_is_not_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").write_bytes(b"x")
    runner = runner_of(tmp_path, {"one": fakes.until_stopped}, must_be_complete=True)
    assert await runner.run() == ExitCode.CHECK_FAILED
    assert "one: incomplete: 0 of 4 pieces are there" in capsys.readouterr().err


async def test_seed_names_the_file_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.until_stopped}, must_be_complete=True)
    assert await runner.run() == ExitCode.NOT_FOUND
    err = capsys.readouterr().err
    assert err == f"torrent-engine: one: {tmp_path}/one: no such file or directory\n"


async def _interrupt_once_running(kind: signal.Signals) -> None:
    while not fakes.FakeSession.made:  # noqa: ASYNC110 - scripts have no hook for this
        await anyio.sleep(0.002)
    await anyio.sleep(0.02)
    os.kill(os.getpid(), kind)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_in_order_and_exits_7(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: signal.Signals
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.until_stopped, "two": fakes.completes})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_interrupt_once_running, kind)
        assert await runner.run() == ExitCode.UNFINISHED
    out = capsys.readouterr().out
    assert "stopping" in out
    assert "one: incomplete: 0 of 4 pieces are there; run it again to go on" in out


async def test_a_signal_while_seeding_exits_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = runner_of(tmp_path, {"one": fakes.seeds_until_stopped})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_interrupt_once_running, signal.SIGTERM)
        assert await runner.run() == ExitCode.OK
    assert "one: sent 3.0 MiB, ratio 3.00" in capsys.readouterr().out


async def test_what_does_not_stop_in_its_grace_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(session: fakes.FakeSession) -> str:
        await anyio.sleep_forever()
        return "never"

    async def stop_hangs(self: fakes.FakeSession) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(runner_module, "STOP_GRACE_S", 0.05)
    monkeypatch.setattr(fakes.FakeSession, "stop", stop_hangs)
    runner = runner_of(tmp_path, {"one": hangs})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_interrupt_once_running, signal.SIGINT)
        assert await runner.run() == ExitCode.UNFINISHED


async def test_json_has_events_with_hex_hashes_and_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publishes(session: fakes.FakeSession) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.events.run)
            await anyio.sleep(0.02)
            session.events.publish(PieceCompleted(InfoHash(session.info_hash), PieceIndex(3)))
            await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        return await fakes.completes(session)

    runner = runner_of(tmp_path, {"one": publishes}, reporter=JsonReporter())
    assert await runner.run() == ExitCode.OK
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in events] == [
        "torrent.added",
        "torrent.started",
        "piece.completed",
        "torrent.complete",
        "torrent.result",
    ]
    assert all(isinstance(event["time"], float) for event in events)
    assert {event["info_hash"] for event in events} == {fakes.FakeSession.made[0].info_hash.hex()}
    assert events[2]["piece_index"] == 3
    assert events[-1]["exit_code"] == 0


async def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = runner_of(tmp_path, {"one": fakes.completes}, reporter=Reporter())
    assert await runner.run() == ExitCode.OK
    assert capsys.readouterr() == ("", "")


async def test_plain_lines_come_only_when_something_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = PlainReporter(pause_s=0.0)
    reporter.interval_s = 0.01

    async def stands_still(session: fakes.FakeSession) -> str:
        session.current = replace(session.current, completed_bytes=1 << 19, peers=2, seeds=1)
        await anyio.sleep(0.1)
        session.current = replace(session.current, state=State.PAUSED)
        await anyio.sleep(0.1)
        return await fakes.completes(session)

    await runner_of(tmp_path, {"one": stands_still}, reporter=reporter).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if "50.0%" in line]
    line = "one: 50.0%, 0.5/1.0 MiB, down 0 B/s, up 0 B/s, ETA -, peers 2 (seeds 1), pieces 0/4"
    assert lines == [f"{line}, 2 peers connected, none has what is missing"]


async def test_a_plain_line_comes_after_half_a_pause_then_once_a_pause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = PlainReporter(pause_s=0.4)
    reporter.interval_s = 0.01

    async def changes(session: fakes.FakeSession) -> str:
        started = anyio.current_time()
        while anyio.current_time() - started < 0.8:
            count = session.current.downloaded_bytes + 1
            session.current = replace(session.current, peers=count, downloaded_bytes=count)
            await anyio.sleep(0.01)
        return await fakes.completes(session)

    await runner_of(tmp_path, {"one": changes}, reporter=reporter).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if "down 0 B/s" in line]
    assert 1 <= len(lines) <= 3


def test_the_event_loop_is_uvloop_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(anyio, "run", lambda function, **options: asked.update(options))
    loop.run(anyio.sleep_forever)
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    assert asked == {"backend_options": {"use_uvloop": has_uvloop}}
