"""The daemon's database: what is put in is there again, whatever happens to the file."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.support.swarm import until
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.records import CookieRecord, TokenRecord
from torrent_engine.daemon.state import database, store
from torrent_engine.daemon.state.credentials import StoredCredentials
from torrent_engine.daemon.state.database import TABLES, DaemonDatabase, DatabaseFullError
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.disk.state.files import set_database_aside

pytestmark = pytest.mark.anyio
VALUES = [{}, {"a": [1, 2.5, None, True]}, "text", 7, ["\ud800", "ü"], {"deep": {"er": []}}]


async def values_of(folder: Path, table: str = "labels") -> dict[str, Any]:
    """Return what another process would find."""
    async with DaemonStore.open(folder) as opened:
        return dict(opened.table(table).items())


@pytest.mark.parametrize("value", VALUES)
async def test_values_are_there_again(tmp_path: Path, value: object) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        opened.table("labels").put("a", value)
    assert await values_of(tmp_path) == {"a": value}


async def test_dropped_values_are_gone(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        table = opened.table("labels")
        table.put("a", 1)
        table.put("b", 2)
        assert await opened.flush()
        assert table.drop("a")
        assert not table.drop("a")
        table.put("b", 3)
        assert "a" not in table
        assert (len(table), table.get("b"), table.get("a")) == (1, 3, None)
    assert await values_of(tmp_path) == {"b": 3}


async def test_values_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    keys = [f"{number:02}" for number in range(40)]
    async with DaemonStore.open(tmp_path) as opened:
        for key in reversed(keys):
            opened.table("labels").put(key, key)
    assert list(await values_of(tmp_path)) == keys


async def test_changes_are_written_without_being_asked_for(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        opened.table("owners").put("tab", {"generation": 4})
        with sqlite3.connect(tmp_path / "daemon.db") as db:
            await until(lambda: bool(db.execute("SELECT key FROM owners").fetchall()))
            found = db.execute("SELECT key, value FROM owners").fetchall()
        db.close()
        assert found == [("tab", '{"generation":4}')]


async def test_changes_are_written_by_themselves_after_nothing_was_written(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        await anyio.wait_all_tasks_blocked()
        assert await opened.flush()  # a request whose change another database keeps
        opened.table("owners").put("tab", 1)
        await until(lambda: opened.is_written)


async def test_changes_of_a_second_are_one_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = DaemonDatabase.write

    def count(self: DaemonDatabase, changes: database.Changes) -> None:
        written.append(len(changes))
        write(self, changes)

    monkeypatch.setattr(DaemonDatabase, "write", count)
    async with DaemonStore.open(tmp_path) as opened:
        for number in range(50):
            opened.table("labels").put(f"{number}", number)
        await until(lambda: bool(written))
        for number in range(30):
            opened.table("labels").put(f"{number}", -number)
        assert written == [50]
    assert written == [50, 30]


async def test_the_file_is_for_its_user_only(tmp_path: Path) -> None:
    await values_of(tmp_path)
    assert (tmp_path / "daemon.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(5_000)]
)
async def test_a_damaged_file_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "daemon.db").write_bytes(content)
    async with DaemonStore.open(tmp_path) as opened:
        opened.table("labels").put("a", 1)
        assert opened.problem is None
    assert await values_of(tmp_path) == {"a": 1}
    assert (tmp_path / "daemon.db.broken-1").read_bytes() == content


@pytest.mark.parametrize("name", ["daemon.db", "state.db"])
def test_f6_damaged_databases_are_kept_with_their_logs(tmp_path: Path, name: str) -> None:
    for number in (1, 2):
        for ending in ("", "-wal", "-shm"):
            (tmp_path / f"{name}{ending}").write_text(f"{number}{ending}")
        assert set_database_aside(tmp_path / name) == tmp_path / f"{name}.broken-{number}"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{name}.broken-1": "1",
        f"{name}.broken-1-wal": "1-wal",
        f"{name}.broken-2": "2",
        f"{name}.broken-2-wal": "2-wal",
    }


async def test_a_file_of_a_later_version_is_moved_aside(tmp_path: Path) -> None:
    await values_of(tmp_path)
    with sqlite3.connect(tmp_path / "daemon.db") as db:
        db.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    db.close()
    assert await values_of(tmp_path) == {}
    assert (tmp_path / "daemon.db.broken-1").exists()


async def test_a_file_of_a_later_version_stays_where_all_of_the_state_is_of_one(
    tmp_path: Path,
) -> None:
    await values_of(tmp_path)
    for name in ("daemon.db", "state.db"):
        with closing(sqlite3.connect(tmp_path / name)) as db, db:
            if name == "state.db":
                db.execute("CREATE TABLE version (number INTEGER)")
                db.execute("INSERT INTO version VALUES (99)")
            db.execute("PRAGMA user_version = 99")
    with pytest.raises(StateDatabaseError, match=r"state\.db is of a newer"):
        DaemonDatabase(tmp_path).open()
    assert not (tmp_path / "daemon.db.broken-1").exists()


async def test_damage_while_it_runs_loses_nothing(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        for number in range(2_000):
            opened.table("labels").put(f"label {number}", number)
        assert await opened.flush()
        with sqlite3.connect(tmp_path / "daemon.db") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        size = (tmp_path / "daemon.db").stat().st_size
        with (tmp_path / "daemon.db").open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
        for number in range(2_000):
            opened.table("labels").put(f"label {number}", -number)
        assert await opened.flush()
        assert opened.problem is None
    assert len(await values_of(tmp_path)) == 2_000
    assert (await values_of(tmp_path))["label 7"] == -7


async def test_values_that_are_no_json_are_left_out(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        opened.table("labels").put("good", 1)
    with sqlite3.connect(tmp_path / "daemon.db") as db:
        db.execute("INSERT INTO labels VALUES ('bad', '{')")
        db.execute("INSERT INTO labels VALUES ('nested', ?)", ("[" * 200_000,))
        db.execute("INSERT INTO labels VALUES (X'ff', 'null')")
    db.close()
    assert await values_of(tmp_path) == {"good": 1}


async def test_a_full_disk_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "RETRY_INTERVAL_S", 0.01)
    is_full = True
    write = DaemonDatabase.write

    def full(self: DaemonDatabase, changes: database.Changes) -> None:
        if is_full:
            raise DatabaseFullError("no space is left")
        write(self, changes)

    monkeypatch.setattr(DaemonDatabase, "write", full)
    told: list[str | None] = []
    async with DaemonStore.open(tmp_path) as opened:
        opened.on_problem = told.append
        opened.table("labels").put("a", 1)
        assert not await opened.flush()
        assert opened.problem == "no space is left"
        opened.table("labels").put("a", 2)
        opened.table("labels").put("b", 3)
        is_full = False
        await until(lambda: opened.problem is None)
        assert told == ["no space is left", None]
    assert await values_of(tmp_path) == {"a": 2, "b": 3}


async def test_changes_wait_for_a_thread_when_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "RETRY_INTERVAL_S", 0.01)
    has_threads = True
    run_sync = anyio.to_thread.run_sync

    async def no_thread(*arguments: Any, **options: Any) -> Any:
        if has_threads:
            return await run_sync(*arguments, **options)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
    async with DaemonStore.open(tmp_path) as opened:
        has_threads = False
        opened.table("labels").put("a", 1)
        assert not await opened.flush()
        assert opened.problem == "the system has no more threads"
        has_threads = True
        await until(lambda: opened.problem is None)
        has_threads = False
    has_threads = True
    assert await values_of(tmp_path) == {"a": 1}


async def test_sqlite_that_is_full_is_a_full_disk(tmp_path: Path) -> None:
    opened = DaemonDatabase(tmp_path)
    opened.open()
    assert opened._connection is not None
    opened._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(DatabaseFullError):
        opened.write({("labels", f"{number}"): "x" * 1_000 for number in range(100)})
    opened.close()
    opened.close()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "daemon.db").mkdir()
    with pytest.raises(StateDatabaseError, match=r"daemon\.db"):
        async with DaemonStore.open(tmp_path):
            pytest.fail("it is open")
    with pytest.raises(StateDatabaseError):
        DaemonDatabase(tmp_path / "nowhere").open()


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode for path in folder.iterdir()}


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_a_database_that_may_not_be_written_is_refused_as_it_is(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        opened.table("labels").put("a", 1)
    file = tmp_path / f"daemon.db{ending}"
    file.touch()
    before = modes_in(tmp_path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and access(path, mode))
    with pytest.raises(StateDatabaseError, match=rf"daemon\.db{ending}: Permission denied"):
        async with DaemonStore.open(tmp_path):
            pytest.fail("it is open")
    assert modes_in(tmp_path) == before
    monkeypatch.undo()
    assert await values_of(tmp_path) == {"a": 1}


async def test_what_is_there_is_read_when_a_full_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "RETRY_INTERVAL_S", 0.01)
    async with DaemonStore.open(tmp_path) as opened:
        for key in "abc":
            opened.table("labels").put(key, 1)
    is_full = True
    open_database = DaemonDatabase.open

    def full(self: DaemonDatabase) -> dict[str, dict[str, str]]:
        if is_full:
            raise DatabaseFullError("no space is left")
        return open_database(self)

    monkeypatch.setattr(DaemonDatabase, "open", full)
    async with DaemonStore.open(tmp_path) as opened:
        labels = opened.table("labels")
        assert opened.problem == "no space is left"
        labels.put("b", 2)
        labels.put("c", 2)
        labels.drop("c")
        assert not await opened.flush()
        is_full = False
        await until(lambda: opened.problem is None)
        assert dict(labels.items()) == {"a": 1, "b": 2}
    assert await values_of(tmp_path) == {"a": 1, "b": 2}


def test_an_existing_database_is_opened_without_a_write(tmp_path: Path) -> None:
    made = DaemonDatabase(tmp_path)
    made.open()
    made.close()
    opened = DaemonDatabase(tmp_path)
    opened.open()
    assert opened._connection is not None
    assert opened._connection.total_changes == 0
    assert (tmp_path / "daemon.db-wal").stat().st_size == 0
    opened.close()


async def test_a_process_that_is_cancelled_has_written(tmp_path: Path) -> None:
    async def work(started: anyio.Event) -> None:
        async with DaemonStore.open(tmp_path) as opened:
            opened.table("labels").put("a", 1)
            started.set()
            await anyio.sleep_forever()

    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, started)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert await values_of(tmp_path) == {"a": 1}


async def test_all_tables_of_the_daemon_are_there(tmp_path: Path) -> None:
    await values_of(tmp_path)
    with sqlite3.connect(tmp_path / "daemon.db") as db:
        found = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    db.close()
    assert set(TABLES) <= found
    assert mode == "wal"


TOKENS = [
    TokenRecord("t1", "phone", "ab", frozenset({Scope.READ, Scope.ADD}), 1.0),
    TokenRecord("t2", "tv", "cd", frozenset(), 2.0, 3.0, 4.0),
]
SESSIONS = [
    CookieRecord("d1", "own", 1.0, 2.0),
    CookieRecord("d2", "qbittorrent", 1.0, 2.0, is_used=True),
]


async def test_credentials_outlive_the_process(tmp_path: Path) -> None:
    async with DaemonStore.open(tmp_path) as opened:
        kept = StoredCredentials(opened)
        for token in TOKENS:
            kept.put_token(token)
        for session in SESSIONS:
            kept.put_session(session)
    async with DaemonStore.open(tmp_path) as opened:
        kept = StoredCredentials(opened)
        assert list(kept.tokens()) == TOKENS
        assert list(kept.sessions()) == SESSIONS
        kept.drop_token("t1")
        kept.drop_session("d2")
        assert [each.id for each in kept.tokens()] == ["t2"]
        assert [each.digest for each in kept.sessions()] == ["d1"]


@pytest.mark.parametrize(
    "value",
    [None, 1, [], {}, {"name": "a"}, "text"],
)
async def test_credentials_that_cannot_be_read_let_nobody_in(value: object) -> None:
    opened = DaemonStore()
    opened.table("tokens").put("t1", value)
    opened.table("sessions").put("d1", value)
    kept = StoredCredentials(opened)
    assert (list(kept.tokens()), list(kept.sessions())) == ([], [])
    assert (len(opened.table("tokens")), len(opened.table("sessions"))) == (0, 0)


async def test_a_scope_that_is_not_known_makes_a_token_unreadable() -> None:
    opened = DaemonStore()
    kept = StoredCredentials(opened)
    kept.put_token(TOKENS[0])
    opened.table("tokens").put("t1", {**opened.table("tokens").get("t1"), "scopes": ["root"]})
    assert list(kept.tokens()) == []


WRITER = """
import sys
from contextlib import closing
from pathlib import Path
from torrent_engine.daemon.state.database import DaemonDatabase

