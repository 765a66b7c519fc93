"""All output of the command line: lines, errors, JSON, and live displays."""

import errno
import io
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from torrent_engine.cli.output.exit_codes import CliError, exit_code_of, message_of
from torrent_engine.cli.output.terminal import ControlEcho
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.wrapping import INDENT, ellipsis_of, labelled, wrapped

if TYPE_CHECKING:
    from rich.live import Live

    from torrent_engine.cli.output.overview import OverviewEntry
    from torrent_engine.cli.output.settings import ProcessSettings
    from torrent_engine.cli.output.views import Row

PROGRAM: Final = "torrent-engine"
LIVE_INTERVAL_S: Final = 0.2
OUTPUT_WAIT_S: Final = 0.05  # between two looks whether who reads the output goes on
PLAIN_INTERVAL_S: Final = 1.0  # how often we look
PLAIN_PAUSE_S: Final = 5.0  # how long a torrent is silent after a line
SILENT_INTERVAL_S: Final = 3_600.0


class OutputError(CliError):
    """The output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {message_of(error)}", exit_code_of(error))


def print_line(text: str = "", *, flush: bool = False) -> None:
    """Write one line to stdout."""
    _write(sys.stdout, text)
    if flush:
        flush_output()


def print_lines(lines: Sequence[str]) -> None:
    """Write several lines to stdout."""
    _write(sys.stdout, "\n".join(lines))


def print_wrapped(text: str, *, first: str = "", indent: str = INDENT) -> None:
    """Write ``first`` and a text to stdout, wrapped at spaces where that is a terminal."""
    _write(sys.stdout, _wrapped_for(sys.stdout, text, indent, first))


def write_bytes(data: bytes) -> None:
    """Write a whole file to stdout. Raises OutputError, also where that is closed."""
    if sys.stdout is None:
        raise OutputError(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from error


def print_error(message: str) -> None:
    """Write one message to stderr, with the program's name before it."""
    with suppress(OSError, OutputError):  # there is nobody left to tell
        _write(sys.stderr, _wrapped_for(sys.stderr, safe(message.strip()), first=f"{PROGRAM}: "))


def _wrapped_for(stream: TextIO | None, text: str, indent: str = INDENT, first: str = "") -> str:
    """Return a text in lines of a terminal; in one line for anything else."""
    if stream is None or not stream.isatty():
        return f"{first}{text}"
    width = shutil.get_terminal_size().columns
    return "\n".join(wrapped(text, max(1, width - 1), indent, first))


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
    """Output of a command. This class prints only errors (-q)."""

    interval_s: float = SILENT_INTERVAL_S
    """Interval between calls of :meth:`update`, in seconds."""
    wants_events: bool = False
    draws: bool = False
    """Whether :meth:`show_overview` draws on a terminal."""

    @property
    def is_ready(self) -> bool:
        """Whether a line can be written without blocking."""
        return takes_output(sys.stdout)

    def __enter__(self) -> Self:
        """Start using the terminal."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the terminal."""

    def suspend(self) -> None:
        """Restore the terminal until :meth:`resume`."""

    def resume(self) -> None:
        """Use the terminal again."""

    def update(self, rows: Sequence["Row"]) -> None:
        """Show the progress of torrents."""

    def show_overview(self, entries: Sequence["OverviewEntry"]) -> None:
        """Show a line for each torrent, if :attr:`draws`."""

    def note(self, text: str, *, about: str = "") -> None:
        """Print a message; ``about`` is the name of its torrent."""

    def record(self, fields: Mapping[str, object]) -> None:
        """Write a JSON record."""

    def error(self, error: BaseException, *, about: str) -> None:
        """Print an error of a torrent to stderr, also with --quiet."""
        print_failure(error, about=about)


class JsonReporter(Reporter):
    """Prints one JSON object per line, and nothing else, to stdout."""

    wants_events = True

    def __init__(self, passes: Callable[[Mapping[str, object]], bool] = lambda _: True) -> None:
        self._passes = passes

    def record(self, fields: Mapping[str, object]) -> None:
        """Print a record with the time, if the filter accepts it."""
        if self._passes(fields):
            print_json({"time": round(time.time(), 3), **fields}, flush=True)


