"""User mistakes: each is one clear line on stderr and the right exit code."""

import errno
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from torrent_engine.base import errors
from torrent_engine.cli.commands import show
from torrent_engine.cli.main import COMMANDS, cli
from torrent_engine.cli.output import exit_codes
from torrent_engine.cli.output.exit_codes import CliError, ExitCode


def invoke(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)


def make_inputs(folder: Path) -> None:
    torrents.multi(folder)
    torrents.single(folder)
    (folder / "bad.torrent").write_bytes(b"i03e")
    (folder / "empty.torrent").write_bytes(b"")
    (folder / "not.torrent").write_bytes(b"d3:foo3:bare")
    (folder / "folder").mkdir()
    v2 = {b"name": b"v2", b"piece length": 16384, b"meta version": 2, b"file tree": {}}
    torrents.write_torrent(folder / "v2.torrent", v2)


LINK = f"magnet:?xt=urn:btih:{'0' * 40}&dn=a+name"
LOCAL = ["--listen", "127.0.0.1", "--port", "0", "--state-dir", "state"]
MISTAKES: dict[str, tuple[list[str], ExitCode, str]] = {
    "no_such_command": (["downlod"], ExitCode.BAD_OPTION, "no such command 'downlod'"),
    "no_such_option": (["show", "--colour"], ExitCode.BAD_OPTION, "no such option '--colour'"),
    "option_without_value": (["download", "-d"], ExitCode.BAD_OPTION, "requires an argument"),
    **{
        f"{command}_of_nothing": ([command, ""], ExitCode.BAD_OPTION, "'': is empty")
        for command in (
            "download",
            "seed",
            "run",
            "show",
            "verify",
            "scrape",
            "magnet",
            "metadata",
            "create",
        )
    },
    "download_of_a_space": (["download", " "], ExitCode.BAD_OPTION, "' ': is empty"),
    "empty_folder": (["download", "x", "-d", ""], ExitCode.BAD_OPTION, "'': is empty"),
    "no_such_event": (
        ["download", "x", "--json-events", "tracker"],
        ExitCode.BAD_OPTION,
        "no event is called 'tracker'",
    ),
    "nothing_to_do": (["download"], ExitCode.BAD_OPTION, "missing argument 'TORRENT...'"),
    "no_such_file": (["show", "x.torrent"], ExitCode.NOT_FOUND, "x.torrent: no such file or dir"),
    "a_folder": (["show", "folder"], ExitCode.BAD_TORRENT, "folder: is a folder, not a .torrent"),
    "bad_bencode": (["show", "bad.torrent"], ExitCode.BAD_BENCODE, "bad.torrent: "),
    "empty_file": (["show", "empty.torrent"], ExitCode.BAD_TORRENT, "empty.torrent: "),
    "no_torrent": (["show", "not.torrent"], ExitCode.BAD_TORRENT, "not.torrent: no torrent"),
    "v2_only": (["show", "v2.torrent"], ExitCode.BAD_TORRENT, "v2"),
    "magnet_to_show": (
        ["show", LINK],
        ExitCode.BAD_OPTION,
        "torrent-engine: a name: is a link, not a .torrent; `torrent-engine metadata` fetches that",
    ),
    "magnet_cut_by_the_shell": (
        ["download", "magnet:?dn=name", *LOCAL],
        ExitCode.BAD_MAGNET,
        "cuts a link at its first & unless it is in quotes",
    ),
    "magnet_without_topic": (
        ["download", "magnet:?dn=name&tr=http://host/pass", *LOCAL],
        ExitCode.BAD_MAGNET,
        'torrent-engine: magnet:?***: a magnet link without an info-hash ("xt=urn:btih:...")\n',
    ),
    "magnet_bad_hash": (
        ["metadata", "magnet:?xt=urn:btih:12&dn=x"],
        ExitCode.BAD_MAGNET,
        "the info-hash is neither 40 hexadecimal nor 32 base32 digits",
    ),
    "magnet_bad_v2_hash": (
        ["metadata", f"magnet:?xt=urn:btmh:1220{'0' * 63}&dn=x"],
        ExitCode.BAD_MAGNET,
        'the v2 info-hash (BEP 52) is not "1220" and 64 hexadecimal digits',
    ),
    "seed_of_a_magnet": (["seed", LINK, *LOCAL], ExitCode.BAD_OPTION, "seed takes a .torrent"),
    "metadata_of_a_torrent": (
        ["metadata", "stuff.torrent"],
        ExitCode.BAD_OPTION,
        "stuff.torrent: is no magnet link and no info-hash",
    ),
    "metadata_is_there": (
        ["metadata", LINK, "-o", "stuff.torrent"],
        ExitCode.FILE_EXISTS,
        "stuff.torrent: exists already; -f replaces it",
    ),
    "metadata_into_no_folder": (
        ["metadata", LINK, "-o", "nowhere/x.torrent"],
        ExitCode.NOT_FOUND,
        "nowhere: no such folder",
    ),
    "metadata_onto_a_folder": (
        ["metadata", LINK, "-o", "folder", "-f"],
        ExitCode.FILE_EXISTS,
        "folder: is a folder",
    ),
    "metadata_of_two_in_one": (
        ["metadata", LINK, "0" * 40, "-o", "x.torrent"],
        ExitCode.BAD_OPTION,
        "-o names one file; several links are given",
    ),
    "metadata_json_and_stdout": (
        ["metadata", LINK, "-o", "-", "--json"],
        ExitCode.BAD_OPTION,
        "cannot both go to standard output",
    ),
    "metadata_bad_timeout": (["metadata", LINK, "--timeout", "soon"], ExitCode.BAD_OPTION, "soon"),
    "magnet_of_a_folder": (["magnet", "folder"], ExitCode.BAD_TORRENT, "folder: is a folder"),
    "magnet_bad_peer": (["magnet", "x", "--peer", "h"], ExitCode.BAD_OPTION, "a peer is HOST:PORT"),
    "magnet_bad_selection": (
        ["magnet", "stuff.torrent", "--select-file", "9"],
        ExitCode.BAD_OPTION,
        "no file 9; the torrent has 4 files",
    ),
    "empty_stdin": (["show", "-"], ExitCode.BAD_TORRENT, "-: "),
    "stdin_twice": (["download", "-", "-"], ExitCode.BAD_OPTION, "(-) is given twice"),
    "bad_rate": (
        ["download", "x", "--max-download-limit", "fast"],
        ExitCode.BAD_OPTION,
        "invalid value for '--max-download-limit': 'fast': a size is a number",
    ),
    "bad_ratio": (["seed", "x", "--seed-ratio", "-1"], ExitCode.BAD_OPTION, "a ratio is a number"),
    "bad_time": (["seed", "x", "--seed-time", "long"], ExitCode.BAD_OPTION, "a duration is"),
    "bad_port": (["seed", "x", "--port", "65536"], ExitCode.BAD_OPTION, "a port is a number"),
    "bad_peer": (["download", "x", "--peer", "host"], ExitCode.BAD_OPTION, "a peer is HOST:PORT"),
    "bad_peer_port": (["download", "x", "--peer", "h:0"], ExitCode.BAD_OPTION, "from 1 to 65535"),
    "bad_address": (["download", "x", "--listen", "h"], ExitCode.BAD_OPTION, "--listen"),
    "dir_is_a_file": (["download", "x", "-d", "one.bin.torrent"], ExitCode.BAD_OPTION, "is a file"),
    "verify_without_data": (["verify", "stuff.torrent"], ExitCode.CHECK_FAILED, ""),
    "verify_no_folder": (
        ["verify", "stuff.torrent", "-d", "nowhere"],
        ExitCode.NOT_FOUND,
        "stuff.torrent: nowhere: no such folder",
    ),
    "verify_bad_rename": (
        ["verify", "stuff.torrent", "-o", "name"],
        ExitCode.BAD_OPTION,
        "-o: the torrent has 4 files",
    ),
    "scrape_no_tracker": (["scrape", "stuff.torrent"], ExitCode.BAD_OPTION, "has no trackers"),
    "demo_too_small": (["demo", "--size", "10"], ExitCode.BAD_OPTION, "from 1M to 64G"),
}


