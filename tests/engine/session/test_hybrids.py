"""Hybrid torrents, whose peers meet in two swarms (BEP 52, upgrade path)."""

import random
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest

from tests.support.managers import manager_config
from tests.support.swarm import (
    PATIENCE_S,
    address_of,
    reach,
    record,
    resources,
    seed,
    until,
)
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import (
    EncryptionConfig,
    EncryptionPolicy,
    NetworkConfig,
    SessionConfig,
)
from torrent_engine.base.errors import BusyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.storage import StorageFiles
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.memory_storage import MemoryStorage
from torrent_engine.engine.dormancy.snapshot import snapshot_of_run
from torrent_engine.engine.events import PeerBanned, PieceHashFailed
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer_pool import PeerPool
from torrent_engine.net.peers.incoming import IncomingRouter
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.messages import V2_BIT

pytestmark = pytest.mark.anyio

RANDOM = random.Random(53)
FILES = {
    "a": RANDOM.randbytes(70_000),
    "b": RANDOM.randbytes(5),
    "c": RANDOM.randbytes(65_536),
    "d": RANDOM.randbytes(300_001),
}
METAINFO = Metainfo.from_bytes(torrent_around(*hybrid_info(FILES, piece_bytes=65_536)))
V2_HASH = METAINFO.v2_swarm


def write(folder: Path) -> Path:
    for name, data in FILES.items():
        path = folder / "payload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def is_saved(folder: Path) -> bool:
    return all((folder / "payload" / name).read_bytes() == data for name, data in FILES.items())


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionState]:
    """The links of v2 swarms."""
    joined: list[ConnectionState] = []
    join = ConnectionState.join_v2

    def join_v2(state: ConnectionState) -> None:
        join(state)
        joined.append(state)

    monkeypatch.setattr(ConnectionState, "join_v2", join_v2)
    return joined


