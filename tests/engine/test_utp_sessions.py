"""Ours with ours over uTP, alone and beside TCP."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.engine.test_encrypted_transfers import (
    METAINFO,
    PATIENCE_S,
    PAYLOAD,
    connections,
    failures_of,
    leech,
    network,
    transferred,
)
from tests.support.processes import free_port
from tests.support.swarm import LOOPBACK, content, record, resources, seed, until
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionPolicy,
    NetworkConfig,
    SessionConfig,
    TransportProtocol,
    UtpConfig,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.dial_strategy import KINDS

pytestmark = pytest.mark.anyio

P, E = EncryptionPolicy, ConnectionEncryption
UTP = TransportProtocol.UTP
ONLY_UTP = network(protocol=UTP)


@pytest.mark.parametrize(
    ("outgoing", "incoming", "expected"),
    [
        (P.DISABLED, P.ALLOWED, E.NONE),
        (P.ALLOWED, P.REQUIRED, E.RC4),
        (P.PREFERRED, P.DISABLED, E.NONE),
        (P.REQUIRED, P.ALLOWED, E.PLAINTEXT),
        (P.REQUIRED, P.REQUIRED, E.RC4),
    ],
)
async def test_bep29_a_transfer_over_utp_encrypted_or_not(
    tmp_path: Path,
    outgoing: EncryptionPolicy,
    incoming: EncryptionPolicy,
    expected: ConnectionEncryption,
) -> None:
    ours = network(outgoing=outgoing, protocol=UTP)
    theirs = network(incoming=incoming, protocol=UTP)
    assert await transferred(tmp_path, ours, theirs) is expected


async def test_bep29_both_sides_tell_that_a_link_is_over_utp(tmp_path: Path) -> None:
    slow = SessionConfig(max_upload_bytes_per_s=50_000)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, config=slow, network=ONLY_UTP) as (there, at),
        leech(tmp_path / "leech", METAINFO, at, network=ONLY_UTP) as here,
    ):
        await until(lambda: here.peers() and there.peers(), timeout_s=PATIENCE_S)
        for session in (here, there):
            (peer,) = session.peers()
            assert peer.transport is UTP
            assert session.stats().links == {"utp/none": 1}


async def test_bep29_a_magnet_link_is_fetched_over_utp(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=ONLY_UTP) as (_, address),
        leech(
            tmp_path / "leech", Magnet(METAINFO.info_hash, peers=(address,)), network=ONLY_UTP
        ) as session,
    ):
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
    assert content(METAINFO, tmp_path / "leech" / "out") == PAYLOAD


async def test_bep29_where_both_are_to_be_had_tcp_is_used(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path / "leech", network=head_start(PATIENCE_S)) as session,
    ):
        events = record(session)
        await session.add_peer(*address)
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await until(lambda: connections(events))
        assert [event.transport for event in connections(events)] == [TransportProtocol.TCP]


def head_start(seconds: float) -> NetworkConfig:
    """Return a choice that dials over both, TCP first."""
    return NetworkConfig(
        encryption=EncryptionConfig(outgoing=P.DISABLED), utp=UtpConfig(tcp_head_start_s=seconds)
    )


@asynccontextmanager
async def seed_without_tcp(folder: Path) -> AsyncIterator[socket.socket]:
    """Run a seed that is reached over uTP; gives a socket bound to its port, for TCP."""
    for attempt in range(20):
        with socket.socket() as deaf:
            deaf.bind((LOOPBACK, 0))
            at = deaf.getsockname()
            async with seed(
                folder / str(attempt), METAINFO, PAYLOAD, network=ONLY_UTP, listen_port=at[1]
            ) as (_, address):
                if address == at:
                    yield deaf
                    return
    raise AssertionError("no port is free for UDP")


async def test_bep29_who_has_no_tcp_is_reached_over_utp_and_first_over_utp_the_next_time(
    tmp_path: Path,
) -> None:
    async with (
        seed_without_tcp(tmp_path / "seed") as deaf,
        leech(tmp_path / "leech", network=head_start(PATIENCE_S)) as session,
    ):
        address = deaf.getsockname()
        events = record(session)
        await session.add_peer(*address)  # TCP is refused at once
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await until(lambda: connections(events))
        assert [event.transport for event in connections(events)] == [UTP]
        reach = session._core.shared.network.dial_strategy
        plan = reach.plan(PeerAddress(*address), [TransportProtocol.TCP, UTP])
        assert plan[0].protocols == (UTP, TransportProtocol.TCP)


async def close_whoever_comes(listener: socket.socket, dials: list[object]) -> None:
    """Accept over TCP, and close at once."""
    listener.settimeout(0)
    while True:
        await anyio.wait_readable(listener)
        sock, address = listener.accept()
        sock.close()
        dials.append(address)


@pytest.mark.parametrize("policy", list(P))
async def test_bep29_who_closes_what_comes_over_tcp_is_dialled_over_utp(
    tmp_path: Path, policy: EncryptionPolicy
) -> None:
    dials = list[object]()
    choice = NetworkConfig(
        encryption=EncryptionConfig(outgoing=policy), utp=UtpConfig(tcp_head_start_s=PATIENCE_S)
    )
    async with (
        seed_without_tcp(tmp_path / "seed") as tcp,
        leech(tmp_path / "leech", network=choice) as session,
        anyio.create_task_group() as tasks,
    ):
        tcp.listen()
        tasks.start_soon(close_whoever_comes, tcp, dials)
        events, address = record(session), tcp.getsockname()
        await session.add_peer(*address)
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await until(lambda: connections(events))
        assert [event.transport for event in connections(events)] == [UTP]
        assert len(dials) == len(KINDS[policy])
        assert not failures_of(session, address)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("only", [UTP, TransportProtocol.TCP])
async def test_a_candidate_is_dialled_before_its_turn_over_one_protocol(
    tmp_path: Path, only: TransportProtocol
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path / "leech", network=head_start(0.0)) as session,
    ):
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.DOWNLOADING)
        events = record(session)
        run, peer = session._core.run, PeerAddress(*address)
        assert run is not None
        pool = run.transfer.pool
        await until(lambda: pool._tasks, timeout_s=PATIENCE_S)
        assert not pool.dial_now(peer, only=only)  # it is not known
        pool.candidates.add(peer, Source.PEX, 0.0)
        assert pool.dial_now(peer, only=only)
        assert not pool.dial_now(peer, only=only)  # it is dialled already
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.SEEDING)
        await until(lambda: connections(events))
        assert [event.transport for event in connections(events)] == [only]


async def test_bep29_a_peer_that_is_not_there_leaves_no_connection_behind(tmp_path: Path) -> None:
    nobody = ("127.0.0.1", free_port())
    async with resources(tmp_path, network=head_start(0.0)) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            with anyio.fail_after(PATIENCE_S):
                await session.wait(State.DOWNLOADING)
            run = session._core.run
            assert run is not None
            run.transfer.pool.add([PeerAddress(*nobody)], Source.TRACKER)
            await until(lambda: run.transfer.pool.connecting, timeout_s=PATIENCE_S)
        utp = shared.network.utp
        assert utp is not None
        assert len(utp) == 0
        assert not shared.connection_slots.used


async def test_bep29_what_is_switched_off_is_neither_dialled_nor_accepted(tmp_path: Path) -> None:
    no_utp = network(outgoing=P.DISABLED)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=no_utp) as (seeding, address),
        leech(tmp_path / "leech", network=ONLY_UTP) as session,
    ):
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.DOWNLOADING)
        await session.add_peer(*address)
        await until(lambda: failures_of(session, address), timeout_s=PATIENCE_S)
        assert not seeding.peers()
