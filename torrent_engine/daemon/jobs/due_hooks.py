"""Hooks that are due, in the daemon's own database."""

from collections.abc import Sequence

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.daemon.jobs.hooks import DueHook
from torrent_engine.daemon.state.store import DaemonStore


class StoredDueHooks:
    """The table ``hook_due`` of the daemon's database."""

    def __init__(self, store: DaemonStore) -> None:
        self._store = store
        self._table = store.table("hook_due")

    def add(self, key: str, call: str) -> DueHook:
        """Add a row; it is written with what else changes at this moment."""
        numbers = (int(each) for each, _ in self._table.items() if each.isdecimal())
        due_id = max(numbers, default=0) + 1
        self._table.put(str(due_id), [key, call, 0])
        return DueHook(due_id, key, call)

    async def failed(self, due_id: int) -> None:
        """Count one more attempt of a row, and write it."""
        value = self._table.get(str(due_id))
        if value is not None:
            self._table.put(str(due_id), [*value[:2], value[2] + 1])
            await self.flush()

    async def remove(self, due_id: int) -> None:
        """Remove a row, and write that."""
        if self._table.drop(str(due_id)):
            await self.flush()

    def all(self) -> Sequence[DueHook]:
        """Return all rows, the oldest first; damaged ones are dropped."""
        found: list[DueHook] = []
        for due_id, value in self._table.items():
            try:
                key, call, attempts = value
                found.append(DueHook(int(due_id), str(key), str(call), int(attempts)))
            except (TypeError, ValueError):
                self._table.drop(due_id)
        return sorted(found, key=lambda each: each.id)

    async def flush(self) -> None:
        """Write what was added."""
        if not await self._store.flush():
            raise StateDatabaseError(self._store.problem or "not written")
