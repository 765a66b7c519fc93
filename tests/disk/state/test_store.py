import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.disk.damage import flip_and_open
from tests.disk.helpers import CONFIG
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import DiskFullError, StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.records import DhtRecord, Progress, TorrentRecord
from torrent_engine.disk.state.schema import MIGRATIONS, SCHEMA_VERSION, migrate
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

METAINFO, _ = make_torrent(payload_of(100_000))
PROGRESS = Progress(7, b"\xfe", b"\xf0", b"\x00", "boot", is_clean=False)
RECORD = TorrentRecord(
    info_hash=METAINFO.info_hash,
    name="payload",
    save_path="/somewhere",
    added_time_s=12.5,
    renames={3: ("a", "\udcffb".encode("utf-8", "replace").decode())},
    settings={"priorities": [4, 0], "trackers": [["http://t/"]]},
    metainfo_bytes=METAINFO.source,
)


@asynccontextmanager
async def store_in(folder: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(folder, config=CONFIG) as store:
        yield store


def other_record(number: int) -> TorrentRecord:
    metainfo, _ = make_torrent(payload_of(1000, number))
    return TorrentRecord(
        info_hash=metainfo.info_hash,
        name=str(number),
        save_path="/x",
        metainfo_bytes=metainfo.source,
    )


async def test_what_is_saved_is_loaded_by_the_next_process(tmp_path: Path) -> None:
    stamp = FileStamp(2, 100_000, 1_700_000_000_123_456_789, 2**64 - 1, 2**63)
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(
            RECORD.info_hash,
            PROGRESS,
            partial={4: 0b101, 5: 1 << 1000, 6: 1},
            stamps=lambda: StampTable([stamp]),
        )
        await store.save_progress(RECORD.info_hash, PROGRESS, partial={6: 0})
        await store.save_totals(
            RECORD.info_hash,
            downloaded_bytes=2**40,
            uploaded_bytes=7,
            failed_bytes=5,
            redundant_bytes=3,
        )
        assert await store.load(InfoHash(bytes(20))) is None
    async with store_in(tmp_path) as store:
        found = await store.load(RECORD.info_hash)
        assert found == replace(
            RECORD,
            progress=PROGRESS,
            partial={4: 0b101, 5: 1 << 1000},
            stamps={2: stamp},
            downloaded_bytes=2**40,
            uploaded_bytes=7,
            failed_bytes=5,
            redundant_bytes=3,
        )
        assert await store.load_all() == [found]
        await store.remove(RECORD.info_hash)
        assert await store.load_all() == []
    assert list((tmp_path / "torrents").iterdir()) == []


async def test_d4_state_is_private(tmp_path: Path) -> None:
    async with store_in(tmp_path / "state") as store:
        await store.save_torrent(RECORD)
        store.claim(RECORD.info_hash)
        for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        pass
    with pytest.raises(StateDatabaseError, match="closed"):
        await store.load_all()


async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDatabaseError, match="file"):
        await StateStore.open(tmp_path / "file" / "state")


# -- F7: several processes ------------------------------------------------------------------------

F7_PROGRAM = """
import sys, anyio
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.state.store import StateStore
async def main():
    async with await StateStore.open(sys.argv[1]) as store:
        for number in range(3):
            await store.save_totals(bytes(20), downloaded_bytes=number, uploaded_bytes=0)
        try:
            store.claim(bytes.fromhex(sys.argv[2]))
            print("claimed")
        except StateDatabaseError as error:
            print(error)
anyio.run(main)
"""


