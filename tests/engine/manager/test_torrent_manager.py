"""Many torrents in one process: added, removed, paused together, and restored as they were."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager, manager_config
from tests.support.swarm import (
    address_of,
    content,
    download,
    reach,
    resources,
    seed,
    shared_config,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import ManagerConfig, QueueConfig, SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    LocalProtocolError,
    MagnetError,
    SessionError,
    StateDatabaseError,
    StateInUseError,
    UnknownTorrentError,
)
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.state.session_table import load_sessions
from torrent_engine.engine.manager.store import ManagerStore
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.removal import Removal
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PAYLOADS = [payload_of(100_000, number) for number in range(4)]
TORRENTS = [
    make_torrent(payload, name=f"torrent {number}")[0] for number, payload in enumerate(PAYLOADS)
]
FIRST, SECOND, THIRD, FOURTH = TORRENTS


async def test_a_torrent_is_added_by_path_bytes_and_metainfo(tmp_path: Path) -> None:
    (tmp_path / "a.torrent").write_bytes(FIRST.source)
    async with manager(tmp_path) as many:
        one = await many.add_torrent(tmp_path / "a.torrent")
        two = await many.add_torrent(SECOND.source)
        three = await many.add_torrent(THIRD)
        four = await many.add_torrent(Magnet.of(FOURTH))
        assert many.sessions == (one, two, three, four)
        assert [each.info_hash for each in many.sessions] == [each.info_hash for each in TORRENTS]
        assert many.get_session(SECOND.info_hash) is two
        assert many.get_session(InfoHash(bytes(20))) is None
        assert four.state is State.FETCHING_METADATA
        assert many.stats().torrents == 4


async def test_adding_twice_gives_the_session_that_is_there_with_the_trackers_of_both(
    tmp_path: Path,
) -> None:
    again, _ = make_torrent(PAYLOADS[0], name="torrent 0", tiers=[["http://127.0.0.1:1/announce"]])
    async with manager(tmp_path) as many:
        session = await many.add_torrent(FIRST)
        assert await many.add_torrent(again) is session
        link = Magnet(FIRST.info_hash, trackers=("udp://127.0.0.1:2/announce",))
        assert await many.add_torrent(link) is session
        assert len(many.sessions) == 1
        urls = session._settings.known_trackers()
        assert urls == {"http://127.0.0.1:1/announce", "udp://127.0.0.1:2/announce"}


async def test_what_is_no_torrent_changes_nothing(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        with pytest.raises(MagnetError):
            await many.add_torrent("magnet:?xt=urn:btih:zz")
        with pytest.raises(FileNotFoundError):
            await many.add_torrent(tmp_path / "nothing.torrent")
        assert many.sessions == ()


async def test_no_more_than_max_torrents(tmp_path: Path) -> None:
    async with manager(tmp_path, max_torrents=1) as many:
        session = await many.add_torrent(FIRST)
        with pytest.raises(SessionError, match="1 torrents already"):
            await many.add_torrent(SECOND)
        assert await many.add_torrent(FIRST) is session
        await many.remove_torrent(FIRST.info_hash)
        await many.add_torrent(SECOND)
        assert [each.info_hash for each in many.sessions] == [SECOND.info_hash]


async def test_nothing_is_added_outside_the_block(tmp_path: Path) -> None:
    many = manager(tmp_path)
    with pytest.raises(LocalProtocolError):
        await many.add_torrent(FIRST)
    async with many:
        pass
    with pytest.raises(LocalProtocolError):
        await many.add_torrent(FIRST)
    assert many.sessions == ()


async def test_a_second_manager_of_a_folder_is_refused_until_the_first_has_ended(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path):
        other = manager(tmp_path)
        with pytest.raises(StateInUseError, match="managed by another") as caught:
            await other.__aenter__()
        assert caught.value.folder == str(tmp_path / "state")
    async with manager(tmp_path) as again:
        assert again.restored == 0


async def test_an_error_in_the_block_leaves_as_itself(tmp_path: Path) -> None:
    async def fail() -> None:
        async with manager(tmp_path) as many:
            await many.add_torrent(FIRST)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with manager(tmp_path) as many:
        assert many.restored == 1


async def test_a_borrowed_shared_resources_stays_open(tmp_path: Path) -> None:
    async with SharedResources(shared_config(tmp_path)) as shared:
        async with TorrentManager(ManagerConfig(), shared=shared) as many:
            await many.add_torrent(FIRST, save_path=tmp_path / "files")
        assert shared.references == 1
        assert shared.listen_port > 0


async def test_removing_keeps_files_unless_told_and_never_touches_those_of_others(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "files"
    for torrent, payload in zip(TORRENTS[:2], PAYLOADS, strict=False):
        write_files(torrent, payload, folder)
    (folder / "foreign").write_bytes(b"x")
    async with manager(tmp_path) as many:
        for torrent in TORRENTS[:2]:
            await reach(await many.add_torrent(torrent), State.SEEDING)
        await many.remove_torrent(FIRST.info_hash)
        await many.remove_torrent(SECOND.info_hash, delete_files=True)
        with pytest.raises(KeyError):
            await many.remove_torrent(FIRST.info_hash)
        assert sorted(path.name for path in folder.iterdir()) == ["foreign", "torrent 0"]
    async with manager(tmp_path) as many:
        assert many.restored == 0


async def test_all_are_paused_and_go_on_together(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        sessions = [await many.add_torrent(each) for each in TORRENTS[:3]]
        await many.pause_all()
        assert {each.state for each in sessions} == {State.PAUSED}
        assert all(each.is_paused_by_user for each in sessions)
        await many.pause_all()
        await many.resume_all()
        assert {each.state for each in sessions} == {State.DOWNLOADING}


async def test_events_of_all_torrents_come_to_one_subscriber(tmp_path: Path) -> None:
    seen: list[InfoHash] = []
    async with manager(tmp_path) as many:
        subscription = many.events.subscribe(
            "session.started", lambda event: seen.append(event.info_hash)
        )
        await many.add_torrent(FIRST)
        await many.add_torrent(SECOND)
        await until(lambda: len(seen) == 2)
        subscription.cancel()
        await many.add_torrent(THIRD)
        await anyio.sleep(0.05)
    assert seen == [FIRST.info_hash, SECOND.info_hash]


async def test_after_a_restart_everything_is_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write_files(FIRST, PAYLOADS[0], folder)
    async with manager(tmp_path) as many:
        await reach(await many.add_torrent(FIRST), State.SEEDING)
        paused = await many.add_torrent(SECOND, config=SessionConfig(seed_ratio=2.0))
        await paused.pause()
        stopped = await many.add_torrent(THIRD, save_path=tmp_path / "elsewhere", priority=3)
        await stopped.stop()
        stopped.add_tracker("http://127.0.0.1:1/announce")
        await many.add_torrent(Magnet(FOURTH.info_hash, name="by link"))
        many.move_to(FOURTH.info_hash, 0)
    async with manager(tmp_path) as many:
        assert many.restored == 4
        four, one, two, three = many.sessions
        assert [many.position(each.info_hash) for each in many.sessions] == [0, 1, 2, 3]
        assert [each.info_hash for each in (one, two, three, four)] == [
            each.info_hash for each in TORRENTS
        ]
        await reach(one, State.SEEDING)
        assert one.stats().completed_bytes == len(PAYLOADS[0])
        assert (two.state, two.is_paused_by_user) == (State.PAUSED, True)
        assert two.config.seed_ratio == 2.0
        assert (three.state, three.save_path) == (State.STOPPED, tmp_path / "elsewhere")
        assert many.priority(THIRD.info_hash) == 3
        assert "http://127.0.0.1:1/announce" in three._settings.known_trackers()
        assert (four.state, four.name) == (State.FETCHING_METADATA, "by link")
        assert [each.metainfo for each in (one, two, three)] == TORRENTS[:3]


async def test_a_restored_torrent_downloads_to_its_end(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
    async with manager(tmp_path) as many, seed(tmp_path / "s", FIRST, PAYLOADS[0]) as (_, address):
        (session,) = many.sessions
        assert session.is_resting
        await session.add_peer(*address)
        await reach(session, State.SEEDING)
        assert content(FIRST, tmp_path / "files") == PAYLOADS[0]
    async with manager(tmp_path) as many, resources(tmp_path / "leech") as other:
        (session,) = many.sessions
        await reach(session, State.SEEDING)
        await download(other, FIRST, tmp_path / "leech", address_of(many.shared))
        assert content(FIRST, tmp_path / "leech") == PAYLOADS[0]


async def test_a_magnet_link_that_got_its_metadata_is_a_torrent_after_a_restart(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many, seed(tmp_path / "s", FIRST, PAYLOADS[0]) as (_, address):
        session = await many.add_torrent(Magnet(FIRST.info_hash, peers=(address,)))
        await reach(session, State.SEEDING)
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        await reach(session, State.SEEDING)
        metainfo = session.metainfo
        assert metainfo is not None
        assert metainfo.info_bytes == FIRST.info_bytes


@pytest.mark.parametrize("damage", ["row", "file too", "database"])
async def test_f6_damage_costs_one_torrent_at_most(tmp_path: Path, damage: str) -> None:
    async with manager(tmp_path) as many:
        for torrent in TORRENTS[:3]:
            await many.add_torrent(torrent)
    if damage == "database":
        (tmp_path / "state" / "state.db").write_bytes(b"garbage" * 1000)
    else:
        with closing(sqlite3.connect(tmp_path / "state" / "state.db")) as database:
            database.execute(
                "UPDATE sessions SET settings = '{}' WHERE info_hash = ?", (SECOND.info_hash,)
            )
            database.commit()
    if damage == "file too":
        (tmp_path / "state" / "torrents" / f"{SECOND.info_hash.hex()}.session").unlink()
    async with manager(tmp_path) as many:
        left = [FIRST, THIRD] if damage == "file too" else [FIRST, SECOND, THIRD]
        assert [each.info_hash for each in many.sessions] == [each.info_hash for each in left]
        for session in many.sessions:
            assert await reach(session, State.DOWNLOADING) is State.DOWNLOADING


async def test_the_queue_holds_back_and_lets_go(tmp_path: Path) -> None:
    queue = QueueConfig(max_active_downloads=1, count_slow_torrents=True)
    async with manager(tmp_path, queue=queue) as many:
        sessions = [await many.add_torrent(each) for each in TORRENTS[:3]]
        await until(lambda: sum(not each.is_held for each in sessions) == 1)
        assert [each.is_held for each in sessions] == [False, True, True]
        assert sessions[1].state is State.PAUSED
        await sessions[1].resume()
        assert sessions[1].state is State.PAUSED
        await sessions[0].pause()
        await until(lambda: not sessions[1].is_held)
        assert state_of(sessions[1]) is State.DOWNLOADING
        many.set_priority(THIRD.info_hash, 5)
        await until(lambda: not sessions[2].is_held and sessions[1].is_held)
        assert sessions[0].is_paused_by_user


async def test_limits_over_all_torrents(tmp_path: Path) -> None:
    config = manager_config(
        tmp_path, max_download_bytes_per_s=1_000, max_upload_bytes_per_s=2_000, max_connections=7
    )
    async with TorrentManager(config) as many:
        assert many.shared.connection_slots.limit == 7
        shared = many.shared.config
        assert (shared.max_download_bytes_per_s, shared.max_upload_bytes_per_s) == (1_000, 2_000)
    assert replace(config, max_torrents=1).max_torrents == 1


async def test_who_flushes_when_nothing_changed_delays_no_later_change(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await anyio.wait_all_tasks_blocked()
        await many.flush()
        await many.add_torrent(FIRST.source)
        with anyio.fail_after(30):
            while not await load_sessions(many.shared.store):  # noqa: ASYNC110 - no event tells
                await anyio.sleep(0.05)
        assert many._registry.store.has_metainfo(FIRST.info_hash)


async def test_many_that_are_added_at_once_are_each_added_once(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(many.add_torrent, FIRST.source)
                tasks.start_soon(many.add_torrent, SECOND.source)
        assert len(many.sessions) == 2


async def test_a_torrent_that_is_added_while_it_is_removed_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        old = await many.add_torrent(FIRST)
        remove = ManagerStore.remove

        async def add_then_remove(store: ManagerStore, info_hash: InfoHash) -> None:
            await many.add_torrent(FIRST, config=SessionConfig(paused=True))
            await remove(store, info_hash)

        monkeypatch.setattr(ManagerStore, "remove", add_then_remove)
        await many.remove_torrent(FIRST.info_hash)
        assert many.get_session(FIRST.info_hash) not in {None, old}
        await many.flush()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    async with manager(tmp_path) as many:
        assert many.restored == 1


async def test_a_torrent_that_is_added_while_its_run_ends_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        old = await many.add_torrent(FIRST)
        cancel, held = Session.cancel, anyio.Event()

        async def cancel_late(session: Session, *, delete_files: bool = False) -> None:
            await held.wait()
            await cancel(session, delete_files=delete_files)

        monkeypatch.setattr(Session, "cancel", cancel_late)
        added: list[Session] = []

        async def add() -> None:
            added.append(await many.add_torrent(FIRST))

        tasks.start_soon(many.remove_torrent, FIRST.info_hash)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(add)
        await anyio.wait_all_tasks_blocked()
        assert not added  # it would go with the removal
        held.set()
        await until(lambda: added)
        assert added[0] is many.get_session(FIRST.info_hash) is not old


async def test_a_torrent_that_is_added_while_it_starts_is_there_only_if_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        start, held = Session.start, anyio.Event()

        async def fail_late(session: Session) -> None:
            monkeypatch.setattr(Session, "start", start)
            await held.wait()
            raise StateDatabaseError("no database")

        monkeypatch.setattr(Session, "start", fail_late)
        told: list[bool | str] = []

        async def add() -> None:
            try:
                told.append((await many.add(FIRST)).is_new)
            except StateDatabaseError as error:
                told.append(str(error))

        tasks.start_soon(add)
        tasks.start_soon(add)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        held.set()
        await until(lambda: len(told) == 2)
        assert told == ["no database", True]
        assert many.get_session(FIRST.info_hash) is not None


async def test_f4_a_kill_within_a_removal_leaves_no_torrent_without_its_metainfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(FIRST)
        await many.flush()
        cancel, saved = Session.cancel, list[object]()

        async def cancel_then_save(session: Session, *, delete_files: bool) -> None:
            await cancel(session, delete_files=delete_files)
            many.move_to(session.info_hash, 0)
            await many.flush()
            saved.extend(await load_sessions(many.shared.store))

        monkeypatch.setattr(Session, "cancel", cancel_then_save)
        await many.remove_torrent(session.info_hash, delete_files=True)
        assert not saved


async def test_a_peer_that_is_given_again_and_again_is_saved_once(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(FIRST)
        await session.stop()
        for _ in range(3):
            await session.add_peer("127.0.0.1", 9)
            await session.stop()
        await many.flush()
        (record,) = await load_sessions(many.shared.store)
        assert record.settings["config"]["peers"] == [["127.0.0.1", 9]]


@contextmanager
def held_cancels(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[anyio.Event, list[bool]]]:
    """Let Sessions be cancelled only when the event is set; list which were to delete files."""
    cancel, go_on, calls = Session.cancel, anyio.Event(), list[bool]()

    async def cancel_late(session: Session, *, delete_files: bool = False) -> None:
        calls.append(delete_files)
        await go_on.wait()
        await cancel(session, delete_files=delete_files)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "cancel", cancel_late)
        yield go_on, calls


async def test_removals_of_one_torrent_at_once_are_one_and_take_none_that_comes_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        old = await many.add_torrent(FIRST)
        added: list[Session] = []

        async def remove() -> None:
            await many.remove_torrent(FIRST.info_hash)
            assert many.get_session(FIRST.info_hash) is not old

        async def add() -> None:
            added.append(await many.add_torrent(FIRST))

        with held_cancels(monkeypatch) as (go_on, calls):
            for _ in range(5):
                tasks.start_soon(remove)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(add)
            await anyio.wait_all_tasks_blocked()
            assert (calls, added) == ([False], [])
            go_on.set()
            await until(lambda: added)
        await many.flush()
        assert many.sessions == (added[0],)
        assert await many.shared.store.run(metainfo_rows) == 1
    async with manager(tmp_path) as many:
        assert many.restored == 1


def metainfo_rows(db: sqlite3.Connection) -> int:
    """Return of how many torrents the database has the .torrent."""
    (count,) = db.execute("SELECT count(*) FROM session_metainfos").fetchone()
    return int(count)


async def test_files_go_if_one_of_two_removals_at_once_wants_them_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(FIRST, PAYLOADS[0], tmp_path / "files")
    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        await reach(await many.add_torrent(FIRST), State.SEEDING)
        with held_cancels(monkeypatch) as (go_on, calls):
            tasks.start_soon(many.remove_torrent, FIRST.info_hash)
            await anyio.wait_all_tasks_blocked()
            for _ in range(2):
                tasks.start_soon(partial(many.remove_torrent, FIRST.info_hash, delete_files=True))
            await anyio.wait_all_tasks_blocked()
            go_on.set()
            await until(lambda: not many.sessions)
        assert calls == [False, True]
        assert not (tmp_path / "files" / "torrent 0").exists()


async def test_a_removal_of_files_that_comes_too_late_does_not_pretend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Session.close

    async def remove_then_close(session: Session) -> None:
        tasks.start_soon(remove)
        await anyio.wait_all_tasks_blocked()
        await close(session)

    async def remove() -> None:
        with pytest.raises(UnknownTorrentError):
            await many.remove_torrent(FIRST.info_hash, delete_files=True)

    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        await many.add_torrent(FIRST)
        monkeypatch.setattr(Session, "close", remove_then_close)
        await many.remove_torrent(FIRST.info_hash)


async def test_removals_of_one_torrent_at_once_fail_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = 0

    async def remove() -> None:
        nonlocal failed
        with pytest.raises(StateDatabaseError, match="no database"):
            await many.remove_torrent(FIRST.info_hash)
        failed += 1

    async def fail(_session: Session, *, delete_files: bool) -> None:
        await anyio.wait_all_tasks_blocked()
        raise StateDatabaseError("no database")

    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
        monkeypatch.setattr(Session, "cancel", fail)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(remove)
        assert (failed, many.sessions) == (3, ())


async def test_what_is_removed_for_its_owner_and_by_its_user_leaves_before_it_is_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, slow, go_on = Removal._remove, anyio.Event(), anyio.Event()
    added: list[Session] = []

    async def slow_for_owners(removal: Removal, end: Any) -> None:
        if end is TorrentRun.abandon:
            slow.set()
            await go_on.wait()
            assert not added
        await remove(removal, end)

    async def add() -> None:
        added.append(await many.add_torrent(FIRST))

    async with manager(tmp_path) as many, anyio.create_task_group() as tasks:
        await many.add_torrent(FIRST, owner=OwnerTie("ui", 1))
        monkeypatch.setattr(Removal, "_remove", slow_for_owners)
        many.owners.advance("ui", 2)
        tasks.start_soon(many.remove_torrent, FIRST.info_hash)
        with anyio.fail_after(30):
            await slow.wait()
        tasks.start_soon(add)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
        await until(lambda: added)
        await anyio.wait_all_tasks_blocked()
        assert many.sessions == (added[0],)


async def test_a_torrent_is_added_paused_from_whatever_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.torrent"
    metainfo, _ = make_torrent({"a": payload_of(50_000)})
    path.write_bytes(metainfo.source)
    sources: list[Any] = [metainfo, path, str(path), metainfo.source, Magnet.of(metainfo)]
    async with manager(tmp_path / "state") as many:
        for source in sources:
            session = await many.add_torrent(source, save_path=tmp_path, paused=True)
            assert session.info_hash == metainfo.info_hash
        assert session.state is State.PAUSED
        assert session.is_paused_by_user
        await session.resume()
        assert session.state is not State.PAUSED
        with pytest.raises(TypeError, match="unexpected keyword argument 'safe_path'"):
            await many.add_torrent(metainfo, safe_path=tmp_path)


async def test_what_was_added_paused_runs_when_it_is_continued_and_there_is_room(
    tmp_path: Path,
) -> None:
    torrents = [make_torrent(payload_of(30_000, seed))[0] for seed in (1, 2)]
    queue = QueueConfig(max_active_downloads=1, count_slow_torrents=True)
    async with manager(tmp_path, queue=queue) as many:
        config = SessionConfig(paused=True)
        first, second = [await many.add_torrent(each, config=config) for each in torrents]
        await until(lambda: not many._queue._is_changed)
        await first.resume()
        assert state_of(first) is State.DOWNLOADING
        await second.resume()
        assert state_of(second) is State.PAUSED
        assert second.admin.is_held


async def test_limits_of_the_queue_change_while_torrents_run(tmp_path: Path) -> None:
    torrents = [make_torrent({f"{name}": payload_of(50_000, name)})[0] for name in range(6)]
    async with manager(tmp_path / "state") as many:
        for metainfo in torrents:
            await many.add_torrent(metainfo, save_path=tmp_path)

        def running() -> int:
            return sum(each.state is State.DOWNLOADING for each in many.sessions)

        await until(lambda: running() == 6)
        many.set_queue_limits(max_active_downloads=2)
        await until(lambda: running() == 2)
        many.set_queue_limits(max_active_seeds=1)  # the other limit stays
        many.set_queue_limits(max_active_downloads=4)
        await until(lambda: running() == 4)
        many.set_queue_limits(max_active_downloads=0)
        await until(lambda: running() == 6)
        with pytest.raises(ConfigError, match="max_active: -1"):
            many.set_queue_limits(max_active=-1)
        with pytest.raises(TypeError, match="max_active"):
            many.set_queue_limits(max_active=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("deletes_files", [True, False])
async def test_a_removal_is_finished_before_its_manager_closes(
    tmp_path: Path, *, deletes_files: bool
) -> None:
    """Else a removal that waits for a disk loses its database, and the torrent comes back."""
    write_files(FIRST, PAYLOADS[0], tmp_path / "out")
    many = await manager(tmp_path).start()
    session = await many.add_torrent(FIRST, save_path=tmp_path / "out")
    await reach(session, State.SEEDING)
    limiter = many.shared.disk_limiter
    borrowers = [object() for _ in range(int(limiter.total_tokens))]
    async with anyio.create_task_group() as tasks:
        for each in borrowers:
            await limiter.acquire_on_behalf_of(each)
        remove = partial(many.remove_torrent, FIRST.info_hash, delete_files=deletes_files)
        tasks.start_soon(remove)
        await until(lambda: limiter.statistics().tasks_waiting)
        tasks.start_soon(many.close)
        await until(lambda: many.get_session(FIRST.info_hash) is None or many._registry.is_closing)
        for each in borrowers:
            limiter.release_on_behalf_of(each)
    assert (tmp_path / "out" / "torrent 0").exists() is not deletes_files
    async with manager(tmp_path) as again:
        assert again.sessions == ()
