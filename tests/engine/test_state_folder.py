"""A torrent has no files in the state folder: the next start would believe them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.swarm import content, files_below, reach, resources, seed
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PLANTED = {"torrents/" + "ab" * 20 + ".session": payload_of(20_000), "empty": b""}


@asynccontextmanager
async def leech(
    tmp_path: Path, metainfo: Metainfo, payload: bytes, **options: Any
) -> AsyncIterator[Session]:
    """A Session whose state folder ``state`` lies in its save path; not started."""
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "out") as shared,
    ):
        config = SessionConfig(peers=(address,), **options)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        try:
            assert shared.state_dir == tmp_path / "out/state"
            yield session
        finally:
            await session.close()


def planted(tmp_path: Path) -> set[str]:
    return {name for name in files_below(tmp_path / "out") if "ab" * 20 in name or "empty" in name}


@pytest.mark.parametrize("skips", [False, True])
async def test_a_torrent_of_the_name_of_the_state_folder_is_refused(
    tmp_path: Path, skips: bool
) -> None:
    metainfo, payload = make_torrent(PLANTED, name="state")
    options = {"overwrite": True, "allow_hidden": True}
    priorities = (0, 0) if skips else (4, 4)
    async with leech(tmp_path, metainfo, payload, file_priorities=priorities, **options) as session:
        await session.start()
        if skips:
            await reach(session, State.SEEDING)
            with pytest.raises(StorageError, match="state folder"):
                await session.set_file_priorities((4, 4))
        else:
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()
            assert "state folder" in str(caught.value)
        assert not planted(tmp_path)


async def test_no_move_and_no_rename_leads_into_the_state_folder(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(PLANTED, name="mine")
    async with leech(tmp_path, metainfo, payload) as session:
        await session.start()
        await reach(session, State.SEEDING)
        state = tmp_path / "out/state"
        with pytest.raises(StorageError, match="state folder"):
            await session.move_storage(state)
        with pytest.raises(StorageError, match="state folder"):
            await session.move_storage(state / "torrents")
        with pytest.raises(StorageError, match="state folder"):
            await session.rename_file(0, f"state/torrents/{'ab' * 20}.session")
        assert content(metainfo, tmp_path / "out") == payload
        await session.stop()
        await session.set_save_path(state)
        await session.start()
        with pytest.raises(SessionError, match="state folder"):
            await session.wait_stopped()
    assert not (state / "mine").exists()


async def test_downloads_may_lie_in_a_folder_of_the_state_folder(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(PLANTED, name="torrents")
    async with leech(tmp_path, metainfo, payload) as session:
        state = tmp_path / "out/state"
        await session.set_save_path(state / "downloads")
        await session.start()
        await reach(session, State.SEEDING)
    assert content(metainfo, state / "downloads") == payload
