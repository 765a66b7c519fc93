"""Where the files of another torrent are, that may be those of one."""

from functools import partial
from pathlib import Path

import pytest

from tests.support.torrents import make_torrent
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.resume import shared_files
from torrent_engine.disk.state.records import TorrentRecord


@pytest.mark.parametrize("windows", [True, False])
def test_a9_files_of_another_torrent_have_the_names_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool
) -> None:
    monkeypatch.setattr(shared_files, "path_in_use", partial(path_in_use, windows=windows))
    metainfo, _ = make_torrent(b"x", name=r"\\evil\share")
    path = tmp_path / ("__evil_share" if windows else r"\\evil\share")
    path.touch()
    seen = path.stat()
    stamp = FileStamp(0, 0, seen.st_mtime_ns, seen.st_ino, seen.st_dev)
    record = TorrentRecord(metainfo.info_hash, "", str(tmp_path), metainfo_bytes=metainfo.source)
    assert shared_files._Names(record).has(0, stamp)
    other = TorrentRecord(metainfo.info_hash, "", str(tmp_path), renames={0: ("other",)})
    assert not shared_files._Names(other).has(0, stamp)
