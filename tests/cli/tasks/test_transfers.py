"""``download`` and ``seed`` as processes that find each other over loopback."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli import torrents
from tests.cli.test_processes import COMMAND, environment, running
from tests.support.processes import failures_in, wait_until
from torrent_engine.cli.demo.files import planned_files

CONTENT = {"a.bin": bytes(range(256)) * 4096, "b.txt": b"hello" * 5_000, "sub/empty": b""}


def collected(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=150)
    return process.returncode, out.decode(), failures_in(err)


def wait_for(process: "subprocess.Popen[bytes]", type_: str) -> dict[str, Any]:
    """Read a process's events up to one of a type."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == type_:
            return event
    raise AssertionError(f"no {type_} before the end: {process.communicate()[1]!r}")


def make_source(folder: Path) -> Path:
    """Write the files below "source", and return their torrent beside it."""
    home = folder / "source" / "stuff"
    for name, content in CONTENT.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    info = torrents.info_of("stuff", CONTENT)
    return torrents.write_torrent(folder / "stuff.torrent", info)


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    return make_source(tmp_path)


@pytest.fixture(scope="module")
def seed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a seed with files of its own listens; it ends in order after the last test."""
    with seeding(tmp_path_factory.mktemp("seed")) as port:
        yield port


@contextmanager
def seeding(folder: Path) -> Iterator[int]:
    """Run a seed, and say where it listens; it ends in order.

    It prints to a file: a pipe that nobody reads would be full before the last test.
    """
    arguments = ["-d", folder / "source", *options(folder / "state"), "--json"]
    log = folder / "seed.jsonl"
    with (
        log.open("wb") as output,
        running("seed", make_source(folder), *arguments, stdout=output) as process,
    ):
        wait_until(lambda: "torrent.complete" in log.read_text(), timeout_s=40, what="it seeds")
        started = next(line for line in log.read_text().splitlines() if "torrent.started" in line)
        yield json.loads(started)["listen_port"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def options(state: Path) -> list[object]:
    return ["--state-dir", state, "--port", "0", "--listen", "127.0.0.1"]


def downloaded(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_download_from_a_seed_is_whole_and_exits_0(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"localhost:{seed_port}"]
    with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert out.startswith("stuff: complete, 1.0 MiB in ")
    assert out.endswith(f"in {tmp_path}/out/stuff\n")
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_follow_links_is_what_lets_a_download_write_through_a_link(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    (tmp_path / "out/stuff").mkdir(parents=True)
    far = tmp_path / "far"
    far.touch()
    (tmp_path / "out/stuff/b.txt").symlink_to(far)
    arguments = ["-d", tmp_path / "out", "--peer", f"localhost:{seed_port}"]
    with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
        code, _, err = collected(process)
    assert code != 0
    assert "b.txt" in err
    assert "symbolic link" in err
    assert far.read_bytes() == b""
    arguments.append("--follow-links")
    with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
        code, _, err = collected(process)
    assert (code, err) == (0, "")
    assert far.read_bytes() == CONTENT["b.txt"]
    assert (tmp_path / "out/stuff/b.txt").is_symlink()


def test_select_file_and_o_leave_only_what_was_asked_for(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    arguments += ["--select-file", "*.txt", "-o", "2=new/name.txt"]
    with running("download", torrent, *arguments, *options(tmp_path / "state")) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert out.endswith(f"in {tmp_path}/out/new/name.txt\n")
    found = downloaded(tmp_path / "out")
    assert {k: v for k, v in found.items() if not k.startswith(".")} == {
        "new/name.txt": CONTENT["b.txt"]
    }


def test_a_torrent_from_stdin_and_quiet(torrent: Path, seed_port: int, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}", "-q"]
    arguments += options(tmp_path / "state")
    with running("download", "-", *arguments, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(torrent.read_bytes(), timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_ctrl_c_saves_the_state_and_the_next_run_goes_on(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}", "--json"]
    arguments += options(tmp_path / "state")
    with running("download", torrent, *arguments, "--max-download-limit", "300K") as process:
        wait_for(process, "piece.completed")
        process.send_signal(signal.SIGINT)
        code, out, err = collected(process)
    assert (code, err) == (7, "")
    assert json.loads(out.splitlines()[-1])["reason"] == "unfinished"
    with running("download", torrent, *arguments) as process:
        events = [json.loads(line) for line in collected(process)[1].splitlines()]
    assert process.returncode == 0
    completed = next(event for event in events if event["type"] == "session.completed")
    assert completed["downloaded_bytes"] < sum(map(len, CONTENT.values()))
    assert events[-1]["exit_code"] == 0
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_a_second_ctrl_c_ends_at_once(torrent: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_tracker:
        url = f"http://127.0.0.1:{silent_tracker.getsockname()[1]}/announce"
        info = torrents.info_of("stuff", CONTENT)
        torrents.write_torrent(torrent, info, announce=url.encode())
        arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--json"]
        with running("download", torrent, *arguments) as process:
            wait_for(process, "torrent.started")
            connection, _ = silent_tracker.accept()
            with connection:
                _interrupt_twice(process)
            assert process.wait(2) == 7


def _interrupt_twice(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)


def test_a_reader_of_events_that_goes_away_ends_the_run(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--json"]
    with running("download", torrent, *arguments) as process:
        wait_for(process, "torrent.started")
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert failures_in(process.stderr.read()) == ""
        assert process.wait(60) == 141


def test_a_closed_standard_output_is_no_error(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "source", *options(tmp_path / "state"), "--check-only"]
    command = shlex.join([*COMMAND, "download", *map(str, [torrent, *arguments])])
    result = subprocess.run(
        ["sh", "-c", f"{command} >&-"], env=environment(), capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")


def test_nothing_to_connect_to_is_a_time_out(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--stop-timeout", "0.2"]
    with running("download", torrent, *arguments) as process:
        code, _, err = collected(process)
    assert (code, err) == (2, f"torrent-engine: {torrent}: no progress for 0.2 s\n")


def test_a_file_in_the_place_of_a_folder_exits_13(torrent: Path, tmp_path: Path) -> None:
    (tmp_path / "stuff").write_bytes(b"mine")
    arguments = ["-d", tmp_path, *options(tmp_path / "state"), "--stop-timeout", "3"]
    with running("download", torrent, *arguments) as process:
        code, _, err = collected(process)
    assert code == 13
    assert err.count("\n") == 1
    assert str(tmp_path / "stuff") in err
    assert (tmp_path / "stuff").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["a.bin", "b.txt"])
def test_a_file_that_is_there_is_overwritten_only_if_asked_for(
    torrent: Path, seed_port: int, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "out/stuff" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine" * 5_000)
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    arguments += options(tmp_path / "state")
    for _ in range(2):
        with running("download", torrent, *arguments) as process:
            code, _, err = collected(process)
        assert code == 13
        assert str(mine) in err
        assert downloaded(tmp_path / "out") == {f"stuff/{name}": b"mine" * 5_000}
    with running("download", torrent, *arguments, "--overwrite") as process:
        assert collected(process)[0] == 0
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_incomplete_files_are_moved_and_named_at_the_end(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    arguments += ["--incomplete-dir", tmp_path / "part", "--incomplete-suffix", ".part"]
    arguments += options(tmp_path / "state")
    with running("download", torrent, *arguments) as process:
        assert collected(process)[0] == 0
    assert downloaded(tmp_path / "out/stuff") == CONTENT
    assert downloaded(tmp_path / "part") == {}


def test_a_removed_file_is_told_by_seed_and_fetched_by_download(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    peer = ["--peer", f"127.0.0.1:{seed_port}"]
    with running("download", torrent, *arguments, *peer) as process:
        assert collected(process)[0] == 0
    (tmp_path / "out/stuff/b.txt").unlink()
    with running("seed", torrent, *arguments) as process:
        code, _, err = collected(process)
    assert code
    assert f"{tmp_path}/out/stuff/b.txt: no such file" in err
    with running("download", torrent, *arguments, *peer) as process:
        assert collected(process)[0] == 0
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_seed_of_damaged_data_exits_32(torrent: Path, tmp_path: Path) -> None:
    (tmp_path / "source/stuff/b.txt").write_bytes(b"x" * len(CONTENT["b.txt"]))
    arguments = ["-d", tmp_path / "source", *options(tmp_path / "state")]
    with running("seed", torrent, *arguments) as process:
        code, _, err = collected(process)
    assert code == 32
    assert err == f"torrent-engine: {torrent}: incomplete: 64 of 66 pieces are there\n"


@contextmanager
def web_server(files: dict[str, bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_torrent_from_a_url(torrent: Path, tmp_path: Path) -> None:
    with web_server({"/x.torrent": torrent.read_bytes()}) as url:
        arguments = [*options(tmp_path / "state"), "-d", tmp_path / "source", "--check-only"]
        with running("download", f"{url}/x.torrent", f"{url}/no?key=s3cret", *arguments) as process:
            code, out, err = collected(process)
    assert "stuff: complete, 1.0 MiB" in out
    assert (code, err) == (3, f"torrent-engine: {url}/no?***: not found (HTTP status 404)\n")


@contextmanager
def on_a_terminal(*arguments: object, **variables: str) -> Iterator[tuple[int, int]]:
    """Run on a terminal of 80 x 24; gives the process id and the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [*COMMAND, *map(str, arguments)],
            environment(TERM="xterm-256color", COLUMNS="80", LINES="24", **variables),
        )
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        yield pid, terminal
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(terminal)


