"""Times, totals and texts of torrents, kept over restarts of a manager."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.helpers import CONFIG
from tests.support.clock import ManualClock
from tests.support.managers import manager, manager_config
from tests.support.swarm import reach, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import (
    SessionClocks,
    change_settings,
    load_sessions,
    save_clocks,
)
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.events import ChangedGroup, Event, TorrentChanged
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.runs.user_data import MAX_BYTES, read_user_data
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(100_000), name="stuff")
RESTING, _ = make_torrent(payload_of(50_000, 1), name="rests")
DAY_S = 86_400.0


def timed(folder: Path, wall: ManualClock, clock: Any = None) -> TorrentManager:
    given = {} if clock is None else {"clock": clock}
    return TorrentManager(manager_config(folder), wall_clock=wall, **given)


async def forget(store: StateStore, info_hash: InfoHash, *names: str) -> None:
    """Make the record of a torrent one of an earlier version, without these settings."""

    def older(settings: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name not in names}

    await store.run(lambda db: change_settings(db, info_hash, older))


async def test_a_download_is_added_started_active_complete_and_edited(tmp_path: Path) -> None:
    wall = ManualClock(1_700_000_000.0)
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        async with timed(tmp_path / "many", wall) as many:
            added = await many.add_torrent(METAINFO, paused=True)
            times = added.times()
            assert (times.added_s, times.started_s) == (1_700_000_000.0, 1_700_000_000.0)
            assert (times.completed_s, times.activity_s, times.edited_s) == (None, None, None)
            wall.advance(60.0)
            await added.resume()
            await added.add_peer(*address)
            await added.wait_complete()
            wall.advance(60.0)
            await added.pause()
            added.add_tracker("http://127.0.0.1:1/announce")
            times = added.times()
            assert times.added_s == 1_700_000_000.0
            assert times.started_s == times.completed_s == 1_700_000_060.0
            assert times.edited_s == 1_700_000_120.0
            await until(lambda: added.times().activity_s is not None)
            assert times.downloading_s > 0
            known = added.times()
        wall.advance(DAY_S)
        async with timed(tmp_path / "many", wall) as many:
            again = many.sessions[0].times()
            assert again.started_s == wall.now
            assert (again.added_s, again.completed_s) == (known.added_s, known.completed_s)
            assert (again.activity_s, again.edited_s) == (known.activity_s, known.edited_s)
            assert again.downloading_s >= known.downloading_s


async def test_what_is_there_already_was_completed_when_it_was_checked(tmp_path: Path) -> None:
    wall = ManualClock(1_700_000_000.0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/stuff").write_bytes(PAYLOAD)
    async with timed(tmp_path, wall) as many:
        session = await many.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        assert session.times().completed_s == 1_700_000_000.0
        wall.advance(DAY_S)
        await session.recheck()
        await until(lambda: session.state is State.CHECKING)
        await reach(session, State.SEEDING)
        assert session.times().completed_s == 1_700_000_000.0
        assert session.times().activity_s is None


async def test_a_torrent_at_rest_keeps_its_clocks_over_a_clean_end(tmp_path: Path) -> None:
    wall, clock = ManualClock(1_700_000_000.0), ManualClock()
    async with timed(tmp_path, wall, clock) as many:
        session = await many.add_torrent(RESTING)
        assert session.is_resting
        assert session.state is State.DOWNLOADING
        await many.flush()
        clock.advance(DAY_S)
        assert session.times().downloading_s == DAY_S
    async with timed(tmp_path, wall, clock) as many:
        assert many.sessions[0].times().downloading_s == DAY_S


async def test_clocks_are_newer_than_the_record(tmp_path: Path) -> None:
    clocks = SessionClocks(70.0, 80.0, 90.0)
    async with manager(tmp_path) as many:
        session = await many.add_torrent(RESTING)
        await session.stop()
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        await save_clocks(store, {RESTING.info_hash: clocks})
        assert (await load_sessions(store))[0].clocks == clocks
    async with manager(tmp_path) as many:
        times = many.sessions[0].times()
        assert (times.seeding_s, times.downloading_s, times.activity_s) == clocks
        await many.remove_torrent(RESTING.info_hash)
        query = "SELECT * FROM session_clocks"
        assert await many.shared.store.run(lambda db: db.execute(query).fetchall()) == []


async def test_a_kill_loses_no_more_than_some_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.engine.manager.store.CLOCKS_S", 0.05)
    wall, clock = ManualClock(1_700_000_000.0), ManualClock()
    async with timed(tmp_path, wall, clock) as many:
        await many.add_torrent(RESTING)
        await many.flush()
        clock.advance(DAY_S)
        query = "SELECT downloading_s FROM session_clocks"

        async def saved() -> list[tuple[float]]:
            return await many.shared.store.run(lambda db: db.execute(query).fetchall())

        with anyio.fail_after(30):
            while await saved() != [(DAY_S,)]:  # noqa: ASYNC110 - the database tells nobody
                await anyio.sleep(0.01)
        assert many.sessions[0].is_resting


@pytest.mark.parametrize(
    "row", [(-1.0, 0.0, None), (float("inf"), 0.0, 1.0), ("x", 0.0, None), (0.0, 0.0, b"z")]
)
async def test_f6_clocks_that_cannot_be_are_not_believed(
    tmp_path: Path, row: tuple[object, ...]
) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(RESTING)
        await session.stop()
    async with manager(tmp_path) as many:
        query = "REPLACE INTO session_clocks VALUES (?, ?, ?, ?)"
        store = many.shared.store
        await store.run(lambda db: db.execute(query, (bytes(RESTING.info_hash), *row)).rowcount)
        assert (await load_sessions(store))[0].clocks is None


async def test_a_record_of_an_earlier_version_says_what_is_known(tmp_path: Path) -> None:
    wall = ManualClock(1_700_000_000.0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/stuff").write_bytes(PAYLOAD)
    async with timed(tmp_path, wall) as many:
        session = await many.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        await until(lambda: session.is_resting)
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        await forget(store, METAINFO.info_hash, "times", "user_data")
        await store.run(lambda db: db.execute("DELETE FROM session_clocks").rowcount)
        record = await store.load(METAINFO.info_hash)
        assert record is not None
    wall.advance(DAY_S)
    async with timed(tmp_path, wall) as many:
        (session,) = many.sessions
        assert session.is_resting
        times = session.times()
        assert times.added_s == record.added_time_s
        assert times.completed_s is None
        assert session.user_data == {}
        await session.recheck()
        await until(lambda: session.state is not State.CHECKING)
        await reach(session, State.SEEDING)
        assert session.times().completed_s is None


async def test_totals_are_those_of_all_runs(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        async with manager(tmp_path / "many") as many:
            config = SessionConfig(peers=(address,))
            session = await many.add_torrent(METAINFO, config=config)
            await session.wait_complete()
            session.totals.failed_bytes += 7
            session.totals.redundant_bytes += 5
            stats, brief = session.stats(), session.brief()
            assert stats.all_downloaded_bytes == stats.downloaded_bytes
            assert brief.all_downloaded_bytes == stats.all_downloaded_bytes >= 100_000
            assert (stats.all_failed_bytes, brief.all_wasted_bytes) == (7, 12)
            await until(lambda: session.is_resting)
            assert session.brief().all_wasted_bytes == 12
            assert session.stats().all_failed_bytes == 7
        for _ in range(2):
            await look_at_totals_of_the_last_run(tmp_path / "many", stats.all_downloaded_bytes)


async def look_at_totals_of_the_last_run(folder: Path, downloaded_bytes: int) -> None:
    async with manager(folder) as many:
        (session,) = many.sessions
        assert session.stats().downloaded_bytes == 0
        assert session.stats().all_downloaded_bytes == downloaded_bytes
        assert session.is_resting
        assert session.brief().all_wasted_bytes == 12
        await session.recheck()
        await until(lambda: session.state is State.CHECKING)
        await reach(session, State.SEEDING)
        await until(lambda: session.is_resting)
        assert session.brief().all_wasted_bytes == 12
        assert session.stats().all_failed_bytes == 7


# -- texts ----------------------------------------------------------------------------------------


async def test_texts_are_kept_with_a_torrent_and_changes_are_told(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        one = await many.add_torrent(RESTING, user_data={"labels": "a,b"})
        two = await many.add_torrent(METAINFO)
        assert one.user_data == {"labels": "a,b"}
        assert two.user_data == {}
        seen: list[Event] = []
        many.events.subscribe(TorrentChanged, seen.append)
        two.set_user_data({"labels": "a,b", "category": "ä"})
        one.user_data["labels"] = "another"
        assert one.user_data == {"labels": "a,b"}
        await until(lambda: TorrentChanged(METAINFO.info_hash, ChangedGroup.SETTINGS) in seen)
        await many.add_torrent(RESTING, user_data={"labels": "not this"})
    async with manager(tmp_path) as many:
        one, two = many.sessions
        assert one.user_data == {"labels": "a,b"}
        assert two.user_data == {"labels": "a,b", "category": "ä"}
        two.set_user_data({})
    async with manager(tmp_path) as many:
        assert many.sessions[1].user_data == {}


@pytest.mark.parametrize("data", [[("a", "b")], {1: "a"}, {"a": b"b"}, {"a": None}, "ab"])
async def test_what_are_no_texts_is_refused(tmp_path: Path, data: Any) -> None:
    async with manager(tmp_path) as many:
        with pytest.raises(TypeError, match="user_data"):
            await many.add_torrent(RESTING, user_data=data)
        assert many.sessions == ()
        session = await many.add_torrent(RESTING)
        with pytest.raises(TypeError, match="user_data"):
            session.set_user_data(data)


@pytest.mark.parametrize("data", [{"a": "ä" * 2_048}, {"a" * 4_097: ""}, {"a": "\ud800"}])
async def test_texts_that_are_too_long_or_no_unicode_are_refused(
    tmp_path: Path, data: dict[str, str]
) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(RESTING)
        session.set_user_data({"a": "b" * (MAX_BYTES - 1)})
        with pytest.raises(ConfigError, match="user_data"):
            session.set_user_data(data)
        assert session.user_data == {"a": "b" * (MAX_BYTES - 1)}


@pytest.mark.parametrize("value", [None, [], {"a": 1}, {"a": "b" * 5_000}, "a"])
def test_f6_texts_of_a_record_that_cannot_be_are_left_out(value: object) -> None:
    assert read_user_data(value) == ()
