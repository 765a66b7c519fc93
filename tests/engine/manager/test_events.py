"""Events of a manager: torrents that come, change and go, the queue, and the jobs."""

from pathlib import Path

import pytest

from tests.support.managers import manager, manager_config
from tests.support.swarm import address_of, reach, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import NO_TORRENT, InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.events import (
    ChangedGroup,
    Event,
    JobChanged,
    JobsRemoved,
    QueueChanged,
    TorrentAdded,
    TorrentChanged,
    TorrentRemoved,
)
from torrent_engine.engine.jobs.job_log import JobKind, JobStatus
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(100_000)
FIRST, SECOND = (make_torrent(payload_of(100_000, n), name=f"torrent {n}")[0] for n in range(2))
SETTINGS, PROGRESS, ABOUT = ChangedGroup.SETTINGS, ChangedGroup.PROGRESS, ChangedGroup.ABOUT
MANAGER_EVENTS = (TorrentAdded, TorrentRemoved, QueueChanged)


def heard(many: TorrentManager) -> list[Event]:
    events: list[Event] = []
    many.events.subscribe("*", events.append)
    return events


def of(events: list[Event], *kinds: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kinds)]


def changed(events: list[Event], info_hash: InfoHash) -> set[ChangedGroup]:
    """Return the groups that changed, and forget all events."""
    found = {
        event.group
        for event in events
        if isinstance(event, TorrentChanged) and event.info_hash == info_hash
    }
    events.clear()
    return found


async def test_a_torrent_that_comes_and_goes_is_told_with_nothing_before_and_after(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        events = heard(many)
        await many.add_torrent(FIRST)
        await many.add_torrent(FIRST)
        await many.remove_torrent(FIRST.info_hash)
        await until(lambda: of(events, QueueChanged))
    own = [event for event in events if event.info_hash == FIRST.info_hash]
    jobs_apart = [event for event in own if not isinstance(event, JobChanged)]
    assert jobs_apart[0] == TorrentAdded(FIRST.info_hash, "torrent 0", is_restored=False)
    assert jobs_apart[-2:] == [TorrentRemoved(FIRST.info_hash), QueueChanged(FIRST.info_hash)]
    assert len(of(events, TorrentAdded)) == len(of(events, TorrentRemoved)) == 1


async def test_a_torrent_that_cannot_start_is_added_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: Session) -> None:
        raise StorageError("a", "no")

    async with manager(tmp_path) as many:
        events = heard(many)
        monkeypatch.setattr(Session, "start", fail)
        with pytest.raises(StorageError):
            await many.add_torrent(FIRST)
        await until(lambda: of(events, TorrentRemoved))
        assert many.sessions == ()
    assert [type(event) for event in of(events, TorrentAdded, TorrentRemoved)] == [
        TorrentAdded,
        TorrentRemoved,
    ]


async def test_restored_torrents_are_told_as_such(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
    again = manager(tmp_path)
    events = heard(again)
    async with again:
        await until(lambda: of(events, TorrentAdded))
    assert of(events, TorrentAdded) == [
        TorrentAdded(FIRST.info_hash, "torrent 0", is_restored=True)
    ]
    assert not of(events, TorrentRemoved)


async def test_places_and_priorities_change_the_queue(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
        events = heard(many)
        await many.add_torrent(SECOND, position=0)
        many.move_to(FIRST.info_hash, 0)
        many.set_priority(SECOND.info_hash, 3)
        await until(lambda: len(of(events, QueueChanged)) == 3)
        assert [event.info_hash for event in of(events, QueueChanged)] == [
            SECOND.info_hash,
            FIRST.info_hash,
            SECOND.info_hash,
        ]
        assert TorrentChanged(SECOND.info_hash, SETTINGS) in events


async def test_each_change_names_its_group(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(FIRST)
        await reach(session, State.DOWNLOADING)
        events = heard(many)
        session.set_rate_limits(download_bytes_per_s=1_000)
        await until(lambda: events)
        assert changed(events, FIRST.info_hash) == {SETTINGS}
        session.set_seeding_rules(SeedingConfig(seed_ratio=2.0))
        await until(lambda: events)
        assert changed(events, FIRST.info_hash) == {SETTINGS}
        await session.pause()
        await until(lambda: events)
        assert changed(events, FIRST.info_hash) == {PROGRESS}
        await session.move_storage(tmp_path / "elsewhere")
        await until(lambda: TorrentChanged(FIRST.info_hash, SETTINGS) in events)
        assert session.save_path == tmp_path / "elsewhere"
        await session.rename_file(0, "other name")
        await until(lambda: TorrentChanged(FIRST.info_hash, ABOUT) in events)
        assert changed(events, FIRST.info_hash) == {SETTINGS, PROGRESS, ABOUT}
        assert not session.is_moving


async def test_metadata_that_comes_changes_what_the_torrent_is(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(PAYLOAD, name="from a link")
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        manager(tmp_path / "many") as many,
    ):
        events = heard(many)
        config = SessionConfig(peers=(address,))
        session = await many.add_torrent(Magnet(metainfo.info_hash), config=config)
        await session.wait_complete()
        await until(lambda: TorrentChanged(metainfo.info_hash, ABOUT) in events)
        assert session.name == "from a link"


async def test_jobs_are_told_as_the_database_has_them(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        events = heard(many)
        await many.add_torrent(FIRST)
        await until(lambda: len(of(events, JobChanged)) >= 2)
        told = [event for event in events if isinstance(event, JobChanged)]
        added = next(event for event in told if event.job.kind is JobKind.ADD)
        assert added.info_hash == FIRST.info_hash
        assert added.job.status is JobStatus.COMPLETED
        assert added.job == await many.jobs.get(added.job.id)
        assert await many.jobs.clear() == 1
        await until(lambda: of(events, JobsRemoved))
        assert of(events, JobsRemoved) == [JobsRemoved(NO_TORRENT, (added.job.id,))]


async def test_a_job_without_a_torrent_has_an_empty_info_hash(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        events = heard(many)
        with many.jobs.recorded(JobKind.CREATE, name="a folder"):
            pass
        await many.jobs.flush()
        await until(lambda: of(events, JobChanged))
        assert [event.info_hash for event in of(events, JobChanged)] == [NO_TORRENT]


async def test_a_manager_that_ended_hears_no_jobs(tmp_path: Path) -> None:
    async with SharedResources(manager_config(tmp_path).shared) as shared:
        async with TorrentManager(manager_config(tmp_path), shared=shared) as many:
            events = heard(many)
            assert address_of(shared)[1]
        shared.jobs.begin(JobKind.CREATE, name="later")
        await shared.jobs.flush()
        assert not shared.jobs._listeners
        assert not of(events, JobChanged, *MANAGER_EVENTS)
