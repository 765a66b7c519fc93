"""``list``, ``pause`` and their like: the same with and without a process that runs."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.cli import torrents
from tests.cli.commands.test_run import keeping, until
from tests.cli.test_processes import COMMAND, environment
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import failures_in
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.torrent_table import find_torrent, id_chars
from torrent_engine.cli.tasks.last_list import LIST_NAME, read_list, save_list
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.service.torrents import TorrentRow


def managed(state: Path, *arguments: object) -> tuple[int, str, str]:
    """Run one command on a state folder; return its code, stdout and stderr."""
    command = [*COMMAND, *map(str, arguments), "--state-dir", str(state)]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=120)
    return done.returncode, done.stdout.decode(), failures_in(done.stderr)


def managed_here(state: Path, *arguments: object) -> tuple[int, str, str]:
    """Run one command in this process; return its code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    words = [*map(str, arguments), "--state-dir", str(state)]
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(words, standalone_mode=False)
    return code, out.getvalue(), err.getvalue()


def states(state: Path) -> dict[str, tuple[str, int]]:
    """Return the state and priority of each torrent by its name."""
    code, out, err = managed_here(state, "list", "--json")
    assert (code, err) == (0, "")
    rows = map(json.loads, out.splitlines())
    return {row["name"]: (row["state"], row["priority"]) for row in rows}


def check_commands(state: Path, folder: Path) -> None:
    """Do one of each to the two torrents, and see what it did."""
    assert managed_here(state, "pause", "one.bin") == (0, "one.bin: paused\n", "")
    assert states(state) == {"one.bin": ("paused", 0), "two.bin": ("seeding", 0)}
    assert managed_here(state, "recheck", "one.bin") == (0, "one.bin: checked, 100% is there\n", "")
    assert managed_here(state, "resume", "--all")[1] == "one.bin: resumed\ntwo.bin: resumed\n"
    assert managed_here(state, "priority", "two.bin", "7") == (0, "two.bin: priority 7\n", "")
    assert states(state) == {"one.bin": ("seeding", 0), "two.bin": ("seeding", 7)}
    target = folder / "moved"
    assert managed_here(state, "move", "one.bin", target) == (
        0,
        f"one.bin: moved to {target}\n",
        "",
    )
    assert (target / "one.bin").read_bytes() == b"1" * 40_000
    assert managed_here(state, "move", "one.bin", folder)[0] == 0
    code, out, err = managed_here(state, "pause", "three.bin")
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
    assert managed_here(state, "priority", "two.bin", "0")[0] == 0
    check_commands(state, tmp_path)
    assert managed_here(state, "remove", "one.bin", "--delete-files") == (
        0,
        "one.bin: removed with its files\n",
        "",
    )
    assert not (tmp_path / "one.bin").exists()
    with keeping(state=state) as run:
        assert run.wait("run.started")["restored"] == 1
        until(lambda: states(state) == {"two.bin": ("seeding", 7)})
        assert managed_here(state, "remove", "two.bin") == (0, "two.bin: removed\n", "")
        assert managed_here(state, "list") == (0, "no torrents\n", "")
        assert run.stop() == (0, "")
    assert (tmp_path / "two.bin").exists()


def test_a_folder_without_a_database_exits_3(tmp_path: Path) -> None:
    code, out, err = managed(tmp_path, "list")
    assert (code, out) == (3, "")
    assert err.startswith(
        f"torrent-engine: {tmp_path}: no torrents there; start `torrent-engine da"
    )


def row(info_hash: str, name: str) -> TorrentRow:
    return TorrentRow(info_hash, name, "seeding", 0, "/data", 10, 10, 10)


ROWS = [row("ab" + "0" * 38, "one"), row("abc" + "0" * 37, "two"), row("f" * 40, "ab")]


NUMBERED = [ROWS[2].info_hash, ROWS[0].info_hash, "0" * 40]