def read_terminal(terminal: int, until: str = "\0") -> str:
    """Read what is drawn, up to a text or the end."""
    drawn = b""
    deadline = time.monotonic() + 20
    while until.encode() not in drawn and time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            drawn += os.read(terminal, 65_536)
        except OSError:
            break
    return drawn.decode("utf-8", "replace")


def exit_code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_shows_a_bar_and_gets_its_cursor_back(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", "--peer", f"127.0.0.1:{seed_port}"]
    arguments += [*options(tmp_path / "state"), "--max-download-limit", "300K"]
    with on_a_terminal("download", torrent, *arguments) as (pid, terminal):
        drawn = read_terminal(terminal)
        assert exit_code_of(pid) == 0
    assert "━" in drawn
    assert re.search(r"peers 1 \(seeds 1[,)]", drawn)
    assert "\x1b[36m" in drawn  # the bar is cyan
    assert drawn.rfind("\x1b[?25h") > drawn.rfind("\x1b[?25l")
    assert "stuff: complete, 1.0 MiB" in drawn


@pytest.mark.parametrize(
    ("more", "variables"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})], ids=["option", "env"]
)
def test_no_color_draws_without_colours(
    torrent: Path, tmp_path: Path, more: list[str], variables: dict[str, str]
) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), *more]
    with on_a_terminal("download", torrent, *arguments, **variables) as (_, terminal):
        drawn = read_terminal(terminal, until="pieces 0/66")
    assert "─" in drawn
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])m", drawn)


