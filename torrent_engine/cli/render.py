"""The only printer: every line that a user sees goes through here."""

import json
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from torrent_engine.cli.exit_codes import CliError, exit_code_of, message_of

if TYPE_CHECKING:
    from rich.live import Live

    from torrent_engine.cli.options import Settings
    from torrent_engine.cli.overview import Entry
    from torrent_engine.cli.views import Row

PROGRAM: Final = "torrent-engine"
LIVE_INTERVAL_S: Final = 0.2
OUTPUT_WAIT_S: Final = 0.05  # between two looks whether who reads the output goes on
PLAIN_INTERVAL_S: Final = 1.0  # how often we look
PLAIN_PAUSE_S: Final = 5.0  # how long a torrent is silent after a line
SILENT_INTERVAL_S: Final = 3_600.0


class OutputError(CliError):
    """Our own output cannot be written; nothing is wrong with any torrent."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {message_of(error)}", exit_code_of(error))


def safe(text: str) -> str:
    """Return text that cannot control the terminal: names from torrents, messages of others."""
    from torrent_engine.codec.paths import escape_for_terminal

    return escape_for_terminal(text)


def print_line(text: str = "", *, flush: bool = False) -> None:
    """Write one line to stdout."""
    _write(sys.stdout, text)
    if flush:
        flush_output()


def print_lines(lines: Sequence[str]) -> None:
    """Write several lines to stdout."""
    _write(sys.stdout, "\n".join(lines))


def print_error(message: str) -> None:
    """Write one line to stderr, with the program's name before it."""
    with suppress(OSError, OutputError):  # there is nobody left to tell
        _write(sys.stderr, f"{PROGRAM}: {safe(' '.join(message.split()))}")


def print_failure(error: BaseException, *, about: str) -> None:
    """Write what failed with one torrent to stderr, named unless the message begins so."""
    message = message_of(error)
    print_error(message if message.startswith(f"{about}:") else f"{about}: {message}")


def print_traceback(error: BaseException) -> None:
    """Write a traceback to stderr (--debug)."""
    import traceback

    with suppress(OSError):  # nobody reads it any more
        traceback.print_exception(error)


def print_json(value: object, *, flush: bool = False) -> None:
    """Write one JSON value as a line to stdout; everything but ASCII is escaped."""
    print_line(json.dumps(value, allow_nan=False), flush=flush)


class Reporter:
    """What a run of one or more torrents tells the user. This one prints only errors (-q)."""

    interval_s: float = SILENT_INTERVAL_S
    """How often :meth:`update` wants to be called."""
    wants_events: bool = False
    draws: bool = False
    """It has a terminal to draw on, which :meth:`show_overview` fills."""

    @property
    def is_ready(self) -> bool:
        """Whether a line can be written without waiting for who reads the output."""
        return takes_output(sys.stdout)

    def __enter__(self) -> Self:
        """Take the terminal."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""

    def update(self, rows: Sequence["Row"]) -> None:
        """Show how far the torrents are."""

    def show_overview(self, entries: Sequence["Entry"]) -> None:
        """Show a line for each torrent, if :attr:`draws`."""

    def note(self, text: str) -> None:
        """Tell something that is no error."""

    def record(self, fields: Mapping[str, object]) -> None:
        """Tell a fact to a program."""

    def error(self, error: BaseException, *, about: str) -> None:
        """Tell what failed with a torrent: always, and on stderr."""
        print_failure(error, about=about)


class JsonReporter(Reporter):
    """One JSON object a line, and nothing else on stdout."""

    wants_events = True

    def record(self, fields: Mapping[str, object]) -> None:
        """Print a fact with the time."""
        print_json({"time": round(time.time(), 3), **fields}, flush=True)


class PlainReporter(Reporter):
    """Lines for a log: a torrent's progress every few seconds, and only when it changed."""

    interval_s = PLAIN_INTERVAL_S

    def __init__(self, pause_s: float = PLAIN_PAUSE_S) -> None:
        self._pause_s = pause_s
        self._last: dict[str, tuple[str, float]] = {}

    def update(self, rows: Sequence["Row"]) -> None:
        """Print the lines that are due."""
        from torrent_engine.cli.views import plain_line

        now = time.monotonic()
        for row in rows:
            line = plain_line(row)
            before, when = self._last.setdefault(row.key, ("", now - self._pause_s / 2))
            if line != before and now - when >= self._pause_s:
                self._last[row.key] = (line, now)
                self.note(line)

    def note(self, text: str) -> None:
        """Print a line."""
        print_line(text, flush=True)


class LiveReporter(Reporter):
    """Bars that are drawn anew a few times a second; notes scroll above them."""

    interval_s = LIVE_INTERVAL_S
    draws = True

    def __init__(self, *, no_color: bool) -> None:
        from rich.console import Console

        self._console = Console(
            no_color=no_color or None, markup=False, emoji=False, highlight=False
        )
        self._live: Live | None = None
        self._ascii_only = not (self._console.encoding or "").lower().startswith("utf")

    def __enter__(self) -> Self:
        """Start drawing."""
        from rich.live import Live
        from rich.text import Text

        self._live = Live(
            Text(""),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bars away and show the cursor again."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):  # the terminal is gone
                live.stop()

    def update(self, rows: Sequence["Row"]) -> None:
        """Draw."""
        from torrent_engine.cli.views import live_view

        if self._live is not None:
            width, height = self._console.size
            view = live_view(rows, width=width, height=height, ascii_only=self._ascii_only)
            self._live.update(view, refresh=True)

    def show_overview(self, entries: Sequence["Entry"]) -> None:
        """Draw a line for each torrent that there is room for."""
        from torrent_engine.cli.overview import overview

        if self._live is not None:
            width, height = self._console.size
            view = overview(entries, width=width, height=height, ascii_only=self._ascii_only)
            self._live.update(view, refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(_encodable(text, sys.stdout), soft_wrap=True)


def reporter_for(settings: "Settings", *, as_json: bool, quiet: bool) -> Reporter:
    """Choose how to report: as asked, else by whether stdout is a terminal."""
    if as_json:
        return JsonReporter()
    if quiet:
        return Reporter()
    if (
        sys.stdout is not None
        and sys.stdout.isatty()
        and os.environ.get("TERM", "") not in {"", "dumb"}
    ):
        return LiveReporter(no_color=settings.no_color)
    return PlainReporter()


def _encodable(text: str, stream: Any) -> str:  # noqa: ANN401
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by who started us
        return
    try:
        stream.write(_encodable(text, stream) + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from error


def takes_output(stream: TextIO | None) -> bool:
    """Return whether a stream takes a line now, or fails at once.

    A pipe that nobody reads, and a terminal that is stopped (Ctrl-S), would hold up every torrent.
    True as well where it cannot be known: a stream without a descriptor, a system without poll.
    """
    if stream is None or not hasattr(select, "poll"):
        return True
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def flush_output() -> None:
    """Hand over what is buffered; raises OutputError."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from error