@pytest.mark.parametrize(
    ("name", "found"),
    [("two", 1), ("abc", 1), ("AB0", 0), ("ab", 2), ("1", 2), ("2", 0), ("TW", 1), ("ne", 0)],
)
def test_a_torrent_is_named_by_its_name_number_or_first_digits(name: str, found: int) -> None:
    assert find_torrent(ROWS, name, NUMBERED) is ROWS[found]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("a", ExitCode.BAD_OPTION, "names 2 torrents: ab000000 one, abc00000 two"),
        ("O", ExitCode.BAD_OPTION, "names 2 torrents"),
        ("3", ExitCode.NOT_FOUND, "this torrent of the last list is gone"),
        ("4", ExitCode.NOT_FOUND, "no such torrent"),
        ("", ExitCode.NOT_FOUND, "no such torrent"),
        ("\x1b[2J", ExitCode.NOT_FOUND, "no such torrent"),
    ],
)
def test_what_names_no_single_torrent_is_refused(name: str, code: ExitCode, message: str) -> None:
    with pytest.raises(CliError, match=message) as caught:
        find_torrent(ROWS, name, NUMBERED)
    assert caught.value.code == code
    assert "\x1b" not in str(caught.value)


def test_ids_are_as_long_as_tells_them_apart() -> None:
    assert id_chars(each.info_hash for each in ROWS) == 8
    assert id_chars(["0" * 40, "0" * 20 + "1" * 20]) == 21
    assert id_chars([]) == 8


# -- whoever runs them -----------------------------------------------------------------------------


def answered(state: Path, *arguments: object) -> str:
    code, out, err = managed_here(state, *arguments)
    assert (code, err) == (0, "")
    return out


