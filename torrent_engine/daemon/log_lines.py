"""Records of the log as lines: text of others, such as a torrent's name, never makes one."""

import logging
from types import TracebackType
from typing import Final, TypeAlias

from torrent_engine.codec.paths import escape_for_terminal

_ExceptionInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
_INDENT: Final = "    "


class LineFormatter(logging.Formatter):
    """Escapes control characters; a traceback is indented, so that it looks like no record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        """Return the line of a record."""
        record.message = escape_for_terminal(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 - of logging
        """Return a traceback."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(_INDENT + escape_for_terminal(line) for line in lines)
