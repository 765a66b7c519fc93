"""A seed that shows its pieces one by one (BEP 16), to scripted peers and in a swarm of our own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.scripted_peer import Wire, dialled
from tests.support.swarm import address_of, content, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import KIB, SessionConfig, SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    ExtensionHandshakeReceived,
    PeerBitfield,
    PeerHas,
)

pytestmark = pytest.mark.anyio

PATIENCE_S = 50.0
PIECES = 64
METAINFO, PAYLOAD = make_torrent(payload_of(PIECES * 16 * KIB - 100), piece_bytes=16 * KIB)
SUPER = SessionConfig(super_seeding=True)
ONE = SuperSeedConfig(max_revealed_pieces=1, max_revealed_bytes=0, single_peer_bytes=0)


@asynccontextmanager
async def greeted(address: tuple[str, int], *, fast: bool = True) -> AsyncIterator[Wire]:
    """Connect as a leech that has nothing, and read until the seed has said what it is."""
    async with dialled(METAINFO, address, fast=fast) as wire:
        with anyio.fail_after(PATIENCE_S):
            await wire.shake_hands()
            wire.connection.sender.send_bitfield(Bitfield(PIECES))
            await wire.flush()
            await wire.expect(ExtensionHandshakeReceived)
            yield wire


async def shown(wire: Wire, count: int) -> list[int]:
    """Return the next pieces that the seed says it has."""
    pieces: list[int] = []
    while len(pieces) < count:
        event = await wire.expect(PeerHas)
        assert isinstance(event, PeerHas)
        pieces.append(event.piece_index)
    return pieces


async def say_have(wire: Wire, pieces: Sequence[int]) -> None:
    wire.connection.sender.send_have(pieces)
    await wire.flush()


@pytest.mark.parametrize("fast", [True, False])
async def test_bep16_it_seems_to_have_nothing_and_shows_one_piece_after_another(
    tmp_path: Path, fast: bool
) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, config=SUPER, super_seed=ONE) as (session, address),
        greeted(address, fast=fast) as one,
        greeted(address, fast=fast) as other,
    ):
        assert session.is_super_seeding
        (first,), (second,) = await shown(one, 1), await shown(other, 1)
        assert first != second
        await say_have(one, [first])
        await say_have(other, [first])
        (third,) = await shown(one, 1)
        assert third not in {first, second}
        for wire in (one, other):
            bitfields = [event for event in wire.seen if isinstance(event, PeerBitfield)]
            assert all(event.bitfield.none() for event in bitfields)
            assert len([event for event in wire.seen if isinstance(event, PeerHas)]) <= 2
            assert not any(isinstance(event, AllowedFast) for event in wire.seen)
            handshakes = [e for e in wire.seen if isinstance(e, ExtensionHandshakeReceived)]
            assert not handshakes[0].handshake.is_upload_only


async def test_bep16_one_who_claims_to_be_a_seed_does_not_end_it(tmp_path: Path) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, config=SUPER, super_seed=ONE) as (session, address),
        greeted(address) as leech,
        dialled(METAINFO, address) as liar,
    ):
        await shown(leech, 1)
        with anyio.fail_after(PATIENCE_S):
            await liar.shake_hands()
            liar.connection.sender.send_bitfield(Bitfield.full(PIECES))
            await liar.flush()
            await until(lambda: session.stats().seeds == 1)
        await anyio.sleep(0.6)  # two ticks
        assert session.is_super_seeding
        assert len([event for event in leech.seen if isinstance(event, PeerHas)]) == 1


async def test_bep16_all_is_shown_when_a_copy_has_left_and_another_seed_comes(
    tmp_path: Path,
) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, config=SUPER, super_seed=ONE) as (session, address),
        greeted(address) as leech,
        dialled(METAINFO, address) as other,
    ):
        first = await shown(leech, 1)
        run = session.admin.run
        assert run is not None
        run.torrent.totals.uploaded_bytes += METAINFO.total_bytes
        with anyio.fail_after(PATIENCE_S):
            await other.shake_hands()
            other.connection.sender.send_bitfield(Bitfield.full(PIECES))
            await other.flush()
            await until(lambda: session.stats().seeds == 1)
            await anyio.sleep(0.6)  # two ticks
            assert session.is_super_seeding  # it took nothing from us, and nobody says the same
            for peer in run.torrent.peers:
                peer.uploaded_bytes += PIECES // 32 * 16 * KIB
            rest = await shown(leech, PIECES - 1)
        assert sorted(first + rest) == list(range(PIECES))
        assert not session.is_super_seeding


async def test_it_can_be_switched_on_and_off_while_seeding(tmp_path: Path) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD, super_seed=ONE) as (session, address):
        async with greeted(address) as knows_all:
            assert not session.is_super_seeding
            session.set_super_seeding(True)
            with anyio.fail_after(PATIENCE_S):
                await knows_all.hung_up()
        assert session.is_super_seeding
        assert session.config.super_seeding
        async with greeted(address) as leech:
            first = await shown(leech, 1)
            session.set_super_seeding(False)
            rest = await shown(leech, PIECES - 1)
            assert sorted(first + rest) == list(range(PIECES))
        assert not session.is_super_seeding


async def test_it_can_be_switched_on_again_while_what_it_hid_is_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.super_seeding.REST_AT_A_TIME", 1)
    monkeypatch.setattr("torrent_engine.engine.transfer.super_seeding.REST_PER_TICK", 1)
    async with seed(tmp_path, METAINFO, PAYLOAD, config=SUPER, super_seed=ONE) as (
        session,
        address,
    ):
        async with greeted(address) as leech:
            first = await shown(leech, 1)
            session.set_super_seeding(False)
            assert not session.is_super_seeding
            assert await shown(leech, 1) != first
            session.set_super_seeding(True)
            assert session.is_super_seeding
            with anyio.fail_after(PATIENCE_S):
                await leech.hung_up()
        async with greeted(address) as leech:
            await shown(leech, 1)
            bitfields = [event for event in leech.seen if isinstance(event, PeerBitfield)]
            assert all(event.bitfield.none() for event in bitfields)
        assert session.is_super_seeding


async def test_it_has_no_effect_on_a_download_and_is_kept_for_the_next_start(
    tmp_path: Path,
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        session.set_super_seeding(True)
        async with session:
            session.set_super_seeding(True)
            await reach(session, State.SEEDING)
            assert not session.is_super_seeding
            await session.stop()
            await session.start()
            await reach(session, State.SEEDING)
            await until(lambda: session.is_super_seeding)


async def test_bep16_a_leech_beside_one_that_takes_nothing_is_served_without_waits(
    tmp_path: Path,
) -> None:
    """One piece for each timeout would take two minutes."""
    patient = replace(ONE, single_peer_bytes=4 * 16 * KIB, reveal_timeout_s=2.0)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, config=SUPER, super_seed=patient) as (
            source,
            address,
        ),
        greeted(address) as idle,
        resources(tmp_path) as shared,
    ):
        idle.connection.sender.set_interested(interested=True)
        await idle.flush()
        await shown(idle, 1)
        config = SessionConfig(peers=(address,))
        save_path = tmp_path / "out"
        leech = await Session.create(METAINFO, shared, save_path=save_path, config=config)
        async with leech:
            with anyio.fail_after(PATIENCE_S):
                await leech.wait(State.SEEDING)
        assert content(METAINFO, save_path) == PAYLOAD
        assert source.is_super_seeding
        assert source.stats().uploaded_bytes == len(PAYLOAD)


async def uploaded_to_three(folder: Path, *, is_super: bool) -> float:
    """Let three leeches fetch everything; return how many copies the seed sent."""
    config = SessionConfig(super_seeding=is_super, max_upload_bytes_per_s=PIECES * 16 * KIB)
    async with AsyncExitStack() as stack:
        source, address = await stack.enter_async_context(
            seed(folder / "seed", METAINFO, PAYLOAD, config=config)
        )
        leeches: list[Session] = []
        addresses: list[tuple[str, int]] = []
        for number in range(3):
            shared = await stack.enter_async_context(resources(folder / str(number)))
            save_path = folder / str(number) / "out"
            leech = await Session.create(METAINFO, shared, save_path=save_path)
            leeches.append(await stack.enter_async_context(leech))
            for other in addresses:
                await leech.add_peer(*other)
            addresses.append(address_of(shared))
        for leech in leeches:
            await until(lambda leech=leech: len(leech.peers()) == 2)  # type: ignore[misc]
        for leech in leeches:
            await leech.add_peer(*address)
        with anyio.fail_after(60):
            for number, leech in enumerate(leeches):
                await leech.wait(State.SEEDING)
                assert content(METAINFO, folder / str(number) / "out") == PAYLOAD
        return source.stats().uploaded_bytes / len(PAYLOAD)


async def test_bep16_three_leeches_complete_with_little_more_than_one_copy(tmp_path: Path) -> None:
    copies = await uploaded_to_three(tmp_path / "super", is_super=True)
    usual = await uploaded_to_three(tmp_path / "usual", is_super=False)
    assert 1.0 <= copies < 1.4
    assert usual > copies
