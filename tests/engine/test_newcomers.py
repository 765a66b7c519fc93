"""Who comes and says nothing, or says that it is somebody else: rows B5 and B12, over sockets."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.scripted_peer import Script, listening, new_peer_id
from tests.support.swarm import LOOPBACK, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import PoolConfig, SessionConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.duplicates import SIMULTANEOUS_S, linked, takes_its_place
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.swarm.peer_pool import PeerPool
from torrent_engine.net.peers.transport import TcpTransport
from torrent_engine.policy.peers.admission import MAX_EXCLUDED, Admission
from torrent_engine.policy.peers.bans import BanList
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.messages import PEER_ID_OFFSET, encode_handshake

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(200_000), piece_bytes=16 * 1024)
NOTHING = Bitfield(METAINFO.piece_count)
SMALL, LARGE = PeerId(b"\x00" * 20), PeerId(b"\xff" * 20)


def handshake_of(peer_id: PeerId) -> bytes:
    return encode_handshake(METAINFO.info_hash, peer_id, fast=True, extensions=True, dht=False)


def pool_of(session: Session) -> PeerPool:
    assert session._core.run is not None
    return session._core.run.transfer.pool


@contextmanager
def callers(pool: PeerPool) -> Iterator[Any]:
    """Give a function that comes from any address with the first bytes of a handshake."""
    theirs: list[socket.socket] = []

    def come(host: str, said: bytes) -> socket.socket:
        ours, other = socket.socketpair()
        ours.settimeout(0.0)
        other.settimeout(0.0)
        theirs.append(other)
        pool.accept(TcpTransport(ours), PeerAddress(host, 1000 + len(theirs)), said)
        return ours

    try:
        yield come
    finally:
        for sock in theirs:
            sock.close()


# -- half-open connections --------------------------------------------------------------------


@pytest.mark.parametrize("limits", [PoolConfig(), PoolConfig(max_connections=60)])
async def test_b5_half_handshakes_of_others_keep_nobody_from_being_dialled(
    tmp_path: Path, limits: PoolConfig
) -> None:
    async with (
        listening(Script(METAINFO, PAYLOAD)) as honest,
        resources(tmp_path, pool=limits) as shared,
        await Session.create(METAINFO, shared, save_path=tmp_path / "out") as session,
    ):
        await reach(session, State.DOWNLOADING)
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        with callers(pool) as come:
            half = handshake_of(new_peer_id())[:PEER_ID_OFFSET]
            for number in range(120):
                come(f"10.0.{number}.1", half)
            assert pool.connecting > 10  # as many as there may be
            await session.add_peer(*honest)
            await reach(session, State.SEEDING)


@pytest.mark.parametrize("limits", [PoolConfig(max_half_open=2), PoolConfig(max_connections=40)])
async def test_b5_half_handshakes_from_250_networks_that_come_again_delay_no_dial(
    tmp_path: Path, limits: PoolConfig
) -> None:
    """Whoever is let go comes again at once; all that we know are dialled all the same."""
    async with AsyncExitStack() as stack:
        scripts = [Script(METAINFO, PAYLOAD, has=NOTHING) for _ in range(8)]
        honest = {await stack.enter_async_context(listening(script)) for script in scripts}
        shared = await stack.enter_async_context(resources(tmp_path, pool=limits))
        create = Session.create(METAINFO, shared, save_path=tmp_path / "out")
        session = await stack.enter_async_context(await create)
        await reach(session, State.DOWNLOADING)
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        half = handshake_of(new_peer_id())[:PEER_ID_OFFSET]
        with callers(pool) as come:
            ours = [come(f"{10 + number % 200}.{number}.0.1", half) for number in range(250)]
            most = pool.connecting

            async def come_again() -> None:
                for number in itertools.count():
                    ours.append(come(f"{10 + number % 200}.{number % 250}.0.1", half))
                    await anyio.sleep(0.001)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(come_again)
                for address in honest:
                    pool.add([PeerAddress(*address)], Source.TRACKER)
                await until(lambda: {tuple(each.address) for each in session.peers()} >= honest)
                tasks.cancel_scope.cancel()
    assert most > 5
    assert len(ours) > 250


async def test_b5_half_handshakes_end_the_link_of_no_peer(tmp_path: Path) -> None:
    limits = PoolConfig(
        max_connections_per_torrent=3, replacement_interval_s=0.0, replacement_idle_s=0.0
    )
    async with seed(tmp_path, METAINFO, PAYLOAD, pool=limits) as (session, _):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        pool.candidates.set_external_address(PeerAddress("8.8.8.8", 1))  # priorities are known
        with callers(pool) as come:
            honest = [come(f"9.0.{number}.1", handshake_of(new_peer_id())) for number in range(3)]
            await until(lambda: session.stats().peers == 3)
            for number in range(50):
                come(f"10.0.{number}.1", handshake_of(new_peer_id())[:PEER_ID_OFFSET])
            await until(lambda: pool.connecting == 50)
            assert all(sock.fileno() >= 0 for sock in honest)
            assert session.stats().peers == 3


async def test_b5_newcomers_of_all_torrents_together_are_bounded(tmp_path: Path) -> None:
    limits = PoolConfig(max_half_open_incoming=20)
    async with seed(tmp_path, METAINFO, PAYLOAD, pool=limits) as (session, _):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        with callers(pool) as come:
            for number in range(100):
                come(f"10.0.{number}.1", handshake_of(new_peer_id())[:PEER_ID_OFFSET])
            await until(lambda: pool.connecting == 20)  # who waited long has made room
        await until(lambda: not pool.connecting)
        assert not len(pool._places._half_open_incoming)


async def test_b5_an_address_with_many_links_over_all_torrents_is_not_dialled(
    tmp_path: Path,
) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD, pool=PoolConfig(max_connections=20)) as (
        session,
        _,
    ):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        slots, dialled = pool._shared.connection_slots, list[str]()
        tasks: Any = SimpleNamespace(start_soon=lambda *said: dialled.append(said[2].host))
        for _ in range(PoolConfig().max_connections_per_ip_in_all):
            slots.of_operator.joined("8.0.0.1")
        for host in ("8.0.0.1", "8.0.0.2"):
            pool.candidates.add(PeerAddress(host, 1), Source.TRACKER, 0.0)
        slots.used += 10
        pool._dial_some(tasks)
        slots.used -= 10
        assert dialled == ["8.0.0.2"]


# -- claimed peer ids -------------------------------------------------------------------------


@pytest.mark.parametrize("peer_id", [SMALL, LARGE])
async def test_b12_a_claimed_peer_id_ends_no_link(tmp_path: Path, peer_id: PeerId) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD) as (session, _):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        with callers(pool) as come:
            honest = come("10.0.0.1", handshake_of(peer_id))
            await until(lambda: session.stats().peers == 1)
            for number in range(8):
                come(f"10.0.1.{number}", handshake_of(peer_id))
            await until(lambda: session.stats().peers == 9)
            assert honest.fileno() >= 0


async def test_b12_who_claimed_a_peer_id_first_keeps_nobody_else_out(tmp_path: Path) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD) as (session, _):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        with callers(pool) as come:
            come("10.0.1.1", handshake_of(SMALL))
            await until(lambda: session.stats().peers == 1)
            honest = come("10.0.0.1", handshake_of(SMALL))
            await until(lambda: session.stats().peers == 2)
            assert honest.fileno() >= 0


async def test_b12_who_claims_to_be_ourselves_excludes_no_address(tmp_path: Path) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD) as (session, _):
        pool = pool_of(session)
        await until(lambda: pool._tasks)
        with callers(pool) as come:
            liar = come("8.1.0.1", handshake_of(session._core.peer_id))
            await until(lambda: liar.fileno() < 0)
            named = PeerAddress("8.1.0.1", 1001)
            assert pool.candidates.add(named, Source.TRACKER, now=0.0)


async def test_b12_two_that_dial_each_other_at_once_have_one_link(tmp_path: Path) -> None:
    async with resources(tmp_path / "one") as one, resources(tmp_path / "other") as other:
        sessions = [
            await Session.create(
                METAINFO, shared, save_path=folder / "files", config=SessionConfig()
            )
            for shared, folder in ((one, tmp_path / "one"), (other, tmp_path / "other"))
        ]
        async with sessions[0], sessions[1]:
            for session in sessions:
                await reach(session, State.DOWNLOADING)
            await sessions[0].add_peer(LOOPBACK, other.listen_port)
            await sessions[1].add_peer(LOOPBACK, one.listen_port)
            await until(lambda: all(each.stats().peers == 1 for each in sessions))
            await until(lambda: not any(each.stats().connecting for each in sessions))
            await anyio.sleep(0.2)  # whoever ends a link says so in a moment
            assert [each.stats().peers for each in sessions] == [1, 1]


def peer_at(host: str, peer_id: PeerId, *, is_incoming: bool = False) -> Any:
    address = PeerAddress(host, 6881)
    return SimpleNamespace(
        identity=Identity(address, peer_id),
        address=address,
        link=SimpleNamespace(close_reason=None),
        is_incoming=is_incoming,
        connected_s=100.0,
    )


@pytest.mark.parametrize("is_incoming", [False, True])
def test_b12_a_link_that_has_lasted_is_not_replaced(*, is_incoming: bool) -> None:
    old = peer_at("10.0.0.1", SMALL if is_incoming else LARGE, is_incoming=not is_incoming)
    own = LARGE if is_incoming else SMALL
    assert takes_its_place(old, own, 100.0 + SIMULTANEOUS_S, is_incoming=is_incoming)
    assert not takes_its_place(old, own, 100.1 + SIMULTANEOUS_S, is_incoming=is_incoming)


def test_b12_a_peer_is_known_by_its_id_within_its_64_only() -> None:
    old: Any = peer_at("2600:0:0:1::1", SMALL)
    assert linked([old], Identity(PeerAddress("2600:0:0:1::2", 9), SMALL)) == old
    assert linked([old], Identity(PeerAddress("2600:0:0:2::1", 6881), SMALL)) is None
    assert linked([old], Identity(PeerAddress("2600:0:0:1::1", 6881), LARGE)) is None


def test_addresses_that_say_they_are_ours_are_remembered_within_bounds() -> None:
    admission = Admission(BanList(PoolConfig()), None, is_private=False)
    for port in range(1, 10 * MAX_EXCLUDED):
        admission.exclude(PeerAddress("8.0.0.1", port))
    assert len(admission._excluded) == MAX_EXCLUDED
