"""Torrents of v2 alone: from one of us to another, and what cannot be verified."""

import random
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import (
    PATIENCE_S,
    address_of,
    files_below,
    reach,
    record,
    resources,
    seed,
    until,
)
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, layers_of, torrent_around, v2_info
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import MetainfoError
from torrent_engine.base.ids import InfoHashV2
from torrent_engine.base.storage import StorageFiles
from torrent_engine.codec.hash_trees import HashTrees
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.memory_storage import MemoryStorage
from torrent_engine.engine.events import PeerBanned, PieceHashFailed
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import load_torrent
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.hash_upload import HashUpload
from torrent_engine.net.http.client import HttpClient
from torrent_engine.policy.peers.smart_ban import SmartBan

pytestmark = pytest.mark.anyio

RANDOM = random.Random(52)
FILES = {
    "a": RANDOM.randbytes(70_000),
    "d/b": b"",
    "d/c": RANDOM.randbytes(5),
    "e": RANDOM.randbytes(65_536),
    "f": RANDOM.randbytes(300_001),
}
INFO, LAYERS = v2_info(FILES, piece_bytes=65_536)
METAINFO = Metainfo.from_bytes(torrent_around(INFO, LAYERS))


def no_http() -> HttpClient:
    raise AssertionError("nothing is fetched")


def write(folder: Path) -> Path:
    for name, data in FILES.items():
        path = folder / "payload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


async def test_bep52_a_torrent_goes_from_one_of_us_to_another_and_is_known_again(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        ours = await Session.create(METAINFO, first, save_path=write(tmp_path / "files"))
        async with ours:
            await reach(ours, State.SEEDING)
            config = SessionConfig(peers=(address_of(first),))
            theirs = await Session.create(
                METAINFO, second, save_path=tmp_path / "saved", config=config
            )
            async with theirs:
                await reach(theirs, State.SEEDING)
                stats = theirs.stats()
    assert stats.total_bytes == stats.completed_bytes == sum(map(len, FILES.values()))
    for name, data in FILES.items():
        assert (tmp_path / "saved/payload" / name).read_bytes() == data
    async with resources(tmp_path / "b") as again:
        session = await Session.create(METAINFO, again, save_path=tmp_path / "saved")
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().completed_bytes == stats.total_bytes


async def test_bep52_a_file_that_is_left_out_leaves_no_trace(tmp_path: Path) -> None:
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        ours = await Session.create(METAINFO, first, save_path=write(tmp_path / "files"))
        async with ours:
            await reach(ours, State.SEEDING)
            config = SessionConfig(peers=(address_of(first),), file_priorities=(0, 4, 4, 0, 4))
            theirs = await Session.create(
                METAINFO, second, save_path=tmp_path / "saved", config=config
            )
            async with theirs:
                with anyio.fail_after(PATIENCE_S):
                    await reach(theirs, State.SEEDING)
                stats = theirs.stats()
    assert stats.wanted_bytes == stats.completed_bytes == 5 + 300_001
    assert files_below(tmp_path / "saved") == {"payload/d/b", "payload/d/c", "payload/f"}


BARE = Metainfo.from_bytes(torrent_around(INFO))
"""Without the hashes of pieces."""


async def test_a12_what_cannot_be_verified_and_not_asked_for_is_refused() -> None:
    bare = Metainfo.from_bytes(torrent_around({**INFO, "private": 1}))
    for source in (bare.source, bare):
        with pytest.raises(MetainfoError, match=r'private.* "piece layers" \(BEP 52\) of 2 files'):
            await load_torrent(source, no_http)
    assert await load_torrent(METAINFO.source, no_http) == METAINFO


@pytest.mark.parametrize("source", [Magnet.of(METAINFO), BARE], ids=["link", "torrent"])
async def test_bep52_hashes_of_pieces_come_from_peers_and_are_kept(
    source: Magnet | Metainfo, tmp_path: Path
) -> None:
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        ours = await Session.create(METAINFO, first, save_path=write(tmp_path / "files"))
        async with ours:
            await reach(ours, State.SEEDING)
            config = SessionConfig(peers=(address_of(first),))
            theirs = await Session.create(
                source, second, save_path=tmp_path / "saved", config=config
            )
            async with theirs:
                await reach(theirs, State.SEEDING)
                metainfo = theirs.metainfo
        assert metainfo is not None
        assert metainfo.v2 is not None
        assert metainfo.v2.layers == LAYERS
    for name, data in FILES.items():
        assert (tmp_path / "saved/payload" / name).read_bytes() == data
    async with resources(tmp_path / "b") as again:  # where nobody has the hashes
        session = await Session.create(source, again, save_path=tmp_path / "saved")
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().completed_bytes == METAINFO.total_bytes


async def test_bep52_hashes_of_pieces_wait_for_a_limit_of_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = RANDOM.randbytes(64 * 16_384)
    info, layers = v2_info({"long": data})
    metainfo, paid = Metainfo.from_bytes(torrent_around(info, layers)), list[int]()
    charge = HashUpload._charge

    def noted(uploads: HashUpload, peer: Peer, count_bytes: int) -> None:
        assert uploads.upload_throttle is not None
        paid.append(count_bytes)
        charge(uploads, peer, count_bytes)

    monkeypatch.setattr(HashUpload, "_charge", noted)
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "long").write_bytes(data)
        config = SessionConfig(max_upload_bytes_per_s=64 * 2**20)
        ours = await Session.create(metainfo, first, save_path=tmp_path / "files", config=config)
        async with ours:
            await reach(ours, State.SEEDING)
            config = SessionConfig(peers=(address_of(first),))
            link = Magnet.of(metainfo)
            async with await Session.create(
                link, second, save_path=tmp_path / "saved", config=config
            ) as theirs:
                await reach(theirs, State.SEEDING)
    assert sum(paid) == 64 * 32