def run_other(folder: Path, info_hash: bytes) -> str:
    command = [sys.executable, "-c", F7_PROGRAM, str(folder), info_hash.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    return done.stdout.strip()


async def test_f7_processes_share_the_database_but_not_a_torrent(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        store.claim(RECORD.info_hash)
        store.claim(RECORD.info_hash)
        await store.save_torrent(RECORD)
        assert run_other(tmp_path, RECORD.info_hash).endswith(
            f"is in use by another process (state folder {tmp_path})"
        )
        assert run_other(tmp_path, bytes(20)) == "claimed"
        assert [record.name for record in await store.load_all()] == ["payload"]
        store.release(RECORD.info_hash)
        assert run_other(tmp_path, RECORD.info_hash) == "claimed"  # and its death freed it
        store.claim(RECORD.info_hash)


async def test_f7_two_stores_of_one_process_respect_each_other(tmp_path: Path) -> None:
    async with store_in(tmp_path) as one, store_in(tmp_path) as two:
        one.claim(RECORD.info_hash)
        with pytest.raises(StateDatabaseError, match="another process"):
            two.claim(RECORD.info_hash)


# -- F6: damage -----------------------------------------------------------------------------------


def spoil(folder: Path, statement: str) -> None:
    database = sqlite3.connect(folder / "state.db")
    database.execute(statement)
    database.commit()
    database.close()


SPOILT_PROGRESS = {
    "one bit more": "UPDATE progress SET have = x'FF'",
    "wrong length": "UPDATE progress SET have = x'FE00'",
    "wrong type": "UPDATE progress SET have = 7",
    "other count": "UPDATE progress SET piece_count = 8",
    "called clean": "UPDATE progress SET is_clean = 1",
    "other boot": "UPDATE progress SET boot_id = 'x'",
    "no checksum": "UPDATE progress SET checksum = x''",
}


@pytest.mark.parametrize("statement", SPOILT_PROGRESS.values(), ids=SPOILT_PROGRESS.keys())
async def test_f6_a_damaged_progress_row_costs_one_torrent_its_progress(
    tmp_path: Path, statement: str
) -> None:
    other = other_record(1)
    async with store_in(tmp_path) as store:
        for record in (RECORD, other):
            await store.save_torrent(record)
            await store.save_progress(record.info_hash, PROGRESS, partial={1: 1})
    spoil(tmp_path, f"{statement} WHERE info_hash = x'{RECORD.info_hash.hex()}'")
    async with store_in(tmp_path) as store:
        found = await store.load(RECORD.info_hash)
        assert found is not None
        assert found.progress is None
        kept = await store.load(other.info_hash)
        assert kept is not None
        assert kept.progress == PROGRESS
    database = sqlite3.connect(tmp_path / "state.db")
    assert [row[0] for row in database.execute("SELECT info_hash FROM quarantine")] == [
        RECORD.info_hash
    ]
    database.close()


DAMAGED_COPIES = {
    "nested": "[" * 200_000,
    "infinite number": '{"name": "a", "save_path": "b", "renames": 1e999}',
    "no text": r'{"name": "\ud800", "save_path": "b", "renames": {}}',
    "no path": r'{"name": "a", "save_path": "\udcff", "renames": {}}',
    "list": "[]",
    "empty": "",
}


@pytest.mark.parametrize("text", DAMAGED_COPIES.values(), ids=DAMAGED_COPIES.keys())
async def test_f6_a_damaged_copy_stops_neither_a_start_nor_other_torrents(
    tmp_path: Path, text: str
) -> None:
    other = other_record(1)
    async with store_in(tmp_path) as store:
        for record in (RECORD, other):
            await store.save_torrent(record)
    spoil(tmp_path, "UPDATE torrents SET checksum = x'00'")
    (tmp_path / f"torrents/{RECORD.info_hash.hex()}.json").write_text(text)
    async with store_in(tmp_path) as store:
        found = await store.load_all()
        assert [record for record in found if record.info_hash == other.info_hash] == [other]
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    async with store_in(tmp_path) as store:
        assert await store.load(other.info_hash) == other


async def test_f6_names_of_a_copy_that_lead_elsewhere_are_left_out(tmp_path: Path) -> None:
    names = {"0": ["..", "x"], "1": "..", "2": "ab", "3": ["a", "b"], "4": [1], "x": ["a"], "5": []}
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        copy = tmp_path / f"torrents/{RECORD.info_hash.hex()}.json"
        copy.write_text(json.dumps({**json.loads(copy.read_text()), "renames": names}))
        found = store.copies.load(RECORD.info_hash)
    assert found is not None
    assert found.renames == {3: ("a", "b")}


@pytest.mark.parametrize("piece", ["''", "'x'", "x''", "1.5", "-1"])
async def test_f6_a_damaged_row_of_an_unfinished_piece_costs_its_blocks(
    tmp_path: Path, piece: str
) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(RECORD.info_hash, PROGRESS, partial={1: 1, 2: 1})
    spoil(tmp_path, f"UPDATE partial SET piece = {piece} WHERE piece = 2")
    async with store_in(tmp_path) as store:
        found = await store.load(RECORD.info_hash)
    assert found is not None
    assert (found.progress, found.partial) == (PROGRESS, {1: 1})


@pytest.mark.parametrize(
    "damage", ["inode = zeroblob(17)", "inode = x''", "device = zeroblob(9)", "size_bytes = 'x'"]
)
async def test_f6_a_damaged_row_of_a_file_costs_its_stamp(tmp_path: Path, damage: str) -> None:
    stamps = StampTable([FileStamp(0, 5, 6, 7, 8), FileStamp(1, 5, 6, 9, 8)])
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(RECORD.info_hash, PROGRESS, stamps=lambda: stamps)
    spoil(tmp_path, f"UPDATE stamps SET {damage} WHERE file_index = 1")
    async with store_in(tmp_path) as store:
        found = await store.load(RECORD.info_hash)
    assert found is not None
    assert found.stamps == {0: stamps[0]}


async def test_f6_a_damaged_row_of_another_torrent_that_had_a_file_stops_no_save(
    tmp_path: Path,
) -> None:
    stamps, other = StampTable([FileStamp(0, 5, 6, 7, 8)]), other_record(1)
    async with store_in(tmp_path) as store:
        await store.save_progress(other.info_hash, PROGRESS, stamps=lambda: stamps)
    spoil(tmp_path, "UPDATE stamps SET info_hash = 'x'")
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(
            RECORD.info_hash, PROGRESS, stamps=lambda: stamps, taken=lambda: frozenset({0})
        )
        found = await store.load(RECORD.info_hash)
    assert found is not None
    assert found.stamps == stamps


async def test_f6_a_damaged_torrent_row_is_taken_from_its_copy(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        await store.save_progress(RECORD.info_hash, PROGRESS)
    spoil(tmp_path, "UPDATE torrents SET save_path = '/etc'")
    async with store_in(tmp_path) as store:
        found = await store.load_all()
        assert found == [replace(RECORD, settings={}, added_time_s=0.0)]


async def test_f6_a_copy_of_another_torrent_is_not_believed(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        path = tmp_path / "torrents" / f"{RECORD.info_hash.hex()}.torrent"
        for data in (other_record(1).metainfo_bytes, b"", b"no bencoding", b"de", b"d4:infoi1ee"):
            path.write_bytes(data)
            found = await store.load(RECORD.info_hash)
            assert found is not None
            assert found.metainfo_bytes == b""


@pytest.mark.parametrize(
    "damage", ["garbage", "page", "cut", "table gone", "version", "name", "write version"]
)
async def test_f6_a_broken_database_is_moved_aside_and_the_list_made_anew(
    tmp_path: Path, damage: str
) -> None:
    async with store_in(tmp_path) as store:
        for number in range(8):
            await store.save_torrent(other_record(number))
    path = tmp_path / "state.db"
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif damage == "page":
        path.write_bytes(data[:4096] + b"\xee" * (len(data) - 4096))
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "version":
        spoil(tmp_path, "PRAGMA user_version = 77")
    elif damage == "name":
        path.write_bytes(data.replace(b"torrents", b"torr\xf8nts"))
    elif damage == "write version":
        path.write_bytes(data[:18] + b"\x07" + data[19:])
    else:
        spoil(tmp_path, "DROP TABLE torrents")
    async with store_in(tmp_path) as store:
        found = await store.load_all()
        assert sorted(int(record.name) for record in found) == list(range(8))
        assert all(record.metainfo_bytes for record in found)
        assert not any(record.progress for record in found)
        await store.save_progress(found[0].info_hash, PROGRESS)
    assert (tmp_path / "state.db.broken-1").exists()


async def test_f6_flipped_bits_never_stop_a_start_nor_give_a_false_have(tmp_path: Path) -> None:
    assert await flip_and_open(tmp_path, flips=12, seed=6) == 12


async def test_a_database_of_a_newer_version_is_refused_and_kept(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
    spoil(tmp_path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    spoil(tmp_path, f"UPDATE version SET number = {SCHEMA_VERSION + 1}")
    with pytest.raises(StateDatabaseError, match=r"state\.db is of a newer torrent-engine"):
        await StateStore.open(tmp_path, config=CONFIG)
    assert not (tmp_path / "state.db.broken-1").exists()


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    def fails(database: sqlite3.Connection) -> None:
        database.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("broken")

    monkeypatch.setattr("torrent_engine.disk.state.schema.MIGRATIONS", (*MIGRATIONS, fails))
    database = sqlite3.connect(tmp_path / "db", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="broken"):
        migrate(database, may_change=True)
    assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    with pytest.raises(StateDatabaseError, match="older version"):
        migrate(database, may_change=False)
    database.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_database_of_an_older_version_becomes_one_of_this_version(
    tmp_path: Path, version: int
) -> None:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as database:
        for step in MIGRATIONS[:version]:
            step(database)
        database.execute(f"PRAGMA user_version = {version}")
        database.execute("INSERT INTO version VALUES (?)", (version,))
        database.execute("INSERT INTO totals VALUES (x'aa', 1, 2)")
        migrate(database, may_change=True)
        assert database.execute("SELECT number FROM version").fetchall() == [(SCHEMA_VERSION,)]
        totals = database.execute("SELECT * FROM totals").fetchall()
        assert totals == [(b"\xaa", 1, 2, 0, 0)]
        for table in ("dht_nodes", "sessions", "session_metainfos", "session_clocks", "jobs"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


# -- the nodes of the DHT -------------------------------------------------------------------------

DHT_RECORDS = [
    DhtRecord(is_ipv6=False, node_id=b"4" * 20, nodes=b"n" * 26 * 3),
    DhtRecord(is_ipv6=True, node_id=b"6" * 20, nodes=b""),
]


async def test_bep5_the_nodes_of_both_families_are_saved_and_replaced(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        assert await store.load_dht() == []
        await store.save_dht(DHT_RECORDS)
    newer = replace(DHT_RECORDS[1], nodes=b"n" * 38)
    async with store_in(tmp_path) as store:
        assert await store.load_dht() == DHT_RECORDS
        await store.save_dht([newer])
        assert await store.load_dht() == [DHT_RECORDS[0], newer]


SPOILT_NODES = {
    "other id": "UPDATE dht_nodes SET node_id = x'00' WHERE is_ipv6 = 0",
    "other nodes": "UPDATE dht_nodes SET nodes = zeroblob(26) WHERE is_ipv6 = 0",
    "wrong type": "UPDATE dht_nodes SET nodes = 7 WHERE is_ipv6 = 0",
    "other family": "UPDATE dht_nodes SET is_ipv6 = 2 WHERE is_ipv6 = 0",
}


@pytest.mark.parametrize("statement", SPOILT_NODES.values(), ids=SPOILT_NODES.keys())
async def test_f6_a_damaged_row_of_nodes_is_dropped_and_the_other_kept(
    tmp_path: Path, statement: str
) -> None:
    async with store_in(tmp_path) as store:
        await store.save_dht(DHT_RECORDS)
    spoil(tmp_path, statement)
    async with store_in(tmp_path) as store:
        assert await store.load_dht() == DHT_RECORDS[1:]
        assert await store.run(lambda db: db.execute("SELECT 1 FROM dht_nodes").fetchall()) == [
            (1,)
        ]


@pytest.mark.parametrize(
    "record",
    [
        DhtRecord(is_ipv6=False, node_id=b"4" * 19, nodes=b""),
        DhtRecord(is_ipv6=False, node_id=b"4" * 20, nodes=b"n" * 38),
        DhtRecord(is_ipv6=True, node_id=b"4" * 20, nodes=b"n" * 26),
    ],
)
async def test_f6_nodes_of_an_impossible_length_are_not_believed(
    tmp_path: Path, record: DhtRecord
) -> None:
    async with store_in(tmp_path) as store:
        await store.save_dht([record])
        assert await store.load_dht() == []


async def test_f7_only_one_process_is_the_node_whose_tables_are_kept(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        assert store.claim_dht()
        assert store.claim_dht()
        async with store_in(tmp_path) as other:
            assert not other.claim_dht()
    async with store_in(tmp_path) as store:
        assert store.claim_dht()


# -- F1: a full disk ------------------------------------------------------------------------------


async def test_f1_the_reserve_lets_the_database_be_written_on_a_full_disk(
    small_tmpfs: Path,
) -> None:
    config = DiskConfig(state_reserve_bytes=1024 * 1024)
    async with await StateStore.open(small_tmpfs / "state", config=config) as store:
        reserve = small_tmpfs / "state" / "reserve"
        held_bytes = reserve.stat().st_size
        assert held_bytes >= 300_000
        with (small_tmpfs / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        await store.save_torrent(RECORD)
        await store.save_progress(RECORD.info_hash, replace(PROGRESS))
        found = await store.load(RECORD.info_hash)
        assert found is not None
        assert found.progress == PROGRESS
        assert found.metainfo_bytes == METAINFO.source
        assert 0 < reserve.stat().st_size < held_bytes
        big = Progress(2**23, bytes(2**20), bytes(2**20), bytes(2**20), "", is_clean=False)
        with pytest.raises(DiskFullError):
            await store.save_progress(RECORD.info_hash, big)
        await store.save_progress(RECORD.info_hash, PROGRESS)
        (small_tmpfs / "filler").unlink()
        await store.save_progress(RECORD.info_hash, PROGRESS)


def test_version_6_finds_the_torrents_of_an_inode_by_an_index(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as database:
        for step in MIGRATIONS[:4]:
            step(database)
        database.execute("INSERT INTO stamps VALUES (?, 0, 1, 2, ?, ?)", (b"a", b"i", b"d"))
        database.execute("PRAGMA user_version = 4")
        database.execute("INSERT INTO version VALUES (4)")
        migrate(database, may_change=True)
        plan = database.execute(
            "EXPLAIN QUERY PLAN SELECT info_hash FROM stamps WHERE inode = ?", (b"i",)
        ).fetchall()
        assert "stamps_of_inode" in str(plan)
        found = database.execute("SELECT info_hash FROM stamps WHERE inode = ?", (b"i",))
        assert found.fetchall() == [(b"a",)]


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_a_database_that_may_not_be_written_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    async with await StateStore.open(tmp_path, config=CONFIG):
        pass
    file = tmp_path / f"state.db{ending}"
    file.touch()
    before, access = file.read_bytes(), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and access(path, mode))
    with pytest.raises(StateDatabaseError, match=f"state.db{ending}: Permission denied"):
        await StateStore.open(tmp_path, config=CONFIG)
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*broken*"))  # noqa: ASYNC240 - a test may block
