"""A folder for incomplete files, and a suffix behind their names until the torrent is complete."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.swarm import content, reach, resources, seed, shared_config
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine import (
    ConfigError,
    FileExistsStorageError,
    Magnet,
    ManagerConfig,
    Metainfo,
    Session,
    SessionConfig,
    State,
    TorrentManager,
    download_async,
)
from torrent_engine.codec.paths import windows_path
from torrent_engine.disk.moves import relocation
from torrent_engine.disk.state.session_table import load_sessions
from torrent_engine.engine.events import DownloadFinished, SessionCompleted, StorageMoved
from torrent_engine.engine.runs.incomplete import _is_begun, _suffixed

pytestmark = pytest.mark.anyio
SEVERAL = make_torrent({"a": payload_of(90_000), "sub/b": payload_of(60_000, 1), "empty": b""})
SINGLE = make_torrent(payload_of(150_000), name="only.bin")
METAINFO, PAYLOAD = SEVERAL
FILES = {"payload/a", "payload/sub/b", "payload/empty"}


def files_in(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".parts")
    }


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on another file system, where there is one."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        yield tmp_path / "elsewhere"
        return
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


@asynccontextmanager
async def begun(
    tmp_path: Path, metainfo: Metainfo, payload: bytes, **settings: Any
) -> AsyncIterator[tuple[TorrentManager, Session]]:
    """Run a slow download whose first piece is here; it goes on when its limit is lifted."""
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=60_000, **settings)
        async with TorrentManager(manager_config(tmp_path)) as manager:
            stream = manager.events.stream("piece.completed")
            async with stream:
                session = await manager.add_torrent(metainfo, config=config)
                with anyio.fail_after(30):
                    await anext(aiter(stream))
            yield manager, session


def manager_config(tmp_path: Path) -> ManagerConfig:
    return ManagerConfig(shared=shared_config(tmp_path), save_path=tmp_path / "out")


async def finished(session: Session) -> None:
    """Wait until all is here and where it belongs."""
    with anyio.fail_after(30):
        async with session.events.stream("storage.moved", "file.renamed") as stream:
            session.set_rate_limits(download_bytes_per_s=0)
            await session.wait(State.SEEDING)
            while session.final_path != session.save_path or session._core.final_home is not None:
                with anyio.move_on_after(0.1):
                    await anext(aiter(stream))


@pytest.mark.parametrize("suffix", ["", ".part"])
async def test_files_are_elsewhere_until_they_are_complete(
    tmp_path: Path, elsewhere: Path, suffix: str
) -> None:
    settings = {"incomplete_dir": elsewhere, "incomplete_suffix": suffix}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        assert files_in(elsewhere)  # which of them come first is chance
        assert not files_in(elsewhere) - {name + suffix for name in FILES}
        assert files_in(tmp_path / "out") == set()
        assert session.save_path == elsewhere
        assert session.final_path == tmp_path / "out"
        events = session.events.stream("session.completed", "storage.moved", "download.finished")
        await finished(session)
        assert await reach(session, State.SEEDING) is State.SEEDING
        told = [await anext(events) for _ in range(3)]
        assert [type(event) for event in told] == [SessionCompleted, StorageMoved, DownloadFinished]
        assert told[-1] == DownloadFinished(METAINFO.info_hash, str(tmp_path / "out"))
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
        assert files_in(tmp_path / "out") == FILES
        assert files_in(elsewhere) == set()
        assert session.save_path == tmp_path / "out"


@pytest.mark.parametrize("torrent", [SEVERAL, SINGLE], ids=["several", "single"])
async def test_a_suffix_alone_goes_when_the_torrent_is_complete(
    tmp_path: Path, torrent: tuple[Metainfo, bytes]
) -> None:
    metainfo, payload = torrent
    async with begun(tmp_path, metainfo, payload, incomplete_suffix=".!x") as (_, session):
        assert all(name.endswith(".!x") for name in files_in(tmp_path / "out"))
        await finished(session)
        assert content(metainfo, tmp_path / "out") == payload
        assert not any(name.endswith(".!x") for name in files_in(tmp_path / "out"))


async def test_no_suffix_is_given_that_makes_the_name_of_another_file(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(50_000), "A.Part": payload_of(60_000, 2)})
    async with begun(tmp_path, metainfo, payload, incomplete_suffix=".part") as (_, session):
        await finished(session)
        assert content(metainfo, tmp_path / "out") == payload
        assert files_in(tmp_path / "out") == {"payload/a", "payload/A.Part"}


async def test_a_download_ends_when_its_files_are_where_they_belong(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        config = SessionConfig(
            peers=(address,), incomplete_dir=elsewhere, incomplete_suffix=".part"
        )
        with anyio.fail_after(30):
            place = await download_async(
                METAINFO, tmp_path / "out", config=config, shared_config=shared_config(tmp_path)
            )
    assert place == tmp_path / "out/payload"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_in(tmp_path / "out") == FILES


@pytest.mark.parametrize("is_managed", [True, False])
async def test_a_restart_goes_on_where_the_files_are(
    tmp_path: Path, elsewhere: Path, is_managed: bool
) -> None:
    settings: dict[str, Any] = {"incomplete_dir": elsewhere, "incomplete_suffix": ".part"}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        before = session.stats().completed_bytes
    assert before
    async with seed(tmp_path / "again", METAINFO, PAYLOAD) as (_, address):
        if is_managed:
            async with TorrentManager(manager_config(tmp_path)) as manager:
                session = manager.sessions[0]
                await session.add_peer(*address)
                await finished(session)
                assert session.stats().downloaded_bytes < len(PAYLOAD)
        else:
            config = SessionConfig(peers=(address,), **settings)
            async with resources(tmp_path) as shared:
                session = await Session.create(
                    METAINFO, shared, save_path=tmp_path / "out", config=config
                )
                async with session:
                    await finished(session)
                    assert session.stats().downloaded_bytes < len(PAYLOAD)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_in(elsewhere) == set()


async def test_what_is_complete_already_is_seeded_where_it_is(
    tmp_path: Path, elsewhere: Path
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    config = SessionConfig(incomplete_dir=elsewhere, incomplete_suffix=".part")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            events = session.events.stream("download.finished")
            await reach(session, State.SEEDING)
            assert session.save_path == tmp_path / "out"
        assert [event async for event in events] == []  # nothing was downloaded
    assert files_in(tmp_path / "out") == FILES
    assert files_in(elsewhere) == set()


async def test_something_in_the_way_at_the_end_stays_and_is_told(
    tmp_path: Path, elsewhere: Path
) -> None:
    settings = {"incomplete_dir": elsewhere, "incomplete_suffix": ".part"}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        (tmp_path / "out/payload").mkdir(parents=True)
        (tmp_path / "out/payload/a").write_bytes(b"mine")
        async with session.events.stream("storage.move_failed", "download.finished") as stream:
            session.set_rate_limits(download_bytes_per_s=0)
            with anyio.fail_after(30):
                failed, done = await anext(stream), await anext(stream)
                await session.wait(State.SEEDING)
        assert done == DownloadFinished(METAINFO.info_hash, str(elsewhere))
        assert "payload/a" in str(failed)
        assert (tmp_path / "out/payload/a").read_bytes() == b"mine"
        assert files_in(elsewhere) == {name + ".part" for name in FILES}
        (tmp_path / "out/payload/a").unlink()
        await session.recheck()  # the next time that it is complete is the next try
        await finished(session)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_an_incomplete_torrent_is_removed_with_its_files(
    tmp_path: Path, elsewhere: Path, is_restarted: bool
) -> None:
    settings = {"incomplete_dir": elsewhere, "incomplete_suffix": ".part"}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (manager, session):
        if is_restarted:
            await session.stop()
        else:
            await manager.remove_torrent(METAINFO.info_hash, delete_files=True)
    if is_restarted:
        async with TorrentManager(manager_config(tmp_path)) as manager:
            assert manager.sessions[0].state is State.STOPPED
            await manager.remove_torrent(METAINFO.info_hash, delete_files=True)
    assert files_in(elsewhere) == set()


async def test_a_move_while_incomplete_says_where_the_files_will_go(
    tmp_path: Path, elsewhere: Path
) -> None:
    settings = {"incomplete_dir": elsewhere, "incomplete_suffix": ".part"}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        await session.move_storage(tmp_path / "other")
        assert session.save_path == elsewhere
        await session.rename_file(1, "payload/new")
        assert (1, "payload/new.part") in session.config.renamed_files
        await finished(session)
        assert files_in(tmp_path / "other") == {"payload/a", "payload/new", "payload/empty"}
    assert files_in(elsewhere) == set()


@pytest.mark.parametrize("suffix", ["/x", "..", "a\0"])
def test_a_suffix_that_no_name_can_have_is_refused(suffix: str) -> None:
    with pytest.raises(ConfigError, match="incomplete_suffix"):
        SessionConfig(incomplete_suffix=suffix)


# -- another folder at run time -------------------------------------------------------------------


async def test_a_download_moves_to_a_folder_for_incomplete_files_and_home_in_the_end(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with begun(tmp_path, METAINFO, PAYLOAD) as (_, session):
        assert files_in(tmp_path / "out")
        await session.set_incomplete_dir(elsewhere)
        assert (session.save_path, session.final_path) == (elsewhere, tmp_path / "out")
        assert files_in(tmp_path / "out") == set()
        assert files_in(elsewhere)
        have = session.stats().pieces_have
        assert have > 0
        await finished(session)
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
        assert files_in(elsewhere) == set()


@pytest.mark.parametrize("suffix", ["", ".part"])
async def test_a_download_moves_back_to_where_it_belongs_before_it_is_complete(
    tmp_path: Path, elsewhere: Path, suffix: str
) -> None:
    settings = {"incomplete_dir": elsewhere, "incomplete_suffix": suffix}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        await session.set_incomplete_dir(None)
        assert session.save_path == session.final_path == tmp_path / "out"
        assert session.config.incomplete_dir is None
        assert files_in(elsewhere) == set()
        assert all(name.endswith(suffix) for name in files_in(tmp_path / "out"))
        await finished(session)
        assert files_in(tmp_path / "out") == FILES
        assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_files_of_a_complete_torrent_stay(tmp_path: Path, elsewhere: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with TorrentManager(manager_config(tmp_path)) as manager:
        session = await manager.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        await session.set_incomplete_dir(elsewhere)
        await reach(session, State.SEEDING)
        assert session.save_path == session.final_path == tmp_path / "out"
        assert session.config.incomplete_dir == str(elsewhere)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_something_in_the_way_leaves_a_download_where_it_was(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with begun(tmp_path, METAINFO, PAYLOAD) as (_, session):
        present = next(iter(files_in(tmp_path / "out")))
        (elsewhere / present).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / present).write_bytes(b"somebody else's")
        with pytest.raises(FileExistsStorageError):
            await session.set_incomplete_dir(elsewhere)
        assert session.save_path == session.final_path == tmp_path / "out"
        assert session.config.incomplete_dir is None
        await finished(session)
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert (elsewhere / present).read_bytes() == b"somebody else's"


async def test_a_torrent_without_metadata_takes_the_folder_when_it_comes(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        TorrentManager(manager_config(tmp_path)) as manager,
    ):
        config = SessionConfig(max_download_bytes_per_s=60_000)
        session = await manager.add_torrent(Magnet(METAINFO.info_hash), config=config)
        await session.set_incomplete_dir(elsewhere)
        async with session.events.stream("piece.completed") as stream:
            await session.add_peer(*address)
            with anyio.fail_after(30):
                await anext(aiter(stream))
        assert (session.save_path, session.final_path) == (elsewhere, tmp_path / "out")
        await finished(session)
        assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_restart_knows_at_rest_where_the_files_are(tmp_path: Path, elsewhere: Path) -> None:
    async with begun(tmp_path, METAINFO, PAYLOAD) as (manager, session):
        await session.set_incomplete_dir(elsewhere)
        await session.stop()
        await manager.flush()
    async with TorrentManager(manager_config(tmp_path)) as again:
        (session,) = again.sessions
        assert session.state is State.STOPPED
        assert (session.save_path, session.final_path) == (elsewhere, tmp_path / "out")
        async with seed(tmp_path / "other", METAINFO, PAYLOAD) as (_, address):
            await session.start()
            await session.add_peer(*address)
            await finished(session)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_in(elsewhere) == set()


async def test_f4_a_move_to_the_folder_that_was_cut_short_is_finished_and_home_is_known(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process dies when the database knows the new place."""

    async with begun(tmp_path, METAINFO, PAYLOAD) as (manager, session):
        await session.stop()
        await manager.flush()
        record = (await load_sessions(manager.shared.store))[0]
        module: Any = relocation
        saved_placed = module.save_placed

        async def placed_and_killed(*arguments: Any) -> None:
            await saved_placed(*arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(module, "save_placed", placed_and_killed)
            with pytest.raises(Killed):
                await session.set_incomplete_dir(elsewhere)
        store = manager.shared.store
        (after,) = await load_sessions(store)
        assert after.settings["save_path"] == record.settings["save_path"]
        assert after.settings["files_path"] == str(elsewhere)
        assert after.settings["config"]["incomplete_dir"] == str(elsewhere)
        manager._registry.store._changed.clear()  # what the dead process would have saved
        monkeypatch.setattr(manager._registry.store, "changed", lambda _info_hash: None)
    async with TorrentManager(manager_config(tmp_path)) as again:
        (session,) = again.sessions
        assert (session.save_path, session.final_path) == (elsewhere, tmp_path / "out")
        async with seed(tmp_path / "other", METAINFO, PAYLOAD) as (_, address):
            await session.start()
            await session.add_peer(*address)
            await finished(session)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_in(elsewhere) == set()


async def test_what_could_not_go_home_tries_again_after_a_restart(
    tmp_path: Path, elsewhere: Path
) -> None:
    settings = {"incomplete_dir": elsewhere}
    async with begun(tmp_path, METAINFO, PAYLOAD, **settings) as (_, session):
        in_the_way = tmp_path / "out/payload/a"
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_bytes(b"not ours")
        async with session.events.stream("storage.move_failed") as stream:
            session.set_rate_limits(download_bytes_per_s=0)
            with anyio.fail_after(30):
                await anext(aiter(stream))
        await reach(session, State.SEEDING)
        in_the_way.unlink()
    async with TorrentManager(manager_config(tmp_path)) as again:
        (session,) = again.sessions
        with anyio.fail_after(30):
            while session._core.final_home is not None:  # noqa: ASYNC110 - it may be so already
                await anyio.sleep(0.01)
        assert session.save_path == tmp_path / "out"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_in(elsewhere) == set()


@pytest.mark.parametrize("name", [r"\\evil.example\share", r"C:\Windows\calc.exe", "nul"])
def test_a9_only_a_name_that_windows_can_have_is_looked_at(tmp_path: Path, name: str) -> None:
    metainfo, _ = make_torrent(b"x", name=name)
    (tmp_path / name).touch()
    config = SessionConfig()
    assert _is_begun(tmp_path, metainfo, config, windows=False)
    assert not _is_begun(tmp_path, metainfo, config, windows=True)
    (tmp_path / windows_path((name,))[0]).touch()
    assert _is_begun(tmp_path, metainfo, config, windows=True)


def test_a9_a_suffix_stands_behind_names_that_windows_can_have() -> None:
    metainfo, _ = make_torrent({"a:b": b"1", "nul": b"2", "c": b"3"}, name="x?")
    config = SessionConfig(incomplete_suffix=".part", renamed_files=((2, "d:e"),))
    on_windows = [(0, ("x_", "a_b.part")), (1, ("x_", "_nul.part")), (2, ("d_e.part",))]
    assert _suffixed(metainfo, config, windows=True) == on_windows
    elsewhere = [(0, ("x?", "a:b.part")), (1, ("x?", "nul.part")), (2, ("d:e.part",))]
    assert _suffixed(metainfo, config, windows=False) == elsewhere


@pytest.mark.parametrize("twin", ["a_b", "A_B"])
def test_a9_files_have_no_suffix_where_windows_takes_their_names_for_one(twin: str) -> None:
    metainfo, _ = make_torrent({"a:b": b"1", twin: b"2"})
    config = SessionConfig(incomplete_suffix=".part")
    assert _suffixed(metainfo, config, windows=True) is None
    assert _suffixed(metainfo, config, windows=False) is not None