def test_ctrl_c_on_a_terminal_ends_in_order(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    with on_a_terminal("download", torrent, *arguments) as (pid, terminal):
        read_terminal(terminal, until="pieces 0/66")
        os.write(terminal, b"\x03")
        drawn = read_terminal(terminal)
        assert exit_code_of(pid) == 7
    assert "stopping; Ctrl-C again ends at once" in drawn
    assert "stuff: incomplete: 0 of 66 pieces are there" in drawn
    assert drawn.rfind("\x1b[?25h") > drawn.rfind("\x1b[?25l")


def test_demo_downloads_compares_and_leaves_no_process(tmp_path: Path) -> None:
    with running("demo", "--size", "2M", "-d", tmp_path / "demo") as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert "all files are the same; 2.0 MiB in " in out
    assert f"the files lie in {tmp_path}/demo/download/demo\n" in out
    assert not _processes_with(str(tmp_path))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_its_children_when_it_is_interrupted(
    tmp_path: Path, kind: signal.Signals
) -> None:
    with running("demo", "--size", "2M", "-d", tmp_path / "demo") as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not _processes_with(f"{tmp_path}/demo/seed-1-state"):
            assert process.poll() is None
        process.send_signal(kind)
        code, _, err = collected(process)
    assert (code, err) == (7, "torrent-engine: interrupted\n")
    assert not _processes_with(str(tmp_path))


def _processes_with(text: str) -> list[str]:
    """Return the command lines with a text in them, ours excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                found += [line] if f"{text}" in line and "torrent_engine" in line else []
    return found


def test_the_demo_files_have_the_asked_size_and_odd_ones_among_them() -> None:
    plan = planned_files(300 << 20)
    assert sum(plan.values()) == 300 << 20
    assert {0, 1} <= set(plan.values())
    assert all(length >= 0 for length in planned_files(1 << 20).values())
    assert sum(planned_files(1 << 20).values()) == 1 << 20


def test_a_torrent_of_another_process_is_refused_with_the_way_out(
    torrent: Path, tmp_path: Path
) -> None:
    """aria2's code 12: the same torrent in two terminals."""
    state = tmp_path / "state"
    with running("seed", torrent, "-d", tmp_path / "source", *options(state), "--json") as first:
        assert first.stdout is not None
        while json.loads(first.stdout.readline())["type"] != "torrent.started":
            pass
        arguments = ["-d", tmp_path / "out", *options(state)]
        with running("download", torrent, *arguments) as second:
            code, _, err = collected(second)
    assert code == 12
    assert err.count("\n") == 1
    assert f"in use by another process (state folder {state})" in err
    assert err.endswith("; --state-dir DIR names another state folder\n")


def test_a_source_whose_host_has_no_address_exits_19(tmp_path: Path) -> None:
    with running("download", "http://no.such.host.invalid/x.torrent", *options(tmp_path)) as one:
        code, _, err = collected(one)
    assert code == 19
    assert "cannot resolve no.such.host.invalid" in err


def test_a_tracker_of_the_command_line_is_asked(torrent: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tracker:
        tracker.settimeout(30)
        url = f"http://127.0.0.1:{tracker.getsockname()[1]}/announce"
        arguments = ["-d", tmp_path / "out", "--tracker", url, *options(tmp_path / "state")]
        with running("download", torrent, *arguments):
            asker, _ = tracker.accept()
            with asker:
                asker.settimeout(30)
                assert asker.recv(4_096).startswith(b"GET /announce?info_hash=")


def test_what_is_no_tracker_exits_28(torrent: Path, tmp_path: Path) -> None:
    with running("download", torrent, "--tracker", "ftp://x", *options(tmp_path)) as process:
        code, _, err = collected(process)
    assert code == 28
    assert "--tracker: trackers of scheme 'ftp' are not supported" in err


def test_only_commands_that_keep_torrents_make_the_reserve(tmp_path: Path) -> None:
    arguments = ["-o", tmp_path / "x.torrent", "--timeout", "1", *options(tmp_path / "state")]
    with running("metadata", "0" * 40, *arguments, "--no-dht", "--no-lsd") as process:
        collected(process)
    assert (tmp_path / "state/state.db").exists()
    assert not (tmp_path / "state/reserve").exists()