async def test_bep52_a_link_of_v2_alone_is_not_that_of_a_hybrid(tmp_path: Path) -> None:
    hybrid = Metainfo.from_bytes(torrent_around(*hybrid_info({"a": FILES["f"]})))
    assert hybrid.info_hash_v2 is not None
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        files = {"payload/a": FILES["f"]}
        (tmp_path / "files/payload").mkdir(parents=True)
        (tmp_path / "files/payload/a").write_bytes(files["payload/a"])
        ours = await Session.create(hybrid, first, save_path=tmp_path / "files")
        async with ours:
            await reach(ours, State.SEEDING)
            wrong = Magnet(hybrid.info_hash, info_hash_v2=InfoHashV2(bytes(32)))
            config = SessionConfig(peers=(address_of(first),))
            theirs = await Session.create(
                wrong, second, save_path=tmp_path / "saved", config=config
            )
            with pytest.raises(MetainfoError, match="not the v2 info-hash of the link"):
                async with theirs:
                    await reach(theirs, State.SEEDING)


LONG_S = 50.0
SHARED = payload_of(5 * 524_288 - 3)
LONG_INFO, LONG_LAYERS = v2_info({"a": SHARED}, piece_bytes=524_288)
LONG = Metainfo.from_bytes(torrent_around(LONG_INFO, LONG_LAYERS))
LONG_BARE = Metainfo.from_bytes(torrent_around(LONG_INFO))


