"""What is told of the peers of a torrent, of the pieces that they have, and of its problems."""

from pathlib import Path

import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    DiskFullError,
    MissingFilesError,
    SessionError,
    StateDatabaseError,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.status import problem_of
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import ProblemKind

pytestmark = pytest.mark.anyio

PIECE = 16 * 1024
PAYLOAD = payload_of(10 * PIECE - 5_000, 9)
METAINFO, _ = make_torrent(PAYLOAD, piece_bytes=PIECE)
SLOW = 2_000  # bytes per second


async def test_a_peer_that_sends_is_told_of_on_both_sides(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeder, address):
        seeder.set_rate_limits(upload_bytes_per_s=SLOW * 10)
        async with resources(tmp_path / "leech") as shared:
            config = SessionConfig(peers=(address,))
            leech = await Session.create(METAINFO, shared, save_path=tmp_path, config=config)
            async with leech:
                await until(lambda: [each.sends_to_us for each in leech.peers()] == [True])
                (theirs,) = leech.peers()
                (ours,) = seeder.peers()
                assert ours.gets_from_us
                assert not ours.sends_to_us
                assert (theirs.progress, len(theirs.peer_id)) == (1.0, 20)
                assert 0 <= ours.progress < 1
                assert leech.brief().sending_to_us == seeder.brief().getting_from_us == 1
                assert seeder.brief().sending_to_us == leech.brief().getting_from_us == 0


async def test_availability_counts_the_connected_peers(tmp_path: Path) -> None:
    async with (
        listening(Script(METAINFO, PAYLOAD)) as address,
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(max_download_bytes_per_s=SLOW)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "o", config=config)
        assert list(session.availability().counts) == [0] * 10
        async with session:
            await reach(session, State.DOWNLOADING)
            alone = session.availability()
            assert (alone.distributed_copies, alone.desired_bytes) == (0.0, 0)
            await session.add_peer(*address)
            await until(lambda: list(session.availability().counts) == [1] * 10)
            together = session.availability()
            assert together.distributed_copies >= 1.0
            left = session.stats().wanted_bytes - session.stats().completed_bytes
            assert left - 4 * PIECE <= together.desired_bytes <= left  # some blocks are here
            await session.pause()
            await until(lambda: session.availability().desired_bytes == 0)
            assert session.peers() == []


async def test_a_complete_torrent_wants_nothing_and_a_link_has_no_pieces(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path)
    async with resources(tmp_path / "state") as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        async with session:
            await reach(session, State.SEEDING)
            found = session.availability()
            assert (found.distributed_copies, found.desired_bytes) == (1.0, 0)
        link = await Session.create(Magnet.of(METAINFO), shared, save_path=tmp_path)
        assert link.availability().counts == b""
        await link.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingFilesError(["/a"]), ProblemKind.MISSING_FILES),
        (DiskFullError("/a", "full"), ProblemKind.DISK),
        (StateDatabaseError("damaged"), ProblemKind.DISK),
        (SessionError("a bug"), ProblemKind.OTHER),
    ],
)
def test_faults_have_a_kind(error, kind) -> None:
    problem = problem_of(error)
    assert (problem.kind, problem.message) == (kind, str(error))


async def test_missing_files_are_a_problem_until_they_are_fetched(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path)
    async with resources(tmp_path / "state") as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        await session.start()
        await reach(session, State.SEEDING)
        assert session.problem is None
        await session.stop()
        (tmp_path / METAINFO.name).unlink()
        await session.start()
        await reach(session, State.ERROR)
        problem = session.problem
        assert problem is not None
        assert problem.kind is ProblemKind.MISSING_FILES
        await session.resume()
        await reach(session, State.DOWNLOADING)
        assert session.problem is None
        await session.close()
