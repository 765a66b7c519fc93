"""Torrents of a state folder as facts and requests, whether a process runs them or not."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from torrent_engine.base.errors import ConfigError, TorrentEngineError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.codec.metainfo import FileList
from torrent_engine.engine.transfer.progress import MAX_PRIORITY
from torrent_engine.service.file_selection import selected_files
from torrent_engine.service.problems import problem_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_FILE_PRIORITY: Final = 4
MAX_IDS: Final = 10_000  # ours: of one request
MAX_TEXT_CHARS: Final = 4_096  # ours: of a path or a list of files
MAX_QUEUE_PRIORITY: Final = 1_000_000  # ours


class TorrentAction(StrEnum):
    """What can be done with a torrent."""

    PAUSE = "pause"
    RESUME = "resume"
    REMOVE = "remove"
    MOVE = "move"
    PRIORITY = "priority"
    RECHECK = "recheck"


@dataclass(frozen=True, slots=True)
class TorrentRow:
    """One torrent; sizes in bytes, rates in bytes per second."""

    info_hash: str
    """In hexadecimal."""
    name: str
    state: str
    """As :class:`State`; of a torrent that nobody runs, that which it will go on in."""
    priority: int
    """In the queue."""
    save_path: str
    total_bytes: int
    wanted_bytes: int
    completed_bytes: int
    """Verified, of what is wanted."""
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0
    peers: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One action on several torrents."""

    action: TorrentAction
    ids: tuple[InfoHash, ...]
    delete_files: bool = False
    path: str = ""
    """Where a torrent is moved to; absolute."""
    priority: int = 0
    """In the queue; of files 0 (skip) to 7."""
    files: tuple[str, ...] = ()
    """Lists of files whose priority it is; none: the torrent's in the queue."""

    def to_json(self) -> dict[str, object]:
        """Return what :meth:`from_json` reads."""
        arguments = asdict(self)
        del arguments["action"], arguments["ids"]
        ids = [info_hash.hex() for info_hash in self.ids]
        return {"action": str(self.action), "ids": ids, "args": arguments}

    @classmethod
    def from_json(cls, value: object) -> "Change":
        """Read a request. Raises ConfigError, which says what is wrong with it."""
        fields = _mapping(value, "the request", {"action", "ids", "args"})
        arguments = _mapping(
            fields.get("args", {}), "args", {"delete_files", "path", "priority", "files"}
        )
        change = cls(
            action=_action(fields.get("action")),
            ids=tuple(_info_hash(each) for each in _list(fields.get("ids"), "ids", MAX_IDS)),
            delete_files=_flag(arguments.get("delete_files", False)),
            path=_text(arguments.get("path", ""), "path"),
            priority=_priority(arguments.get("priority", 0)),
            files=tuple(_text(x, "files") for x in _list(arguments.get("files", []), "files", 100)),
        )
        change.check()
        return change

    def check(self) -> None:
        """Raise ConfigError if the arguments do not fit the action."""
        if self.action is TorrentAction.MOVE and not Path(self.path).is_absolute():
            raise ConfigError(f"path: {self.path!r} is not absolute")
        if self.files and not 0 <= self.priority <= MAX_PRIORITY:
            raise ConfigError(f"priority: {self.priority} of files is not 0 to {MAX_PRIORITY}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an action was not done with one torrent."""

    info_hash: str
    code: str
    detail: str


class TorrentControl(Protocol):
    """Who lists and changes the torrents of a state folder."""

    async def rows(self) -> "Sequence[TorrentRow]":
        """Return all torrents, in the order of the queue."""

    async def change(self, change: Change) -> "Sequence[Failure]":
        """Do something with torrents; return with which it failed."""


async def change_each(
    change: Change, work: Callable[[InfoHash], Awaitable[None]]
) -> "list[Failure]":
    """Await ``work`` with each torrent of a change; a fault of one reaches no other."""
    failed: list[Failure] = []
    for info_hash in change.ids:
        try:
            await work(info_hash)
        except (TorrentEngineError, OSError) as error:
            failed.append(Failure(info_hash.hex(), *problem_of(error)))
    return failed


def changed_priorities(
    files: FileList, before: tuple[int, ...] | None, change: Change
) -> tuple[int, ...]:
    """Return the priority of each file after a change. Raises ConfigError."""
    priorities = list(before or (DEFAULT_FILE_PRIORITY,) * len(files))
    for index in selected_files(files, change.files, "files"):
        priorities[index] = change.priority
    return tuple(priorities)


# -- reading requests -----------------------------------------------------------------------------


def _mapping(value: object, name: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: an object is needed")
    if unknown := sorted(map(str, set(value) - known)):
        raise ConfigError(f"{name}: {unknown[0][:40]!r} is not known")
    return value


def _list(value: object, name: str, limit: int) -> list[object]:
    if not isinstance(value, list) or len(value) > limit:
        raise ConfigError(f"{name}: an array of at most {limit} is needed")
    return value


def _action(value: object) -> TorrentAction:
    if not isinstance(value, str) or value not in set(TorrentAction):
        raise ConfigError(f"action: one of {', '.join(TorrentAction)} is needed")
    return TorrentAction(value)


def _info_hash(value: object) -> InfoHash:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != SHA1_BYTES:
        raise ConfigError("ids: an info-hash is 40 hexadecimal digits")
    return InfoHash(data)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError("delete_files: true or false is needed")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or "\0" in value:
        raise ConfigError(f"{name}: a text of at most {MAX_TEXT_CHARS} characters is needed")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name}: is no text") from error
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_QUEUE_PRIORITY:
        raise ConfigError(f"priority: a number up to {MAX_QUEUE_PRIORITY:,} is needed")
    return value
