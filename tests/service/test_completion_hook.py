"""The program that is run for each finished download: real programs, good and bad ones."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.torrents import make_torrent
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.commands import download, run
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import DownloadFinished
from torrent_engine.engine.runs.file_selection import renames
from torrent_engine.service import completion_hook
from torrent_engine.service.completion_hook import (
    DONE,
    FAILED,
    PREFIX,
    STARTED,
    CompletionHook,
    FinishedDownload,
    HookConfig,
    HookReport,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="its programs are shell scripts"),
]
FILES = {"a": b"1" * 100, "sub/b": b"2" * 50, "c": b"3"}
METAINFO, _ = make_torrent(FILES)
LIMIT_S = 180


def script(folder: Path, text: str, name: str = "hook") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@contextmanager
def fifo(path: Path) -> Iterator[Callable[[], bool]]:
    """Make a FIFO; yield a function that returns whether any process has it open for writing."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def is_held() -> bool:
        try:
            os.read(descriptor, 1)
        except BlockingIOError:
            return True
        return False

    try:
        yield is_held
    finally:
        os.close(descriptor)


class Bench:
    """A hook on a bus, with a session behind each info-hash."""

    def __init__(self, tmp_path: Path, program: Path, **config: Any) -> None:
        self.tmp_path = tmp_path
        self.reports: list[HookReport] = []
        self.program = program
        self.bus = EventBus()
        self.hook = CompletionHook(HookConfig(program, **config), self.reports.append)
        self.sessions: dict[bytes, Any] = {}

    def session(self, metainfo: Any = METAINFO, **config: Any) -> Any:
        settings = SessionConfig(**config)
        made = SimpleNamespace(
            name=metainfo.name,
            metainfo=metainfo,
            info_hash=metainfo.info_hash,
            config=settings,
            admin=SimpleNamespace(file_names=SimpleNamespace(in_use=lambda: renames(settings))),
        )
        self.sessions[metainfo.info_hash] = made
        return made

    def finish(self, session: Any, save_path: Path | None = None) -> None:
        path = str(save_path or self.tmp_path)
        self.bus.publish(DownloadFinished(InfoHash(session.info_hash), path))

    def follow(self) -> None:
        find: Callable[[InfoHash], Any] = self.sessions.get
        self.hook.follow(self.bus, find, self.tmp_path / "state")

    async def run(self, *sessions: Any) -> list[tuple[str, str]]:
        """Finish downloads, and wait for the programs; return the types and messages of reports."""
        with anyio.fail_after(LIMIT_S):
            async with self.hook.open():
                self.follow()
                for session in sessions:
                    self.finish(session)
                self.bus.close()
        return self.said

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(report.type, report.message) for report in self.reports]

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - another process does it
                await anyio.sleep(0.01)


async def test_the_program_gets_the_path_and_the_facts_and_no_input(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        'printf "%s\\0" "$#" "$1" "$(cat)" > "$0.out"; env -0 >> "$0.out"',
    )
    bench = Bench(tmp_path, program)
    said = await bench.run(bench.session(file_priorities=(4, 1, 0)))
    assert said == [(STARTED, f"running {program}"), (DONE, f"{program}: done")]
    count, path, read, *rest = (tmp_path / "hook.out").read_bytes().split(b"\0")
    assert (count, path, read) == (b"1", os.fsencode(tmp_path / "payload"), b"")
    lines = [line.decode() for line in rest if line.startswith(PREFIX.encode())]
    told = dict(line.removeprefix(PREFIX).split("=", 1) for line in lines)
    expected = {
        "NAME": "payload",
        "INFO_HASH": METAINFO.info_hash.hex(),
        "PATH": str(tmp_path / "payload"),
        "SAVE_PATH": str(tmp_path),
        "SIZE": "150",
        "FILE_COUNT": "2",
        "STATE_DIR": str(tmp_path / "state"),
    }
    assert {name: told.get(name) for name in expected} == expected
    assert b"PATH=" + os.environb[b"PATH"] in rest  # the rest of the environment is ours


