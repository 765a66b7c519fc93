"""The commands, with programs of other processes: libtorrent as the reference, and this engine."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netns import LOOPBACK
from tests.support.processes import Program, free_port, missing, require_program, wait_until
from torrent_engine.conformance.catalogue import choose

EXPECTED = Path(__file__).parent / "expected"
SHORT = (
    "BEP3-HS-01",
    "BEP3-HS-02",
    "BEP3-BF-01",
    "BEP3-BF-05",
    "BEP3-CI-02",
    "BEP3-RQ-01",
    "BEP3-RQ-03",
    "BEP3-IN-03",
    "BEP6-FE-05",
    "BEP10-EX-15",
    "BEP9-MD-04",
    "MSE-EN-15",
    "BEP5-DT-05",
    "BEP44-ST-05",
    "BEP29-UP-01",
    "BEP52-HR-02",
)


def kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torrent_engine", "conformance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.interop
@pytest.mark.parametrize("subject", ["libtorrent", "torrent-engine"])
def test_bep3_short_selection_is_as_the_file_of_expectations_has_it(
    subject: str, tmp_path: Path
) -> None:
    if subject == "libtorrent":
        try:
            import libtorrent  # noqa: F401
        except ImportError:
            missing("libtorrent is not installed (PyPI package libtorrent)")
    found = tmp_path / "found.json"
    expected = EXPECTED / f"{subject}.toml"
    options = ("--patience", "5", "--jobs", "2", "--json", str(found), "--expected", str(expected))
    done = kit("run", "--subject", subject, *SHORT, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(found.read_text())
    assert [each["id"] for each in record["rules"]] == sorted(SHORT, key=list(SHORT).index)
    assert record["version"]
    page = tmp_path / "matrix.html"
    assert kit("report", str(found), "--html", str(page)).returncode == 0
    assert "BEP9-MD-04" in page.read_text()


@pytest.mark.interop
@pytest.mark.parametrize("subject", ["opentracker", "torrent-engine"])
def test_trackers_are_as_the_file_of_expectations_has_them(subject: str) -> None:
    if subject == "opentracker":
        require_program("opentracker", "opentracker")
    prefixes = [each.rule_id for each in choose(["TRK"]) if each.limit_s <= 30]
    expected = EXPECTED / f"{subject}.toml"
    options = ("--patience", "2", "--jobs", "6", "--expected", str(expected))
    done = kit("run", "--subject", subject, *prefixes, *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_program_of_a_toml_file_that_ends_is_told_with_its_output(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text(f"command = [{sys.executable!r}, '-c', 'print(\"no licence\")', '{{torrent}}']")
    done = kit("run", "--subject", str(path), "BEP3-RQ-01")
    assert done.returncode == 3
    assert "ended; it printed: no licence" in done.stderr


def test_torrent_that_a_program_does_not_take_leaves_its_rules_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text(f"command = [{sys.executable!r}, '-c', 'print(\"no v2\")', '{{torrent}}']")
    done = kit("run", "--subject", str(path), "BEP52-HR-01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("U  BEP52-HR-01")
    assert "no v2" in done.stdout


STAYS = """
import os, socket, sys, time
listener = socket.create_server((sys.argv[2], int(sys.argv[3])))
listener.accept()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(300)
"""
"""Names itself once the kit has connected to it, and so has done all that a start takes."""


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_program_ends_when_the_kit_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    note, path = tmp_path / "pid", tmp_path / "program.toml"
    words = [sys.executable, "-c", STAYS, str(note), "{host}", "{port}"]
    path.write_text(f"command = {json.dumps(words)}")
    command = (sys.executable, "-m", "torrent_engine", "conformance", "run", "BEP3-RQ-01")
    argv = (*command, "--subject", str(path))  # one process: the note names one
    with Program(argv, host=LOOPBACK, log=tmp_path / "kit.log") as program:
        wait_until(lambda: note.exists() and bool(note.read_text()), timeout_s=120, what="a start")
        pid = int(note.read_text())
        program.process.send_signal(number)
        code = program.wait(120)
    assert code == (128 + number if number == signal.SIGTERM else -number)
    wait_until(lambda: has_ended(pid), timeout_s=120, what="the end of the program")


def test_nobody_at_an_address_is_exit_code_3() -> None:
    done = kit("seed", f"127.0.0.1:{free_port()}", "BEP3-RQ-01")
    assert done.returncode == 3
    assert "is not ready" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seed", "8.8.8.8:6881"), "--this-is-mine"),
        (("seed", "nobody"), "is no HOST:PORT"),
        (("list", "BEP99"), "no rule begins with BEP99"),
        (("run", "--subject", "netscape", "BEP3"), "no program netscape"),
        (("run",), "--subject"),
        (("seed", "127.0.0.1:1", "BEP3-IN-03"), "not about seeds of"),
        (("report", "/nowhere.json", "--html", "/nowhere.html"), "/nowhere.json"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = kit(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_list_and_prepare_say_what_there_is(tmp_path: Path) -> None:
    listed = kit("list", "BEP3-HS", "--level", "STATED", "--json").stdout.splitlines()
    assert {json.loads(each)["level"] for each in listed} == {"STATED"}
    assert kit("prepare", str(tmp_path / "sample")).returncode == 0
    names = sorted(each.name for each in (tmp_path / "sample").rglob("*.*"))
    assert names == ["basic.bin", "basic.magnet", "basic.torrent"]
    dry = kit("run", "--subject", "libtorrent", "BEP3-RQ-01", "--dry-run")
    assert dry.stdout.startswith("BEP3-RQ-01")
