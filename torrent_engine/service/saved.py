"""Control of torrents that no process runs: their records in the resume database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.config import DormancyConfig, SharedConfig
from torrent_engine.base.errors import (
    NetworkError,
    StateTransitionError,
    TorrentEngineError,
    UnknownTorrentError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.session_table import (
    SessionRecord,
    load_metainfo,
    load_sessions,
    remove_sessions,
    save_sessions,
)
from torrent_engine.disk.state.store import NO_RESERVE, StateStore
from torrent_engine.engine.dormancy.metadata_cache import read_kept
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.membership import Membership
from torrent_engine.engine.session.saved import SavedSession, read_settings, settings_of
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.progress import DownloadProgress, changed_priorities
from torrent_engine.service.detail_values import file_value, tracker_value
from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
from torrent_engine.service.torrents import (
    Change,
    Failure,
    TorrentAction,
    TorrentDetail,
    TorrentRow,
    change_each,
    file_priorities,
)

SavedSettings = Mapping[str, Any]
NOT_RUN: Final = (
    "nobody runs the torrents of this state folder: start `torrent-engine daemon` or"
    " `torrent-engine run`"
)
_IDLE: Final = frozenset({State.STOPPED, State.ERROR})


class SavedTorrents:
    """A :class:`TorrentControl` over a state folder; open it with :meth:`open`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._records: dict[InfoHash, tuple[SessionRecord, SavedSession]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> "AsyncIterator[SavedTorrents]":
        """Open the database and keep managers out. Raises StateInUseError if there is one."""
        async with await StateStore.open(folder, config=NO_RESERVE) as store:
            store.claim_manager()
            yield cls(store)

    async def rows(self) -> list[TorrentRow]:
        """Return all torrents, in the order of the queue."""
        await self._load()
        return [await self._row(*found) for found in self._records.values()]

    async def change(self, change: Change) -> "list[Failure]":
        """Do something with torrents; return with which it failed."""
        await self._load()
        return await change_each(change, partial(self._change, change))

    async def add(self, torrent: NewTorrent) -> AdditionReport:
        """Raise NetworkError: nobody runs what would be added."""
        del torrent
        raise NetworkError(NOT_RUN)

    async def details(self, info_hash: InfoHash, detail: TorrentDetail) -> list[dict[str, Any]]:
        """Return the files of a torrent; it has no peers, and its trackers are not asked."""
        await self._load()
        if info_hash not in self._records:
            raise UnknownTorrentError(info_hash)
        async with self._session(*self._records[info_hash]) as session:
            match detail:
                case TorrentDetail.FILES:
                    return list(map(file_value, session.files()))
                case TorrentDetail.PEERS:
                    return []
                case TorrentDetail.TRACKERS:
                    return list(map(tracker_value, session.trackers()))

    async def stats(self) -> dict[str, Any]:
        """Raise NetworkError: nobody counts."""
        raise NetworkError(NOT_RUN)

    async def _load(self) -> None:
        self._records = {}
        for record in await load_sessions(self._store):
            if (saved := read_settings(record.settings)) is not None:
                self._records[record.info_hash] = (record, saved)

    async def _change(self, change: Change, info_hash: InfoHash) -> None:
        if info_hash not in self._records:
            raise UnknownTorrentError(info_hash)
        record, saved = self._records[info_hash]
        if change.action is TorrentAction.REMOVE:
            await self._remove(record, saved, delete_files=change.delete_files)
            return
        settings = {**record.settings, **await self._changes(change, record, saved)}
        await save_sessions(self._store, [replace(record, settings=settings)])
        await self._load()

    async def _changes(
        self, change: Change, record: SessionRecord, saved: SavedSession
    ) -> SavedSettings:
        match change.action:
            case TorrentAction.MOVE:
                return await self._move(record, saved, change.path)
            case TorrentAction.RECHECK:
                return await self._recheck(record, saved)
            case TorrentAction.PRIORITY if change.files:
                return await self._prioritise(record, saved, change)
            case _:
                return _set(change, record, saved)

    async def _remove(
        self, record: SessionRecord, saved: SavedSession, *, delete_files: bool
    ) -> None:
        try:
            async with self._session(record, saved) as session:
                await session.cancel(delete_files=delete_files)
        finally:
            await remove_sessions(self._store, [record.info_hash])
            await self._load()

    async def _move(self, record: SessionRecord, saved: SavedSession, path: str) -> SavedSettings:
        async with self._session(record, saved) as session:
            await session.move_storage(path)
            return _kept(session, saved, "save_path", "config", "extras")

    async def _prioritise(
        self, record: SessionRecord, saved: SavedSession, change: Change
    ) -> SavedSettings:
        metainfo = await self._metainfo(record, saved)
        if metainfo is None:
            raise StateTransitionError("which files there are is not known before the metadata")
        files, before = metainfo.files, saved.config.file_priorities
        chosen = tuple(changed_priorities(before, file_priorities(files, change), len(files)))
        config = {**record.settings["config"], "file_priorities": chosen}
        changes: dict[str, Any] = {"config": config, "was_resting": False}
        if saved.snapshot is not None:
            progress = DownloadProgress(metainfo)
            progress.set_priorities(chosen)
            progress.recount(Bitfield.from_bytes(saved.snapshot.bitfield(), metainfo.piece_count))
            facts = list(record.settings["facts"])
            facts[2:4] = progress.wanted_bytes, progress.completed_bytes
            changes["facts"] = facts
        return changes

    async def _recheck(self, record: SessionRecord, saved: SavedSession) -> SavedSettings:
        """Hash what is there now; the next start goes on from that."""
        config = replace(saved.config, check_only=True)
        async with self._session(record, replace(saved, config=config)) as session:
            await session.recheck()
            await session.wait_stopped()
            facts = session.admin.saved(priority=saved.priority).snapshot
            changes = dict(_kept(session, saved, "facts"))
        if facts is None:
            return changes
        found = State.SEEDING if facts.is_complete else State.DOWNLOADING
        if saved.state is State.PAUSED:
            return {**changes, "paused_state": found.value}
        return changes if saved.state is State.STOPPED else {**changes, "state": found.value}

    # -- one torrent ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _session(self, record: SessionRecord, saved: SavedSession) -> AsyncIterator[Session]:
        """Open a torrent that reaches nobody."""
        config = SharedConfig.local(
            state_dir=str(self._store.folder),
            disk=NO_RESERVE,
            dormancy=DormancyConfig(enabled=False),
        )
        is_link = saved.magnet is not None and saved.snapshot is None
        source = (saved.magnet if is_link else None) or record.info_hash
        chosen = replace(saved.config, owner=None, paused=False)
        async with SharedResources(config) as shared:
            session = await Session.create(
                source,
                shared,
                save_path=saved.save_path,
                config=chosen,
                membership=Membership(config.dormancy),
            )
            session.admin.restore(saved)
            try:
                yield session
            finally:
                await session.close()

    async def _metainfo(self, record: SessionRecord, saved: SavedSession) -> Metainfo | None:
        data = await load_metainfo(self._store, record.info_hash)
        try:
            return read_kept(data, record.info_hash, saved.magnet) if data else None
        except TorrentEngineError:
            return None

    async def _row(self, record: SessionRecord, saved: SavedSession) -> TorrentRow:
        facts, name = saved.snapshot, None
        if facts is None and (metainfo := await self._metainfo(record, saved)) is not None:
            name, total_bytes = metainfo.name, metainfo.total_bytes
        else:
            total_bytes = 0 if facts is None else facts.total_bytes
            link_name = None if saved.magnet is None else saved.magnet.name
            name = link_name if facts is None else facts.name
        return TorrentRow(
            info_hash=record.info_hash.hex(),
            name=name or record.info_hash.hex(),
            state=str(_shown_state(saved)),
            priority=saved.priority,
            save_path=saved.save_path,
            total_bytes=total_bytes,
            wanted_bytes=total_bytes if facts is None else facts.wanted_bytes,
            completed_bytes=0 if facts is None else facts.completed_bytes,
        )


def _limited(record: SessionRecord, change: Change) -> SavedSettings:
    names = {
        "max_download_bytes_per_s": change.download_bytes_per_s,
        "max_upload_bytes_per_s": change.upload_bytes_per_s,
        "max_connections": change.max_peers,
    }
    said = {name: limit for name, limit in names.items() if limit is not None}
    return {"config": {**record.settings["config"], **said}}


def _shown_state(saved: SavedSession) -> State:
    """Return the state after the next start; a paused torrent may have been in a check."""
    return State.PAUSED if saved.is_paused and saved.state not in _IDLE else saved.state


def _set(change: Change, record: SessionRecord, saved: SavedSession) -> SavedSettings:
    """Return what an action changes that needs the record only. Raises NetworkError."""
    match change.action:
        case TorrentAction.PAUSE:
            return _paused(saved)
        case TorrentAction.RESUME:
            return _resumed(saved)
        case TorrentAction.LIMIT:
            return _limited(record, change)
        case TorrentAction.PRIORITY:
            return {"priority": change.priority}
        case _:
            raise NetworkError(NOT_RUN)


def _paused(saved: SavedSession) -> SavedSettings:
    if saved.is_paused:
        return {}
    if saved.state in _IDLE:
        raise StateTransitionError(f"a torrent in state {saved.state} cannot be paused")
    moved = saved.paused_state or saved.state  # one that waited in the queue is paused already
    was = None if moved is State.PAUSED else moved.value
    return {"is_paused": True, "state": State.PAUSED.value, "paused_state": was}


def _resumed(saved: SavedSession) -> SavedSettings:
    if not saved.is_paused and saved.state not in _IDLE:
        return {}
    state = (
        (saved.paused_state or State.CHECKING) if saved.state is State.PAUSED else State.CHECKING
    )
    return {"is_paused": False, "state": state.value, "paused_state": None}


def _kept(session: Session, saved: SavedSession, *names: str) -> SavedSettings:
    """Return some of what is to be known of a Session."""
    settings = settings_of(session.admin.saved(priority=saved.priority, state=saved.state))
    return {name: settings[name] for name in names}
