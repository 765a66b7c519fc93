"""What a daemon says it added while the disk of its state was full is there after a kill (F1)."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.disk.helpers import fill_disk, mounted_tmpfs
from tests.support.managers import manager_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import DiskFullError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "mount", "4m")


async def test_f1_torrents_are_refused_when_they_cannot_be_saved_and_are_there_else(
    tmp_path: Path, disk: Path
) -> None:
    config = manager_config(tmp_path)
    ports = ManagerPort()
    state = DaemonState(ports.port, DaemonStore())
    told, refused = set[InfoHash](), set[InfoHash]()
    at = replace(config, shared=replace(config.shared, state_dir=str(disk / "state")))
    async with ports.open(at):
        for number in range(100):  # the first ones have the room of the reserve
            fill_disk(disk / "filler")
            one, _ = make_torrent(payload_of(600_000, number), piece_bytes=16_384)
            try:
                told.add((await state.add(one, AddOptions(paused=True))).info_hash)
            except DiskFullError:
                refused.add(one.info_hash)
            if len(refused) == 3:
                break
        assert len(refused) == 3
        assert set(ports.port.torrents.hashes()) == told
        assert {row.info_hash for row in state.torrents} == told
        shutil.copytree(disk / "state", tmp_path / "killed")
        (disk / "filler").unlink()
        last = (await state.add(one, AddOptions(paused=True))).info_hash
        assert last in refused
    after = replace(config, shared=replace(config.shared, state_dir=str(tmp_path / "killed")))
    async with ManagerPort().open(after) as port:
        assert set(port.torrents.hashes()) == told
