"""The newest records of the log, for administrators who look at them over an interface."""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from torrent_engine.codec.paths import escape_for_terminal

MAX_RECORDS: Final = 2_000
MAX_CHARS: Final = 4_096  # ours: of one record
ROOT: Final = "torrent_engine"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record; :attr:`number` rises by one from record to record."""

    number: int
    at: float
    level: int
    logger: str
    text: str


class LogTail(logging.Handler):
    """Keeps the newest records; other threads log too."""

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        super().__init__()
        self._entries: deque[LogEntry] = deque(maxlen=max_records)
        self._guard = threading.Lock()
        self.last = 0
        """The number of the newest record; 0: there is none yet."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keep what is logged in a block."""
        root = logging.getLogger(ROOT)
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = record.getMessage()
            if record.exc_info is not None and record.exc_info[1] is not None:
                error = record.exc_info[1]
                text = f"{text}: {type(error).__name__}: {error}"
        except Exception:
            self.handleError(record)
            return
        shown = escape_for_terminal(text[:MAX_CHARS])
        with self._guard:
            self.last += 1
            self._entries.append(
                LogEntry(self.last, record.created, record.levelno, record.name, shown)
            )

    def after(self, number: int, level: int = 0, limit: int = MAX_RECORDS) -> list[LogEntry]:
        """Return the records behind a number, of a level at least; the oldest first."""
        with self._guard:
            found = [each for each in self._entries if each.number > number]
        return [each for each in found if each.level >= level][:limit]
