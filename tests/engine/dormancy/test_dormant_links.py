"""Who comes to a torrent at rest: greeted without a run, and what wakes it; row B5."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.support.managers import manager
from tests.support.scripted_peer import Wire, blocks_of, dialled, new_peer_id
from tests.support.swarm import address_of, content, download, reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.config import (
    DormancyConfig,
    EncryptionConfig,
    EncryptionPolicy,
    NetworkConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.base.ids import InfoHash, PeerAddress, PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.dormancy.dormant_links import DormantLinks
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot, snapshot_of_new
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.connection_slots import ConnectionSlots
from torrent_engine.engine.session import saved as saved_records
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.parked_links import no_link
from torrent_engine.protocol.wire.extension import ExtensionHandshake
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    ExtensionHandshakeReceived,
    HandshakeReceived,
    HashesReceived,
    PeerBitfield,
    PeerHas,
    PeerLost,
    PeerUnchoked,
)

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(300_000)
TORRENT, _ = make_torrent(PAYLOAD)
SOON = DormancyConfig(after_s=0.1, max_announces_per_s=1_000.0)


@asynccontextmanager
async def seeding_at_rest(
    folder: Path, rest: DormancyConfig = SOON, count: int = 1
) -> AsyncIterator[tuple[TorrentManager, list[Session]]]:
    """Run a manager with complete torrents that rest."""
    async with manager(folder, dormancy=rest) as many:
        sessions = []
        for number in range(count):
            payload = PAYLOAD if not number else payload_of(50_000 + number, number)
            torrent, _ = make_torrent(payload, name=f"{number}.bin")
            write_files(torrent, payload, folder / "files")
            sessions.append(await many.add_torrent(torrent))
        for session in sessions:
            await reach(session, State.SEEDING)
        await until(lambda: all(session.is_resting for session in sessions))
        yield many, sessions


def torrent_of(session: Session) -> Metainfo:
    metainfo = session.metainfo
    assert metainfo is not None
    return metainfo


async def greeted(wire: Wire) -> None:
    """Shake hands, and say that we have nothing."""
    wire.connection.sender.send_handshake()
    await wire.flush()
    await wire.expect(HandshakeReceived)
    wire.connection.sender.send_bitfield(Bitfield(wire.metainfo.piece_count))
    await wire.flush()


async def interested(wire: Wire) -> None:
    wire.connection.sender.set_interested(interested=True)
    await wire.flush()


async def test_b5_a_handshake_is_answered_and_wakes_nothing(tmp_path: Path) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        dialled(torrent_of(session), address_of(many.shared)) as wire,
    ):
        await greeted(wire)
        said = await wire.expect(PeerBitfield)
        assert isinstance(said, PeerBitfield)
        assert said.bitfield.all()
        handshake = await wire.expect(ExtensionHandshakeReceived)
        assert isinstance(handshake, ExtensionHandshakeReceived)
        assert handshake.handshake.metadata_bytes == len(torrent_of(session).info_bytes)
        assert handshake.handshake.is_upload_only
        assert session.is_resting
        assert many.shared.connection_slots.used == 0


@pytest.mark.parametrize("is_switched_at_rest", [False, True])
@pytest.mark.parametrize("fast", [False, True])
async def test_bep16_a_super_seed_at_rest_seems_to_have_nothing_and_then_shows_a_piece(
    tmp_path: Path, is_switched_at_rest: bool, fast: bool
) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=SOON) as many:
        config = SessionConfig(super_seeding=not is_switched_at_rest)
        session = await many.add_torrent(TORRENT, config=config)
        await reach(session, State.SEEDING)
        await until(lambda: session.is_resting)
        session.set_super_seeding(True)
        async with dialled(TORRENT, address_of(many.shared), fast=fast) as wire:
            await greeted(wire)
            handshake = await wire.expect(ExtensionHandshakeReceived)
            assert isinstance(handshake, ExtensionHandshakeReceived)
            assert not handshake.handshake.is_upload_only
            await wire.expect(PeerHas)
            assert session.is_super_seeding
            shown = [event for event in wire.seen if isinstance(event, PeerBitfield)]
            assert all(event.bitfield.none() for event in shown)
            haves = sum(isinstance(event, PeerHas) for event in wire.seen)
            assert haves < TORRENT.piece_count


async def test_bep16_a_torrent_at_rest_that_is_not_whole_shows_what_it_has(
    tmp_path: Path,
) -> None:
    write_files(TORRENT, PAYLOAD[:-1] + b"?", tmp_path / "files")
    async with manager(tmp_path, dormancy=SOON) as many:
        session = await many.add_torrent(TORRENT, config=SessionConfig(super_seeding=True))
        await reach(session, State.DOWNLOADING)
        await until(lambda: session.is_resting)
        async with dialled(TORRENT, address_of(many.shared)) as wire:
            await greeted(wire)
            said = await wire.expect(PeerBitfield)
            await wire.expect(ExtensionHandshakeReceived)
            assert isinstance(said, PeerBitfield)
            assert said.bitfield.count == TORRENT.piece_count - 1
            assert session.is_resting


def change_first_byte(path: Path) -> None:
    changed = bytearray(path.read_bytes())
    changed[0] ^= 0xFF
    path.write_bytes(changed)
    os.utime(path, (1, 1))


async def test_f3_who_woke_a_seed_is_told_of_a_piece_that_was_changed_at_rest(
    tmp_path: Path,
) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        dialled(torrent_of(session), address_of(many.shared)) as wire,
    ):
        change_first_byte(tmp_path / "files/0.bin")
        await greeted(wire)
        await wire.expect(ExtensionHandshakeReceived)
        wire.connection.state.extension_names[9] = "lt_donthave"
        wire.connection.sender.send_extension_handshake(
            ExtensionHandshake(extensions={"lt_donthave": 9})
        )
        await interested(wire)
        with anyio.fail_after(30):
            assert await wire.expect(PeerLost) == PeerLost(PieceIndex(0))
        assert session.state is State.DOWNLOADING


async def test_f3_who_woke_a_seed_and_cannot_be_told_what_is_gone_begins_anew(
    tmp_path: Path,
) -> None:
    async with seeding_at_rest(tmp_path) as (many, (session,)):
        torrent = torrent_of(session)
        async with dialled(torrent, address_of(many.shared), fast=False) as wire:
            change_first_byte(tmp_path / "files/0.bin")
            await greeted(wire)
            await interested(wire)
            with anyio.fail_after(30):
                await wire.hung_up()
        async with dialled(torrent, address_of(many.shared), fast=False) as wire:
            await greeted(wire)
            said = await wire.expect(PeerBitfield)
            assert isinstance(said, PeerBitfield)
            assert list(said.bitfield.missing()) == [0]


async def test_b5_hundreds_of_handshakes_wake_nobody(tmp_path: Path) -> None:
    async with seeding_at_rest(tmp_path, count=5) as (many, sessions), AsyncExitStack() as stack:
        for number in range(100):
            session = sessions[number % 5]
            wire = await stack.enter_async_context(
                dialled(torrent_of(session), address_of(many.shared))
            )
            await greeted(wire)
        assert all(session.is_resting for session in sessions)


async def test_b5_who_is_interested_is_served_over_the_link_that_it_has(tmp_path: Path) -> None:
    connected: list[Any] = []
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        dialled(torrent_of(session), address_of(many.shared)) as wire,
    ):
        session.events.subscribe("peer.connected", connected.append)
        await greeted(wire)
        await interested(wire)
        await wire.expect(PeerUnchoked)
        assert not session.is_resting
        for block in blocks_of(torrent_of(session), 3):
            wire.connection.sender.request_blocks([block])
            await wire.flush()
            got = await wire.expect(BlockReceived)
            assert isinstance(got, BlockReceived)
            start = torrent_of(session).geometry.piece_offset(3) + got.begin_bytes
            assert b"".join(got.views) == PAYLOAD[start : start + got.length_bytes]
        assert sum(isinstance(event, HandshakeReceived) for event in wire.seen) == 1
        assert sum(isinstance(event, PeerBitfield) for event in wire.seen) == 1
        assert session.stats().peers == 1
        await until(lambda: len(connected) == 1)
        assert not len(many.shared.dormant_links_limiter)
        await wire.stream.aclose()
        await until(lambda: session.is_resting)
        assert many.shared.connection_slots.used == 0


NETWORKS = {
    "plain": NetworkConfig(encryption=EncryptionConfig(outgoing=EncryptionPolicy.DISABLED)),
    "encrypted": NetworkConfig(encryption=EncryptionConfig(outgoing=EncryptionPolicy.REQUIRED)),
    "utp": NetworkConfig(tcp=False),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
async def test_b5_a_leech_gets_all_of_a_torrent_at_rest(
    tmp_path: Path, network: NetworkConfig
) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        resources(tmp_path / "leech", network=network) as other,
    ):
        folder = tmp_path / "leech" / "files"
        await download(other, torrent_of(session), folder, address_of(many.shared))
        assert content(torrent_of(session), folder) == PAYLOAD


async def test_b5_metadata_is_asked_of_a_torrent_at_rest(tmp_path: Path) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        resources(tmp_path / "leech") as other,
    ):
        config = SessionConfig(peers=(address_of(many.shared),), metadata_only=True)
        leech = await Session.create(
            Magnet(session.info_hash), other, save_path=tmp_path / "leech", config=config
        )
        async with leech:
            with anyio.fail_after(30):
                await leech.wait_stopped()
        assert leech.metainfo is not None
        assert leech.metainfo.info_hash == session.info_hash


async def test_bep52_hashes_are_asked_of_a_torrent_at_rest(tmp_path: Path) -> None:
    info, layers = v2_info({"a": PAYLOAD}, piece_bytes=65_536)
    torrent = Metainfo.from_bytes(torrent_around(info, layers))
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_bytes(PAYLOAD)
    async with manager(tmp_path, dormancy=SOON) as many:
        session = await many.add_torrent(torrent)
        await reach(session, State.SEEDING)
        await until(lambda: session.is_resting)
        async with dialled(torrent, address_of(many.shared)) as wire:
            await greeted(wire)
            await wire.expect(PeerBitfield)
            ((root, layer),) = layers.items()
            wire.connection.sender.request_hashes(HashRange(root, 2, 0, 4, 1))
            await wire.flush()
            answer = await wire.expect(HashesReceived)
    assert isinstance(answer, HashesReceived)
    assert answer.hashes[:128] == layer[:128]


async def test_bep52_a_v1_torrent_at_rest_has_no_answer_to_a_request_for_hashes(
    tmp_path: Path,
) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        dialled(torrent_of(session), address_of(many.shared)) as wire,
    ):
        await greeted(wire)
        await wire.expect(PeerBitfield)
        wire.connection.state.is_v2 = True
        wire.connection.sender.request_hashes(HashRange(bytes(32), 0, 0, 2, 0))
        await interested(wire)
        await wire.expect(PeerUnchoked)
        assert not session.is_resting
        assert wire.connection.state.hash_requests


async def test_b5_strangers_wake_so_many_torrents_at_a_time(tmp_path: Path) -> None:
    rest = replace(SOON, max_wakes_per_s=0.001, wake_burst=2)
    async with (
        seeding_at_rest(tmp_path, rest, count=6) as (many, sessions),
        AsyncExitStack() as stack,
    ):
        for session in sessions:
            wire = await stack.enter_async_context(
                dialled(torrent_of(session), address_of(many.shared))
            )
            await greeted(wire)
            await interested(wire)
        await until(lambda: sum(not session.is_resting for session in sessions) == 2)
        await until(lambda: len(many.shared.dormant_links_limiter) == 4)
        assert sum(not session.is_resting for session in sessions) == 2
        await sessions[-1].pause()  # what waits for its turn is let go
        await until(lambda: len(many.shared.dormant_links_limiter) == 3)


async def test_b5_one_address_wakes_so_many_torrents_at_a_time(tmp_path: Path) -> None:
    rest = replace(SOON, max_wakes_per_ip_per_s=0.001, wake_burst_per_ip=1)
    async with seeding_at_rest(tmp_path, rest, count=3) as (many, sessions):
        async with AsyncExitStack() as stack:
            for session in sessions:
                wire = await stack.enter_async_context(
                    dialled(torrent_of(session), address_of(many.shared))
                )
                await greeted(wire)
                await interested(wire)
            await until(lambda: sum(not session.is_resting for session in sessions) == 1)
        await until(lambda: not len(many.shared.dormant_links_limiter))
        resting = next(session for session in sessions if session.is_resting)
        await many.shared.wake_gate.turn("127.0.0.9")  # another address has a turn of its own
        assert resting.is_resting


async def test_b5_visitors_are_few_and_stay_for_a_short_time(tmp_path: Path) -> None:
    rest = replace(SOON, max_dormant_connections=3, max_connection_s=0.5)
    async with (
        seeding_at_rest(tmp_path, rest) as (many, (session,)),
        AsyncExitStack() as stack,
    ):
        wires = []
        for _ in range(10):
            wire = await stack.enter_async_context(
                dialled(torrent_of(session), address_of(many.shared))
            )
            wire.connection.sender.send_handshake()
            await wire.flush()
            wires.append(wire)
            assert len(many.shared.dormant_links_limiter) <= 3
        with anyio.fail_after(30):
            for wire in wires:
                await wire.hung_up()
        assert session.is_resting
        assert not len(many.shared.dormant_links_limiter)


async def test_b5_half_a_handshake_is_closed_and_takes_no_place_for_long(tmp_path: Path) -> None:
    async with seeding_at_rest(tmp_path) as (many, (session,)):
        async with dialled(torrent_of(session), address_of(many.shared)) as wire:
            wire.connection.sender.send_handshake()
            await wire.stream.send(b"".join(wire.connection.data_to_send())[:48])
            await until(lambda: len(many.shared.connection_slots.half_open_incoming) == 1)
            await wire.expect(HandshakeReceived)
        await until(lambda: not len(many.shared.connection_slots.half_open_incoming))
        assert session.is_resting


async def test_b5_half_handshakes_keep_no_torrent_awake(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=SOON) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await until(
            lambda: session._core.run is not None and session._core.run.transfer.pool._tasks
        )
        async with dialled(TORRENT, address_of(many.shared)) as wire:
            wire.connection.sender.send_handshake()
            await wire.stream.send(b"".join(wire.connection.data_to_send())[:48])
            await until(lambda: session.is_resting)
            assert session._core.run is None


@pytest.mark.parametrize("has", [Bitfield.full(TORRENT.piece_count), Bitfield(TORRENT.piece_count)])
async def test_b5_who_has_what_we_miss_wakes_a_torrent_and_who_has_nothing_does_not(
    tmp_path: Path, has: Bitfield
) -> None:
    async with manager(tmp_path, dormancy=SOON) as many:
        session = await many.add_torrent(TORRENT)
        assert session.is_resting
        async with dialled(TORRENT, address_of(many.shared)) as wire:
            await wire.shake_hands()
            wire.connection.sender.send_bitfield(has)
            await wire.flush()
            if has.all():
                await until(lambda: not session.is_resting and session.stats().peers == 1)
            else:
                await interested(wire)  # in what we do not have
                await wire.expect(ExtensionHandshakeReceived)
                assert session.is_resting


END: dict[str, Callable[[TorrentManager, Session], Any]] = {
    "pause": lambda _many, session: session.pause(),
    "remove": lambda many, session: many.remove_torrent(session.info_hash),
}


@pytest.mark.parametrize("end", END.values(), ids=END)
async def test_b5_visitors_are_let_go_with_the_torrent(
    tmp_path: Path, end: Callable[[TorrentManager, Session], Any]
) -> None:
    async with seeding_at_rest(tmp_path) as (many, (session,)):
        async with dialled(torrent_of(session), address_of(many.shared)) as wire:
            await greeted(wire)
            await until(lambda: len(many.shared.dormant_links_limiter) == 1)
            await end(many, session)
            with anyio.fail_after(30):
                await wire.hung_up()
        assert not len(many.shared.dormant_links_limiter)
        assert not many.shared.router._torrents


async def test_b5_idle_visitors_go_on_with_the_run_that_another_one_woke(tmp_path: Path) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        dialled(torrent_of(session), address_of(many.shared)) as idle,
        dialled(torrent_of(session), address_of(many.shared)) as eager,
    ):
        await greeted(idle)
        await greeted(eager)
        await interested(eager)
        await until(lambda: session.stats().peers == 2)
        await interested(idle)
        await idle.expect(PeerUnchoked)
        assert not session.is_resting


async def test_who_claims_to_be_ourselves_or_is_banned_is_no_visitor(tmp_path: Path) -> None:
    async with seeding_at_rest(tmp_path) as (many, (session,)):
        banned = new_peer_id()
        many.shared.bans.ban(PeerAddress("127.0.0.1", 1), banned, many.shared.clock())
        for peer_id in (session._core.peer_id, banned):
            async with dialled(torrent_of(session), address_of(many.shared)) as wire:
                wire.connection.state.peer_id = peer_id
                wire.connection.sender.send_handshake()
                await wire.flush()
                with anyio.fail_after(30):
                    await wire.hung_up()
        assert session.is_resting


def test_f6_numbers_of_an_older_version_are_read() -> None:
    facts = snapshot_of_new(TORRENT, None)
    values = saved_records._snapshot_values(facts)
    assert saved_records._snapshot(values) == facts
    for late in (1, 3, 5):
        assert saved_records._snapshot(values[:-late]) == facts
    assert saved_records._snapshot(values[:-6]) == replace(facts, metadata_bytes=0)
    for wrong in (values[:-2], values[:-4], values[:-7], [*values, 1]):
        with pytest.raises(ValueError, match="numbers"):
            saved_records._snapshot(wrong)


def test_bep52_numbers_of_a_hybrid_at_rest_have_its_other_info_hash() -> None:
    facts = snapshot_of_new(TORRENT, None)
    other = InfoHash(bytes(range(20)))
    for changed in (replace(facts, v1_hash=other), replace(facts, v2_hash=other)):
        assert saved_records._snapshot(saved_records._snapshot_values(changed)) == changed


async def test_b5_without_the_length_of_metadata_who_wants_some_wakes_the_torrent(
    tmp_path: Path,
) -> None:
    async with (
        seeding_at_rest(tmp_path) as (many, (session,)),
        resources(tmp_path / "leech") as other,
    ):
        assert session._core.dormant is not None
        old: TorrentSnapshot = replace(session._core.dormant.snapshot, metadata_bytes=0)
        session._core.dormant.snapshot = old
        config = SessionConfig(peers=(address_of(many.shared),), metadata_only=True)
        leech = await Session.create(
            Magnet(session.info_hash), other, save_path=tmp_path / "leech", config=config
        )
        async with leech:
            with anyio.fail_after(30):
                await leech.wait_stopped()
        assert leech.metainfo is not None


@dataclass(eq=False)
class KeptPeer:
    """A peer with a link that only closes."""

    address: PeerAddress
    link: Any


async def test_b5_an_address_with_many_links_hands_over_no_more_to_a_run() -> None:
    slots, closed = ConnectionSlots(20), list[PeerAddress]()
    slots.used = 10
    swarm: Any = SimpleNamespace(shared_config=SharedConfig())
    snapshot: Any = SimpleNamespace(is_private=False)
    links = DormantLinks(swarm, swarm, snapshot, lambda: None)
    for port in range(10):
        address = PeerAddress("8.0.0.1", port)
        link = SimpleNamespace(close=partial(closed.append, address))
        peer: Any = KeptPeer(address, link)
        links._kept.append(peer)
    kept = await links.hand_over(slots.share(no_link))
    assert (len(kept), len(closed)) == (8, 2)
    kept.close()
    assert (len(closed), slots.used) == (10, 10)
    assert not slots.of_operator.crowded