@pytest.fixture
def is_found_in_v2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all peers be found in the v2 swarm."""
    add = PeerPool.add

    def add_v2(
        pool: PeerPool, addresses: list[PeerAddress], source: Source, *, is_other: bool = True
    ) -> int:
        del is_other
        return add(pool, addresses, source, is_other=True)

    monkeypatch.setattr(PeerPool, "add", add_v2)


async def go(folder: Path, *, encryption: EncryptionPolicy = EncryptionPolicy.ALLOWED) -> None:
    """Download from one of us to another."""
    network = replace(
        resources(folder).config.network,
        encryption=EncryptionConfig(outgoing=encryption, incoming=encryption),
    )
    async with (
        resources(folder / "a", network=network) as first,
        resources(folder / "b", network=network) as second,
        await Session.create(METAINFO, first, save_path=write(folder / "files")) as ours,
    ):
        await reach(ours, State.SEEDING)
        config = SessionConfig(peers=(address_of(first),))
        saved = folder / "saved"
        async with await Session.create(METAINFO, second, save_path=saved, config=config) as theirs:
            await reach(theirs, State.SEEDING)
    assert is_saved(saved)


async def test_bep52_peers_that_both_know_v2_meet_in_its_swarm(
    tmp_path: Path, upgraded: list[ConnectionState]
) -> None:
    await go(tmp_path)
    assert len(upgraded) == 2  # both sides of the one link
    assert {state.info_hash for state in upgraded} == {V2_HASH}


async def test_bep52_a_peer_without_the_bit_is_served_in_the_v1_swarm(
    tmp_path: Path, upgraded: list[ConnectionState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torrent_engine.protocol.wire.messages.V2_BIT", (V2_BIT[0], 0)
    )  # as a v1 program
    await go(tmp_path)
    assert not upgraded


@pytest.mark.usefixtures("is_found_in_v2")
@pytest.mark.parametrize("encryption", [EncryptionPolicy.DISABLED, EncryptionPolicy.REQUIRED])
async def test_bep52_a_peer_of_the_v2_swarm_is_dialled_with_its_hash(
    tmp_path: Path, upgraded: list[ConnectionState], encryption: EncryptionPolicy
) -> None:
    await go(tmp_path, encryption=encryption)
    assert {state.info_hash for state in upgraded} == {V2_HASH}


@pytest.mark.usefixtures("is_found_in_v2")
async def test_bep52_a_link_with_both_hashes_is_downloaded_from_the_v2_swarm(
    tmp_path: Path, upgraded: list[ConnectionState]
) -> None:
    async with resources(tmp_path / "a") as first, resources(tmp_path / "b") as second:
        ours = await Session.create(METAINFO, first, save_path=write(tmp_path / "files"))
        async with ours:
            await reach(ours, State.SEEDING)
            config = SessionConfig(peers=(address_of(first),))
            link = Magnet.parse(str(Magnet.of(METAINFO)))
            assert link.v2_swarm == V2_HASH
            theirs = await Session.create(link, second, save_path=tmp_path / "saved", config=config)
            async with theirs:
                await reach(theirs, State.SEEDING)
    assert is_saved(tmp_path / "saved")
    assert upgraded


async def test_bep52_both_hashes_are_announced_while_the_torrent_runs(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=write(tmp_path / "files"))
        async with session:
            await reach(session, State.SEEDING)
            await until(lambda: V2_HASH in shared.discovery)
            assert METAINFO.info_hash in shared.discovery
            assert V2_HASH is not None
            again = await Session.create(
                f"magnet:?xt=urn:btmh:1220{METAINFO.info_hash_v2}",
                shared,
                save_path=tmp_path / "again",
            )
            with pytest.raises(BusyError):  # it is here already
                await again.start()
        assert V2_HASH not in shared.discovery
        assert METAINFO.info_hash not in shared.discovery


async def test_bep47_what_is_left_is_announced_without_padding(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for name in "bcd":
        (folder / "payload" / name).unlink()
    others = sum(len(data) for name, data in FILES.items() if name != "a")
    for known in (METAINFO, METAINFO.known_by(V2_HASH or METAINFO.info_hash)):
        first_only = tuple(4 * (entry.path[-1] == "a") for entry in known.files)
        config = SessionConfig(file_priorities=first_only)
        async with (
            resources(tmp_path / known.info_hash.hex()) as shared,
            await Session.create(known, shared, save_path=folder, config=config) as session,
        ):
            await reach(session, State.SEEDING)
            run = session._core.run
            assert run is not None
            assert run.parts.transfer._announce_totals().left_bytes == others
            facts = snapshot_of_run(run.parts)
            assert facts.left_bytes - facts.missing_pad_bytes == others
            has_pads = any(entry.is_pad for entry in known.files)
            assert has_pads == (known is METAINFO) == (facts.missing_pad_bytes > 0)


LINK = f"magnet:?xt=urn:btmh:1220{METAINFO.info_hash_v2}"


async def test_bep52_a_hybrid_by_its_v2_hash_alone_is_in_both_swarms(
    tmp_path: Path, upgraded: list[ConnectionState], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "saved"
    async with (
        resources(tmp_path / "a") as first,
        resources(tmp_path / "b") as second,
        resources(tmp_path / "c") as third,
        await Session.create(METAINFO, first, save_path=write(tmp_path / "files")) as ours,
    ):
        await reach(ours, State.SEEDING)
        config = SessionConfig(peers=(address_of(first),))
        async with await Session.create(LINK, second, save_path=saved, config=config) as theirs:
            await reach(theirs, State.SEEDING)
            assert theirs.info_hash == V2_HASH
            assert theirs.metainfo is not None
            assert (theirs.metainfo.v1_swarm, theirs.other_hash) == (METAINFO.info_hash,) * 2
            assert theirs.metainfo.info_bytes == METAINFO.info_bytes
            hashes = map(theirs.metainfo.hashes.expected, range(theirs.metainfo.piece_count))
            assert {len(both or b"") for both in hashes} == {20 + 32}
            assert {state.info_hash for state in upgraded} == {V2_HASH}
            await until(lambda: METAINFO.info_hash in second.discovery)
            monkeypatch.setattr("torrent_engine.protocol.wire.messages.V2_BIT", (V2_BIT[0], 0))
            upgraded.clear()
            old_path = tmp_path / "old"  # as a v1 program, which asks for pads besides
            old_config = SessionConfig(peers=(address_of(second),))
            old = await Session.create(METAINFO, third, save_path=old_path, config=old_config)
            async with old:
                await reach(old, State.SEEDING)
            assert not upgraded
    assert is_saved(saved)
    assert is_saved(old_path)
    async with (
        resources(tmp_path / "b") as again,  # where nobody has the metadata
        await Session.create(LINK, again, save_path=saved) as theirs,
    ):
        await reach(theirs, State.SEEDING)
        assert theirs.info_hash == V2_HASH


async def test_bep52_a_hybrid_by_its_v2_hash_finds_who_knows_the_v1_hash_alone(
    tmp_path: Path, upgraded: list[ConnectionState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.protocol.wire.messages.V2_BIT", (V2_BIT[0], 0))
    register = IncomingRouter.register
    monkeypatch.setattr(IncomingRouter, "register", lambda *given: register(*given[:3]))
    metainfo = METAINFO.known_by(V2_HASH or METAINFO.info_hash)
    async with (
        resources(tmp_path / "a") as first,
        resources(tmp_path / "b") as second,
        await Session.create(METAINFO, first, save_path=write(tmp_path / "files")) as ours,
    ):
        await reach(ours, State.SEEDING)
        config = SessionConfig(peers=(address_of(first),))
        saved = tmp_path / "saved"
        async with await Session.create(metainfo, second, save_path=saved, config=config) as theirs:
            await reach(theirs, State.SEEDING)
    assert is_saved(saved)


async def test_bep52_a_hybrid_is_one_torrent_of_a_manager_by_either_hash(tmp_path: Path) -> None:
    torrent = tmp_path / "a.torrent"
    torrent.write_bytes(METAINFO.to_bytes())
    both, v1 = str(Magnet.of(METAINFO)), f"magnet:?xt=urn:btih:{METAINFO.info_hash}"
    for known, others in ((str(torrent), (LINK, both, v1)), (LINK, (str(torrent), both))):
        async with TorrentManager(manager_config(tmp_path / known[-4:])) as manager:
            session = (await manager.add(known)).session
            again = [await manager.add(other) for other in others]
            assert [each.session for each in again] == [session] * len(others)


async def test_bep52_a_link_that_claims_the_info_hash_of_another_torrent_is_not_in_its_way(
    tmp_path: Path,
) -> None:
    link = f"magnet:?xt=urn:btih:{'7' * 40}&xt=urn:btmh:1220{METAINFO.info_hash_v2}"
    metainfo = METAINFO.known_by(V2_HASH or METAINFO.info_hash)
    async with resources(tmp_path) as shared:
        lying = await Session.create(link, shared, save_path=tmp_path / "lying")
        ours = await Session.create(metainfo, shared, save_path=write(tmp_path / "files"))
        async with lying:
            await until(lambda: V2_HASH in shared.discovery)
            async with ours:
                await reach(ours, State.SEEDING)
                await until(lambda: METAINFO.info_hash in shared.discovery)
                await lying.stop()
                assert V2_HASH in shared.discovery
        assert V2_HASH not in shared.discovery


@pytest.mark.parametrize("is_v2_first", [False, True], ids=["v1_first", "v2_first"])
async def test_bep52_two_links_that_turn_out_to_be_of_one_hybrid_are_not_both_downloaded(
    is_v2_first: bool, tmp_path: Path
) -> None:
    links = [f"magnet:?xt=urn:btih:{METAINFO.info_hash}", LINK]
    if is_v2_first:
        links.reverse()
    async with (
        resources(tmp_path / "a") as first,
        await Session.create(METAINFO, first, save_path=write(tmp_path / "files")) as ours,
        TorrentManager(manager_config(tmp_path / "b")) as manager,
    ):
        await reach(ours, State.SEEDING)
        one = (await manager.add(links[0], save_path=tmp_path / "one")).session
        two = (await manager.add(links[1], save_path=tmp_path / "two")).session
        assert one is not two  # nobody knows that they are the same
        await one.add_peer(*address_of(first))
        await reach(one, State.SEEDING)
        await two.add_peer(*address_of(first))
        with anyio.fail_after(PATIENCE_S), pytest.raises(BusyError, match="has a Session already"):
            await two.wait(State.SEEDING)
        assert two.state is State.ERROR
        with pytest.raises(BusyError, match=f"a hybrid, by its info-hash {one.info_hash}"):
            await two.resume()
        assert one.state is State.SEEDING
        await manager.remove_torrent(two.info_hash, delete_files=True)
        assert manager.sessions == (one,)
        both = METAINFO.info_hash, METAINFO.known_by(V2_HASH or METAINFO.info_hash).info_hash
        assert [manager.get_session(each) for each in both] == [one, one]
        await until(lambda: all(each in manager.shared.discovery for each in both))
    assert is_saved(tmp_path / "one")
    assert not (tmp_path / "two").exists()


async def test_bep52_both_swarms_of_a_hybrid_meet_at_a_udp_tracker_and_over_utp(
    tmp_path: Path, upgraded: list[ConnectionState]
) -> None:
    only_utp = NetworkConfig(tcp=False)
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        resources(tmp_path / "a", network=only_utp) as first,
        resources(tmp_path / "b", network=only_utp) as second,
    ):
        announced = METAINFO.edited(trackers=[tracker.udp_url])
        ours = await Session.create(announced, first, save_path=write(tmp_path / "files"))
        async with ours:
            await reach(ours, State.SEEDING)
            await until(lambda: tracker.stats().peers == 2)  # one in each swarm
            link = f"{LINK}&tr={quote(tracker.udp_url, safe='')}"
            theirs = await Session.create(link, second, save_path=tmp_path / "saved")
            async with theirs:
                await reach(theirs, State.SEEDING)
                await until(lambda: tracker.stats().peers == 4)
        await until(lambda: tracker.stats().peers == 0)
    assert is_saved(tmp_path / "saved")
    assert {state.info_hash for state in upgraded} == {V2_HASH}


SHARED = payload_of(5 * 524_288 - 3)


class Lying(MemoryStorage):
    """Has the payload, and gives every block with a wrong byte once it was checked."""

    def __init__(self, files: StorageFiles) -> None:
        super().__init__(files)
        self.write(0, 0, [memoryview(SHARED)])
        self.lies = False

    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        found = super().read_now(file_index, offset_bytes, into)
        for start in range(0, len(into), 16_384):
            into[start] ^= self.lies
        return found


async def test_b6_of_many_senders_of_a_piece_of_a_hybrid_only_the_liar_is_banned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmartBan, "is_proven", lambda *_: True)  # so that they share pieces
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.ANSWER_S", PATIENCE_S)
    made = hybrid_info({"a": SHARED}, piece_bytes=524_288)
    metainfo = Metainfo.from_bytes(torrent_around(*made))
    padded = SHARED + bytes(3)
    liars: list[Lying] = []

    def make(files: StorageFiles) -> MemoryStorage:
        liars.append(Lying(files))
        return liars[-1]

    slow = SessionConfig(max_upload_bytes_per_s=800_000)
    false = replace(slow, storage=make)
    async with (
        seed(tmp_path / "a", metainfo, padded, config=slow) as (_, first),
        seed(tmp_path / "b", metainfo, padded, config=slow) as (_, second),
        seed(tmp_path / "c", metainfo, padded, config=false, listen_hosts=("127.0.0.3",)) as (
            liar,
            third,
        ),
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
            with anyio.fail_after(4 * PATIENCE_S):
                await session.wait(State.SEEDING)
    assert (saved / "payload" / "a").read_bytes() == SHARED
    assert {e.address for e in events if isinstance(e, PeerBanned)} == {third}
    blamed = {peer for e in events if isinstance(e, PieceHashFailed) for peer in e.peers}
    assert blamed == {third}
