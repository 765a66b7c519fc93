# ruff: noqa: ASYNC240 - a test may block
"""Pipes, folders and links to nowhere in the place of files of the state folder (row F6)."""

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import pytest

from tests.disk.helpers import CONFIG, kept
from tests.disk.state.test_session_table import LISTED, RECORDS, copy_of
from tests.disk.state.test_store import METAINFO, RECORD, store_in
from torrent_engine.base.errors import StateDatabaseError, StorageError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import load_sessions, save_sessions
from torrent_engine.disk.state.store import StateStore, managed_by

pytestmark = pytest.mark.anyio


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


ODD: Final[dict[str, Callable[[Path], None]]] = {
    "pipe": os.mkfifo,
    "folder": put_folder,
    "link to nowhere": lambda path: path.symlink_to("/nothing/there"),
    "circle": lambda path: path.symlink_to(path.name),
}
EACH_ODD: Final = pytest.mark.parametrize("put", ODD.values(), ids=ODD)


def replace_by(path: Path, put: Callable[[Path], None]) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    put(path)


@EACH_ODD
@pytest.mark.parametrize("name", ["process.lock", "state.db", "state.db-wal", "state.db-shm"])
async def test_f6_a_database_that_cannot_be_opened_for_an_odd_file_is_named_and_left_alone(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
    replace_by(tmp_path / name, put)
    with pytest.raises(StateDatabaseError, match=f"{tmp_path}/{name}: "):
        await StateStore.open(tmp_path, config=CONFIG)
    assert not list(tmp_path.glob("*broken*"))


@EACH_ODD
async def test_f6_an_odd_file_in_the_place_of_the_reserve_does_no_harm(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    replace_by(tmp_path / "reserve", put)
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        assert await store.load(RECORD.info_hash) is not None


@EACH_ODD
async def test_f6_an_odd_lock_or_journal_is_named(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    info_hash, state = METAINFO.info_hash, tmp_path / "state"
    claims: dict[str, Callable[[StateStore], object]] = {
        f"locks/{info_hash.hex()}.lock": lambda store: store.claim(info_hash),
        "locks/dht.lock": lambda store: store.claim_dht(),
        "locks/manager.lock": lambda store: store.claim_manager(),
    }
    async with store_in(state) as store:
        for name, claim in claims.items():
            replace_by(state / name, put)
            with pytest.raises(StorageError, match=f"{state}/{name}: "):
                claim(store)
        assert managed_by(state) == "its torrents are managed by another process"
        shutil.rmtree(state / "locks")
        journal = state / "journals" / info_hash.hex()
        replace_by(journal, put)
        async with kept(METAINFO, tmp_path / "files", store) as (_, keeper):
            with pytest.raises(StorageError, match=f"{journal}: "):
                await keeper.plan()


@EACH_ODD
@pytest.mark.parametrize("ending", ["session", "torrent", "json"])
async def test_f6_an_odd_copy_costs_no_other_torrent_and_is_replaced_but_for_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, put: Callable[[Path], None], ending: str
) -> None:
    caplog.set_level(logging.WARNING)
    odd = copy_of(tmp_path, RECORDS[1]).with_suffix(f".{ending}")
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        replace_by(odd, put)
        assert store.copies.load(InfoHash(LISTED[1].info_hash)) is None
        is_refused = ending == "torrent" and put is put_folder
        told = pytest.raises(TorrentEngineError, match=str(odd)) if is_refused else nullcontext()
        with told:
            await save_sessions(store, RECORDS)
        assert await load_sessions(store) == LISTED
    if ending != "json":  # which is not a manager's
        assert str(odd) in caplog.text or put is put_folder
        assert odd.is_dir() if put is put_folder else odd.is_file()
        assert odd.is_dir() or not odd.is_symlink()
