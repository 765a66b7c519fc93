"""What is here already does not come from libtorrent once more, by the bytes that it has sent."""

import hashlib
import os
from pathlib import Path

import bencodepy
import pytest
from anyio import to_thread

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.processes import free_port
from tests.support.swarm import reach, resources
from tests.support.torrents import payload_of
from tests.support.v2_payload import V2Payload
from torrent_engine.base.config import DiskConfig, SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, create_torrent
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

PATIENCE_S = 180.0
PIECE = 65_536
TWICE, LOCAL, REST = payload_of(300_000, 1), payload_of(400_000, 2), payload_of(100_000, 3)
FILES = {"again/same": TWICE, "film": LOCAL, "one": TWICE, "rest": REST}


def make_payload(folder: Path, kind: TorrentFormat) -> V2Payload:
    """Write the files and a torrent of them."""
    source = folder / "source"
    for name, data in FILES.items():
        path = source / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    options = CreateOptions(format=kind, piece_bytes=PIECE, threads=1)
    made = create_torrent([source / "album"], options)
    torrent = folder / "album.torrent"
    torrent.write_bytes(made)
    digests = {f"album/{name}": hashlib.sha256(data).digest() for name, data in FILES.items()}
    total, info = sum(map(len, FILES.values())), bencodepy.decode(made)[b"info"]
    return V2Payload("album", torrent, source, digests, info, PIECE, total)


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
async def test_bep38_bep52_equal_files_and_local_ones_are_not_fetched_from_libtorrent(
    kind: TorrentFormat, tmp_path: Path
) -> None:
    payload, local = make_payload(tmp_path, kind), tmp_path / "local"
    local.mkdir()
    found = local / "under another name"
    found.write_bytes(LOCAL)
    os.utime(found, (1_600_000_000, 1_600_000_000))
    disk = DiskConfig(state_reserve_bytes=0, local_data=(str(local),))
    with LibtorrentClient(
        LOOPBACK, tmp_path / "lt", port=free_port(), address="127.0.0.1"
    ) as theirs:
        await to_thread.run_sync(theirs.add, payload, payload.source_dir)
        await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
        async with resources(tmp_path, listen_hosts=("127.0.0.1",), disk=disk) as shared:
            session = await Session.create(
                Metainfo.read(payload.torrent),
                shared,
                save_path=tmp_path / "saved",
                config=SessionConfig(peers=(theirs.address,)),
            )
            async with session:
                await reach(session, State.SEEDING)
                got = session.stats().downloaded_bytes
        sent = await to_thread.run_sync(theirs.uploaded_bytes, payload)
    assert payload.is_complete_in(tmp_path / "saved")
    fetched = len(TWICE) + len(REST)
    assert fetched <= sent <= fetched + 2 * 16_384  # blocks that touch a pad come whole
    assert fetched <= got <= fetched + 2 * 16_384
    assert found.read_bytes() == LOCAL
