"""From metadata to payload: nothing is lost on the way, and nothing is left behind (BEP 9)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.support.rude_server import RudeServer, response, rude_server
from tests.support.swarm import finish, reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import MetadataConfig, PoolConfig, SessionConfig
from torrent_engine.base.errors import LocalProtocolError, SessionError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm import handshake
from torrent_engine.policy.peers.candidates import Source

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=32 * 1024)
BIG, BIG_PAYLOAD = make_torrent(payload_of(40_000_000), piece_bytes=1 << 20)
PRIVATE, PRIVATE_PAYLOAD = make_torrent(payload_of(100_000), is_private=True)


async def session_of(
    magnet: Magnet, shared: SharedResources, folder: Path, config: SessionConfig | None = None
) -> Session:
    return await Session.create(magnet, shared, save_path=folder / "out", config=config)


@asynccontextmanager
async def tracker(delay_s: float) -> AsyncIterator[RudeServer]:
    """Run a tracker that names nobody, and takes its time."""

    async def answer(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        await anyio.sleep(delay_s)
        await stream.send(response(encode({"interval": 1800, "peers": b""})))

    async with rude_server(answer) as server:
        yield server


def announced(server: RudeServer) -> list[str]:
    """Return the events that a tracker heard, in order."""
    queries = [head.split(b" ")[1].decode() for head in server.requests]
    return [
        part.removeprefix("event=")
        for query in queries
        for part in query.split("&")
        if part.startswith("event=")
    ]


async def test_bep9_an_announce_that_the_metadata_overtakes_is_made_again(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
        tracker(0.5) as server,
    ):
        magnet = Magnet(METAINFO.info_hash, peers=(address,), trackers=(f"{server.base}/announce",))
        session = await session_of(magnet, shared, tmp_path)
        async with session:
            await reach(session, State.SEEDING)
            await until(lambda: [each.state for each in session.trackers()] == ["working"])
    assert announced(server)[0] == "started"
    assert announced(server)[-1] == "stopped"


@pytest.mark.parametrize(
    "config", [SessionConfig(metadata_only=True), SessionConfig(check_only=True)]
)
async def test_bep9_a_tracker_that_counts_us_is_told_when_no_transfer_follows(
    tmp_path: Path, config: SessionConfig
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
        tracker(0.0) as server,
    ):
        magnet = Magnet(METAINFO.info_hash, trackers=(f"{server.base}/announce",))
        session = await session_of(magnet, shared, tmp_path, config)
        async with session:
            await until(lambda: [each.state for each in session.trackers()] == ["working"])
            await session.add_peer(*address)
            with anyio.fail_after(30):
                await session.wait_stopped()
    assert announced(server) == ["started", "stopped"]


def _file_in_the_way(folder: Path) -> None:
    (folder / "out").write_bytes(b"x")


@pytest.mark.parametrize(
    ("config", "prepare"),
    [
        (SessionConfig(check_only=True), None),
        (SessionConfig(metadata_only=True), None),
        (SessionConfig(file_priorities=(1, 2, 3)), None),
        (SessionConfig(), _file_in_the_way),
    ],
    ids=["check only", "metadata only", "priorities", "storage"],
)
async def test_links_that_no_transfer_goes_on_with_are_closed(
    tmp_path: Path, config: SessionConfig, prepare: Callable[[Path], None] | None
) -> None:
    if prepare is not None:
        prepare(tmp_path)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await session_of(
            Magnet(METAINFO.info_hash, peers=(address,)), shared, tmp_path, config
        )
        async with session:
            with anyio.fail_after(30), suppress(SessionError):
                await session.wait_stopped()
        assert shared.connection_slots.used == 0
        await until(lambda: not seeding.peers())
        assert not seeding.peers()


@pytest.mark.parametrize("end", ["stop", "pause", "cancel"])
async def test_links_are_closed_when_checking_is_ended(tmp_path: Path, end: str) -> None:
    write_files(BIG, bytes(len(BIG_PAYLOAD)), tmp_path / "out")
    async with (
        seed(tmp_path / "seed", BIG, BIG_PAYLOAD) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await session_of(Magnet(BIG.info_hash, peers=(address,)), shared, tmp_path)
        async with session:
            await reach(session, State.CHECKING)
            await getattr(session, end)()
            await until(lambda: not seeding.peers())
            assert shared.connection_slots.used == 0


async def _close_while_it_starts(session: Session, verb: str) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.start)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()  # it reads the database now
        await getattr(session, verb)()


@pytest.mark.parametrize("verb", ["stop", "close"])
async def test_who_stops_a_session_while_it_starts_finds_it_stopped(
    tmp_path: Path, verb: str
) -> None:
    async with resources(tmp_path) as shared:
        session = await session_of(Magnet(METAINFO.info_hash), shared, tmp_path)
        with anyio.fail_after(30):
            await _close_while_it_starts(session, verb)
        assert state_of(session) is State.STOPPED
        assert session._core.ended.is_set()
        assert shared.references == 1


async def test_a_start_that_fails_because_all_is_closed_leaves_nothing_that_hangs(
    tmp_path: Path,
) -> None:
    raised: list[Exception] = []

    async def start(session: Session) -> None:
        try:
            await session.start()
        except LocalProtocolError as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks, resources(tmp_path) as shared:
        session = await session_of(Magnet(METAINFO.info_hash), shared, tmp_path)
        tasks.start_soon(start, session)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
    with anyio.fail_after(30):
        await session.close()
    assert state_of(session) is State.STOPPED


@pytest.mark.parametrize("source", [Source.DHT, Source.PEX, Source.LSD])
async def test_b10_a_link_to_whom_no_tracker_named_ends_when_the_torrent_is_private(
    tmp_path: Path, source: Source
) -> None:
    async with (
        seed(
            tmp_path / "seed", PRIVATE, PRIVATE_PAYLOAD, metadata=MetadataConfig(serve_private=True)
        ) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await session_of(Magnet(PRIVATE.info_hash), shared, tmp_path)
        async with session:
            await until(lambda: session._core.fetch is not None and session._core.fetch.pool._tasks)
            assert session._core.fetch is not None
            session._core.fetch.pool.add([PeerAddress(*address)], source)
            await reach(session, State.DOWNLOADING)
            await until(lambda: not seeding.peers())
            assert shared.connection_slots.used == 0
            assert session.totals.downloaded_bytes == 0
            assert PeerAddress(*address) not in session._core.run.transfer.pool.candidates  # type: ignore[union-attr]


async def test_kept_links_count_against_the_limit_of_connections(tmp_path: Path) -> None:
    limit = PoolConfig(max_connections_per_torrent=2, allow_multiple_per_ip=True)
    async with (
        seed(tmp_path / "a", BIG, BIG_PAYLOAD) as (_, one),
        seed(tmp_path / "b", BIG, BIG_PAYLOAD) as (_, two),
        seed(tmp_path / "c", BIG, BIG_PAYLOAD) as (_, three),
        resources(tmp_path / "leech", pool=limit) as shared,
    ):
        most = 0
        session = await session_of(Magnet(BIG.info_hash, peers=(one, two, three)), shared, tmp_path)

        def count(_event: object) -> None:
            nonlocal most
            most = max(most, shared.connection_slots.used)

        session.events.subscribe("*", count)
        async with session:
            await reach(session, State.SEEDING)
    assert most == 2


async def test_lonely_torrents_ask_again_by_the_peers_of_the_transfer(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", BIG, BIG_PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(max_download_bytes_per_s=100_000)
        session = await session_of(
            Magnet(BIG.info_hash, peers=(address,)), shared, tmp_path, config
        )
        async with session:
            await reach(session, State.DOWNLOADING)
            await until(session.peers)
            run = session._core.run
            assert run is not None
            assert run.transfer.sources._swarm is run.torrent
            assert len(run.torrent.peers) == 1


async def test_cancelling_a_link_that_never_started_removes_what_an_earlier_run_left(
    tmp_path: Path,
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        magnet = Magnet(METAINFO.info_hash, peers=(address,))
        first = await session_of(magnet, shared, tmp_path, SessionConfig(seed_time_s=0.0))
        await finish(first)
        assert (tmp_path / "out" / "payload").exists()
        again = await session_of(magnet, shared, tmp_path)
        await again.cancel(delete_files=True)
        assert not (tmp_path / "out" / "payload").exists()
        assert await shared.store.load(METAINFO.info_hash) is None


async def test_f10_a_bug_in_the_task_of_one_connection_ends_no_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await session_of(Magnet(METAINFO.info_hash), shared, tmp_path)
        async with session:
            await until(lambda: session._core.fetch is not None and session._core.fetch.pool._tasks)
            assert session._core.fetch is not None

            def fail(address: PeerAddress, _now: float, *, hung_up: bool = False) -> None:
                raise KeyError(f"a bug {address} {hung_up}")

            monkeypatch.setattr(session._core.fetch.candidates, "mark_failed", fail)
            await session.add_peer("127.0.0.1", 9)  # nobody listens there
            await until(lambda: "internal error in the task" in caplog.text)
            await session.add_peer(*address)
            await reach(session, State.SEEDING)
            assert session.error is None


async def test_f11_a_link_that_ends_for_a_bitfield_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a magnet link were there in part, with more pieces than are told singly."""
    monkeypatch.setattr(handshake, "MAX_MISSING_HAVES", 3)
    kept = len(PAYLOAD) // 2
    write_files(METAINFO, PAYLOAD[:kept] + bytes(len(PAYLOAD) - kept), tmp_path / "out")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        reasons: list[str] = []
        connected: list[object] = []
        session = await session_of(Magnet(METAINFO.info_hash, peers=(address,)), shared, tmp_path)
        session.events.subscribe("peer.disconnected", lambda each: reasons.append(each.reason))
        seeding.events.subscribe("peer.connected", connected.append)
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes < len(PAYLOAD)
        assert reasons[0] == "to tell it all pieces at once"
        assert len(connected) == 2
