"""Torrents of a state folder as facts and requests, whether a process runs them or not."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from torrent_engine.base.errors import ConfigError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import FileList
from torrent_engine.engine.transfer.progress import MAX_PRIORITY
from torrent_engine.service.file_selection import selected_files
from torrent_engine.service.problems import problem_of
from torrent_engine.service.request_fields import (
    read_flag,
    read_info_hash,
    read_limit,
    read_list,
    read_object,
    read_priority,
    read_text,
    read_texts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.service.new_torrent import AdditionReport, NewTorrent

MAX_IDS: Final = 10_000  # ours: of one request


class TorrentAction(StrEnum):
    """What can be done with a torrent."""

    PAUSE = "pause"
    RESUME = "resume"
    REMOVE = "remove"
    MOVE = "move"
    PRIORITY = "priority"
    RECHECK = "recheck"
    REANNOUNCE = "reannounce"
    LIMIT = "limit"
    QUEUE = "queue"
    LABEL = "label"
    CATEGORY = "category"


class QueuePlace(StrEnum):
    """Where in the queue a torrent is put."""

    TOP = "top"
    UP = "up"
    DOWN = "down"
    BOTTOM = "bottom"


class TorrentDetail(StrEnum):
    """A list that a torrent has; its entries have the fields of the daemon's interface."""

    FILES = "files"
    PEERS = "peers"
    TRACKERS = "trackers"


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
    downloaded_bytes: int = 0
    """Over all runs."""
    uploaded_bytes: int = 0
    """Over all runs."""
    eta_s: float | None = None
    labels: tuple[str, ...] = ()
    """Of the daemon only."""
    category: str = ""
    """Of the daemon only."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TorrentRow":
        """Return the row that another process sent. Raises TypeError for another object."""
        return cls(**{**value, "labels": tuple(value.get("labels", ()))})


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
    download_bytes_per_s: int | None = None
    """A limit; 0: unlimited, None: as it is."""
    upload_bytes_per_s: int | None = None
    """A limit; 0: unlimited, None: as it is."""
    max_peers: int | None = None
    """A limit; 0: that of all torrents, None: as it is."""
    place: QueuePlace | None = None
    """In the queue."""
    labels: tuple[str, ...] = ()
    """In place of those that a torrent has."""
    category: str = ""
    """None if empty."""

    def to_json(self) -> dict[str, object]:
        """Return what :meth:`from_json` reads."""
        arguments = asdict(self)
        del arguments["action"], arguments["ids"]
        ids = [info_hash.hex() for info_hash in self.ids]
        return {"action": str(self.action), "ids": ids, "args": arguments}

    @classmethod
    def from_json(cls, value: object) -> "Change":
        """Read a request. Raises ConfigError, which says what is wrong with it."""
        given = read_object(value, "the request", {"action", "ids", "args"})
        arguments = read_object(given.get("args", {}), "args", _ARGUMENTS)
        change = cls(
            action=_action(given.get("action")),
            ids=tuple(read_info_hash(each) for each in read_list(given.get("ids"), "ids", MAX_IDS)),
            delete_files=read_flag(arguments.get("delete_files", False), "delete_files"),
            path=read_text(arguments.get("path", ""), "path"),
            priority=read_priority(arguments.get("priority", 0)),
            files=read_texts(arguments.get("files", []), "files"),
            download_bytes_per_s=read_limit(
                arguments.get("download_bytes_per_s"), "download_bytes_per_s"
            ),
            upload_bytes_per_s=read_limit(
                arguments.get("upload_bytes_per_s"), "upload_bytes_per_s"
            ),
            max_peers=read_limit(arguments.get("max_peers"), "max_peers"),
            place=_place(arguments.get("place")),
            labels=read_texts(arguments.get("labels", []), "labels"),
            category=read_text(arguments.get("category", ""), "category"),
        )
        change.check()
        return change

    def check(self) -> None:
        """Raise ConfigError if the arguments do not fit the action."""
        if self.action is TorrentAction.MOVE and not Path(self.path).is_absolute():
            raise ConfigError(f"path: {self.path!r} is not absolute")
        if self.files and not 0 <= self.priority <= MAX_PRIORITY:
            raise ConfigError(f"priority: {self.priority} of files is not 0 to {MAX_PRIORITY}")
        if self.action is TorrentAction.QUEUE and self.place is None:
            raise ConfigError(f"place: one of {', '.join(QueuePlace)} is needed")


_ARGUMENTS: Final = {each.name for each in fields(Change)} - {"action", "ids"}


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

    async def add(self, torrent: "NewTorrent") -> "AdditionReport":
        """Add a torrent. Raises TorrentEngineError."""

    async def details(
        self, info_hash: InfoHash, detail: TorrentDetail
    ) -> "Sequence[Mapping[str, Any]]":
        """Return the files, peers or trackers of a torrent. Raises TorrentEngineError."""

    async def stats(self) -> Mapping[str, Any]:
        """Return numbers of all torrents together. Raises TorrentEngineError."""


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


def file_priorities(files: FileList, change: Change) -> dict[int, int]:
    """Return the priorities, by file index, that a change sets. Raises ConfigError."""
    return dict.fromkeys(selected_files(files, change.files, "files"), change.priority)


def _action(value: object) -> TorrentAction:
    if not isinstance(value, str) or value not in set(TorrentAction):
        raise ConfigError(f"action: one of {', '.join(TorrentAction)} is needed")
    return TorrentAction(value)


def _place(value: object) -> QueuePlace | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in set(QueuePlace):
        raise ConfigError(f"place: one of {', '.join(QueuePlace)} is needed")
    return QueuePlace(value)
