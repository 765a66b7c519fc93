"""Reading files of torrents that are stopped: what is here, if its hash is right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager_config
from tests.support.swarm import reach, resources, seed
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import KIB, SessionConfig
from torrent_engine.base.errors import LocalProtocolError, SessionError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.reading import stopped_files
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
PIECE_BYTES = 64 * KIB
FILES = {"a.bin": payload_of(300_000, 1), "empty": b"", "b/c.bin": payload_of(500_000, 2)}
METAINFO, PAYLOAD = make_torrent(FILES, piece_bytes=PIECE_BYTES)


@asynccontextmanager
async def session_of(
    folder: Path, metainfo: Metainfo = METAINFO, **settings: Any
) -> AsyncIterator[Session]:
    """Make a Session, not started, with services of its own."""
    async with resources(folder) as shared:
        config = SessionConfig(**settings)
        session = await Session.create(metainfo, shared, save_path=folder / "files", config=config)
        try:
            yield session
        finally:
            await session.close()


async def read(session: Session, file: int | str, count: int = -1, *, at: int = 0) -> bytes:
    with anyio.fail_after(PATIENCE_S):
        async with session.open(file) as reader:
            reader.seek(at)
            return await reader.read(count)


def change(path: Path, at: int) -> None:
    """Change one byte of a file in place."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("was_started", [True, False], ids=["stopped", "never started"])
async def test_files_of_a_stopped_torrent_are_read(tmp_path: Path, was_started: bool) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session:
        if was_started:
            await session.start()
            await reach(session, State.SEEDING)
            await session.stop()
        assert await read(session, 0) == FILES["a.bin"]
        assert (
            await read(session, "b/c.bin", 1_000, at=250_000) == FILES["b/c.bin"][250_000:251_000]
        )
        assert await read(session, 1) == b""
        assert session.state is State.STOPPED


async def test_nothing_of_a_stopped_torrent_is_made(tmp_path: Path) -> None:
    async with session_of(tmp_path) as session:
        with pytest.raises(SessionError, match="does not run"):
            await read(session, 0)
    assert not (tmp_path / "files").exists()


async def test_whole_pieces_are_read_and_others_are_refused_at_once(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    path = tmp_path / "files" / METAINFO.name / "a.bin"
    change(path, 2 * PIECE_BYTES + 5)
    async with session_of(tmp_path) as session:
        right = FILES["a.bin"]
        assert await read(session, 0, 2 * PIECE_BYTES) == right[: 2 * PIECE_BYTES]
        with pytest.raises(SessionError, match="does not run"):
            await read(session, 0, 10, at=2 * PIECE_BYTES)
        assert await read(session, 0, 10, at=3 * PIECE_BYTES) == right[3 * PIECE_BYTES :][:10]
        path.write_bytes(right[:10])  # cut short, of what a reader has not seen yet
        with pytest.raises(SessionError):
            await read(session, 0, 10)
        path.unlink()
        with pytest.raises(SessionError):
            await read(session, 0, 10)


async def test_what_is_changed_while_it_is_read_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopped_files, "KEPT_BYTES", PIECE_BYTES)
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session, session.open(0) as reader:
        assert await reader.read(10) == FILES["a.bin"][:10]
        change(tmp_path / "files" / METAINFO.name / "a.bin", PIECE_BYTES)
        assert await reader.read(10) == FILES["a.bin"][10:20]  # of the piece that was right
        reader.seek(PIECE_BYTES)
        with pytest.raises(SessionError):
            await reader.read(10)


async def test_a_reader_that_is_idle_keeps_no_file_open(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session, session.open(0) as reader:
        pool = session._core.shared.open_files
        for offset in (0, 150_000, 290_000):
            reader.seek(offset)
            assert await reader.read(10) == FILES["a.bin"][offset:][:10]
            assert len(pool) == 0
        (tmp_path / "files" / METAINFO.name / "a.bin").unlink()
        reader.seek(0)
        assert await reader.read(10) == FILES["a.bin"][:10]  # of a piece that was hashed


async def test_reader_goes_on_over_a_stop_and_a_start(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session:
        await session.start()
        await reach(session, State.SEEDING)
        found = b""
        async with session.open(0) as reader:
            for turn in range(3):
                found += await reader.read(100_000)
                await (session.start() if turn % 2 else session.stop())
        assert found == FILES["a.bin"]


async def test_a_read_that_is_stopped_goes_on_when_a_seed_is_found(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        session_of(tmp_path, peers=(address,)) as session,
        session.open(0) as reader,
    ):
        with pytest.raises(SessionError):
            await reader.read(10)
        await session.start()
        with anyio.fail_after(PATIENCE_S):
            assert await reader.read(300_000) == FILES["a.bin"]
        await session.stop()
        reader.seek(0)
        assert await reader.read() == FILES["a.bin"]


async def test_many_readers_at_once_share_what_was_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    hashed: list[int] = []
    look = stopped_files.StoppedFiles._read

    def counted(self: stopped_files.StoppedFiles, piece: int) -> bytes:
        hashed.append(piece)
        return look(self, piece)

    monkeypatch.setattr(stopped_files.StoppedFiles, "_read", counted)
    found: list[bytes] = []
    async with session_of(tmp_path) as session:

        async def read_all() -> None:
            found.append(await read(session, 0))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read_all)
        assert found == [FILES["a.bin"]] * 5
        assert session._core.readers is not None
        assert session._core.readers._stopped is None
    assert len(hashed) >= len(set(hashed)) == 5


@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_nothing_is_read_of_a_torrent_that_was_removed(tmp_path: Path, how: str) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session:
        await session.start()
        await reach(session, State.SEEDING)
        async with session.open(0) as reader:
            await (session.cancel() if how == "cancel" else session.close())
            with pytest.raises((SessionError, LocalProtocolError)):
                await reader.read(10)


async def test_renamed_and_moved_files_are_found(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with TorrentManager(manager_config(tmp_path)) as manager:
        session = await manager.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        await session.stop()
        async with session.open(0) as reader:
            assert await reader.read(10) == FILES["a.bin"][:10]
            await session.rename_file(0, f"{METAINFO.name}/other.bin")
            await session.move_storage(tmp_path / "elsewhere")
            reader.seek(200_000)
            assert await reader.read() == FILES["a.bin"][200_000:]
        assert (tmp_path / "elsewhere" / METAINFO.name / "other.bin").exists()
    async with TorrentManager(manager_config(tmp_path)) as manager:  # after another start, too
        (session,) = manager.sessions
        assert session.state is State.STOPPED
        assert await read(session, 0) == FILES["a.bin"]


async def test_torrent_starts_while_its_stopped_files_are_read(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with session_of(tmp_path) as session, session.open(2) as reader:
        assert await reader.read(10) == FILES["b/c.bin"][:10]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.start)
            with anyio.fail_after(PATIENCE_S):
                assert await reader.read() == FILES["b/c.bin"][10:]
        await reach(session, State.SEEDING)
