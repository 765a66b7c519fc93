"""The daemon's own state: tables in memory, written behind to ``daemon.db``.

Changes count at once and are written together, at most once a second, in a thread. A database that
cannot be written, as on a full disk, is reported and tried again; nothing fails because of it.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.daemon.state.database import (
    TABLES,
    DaemonDatabase,
    DamagedDaemonDatabaseError,
    DatabaseFullError,
)
from torrent_engine.disk.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WRITE_INTERVAL_S: Final = 1.0
RETRY_INTERVAL_S: Final = 10.0  # ours: after a failed write
logger = logging.getLogger(__name__)

JsonValue = Any
"""What JSON has; dicts have texts as keys."""


class StoredTable:
    """One table: JSON values by key. What is put in must not be changed afterwards."""

    def __init__(self, name: str, changed: Callable[[str, str], None]) -> None:
        self.name = name
        self._changed = changed
        self._values: dict[str, JsonValue] = {}

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a value."""
        return key in self._values

    def get(self, key: str) -> JsonValue:
        """Return the value of a key; None if there is none."""
        return self._values.get(key)

    def items(self) -> Iterator[tuple[str, JsonValue]]:
        """Iterate over a copy of all keys and values."""
        return iter(list(self._values.items()))

    def put(self, key: str, value: JsonValue) -> None:
        """Set the value of a key."""
        self._values[key] = value
        self._changed(self.name, key)

    def drop(self, key: str) -> bool:
        """Delete a key; False if it is not there."""
        if key not in self._values:
            return False
        del self._values[key]
        self._changed(self.name, key)
        return True

    def load(self, texts: Mapping[str, str]) -> None:
        """Take what the database has; values that are no JSON are left out."""
        for key, text in texts.items():
            try:
                self._values[key] = json.loads(text)
            except (ValueError, RecursionError):
                logger.warning("%s: the value of %r is damaged, and ignored", self.name, key)

    def text(self, key: str) -> str | None:
        """Return the value of a key as the database has it; None if it is deleted."""
        if key not in self._values:
            return None
        return json.dumps(self._values[key], ensure_ascii=True, separators=(",", ":"))


class DaemonStore:
    """All tables; :meth:`open` gives one that is written until the block ends."""

    def __init__(self, database: DaemonDatabase | None = None) -> None:
        """Without a database everything is forgotten at the end of the process."""
        self._database = database
        self._tables = {name: StoredTable(name, self._note) for name in TABLES}
        self._unwritten: dict[tuple[str, str], None] = {}
        self._is_loaded = False
        self._is_writing = False
        self._noted = anyio.Event()
        self._hurried = anyio.Event()
        self._lock = anyio.Lock()
        self.problem: str | None = None
        """Why the last write failed; None: it did not."""
        self.on_problem: Callable[[str | None], None] = lambda _problem: None
        """Called when :attr:`problem` changes."""

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> "AsyncIterator[DaemonStore]":
        """Open ``daemon.db`` of a folder, and write what changes until the end of the block.

        A database that cannot be opened for want of space is reported, and tried again; for other
        reasons StateDatabaseError is raised: what is in it would seem to be lost.
        """
        store = cls(DaemonDatabase(folder))
        await store.load()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.run)
            try:
                yield store
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await store.close()

    def table(self, name: str) -> StoredTable:
        """Return one of the tables; KeyError if there is none of this name."""
        return self._tables[name]

    async def load(self) -> None:
        """Read all tables from the database; later, if there is no space for it to be opened.

        Raises StateDatabaseError.
        """
        try:
            await self._load()
        except DatabaseFullError as error:
            self._noted.set()
            self._set_problem(str(error))

    async def _load(self) -> None:
        """Read what the database has of keys that were not changed meanwhile."""
        if self._database is None or self._is_loaded:
            return
        texts = await _in_thread(self._database.open)
        self._is_loaded = True
        for name, table in self._tables.items():
            found = texts.get(name, {})
            changed = self._changed_keys(name)
            table.load({key: text for key, text in found.items() if key not in changed})

    def _changed_keys(self, name: str) -> set[str]:
        return {key for table, key in self._unwritten if table == name}

    async def run(self) -> None:
        """Write what changes, until cancelled."""
        while True:
            await self._noted.wait()
            self._hurried = anyio.Event()
            if await self.flush():
                with anyio.move_on_after(WRITE_INTERVAL_S):
                    await self._hurried.wait()
            else:
                await anyio.sleep(RETRY_INTERVAL_S)

    def hurry(self) -> None:
        """Let what has changed be written at once, by :meth:`run`."""
        self._hurried.set()

    @property
    def is_written(self) -> bool:
        """Whether the database has all that is in memory."""
        return not self._unwritten and not self._is_writing

    async def flush(self) -> bool:
        """Write what changed now; False, with :attr:`problem` set, if that is not possible."""
        async with self._lock:
            if self._noted.is_set():  # else nobody waits for another one
                self._noted = anyio.Event()
            try:
                with anyio.CancelScope(shield=True):
                    await self._load()
            except StateDatabaseError as error:
                self._noted.set()
                self._set_problem(str(error))
                return False
            unwritten, self._unwritten = self._unwritten, {}
            self._is_writing = bool(unwritten)
            try:
                with anyio.CancelScope(shield=True):
                    await self._write(unwritten)
            except StateDatabaseError as error:
                self._unwritten = unwritten | self._unwritten
                self._noted.set()
                self._set_problem(str(error))
                return False
            finally:
                self._is_writing = False
            self._set_problem(None)
            return True

    async def _write(self, keys: Mapping[tuple[str, str], None]) -> None:
        if self._database is None or not keys:
            return
        texts = {(table, key): self._tables[table].text(key) for table, key in keys}
        try:
            await _in_thread(partial(self._database.write, texts))
        except DatabaseFullError:
            raise
        except DamagedDaemonDatabaseError as error:
            await _in_thread(partial(self._database.start_anew, str(error)))
            await _in_thread(partial(self._database.write, self._everything()))

    def _everything(self) -> dict[tuple[str, str], str | None]:
        """Return all that is in memory, for a new database."""
        return {
            (name, key): table.text(key)
            for name, table in self._tables.items()
            for key, _ in table.items()
        }

    async def close(self) -> None:
        """Write everything and close the database; what cannot be written is lost."""
        if not await self.flush():
            logger.warning("%d changes were not written", len(self._unwritten))
        if self._database is None:
            return
        try:
            await _in_thread(self._database.close)
        except StateDatabaseError:
            self._database.close()  # no worker thread is available

    def _note(self, table: str, key: str) -> None:
        self._unwritten[table, key] = None
        self._noted.set()

    def _set_problem(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem is not None:
            logger.warning("the daemon's state is not written: %s", problem)
        self.on_problem(problem)


async def _in_thread(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call returns
    limiter = anyio.to_thread.current_default_thread_limiter()
    return await run_in_thread(call, limiter=limiter, failure=StateDatabaseError)