async def test_names_are_no_shell_and_any_byte_is_passed(tmp_path: Path) -> None:
    name = "-n $(touch pwned) `x`; 'a' \"b\" * ~ % €"
    folder = tmp_path / os.fsdecode(b"new\nline \xff\xfe")
    metainfo, _ = make_torrent(b"x", name=name)
    program = script(tmp_path, f'printf "%s\\0" "$1" "${PREFIX}NAME" "${PREFIX}PATH" > "$0.out"')
    bench = Bench(folder, program)
    said = await bench.run(bench.session(metainfo))
    assert said[-1][0] == DONE
    path = os.fsencode(folder) + b"/" + metainfo.files.path(0)[-1].encode()
    out = (tmp_path / "hook.out").read_bytes().split(b"\0")
    assert out == [path, metainfo.name.encode(), path, b""]
    assert not (tmp_path / "pwned").exists()


def test_what_no_program_can_be_given_is_replaced() -> None:
    download = FinishedDownload(
        InfoHash(b"h" * 20), "a\0b\ud800c", Path("/p"), Path("/"), 1, 1, Path("/s")
    )
    assert download.environment()[PREFIX + "NAME"] == "ab?c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 3", "exit status 3"),
        ("echo out; echo $'x' not found >&2; exit 127", "exit status 127: out $x not found"),
        ("printf 'a\\033[2Jb\\377'; exit 1", "exit status 1: a\\x1b[2Jb\\xff"),
        ("kill -9 $$", "ended by signal 9"),
    ],
    ids=["status", "output", "hostile_output", "signal"],
)
async def test_a_program_that_fails_is_reported_with_what_it_said(
    tmp_path: Path, text: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    program = script(tmp_path, text)
    bench = Bench(tmp_path, program)
    said = await bench.run(bench.session())
    assert said[-1] == (FAILED, f"{program}: {message}")
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == [f"{METAINFO.info_hash.hex()} 'payload': {program}: {message}"]


async def test_output_without_end_blocks_nobody(tmp_path: Path) -> None:
    program = script(tmp_path, "yes | head -c 300000; echo last words; exit 1")
    bench = Bench(tmp_path, program)
    said = await bench.run(bench.session())
    assert said[-1][1].endswith("y y last words")
    assert len(said[-1][1]) < 1_200 + len(str(program))


async def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    program = script(tmp_path, 'sleep 600 & echo $! > "$0.pid"')
    bench = Bench(tmp_path, program)
    said = await bench.run(bench.session())
    assert said[-1][0] == DONE
    os.kill(int((tmp_path / "hook.pid").read_text()), signal.SIGKILL)  # is there still


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "No such file or directory"),
        (lambda path: path.write_text("exit 0"), "Permission denied"),
        (lambda path: path.mkdir(), "Permission denied"),
        (lambda path: (path.write_bytes(b"\x7fnonsense"), path.chmod(0o755)), ""),
        (lambda path: (path.write_text("#!/no/such"), path.chmod(0o755)), "No such file"),
    ],
    ids=["missing", "not_executable", "folder", "no_program", "no_interpreter"],
)
async def test_a_program_that_cannot_be_run_is_reported(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "hook")
    bench = Bench(tmp_path, tmp_path / "hook")
    said = await bench.run(bench.session(), bench.session())
    assert [type_ for type_, _ in said].count(FAILED) == 2  # the second is tried as well
    assert said[-1][1].startswith(f"{tmp_path}/hook: {message}")


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["ends", "ignores_sigterm"])
async def test_a_program_that_hangs_is_ended_with_its_children(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion_hook, "END_GRACE_S", 0.2)
    program = script(tmp_path, f'{trap}exec 9> "$0.fifo"; sleep 600; sleep 600')
    bench = Bench(tmp_path, program, time_limit_s=2.0)
    with fifo(tmp_path / "hook.fifo") as is_held:
        said = await bench.run(bench.session())
        assert said[-1] == (FAILED, f"{program}: ended after 2 s")
        await bench.until(lambda: not is_held())