database = DaemonDatabase(Path(sys.argv[1]))
database.open()
number = 0
while True:
    number += 1
    keys = {("labels", f"{each}"): str(number) for each in range(20)}
    database.write({**keys, ("owners", "last"): str(number)})
    print(number, flush=True)
"""


def test_what_was_written_before_a_kill_is_there_and_whole(tmp_path: Path) -> None:
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            written = [int(writer.stdout.readline()) for _ in range(5)]
            writer.kill()
        opened = DaemonDatabase(tmp_path)
        texts = opened.open()
        opened.close()
        assert int(texts["owners"]["last"]) >= written[-1]
        assert set(texts["labels"].values()) == {texts["owners"]["last"]}  # as a whole
    assert not list(tmp_path.glob("*.broken-*"))


async def test_what_is_being_written_is_not_written_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = DaemonDatabase.write, list[bool]()

    async with DaemonStore.open(tmp_path) as opened:

        def look(database: DaemonDatabase, texts: dict[tuple[str, str], str | None]) -> None:
            seen.append(opened.is_written)
            write(database, texts)

        monkeypatch.setattr(DaemonDatabase, "write", look)
        opened.table("owners").put("tab", 1)
        assert await opened.flush()
        assert opened.is_written
    assert seen == [False]


async def test_changes_are_written_at_once_if_that_is_urgent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WRITE_INTERVAL_S", 3_600.0)
    async with DaemonStore.open(tmp_path) as opened:
        for number in range(3):  # the second comes in the wait after the first
            opened.table("owners").put("tab", number)
            opened.hurry()
            await until(lambda: opened.is_written)
            with sqlite3.connect(tmp_path / "daemon.db") as db:
                assert db.execute("SELECT value FROM owners").fetchall() == [(str(number),)]
            db.close()
