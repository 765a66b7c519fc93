import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.torrents import make_torrent, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.cli.tasks import torrent_task as job_module
from torrent_engine.cli.tasks.torrent_task import TaskOptions, TorrentTask
from torrent_engine.codec.paths import windows_path
from torrent_engine.service.saved_files import common_path, first_missing

FILES = {"a/x/1": b"1", "a/x/2": b"2", "a/y": b"3", "b": b"4"}


@pytest.mark.parametrize(
    ("priorities", "renamed", "expected"),
    [
        (None, (), "payload"),
        ((4, 4, 4, 0), (), "payload/a"),
        ((4, 4, 0, 0), (), "payload/a/x"),
        ((0, 4, 0, 0), (), "payload/a/x/2"),
        ((0, 0, 0, 0), (), ""),
        (None, ((3, "other/b"),), ""),
        ((0, 0, 1, 1), ((3, "payload/a/z"),), "payload/a"),
        ((1, 0, 0, 1), ((3, "payload/a"),), "payload/a"),
    ],
)
def test_the_common_path_is_that_of_the_wanted_files(
    tmp_path: Path, priorities: Any, renamed: Any, expected: str
) -> None:
    metainfo, _ = make_torrent(FILES)
    config = SessionConfig(file_priorities=priorities, renamed_files=renamed)
    assert common_path(tmp_path, metainfo, config) == tmp_path / expected


def test_the_one_file_of_a_torrent_is_its_path(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(b"x", name="alone")
    assert common_path(tmp_path, metainfo, SessionConfig()) == tmp_path / "alone"


def test_names_that_a_session_uses_come_before_those_of_the_configuration(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(FILES)
    config = SessionConfig(file_priorities=(0, 0, 0, 1), renamed_files=((3, "payload/c"),))
    used = {3: ("payload", "c.1")}
    assert common_path(tmp_path, metainfo, config) == tmp_path / "payload/c"
    assert common_path(tmp_path, metainfo, config, used) == tmp_path / "payload/c.1"


@pytest.mark.parametrize("name", [r"\\evil.example\share\run.bat", r"C:\Windows\calc.exe", "nul"])
def test_a9_what_is_saved_is_below_the_save_path_on_windows(tmp_path: Path, name: str) -> None:
    metainfo, _ = make_torrent(b"x", name=name)
    stored = tmp_path / windows_path((name,))[0]
    config = SessionConfig()
    assert common_path(tmp_path, metainfo, config, windows=True) == stored
    assert first_missing(tmp_path, metainfo, config, windows=True) == stored
    stored.touch()
    assert first_missing(tmp_path, metainfo, config, windows=True) is None
    chosen = SessionConfig(renamed_files=((0, "D:/film: 1.mkv"),))
    assert common_path(tmp_path, metainfo, chosen, windows=True) == tmp_path / "D_" / "film_ 1.mkv"


def test_only_a_wanted_file_is_missing(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(FILES)
    write_files(metainfo, payload, tmp_path)
    assert first_missing(tmp_path, metainfo, SessionConfig()) is None
    gone = tmp_path / "payload/a/y"
    gone.unlink()
    assert first_missing(tmp_path, metainfo, SessionConfig()) == gone
    skips = SessionConfig(file_priorities=(1, 1, 0, 1))
    assert first_missing(tmp_path, metainfo, skips) is None


@pytest.mark.anyio
async def test_a_job_looks_through_its_files_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def note(folder: Path, *_: object) -> Path:
        threads.append(threading.get_ident())
        return folder

    monkeypatch.setattr(job_module, "common_path", note)
    monkeypatch.setattr(job_module, "first_missing", note)
    monkeypatch.setattr(job_module, "MANY_FILES", len(FILES))
    metainfo, _ = make_torrent(FILES)
    job = TorrentTask("x", TaskOptions(tmp_path, lambda _: SessionConfig()), cast("Any", None))
    admin = SimpleNamespace(file_names=SimpleNamespace(in_use=dict))
    session = SimpleNamespace(metainfo=metainfo, config=SessionConfig(), admin=admin)
    job.session = cast("Any", session)
    assert await job._saved_as() == tmp_path
    with pytest.raises(FileNotFoundError):
        await job._check_files(metainfo, SessionConfig())
    assert len(threads) == 2
    assert threading.get_ident() not in threads
