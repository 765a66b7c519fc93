"""Errors of all HTTP interfaces: codes with their status, and ``application/problem+json``.

Source: RFC 9457.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base import errors
from torrent_engine.daemon.settings.store import PinnedError, UnknownSettingError

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[dict[str, int]] = {
    "bad_request": 400,
    "setting_invalid": 400,
    "unknown_key": 400,
    "path_not_allowed": 400,
    "json_too_deep": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "csrf_invalid": 403,
    "origin_refused": 403,
    "address_refused": 403,
    "not_found": 404,
    "torrent_not_found": 404,
    "job_not_found": 404,
    "file_not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "too_many_torrents": 409,
    "state_conflict": 409,
    "file_exists": 409,
    "io_error": 409,
    "owner_changed": 409,
    "no_metadata_yet": 409,
    "setting_pinned": 409,
    "idempotency_in_progress": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "host_refused": 421,
    "input_invalid": 422,
    "torrent_invalid": 422,
    "magnet_invalid": 422,
    "url_refused": 422,
    "idempotency_key_reused": 422,
    "locked_out": 429,
    "too_many_requests": 429,
    "internal": 500,
    "url_failed": 502,
    "tracker_failed": 502,
    "busy": 503,
    "starting": 503,
    "stopping": 503,
    "read_timeout": 504,
    "disk_timeout": 504,
    "not_enough_space": 507,
}
"""The status of each code; the code is the last part of the problem's ``type``."""

TITLES: Final[dict[str, str]] = {
    code: code.replace("_", " ").capitalize().replace("Csrf", "CSRF").replace("Json", "JSON")
    for code in STATUSES
}


@dataclass(frozen=True, slots=True)
class InputError:
    """What is wrong with one value of a request; ``pointer`` is a JSON pointer."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as interfaces tell it."""

    code: str
    detail: str = ""
    instance: str = ""
    """Names the record in the log of an internal error."""
    errors: Sequence[InputError] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further members, such as the limit that was exceeded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Fields of the answer."""

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return STATUSES[self.code]

    def body(self) -> bytes:
        """Return it as JSON."""
        value: dict[str, object] = {
            "type": f"/problems/{self.code}",
            "title": TITLES[self.code],
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            value["detail"] = self.detail
        if self.instance:
            value["instance"] = self.instance
        if self.errors:
            value["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in self.errors]
        return json.dumps({**value, **self.extra}, allow_nan=False).encode()


class ProblemError(Exception):
    """Raised by a route to answer with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code, problem.detail)
        self.problem = problem


_CODES: Final[tuple[tuple[type[errors.TorrentEngineError], str], ...]] = (
    (PinnedError, "setting_pinned"),
    (UnknownSettingError, "unknown_key"),
    (errors.BencodeError, "torrent_invalid"),
    (errors.MetainfoError, "torrent_invalid"),
    (errors.MagnetError, "magnet_invalid"),
    (errors.UnknownTorrentError, "torrent_not_found"),
    (errors.UnknownFileError, "file_not_found"),
    (errors.ConfigError, "setting_invalid"),
    (errors.OwnerChangedError, "owner_changed"),
    (errors.ClosedError, "stopping"),
    (errors.BusyError, "state_conflict"),
    (errors.StateTransitionError, "state_conflict"),
    (errors.SessionError, "state_conflict"),
    (errors.TrackerError, "tracker_failed"),
    (errors.DiskFullError, "not_enough_space"),
    (errors.FileExistsStorageError, "file_exists"),
    (errors.StorageError, "io_error"),
    (errors.HttpError, "url_failed"),
    (errors.NetworkError, "url_failed"),
    (errors.IpFilterError, "setting_invalid"),
    (errors.GatewayError, "url_failed"),
    (errors.StateDatabaseError, "internal"),
    (errors.LocalProtocolError, "internal"),
    (errors.RemoteProtocolError, "url_failed"),
    (errors.TorrentEngineError, "internal"),
)  # the first that matches counts, so subclasses stand before their bases


def code_of(error: errors.TorrentEngineError) -> str:
    """Return the code for an error of the engine."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def problem_of(error: errors.TorrentEngineError) -> Problem:
    """Return the problem for an error of the engine; the text is the error's own."""
    return Problem(code_of(error), str(error))
