"""Keep a torrent in an SQLite database: python own_storage.py TORRENT DATABASE [HOST:PORT...]."""

import sqlite3
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing

from torrent_engine import SessionConfig, StorageFiles, download

ROW = 16 * 1024  # how much of a file is in one row


class SqliteStorage:
    """Opens a connection for each call, as it is called in several threads."""

    def __init__(self, database: str, files: StorageFiles) -> None:
        self._database, self._files, self._writes = database, files.files, threading.Lock()
        self._run("CREATE TABLE IF NOT EXISTS rows (file, row, data, PRIMARY KEY (file, row))")

    def _run(self, sql: str, rows: Iterable[tuple[object, ...]] = ((),)) -> list[tuple[bytes]]:
        with closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
            return [found for row in rows for found in connection.execute(sql, row)]

    def _read(self, file: int, rows: range) -> bytearray:
        sql = "SELECT coalesce((SELECT data FROM rows WHERE file = ? AND row = ?), zeroblob(?))"
        return bytearray().join(data for (data,) in self._run(sql, ((file, n, ROW) for n in rows)))

    def size(self, file_index: int) -> int:
        found = self._run("SELECT 1 FROM rows WHERE file = ? LIMIT 1", [(file_index,)])
        return self._files[file_index].length_bytes if found else 0

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        if not self.size(file_index):
            raise FileNotFoundError(file_index)
        first, end = offset_bytes // ROW, -(-(offset_bytes + len(into)) // ROW)
        into[:] = self._read(file_index, range(first, end))[offset_bytes % ROW :][: len(into)]

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        data, start = b"".join(views), offset_bytes % ROW
        rows = range(offset_bytes // ROW, -(-(offset_bytes + len(data)) // ROW))
        with self._writes:  # two writes may share a row
            whole = self._read(file_index, rows)
            whole[start : start + len(data)] = data
            cut = ((file_index, row, whole[n * ROW :][:ROW]) for n, row in enumerate(rows))
            self._run("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", cut)

    def remove(self, file_indices: Iterable[int]) -> None:
        self._run("DELETE FROM rows WHERE file = ?", ((index,) for index in file_indices))

    def sync(self, _: str = "") -> None: ...  # each call has its connection, each commit is durable

    open = close = move = sync


if __name__ == "__main__":
    peers = tuple((peer.split(":")[0], int(peer.split(":")[1])) for peer in sys.argv[3:])
    config = SessionConfig(storage=lambda files: SqliteStorage(sys.argv[2], files), peers=peers)
    print(download(sys.argv[1], config=config))
