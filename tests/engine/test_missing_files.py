"""Files that somebody removed: state ERROR, until they are back or resume() downloads them."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import address_of, content, reach, resources, seed, shared_config
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine import (
    ManagerConfig,
    MissingFilesError,
    Session,
    SessionConfig,
    SharedResources,
    State,
    TorrentManager,
    download_async,
)

pytestmark = pytest.mark.anyio
METAINFO, PAYLOAD = make_torrent(
    {"a": payload_of(90_000), "sub/b": payload_of(60_000, 1), "empty": b""}
)
REMOVED = "payload/sub/b"


async def complete(tmp_path: Path) -> Path:
    """Leave a complete torrent behind, as the database knows it; return its save path."""
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared, await session_of(shared, tmp_path) as session:
        await reach(session, State.SEEDING)
    return tmp_path / "out"


async def session_of(shared: SharedResources, tmp_path: Path, **settings: object) -> Session:
    config = SessionConfig(**settings)  # type: ignore[arg-type]
    return await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)


async def fails_for_missing_files(session: Session) -> MissingFilesError:
    with anyio.fail_after(30):
        assert await session.wait(State.ERROR) is State.ERROR
    assert isinstance(session.error, MissingFilesError)
    return session.error


async def test_files_gone_at_a_start_are_an_error_and_resume_fetches_them(tmp_path: Path) -> None:
    save_path = await complete(tmp_path)
    (save_path / REMOVED).unlink()
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path) as shared,
        await session_of(shared, tmp_path, peers=(address,)) as session,
    ):
        error = await fails_for_missing_files(session)
        assert error.paths == (str(save_path / REMOVED),)
        assert "missing files" in str(error)
        assert not (save_path / REMOVED).exists()
        await session.start()  # says the same as long as it is so
        await fails_for_missing_files(session)
        await session.resume()
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes < 90_000
    assert content(METAINFO, save_path) == PAYLOAD


async def test_files_that_are_back_are_seeded_without_a_download(tmp_path: Path) -> None:
    save_path = await complete(tmp_path)
    (save_path / "payload").rename(tmp_path / "away")
    async with resources(tmp_path) as shared, await session_of(shared, tmp_path) as session:
        assert (await fails_for_missing_files(session)).count == 2
        if (save_path / "payload").exists():
            (save_path / "payload").rmdir()
        (tmp_path / "away").rename(save_path / "payload")
        await session.start()
        assert await reach(session, State.SEEDING) is State.SEEDING


async def test_an_empty_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    save_path = await complete(tmp_path)
    (save_path / "payload/empty").unlink()
    async with resources(tmp_path) as shared, await session_of(shared, tmp_path) as session:
        await reach(session, State.SEEDING)
    assert (save_path / "payload/empty").exists()


@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize(
    "take_away",
    [Path.unlink, lambda path: path.rename(path.with_name("elsewhere"))],
    ids=["removed", "moved"],
)
async def test_files_gone_while_seeding_are_an_error_on_access(
    tmp_path: Path, take_away: Callable[[Path], object], is_read_before: bool
) -> None:
    save_path = await complete(tmp_path)
    async with resources(tmp_path) as shared, await session_of(shared, tmp_path) as session:
        await reach(session, State.SEEDING)
        peers = (address_of(shared),)
        if is_read_before:  # then the file is open
            with anyio.fail_after(30):
                await download_async(
                    METAINFO,
                    tmp_path / "first",
                    config=SessionConfig(peers=peers),
                    shared_config=shared_config(tmp_path / "1"),
                )
        take_away(save_path / REMOVED)
        async with resources(tmp_path / "2") as others:
            leech = await Session.create(
                METAINFO, others, save_path=tmp_path / "2", config=SessionConfig(peers=peers)
            )
            async with leech:
                await fails_for_missing_files(session)
        await session.start()
        again = await fails_for_missing_files(session)
        assert again.paths == (str(save_path / REMOVED),)


async def test_files_gone_while_downloading_are_an_error(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(600_000)}, piece_bytes=16_384)
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=100_000)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        path = tmp_path / "out/payload/a"
        async with session:
            with anyio.fail_after(30):
                stream = session.events.stream("piece.completed")
                async with stream:
                    await anext(aiter(stream))
                path.unlink()
                await fails_for_missing_files(session)
            assert not path.exists()
            session.set_rate_limits(download_bytes_per_s=0)
            await session.resume()
            await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload


async def test_recheck_takes_what_is_there(tmp_path: Path) -> None:
    save_path = await complete(tmp_path)
    (save_path / REMOVED).unlink()
    async with resources(tmp_path) as shared, await session_of(shared, tmp_path) as session:
        await fails_for_missing_files(session)
        await session.recheck()
        assert await reach(session, State.DOWNLOADING) is State.DOWNLOADING


async def test_a_manager_restores_the_error_and_removes_the_rest(tmp_path: Path) -> None:
    config = ManagerConfig(shared=shared_config(tmp_path), save_path=tmp_path / "out")
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with TorrentManager(config) as manager:
        await reach(await manager.add_torrent(METAINFO), State.SEEDING)
    (tmp_path / "out" / REMOVED).unlink()
    for _ in range(2):
        async with TorrentManager(config) as manager:
            await fails_for_missing_files(manager.sessions[0])
    async with TorrentManager(config) as manager:
        await fails_for_missing_files(manager.sessions[0])
        await manager.remove_torrent(METAINFO.info_hash, delete_files=True)
    assert not (tmp_path / "out/payload/a").exists()


async def test_a_download_that_is_asked_for_fetches_again(tmp_path: Path) -> None:
    save_path = await complete(tmp_path)
    (save_path / REMOVED).unlink()
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        with anyio.fail_after(30):
            await download_async(
                METAINFO,
                save_path,
                config=SessionConfig(peers=(address,)),
                shared_config=shared_config(tmp_path),
            )
    assert content(METAINFO, save_path) == PAYLOAD
