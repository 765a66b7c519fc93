"""v2 torrents from libtorrent and to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.processes import free_port, wait_until
from tests.support.swarm import resources, until
from tests.support.v2_payload import V2Payload, make_v2_payload
from tests.support.v2_torrents import ask_for_layers_first, layers_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import TorrentFormat
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer_pool import PeerPool
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection_state import ConnectionState

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

PATIENCE_S = 180.0
FILES = {
    "a": 300_000,
    "d/b": 5,
    "d/c": 0,
    "d/e": 65_536,
    "f": 16_384,
    "g": 1_500_001,
    "h": 70_000,
}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[LibtorrentClient]:
    with LibtorrentClient(
        LOOPBACK, tmp_path / "lt", port=free_port(), address="127.0.0.1"
    ) as client:
        yield client


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[SharedResources]:
    async with resources(tmp_path, listen_hosts=("127.0.0.1",)) as made:
        yield made


def is_complete(payload: V2Payload, folder: Path) -> bool:
    wait_until(
        lambda: payload.is_complete_in(folder), timeout_s=PATIENCE_S, what="all files are right"
    )
    return True


@pytest.mark.parametrize("piece_bytes", [16_384, 65_536, 1_048_576])
@pytest.mark.parametrize("kind", ["v2", "hybrid"])
async def test_bep52_a_torrent_comes_from_libtorrent(
    kind: TorrentFormat,
    piece_bytes: int,
    theirs: LibtorrentClient,
    shared: SharedResources,
    tmp_path: Path,
) -> None:
    payload = make_v2_payload(tmp_path, "album", FILES, kind=kind, piece_bytes=piece_bytes)
    await to_thread.run_sync(theirs.add, payload, payload.source_dir)
    await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    session = await Session.create(
        Metainfo.read(payload.torrent),
        shared,
        save_path=tmp_path / "saved",
        config=SessionConfig(peers=(theirs.address,)),
    )
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        stats = session.stats()
    assert stats.completed_bytes == stats.wanted_bytes == stats.total_bytes
    assert kind == "hybrid" or stats.total_bytes == sum(FILES.values())
    assert payload.is_complete_in(tmp_path / "saved")


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionState]:
    """The links of hybrids that are of the v2 swarm."""
    joined: list[ConnectionState] = []
    join = ConnectionState.join_v2

    def join_v2(state: ConnectionState) -> None:
        join(state)
        joined.append(state)

    monkeypatch.setattr(ConnectionState, "join_v2", join_v2)
    return joined


@pytest.mark.parametrize("dials", ["we", "libtorrent"])
async def test_bep52_a_hybrid_is_in_the_v2_swarm_with_libtorrent(
    dials: str,
    theirs: LibtorrentClient,
    shared: SharedResources,
    upgraded: list[ConnectionState],
    tmp_path: Path,
) -> None:
    payload = make_v2_payload(tmp_path, "album", FILES, kind="hybrid")
    await to_thread.run_sync(theirs.add, payload, payload.source_dir)
    await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    session = await Session.create(
        Metainfo.read(payload.torrent), shared, save_path=tmp_path / "saved"
    )
    async with session:
        if dials == "we":
            await session.add_peer(*theirs.address)
        else:
            with anyio.fail_after(PATIENCE_S):
                await session.wait(State.DOWNLOADING)
            ours = "127.0.0.1", shared.listen_port
            await to_thread.run_sync(theirs.connect, payload, ours)
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
    assert {state.info_hash for state in upgraded} == {payload.info_hash[:20]}
    assert payload.is_complete_in(tmp_path / "saved")


async def test_bep52_who_knows_the_v2_hash_of_a_hybrid_alone_is_dialled_with_it(
    theirs: LibtorrentClient,
    shared: SharedResources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add = PeerPool.add

    def found_in_v2(pool: PeerPool, addresses: list[PeerAddress], source: Source) -> int:
        return add(pool, addresses, source, is_other=True)

    monkeypatch.setattr(PeerPool, "add", found_in_v2)
    payload = make_v2_payload(tmp_path, "album", FILES, kind="hybrid")
    metainfo = Metainfo.read(payload.torrent)
    link = f"magnet:?xt=urn:btmh:1220{metainfo.info_hash_v2}"
    await to_thread.run_sync(theirs.add_link, link, tmp_path / "they")
    session = await Session.create(metainfo, shared, save_path=payload.source_dir)
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await session.add_peer(*theirs.address)
        await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    assert await to_thread.run_sync(is_complete, payload, tmp_path / "they")


async def test_bep52_who_knows_the_v1_hash_of_a_hybrid_alone_takes_our_handshake(
    theirs: LibtorrentClient, shared: SharedResources, tmp_path: Path
) -> None:
    payload = make_v2_payload(tmp_path, "album", FILES, kind="hybrid")
    metainfo = Metainfo.read(payload.torrent)
    link = f"magnet:?xt=urn:btih:{metainfo.info_hash}"
    await to_thread.run_sync(theirs.add_link, link, tmp_path / "they")
    session = await Session.create(metainfo, shared, save_path=payload.source_dir)
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await session.add_peer(*theirs.address)
        assert await to_thread.run_sync(is_complete, payload, tmp_path / "they")


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
async def test_bep52_a_torrent_goes_to_libtorrent(
    kind: TorrentFormat, theirs: LibtorrentClient, shared: SharedResources, tmp_path: Path
) -> None:
    payload = make_v2_payload(tmp_path, "album", FILES, kind=kind)
    session = await Session.create(
        Metainfo.read(payload.torrent), shared, save_path=payload.source_dir
    )
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        ours = "127.0.0.1", shared.listen_port
        await to_thread.run_sync(lambda: theirs.add(payload, tmp_path / "they", peers=[ours]))
        await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    assert await to_thread.run_sync(is_complete, payload, tmp_path / "they")


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
@pytest.mark.parametrize("piece_bytes", [16_384, 65_536])
async def test_bep52_libtorrent_gets_metadata_and_layers_from_us(
    piece_bytes: int,
    kind: TorrentFormat,
    theirs: LibtorrentClient,
    shared: SharedResources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[bytes, bytes | None] = {}
    answer = HashTrees.hashes

    def noted(trees: HashTrees, wanted: HashRange) -> bytes | None:
        asked[wanted.root] = answer(trees, wanted)
        return asked[wanted.root]

    monkeypatch.setattr(HashTrees, "hashes", noted)
    files = {**FILES, "long": 9_000_000}
    payload = make_v2_payload(tmp_path, "album", files, kind=kind, piece_bytes=piece_bytes)
    metainfo = Metainfo.read(payload.torrent)
    session = await Session.create(metainfo, shared, save_path=payload.source_dir)
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        ours = "127.0.0.1", shared.listen_port
        link = f"magnet:?xt=urn:btmh:1220{metainfo.info_hash_v2}"
        await to_thread.run_sync(lambda: theirs.add_link(link, tmp_path / "they", peers=[ours]))
        await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    assert metainfo.v2 is not None
    assert set(asked) == set(metainfo.v2.layers)
    assert None not in asked.values()
    assert await to_thread.run_sync(is_complete, payload, tmp_path / "they")


@pytest.mark.parametrize("source", ["link", "torrent"])
@pytest.mark.parametrize("piece_bytes", [16_384, 65_536])
async def test_bep52_metadata_and_layers_come_from_libtorrent(
    piece_bytes: int,
    source: str,
    theirs: LibtorrentClient,
    shared: SharedResources,
    tmp_path: Path,
) -> None:
    files = {**FILES, "long": 17_000_000}
    payload = make_v2_payload(tmp_path, "album", files, piece_bytes=piece_bytes)
    metainfo = Metainfo.read(payload.torrent)
    await to_thread.run_sync(theirs.add, payload, payload.source_dir)
    await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    without_layers = Metainfo.from_info_bytes(metainfo.info_bytes)
    session = await Session.create(
        Magnet.of(metainfo) if source == "link" else without_layers.source,
        shared,
        save_path=tmp_path / "saved",
        config=SessionConfig(peers=(theirs.address,)),
    )
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        got = session.metainfo
    assert metainfo.v2 is not None
    assert got is not None
    assert got.v2 is not None
    assert got.v2.layers == metainfo.v2.layers
    assert payload.is_complete_in(tmp_path / "saved")


@pytest.mark.parametrize("source", ["link_of_v1", "torrent"])
async def test_bep52_layers_of_a_hybrid_come_from_libtorrent_while_it_is_downloaded(
    source: str,
    theirs: LibtorrentClient,
    shared: SharedResources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask_for_layers_first(monkeypatch)
    payload = make_v2_payload(tmp_path, "album", FILES, kind="hybrid")
    metainfo = Metainfo.read(payload.torrent)
    assert metainfo.v2 is not None
    layers = metainfo.v2.layers
    await to_thread.run_sync(theirs.add, payload, payload.source_dir)
    await to_thread.run_sync(theirs.wait_complete, payload, PATIENCE_S)
    without_layers = Metainfo.from_info_bytes(metainfo.info_bytes)
    session = await Session.create(
        Magnet(metainfo.info_hash) if source == "link_of_v1" else without_layers.source,
        shared,
        save_path=tmp_path / "saved",
        config=SessionConfig(peers=(theirs.address,)),
    )
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await until(lambda: layers_of(session) == layers, timeout_s=PATIENCE_S)
            await session.wait(State.SEEDING)
    assert payload.is_complete_in(tmp_path / "saved")
