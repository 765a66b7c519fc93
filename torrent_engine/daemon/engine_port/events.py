"""Changes of torrents, queue and jobs, reported as they happen."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.conversion import job_of
from torrent_engine.daemon.engine_port.durations import Durations
from torrent_engine.daemon.engine_port.facts import (
    AddedNotice,
    ChangedNotice,
    FactGroup,
    JobNotice,
    JobsGoneNotice,
    Moment,
    MomentNotice,
    Notice,
    QueueNotice,
    RemovedNotice,
)
from torrent_engine.daemon.engine_port.port import Listener, RawListener
from torrent_engine.engine import events
from torrent_engine.engine.manager.torrent_manager import TorrentManager

MAX_RAW_DEPTH: Final = 4
_TYPES: tuple[type[events.Event], ...] = (
    events.TorrentAdded,
    events.TorrentRemoved,
    events.TorrentChanged,
    events.TrackerSucceeded,
    events.TrackerFailed,
    events.QueueChanged,
    events.JobChanged,
    events.JobsRemoved,
    events.MetadataReceived,
    events.DownloadFinished,
    events.SessionStopped,
    events.SessionErrored,
    events.FileCompleted,
)
_SCHEMES: Final = ("http", "https", "udp")
_COUNTED: Final[Mapping[type[events.Event], str]] = {
    events.TrackerSucceeded: "announce_ok",
    events.TrackerFailed: "announce_failed",
    events.PieceHashFailed: "hash_failed",
    events.PeerBanned: "peer_banned",
    events.WebSeedBanned: "web_seed_banned",
    events.PeerConnected: "",
}


class ManagerEvents:
    """A :class:`PortEvents` of the open manager; :meth:`attach` follows another one."""

    def __init__(self, on_removed: Callable[[InfoHash], None]) -> None:
        self._on_removed = on_removed
        self.counts: Counter[str] = Counter()
        self.announce_times = {scheme: Durations() for scheme in _SCHEMES}
        self._listeners: list[Listener] = []
        self._detach: list[Callable[[], None]] = []
        self._manager: TorrentManager | None = None
        self._raw: dict[RawListener, Callable[[], None]] = {}

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` on each event; the result ends that."""
        listeners = self._listeners
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def subscribe_raw(self, listener: RawListener) -> Callable[[], None]:
        """Call ``listener`` on every event of the engine; the result ends that."""
        self._raw[listener] = self._listen_raw(listener)

        def cancel() -> None:
            if (end := self._raw.pop(listener, None)) is not None:
                end()

        return cancel

    def _listen_raw(self, listener: RawListener) -> Callable[[], None]:
        if self._manager is None:
            return lambda: None

        def tell(event: events.Event) -> None:
            listener(raw_event(event))

        return self._manager.events.subscribe(events.Event, tell).cancel

    def attach(self, manager: TorrentManager) -> None:
        """Report what happens to the torrents of this manager, in place of the last one."""
        self.detach()
        subscribe = manager.events.subscribe
        self._detach = [subscribe(each, self._take).cancel for each in _TYPES]
        self._detach += [subscribe(each, self._count).cancel for each in _COUNTED]
        self._manager = manager
        for listener in tuple(self._raw):
            self._raw[listener] = self._listen_raw(listener)

    def detach(self) -> None:
        """Report nothing any more."""
        for cancel in self._detach:
            cancel()
        self._detach = []
        self._manager = None

    def _count(self, event: events.Event) -> None:
        if isinstance(event, events.PeerConnected):
            self.counts["incoming" if event.incoming else "outgoing"] += 1
        else:
            self.counts[_COUNTED[type(event)]] += 1
        if isinstance(event, events.TrackerSucceeded | events.TrackerFailed):
            times = self.announce_times.get(event.url.partition(":")[0].lower())
            if times is not None:
                times.note(event.elapsed_s)

    def _take(self, event: events.Event) -> None:
        told = port_event(event)
        if isinstance(told, RemovedNotice):
            self._on_removed(told.info_hash)
        if told is not None:
            for listener in tuple(self._listeners):
                listener(told)


def raw_event(event: events.Event) -> dict[str, Any]:
    """Return an event of the engine as values of JSON, with its type."""
    values = {each.name: _plain(getattr(event, each.name)) for each in fields(event)}
    return {"type": event.type, **values}


def _plain(value: object, depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 - one for each kind
    """Return a value as JSON has it; bytes in hexadecimal, what is unknown as text."""
    if isinstance(value, Enum):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if depth < MAX_RAW_DEPTH:
        if isinstance(value, Mapping):
            return {str(key): _plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(each, depth + 1) for each in value]
        if is_dataclass(value) and not isinstance(value, type):
            return {
                each.name: _plain(getattr(value, each.name), depth + 1) for each in fields(value)
            }
    return str(value)


def port_event(event: events.Event) -> Notice | None:  # noqa: PLR0911 - one for each event
    """Return an event of the engine in the words of the port; None if it has none."""
    match event:
        case events.TorrentAdded(info_hash, is_restored=is_restored):
            return AddedNotice(info_hash, is_restored)
        case events.TorrentRemoved(info_hash):
            return RemovedNotice(info_hash)
        case events.TorrentChanged(info_hash, group):
            return ChangedNotice(info_hash, FactGroup(group.value))
        case events.TrackerSucceeded(info_hash) | events.TrackerFailed(info_hash):
            return ChangedNotice(info_hash, FactGroup.PROGRESS)
        case events.QueueChanged():
            return QueueNotice()
        case events.JobChanged(job=job):
            return JobNotice(job_of(job))
        case events.JobsRemoved(job_ids=ids):
            return JobsGoneNotice(ids)
        case _:
            return _moment(event)


def _moment(event: events.Event) -> MomentNotice | None:
    match event:
        case events.MetadataReceived(info_hash):
            return MomentNotice(info_hash, Moment.METADATA)
        case events.DownloadFinished(info_hash):
            return MomentNotice(info_hash, Moment.COMPLETED)
        case events.SessionStopped(info_hash, reason):
            return MomentNotice(info_hash, Moment.STOPPED, reason)
        case events.SessionErrored(info_hash, message):
            return MomentNotice(info_hash, Moment.FAILED, message)
        case events.FileCompleted(info_hash, path=path):
            return MomentNotice(info_hash, Moment.FILE_COMPLETED, path)
        case _:
            return None
