"""``run`` as a process: watched folders, signals, kills, and what is there again after them."""

import json
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli import torrents
from tests.cli.tasks.test_transfers import CONTENT, collected, downloaded, make_source, options
from tests.cli.test_processes import COMMAND, environment, running
from tests.support.processes import failures_in

DEADLINE_S = 180.0


class Run:
    """A process that runs torrents, and the events that it has told."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()

    def wait(self, type_: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """Wait for the ``count``-th event of a type with these fields."""

        def found() -> list[dict[str, Any]]:
            return [
                event
                for event in self.events
                if event["type"] == type_ and all(event[k] == v for k, v in fields.items())
            ]

        with self._news:
            if not self._news.wait_for(lambda: len(found()) >= count, DEADLINE_S):
                seen = [event["type"] for event in self.events]
                raise AssertionError(f"no {type_} {fields}: {seen}")
            return found()[count - 1]

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it with a signal; return its exit code and what it wrote to stderr."""
        self.process.send_signal(kind)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        return code, failures_in(self.process.stderr.read())


@contextmanager
def keeping(*arguments: object, state: Path) -> Iterator[Run]:
    process = subprocess.Popen(
        [*COMMAND, "run", *map(str, arguments), *map(str, options(state)), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    run = Run(process)
    try:
        yield run
    finally:
        process.kill()
        process.wait()
        run._reader.join(DEADLINE_S)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def saved_torrents(state: Path) -> int:
    """Return how many torrents of a manager are in the database."""
    with closing(sqlite3.connect(f"file:{state}/state.db?mode=ro", uri=True)) as database:
        count: int = database.execute("SELECT count(*) FROM sessions").fetchone()[0]
    return count


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    return make_source(tmp_path)


@pytest.fixture(scope="module")
def seed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("seed")
    make_source(folder)
    with keeping(folder / "stuff.torrent", "-d", folder / "source", state=folder / "state") as run:
        run.wait("stats.update", state="seeding")
        yield run.wait("run.started")["listen_port"]
        assert run.stop() == (0, "")


def test_a_torrent_is_downloaded_and_seeded_until_it_is_stopped(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = [torrent, "-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    with keeping(*arguments, state=tmp_path / "state") as run:
        assert run.wait("run.started")["restored"] == 0
        assert run.wait("torrent.added")["name"] == "stuff"
        run.wait("session.completed")
        assert run.process.poll() is None
        assert run.stop() == (0, "")
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_a_program_is_run_once_for_a_download_and_never_for_what_was_there(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text('#!/bin/sh\necho "$TORRENT_ENGINE_NAME $1" >> "$0.out"; exit 3\n')
    hook.chmod(0o755)
    there = torrents.single(tmp_path, "there.bin", b"x" * 40_000)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/there.bin").write_bytes(b"x" * 40_000)
    arguments = [torrent, there, "-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    arguments += ["--on-complete", hook, "--incomplete-dir", tmp_path / "parts"]
    out = f"stuff {tmp_path}/out/stuff\n"
    with keeping(*arguments, state=tmp_path / "state") as run:
        run.wait("torrent.added", count=2)
        failed = run.wait("hook.failed")
        assert (failed["path"], failed["message"]) == (
            f"{tmp_path}/out/stuff",
            f"{hook}: exit status 3",
        )
        code, err = run.stop()
    assert code == 0
    assert f"torrent-engine: stuff: {hook}: exit status 3\n" in err
    assert (tmp_path / "hook.out").read_text() == out
    with keeping("--on-complete", hook, state=tmp_path / "state") as run:
        assert run.wait("run.started")["restored"] == 2
        run.wait("stats.update", state="seeding")
        assert run.stop()[0] == 0
    assert (tmp_path / "hook.out").read_text() == out  # the next process does not run it again
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_f4_after_a_kill_all_torrents_are_as_they_were(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    others = [torrents.single(tmp_path, f"{n}.bin", bytes([n]) * 40_000) for n in range(5)]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/3.bin").write_bytes(bytes([3]) * 40_000)  # complete before it begins
    arguments = [torrent, *others, "-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    with keeping(*arguments, state=tmp_path / "state") as run:
        run.wait("session.completed")
        run.wait("torrent.added", count=6)
        names = [event["name"] for event in run.events if event["type"] == "torrent.added"]
        hashes = {event["name"]: event["info_hash"] for event in run.events if "name" in event}
        until(lambda: saved_torrents(tmp_path / "state") == 6)  # written together, a moment later
        run.stop(signal.SIGKILL)
    with keeping(state=tmp_path / "state") as run:
        started = run.wait("run.started")
        assert started["restored"] == len(names) == 6
        for name in ("stuff", "3.bin"):
            run.wait("stats.update", info_hash=hashes[name], state="seeding")
        run.wait("stats.update", info_hash=hashes["0.bin"], state="downloading")
        assert not [event for event in run.events if event["type"] == "session.completed"]
        assert run.stop() == (0, "")


def test_what_is_put_into_a_watched_folder_is_downloaded(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    (watched / "bad.torrent").write_bytes(b"no torrent")
    data = torrent.read_bytes()
    arguments = ["-w", watched, "--watch-interval", "0.1"]
    arguments += ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    with keeping(*arguments, state=tmp_path / "state") as run:
        assert run.wait("run.started")["watched"] == [str(watched)]
        for end in range(0, len(data), 400):  # a slow writer
            with (watched / "stuff.torrent").open("wb") as file:
                file.write(data[:end])
            time.sleep(0.3)
        assert not [event for event in run.events if event["type"] == "torrent.added"]
        (watched / "stuff.torrent").write_bytes(data)
        added = run.wait("torrent.added")
        assert (added["source"], added["is_new"]) == (str(watched / "stuff.torrent"), True)
        run.wait("session.completed")
        until((watched / "bad.torrent.invalid").exists)
        (watched / "again.torrent").write_bytes(data)
        run.process.send_signal(signal.SIGHUP)
        assert not run.wait("torrent.added", count=2)["is_new"]
        until((watched / "again.torrent.added").exists)
        code, err = run.stop()
    assert code == 0
    assert err.startswith(f"torrent-engine: {watched}/bad.torrent: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in watched.iterdir()) == [
        "again.torrent.added",
        "bad.torrent.invalid",
        "stuff.torrent.added",
    ]
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_f7_a_second_run_on_the_same_state_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with keeping(state=state) as first:
        first.wait("run.started")
        with running("run", *options(state)) as second:
            code, out, err = collected(second)
        assert (code, out, err.count("\n")) == (12, "", 1)
        assert "torrent-engine: " in err
        assert str(state) in err
        assert first.stop() == (0, "")
    with keeping(state=state) as third:  # a lock of a dead process holds nobody
        third.wait("run.started")
        assert third.stop(signal.SIGINT) == (0, "")


def test_f7_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    with keeping(state=tmp_path / "state") as first:
        first.wait("run.started")
        first.stop(signal.SIGKILL)
    with keeping(state=tmp_path / "state") as second:
        second.wait("run.started")
        assert second.stop() == (0, "")


def test_a_port_that_is_taken_moves_on_to_the_next(tmp_path: Path) -> None:
    with keeping(state=tmp_path / "one") as first:
        port = first.wait("run.started")["listen_port"]
        arguments = ["--port", str(port), "--json", "--listen", "127.0.0.1"]
        arguments += ["--state-dir", str(tmp_path / "two")]
        with running("run", *arguments) as process:
            second = Run(process)
            other = second.wait("run.started")["listen_port"]
            assert port < other < port + 20
            assert second.stop() == (0, "")


def test_a_second_signal_ends_at_once(torrent: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_tracker:
        url = f"http://127.0.0.1:{silent_tracker.getsockname()[1]}/announce"
        torrents.write_torrent(torrent, torrents.info_of("stuff", CONTENT), announce=url.encode())
        arguments = [torrent, "-d", tmp_path / "out"]
        with keeping(*arguments, state=tmp_path / "state") as run:
            run.wait("torrent.added")
            connection, _ = silent_tracker.accept()
            with connection:
                run.process.send_signal(signal.SIGINT)
                time.sleep(0.3)  # two at the same time are one
                code, err = run.stop(signal.SIGINT)
    assert (code, err) == (7, "")


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "no_such_folder": (["-w", "nowhere"], 3, "--watch nowhere: no such folder"),
    "a_file": (["-w", "file"], 28, "--watch file: is no folder"),
    "bad_count": (["--max-torrents", "many"], 28, "a whole number from 0"),
    "bad_interval": (["--watch-interval", "soon"], 28, "a duration is"),
    "stdin_twice": (["-", "-i", "-"], 28, "given twice"),
    "no_such_list": (["-i", "nowhere"], 3, "nowhere: no such file or directory"),
    "no_state": (["--state-dir", "/proc/nowhere"], 17, "/proc/nowhere"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_its_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "file").write_text("")
    with running(
        "run", *options(tmp_path / "state"), *arguments, cwd=tmp_path, stdin=subprocess.DEVNULL
    ) as process:
        ended, out, err = collected(process)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_no_more_torrents_than_allowed(tmp_path: Path) -> None:
    files = [torrents.single(tmp_path, f"{n}.bin", bytes([n]) * 100) for n in range(3)]
    arguments = [*files, "-d", tmp_path / "out", "--max-torrents", "2"]
    with keeping(*arguments, state=tmp_path / "state") as run:
        refused = run.wait("torrent.refused")
        assert refused["source"] == str(files[2])
        assert refused["exit_code"] != 0
        code, err = run.stop()
    assert code == refused["exit_code"]
    assert err.count("\n") == 1