@pytest.mark.parametrize(
    ("arguments", "code", "message"), MISTAKES.values(), ids=list(MISTAKES.keys())
)
def test_a_mistake_is_one_line_and_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_inputs(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == code
    assert "Traceback" not in result.output
    if message:
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("torrent-engine: ")
        assert message in result.stderr


def test_one_bad_torrent_of_several_does_not_stop_the_others(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    names = ("bad.torrent", "stuff.torrent", "nowhere.torrent", "one.bin.torrent")
    result = invoke("show", *(tmp_path / name for name in names))
    assert result.exit_code == ExitCode.BAD_BENCODE  # the first failure
    assert result.stderr.count("\n") == 2
    assert "stuff" in result.stdout
    assert "one.bin" in result.stdout


def test_the_exit_codes_are_in_the_help() -> None:
    output = invoke("--help").output
    for code in ExitCode:
        assert f"{code.value:>4}  {exit_codes.MEANINGS[code]}" in output


def test_without_a_command_the_help_is_shown() -> None:
    result = invoke()
    assert result.exit_code == ExitCode.OK
    assert "Commands:" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == ExitCode.OK
    assert result.output.startswith(f"Usage: torrent-engine {name} ")


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    version = invoke("--version").output.split()[-1]
    assert f'version = "{version}"' in project.read_text()


@pytest.fixture
def broken_show(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def install(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(show, "command", click.Command("show", callback=fail))

    return install


def test_a_bug_is_one_line_with_a_hint(broken_show: Callable[[BaseException], None]) -> None:
    broken_show(ZeroDivisionError("oops\nand more"))
    result = invoke("show")
    assert result.exit_code == ExitCode.UNKNOWN
    assert result.stderr == (
        "torrent-engine: unexpected ZeroDivisionError: oops and more;"
        " run it with --debug and report what that shows\n"
    )


def test_debug_shows_the_traceback_of_a_bug(broken_show: Callable[[BaseException], None]) -> None:
    broken_show(ZeroDivisionError("oops"))
    result = invoke("--debug", "show")
    assert result.exit_code == ExitCode.UNKNOWN
    assert "Traceback (most recent call last)" in result.stderr


def test_ctrl_c_is_one_line_and_code_7(broken_show: Callable[[BaseException], None]) -> None:
    broken_show(KeyboardInterrupt())
    result = invoke("show")
    assert (result.exit_code, result.stderr) == (7, "torrent-engine: interrupted\n")


def test_an_error_message_cannot_control_the_terminal(
    broken_show: Callable[[BaseException], None],
) -> None:
    broken_show(CliError("evil \x1b[2J\u202e name"))
    assert "\x1b" not in invoke("show").stderr
    assert "\u202e" not in invoke("show").stderr


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BencodeError("x", offset_bytes=1), ExitCode.BAD_BENCODE),
        (errors.MetainfoError("x"), ExitCode.BAD_TORRENT),
        (errors.ConfigError("x"), ExitCode.BAD_OPTION),
        (errors.DiskFullError("p", "x"), ExitCode.DISK_FULL),
        (errors.FileExistsStorageError("p", "x"), ExitCode.FILE_EXISTS),
        (errors.StorageError("p", "x"), ExitCode.IO_ERROR),
        (errors.StateDatabaseError("x"), ExitCode.IO_ERROR),
        (errors.StateInUseError("x", "y", folder="f"), ExitCode.IN_USE),
        (
            caused(errors.SessionError("x"), errors.StateInUseError("x", "y", folder="f")),
            ExitCode.IN_USE,
        ),
        (errors.MagnetError("x"), ExitCode.BAD_MAGNET),
        (errors.NameResolutionError("x"), ExitCode.NAME_RESOLUTION),
        (caused(errors.HttpError("x"), errors.NameResolutionError("x")), ExitCode.NAME_RESOLUTION),
        (
            caused(errors.TrackerError("x"), errors.NameResolutionError("x")),
            ExitCode.NAME_RESOLUTION,
        ),
        (errors.TrackerError("x"), ExitCode.NETWORK),
        (errors.NetworkError("x"), ExitCode.NETWORK),
        (caused(errors.HttpError("x"), TimeoutError()), ExitCode.TIMED_OUT),
        (caused(errors.SessionError("x"), errors.DiskFullError("p", "x")), ExitCode.DISK_FULL),
        (ExceptionGroup("g", [errors.MetainfoError("x")]), ExitCode.BAD_TORRENT),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ExitCode.DISK_FULL),
        (PermissionError(errno.EACCES, "Permission denied", "f"), ExitCode.IO_ERROR),
        (FileExistsError(errno.EEXIST, "File exists", "f"), ExitCode.FILE_EXISTS),
        (FileNotFoundError(errno.ENOENT, "No such file", "f"), ExitCode.NOT_FOUND),
        (RuntimeError("x"), ExitCode.UNKNOWN),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert exit_codes.exit_code_of(error) == code
