"""``verify``: which files are right."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from tests.cli import torrents
from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.main import cli


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def test_right_data_exits_0(tmp_path: Path) -> None:
    torrents.write_payload(tmp_path)
    result = verify(torrents.multi(tmp_path), "-d", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "stuff: all right; 5 of 5 pieces match"


def test_a_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    with (payload / "c.mkv").open("r+b") as file:
        file.seek(50_000)
        file.write(b"\xff")
    result = verify(torrents.multi(tmp_path), "-d", tmp_path)
    assert result.exit_code == ExitCode.CHECK_FAILED
    assert result.stdout.splitlines()[-2:] == [
        f"{payload}/c.mkv: damaged",
        "stuff: 1 of 4 files is not right; 4 of 5 pieces match",
    ]


def test_missing_and_short_files_are_told_from_damaged_ones(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    (payload / "a.bin").unlink()
    (payload / "sub/b.txt").write_bytes(b"b")
    (payload / "sub/empty").unlink()
    result = verify("--json", torrents.multi(tmp_path), "-d", tmp_path)
    assert result.exit_code == ExitCode.CHECK_FAILED
    record = json.loads(result.stdout)
    assert record["ok"] is False
    assert [file["status"] for file in record["files"]] == [
        "missing",
        "1 bytes instead of 5000",
        "missing",
        "uncertain: shares a piece with a file that is not right",
    ]


def test_nothing_is_written(tmp_path: Path) -> None:
    torrent = torrents.multi(tmp_path)
    verify(torrent, "-d", tmp_path)
    assert list(tmp_path.iterdir()) == [torrent]


def test_quiet_tells_only_that_it_failed(tmp_path: Path) -> None:
    torrent = torrents.multi(tmp_path)
    result = verify("-q", torrent, "-d", tmp_path)
    assert (result.exit_code, result.stdout) == (ExitCode.CHECK_FAILED, "")
    assert result.stderr == f"torrent-engine: {torrent}: 0 of 5 pieces match\n"
    torrents.write_payload(tmp_path)
    assert verify("-q", torrent, "-d", tmp_path).output == ""


def test_a_renamed_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x" * 40_000)
    torrent = torrents.single(tmp_path)
    assert verify(torrent, "-d", tmp_path, "-o", "other").exit_code == ExitCode.OK
