"""counted_daemon.py FILE ARGUMENTS...: the command line, which writes its count of tasks to FILE.

A thread beside it writes the number of tasks each second; all else is as in torrent-engine.
"""

import sys
import threading
import time
from pathlib import Path

from torrent_engine.cli.main import main

COUNT_S = 1.0


def count_tasks(path: Path) -> None:
    """Write how many tasks there are, once a second, until the process ends."""
    while True:
        time.sleep(COUNT_S)
        path.write_text(str(tasks()))


def tasks() -> int:
    """Return how many tasks of asyncio there are, those of uvloop among them."""
    module = sys.modules.get("asyncio.tasks")  # imported when the command is known
    for name in ("_all_tasks", "_scheduled_tasks"):  # until Python 3.11, and since 3.12
        if (known := getattr(module, name, None)) is not None:
            return len(known)
    return 0


counter = threading.Thread(target=count_tasks, args=(Path(sys.argv.pop(1)),), daemon=True)
counter.start()
main()
