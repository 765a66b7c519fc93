"""The numbers of all torrents together."""

import sqlite3
from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import ConnectionEncryption, SessionConfig, TransportProtocol
from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    MissingFilesError,
    SessionError,
    StateDatabaseError,
    StorageError,
)
from torrent_engine.disk.disk_counts import DiskCounts
from torrent_engine.disk.os_errors import database_error
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), name="a")
OTHER, _ = make_torrent(payload_of(50_000, 1), name="in the way")


async def test_links_checks_and_refusals_are_counted(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        manager(tmp_path) as many,
    ):
        many.set_rate_limits(download_bytes_per_s=10_000)
        session = await many.add_torrent(METAINFO, config=SessionConfig(peers=(address,)))
        await until(lambda: many.stats().peers == 1)
        [((protocol, encryption), count)] = many.stats().links.items()
        assert isinstance(protocol, TransportProtocol)
        assert isinstance(encryption, ConnectionEncryption)
        assert count == 1
        many.set_rate_limits(download_bytes_per_s=0)
        await session.wait(State.SEEDING)
        await until(lambda: many.stats().disk.queued_bytes == 0)
        assert many.stats().disk.checked_bytes == 0
        many.ban(address[0])
        await session.add_peer(*address)
        await session.recheck()
        await until(lambda: many.stats().disk.checked_bytes == METAINFO.total_bytes)
        assert many.stats().refused["ban"] >= 1
        assert many.stats().refused["filter"] == 0
        assert set(many.stats().disk.errors.values()) == {0}


async def test_what_stops_a_torrent_and_ends_a_move_is_counted(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    (taken / OTHER.name).mkdir(parents=True)
    (taken / METAINFO.name).mkdir()
    async with manager(tmp_path) as many:
        session = await many.add_torrent(OTHER, save_path=taken)
        await until(lambda: session.state is State.ERROR)
        assert many.stats().disk.errors["in_the_way"] == 1
        write_files(METAINFO, PAYLOAD, tmp_path / "here")
        moved = await many.add_torrent(METAINFO, save_path=tmp_path / "here")
        await moved.wait(State.SEEDING)
        with pytest.raises(FileExistsStorageError):
            await moved.move_storage(taken)
        assert many.stats().disk.errors["in_the_way"] == 2
        assert sum(many.stats().disk.errors.values()) == 2


def test_each_kind_of_error_has_a_name() -> None:
    counts = DiskCounts()
    for error in (
        DiskFullError("/a", "no space"),
        database_error("/a", sqlite3.OperationalError("database or disk is full")),
        MissingFilesError(["/a"]),
        FileExistsStorageError("/a", "a folder"),
        StateDatabaseError("broken"),
        StorageError("/a", "input/output error"),
        SessionError("no error of a disk"),
    ):
        counts.failed(error)
    found = {"full": 2, "missing": 1, "in_the_way": 1, "database": 1, "other": 1}
    assert counts.errors == found