class PlainReporter(Reporter):
    """Prints plain lines: the progress of a torrent every few seconds, if it changed."""

    interval_s = PLAIN_INTERVAL_S

    def __init__(self, pause_s: float = PLAIN_PAUSE_S) -> None:
        self._pause_s = pause_s
        self._last: dict[str, tuple[str, float]] = {}

    def update(self, rows: Sequence["Row"]) -> None:
        """Print the lines that are due."""
        from torrent_engine.cli.output.views import plain_line

        now = time.monotonic()
        for row in rows:
            line = plain_line(row)
            before, when = self._last.setdefault(row.key, ("", now - self._pause_s / 2))
            if line != before and now - when >= self._pause_s:
                self._last[row.key] = (line, now)
                self.note(line)

    def note(self, text: str, *, about: str = "") -> None:
        """Print a line."""
        print_line(f"{about}: {text}" if about else text, flush=True)


class LiveReporter(Reporter):
    """Draws progress bars a few times per second; messages scroll above them."""

    interval_s = LIVE_INTERVAL_S
    draws = True

    def __init__(self, *, no_color: bool) -> None:
        from rich.console import Console

        replace_unencodable(sys.stdout, sys.stderr)
        self._console = Console(
            no_color=no_color or None, markup=False, emoji=False, highlight=False
        )
        self._live: Live | None = None
        self._echo = ControlEcho()
        self._ascii_only = not (self._console.encoding or "").lower().startswith("utf")

    def __enter__(self) -> Self:
        """Start drawing."""
        self.resume()
        return self

    def resume(self) -> None:
        """Draw from now on, at the cursor; does nothing if that is so."""
        from rich.live import Live
        from rich.text import Text

        if self._live is not None:
            return
        self._echo.hide()
        self._live = Live(
            Text(""),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bars and show the cursor."""
        self.suspend()

    def suspend(self) -> None:
        """Remove the bars and show the cursor until :meth:`resume`."""
        self._echo.restore()
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):  # the terminal is gone
                live.stop()

    def update(self, rows: Sequence["Row"]) -> None:
        """Draw."""
        from torrent_engine.cli.output.views import live_view

        if self._live is not None:
            width, height = self._size
            view = live_view(rows, width=width, height=height, ascii_only=self._ascii_only)
            self._live.update(view, refresh=True)

    def show_overview(self, entries: Sequence["OverviewEntry"]) -> None:
        """Draw a line for each torrent that there is room for."""
        from torrent_engine.cli.output.overview import overview

        if self._live is not None:
            width, height = self._size
            view = overview(entries, width=width, height=height, ascii_only=self._ascii_only)
            self._live.update(view, refresh=True)

    @property
    def _size(self) -> tuple[int, int]:
        """Columns and lines to draw in; a line that fills the last column may wrap."""
        return max(1, self._console.width - 1), self._console.height

    def note(self, text: str, *, about: str = "") -> None:
        """Print above the bars; a long name is truncated."""
        ellipsis = ellipsis_of(ascii_only=self._ascii_only)
        width, _ = self._size
        for line in labelled(about, text, width, ellipsis=ellipsis):
            self._console.print(_encodable(line, sys.stdout), soft_wrap=True)


def reporter_of(
    settings: "ProcessSettings", options: Mapping[str, Any], *, quiet: bool
) -> Reporter:
    """Return the reporter for the output options of a command."""
    from torrent_engine.cli.output.records import RecordFilter
    from torrent_engine.cli.output.settings import wants_json

    if wants_json(options):
        patterns = options["json_events"] or ()
        return JsonReporter(RecordFilter(patterns, options["stats_interval"]).passes)
    return reporter_for(settings, as_json=False, quiet=quiet)


def reporter_for(settings: "ProcessSettings", *, as_json: bool, quiet: bool) -> Reporter:
    """Return a reporter as asked for, else depending on whether stdout is a terminal."""
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


def has_ellipsis() -> bool:
    """Return whether the encoding of stdout has an ellipsis."""
    return _encodable("…", sys.stdout) == "…"


def replace_unencodable(*streams: TextIO | None) -> None:
    """Configure streams to write ``?`` for characters that their encoding lacks."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
    """Flush buffered output. Raises OutputError."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from error
