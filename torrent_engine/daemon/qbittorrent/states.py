"""The word of this protocol for what a torrent does, and the filters over these words."""

from collections.abc import Callable
from typing import Final

from torrent_engine.daemon.engine_port.facts import ErrorKind
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus

_DONE_OR_NOT: Final = {
    TorrentStatus.STOPPED: ("stoppedDL", "stoppedUP"),
    TorrentStatus.PAUSED: ("stoppedDL", "stoppedUP"),
    TorrentStatus.FINISHED: ("stoppedDL", "stoppedUP"),
    TorrentStatus.CHECKING: ("checkingDL", "checkingUP"),
    TorrentStatus.CHECK_QUEUED: ("checkingResumeData", "checkingResumeData"),
    TorrentStatus.DOWNLOAD_QUEUED: ("queuedDL", "queuedDL"),
    TorrentStatus.SEED_QUEUED: ("queuedUP", "queuedUP"),
}
"""The words before and after all that is wanted is there."""
STOPPED: Final = frozenset({"stoppedDL", "stoppedUP"})
_UPLOADING: Final = frozenset({"uploading", "stalledUP", "checkingUP", "queuedUP", "forcedUP"})
_MOVING_PAYLOAD: Final = frozenset(
    {
        "downloading",
        "forcedDL",
        "metaDL",
        "forcedMetaDL",
        "uploading",
        "forcedUP",
        "moving",
    }
)
_DOWNLOADING: Final = frozenset(
    {
        "downloading",
        "metaDL",
        "forcedMetaDL",
        "stalledDL",
        "checkingDL",
        "stoppedDL",
        "queuedDL",
        "forcedDL",
    }
)
_CHECKING: Final = frozenset({"checkingUP", "checkingDL", "checkingResumeData"})
_ERRORS: Final = frozenset({"error", "missingFiles"})


def state_of(row: StateRow) -> str:
    """Return what a torrent does, in the words of qBittorrent 5."""
    if row.progress.is_moving:
        return "moving"
    if row.status is TorrentStatus.ERROR:
        return "missingFiles" if row.error_kind is ErrorKind.MISSING_FILES else "error"
    words = _DONE_OR_NOT.get(row.status)
    return _running(row) if words is None else words[row.is_complete]


def _running(row: StateRow) -> str:
    is_forced = row.settings.is_forced
    if row.status is TorrentStatus.METADATA:
        return "forcedMetaDL" if is_forced else "metaDL"
    if row.status is TorrentStatus.SEEDING:
        if is_forced:
            return "forcedUP"
        return "uploading" if row.rates.upload_bytes_per_s else "stalledUP"
    if is_forced:
        return "forcedDL"
    return "stalledDL" if row.is_stalled else "downloading"


def is_active(row: StateRow, state: str) -> bool:
    """Return whether payload moves, or the metadata is fetched."""
    if state == "stalledDL":
        return row.rates.upload_bytes_per_s > 0
    return state in _MOVING_PAYLOAD


StateTest = Callable[[StateRow, str], bool]
FILTERS: Final[dict[str, StateTest]] = {
    "downloading": lambda _, state: state in _DOWNLOADING,
    "seeding": lambda _, state: state in _UPLOADING,
    "completed": lambda _, state: state in _UPLOADING or state == "stoppedUP",
    "stopped": lambda _, state: state in STOPPED,
    "paused": lambda _, state: state in STOPPED,
    "running": lambda _, state: state not in STOPPED,
    "resumed": lambda _, state: state not in STOPPED,
    "active": is_active,
    "inactive": lambda row, state: not is_active(row, state),
    "stalled": lambda _, state: state in {"stalledUP", "stalledDL"},
    "stalled_uploading": lambda _, state: state == "stalledUP",
    "stalled_downloading": lambda _, state: state == "stalledDL",
    "checking": lambda _, state: state in _CHECKING,
    "moving": lambda _, state: state == "moving",
    "errored": lambda _, state: state in _ERRORS,
}
"""Filters of "torrents/info"; any other word lets all pass."""
