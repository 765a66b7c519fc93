"""The list of torrents that a manager restores: saved at once, read at once, row F6."""

import errno
import logging
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.disk.helpers import CONFIG
from tests.disk.row_damage import flip_a_field
from tests.disk.state.test_backup import DAY_S, Wall
from tests.disk.state.test_store import PROGRESS, RECORD, other_record, store_in
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state import records, session_table
from torrent_engine.disk.state.files import TorrentCopies
from torrent_engine.disk.state.records import row_checksum, text_row_checksum
from torrent_engine.disk.state.session_table import (
    SessionRecord,
    _recovered,
    load_metainfo,
    load_sessions,
    metainfo_now,
    remove_sessions,
    save_positions,
    save_sessions,
)
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

SETTINGS = {"save_path": "/srv/ä", "paused": True, "trackers": [["http://t/"]]}


def record_of(number: int) -> SessionRecord:
    torrent = other_record(number)
    return SessionRecord(torrent.info_hash, number, SETTINGS, torrent.metainfo_bytes)


RECORDS = [record_of(number) for number in range(3)]
LISTED = [replace(record, metainfo_bytes=b"") for record in RECORDS]


def copy_of(folder: Path, record: SessionRecord) -> Path:
    return folder / "torrents" / f"{record.info_hash.hex()}.torrent"


def spoil(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "state.db")) as database:
        database.execute(statement)
        database.commit()


async def test_sessions_are_listed_by_position_in_the_next_process(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS[::-1])
    async with store_in(tmp_path) as store:
        assert await load_sessions(store) == LISTED
        await save_positions(store, {LISTED[0].info_hash: 9, InfoHash(bytes(20)): 1})
        assert await load_sessions(store) == [*LISTED[1:], replace(LISTED[0], position=9)]


async def test_a_session_without_metainfo_keeps_the_one_that_is_there(tmp_path: Path) -> None:
    changed = replace(LISTED[1], settings={})
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        await save_sessions(store, [changed])
        assert await load_sessions(store) == [LISTED[0], changed, LISTED[2]]
        for read in (
            metainfo_now(store, changed.info_hash),
            await load_metainfo(store, changed.info_hash),
        ):
            assert read == RECORDS[1].metainfo_bytes


async def test_a_metainfo_comes_from_the_database_or_its_copy(tmp_path: Path) -> None:
    key = RECORDS[0].info_hash
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        assert copy_of(tmp_path, RECORDS[0]).read_bytes() == RECORDS[0].metainfo_bytes
        copy_of(tmp_path, RECORDS[0]).write_bytes(RECORDS[1].metainfo_bytes)
        assert metainfo_now(store, key) == RECORDS[0].metainfo_bytes
        assert await load_metainfo(store, key) == RECORDS[0].metainfo_bytes
        await save_sessions(store, RECORDS)
        spoil(tmp_path, "UPDATE session_metainfos SET metainfo = x'00'")
        assert metainfo_now(store, key) == RECORDS[0].metainfo_bytes
        assert await load_metainfo(store, key) == RECORDS[0].metainfo_bytes
        copy_of(tmp_path, RECORDS[0]).unlink()
        assert metainfo_now(store, key) == b""
        assert await load_metainfo(store, key) == b""


