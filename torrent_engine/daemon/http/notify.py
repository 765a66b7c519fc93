"""What is told to the service manager: sd_notify(3) and its watchdog; nothing without it."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio

WATCHDOG_SHARE: Final = 0.5  # of the time that the service manager waits: sd_watchdog_enabled(3)
EXTENSION_INTERVALS: Final = 6  # ours: so many of our rounds may be late before a start is given up


class Notifier:
    """Sends states of the process to the socket that the service manager named."""

    def __init__(self, environment: "dict[str, str] | os._Environ[str]") -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        """Interval of the signs of life; 0: none are wanted."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens."""
        return self._address[:1] in {"/", "@"}

    def ready(self, status: str) -> None:
        """Report that the start, or the reading of changed settings, is done."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that changed settings are read; ``ready`` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the process ends."""
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """Report in one line what is done now."""
        self._send(f"STATUS={text}")

    def _send(self, *lines: str) -> None:
        if not self.is_wanted:
            return
        name = self._address
        address = "\0" + name[1:] if name.startswith("@") else name
        clean = [line.replace("\n", " ") for line in lines]
        kind = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as manager:
            manager.setblocking(False)  # noqa: FBT003
            manager.sendto("\n".join(clean).encode("utf-8", "replace"), address)

    async def run(
        self,
        status: Callable[[], str],
        interval_s: float = 10.0,
        *,
        is_underway: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send signs of life from the event loop, and the status when it changed.

        While ``is_underway`` holds, a start or a stop takes its time: each round asks for more.
        """
        if not self.is_wanted:
            return
        told = ""
        pause_s = min(interval_s, self.watchdog_s or interval_s)
        while True:
            lines = ["WATCHDOG=1"] if self.watchdog_s else []
            if is_underway():
                lines.append(_extension(interval_s * EXTENSION_INTERVALS))
            if (text := status()) != told:
                told = text
                lines.append(f"STATUS={text}")
            if lines:
                self._send(*lines)
            await anyio.sleep(pause_s)


def _extension(seconds: float) -> str:
    """Return how long from now a start or stop may last; it never shortens the unit's own limit."""
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"


def _watchdog_s(environment: "dict[str, str] | os._Environ[str]") -> float:
    """Return how often signs of life are sent: in half of the time that is granted."""
    limit, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(limit) / 1_000_000 * WATCHDOG_SHARE
