"""Hybrid torrents without `piece layers`: they come from peers while the torrent runs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import address_of, record, resources, seed, until
from tests.support.torrents import payload_of
from tests.support.v2_torrents import (
    ask_for_layers_first,
    hybrid_info,
    layers_of,
    torrent_around,
)
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.base.storage import StorageFiles
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.memory_storage import MemoryStorage
from torrent_engine.engine.events import PeerBanned, PieceHashFailed
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.peers.smart_ban import SmartBan

pytestmark = pytest.mark.anyio

PIECE_BYTES = 65_536
DATA = payload_of(40 * PIECE_BYTES - 3)
INFO, LAYERS = hybrid_info({"a": DATA}, piece_bytes=PIECE_BYTES)
WHOLE = Metainfo.from_bytes(torrent_around(INFO, LAYERS))
BARE = Metainfo.from_bytes(torrent_around(INFO))
PADDED = DATA + bytes(3)
V2_HASH = InfoHash(bytes(BARE.v2_swarm or b""))
LONG_S = 50.0


@pytest.fixture(autouse=True)
def layers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no torrent be complete before its layers are."""
    ask_for_layers_first(monkeypatch)


async def learned(session: Session, layers: Mapping[bytes, bytes] = LAYERS) -> None:
    """Wait until a torrent has these layers."""
    await until(lambda: layers_of(session) == layers, timeout_s=LONG_S)


async def seeding(session: Session) -> None:
    await until(lambda: session.state is State.SEEDING, timeout_s=LONG_S)


@pytest.mark.parametrize(
    "source",
    [
        BARE,
        Magnet.of(BARE),
        Magnet(BARE.info_hash),
        Magnet(V2_HASH, info_hash_v2=BARE.info_hash_v2),
    ],
    ids=["torrent", "link", "link_of_v1", "link_of_v2"],
)
async def test_bep52_a_hybrid_gets_the_hashes_that_it_lacks_and_keeps_them(
    source: Magnet | Metainfo, tmp_path: Path
) -> None:
    async with (
        seed(tmp_path / "seed", WHOLE, PADDED) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        saved = tmp_path / "saved"
        session = await Session.create(source, shared, save_path=saved, config=config)
        async with session:
            await learned(session)
            await seeding(session)
    assert (tmp_path / "saved/payload/a").read_bytes() == DATA
    async with resources(tmp_path / "leech") as shared:  # where nobody has the hashes
        session = await Session.create(source, shared, save_path=tmp_path / "saved")
        async with session:
            await seeding(session)
            await learned(session)


async def test_bep52_who_learned_the_hashes_gives_them_to_others(tmp_path: Path) -> None:
    async with (
        resources(tmp_path / "b") as second,
        resources(tmp_path / "c") as third,
        seed(tmp_path / "a", WHOLE, PADDED) as (first, address),
    ):
        config = SessionConfig(peers=(address,))
        ours = await Session.create(BARE, second, save_path=tmp_path / "ours", config=config)
        async with ours:
            await learned(ours)
            await seeding(ours)
            await first.stop()
            config = SessionConfig(peers=(address_of(second),))
            theirs = await Session.create(BARE, third, save_path=tmp_path / "they", config=config)
            async with theirs:
                await learned(theirs)
                metainfo = theirs.metainfo
    assert metainfo is not None
    assert metainfo.source == WHOLE.source


async def test_bep52_a_manager_keeps_the_hashes_that_a_torrent_learned(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", WHOLE, PADDED) as (_, address),
        manager(tmp_path / "leech") as leech,
    ):
        config = SessionConfig(peers=(address,))
        session = (await leech.add(BARE, save_path=tmp_path / "saved", config=config)).session
        await learned(session)
    async with manager(tmp_path / "leech") as again:
        (session,) = again.sessions
        metainfo = session.metainfo
        assert metainfo is not None
        assert metainfo.source == WHOLE.source


async def test_bep52_who_gives_wrong_hashes_is_banned_and_others_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, lies = HashTrees.hashes, list[bool]()

    def lie_once(trees: HashTrees, wanted: HashRange) -> bytes | None:
        right = answer(trees, wanted)
        if lies or right is None:
            return right
        lies.append(True)
        return bytes(len(right))

    monkeypatch.setattr(HashTrees, "hashes", lie_once)
    async with (
        seed(tmp_path / "a", WHOLE, PADDED) as (_, first),
        seed(tmp_path / "b", WHOLE, PADDED, listen_hosts=("127.0.0.3",)) as (_, second),
        resources(tmp_path / "c") as shared,
    ):
        config = SessionConfig(peers=(first,))
        saved = tmp_path / "saved"
        session = await Session.create(BARE, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await until(
                lambda: any(isinstance(event, PeerBanned) for event in events), timeout_s=LONG_S
            )
            await session.add_peer(*second)
            await learned(session)
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


async def test_b6_blocks_of_a_hybrid_have_hashes_once_it_has_learned_its_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmartBan, "is_proven", lambda *_: True)  # so that they share pieces
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.ANSWER_S", LONG_S)
    data = payload_of(5 * 524_288)
    info, layers = hybrid_info({"a": data}, piece_bytes=524_288)
    whole, bare = (Metainfo.from_bytes(torrent_around(info, each)) for each in (layers, None))
    liars: list[Lying] = []

    def make(files: StorageFiles) -> MemoryStorage:
        liars.append(Lying(files, data))
        return liars[-1]

    slow = SessionConfig(max_upload_bytes_per_s=800_000)
    async with (
        seed(tmp_path / "a", whole, data, config=slow) as (_, first),
        seed(tmp_path / "b", whole, data, config=slow) as (_, second),
        seed(
            tmp_path / "c",
            whole,
            data,
            config=SessionConfig(max_upload_bytes_per_s=100_000, storage=make),
            listen_hosts=("127.0.0.3",),
        ) as (liar, third),
        resources(tmp_path / "d") as shared,
    ):
        liars[0].lies = True
        config = SessionConfig(peers=(third,), sequential=True)
        saved = tmp_path / "saved"
        session = await Session.create(bare, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await learned(session, layers)
            await until(lambda: liar.stats().uploaded_bytes, timeout_s=LONG_S)
            for address in (first, second):
                await session.add_peer(*address)
            await seeding(session)
            failed_bytes, sent_bytes = session.stats().failed_bytes, liar.stats().uploaded_bytes
    assert (saved / "payload/a").read_bytes() == data
    assert {e.address for e in events if isinstance(e, PeerBanned)} == {third}
    assert {peer for e in events if isinstance(e, PieceHashFailed) for peer in e.peers} == {third}
    assert failed_bytes <= sent_bytes
