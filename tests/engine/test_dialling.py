"""Whom a torrent dials, when it tries again, and whom it leaves alone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

from tests.support.processes import free_port
from tests.support.scripted_peer import Script, Wire, dialled, listening
from tests.support.swarm import address_of, content, kinds, reach, record, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import PoolConfig, SessionConfig, WireLimits
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import PeerDisconnected
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer_pool import IDLE_DIAL_WAIT_S, PeerPool
from torrent_engine.engine.swarm.pool_limits import REPLACED
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.extension import ExtensionHandshake
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    INFO_HASH_OFFSET,
    PEER_ID_OFFSET,
)

pytestmark = pytest.mark.anyio

TORRENTS = [make_torrent(payload_of(20_000 + number, number)) for number in range(4)]


@asynccontextmanager
async def running(
    shared: SharedResources,
    metainfo: Metainfo,
    save_path: Path,
    *peers: tuple[str, int],
    **settings: Any,
) -> AsyncIterator[Session]:
    """Run a Session."""
    config = SessionConfig(peers=peers, **settings)
    session = await Session.create(metainfo, shared, save_path=save_path, config=config)
    async with session:
        yield session


@dataclass
class OneAtATime:
    """Hangs up on whoever comes while it shakes hands with another, as Transmission does."""

    torrents: Sequence[Metainfo]
    is_shaking_hands: bool = False
    hung_up_on: int = 0
    joined: set[bytes] = field(default_factory=set)

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection."""
        if self.is_shaking_hands:
            self.hung_up_on += 1
            return
        self.is_shaking_hands = True
        theirs = await stream.receive(HANDSHAKE_BYTES)
        info_hash = theirs[INFO_HASH_OFFSET:PEER_ID_OFFSET]
        known = [each for each in self.torrents if each.info_hash == info_hash]
        if not known:  # the other way of one that was hung up on: it is encrypted
            self.is_shaking_hands = False
            self.hung_up_on += 1
            return
        await anyio.sleep(0.05)
        wire = Wire(stream, known[0])
        wire.connection.sender.send_handshake()
        await wire.flush()
        self.is_shaking_hands = False
        self.joined.add(info_hash)
        await wire.hung_up()


async def test_torrents_dial_a_peer_that_shakes_hands_with_one_at_a_time_without_waits(
    tmp_path: Path,
) -> None:
    peer = OneAtATime([metainfo for metainfo, _ in TORRENTS])
    no_retries = PoolConfig(quick_retry_first_s=600.0, backoff_first_s=600.0)
    async with (
        listening(peer) as address,
        resources(tmp_path, pool=no_retries) as shared,
        AsyncExitStack() as sessions,
    ):
        for metainfo, _ in TORRENTS:
            session = running(shared, metainfo, tmp_path / metainfo.info_hash.hex(), address)
            await sessions.enter_async_context(session)
        await until(lambda: len(peer.joined) == len(TORRENTS))
    assert peer.hung_up_on <= 2  # one handshake beside another, in two ways


def pool_of(session: Session) -> PeerPool:
    """Return the pool of a Session that runs."""
    assert session._core.run is not None
    return session._core.run.transfer.pool


@pytest.mark.parametrize("way", ["closed", "silent", "nonsense"])
async def test_only_who_hangs_up_before_its_handshake_is_dialled_again_soon(
    tmp_path: Path, way: str
) -> None:
    metainfo, payload = TORRENTS[0]
    script, dials = Script(metainfo, payload), list[int]()

    async def moody(stream: anyio.abc.SocketStream) -> None:
        dials.append(len(dials))
        if len(dials) > 2:
            await script(stream)
        elif way == "silent":
            await anyio.sleep_forever()
        elif way == "nonsense":
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(HANDSHAKE_BYTES))

    config: dict[str, Any] = {
        "pool": PoolConfig(quick_retry_first_s=0.05, backoff_first_s=600.0),
        "wire": WireLimits(handshake_timeout_s=0.2),
    }
    async with (
        listening(moody) as address,
        resources(tmp_path, **config) as shared,
        running(shared, metainfo, tmp_path / "out") as session,
    ):
        await reach(session, State.DOWNLOADING)
        pool = pool_of(session)
        pool.add([PeerAddress(*address)], Source.TRACKER)
        if way == "closed":
            await reach(session, State.SEEDING)
            assert len(dials) == 3
            return
        await until(lambda: dials and not pool.connecting)
        due = pool.candidates.next_due(shared.clock())
        assert due is not None
        assert due > shared.clock() + 500


