"""Ours with ours, with every choice of encryption on either side."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.support.scripted_peer import listening
from tests.support.swarm import content, record, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    NetworkConfig,
    PoolConfig,
    SessionConfig,
    TransportProtocol,
    UtpConfig,
    WireLimits,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.events import PeerConnected
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.exchange import PexFlag

pytestmark = pytest.mark.anyio

P, E, L = EncryptionPolicy, ConnectionEncryption, EncryptionLevel
PATIENCE_S = 60.0
METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=16 * 1024)


def network(
    *,
    incoming: EncryptionPolicy = P.ALLOWED,
    outgoing: EncryptionPolicy = P.ALLOWED,
    level: EncryptionLevel = L.EITHER,
    protocol: TransportProtocol = TransportProtocol.TCP,
) -> NetworkConfig:
    """Return a choice of encryption, over one protocol."""
    is_utp = protocol is TransportProtocol.UTP
    return NetworkConfig(
        tcp=not is_utp,
        encryption=EncryptionConfig(incoming=incoming, outgoing=outgoing, level=level),
        utp=UtpConfig(incoming=is_utp, outgoing=is_utp),
    )


@asynccontextmanager
async def leech(
    folder: Path, source: Any = METAINFO, *peers: tuple[str, int], **changes: Any
) -> AsyncIterator[Session]:
    """Run a download of its own."""
    async with resources(folder, **changes) as shared:
        config = SessionConfig(peers=peers)
        session = await Session.create(source, shared, save_path=folder / "out", config=config)
        async with session:
            yield session


EXPECTED = {  # by what the dialler does and what the listener takes
    (P.DISABLED, P.DISABLED): E.NONE,
    (P.DISABLED, P.ALLOWED): E.NONE,
    (P.DISABLED, P.PREFERRED): E.NONE,
    (P.DISABLED, P.REQUIRED): None,
    (P.ALLOWED, P.DISABLED): E.NONE,
    (P.ALLOWED, P.ALLOWED): E.NONE,
    (P.ALLOWED, P.PREFERRED): E.NONE,
    (P.ALLOWED, P.REQUIRED): E.RC4,
    (P.PREFERRED, P.DISABLED): E.NONE,
    (P.PREFERRED, P.ALLOWED): E.PLAINTEXT,
    (P.PREFERRED, P.PREFERRED): E.RC4,
    (P.PREFERRED, P.REQUIRED): E.RC4,
    (P.REQUIRED, P.DISABLED): None,
    (P.REQUIRED, P.ALLOWED): E.PLAINTEXT,
    (P.REQUIRED, P.PREFERRED): E.RC4,
    (P.REQUIRED, P.REQUIRED): E.RC4,
}


async def transferred(
    folder: Path, ours: NetworkConfig, theirs: NetworkConfig
) -> ConnectionEncryption:
    """Download from a seed that we dial; return how that was encrypted, which both sides say."""
    async with (
        seed(folder / "seed", METAINFO, PAYLOAD, network=theirs) as (seeding, address),
        leech(folder / "leech", network=ours) as leeching,
    ):
        await reachable(seeding)
        events = [record(seeding), record(leeching)]
        await leeching.add_peer(*address)
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.SEEDING)
        await until(lambda: all(connections(each) for each in events), timeout_s=PATIENCE_S)
        (there,), (here,) = (connections(each) for each in events)
        assert there.encryption is here.encryption
        assert there.incoming
        assert not here.incoming
    assert content(METAINFO, folder / "leech" / "out") == PAYLOAD
    return here.encryption


async def reachable(session: Session) -> None:
    """Wait until who dials finds the torrent: before, it is as unknown here as any other."""
    torrents = session._core.shared.router._torrents
    await until(lambda: session.info_hash in torrents, timeout_s=PATIENCE_S)


def connections(events: list[Any]) -> list[PeerConnected]:
    return [event for event in events if isinstance(event, PeerConnected)]


MET = {pair: expected for pair, expected in EXPECTED.items() if expected is not None}
APART = [pair for pair, expected in EXPECTED.items() if expected is None]


@pytest.mark.parametrize(
    ("outgoing", "incoming", "expected"),
    [(*pair, expected) for pair, expected in MET.items()],
    ids=[f"{outgoing}-{incoming}" for outgoing, incoming in MET],
)
async def test_mse_each_policy_with_each_policy_that_it_can_meet(
    tmp_path: Path,
    outgoing: EncryptionPolicy,
    incoming: EncryptionPolicy,
    expected: ConnectionEncryption,
) -> None:
    ours, theirs = network(outgoing=outgoing), network(incoming=incoming)
    assert await transferred(tmp_path, ours, theirs) is expected


@pytest.mark.parametrize(
    ("outgoing", "incoming"), APART, ids=[f"{outgoing}-{incoming}" for outgoing, incoming in APART]
)
async def test_mse_policies_that_exclude_each_other_do_not_meet(
    tmp_path: Path, outgoing: EncryptionPolicy, incoming: EncryptionPolicy
) -> None:
    theirs = network(incoming=incoming, outgoing=incoming)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=theirs) as (seeding, address),
        leech(tmp_path / "leech", network=network(outgoing=outgoing)) as leeching,
    ):
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.DOWNLOADING)
        events = record(leeching)
        await leeching.add_peer(*address)
        await until(lambda: failures_of(leeching, address) > 0, timeout_s=PATIENCE_S)
        assert not connections(events)
        assert not seeding.peers()


def failures_of(session: Session, address: tuple[str, int]) -> int:
    """Return how often a dial of one peer failed since it was known."""
    assert session._core.run is not None
    candidates = session._core.run.transfer.pool.candidates
    candidate = candidates._candidates.get(PeerAddress(*address))
    return 0 if candidate is None else candidate.failures


LEVELS = {
    (L.RC4, L.RC4): E.RC4,
    (L.RC4, L.EITHER): E.RC4,
    (L.EITHER, L.RC4): E.RC4,
    (L.EITHER, L.EITHER): E.PLAINTEXT,
    (L.PLAINTEXT, L.EITHER): E.PLAINTEXT,
    (L.PLAINTEXT, L.PLAINTEXT): E.PLAINTEXT,
    (L.EITHER, L.PLAINTEXT): E.PLAINTEXT,
}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(*pair, expected) for pair, expected in LEVELS.items()],
    ids=[f"{ours}-{theirs}" for ours, theirs in LEVELS],
)
async def test_mse_each_level_with_each_level_that_it_can_meet(
    tmp_path: Path, ours: EncryptionLevel, theirs: EncryptionLevel, expected: ConnectionEncryption
) -> None:
    dialler = network(outgoing=P.REQUIRED, level=ours)
    assert await transferred(tmp_path, dialler, network(level=theirs)) is expected


async def test_mse_levels_that_exclude_each_other_meet_in_plain_if_they_may(
    tmp_path: Path,
) -> None:
    ours, theirs = network(outgoing=P.PREFERRED, level=L.RC4), network(level=L.PLAINTEXT)
    assert await transferred(tmp_path, ours, theirs) is E.NONE


@pytest.mark.parametrize("level", [L.RC4, L.PLAINTEXT])
async def test_mse_a_magnet_link_is_fetched_encrypted_and_its_links_are_kept(
    tmp_path: Path, level: EncryptionLevel
) -> None:
    required = network(incoming=P.REQUIRED, outgoing=P.REQUIRED, level=level)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=required) as (seeding, address),
        leech(
            tmp_path / "leech", Magnet(METAINFO.info_hash, peers=(address,)), network=required
        ) as leeching,
    ):
        events = record(seeding)
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.SEEDING)
        assert [event.encryption.value for event in connections(events)] in ([], [level.value])
    assert content(METAINFO, tmp_path / "leech" / "out") == PAYLOAD


async def test_mse_a_session_tells_how_its_links_are_made(tmp_path: Path) -> None:
    required = network(incoming=P.REQUIRED, outgoing=P.REQUIRED)
    slow = SessionConfig(max_upload_bytes_per_s=50_000)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, config=slow, network=required) as (there, at),
        leech(tmp_path / "leech", METAINFO, at, network=required) as here,
    ):
        await until(lambda: here.peers() and there.peers(), timeout_s=PATIENCE_S)
        for session in (here, there):
            (peer,) = session.peers()
            assert peer.transport is TransportProtocol.TCP
            assert peer.encryption is ConnectionEncryption.RC4
            assert session.stats().links == {"tcp/rc4": 1}


@dataclass
class Moody:
    """A peer that counts who comes, and does the same to all."""

    answer: bytes | None
    """What it says before it closes; None: it says nothing, for as long as one waits."""
    dials: int = 0

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        self.dials += 1
        if self.answer is None:
            await anyio.sleep_forever()
        await stream.receive()
        if self.answer:
            await stream.send(self.answer)


NONSENSE = b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(700)


@pytest.mark.parametrize(
    ("outgoing", "answer", "dials", "next_is_encrypted"),
    [
        (P.ALLOWED, b"", 2, False),
        (P.PREFERRED, b"", 2, True),
        (P.REQUIRED, b"", 1, True),
        (P.DISABLED, b"", 1, False),
        (P.ALLOWED, NONSENSE, 1, False),
        (P.PREFERRED, NONSENSE, 2, True),
        (P.ALLOWED, None, 1, True),
        (P.PREFERRED, None, 1, False),
    ],
    ids=[
        "allowed-closed",
        "preferred-closed",
        "required-closed",
        "disabled-closed",
        "allowed-nonsense",
        "preferred-nonsense",
        "allowed-silent",
        "preferred-silent",
    ],
)
async def test_mse_a_candidate_fails_once_when_all_that_is_worth_a_try_has_failed(
    tmp_path: Path,
    outgoing: EncryptionPolicy,
    answer: bytes | None,
    dials: int,
    *,
    next_is_encrypted: bool,
) -> None:
    moody = Moody(answer)
    config = {
        "network": network(outgoing=outgoing),
        "pool": PoolConfig(quick_retry_first_s=600.0, backoff_first_s=600.0),
        "wire": WireLimits(handshake_timeout_s=0.5 if answer is None else 30.0),
    }
    async with listening(moody) as address, leech(tmp_path, **config) as session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait(State.DOWNLOADING)
        run, peer = session._core.run, PeerAddress(*address)
        assert run is not None
        pool = run.transfer.pool
        pool.add([peer], Source.TRACKER)
        await until(lambda: failures_of(session, address), timeout_s=PATIENCE_S)
        assert failures_of(session, address) == 1
        assert moody.dials == dials
        plan = session._core.shared.network.dial_strategy.plan(peer, [TransportProtocol.TCP])
        assert plan[0].is_encrypted is next_is_encrypted
        await until(lambda: not pool.connecting, timeout_s=PATIENCE_S)


async def test_b9_a_retry_of_the_other_kind_is_a_dial_like_any(tmp_path: Path) -> None:
    pool = PoolConfig(max_dials_per_ip_per_minute=1, quick_retry_first_s=0.0)
    theirs = network(incoming=P.REQUIRED)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=theirs) as (_, address),
        leech(tmp_path / "leech", network=network(), pool=pool) as leeching,
    ):
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.DOWNLOADING)
        run = leeching._core.run
        assert run is not None
        run.transfer.pool.add([PeerAddress(*address)], Source.PEX)
        await until(lambda: failures_of(leeching, address) == 1, timeout_s=PATIENCE_S)
        reach = leeching._core.shared.network.dial_strategy
        plan = reach.plan(PeerAddress(*address), [TransportProtocol.TCP])
        assert [attempt.is_encrypted for attempt in plan] == [True, False]
        assert not leeching.peers()


async def test_bep11_who_is_said_to_prefer_encryption_is_dialled_encrypted(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, network=network()) as (seeding, address),
        leech(tmp_path / "leech", network=network()) as leeching,
    ):
        await reachable(seeding)
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.DOWNLOADING)
        events, run, peer = record(leeching), leeching._core.run, PeerAddress(*address)
        assert run is not None
        pex = run.transfer.swarm_parts.pex
        assert pex is not None
        pex._note(peer, PexFlag.PREFERS_ENCRYPTION)
        run.transfer.pool.add([peer], Source.PEX)
        with anyio.fail_after(PATIENCE_S):
            await leeching.wait(State.SEEDING)
        await until(lambda: connections(events), timeout_s=PATIENCE_S)
        assert [event.encryption for event in connections(events)] == [E.PLAINTEXT]
