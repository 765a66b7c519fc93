"""The exit codes: aria2's numbers where they apply, and which error gives which.

Source: aria2(1), "EXIT STATUS".
"""

import errno
import os
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from torrent_engine.base import errors


class ExitCode(IntEnum):
    """What the process tells its caller."""

    OK = 0
    UNKNOWN = 1
    TIMED_OUT = 2
    NOT_FOUND = 3
    NETWORK = 6
    UNFINISHED = 7
    DISK_FULL = 9
    FILE_EXISTS = 13
    IO_ERROR = 17
    BAD_BENCODE = 25
    BAD_TORRENT = 26
    BAD_OPTION = 28
    CHECK_FAILED = 32
    OUTPUT_CLOSED = 141
    """128 + SIGPIPE, as a shell shows a program that this signal ended."""


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.UNKNOWN: "unknown error (a bug; --debug shows where)",
    ExitCode.TIMED_OUT: "time-out",
    ExitCode.NOT_FOUND: "not found: a file, a folder, a URL, or anything in the DHT",
    ExitCode.NETWORK: "network problem: tracker, URL or port",
    ExitCode.UNFINISHED: "unfinished at Ctrl-C, or when its --owner-process ended",
    ExitCode.DISK_FULL: "disk full",
    ExitCode.FILE_EXISTS: "file exists, or may not be made (--overwrite, --allow-hidden)",
    ExitCode.IO_ERROR: "I/O error",
    ExitCode.BAD_BENCODE: "bad bencode",
    ExitCode.BAD_TORRENT: "bad torrent",
    ExitCode.BAD_OPTION: "bad option",
    ExitCode.CHECK_FAILED: "data is missing or does not match its hashes",
    ExitCode.OUTPUT_CLOSED: "nobody reads the output any more; stopped in order, as by Ctrl-C",
}

_BY_ERROR: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (errors.BencodeError, ExitCode.BAD_BENCODE),
    (errors.MetainfoError, ExitCode.BAD_TORRENT),
    (errors.ConfigError, ExitCode.BAD_OPTION),
    (errors.MagnetError, ExitCode.BAD_OPTION),
    (errors.DiskFullError, ExitCode.DISK_FULL),
    (errors.FileExistsStorageError, ExitCode.FILE_EXISTS),
    (errors.HiddenNameError, ExitCode.FILE_EXISTS),
    (errors.StorageError, ExitCode.IO_ERROR),
    (errors.StateDatabaseError, ExitCode.IO_ERROR),
    (errors.OwnerChangedError, ExitCode.UNFINISHED),
    (errors.TrackerError, ExitCode.NETWORK),
    (errors.HttpError, ExitCode.NETWORK),
    (errors.NetworkError, ExitCode.NETWORK),
    (TimeoutError, ExitCode.TIMED_OUT),
    (FileNotFoundError, ExitCode.NOT_FOUND),
    (FileExistsError, ExitCode.FILE_EXISTS),
    (OSError, ExitCode.IO_ERROR),
)  # the first that matches counts, so subclasses stand before their bases

_HINT: Final = "run it with --debug and report what that shows"
_NETWORK_ERRORS: Final = (errors.TrackerError, errors.HttpError, errors.NetworkError)
_DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class CliError(Exception):
    """A mistake or fault that the command line found itself: one line and a code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_OPTION) -> None:
        super().__init__(message)
        self.code = code


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the code for an error; a bug (an error that nobody maps) is UNKNOWN."""
    causes = list(_causes(error))
    if isinstance(causes[0], _NETWORK_ERRORS) and isinstance(causes[-1], TimeoutError):
        return ExitCode.TIMED_OUT
    if type(causes[0]) is errors.StorageError and isinstance(causes[-1], FileNotFoundError):
        return ExitCode.NOT_FOUND
    for cause in causes:
        if (code := _code_of_one(cause)) is not ExitCode.UNKNOWN:
            return code
    return ExitCode.UNKNOWN


def is_expected(error: BaseException) -> bool:
    """Tell a fault of the world or the user from a bug of ours."""
    return any(
        isinstance(cause, CliError | OSError | errors.TorrentEngineError)
        for cause in _causes(error)
    )


def message_of(error: BaseException) -> str:
    """Return what an error says, in one line; OSErrors as ``path: reason``."""
    cause = first_leaf(error)
    if isinstance(cause, errors.SessionError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        text = cause.strerror[:1].lower() + cause.strerror[1:]
        text = f"{os.fsdecode(cause.filename)}: {text}" if cause.filename is not None else text
    else:
        text = str(cause) or type(cause).__name__
    text = " ".join(text.split())
    return text if is_expected(error) else f"unexpected {type(cause).__name__}: {text}; {_HINT}"


def first_leaf(error: BaseException) -> BaseException:
    """Return the first error inside an exception group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def epilog() -> str:
    """Return the list of codes for ``--help``, one a line."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["Exit codes:", *lines])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it says it was raised from."""
    cause: BaseException | None = first_leaf(error)
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _code_of_one(error: BaseException) -> ExitCode:
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, OSError) and error.errno in _DISK_FULL_ERRNOS:
        return ExitCode.DISK_FULL
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNKNOWN)
