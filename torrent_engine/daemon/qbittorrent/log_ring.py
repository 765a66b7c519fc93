"""The newest records of the log, for "log/main"."""

import logging
from collections import deque
from typing import Any, Final

MAX_RECORDS: Final = 2_000
MAX_CHARS: Final = 2_000
NORMAL, INFO, WARNING, CRITICAL = 1, 2, 4, 8
LOGGER: Final = "torrent_engine"


class LogRing(logging.Handler):
    """Keeps records as the protocol tells them; only the newest ring gets any."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._records: deque[dict[str, Any]] = deque(maxlen=MAX_RECORDS)
        self._last = -1

    def attach(self) -> None:
        """Begin to get the records of the daemon, in the place of another ring."""
        logger = logging.getLogger(LOGGER)
        for handler in [each for each in logger.handlers if isinstance(each, LogRing)]:
            logger.removeHandler(handler)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            message = record.getMessage()[:MAX_CHARS]
        except (TypeError, ValueError):
            message = str(record.msg)[:MAX_CHARS]
        self._last += 1
        self._records.append(
            {
                "id": self._last,
                "message": message,
                "timestamp": int(record.created),
                "type": _type_of(record.levelno),
            }
        )

    def records(self, types: int, after: int) -> list[dict[str, Any]]:
        """Return the records of some types (bits) behind the one of a number."""
        return [each for each in self._records if each["type"] & types and each["id"] > after]


def _type_of(level: int) -> int:
    if level >= logging.ERROR:
        return CRITICAL
    return WARNING if level >= logging.WARNING else NORMAL
