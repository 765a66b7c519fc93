"""``list``, ``pause`` and their like: the same with and without a process that runs."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli import torrents
from tests.cli.commands.test_run import keeping, until
from tests.cli.test_processes import COMMAND, environment
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.torrent_table import find_torrent, id_chars
from torrent_engine.service.torrents import TorrentRow

pytestmark = pytest.mark.timeout(240)


def managed(state: Path, *arguments: object) -> tuple[int, str, str]:
    """Run one command on a state folder; return its code, stdout and stderr."""
    command = [*COMMAND, *map(str, arguments), "--state-dir", str(state)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def states(state: Path) -> dict[str, tuple[str, int]]:
    """Return the state and priority of each torrent by its name."""
    code, out, err = managed(state, "list", "--json")
    assert (code, err) == (0, "")
    rows = map(json.loads, out.splitlines())
    return {row["name"]: (row["state"], row["priority"]) for row in rows}


def check_commands(state: Path, folder: Path) -> None:
    """Do one of each to the two torrents, and see what it did."""
    assert managed(state, "pause", "one.bin") == (0, "one.bin: paused\n", "")
    assert states(state) == {"one.bin": ("paused", 0), "two.bin": ("seeding", 0)}
    assert managed(state, "recheck", "one.bin") == (0, "one.bin: checked, 100% is there\n", "")
    assert managed(state, "resume", "--all")[1] == "one.bin: resumed\ntwo.bin: resumed\n"
    assert managed(state, "priority", "two.bin", "7") == (0, "two.bin: priority 7\n", "")
    assert states(state) == {"one.bin": ("seeding", 0), "two.bin": ("seeding", 7)}
    target = folder / "moved"
    assert managed(state, "move", "one.bin", target) == (0, f"one.bin: moved to {target}\n", "")
    assert (target / "one.bin").read_bytes() == b"1" * 40_000
    assert managed(state, "move", "one.bin", folder)[0] == 0
    code, out, err = managed(state, "pause", "three.bin")
    assert (code, out, err) == (3, "", "torrent-engine: three.bin: no such torrent\n")


def test_torrents_are_managed_while_run_runs_and_while_it_does_not(tmp_path: Path) -> None:
    state = tmp_path / "state"
    named = []
    for name, content in (("one.bin", b"1"), ("two.bin", b"2")):
        named.append(torrents.single(tmp_path, name, content * 40_000))
        (tmp_path / name).write_bytes(content * 40_000)
    with keeping(*named, "-d", tmp_path, state=state) as run:
        run.wait("torrent.added", count=2)
        both = {"one.bin": ("seeding", 0), "two.bin": ("seeding", 0)}
        until(lambda: states(state) == both)
        check_commands(state, tmp_path)
        run.stop(signal.SIGKILL)  # its socket stays, and nobody answers
    assert (state / "control.sock").exists()
    assert managed(state, "priority", "two.bin", "0")[0] == 0
    check_commands(state, tmp_path)
    assert managed(state, "remove", "one.bin", "--delete-files") == (
        0,
        "one.bin: removed with its files\n",
        "",
    )
    assert not (tmp_path / "one.bin").exists()
    with keeping(state=state) as run:
        assert run.wait("run.started")["restored"] == 1
        until(lambda: states(state) == {"two.bin": ("seeding", 7)})
        assert managed(state, "remove", "two.bin") == (0, "two.bin: removed\n", "")
        assert managed(state, "list") == (0, "no torrents\n", "")
        assert run.stop() == (0, "")
    assert (tmp_path / "two.bin").exists()


def test_a_folder_without_a_database_exits_3(tmp_path: Path) -> None:
    code, out, err = managed(tmp_path, "list")
    assert (code, out) == (3, "")
    assert err == f"torrent-engine: {tmp_path}: no state database there\n"


def row(info_hash: str, name: str) -> TorrentRow:
    return TorrentRow(info_hash, name, "seeding", 0, "/data", 10, 10, 10)


ROWS = [row("ab" + "0" * 38, "one"), row("abc" + "0" * 37, "two"), row("f" * 40, "ab")]


@pytest.mark.parametrize(("name", "found"), [("two", 1), ("abc", 1), ("AB0", 0), ("ab", 2)])
def test_a_torrent_is_named_by_its_name_or_its_first_digits(name: str, found: int) -> None:
    assert find_torrent(ROWS, name) is ROWS[found]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("a", ExitCode.BAD_OPTION, "names 2 torrents: ab000"),
        ("", ExitCode.NOT_FOUND, "no such torrent"),
        ("\x1b[2J", ExitCode.NOT_FOUND, "no such torrent"),
    ],
)
def test_what_names_no_single_torrent_is_refused(name: str, code: ExitCode, message: str) -> None:
    with pytest.raises(CliError, match=message) as caught:
        find_torrent(ROWS, name)
    assert caught.value.code == code
    assert "\x1b" not in str(caught.value)


def test_ids_are_as_long_as_tells_them_apart() -> None:
    assert id_chars(each.info_hash for each in ROWS) == 8
    assert id_chars(["0" * 40, "0" * 20 + "1" * 20]) == 21
    assert id_chars([]) == 8
