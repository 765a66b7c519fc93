"""The command as a process: start-up, signals, pipes, full devices."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli import torrents
from tests.support.processes import failures_in

COMMAND = [sys.executable, "-m", "torrent_engine"]
ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


@contextmanager
def running(*arguments: object, **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(),
        **{**pipes, **options},  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o777, 0o600), (0o277, 0o600), (0o022, 0o644)])
def test_no_umask_takes_what_is_made_from_the_user(tmp_path: Path, umask: int, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"a" * 20_000)
    command = [*COMMAND, "create", "a", "-o", "a.torrent"]
    end = subprocess.run(
        command, cwd=tmp_path, env=environment(), umask=umask, capture_output=True, check=False
    )
    assert end.returncode == 0, end.stderr
    assert (tmp_path / "a.torrent").stat().st_mode & 0o777 == mode


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, torrent_engine.cli.main as m\n"
        "try: m.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'rich', 'anyio', 'httpx2', 'asyncio', 'uvloop', 'sqlite3', 'cryptography'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=True
    )
    assert result.stdout.splitlines()[-1] == b"[]"


def test_an_empty_configuration_file_imports_no_other_command(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("# no values\n")
    code = (
        "import sys, torrent_engine.cli.main as m\n"
        "try: m.cli.main(['--config', sys.argv[1], 'verify', 'missing.torrent'])\n"
        "except SystemExit as error: print(error.code)\n"
        "print(sorted(name for name in sys.modules if 'cli.commands.' in name))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(config)],
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == b"['torrent_engine.cli.commands.verify']"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_tracker_ends_in_order_on_a_signal(kind: signal.Signals) -> None:
    with running("tracker", "--host", "127.0.0.1", "--port", "0", "--json") as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["http"].startswith("http://127.0.0.1:")
        process.send_signal(kind)
        assert process.wait(60) == 0
        assert failures_in(process.communicate()[1]) == ""


def test_a_tracker_on_a_busy_port_says_so() -> None:
    with running("tracker", "--host", "127.0.0.1", "--port", "0", "--json") as first:
        assert first.stdout is not None
        port = json.loads(first.stdout.readline())["http"].split(":")[2].split("/")[0]
        with running("tracker", "--host", "127.0.0.1", "--port", port) as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 6
        assert err.count(b"\n") == 1
        assert b"torrent-engine: cannot bind port " + port.encode() in err


def test_a_reader_that_goes_away_is_no_error_message(tmp_path: Path) -> None:
    with running("show", "-", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(torrents.multi(tmp_path).read_bytes(), timeout=60)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [["show", "x.torrent"], ["--help"], ["dht"], ["conformance", "--help"]],
    ids=" ".join,
)
def test_f1_a_full_device_for_the_output_exits_9(
    tmp_path: Path, arguments: list[str], unbuffered: str
) -> None:
    torrents.multi(tmp_path).rename(tmp_path / "x.torrent")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            check=False,
        )
    assert result.returncode == 9
    assert result.stderr.startswith(b"torrent-engine: ")
    assert result.stderr.endswith(b"no space left on device\n")


def test_results_come_before_the_errors_that_follow_them(tmp_path: Path) -> None:
    torrent = torrents.multi(tmp_path)
    result = subprocess.run(
        [*COMMAND, "magnet", str(torrent), str(tmp_path / "missing"), str(torrent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        check=False,
    )
    starts = [line[:6] for line in result.stdout.splitlines()]
    assert starts == [b"magnet", b"torren", b"magnet"]


def test_an_output_without_utf8_gets_escapes(tmp_path: Path) -> None:
    torrent = torrents.single(tmp_path, "snow ☃.bin")
    result = subprocess.run(
        [*COMMAND, "show", str(torrent)],
        capture_output=True,
        env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0"),
        check=True,
    )
    assert b"snow \\u2603.bin" in result.stdout


def test_ctrl_c_while_waiting_for_stdin_is_one_line() -> None:
    with running("show", "-", stdin=subprocess.PIPE) as process:
        _wait_until_it_reads(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (7, b"", b"torrent-engine: interrupted\n")


def _wait_until_it_reads(pid: int) -> None:
    """Wait until the process sleeps in a read of its stdin."""
    for _ in range(1_000):
        call = Path(f"/proc/{pid}/wchan").read_text()
        if "pipe_read" in call or call == "anon_pipe_read":
            return
        signal.sigtimedwait([], 0.01)
    pytest.skip("the system does not say what a process waits for")
