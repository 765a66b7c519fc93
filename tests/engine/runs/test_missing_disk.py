"""Row F3: a torrent whose disk is not mounted, whatever it is told to do."""

# ruff: noqa: ASYNC221, ASYNC240 - a test may block
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.helpers import mounted_tmpfs
from tests.support.swarm import content, reach, resources
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.errors import StorageError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio
METAINFO, PAYLOAD = make_torrent({"a": payload_of(40_000), "b": payload_of(50_000)})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "disk", "4m")


@pytest.mark.parametrize("what", ["start", "recheck", "remove"])
async def test_f3_nothing_is_created_where_a_disk_is_not_mounted(
    tmp_path: Path, disk: Path, what: str
) -> None:
    folder = disk / "downloads"
    folder.mkdir()
    write_files(METAINFO, PAYLOAD, folder)
    async with resources(tmp_path / "me") as shared:
        session = await Session.create(METAINFO, shared, save_path=folder)
        async with session:
            await reach(session, State.SEEDING)
            await session.stop()
            subprocess.run(["umount", disk], check=True)
            try:
                if what == "remove":
                    with pytest.raises(StorageError, match="mounted"):
                        await session.cancel(delete_files=True)
                else:
                    await (session.start() if what == "start" else session.recheck())
                    await reach(session, State.ERROR)
                    assert "mounted" in str(session.error)
                assert not list(disk.iterdir())
            finally:
                mount = ["mount", "-t", "tmpfs", "none", str(disk)]
                subprocess.run(mount, check=True)
            folder.mkdir()  # a new disk, with the files from a backup
            write_files(METAINFO, PAYLOAD, folder)
            await session.recheck()
            await reach(session, State.SEEDING)
        assert content(METAINFO, folder) == PAYLOAD