def unread(state: Path, *arguments: object) -> tuple[int, str]:
    """Run one command whose output nobody reads; return its code and stderr."""
    command = [*COMMAND, *map(str, arguments), "--state-dir", str(state)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    return process.returncode, failures_in(err)


def check_new_torrents(state: Path, folder: Path, port: int, source: Path) -> None:
    """Add a link and a file, look at both, and change them."""
    content = bytes(range(256)) * 1_000
    two = torrents.single(folder, "two.bin", b"2" * 40_000)
    link = f"{Magnet.of(Metainfo.read(source))}&x.pe=127.0.0.1:{port}"
    assert answered(state, "add", link) == "one.bin: added\n"
    assert answered(state, "add", two, "--paused", "--top") == "two.bin: added\n"
    assert answered(state, "add", two) == "two.bin: is there already\n"
    assert unread(state, "add", two) == (ExitCode.OUTPUT_CLOSED, "")
    until(lambda: states(state)["one.bin"][0] == "seeding")
    assert list(states(state)) == ["two.bin", "one.bin"]
    assert answered(state, "list").splitlines()[1].startswith("1  ")
    facts = json.loads(answered(state, "info", "2", "--json"))
    assert (facts["name"], facts["completed_bytes"]) == ("one.bin", len(content))
    assert (Path(facts["save_path"]) / "one.bin").read_bytes() == content
    assert "state       seeding\n" in answered(state, "info", "one")
    (file,) = map(json.loads, answered(state, "files", "two", "--json").splitlines())
    assert (file["path"], file["size_bytes"], file["completed_bytes"]) == ("two.bin", 40_000, 0)
    assert answered(state, "trackers", "two") == "no trackers\n"
    assert answered(state, "peers", "two") == "no peers\n"
    changed = answered(state, "limit", "two", "--max-download-limit", "5M")
    assert changed == "two.bin: download at most 5.0 MiB/s\n"
    assert answered(state, "queue", "bottom", "two") == "two.bin: last in the queue\n"
    assert answered(state, "reannounce", "one") == "one.bin: asks its trackers\n"
    assert json.loads(answered(state, "stats", "--json"))["torrents"] == 2
    assert answered(state, "recheck", "one") == "one.bin: checked, 100% is there\n"
    moved = folder / "d" / "moved"
    assert answered(state, "move", "one", moved) == f"one.bin: moved to {moved}\n"
    assert (moved / "one.bin").read_bytes() == content
    missing = folder / "none.torrent"
    code, _, err = managed_here(state, "add", missing)
    assert (code, err) == (
        ExitCode.NOT_FOUND,
        f"torrent-engine: {missing}: no such file or directory\n",
    )
    assert managed_here(state, "add", "magnet:?xt=urn:btih:zz")[0] == ExitCode.BAD_MAGNET
    assert managed_here(state, "pause", "bin")[0] == ExitCode.BAD_OPTION


@contextmanager
def seed_of_one(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run a seed of a torrent; give its port and the .torrent."""
    content = bytes(range(256)) * 1_000
    source = torrents.single(folder, "one.bin", content)
    (folder / "seed").mkdir()
    (folder / "seed" / "one.bin").write_bytes(content)
    with keeping(source, "-d", folder / "seed", state=folder / "seed-state") as run:
        run.wait("torrent.added")
        until(lambda: states(folder / "seed-state") == {"one.bin": ("seeding", 0)})
        yield run.wait("run.started")["listen_port"], source


def test_run_gets_new_torrents_and_tells_of_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (
        seed_of_one(tmp_path) as (port, source),
        keeping("-d", tmp_path / "d", state=state) as run,
    ):
        run.wait("run.started")
        check_new_torrents(state, tmp_path, port, source)
        run.wait("torrent.added", name="two.bin", is_new=True)
        code, _, err = managed_here(state, "label", "two", "a")
        assert (code, "kept by `torrent-engine daemon`" in err) == (ExitCode.BAD_OPTION, True)
    assert managed_here(state, "limit", "two", "--max-upload-limit", "1M")[0] == 0
    assert len(answered(state, "files", "two", "--json").splitlines()) == 1
    for words in (["add", source], ["reannounce", "two"], ["stats"]):
        code, _, err = managed_here(state, *words)
        assert (code, "start `torrent-engine daemon`" in err) == (ExitCode.NETWORK, True)


def test_the_daemon_gets_new_torrents_and_labels(tmp_path: Path) -> None:
    with seed_of_one(tmp_path) as (port, source), OwnDaemon(tmp_path) as daemon:
        check_new_torrents(daemon.state, tmp_path, port, source)
        assert answered(daemon.state, "label", "two", "a", "b") == "two.bin: labels a, b\n"
        code, _, err = managed_here(daemon.state, "category", "two", "films")
        assert (code, "no such category" in err) == (ExitCode.BAD_OPTION, True)
        assert json.loads(answered(daemon.state, "info", "two", "--json"))["labels"] == ["a", "b"]
        answered(daemon.state, "priority", "two", "0", "--files", "1")
        assert "skip" in answered(daemon.state, "files", "two")
        answered(daemon.state, "priority", "two", "9")
        code, _, err = managed_here(daemon.state, "move", "one", "/nowhere")
        assert (code, "allowed folder" in err) == (ExitCode.BAD_OPTION, True)
        answered(daemon.state, "remove", "one", "--delete-files")
        assert not (tmp_path / "d" / "moved" / "one.bin").exists()
        assert states(daemon.state) == {"two.bin": ("paused", 9)}
    assert states(daemon.state) == {"two.bin": ("paused", 9)}  # of the database


BROKEN = {"none": None, "text": b"{", "object": b'{"a": 1}', "numbers": b"[1, 2]"}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_numbers_of_a_list_that_cannot_be_read_are_no_numbers(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / LIST_NAME).write_bytes(content)
    assert read_list(tmp_path) == []
    save_list(tmp_path, ["a" * 40])
    assert read_list(tmp_path) == ["a" * 40]
    (tmp_path / LIST_NAME).unlink()
    os.mkfifo(tmp_path / LIST_NAME)
    assert read_list(tmp_path) == []
    save_list(tmp_path / "missing", ["b"])
