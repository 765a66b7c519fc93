"""The daemon's own tables, written by a process that is killed: python store_child.py FOLDER FROM.

It prints a number after each step that the database has.
"""

import sys
from itertools import count
from pathlib import Path

import anyio

from torrent_engine.daemon.jobs.due_hooks import StoredDueHooks
from torrent_engine.daemon.state.store import DaemonStore


async def main(*arguments: str) -> None:
    folder, begin = arguments
    async with DaemonStore.open(Path(folder)) as store:
        hooks = StoredDueHooks(store)
        for number in count(int(begin)):
            store.table("settings_overlay").put("limits.peers", {"value": number})
            store.table("labels").put(f"label {number % 7}", number)
            store.table("owners").put(f"tab-{number % 5}", [number, 60.0])
            due = hooks.add(f"key {number}", "{}")
            await hooks.flush()
            print(number, flush=True)
            if number % 3:
                await hooks.remove(due.id)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
