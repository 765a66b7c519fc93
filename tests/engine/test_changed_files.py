"""Files that somebody else changes while they are seeded: what is wrong by then is not sent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.swarm import address_of, content, kinds, reach, record, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(
    {"a": payload_of(300_000), "b": payload_of(300_000, seed=1)}, piece_bytes=64 * 1024
)
FILE = "payload/b"


def edit(path: Path) -> None:
    """Change one byte in place."""
    with path.open("r+b") as file:
        file.seek(200_000)
        file.write(b"edited")


def edit_and_set_time_back(path: Path) -> None:
    before = path.stat()
    edit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Put another file in its place, with the same size and times."""
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(path.read_bytes())
    edit(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 100_000)


def touch(path: Path) -> None:
    os.utime(path)


def chmod(path: Path) -> None:
    path.chmod(0o600)


CHANGES = [edit, edit_and_set_time_back, replace, cut]
HARMLESS = [touch, chmod]


async def leeched(folder: Path, address: tuple[str, int], seeder: Session) -> tuple[Any, list[str]]:
    """Download until it is done, or the seed has failed; return how much came, and what events."""
    async with resources(folder) as shared:
        config = SessionConfig(peers=(address,))
        leech = await Session.create(METAINFO, shared, save_path=folder / "out", config=config)
        events = record(leech)
        async with leech:
            await until(
                lambda: State.ERROR is seeder.state or leech.state is State.SEEDING, timeout_s=30
            )
            return leech.state, kinds(events)


@pytest.mark.parametrize("change", CHANGES)
async def test_f3_a_file_changed_while_it_is_seeded_is_not_served(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address):
        state, events = await leeched(tmp_path / "first", address, session)
        assert state is State.SEEDING
        change(tmp_path / "seed/files" / FILE)
        state, events = await leeched(tmp_path / "second", address, session)
        assert "piece.hash_failed" not in events
        if change is not replace:  # the file that was opened before is right still
            assert session.state is State.ERROR
            assert str(tmp_path / "seed/files" / FILE) in str(session.error)
            await session.start()
            await reach(session, State.DOWNLOADING)
            assert session.stats().pieces_have < METAINFO.piece_count


async def test_f3_a_reader_that_finds_a_file_changed_ends_the_seeding_of_it(tmp_path: Path) -> None:
    """No peer asks for it: what the owner sees must not depend on who reads."""
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, _):
        async with session.open("b") as reader:
            assert await reader.read(100) == PAYLOAD[300_000:300_100]
            edit(tmp_path / "seed/files" / FILE)
            with pytest.raises(StorageError, match="changed by another program"):
                await reader.read()
        await reach(session, State.ERROR)
        assert str(tmp_path / "seed/files" / FILE) in str(session.error)


@pytest.mark.parametrize("change", HARMLESS)
async def test_f3_a_file_that_only_looks_changed_is_hashed_and_served(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address):
        await leeched(tmp_path / "first", address, session)
        change(tmp_path / "seed/files" / FILE)
        state, events = await leeched(tmp_path / "second", address, session)
        assert (state, session.state) == (State.SEEDING, State.SEEDING)
        assert "piece.hash_failed" not in events


@pytest.mark.parametrize("change", [edit, edit_and_set_time_back, replace])
async def test_f3_a_file_changed_while_the_torrent_is_paused_is_not_served(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address):
        await session.pause()
        change(tmp_path / "seed/files" / FILE)
        await session.resume()
        _, events = await leeched(tmp_path / "leech", address, session)
        assert "piece.hash_failed" not in events
        if change is not replace:  # as above
            assert session.state is State.ERROR


@pytest.mark.parametrize("change", [*CHANGES, *HARMLESS])
@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
async def test_f3_a_file_changed_before_a_restart_is_not_served(
    tmp_path: Path, change: Callable[[Path], None], is_running: bool
) -> None:
    """While it runs nobody asks for anything, so that it stops as it would without a change."""
    path = tmp_path / "seed/files" / FILE
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD):
        if is_running:
            change(path)
    if not is_running:
        change(path)
    async with resources(tmp_path / "seed") as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "seed/files")
        async with session:
            await reach(session, State.SEEDING, State.DOWNLOADING)
            with anyio.move_on_after(5 if session.state is State.DOWNLOADING else 30):
                _, events = await leeched(tmp_path / "leech", address_of(shared), session)
                assert "piece.hash_failed" not in events
            if change in HARMLESS:
                assert content(METAINFO, tmp_path / "leech/out") == PAYLOAD
