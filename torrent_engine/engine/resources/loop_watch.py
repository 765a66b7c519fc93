"""A watch over the event loop: how late it is, and what ran while nothing else could (row F11).

A task on the loop beats a few times a second. A thread looks whether the next beat is overdue, and
if so notes where the loop's thread is at that moment. Both wake rarely where nobody is connected.
"""

import faulthandler
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import CO_COROUTINE
from typing import IO, TYPE_CHECKING, Final

import anyio

from torrent_engine.engine.stats import LoopLag

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

LATE_S: Final = 0.1  # row F11: a lag of the loop that is worth a warning
BEAT_S: Final = 0.05  # ours: at least as often as a lag of LATE_S must be seen
REST_BEAT_S: Final = 0.5  # ours: the same while nobody is connected
WARNING_INTERVAL_S: Final = 10.0  # ours: at most one warning in this time; the others are counted
SHOWN_FRAMES: Final = 6  # ours: the innermost ones
SHOWN_OF_THREADS: Final = 2
SHOWN_THREADS: Final = 4
_WAITING: Final = frozenset(
    {"wait", "select", "poll", "accept", "get", "get_events", "_work", "read", "recv", "acquire"}
)
"""Functions in which a thread does nothing."""
_LOOPS: Final = ("asyncio/events.py", "trio/_core/_run.py")
"""Loops in Python, which wait in one of these functions; a loop in C has no frame of its own."""
_BUCKETS: Final = 24  # of one power of two each, in milliseconds
_THREAD: Final = re.compile(r"(?:Current t|T)hread 0x([0-9a-fA-F]+)")
_CALL: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')
_FIELD_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class StackCall:
    """One call on the stack of a thread; texts are ASCII, with escapes."""

    file: str
    line: str
    name: str

    def __str__(self) -> str:
        """Return it as a log shows it."""
        return f"{self.name} ({self.file}:{self.line})"


Stacks = dict[int, list[StackCall]]
"""The calls of threads by their idents, the innermost call first."""


