"""Processes that hash whole pieces of v2 beside the threads of this one.

A leaf of 16 KiB is hashed without the interpreter lock, but each has to win it back, and the tree
above the leaves keeps it: two threads wait for each other for a tenth of their time.
Source: BEP 52.
"""

import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from torrent_engine.disk.pieces.hash_program import HashOrder, send_order

_ROOT: Final = str(Path(__file__).resolve().parents[3])
_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from torrent_engine.disk.pieces.hash_program import main; main()"
)
_TURN_S: Final = 0.5  # ours: between two looks at whether the check was cancelled
STUCK_S: Final = 60.0  # ours: without a byte of an answer, which a disk delays by seconds at most
_END_S: Final = 5.0  # ours: a process that was killed is gone, unless a disk holds it


class HashProcess:
    """A process that carries out orders in their turn; for one thread at a time."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._asked = deque[HashOrder]()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(_TURN_S)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,  # an interrupt from the keyboard is not for it
                )
        except BaseException:
            self._connection.close()
            raise

    def ask(self, order: HashOrder, descriptor: int) -> None:
        """Send an order with a file, which may be closed afterwards. Raises OSError."""
        send_order(self._connection, order, descriptor)
        self._asked.append(order)

    def answer(self, check_cancelled: Callable[[], object]) -> list[bytes]:
        """Return the digests of the pieces of the oldest order.

        Raises OSError if the process could not carry it out, or was stopped by somebody, and what
        ``check_cancelled`` raises, which is called now and then; the process is of no more use
        then.
        """
        order = self._asked.popleft()
        size, answer = order.digest_bytes, bytearray()
        until_s = time.monotonic() + STUCK_S
        while missing := order.piece_count * size - len(answer):
            try:
                part = self._connection.recv(missing)
            except TimeoutError:
                check_cancelled()
                if time.monotonic() > until_s:
                    raise
                continue
            if not part:
                raise ConnectionResetError
            answer += part
            until_s = time.monotonic() + STUCK_S
        return [bytes(answer[start : start + size]) for start in range(0, len(answer), size)]

    def close(self) -> None:
        """End the process; blocking."""
        self._connection.close()
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)


class HashProcesses:
    """The processes of all checks together."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = Lock()

    def take(self, at_most: int) -> HashProcess | None:
        """Start a process; None if there are ``at_most`` already, or the system starts none."""
        with self._lock:
            if self._count >= at_most or not _can_start():
                return None
            self._count += 1
        try:
            return HashProcess()
        except (OSError, subprocess.SubprocessError):
            self._lose_one()
            return None
        except BaseException:
            self._lose_one()
            raise

    def give_back(self, process: HashProcess) -> None:
        """End a process; blocking."""
        try:
            process.close()
        finally:
            self._lose_one()

    def _lose_one(self) -> None:
        with self._lock:
            self._count -= 1


HASH_PROCESSES: Final = HashProcesses()
"""Those of this process."""


def _can_start() -> bool:
    """Return whether the interpreter is a program that can be started, and files can be sent."""
    is_python = "py" in Path(sys.executable or "").name and not hasattr(sys, "frozen")
    return is_python and hasattr(socket, "send_fds")
