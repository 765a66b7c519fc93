"""Errors as this protocol tells them: a status and a line of text."""

from typing import Final

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.problems import Problem, ProblemError, problem_of

BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
BAD_DATA: Final = 415
_BY_CODE: Final = {
    "torrent_invalid": BAD_DATA,
    "magnet_invalid": BAD_REQUEST,
    "url_refused": BAD_REQUEST,
    "input_invalid": BAD_REQUEST,
    "path_not_allowed": CONFLICT,
    "file_not_found": CONFLICT,
    "not_enough_space": CONFLICT,
    "url_failed": CONFLICT,
    "tracker_failed": BAD_REQUEST,
}
"""Where the protocol has another status than the daemon's own interface."""


class WebApiError(Exception):
    """A request that cannot be done."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def bad_request(text: str) -> WebApiError:
    """Return the error for parameters that are missing or wrong."""
    return WebApiError(BAD_REQUEST, text)


def conflict(text: str) -> WebApiError:
    """Return the error for what cannot be as things are."""
    return WebApiError(CONFLICT, text)


def not_found(text: str = "Not Found") -> WebApiError:
    """Return the error for a torrent that is not there."""
    return WebApiError(NOT_FOUND, text)


def error_of(error: TorrentEngineError | ProblemError) -> WebApiError | None:
    """Return how an error of the engine is told; None for one that is a bug."""
    problem: Problem = error.problem if isinstance(error, ProblemError) else problem_of(error)
    if problem.code == "internal":
        return None
    return WebApiError(_BY_CODE.get(problem.code, problem.status), problem.detail)
