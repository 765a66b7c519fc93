"""Copies of files of the user that are killed in the middle (row F4)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.reflink_disks import KINDS, reflink_disk, shared_bytes
from tests.support.swarm import reach, resources
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
    pytest.mark.anyio,
]

PIECE = 64 * 1024
PAYLOAD = payload_of(24 * 1024 * 1024 + 5)
PATIENCE_S = 120.0
SCRIPT = """
import sys, anyio
from torrent_engine.config import DiskConfig, SharedConfig
from torrent_engine import Metainfo, Session, SharedResources
torrent, local, out, state = sys.argv[1:]
async def main():
    disk = DiskConfig(state_reserve_bytes=0, local_data=(local,), sync_bytes=1 << 20)
    async with SharedResources(SharedConfig.local(state_dir=state, disk=disk)) as shared:
        session = await Session.create(Metainfo.read(torrent), shared, save_path=out)
        async with session:
            await anyio.sleep_forever()
anyio.run(main)
"""


@pytest.mark.parametrize("share", [0.05, 0.5])
async def test_f4_a_copy_that_is_killed_is_continued_and_nothing_wrong_is_believed(
    share: float, tmp_path: Path
) -> None:
    written = await kill_and_continue(share, tmp_path, tmp_path)
    assert written == PAYLOAD


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("share", [0.05, 0.9])
async def test_f4_blocks_that_were_being_shared_are_continued_and_nothing_wrong_is_believed(
    share: float, kind: str, tmp_path: Path
) -> None:
    with reflink_disk(tmp_path, kind) as disk:
        assert await kill_and_continue(share, disk, tmp_path) == PAYLOAD
        assert shared_bytes(disk / "out" / "one") == len(PAYLOAD)


async def kill_and_continue(share: float, folder: Path, tmp_path: Path) -> bytes:
    """Kill a copy once a share of it is there, see what is believed, and return all at the end."""
    metainfo, _ = make_torrent(PAYLOAD, name="one", piece_bytes=PIECE)
    torrent, local, out = tmp_path / "x.torrent", folder / "local", folder / "out"
    torrent.write_bytes(metainfo.source)
    local.mkdir()
    source = local / "named otherwise"
    source.write_bytes(PAYLOAD)
    os.utime(source, (1_600_000_000, 1_600_000_000))
    paths = [str(each) for each in (torrent, local, out, tmp_path / "state")]
    copy_and_kill(paths, out / "one", int(len(PAYLOAD) * share))
    disk = DiskConfig(state_reserve_bytes=0)
    async with resources(tmp_path, state_dir=str(tmp_path / "state"), disk=disk) as shared:
        session = await Session.create(metainfo, shared, save_path=out)
        async with session:
            await reach(session, State.DOWNLOADING, State.SEEDING)
            have = session.stats().have
        written = (out / "one").read_bytes()
    for piece in range(metainfo.piece_count):
        if have[piece // 8] >> 7 - piece % 8 & 1:
            start = piece * PIECE
            assert written[start : start + PIECE] == PAYLOAD[start : start + PIECE]
    disk = DiskConfig(state_reserve_bytes=0, local_data=(str(local),))
    async with resources(tmp_path, state_dir=str(tmp_path / "state"), disk=disk) as shared:
        session = await Session.create(metainfo, shared, save_path=out)
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes == 0
    assert source.read_bytes() == PAYLOAD
    return (out / "one").read_bytes()


def copy_and_kill(arguments: list[str], target: Path, count: int) -> None:
    """Begin to copy in a process, and kill it once so much is there."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments])
    try:
        wait_for_bytes(target, count, process)
    finally:
        process.kill()
        process.wait()


def wait_for_bytes(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Return once so much is allocated for a file, or it is complete."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists() or path.stat().st_blocks * 512 < count:
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.002)
