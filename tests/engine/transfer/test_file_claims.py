"""What a run may write to, and when."""

from pathlib import Path

import pytest

from tests.disk.helpers import CONFIG, kept
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.disk.files.file_registry import FileRegistry
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.transfer.file_claims import FileClaims
from torrent_engine.engine.transfer.progress import DownloadProgress

pytestmark = pytest.mark.anyio


async def test_f4_empty_files_are_the_torrents_own_after_a_kill_right_behind_them(
    tmp_path: Path,
) -> None:
    metainfo, _ = make_torrent({"a": payload_of(20_000), "empty": b""})
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        async with kept(metainfo, tmp_path / "out", store, makes_empty=False) as (storage, keeper):
            await keeper.plan()
            registry, progress = FileRegistry(NameFoldings()), DownloadProgress(metainfo)
            claims = FileClaims(registry, store, storage, progress, keeper, overwrite=False)
            await claims.claim()
            assert storage.path_of(1).exists()
        async with kept(metainfo, tmp_path / "out", store, makes_empty=False) as (storage, keeper):
            await keeper.plan()
            assert storage.owned.is_own(1)
            await storage.delete_files()
    assert not any((tmp_path / "out").iterdir())