async def test_a_removed_torrent_leaves_no_file(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        await remove_sessions(store, [RECORDS[0].info_hash])
        await store.remove(RECORDS[1].info_hash)
    kept = RECORDS[2].info_hash.hex()
    names = sorted(path.name for path in (tmp_path / "torrents").iterdir())
    assert names == [f"{kept}.session", f"{kept}.torrent"]


async def test_removed_sessions_leave_nothing_but_resume_data(tmp_path: Path) -> None:
    ran = replace(RECORDS[0], info_hash=RECORD.info_hash, metainfo_bytes=RECORD.metainfo_bytes)
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(RECORD.info_hash, PROGRESS)
        await save_sessions(store, [ran, *RECORDS])
        await remove_sessions(store, [ran.info_hash, RECORDS[1].info_hash])
        assert await load_sessions(store) == [LISTED[0], LISTED[2]]
        assert not copy_of(tmp_path, RECORDS[1]).exists()
        found = await store.load(RECORD.info_hash)
        assert found == replace(RECORD, progress=PROGRESS)


async def test_a_torrent_that_is_removed_has_no_session(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        await store.remove(RECORDS[0].info_hash)
        assert await load_sessions(store) == LISTED[1:]
        assert await load_metainfo(store, RECORDS[0].info_hash) == b""


async def test_f1_a_disk_that_is_full_in_the_middle_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(descriptor: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    write = os.write
    async with store_in(tmp_path) as store:
        with monkeypatch.context() as patches:
            patches.setattr("torrent_engine.disk.state.files.os.write", write_half)
            with pytest.raises(StorageError):
                await save_sessions(store, RECORDS[:1])
        assert list((tmp_path / "torrents").iterdir()) == []
        await save_sessions(store, RECORDS[:1])
        await store.run(lambda db: db.execute("DELETE FROM sessions"))
        assert await load_sessions(store) == [replace(LISTED[0], is_recovered=True)]


# -- F6 -------------------------------------------------------------------------------------------

SPOILT = {
    "position": "UPDATE sessions SET position = 7",
    "settings": "UPDATE sessions SET settings = '{}'",
    "wrong type": "UPDATE sessions SET settings = 7",
    "text as key": "UPDATE sessions SET info_hash = 'x'",
    "another key": "UPDATE sessions SET info_hash = zeroblob(20)",
    "checksum": "UPDATE sessions SET checksum = x''",
}


@pytest.mark.parametrize("statement", SPOILT.values(), ids=SPOILT.keys())
async def test_f6_a_torrent_whose_row_is_damaged_is_as_it_was_at_first(
    tmp_path: Path, statement: str
) -> None:
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        await save_sessions(store, [replace(LISTED[1], position=5, settings={"new": 1})])
    spoil(tmp_path, f"{statement} WHERE info_hash = x'{RECORDS[1].info_hash.hex()}'")
    async with store_in(tmp_path) as store:
        recovered = replace(LISTED[1], is_recovered=True)
        assert await load_sessions(store) == [LISTED[0], recovered, LISTED[2]]
        assert await load_sessions(store) == LISTED  # its row is whole again
        assert await load_metainfo(store, LISTED[1].info_hash) == RECORDS[1].metainfo_bytes
        counts = await store.run(lambda db: db.execute("SELECT reason FROM quarantine").fetchall())
    assert counts == [("a session's row is damaged",)]


@pytest.mark.parametrize("position", [2**63 - 1, -(2**63)])
async def test_f6_an_impossible_position_leaves_room_for_later_torrents(
    tmp_path: Path, position: int
) -> None:
    extreme = replace(RECORDS[1], position=position)
    async with store_in(tmp_path) as store:
        await save_sessions(store, [extreme])
        (found,) = await load_sessions(store)
        assert replace(found, position=position) == replace(LISTED[1], position=position)
        later = replace(RECORDS[2], position=found.position + 1)
        await save_sessions(store, [later])
        assert [each.info_hash for each in await load_sessions(store)] == [
            extreme.info_hash,
            later.info_hash,
        ]
        assert 0 <= found.position < later.position < 2**63 - 2**32


async def test_f6_a_recovered_torrent_knows_where_its_files_moved(tmp_path: Path) -> None:
    ours = SessionRecord(RECORD.info_hash, 0, {"save_path": "/old", "x": 1}, RECORD.metainfo_bytes)
    async with store_in(tmp_path) as store:
        await save_sessions(store, [ours])
        await store.save_torrent(RECORD)
    spoil(tmp_path, "DELETE FROM sessions")
    async with store_in(tmp_path) as store:
        (found,) = await load_sessions(store)
    assert found.settings == {"save_path": RECORD.save_path, "x": 1}


MALFORMED = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no settings": b'{"position": 1}',
    "settings are text": b'{"position": 1, "settings": "x"}',
    "position is text": b'{"position": "x", "settings": {}}',
    "position without end": b'{"position": 1e999, "settings": {}}',
    "position is nothing": b'{"position": null, "settings": {}}',
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_f6_a_file_that_makes_no_sense_costs_one_torrent(tmp_path: Path, data: bytes) -> None:
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        spoil(tmp_path, "DELETE FROM sessions WHERE position = 1")
        copy_of(tmp_path, RECORDS[1]).with_suffix(".session").write_bytes(data)
        (tmp_path / "torrents" / "x.session").write_bytes(b"no info-hash")
        assert await load_sessions(store) == [LISTED[0], LISTED[2]]
        await save_sessions(store, [RECORDS[1]])
        assert await load_sessions(store) == LISTED


@given(
    st.binary(max_size=64) | st.text('{}[]:,"positonseg0123456789.e-', max_size=64).map(str.encode)
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_f6_whatever_is_in_such_a_file_nothing_is_raised(tmp_path: Path, data: bytes) -> None:
    copies = TorrentCopies(tmp_path)
    copies.save_sessions([(bytes(LISTED[0].info_hash), "{}")])
    (tmp_path / f"{LISTED[0].info_hash.hex()}.session").write_bytes(data)
    found = _recovered(copies, LISTED[0].info_hash)
    assert found is None or found.is_recovered


@pytest.mark.parametrize("has_copy", [True, False])
async def test_f6_a_lost_database_costs_no_torrent(tmp_path: Path, has_copy: bool) -> None:
    wall = Wall()
    async with await StateStore.open(tmp_path, config=CONFIG, wall_clock=wall) as store:
        await save_sessions(store, RECORDS[:2])
        wall.now += DAY_S
        await save_positions(store, {RECORDS[0].info_hash: 0, RECORDS[1].info_hash: 1})
        await remove_sessions(store, [RECORDS[0].info_hash])
        await save_sessions(store, RECORDS[2:])
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    if not has_copy:
        (tmp_path / "state.db.copy").unlink()
    async with store_in(tmp_path) as store:
        found = await load_sessions(store)
        assert [record.info_hash for record in found] == [one.info_hash for one in LISTED[1:]]
        assert [record.is_recovered for record in found] == [not has_copy, True]
        for record in RECORDS[1:]:
            assert await load_metainfo(store, record.info_hash) == record.metainfo_bytes


async def test_f6_flipped_bits_in_many_rows_cost_no_torrent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    random = Random(6)
    many = [SessionRecord(InfoHash(random.randbytes(20)), n, SETTINGS) for n in range(10_000)]

    def flip(db: sqlite3.Connection) -> int:
        return len({flip_a_field(db, "sessions", random) for _ in range(300)})

    async with store_in(tmp_path) as store:
        await save_sessions(store, many)
        damaged = await store.run(flip)
    async with store_in(tmp_path) as store:
        found = await load_sessions(store)
        assert len([one for one in found if one.is_recovered]) == damaged
        assert [replace(one, is_recovered=False) for one in found] == many


async def test_many_sessions_are_saved_without_a_sync_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        SessionRecord(InfoHash(number.to_bytes(20, "big")), number, SETTINGS, b"x" * 300)
        for number in range(1000)
    ]
    synced: list[int] = []
    async with store_in(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", synced.append)
        await save_sessions(store, many)
        found = await load_sessions(store)
    assert [record.position for record in found] == list(range(1000))
    assert len(synced) < 10


async def test_f11_a_row_is_made_in_the_thread_that_writes_it_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[bool, int]] = []
    make = session_table._row

    def row(record: SessionRecord) -> tuple[bytes, int, str, bytes]:
        is_main = threading.current_thread() is threading.main_thread()
        made.append((is_main, len(list((tmp_path / "torrents").glob("*.session")))))
        return make(record)

    monkeypatch.setattr(session_table, "_row", row)
    async with store_in(tmp_path) as store:
        await save_sessions(store, RECORDS)
        assert await load_sessions(store) == LISTED
    assert made == [(False, 0), (False, 1), (False, 2)]


@given(st.text(st.characters(codec=None, exclude_categories=())), st.integers(1, 9))
def test_f11_the_checksum_of_a_long_text_is_made_in_parts_and_is_the_same(
    text: str, part_chars: int
) -> None:
    fields = (b"key", 7, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_PART_CHARS", part_chars)
        assert text_row_checksum(fields) == row_checksum(fields)


def test_f11_no_long_text_is_looked_at_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_PART_CHARS", 10)
    whole: list[object] = []
    monkeypatch.setattr(records, "row_checksum", whole.append)
    text_row_checksum((b"key", 7, '{"a": 1234}'))
    assert not whole