async def test_a_named_peer_that_is_not_there_yet_is_dialled_again_soon(tmp_path: Path) -> None:
    metainfo, payload = TORRENTS[0]
    port = free_port()
    pool = PoolConfig(quick_retry_first_s=0.1, backoff_first_s=600.0)
    async with resources(tmp_path, pool=pool) as shared:
        peer = ("127.0.0.1", port)
        async with running(shared, metainfo, tmp_path / "out", peer) as session:
            await until(lambda: session._core.run and len(pool_of(session).candidates))
            await until(lambda: not pool_of(session).connecting)
            script = Script(metainfo, payload)
            async with listening(script, port=port):
                await reach(session, State.SEEDING)
            assert script.connections == 1
    assert content(metainfo, tmp_path / "out") == payload


# -- seeds ------------------------------------------------------------------------------------


async def test_bep21_a_seed_is_not_dialled_again_until_something_is_wanted(tmp_path: Path) -> None:
    files = {"a": payload_of(50_000), "b": payload_of(50_000, 1)}
    metainfo, payload = make_torrent(files, piece_bytes=16 * 1024)
    script = Script(metainfo, payload)
    pool_config = PoolConfig(quick_retry_first_s=0.01, backoff_first_s=0.01)
    async with (
        listening(script) as address,
        resources(tmp_path, pool=pool_config) as shared,
        running(shared, metainfo, tmp_path / "out", address, file_priorities=(4, 0)) as session,
    ):
        await reach(session, State.SEEDING)
        pool = pool_of(session)
        await until(lambda: not session.peers())
        pool.tick(shared.clock())
        assert pool.candidates.next_due(shared.clock()) is None
        await session.add_peer(*address)
        assert pool.candidates.next_due(shared.clock()) is None
        dials = script.connections
        await session.set_file_priorities((4, 1))
        await until(lambda: session.stats().pieces_have == metainfo.piece_count)
        assert script.connections == dials + 1
    assert content(metainfo, tmp_path / "out") == payload


async def test_bep21_a_partial_seed_that_wants_more_gets_it_over_the_link_it_has(
    tmp_path: Path,
) -> None:
    a, b, c = (payload_of(256 * 1024, number) for number in range(3))
    metainfo, _ = make_torrent({"a": a, "b": b, "c": c}, piece_bytes=16 * 1024)
    for folder, name, data in (("few", "a", a), ("more", "b", b)):
        path = tmp_path / folder / "payload" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    async with (
        resources(tmp_path / "1") as first,
        resources(tmp_path / "2") as second,
        running(first, metainfo, tmp_path / "few", file_priorities=(4, 0, 0)) as session,
    ):
        await reach(session, State.SEEDING)
        async with running(second, metainfo, tmp_path / "more", address_of(first)) as leech:
            await until(lambda: leech.stats().pieces_have == 32)
            (peer,) = leech._core.run.torrent.peers  # type: ignore[union-attr]
            assert peer.is_upload_only
            await session.set_file_priorities((4, 4, 0))
            await until(lambda: session.stats().pieces_have == 32)
            await until(lambda: peer.is_upload_only)  # it has all that it wants again


class Silent(Script):
    """Sends no block."""

    def _serve(self, connection: PeerConnection) -> None:
        """Leave all requests where they are."""


async def test_bep21_a_seed_is_of_use_until_the_last_pieces_are_here(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(20_000))
    async with (
        listening(Silent(metainfo, payload)) as address,
        resources(tmp_path) as shared,
        running(shared, metainfo, tmp_path / "out", address) as session,
    ):
        await reach(session, State.DOWNLOADING)
        torrent, pool = session._core.run.torrent, pool_of(session)  # type: ignore[union-attr]
        await until(lambda: not torrent.table.missing)  # all is asked for, nothing came
        pool.tick(shared.clock() + 30)
        assert [peer.link.close_reason for peer in torrent.peers] == [None]
        assert pool.candidates._is_wanting


