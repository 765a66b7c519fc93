"""Differences between operating systems in groups of processes."""

import os
import signal
import sys
from contextlib import suppress
from typing import Protocol


class Signalled(Protocol):
    """What is needed of a process that runs."""

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def signal_group(process: Signalled, *, force: bool) -> None:
    """Send SIGTERM, or SIGKILL with ``force``, to a program that runs, and to its children.

    On Windows to the program only.
    """
    with suppress(ProcessLookupError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
        elif force:
            process.kill()
        else:
            process.terminate()


def kill_children(pid: int) -> None:
    """Kill what is left of the group of a program that has ended; nothing on Windows."""
    if sys.platform == "win32":
        return
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)  # a process has this id: then it is another's, and so is the group
        except ProcessLookupError:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