class LoopWatch:
    """Measures how late the event loop is, and warns of what made it late."""

    def __init__(
        self,
        is_busy: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Check often while ``is_busy()``; ``clock`` must be callable in any thread."""
        self._is_busy = is_busy
        self._clock = clock
        self._due_s = 0.0
        self._loop_thread = 0
        self._caller: tuple[str, str] | None = None
        """File and name of the function that runs the loop."""
        self._ends = threading.Event()
        self._longest_s = 0.0
        self._late_count = 0
        self._counts = [0] * _BUCKETS
        self._place: str | None = None
        self._last_place = ""
        self._warned_s = float("-inf")

    def lag(self) -> LoopLag:
        """Return what was measured so far."""
        return LoopLag(self._longest_s, self._p99_s(), self._late_count, self._last_place)

    def _p99_s(self) -> float:
        left = sum(self._counts) // 100
        for bucket in reversed(range(_BUCKETS)):
            left -= self._counts[bucket]
            if left < 0:
                return float(1 << bucket) / 1_000
        return 0.0

    # -- on the loop --------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled; the thread has ended when this returns."""
        self._loop_thread = threading.get_ident()
        self._caller = _caller_of_loop()
        self._ends = threading.Event()
        self._due_s = self._clock() + BEAT_S
        watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        watcher.start()
        delay = RunDelay()
        try:
            while True:
                beat_s = BEAT_S if self._is_busy() else REST_BEAT_S
                delayed_s = delay.seconds()
                self._due_s = self._clock() + beat_s
                await anyio.sleep(beat_s)
                late_s = max(0.0, self._clock() - self._due_s)
                self.note(late_s, delay.seconds() - delayed_s)
        finally:
            delay.close()
            self._ends.set()
            watcher.join()

    def note(self, late_s: float, delayed_s: float = 0.0) -> None:
        """Record how late one beat was, and for how long meanwhile the system ran others instead.

        What is not late enough without that is no fault of what ran.
        """
        self._counts[min(int(late_s * 1_000).bit_length(), _BUCKETS - 1)] += 1
        self._longest_s = max(self._longest_s, late_s)
        place, self._place = self._place, None  # what an earlier and shorter lag left
        if late_s < LATE_S:
            return
        self._late_count += 1
        is_ours = late_s - delayed_s >= LATE_S
        self._last_place = ("not seen" if place is None else place) if is_ours else ""
        now = self._clock()
        if not self._last_place:
            logger.info("this process got no processor time for %.0f ms", late_s * 1e3)
        elif now - self._warned_s >= WARNING_INTERVAL_S:
            self._warned_s = now
            logger.warning(
                "the event loop stood still for %.0f ms; it ran %s", late_s * 1e3, self._last_place
            )

    # -- in the thread ------------------------------------------------------------------------

    def _watch(self) -> None:
        seen_s = 0.0
        while not self._ends.wait(max(0.01, self._due_s + LATE_S / 2 - self._clock())):
            due_s = self._due_s
            if due_s != seen_s and self._clock() >= due_s + LATE_S / 2:
                seen_s = due_s
                self._place = self._look()
            elif due_s == seen_s:  # one look at each stall
                self._ends.wait(LATE_S)

    def _look(self) -> str:
        """Return what the loop runs, and what other threads do: they may hold the interpreter.

        "" if all wait: then the system lets other processes run.
        """
        try:
            stacks = thread_stacks()
        except OSError:  # no descriptor is left
            return where([])
        loop = stacks.pop(self._loop_thread, [])
        stacks.pop(threading.get_ident(), None)
        working = [calls for calls in stacks.values() if calls and calls[0].name not in _WAITING]
        if loop and not working and self._waits(loop[0]):
            return ""
        places = [where(loop)]
        places += [f"a thread: {where(calls, SHOWN_OF_THREADS)}" for calls in working]
        return "; ".join(places[:SHOWN_THREADS])

    def _waits(self, call: StackCall) -> bool:
        """Return whether the thread of the loop runs no callback."""
        return (call.file, call.name) == self._caller or call.name in _WAITING


def _caller_of_loop() -> tuple[str, str] | None:
    """Return what runs a loop that is written in C: its thread is there between two callbacks."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - there is no other way
    while frame is not None and (frame.f_code is _OURS or frame.f_code.co_flags & CO_COROUTINE):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.replace("\\", "/").endswith(_LOOPS):
        return None
    return escaped(frame.f_code.co_filename), escaped(frame.f_code.co_name)


_OURS: Final = _caller_of_loop.__code__


def where(calls: Sequence[StackCall], limit: int = SHOWN_FRAMES) -> str:
    """Return the innermost calls of a thread as one line, the outer ones first."""
    return " > ".join(map(str, reversed(calls[:limit]))) or "not seen"


def thread_stacks() -> Stacks:
    """Return what the threads run; of very many, and of very deep stacks, a part.

    The frames of a thread that runs must not be walked from another one: between two steps it goes
    on, and what a frame was belongs to something else then. During the dump all threads stand.
    """
    with _file() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return parse_stacks(file.read().decode("ascii", "replace"))


def parse_stacks(text: str) -> Stacks:
    """Return the calls in a dump; lines that are neither a thread's nor a call's are left out."""
    found: Stacks = {}
    calls: list[StackCall] = []
    for line in text.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            calls = found.setdefault(int(thread[1], 16), [])
        elif (call := _CALL.fullmatch(line)) is not None:
            calls.append(StackCall(*call.groups()))
    return found


def escaped(text: str) -> str:
    """Return a name as it stands in a dump."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _file() -> IO[bytes]:
    """Return a file that no disk holds up, where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stacks"), "w+b")
    return tempfile.TemporaryFile()


class RunDelay:
    """The time for which the thread that made this waited for a processor; read it in any thread.

    Close it when it is no longer needed. The Linux kernel tells it ("schedstat" of a task, the
    second number, in nanoseconds), other systems do not.
    """

    def __init__(self) -> None:
        """Open the numbers of the current thread."""
        self._file = _opened(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def seconds(self) -> float:
        """Return the time since the thread began, 0.0 where the system does not tell; 3 us."""
        if self._file is None:
            return 0.0
        try:
            fields = os.pread(self._file, _FIELD_BYTES, 0).split()
        except OSError:
            return 0.0
        return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0

    def close(self) -> None:
        """Close the file; the time is 0.0 from now on."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
