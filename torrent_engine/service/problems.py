"""Short codes of errors for programs, as answers of the control socket have them."""

from typing import Final

from torrent_engine.base import errors

_CODES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.UnknownTorrentError, "torrent_not_found"),
    (errors.ConfigError, "setting_invalid"),
    (errors.NetworkError, "network"),
    (errors.StateInUseError, "in_use"),
    (errors.StateTransitionError, "state_conflict"),
    (errors.BusyError, "state_conflict"),
    (errors.DiskFullError, "not_enough_space"),
    (errors.FileExistsStorageError, "file_exists"),
    (errors.MissingFilesError, "file_not_found"),
    (errors.StorageError, "io_error"),
    (errors.StateDatabaseError, "io_error"),
    (OSError, "io_error"),
)  # the first that matches counts
INTERNAL: Final = "internal"


def problem_of(error: BaseException) -> tuple[str, str]:
    """Return the code and the text of an error, by its cause if that is known better."""
    if isinstance(error, errors.SessionError) and error.__cause__ is not None:
        return problem_of(error.__cause__)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)
    if code == INTERNAL and isinstance(error, errors.SessionError):
        code = "state_conflict"
    return code, " ".join(str(error).split()) or type(error).__name__