async def test_bep21_two_seeds_part_and_do_not_meet_again(tmp_path: Path) -> None:
    metainfo, payload = TORRENTS[0]
    async with (
        seed(tmp_path / "a", metainfo, payload) as (first, address),
        seed(
            tmp_path / "b",
            metainfo,
            payload,
            config=SessionConfig(peers=(address,)),
            pool=PoolConfig(backoff_first_s=0.01),
        ) as (second, _),
    ):
        events = record(second)
        pool = pool_of(second)
        await until(lambda: "peer.disconnected" in kinds(events))
        assert first.state is second.state is State.SEEDING
        assert kinds(events, "stats.update") == ["peer.connected", "peer.disconnected"]
        assert pool.candidates.next_due(1e9) is None


# -- our own address --------------------------------------------------------------------------


def refuses(session: Session, *address: object) -> bool:
    """Return whether a Session does not take an address as a candidate."""
    pool, peer = pool_of(session), PeerAddress(str(address[0]), int(str(address[1])))
    pool.add([peer], Source.TRACKER)
    return peer not in pool.candidates


@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("0.0.0.0", "::")], ids=["loopback", "all"])
async def test_where_we_listen_is_not_dialled(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    metainfo, _ = TORRENTS[0]
    async with (
        resources(tmp_path, listen_hosts=hosts) as shared,
        running(shared, metainfo, tmp_path / "out") as session,
    ):
        await reach(session, State.DOWNLOADING)
        await until(lambda: pool_of(session).own.is_begun)
        assert refuses(session, "127.0.0.1", shared.listen_port)
        assert not refuses(session, "127.0.0.1", 1)
        if hosts == ("127.0.0.1",):
            assert not refuses(session, "127.0.0.2", shared.listen_port)
            return
        async with dialled(metainfo, ("127.0.0.2", shared.listen_port)) as wire:
            await wire.shake_hands()
            assert refuses(session, "127.0.0.2", shared.listen_port)


async def test_where_only_another_program_can_listen_is_dialled(tmp_path: Path) -> None:
    metainfo, payload = TORRENTS[0]
    async with (
        listening(Script(metainfo, payload)) as address,
        resources(tmp_path, listen_hosts=("127.0.0.9",)) as shared,
        running(shared, metainfo, tmp_path / "out", address) as session,
    ):
        await reach(session, State.SEEDING)  # our end of that link is 127.0.0.1
        assert not refuses(session, "127.0.0.1", shared.listen_port)
        assert refuses(session, "127.0.0.9", shared.listen_port)


async def test_bep24_what_a_tracker_says_of_us_is_not_dialled_by_any_torrent(
    tmp_path: Path,
) -> None:
    async with (
        resources(tmp_path) as shared,
        running(shared, TORRENTS[0][0], tmp_path / "a") as first,
        running(shared, TORRENTS[1][0], tmp_path / "b") as second,
    ):
        for session in (first, second):
            await reach(session, State.DOWNLOADING)
        await until(lambda: pool_of(first).own.is_begun and pool_of(second).own.is_begun)
        assert first._core.run is not None
        first._core.run.transfer.sources._on_external_ip("8.8.8.8", "http://t/")
        assert refuses(first, "8.8.8.8", shared.listen_port)
        pool_of(second).tick(shared.clock())
        assert refuses(second, "8.8.8.8", shared.listen_port)
        assert not refuses(second, "8.8.8.8", shared.listen_port ^ 1)


async def test_bep10_what_several_peers_say_of_us_is_not_dialled(tmp_path: Path) -> None:
    metainfo, _ = TORRENTS[0]
    async with (
        resources(tmp_path) as shared,
        running(shared, metainfo, tmp_path / "out") as session,
        AsyncExitStack() as peers,
    ):
        await reach(session, State.DOWNLOADING)
        for number in range(1, 4):
            assert not shared.external_addresses.hosts
            stream = await peers.enter_async_context(
                await anyio.connect_tcp(
                    "127.0.0.1", shared.listen_port, local_host=f"127.0.0.{number}"
                )
            )
            wire = Wire(stream, metainfo)
            await wire.shake_hands()
            wire.connection.sender.send_extension_handshake(
                ExtensionHandshake(your_ip=bytes([8] * 4))
            )
            await wire.flush()
        await until(lambda: shared.external_addresses.hosts == ("8.8.8.8",))
        ours = PeerAddress("8.8.8.8", shared.listen_port)
        await until(lambda: pool_of(session).own.is_own(ours))
        assert refuses(session, *ours)


# -- peers of an earlier run ------------------------------------------------------------------


@pytest.mark.parametrize("is_private", [False, True], ids=["public", "private"])
async def test_bep27_good_peers_of_a_public_torrent_are_dialled_in_the_next_run(
    tmp_path: Path, *, is_private: bool
) -> None:
    files = {"a": payload_of(50_000), "b": payload_of(50_000, 1)}
    metainfo, payload = make_torrent(files, piece_bytes=16 * 1024, is_private=is_private)
    script, out = Script(metainfo, payload), tmp_path / "out"
    async with listening(script) as good:
        bad = ("127.0.0.1", free_port())
        async with resources(tmp_path) as shared:
            settings = {"file_priorities": (4, 0)}
            async with running(shared, metainfo, out, good, bad, **settings) as session:
                await reach(session, State.SEEDING)
        async with (
            resources(tmp_path) as shared,
            running(shared, metainfo, out) as session,
        ):
            await reach(session, State.DOWNLOADING)
            if is_private:
                await until(
                    lambda: session._core.run and session._core.run.transfer._saved_peers._is_loaded
                )
                assert len(pool_of(session).candidates) == 0
                return
            await reach(session, State.SEEDING)
            pool = pool_of(session)
            assert len(pool.candidates) == 1
            assert pool.candidates.sources(PeerAddress(*good)) == Source.RESUME
    assert content(metainfo, out) == payload


# -- two links with one peer ------------------------------------------------------------------


@pytest.mark.parametrize("is_theirs", [True, False], ids=["smaller id", "greater id"])
@pytest.mark.parametrize(
    "is_incoming_first", [True, False], ids=["incoming first", "dialled first"]
)
async def test_of_two_links_with_a_peer_the_smaller_ids_stays(
    tmp_path: Path, *, is_theirs: bool, is_incoming_first: bool
) -> None:
    metainfo, _ = TORRENTS[0]
    peer_id = PeerId((b"\x00" if is_theirs else b"\xff") * 20)
    hung_up: list[str] = []

    async def serve(stream: anyio.abc.SocketStream, kind: str = "dialled") -> None:
        wire = Wire(stream, metainfo)
        wire.connection.state.peer_id = peer_id
        await wire.shake_hands()
        await wire.hung_up()
        hung_up.append(kind)

    async with (
        listening(serve) as address,
        resources(tmp_path) as shared,
        running(shared, metainfo, tmp_path / "out") as session,
        anyio.create_task_group() as tasks,
    ):
        await reach(session, State.DOWNLOADING)
        pool, candidate = pool_of(session), PeerAddress(*address)
        async with await anyio.connect_tcp("127.0.0.1", shared.listen_port) as stream:
            if is_incoming_first:
                tasks.start_soon(serve, stream, "incoming")
                await until(lambda: len(session.peers()) == 1)
            pool.add([candidate], Source.TRACKER)
            if not is_incoming_first:
                await until(lambda: len(session.peers()) == 1)
                tasks.start_soon(serve, stream, "incoming")
            await until(lambda: hung_up and not pool.connecting)
            assert hung_up == ["dialled" if is_theirs else "incoming"]
            assert [peer.is_incoming for peer in session.peers()] == [is_theirs]
            assert pool.candidates.next_due(shared.clock()) is None  # its peer has a link
            for peer in tuple(session._core.run.torrent.peers):  # type: ignore[union-attr]
                peer.link.end("over")
            await until(lambda: not session.peers())
            assert pool.candidates.proven(1) == [candidate]
            assert pool.candidates.next_due(shared.clock()) is not None
            await until(lambda: len(hung_up) == 2)


async def test_two_that_dial_each_other_at_once_have_one_link(tmp_path: Path) -> None:
    metainfo, _ = TORRENTS[0]
    async with (
        resources(tmp_path / "a") as one,
        resources(tmp_path / "b") as other,
        running(one, metainfo, tmp_path / "a") as first,
        running(other, metainfo, tmp_path / "b") as second,
    ):
        for session in (first, second):
            await reach(session, State.DOWNLOADING)
        ended = [record(first), record(second)]
        pool_of(first).add([PeerAddress("127.0.0.1", other.listen_port)], Source.TRACKER)
        pool_of(second).add([PeerAddress("127.0.0.1", one.listen_port)], Source.TRACKER)
        pools = (pool_of(first), pool_of(second))
        await until(lambda: all(len(pool.candidates) for pool in pools))
        await until(lambda: first.peers() and not any(pool.connecting for pool in pools))
        await until(lambda: len(first.peers()) == len(second.peers()) == 1)
        assert first.peers()[0].is_incoming is not second.peers()[0].is_incoming
        assert all(kinds(events).count("peer.disconnected") <= 1 for events in ended)


# -- slots ------------------------------------------------------------------------------------

AT_ONCE_S = IDLE_DIAL_WAIT_S / 4


async def test_the_next_is_dialled_as_soon_as_a_handshake_is_over(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(20_000))
    silent = Silent(metainfo, payload)
    async with (
        listening(silent) as one,
        listening(silent) as other,
        resources(tmp_path, pool=PoolConfig(max_half_open=1)) as shared,
        running(shared, metainfo, tmp_path / "out", one, other) as session,
    ):
        await reach(session, State.DOWNLOADING)
        await until(lambda: len(session.peers()) == 2, timeout_s=AT_ONCE_S)
        assert {tuple(peer.address) for peer in session.peers()} == {one, other}


async def test_a_slot_that_one_torrent_gives_back_is_used_by_another(tmp_path: Path) -> None:
    (one, payload), (other, _) = TORRENTS[:2]
    silent = Silent(one, payload)
    async with (
        listening(silent) as address,
        listening(Silent(other, payload)) as second_address,
        resources(tmp_path, pool=PoolConfig(max_connections=1)) as shared,
        running(shared, one, tmp_path / "a", address) as first,
        running(shared, other, tmp_path / "b") as second,
    ):
        await until(first.peers)
        await reach(second, State.DOWNLOADING)
        pool_of(second).add([PeerAddress(*second_address)], Source.TRACKER)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        await first.pause()
        await until(second.peers, timeout_s=AT_ONCE_S)
        assert [tuple(peer.address) for peer in second.peers()] == [second_address]
        assert not first.peers()


# -- a full torrent -------------------------------------------------------------------------------


async def test_bep40_a_full_torrent_has_room_for_a_peer_of_higher_priority(tmp_path: Path) -> None:
    metainfo, payload = TORRENTS[0]
    config = PoolConfig(
        max_connections_per_torrent=1, replacement_interval_s=0.0, replacement_idle_s=0.0
    )
    async with (
        seed(tmp_path, metainfo, payload, pool=config) as (session, address),
        AsyncExitStack() as wires,
    ):
        candidates, events = pool_of(session).candidates, record(session)
        candidates.set_external_address(PeerAddress(*address))
        came: list[PeerAddress] = []

        def is_best_in() -> bool:
            best = max(came, key=lambda each: candidates.canonical_priority(each) or 0)
            return [peer.address for peer in session.peers()] == [best]

        for _ in range(8):
            wire = await wires.enter_async_context(dialled(metainfo, address))
            came.append(PeerAddress(*wire.stream.extra(SocketAttribute.local_address)))
            with suppress(anyio.BrokenResourceError, AssertionError):  # there may be no room
                await wire.shake_hands()
            await until(is_best_in)
        reasons = [event.reason for event in events if isinstance(event, PeerDisconnected)]
    assert set(reasons) <= {REPLACED}
