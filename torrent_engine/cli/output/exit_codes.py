"""Exit codes (aria2's numbers where they apply) and the errors that map to them.

Source: aria2(1), "EXIT STATUS".
"""

import errno
import os
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from torrent_engine.base import errors
from torrent_engine.codec.paths import escape_for_terminal


class ExitCode(IntEnum):
    """Exit codes of the process."""

    OK = 0
    UNKNOWN = 1
    TIMED_OUT = 2
    NOT_FOUND = 3
    NETWORK = 6
    UNFINISHED = 7
    DISK_FULL = 9
    IN_USE = 12
    FILE_EXISTS = 13
    IO_ERROR = 17
    NAME_RESOLUTION = 19
    BAD_BENCODE = 25
    BAD_TORRENT = 26
    BAD_MAGNET = 27
    BAD_OPTION = 28
    CHECK_FAILED = 32
    OUTPUT_CLOSED = 141
    """128 + SIGPIPE, as a shell shows a program that this signal ended."""


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.UNKNOWN: "unknown error (a bug; --debug shows where)",
    ExitCode.TIMED_OUT: "time-out",
    ExitCode.NOT_FOUND: "not found: a file, a folder, a URL, or a lookup in the DHT",
    ExitCode.NETWORK: "network problem: tracker, URL or port",
    ExitCode.UNFINISHED: "unfinished: Ctrl-C, or the --owner-process has ended",
    ExitCode.DISK_FULL: "disk full",
    ExitCode.IN_USE: "another process uses the torrent or the state folder",
    ExitCode.FILE_EXISTS: "file exists, or may not be created (--overwrite, --allow-hidden)",
    ExitCode.IO_ERROR: "I/O error",
    ExitCode.NAME_RESOLUTION: "a host name could not be resolved",
    ExitCode.BAD_BENCODE: "bad bencode",
    ExitCode.BAD_TORRENT: "bad torrent",
    ExitCode.BAD_MAGNET: "bad magnet link",
    ExitCode.BAD_OPTION: "bad option",
    ExitCode.CHECK_FAILED: "data is missing or does not match its hashes; no signature is trusted",
    ExitCode.OUTPUT_CLOSED: "the output was closed (broken pipe); shut down as by Ctrl-C",
}

_BY_ERROR: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (errors.BencodeError, ExitCode.BAD_BENCODE),
    (errors.MetainfoError, ExitCode.BAD_TORRENT),
    (errors.ConfigError, ExitCode.BAD_OPTION),
    (errors.SignatureError, ExitCode.BAD_OPTION),
    (errors.MagnetError, ExitCode.BAD_MAGNET),
    (errors.DiskFullError, ExitCode.DISK_FULL),
    (errors.FileExistsStorageError, ExitCode.FILE_EXISTS),
    (errors.HiddenNameError, ExitCode.FILE_EXISTS),
    (errors.StorageError, ExitCode.IO_ERROR),
    (errors.StateInUseError, ExitCode.IN_USE),
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
_HTTP_GONE: Final = frozenset({404, 410})
_DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class CliError(Exception):
    """An error found by the command line: a one-line message and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.BAD_OPTION) -> None:
        super().__init__(message)
        self.code = code


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the code for an error; UNKNOWN for an unmapped one, which is a bug."""
    causes = list(_causes(error))
    if any(isinstance(cause, errors.NameResolutionError) for cause in causes):
        return ExitCode.NAME_RESOLUTION
    if isinstance(causes[0], _NETWORK_ERRORS) and isinstance(causes[-1], TimeoutError):
        return ExitCode.TIMED_OUT
    if isinstance(causes[0], errors.HttpError) and causes[0].status in _HTTP_GONE:
        return ExitCode.NOT_FOUND
    if type(causes[0]) is errors.StorageError and isinstance(causes[-1], FileNotFoundError):
        return ExitCode.NOT_FOUND
    for cause in causes:
        if (code := _code_of_one(cause)) is not ExitCode.UNKNOWN:
            return code
    return ExitCode.UNKNOWN


def is_expected(error: BaseException) -> bool:
    """Return whether an error has an external cause, and is not a bug."""
    return any(
        isinstance(cause, CliError | OSError | errors.TorrentEngineError)
        or errors.scarcity_of(cause)
        for cause in _causes(error)
    )


# Settings that errors of the library name, as options.
_OPTION_OF: Final = {
    "allow_hidden": "--allow-hidden",
    "follow_links": "--follow-links",
    "overwrite": "--overwrite",
}


def message_of(error: BaseException) -> str:
    """Return the message of an error as one line; an OSError as ``path: reason``."""
    cause = first_leaf(error)
    if isinstance(cause, errors.SessionError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        text = cause.strerror[:1].lower() + cause.strerror[1:]
        text = f"{os.fsdecode(cause.filename)}: {text}" if cause.filename is not None else text
    else:
        text = errors.scarcity_of(cause) or str(cause) or type(cause).__name__
    if isinstance(cause, errors.StateInUseError):
        text = f"{text}; --state-dir DIR names another state folder"
    for setting, option in _OPTION_OF.items():
        if text.endswith(f"without {setting}"):
            text = f"{text.removesuffix(setting)}{option}"
    if is_expected(error):
        return escape_for_terminal(text.strip())
    return f"unexpected {type(cause).__name__}: {' '.join(text.split())}; {_HINT}"


def first_leaf(error: BaseException) -> BaseException:
    """Return the first error inside an exception group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its chain of causes."""
    cause: BaseException | None = first_leaf(error)
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _code_of_one(error: BaseException) -> ExitCode:
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, OSError) and error.errno in _DISK_FULL_ERRNOS:
        return ExitCode.DISK_FULL
    if errors.scarcity_of(error):
        return ExitCode.IO_ERROR
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNKNOWN)
