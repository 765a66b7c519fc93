"""The log file of a command: what is written to it, and its rotation."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final

from torrent_engine.codec.paths import escape_for_terminal

LOGGER: Final = logging.getLogger("torrent_engine")


class _LineFormatter(logging.Formatter):
    """One line a record: time with its zone, level, logger, message; below it a traceback."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time as in RFC 3339, in milliseconds."""
        del datefmt
        return datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line; what others named begins no line of its own."""
        return escape_for_terminal(super().formatMessage(record))


class _LogFile(WatchedFileHandler):
    """A file that is made anew when it was renamed or removed; what cannot be written is lost."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a file that cannot be made anew is tried again at the next one."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on: a full disk ends no transfer, and a terminal is no place for it."""


def open_log(path: Path) -> Callable[[], None]:
    """Log to a file from now on, at its end; return what ends that. Raises OSError."""
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    LOGGER.addHandler(handler)

    def close() -> None:
        LOGGER.removeHandler(handler)
        with suppress(OSError):
            handler.close()

    return close