@pytest.mark.parametrize("way", ["end", "cancel", "kill"])
async def test_the_end_of_the_process_ends_the_program(tmp_path: Path, way: str) -> None:
    program = script(tmp_path, 'exec 9> "$0.fifo"; sleep 600')
    bench = Bench(tmp_path, program, max_running=1)
    with (
        fifo(tmp_path / "hook.fifo") as is_held,
        anyio.fail_after(LIMIT_S),
        anyio.CancelScope() as scope,
    ):
        async with bench.hook.open():
            bench.follow()
            bench.finish(bench.session())
            if way != "kill":
                bench.finish(bench.session())  # waits for the first
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.bus.run)
                await bench.until(lambda: is_held() and bench.hook._programs._running)
                if way != "kill":
                    await bench.until(lambda: bench.hook._slots.statistics().tasks_waiting)  # type: ignore[union-attr]
                tasks.cancel_scope.cancel()
            if way == "cancel":
                scope.cancel()
            else:
                getattr(bench.hook, way)()
            await bench.until(
                lambda: not (is_held() or (way == "kill" and bench.hook._programs._running))
            )
            bench.hook.end()  # no more are begun
    reasons = {"end": "ended: stopping", "cancel": "ended: stopping", "kill": "signal 9"}
    failed = sorted(message for type_, message in bench.said if type_ == FAILED)
    assert failed[0].endswith(reasons[way])
    assert way == "kill" or failed[1].endswith("not run: stopping")


@pytest.mark.parametrize("is_there", [True, False], ids=["waits for it", "comes to it"])
async def test_a_place_that_the_stop_itself_frees_begins_no_program(
    tmp_path: Path, *, is_there: bool
) -> None:
    bench = Bench(tmp_path, script(tmp_path, "sleep 600"))
    slots = anyio.Semaphore(1)
    download = FinishedDownload.of(METAINFO, SessionConfig(), tmp_path, tmp_path)
    await slots.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.hook._run_for, download, slots)
        if is_there:
            await anyio.wait_all_tasks_blocked()
        slots.release()
        tasks.cancel_scope.cancel()
    assert [message for _, message in bench.said] == [f"{bench.program}: not run: stopping"]


async def test_what_is_about_to_start_at_the_end_is_not_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, script(tmp_path, 'touch "$0.out"'))
    with anyio.fail_after(LIMIT_S):
        async with bench.hook.open():
            bench.hook._start(bench.session(), tmp_path, tmp_path)
            bench.hook.end()  # its task has not run yet
    assert bench.said == []
    assert "not run: stopping" in caplog.text
    assert not (tmp_path / "hook.out").exists()


async def test_after_the_end_none_is_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, script(tmp_path, 'touch "$0.out"'))
    bench.hook.end()
    assert await bench.run(bench.session()) == []
    assert "not run: stopping" in caplog.text
    assert not (tmp_path / "hook.out").exists()


async def test_only_a_few_run_at_once_and_all_run(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        'cd "${0%/*}"; mkdir run.$$; ls -d run.* | wc -l >> counts; sleep 0.05; rmdir run.$$',
    )
    bench = Bench(tmp_path, program, max_running=2)
    torrents = [make_torrent(b"x", name=f"t{number}")[0] for number in range(7)]
    said = await bench.run(*map(bench.session, torrents))
    assert [type_ for type_, _ in said].count(DONE) == 7
    counts = list(map(int, (tmp_path / "counts").read_text().split()))
    assert len(counts) == 7
    assert max(counts) <= 2


async def test_a_torrent_that_is_gone_is_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, script(tmp_path, "exit 0"))
    assert await bench.run(SimpleNamespace(info_hash=b"?" * 20)) == []


async def test_f9_without_a_thread_the_program_is_left_out_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, script(tmp_path, "exit 0"))
    first, second = bench.session(), bench.session(make_torrent({"other": b"4"})[0])
    real = FinishedDownload.of

    def of(metainfo: Any, *arguments: Any) -> FinishedDownload:
        if metainfo is METAINFO:
            raise RuntimeError("can't start new thread")
        return real(metainfo, *arguments)

    monkeypatch.setattr(FinishedDownload, "of", of)
    said = await bench.run(first, second)
    assert [type_ for type_, _ in said] == [STARTED, DONE]
    assert "not run: the system has no more threads" in caplog.text


def test_no_variable_is_that_of_an_option_but_the_state_folder() -> None:
    download_, environment = (
        download.command,
        set(FinishedDownload(InfoHash(b""), "", Path(), Path(), 0, 0, Path()).environment()),
    )
    options = {each.envvar for each in (*download_.params, *run.command.params)}
    assert options & environment == {PREFIX + "STATE_DIR"}
