"""``verify``: which files are right."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode


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


def spoil(payload: Path, what: str) -> None:
    """Put something into the place of sub/b.txt that is not right."""
    path = payload / "sub/b.txt"
    if what == "too long":
        path.write_bytes(b"b" * 5_001)
        return
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "dangling":
        path.symlink_to("nowhere")
    elif what == "file above":
        shutil.rmtree(payload / "sub")
        (payload / "sub").write_bytes(b"")


SPOILT = {
    "too long": "5001 bytes instead of 5000",
    "folder": "a folder",
    "fifo": "not a regular file",
    "dangling": "a symbolic link that leads nowhere",
    "missing": "missing",
    "file above": "cannot be read: Not a directory",
}


@pytest.mark.parametrize(("what", "status"), SPOILT.items(), ids=SPOILT)
def test_every_file_is_reported_whatever_is_wrong_with_one(
    tmp_path: Path, what: str, status: str
) -> None:
    payload = torrents.write_payload(tmp_path)
    spoil(payload, what)
    (payload / "a.bin").write_bytes(b"A" * 20_000)
    result = verify("--json", torrents.multi(tmp_path), "-d", tmp_path)
    assert (result.exit_code, result.stderr) == (ExitCode.CHECK_FAILED, "")
    statuses = [file["status"] for file in json.loads(result.stdout)["files"]]
    assert statuses[0] == "damaged"
    assert statuses[1] == status
    assert len(statuses) == 4


def test_a_file_that_is_only_too_long_is_not_right(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    spoil(payload, "too long")
    result = verify(torrents.multi(tmp_path), "-d", tmp_path)
    assert result.exit_code == ExitCode.CHECK_FAILED
    assert result.stdout.splitlines()[-2:] == [
        f"{payload}/sub/b.txt: 5001 bytes instead of 5000",
        "stuff: 1 of 4 files is not right; 5 of 5 pieces match",
    ]


@pytest.mark.parametrize("call", ["open", "preadv"])
def test_a_file_that_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    payload = torrents.write_payload(tmp_path)
    real = getattr(os, call)
    inode = (payload / "a.bin").stat().st_ino

    def fails(target: Any, *arguments: Any, **options: Any) -> Any:
        is_it = target == "a.bin" if call == "open" else os.fstat(target).st_ino == inode
        if is_it:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(target, *arguments, **options)

    monkeypatch.setattr(os, call, fails)
    result = verify("--json", torrents.multi(tmp_path), "-d", tmp_path)
    assert (result.exit_code, result.stderr) == (ExitCode.CHECK_FAILED, "")
    statuses = [file["status"] for file in json.loads(result.stdout)["files"]]
    assert statuses[0].startswith("cannot be read: ")
    assert statuses[-1] != "missing"


def test_links_that_are_there_are_followed(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    payload.rename(tmp_path / "far")
    (tmp_path / "far/c.mkv").rename(tmp_path / "elsewhere")
    (tmp_path / "far/c.mkv").symlink_to("../elsewhere")
    payload.symlink_to("far")
    assert verify(torrents.multi(tmp_path), "-d", tmp_path).exit_code == ExitCode.OK