@pytest.fixture
def gives_no_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all peers reject requests for hashes, and nobody wait for them."""
    monkeypatch.setattr(HashTrees, "hashes", lambda *_: None)
    monkeypatch.setattr("torrent_engine.engine.extensions.layer_download.PATIENCE_S", 0.1)


@pytest.mark.usefixtures("gives_no_hashes")
@pytest.mark.parametrize("source", [Magnet.of(METAINFO), BARE], ids=["link", "torrent"])
async def test_bep52_files_without_hashes_are_fetched_whole_and_proved_by_their_roots(
    source: Magnet | Metainfo, tmp_path: Path
) -> None:
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        ours = await Session.create(METAINFO, first, save_path=write(tmp_path / "files"))
        async with ours:
            await until(lambda: ours.state is State.SEEDING, timeout_s=LONG_S)
            config = SessionConfig(peers=(address_of(first),))
            saved = tmp_path / "saved"
            theirs = await Session.create(source, second, save_path=saved, config=config)
            async with theirs:
                await until(lambda: theirs.state is State.SEEDING, timeout_s=LONG_S)
                assert layers_of(theirs) == LAYERS
                assert not theirs.stats().failed_bytes
    for name, data in FILES.items():
        assert (saved / "payload" / name).read_bytes() == data
    async with resources(tmp_path / "b") as again:
        session = await Session.create(source, again, save_path=saved)
        async with session:
            await until(lambda: session.state is State.SEEDING, timeout_s=LONG_S)
            await until(lambda: layers_of(session) == LAYERS, timeout_s=LONG_S)  # in a thread


@pytest.mark.usefixtures("gives_no_hashes")
async def test_bep52_what_came_of_a_file_without_hashes_is_kept_over_a_restart(
    tmp_path: Path,
) -> None:
    saved = tmp_path / "saved"
    async with seed(tmp_path / "a", LONG, SHARED) as (_, address):
        async with resources(tmp_path / "b") as shared:
            config = SessionConfig(peers=(address,), max_download_bytes_per_s=800_000)
            session = await Session.create(LONG_BARE, shared, save_path=saved, config=config)
            async with session:
                await until(
                    lambda: session.stats().downloaded_bytes > len(SHARED) // 2, timeout_s=LONG_S
                )
        async with resources(tmp_path / "b") as shared:
            config = SessionConfig(peers=(address,))
            session = await Session.create(LONG_BARE, shared, save_path=saved, config=config)
            async with session:
                await until(lambda: session.state is State.SEEDING, timeout_s=LONG_S)
                came_bytes = session.stats().downloaded_bytes
    assert (saved / "a").read_bytes() == SHARED
    assert came_bytes < len(SHARED)


@pytest.mark.usefixtures("gives_no_hashes")
async def test_b6_who_sent_all_of_a_file_that_is_wrong_is_banned(tmp_path: Path) -> None:
    liars: list[Lying] = []

    def make(files: StorageFiles) -> MemoryStorage:
        liars.append(Lying(files, SHARED))
        return liars[-1]

    lying, elsewhere = SessionConfig(storage=make), ("127.0.0.3",)
    async with (
        seed(tmp_path / "a", LONG, SHARED, config=lying, listen_hosts=elsewhere) as (_, first),
        seed(tmp_path / "b", LONG, SHARED) as (_, second),
        resources(tmp_path / "c") as shared,
    ):
        liars[0].lies = True
        config, saved = SessionConfig(peers=(first,)), tmp_path / "saved"
        session = await Session.create(LONG_BARE, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await until(
                lambda: any(isinstance(event, PeerBanned) for event in events), timeout_s=LONG_S
            )
            assert not session.stats().completed_bytes
            await session.add_peer(*second)
            await until(lambda: session.state is State.SEEDING, timeout_s=LONG_S)
    assert (saved / "a").read_bytes() == SHARED
    assert {event.address for event in events if isinstance(event, PeerBanned)} == {first}


class Lying(MemoryStorage):
    """Has the payload, and gives every block with a wrong byte once it was checked."""

    def __init__(self, files: StorageFiles, data: bytes) -> None:
        super().__init__(files)
        self.write(0, 0, [memoryview(data)])
        self.lies = False

    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        found = super().read_now(file_index, offset_bytes, into)
        for start in range(0, len(into), 16_384):
            into[start] ^= self.lies
        return found


async def test_b6_of_many_senders_of_a_piece_only_the_liar_is_banned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmartBan, "is_proven", lambda *_: True)  # so that they share pieces
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.ANSWER_S", PATIENCE_S)
    metainfo = Metainfo.from_bytes(torrent_around(*v2_info({"a": SHARED}, piece_bytes=524_288)))
    liars: list[Lying] = []

    def make(files: StorageFiles) -> MemoryStorage:
        liars.append(Lying(files, SHARED))
        return liars[-1]

    slow = SessionConfig(max_upload_bytes_per_s=800_000)
    async with (
        seed(tmp_path / "a", metainfo, SHARED, config=slow) as (_, first),
        seed(tmp_path / "b", metainfo, SHARED, config=slow) as (_, second),
        seed(
            tmp_path / "c",
            metainfo,
            SHARED,
            config=replace(slow, storage=make),
            listen_hosts=("127.0.0.3",),
        ) as (liar, third),
        resources(tmp_path / "d") as shared,
    ):
        liars[0].lies = True
        config = SessionConfig(peers=(third,), sequential=True)
        saved = tmp_path / "saved"
        session = await Session.create(metainfo, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await until(lambda: liar.stats().uploaded_bytes)
            for address in (first, second):
                await session.add_peer(*address)
            await reach(session, State.SEEDING)
            stats = session.stats()
            sent_bytes = liar.stats().uploaded_bytes
    assert (saved / "a").read_bytes() == SHARED
    assert {e.address for e in events if isinstance(e, PeerBanned)} == {third}
    blamed = {peer for e in events if isinstance(e, PieceHashFailed) for peer in e.peers}
    assert blamed == {third}
    assert stats.failed_bytes <= sent_bytes


async def test_b6_of_four_senders_of_long_pieces_only_the_liar_is_banned_by_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmartBan, "is_proven", lambda *_: True)  # so that they share pieces
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.ANSWER_S", PATIENCE_S)
    data = payload_of(2 * 4_194_304 + 100_001)
    metainfo = Metainfo.from_bytes(torrent_around(*v2_info({"a": data}, piece_bytes=4_194_304)))
    liars: list[Lying] = []

    def make(files: StorageFiles) -> MemoryStorage:
        liars.append(Lying(files, data))
        return liars[-1]

    slow = SessionConfig(max_upload_bytes_per_s=2_000_000)
    async with (
        seed(tmp_path / "a", metainfo, data, config=slow) as (_, first),
        seed(tmp_path / "b", metainfo, data, config=slow) as (_, second),
        seed(tmp_path / "c", metainfo, data, config=slow) as (_, third),
        seed(
            tmp_path / "d",
            metainfo,
            data,
            config=replace(slow, storage=make),
            listen_hosts=("127.0.0.3",),
        ) as (liar, fourth),
        resources(tmp_path / "e") as shared,
    ):
        liars[0].lies = True
        config = SessionConfig(peers=(fourth,), sequential=True)
        saved = tmp_path / "saved"
        session = await Session.create(metainfo, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await until(lambda: liar.stats().uploaded_bytes)
            for address in (first, second, third):
                await session.add_peer(*address)
            with anyio.fail_after(4 * PATIENCE_S):
                await session.wait(State.SEEDING)
            failed_bytes = session.stats().failed_bytes
            sent_bytes = liar.stats().uploaded_bytes
    assert (saved / "a").read_bytes() == data
    assert {e.address for e in events if isinstance(e, PeerBanned)} == {fourth}
    assert failed_bytes <= sent_bytes
