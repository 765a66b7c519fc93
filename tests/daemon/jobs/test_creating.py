"""Results of jobs that make .torrent files are kept for as long as the jobs are recorded."""

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.engine_port.port import JobKeeping
from torrent_engine.daemon.jobs.creating import TorrentMaker
from torrent_engine.disk.create.create import CreateOptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def jobs() -> JobKeeping:
    return FakeEngine().port.jobs


async def make(maker: TorrentMaker, jobs: JobKeeping, folder: Path) -> str:
    """Make a torrent as a job; return the id of the job."""
    source = folder / "file"
    source.write_bytes(b"x" * 1_000)
    job_id = jobs.begin("create", "file")
    await maker.make(job_id, source, CreateOptions())
    jobs.finish(job_id, "completed")
    return job_id


async def test_results_go_with_their_jobs(tmp_path: Path, jobs: JobKeeping) -> None:
    maker = TorrentMaker(jobs, lambda: tmp_path / "state")
    await maker.clean()
    one, two = [await make(maker, jobs, tmp_path) for _ in range(2)]
    await jobs.clear([one])
    await maker.clean()
    assert await maker.read(one) is None
    assert await maker.read(two) is not None


async def test_the_result_of_a_job_that_ends_while_others_are_deleted_is_kept(
    tmp_path: Path, jobs: JobKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, run_sync = TorrentMaker(jobs, lambda: tmp_path / "state"), anyio.to_thread.run_sync
    made: list[str] = []

    async def run_after_a_job(*call: object) -> object:
        monkeypatch.undo()
        made.append(await make(maker, jobs, tmp_path))
        return await run_sync(*call)  # type: ignore[arg-type]

    monkeypatch.setattr("anyio.to_thread.run_sync", run_after_a_job)
    await maker.clean()
    assert await maker.read(made[0]) is not None
