"""A hybrid with a program that knows v1 alone and one that knows v2, as peers at the same time.

rtorrent is the one of v1: what Debian has of Transmission and aria2 meets nobody with a hybrid. It
refuses two pads of one length, so no two files here have pads alike.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.payload import Payload
from tests.support.processes import free_port, wait_until
from tests.support.rtorrent_client import RTorrentClient
from tests.support.swarm import resources
from tests.support.v2_payload import V2Payload, make_v2_payload
from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.protocol.wire.connection_state import ConnectionState

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

PATIENCE_S = 180.0
FILES = {"a": 300_000, "d/b": 5, "d/e": 65_536, "f": 16_384, "g": 1_500_001, "h": 70_000}
SILENT_TRACKER = "http://127.0.0.1:9/announce"  # rtorrent takes no torrent without one


@pytest.fixture
def libtorrent(tmp_path: Path) -> Iterator[LibtorrentClient]:
    folder = tmp_path / "libtorrent"
    with LibtorrentClient(LOOPBACK, folder, port=free_port(), address="127.0.0.1") as client:
        yield client


@pytest.fixture
def rtorrent(tmp_path: Path) -> Iterator[RTorrentClient]:
    with RTorrentClient(LOOPBACK, tmp_path / "rtorrent", port=free_port()) as client:
        yield client


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionState]:
    """The links of ours that are in the v2 swarm."""
    joined: list[ConnectionState] = []
    join = ConnectionState.join_v2

    def join_v2(state: ConnectionState) -> None:
        join(state)
        joined.append(state)

    monkeypatch.setattr(ConnectionState, "join_v2", join_v2)
    return joined


def known_by_sha1(payload: V2Payload) -> Payload:
    """Return the torrent as a program of v1 knows it."""
    plain = Payload(**{name: getattr(payload, name) for name in Payload.__dataclass_fields__})
    return plain.announced_to(SILENT_TRACKER)


def with_pads(payload: V2Payload, folder: Path) -> Path:
    """Return a copy of the files with the pads, which rtorrent takes for files."""
    shutil.copytree(payload.source_dir, folder)
    for entry in Metainfo.read(payload.torrent).files:
        if entry.is_pad:
            pad = folder.joinpath(*entry.path)
            pad.parent.mkdir(exist_ok=True)
            pad.write_bytes(bytes(entry.length_bytes))
    return folder


def wait_saved(payload: Payload, folder: Path) -> None:
    wait_until(
        lambda: payload.is_complete_in(folder), timeout_s=PATIENCE_S, what="all files are right"
    )


@pytest.mark.parametrize("seed", ["rtorrent", "libtorrent"])
async def test_bep52_a_hybrid_goes_from_one_of_its_swarms_to_the_other(
    seed: str,
    libtorrent: LibtorrentClient,
    rtorrent: RTorrentClient,
    links: list[ConnectionState],
    tmp_path: Path,
) -> None:
    payload = make_v2_payload(tmp_path, "album", FILES, kind="hybrid")
    old, source, saved = known_by_sha1(payload), payload.source_dir, tmp_path / "their-saved"
    await to_thread.run_sync(libtorrent.add, payload, saved if seed == "rtorrent" else source)
    where = with_pads(payload, tmp_path / "padded") if seed == "rtorrent" else saved
    await to_thread.run_sync(rtorrent.add, old, where)
    if seed == "rtorrent":
        await to_thread.run_sync(rtorrent.wait_complete, old, PATIENCE_S)
    else:
        await to_thread.run_sync(libtorrent.wait_complete, payload, PATIENCE_S)
    config = SessionConfig(peers=(libtorrent.address, rtorrent.address))
    async with (
        resources(tmp_path / "us", listen_hosts=("127.0.0.1",)) as shared,
        await Session.create(
            Metainfo.read(payload.torrent), shared, save_path=tmp_path / "saved", config=config
        ) as session,
    ):
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await to_thread.run_sync(wait_saved, payload, saved)
    assert payload.is_complete_in(tmp_path / "saved")
    assert {state.info_hash for state in links} == {payload.info_hash}  # with libtorrent
    assert not (tmp_path / "saved" / "album" / ".pad").exists()
