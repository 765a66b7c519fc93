"""Control of torrents through the interface of the daemon, at its unix socket."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import anyio

from torrent_engine.base.errors import NetworkError, StateTransitionError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.service.file_selection import selected_files
from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
from torrent_engine.service.socket_requests import SocketRequests
from torrent_engine.service.torrents import (
    Change,
    Failure,
    TorrentAction,
    TorrentDetail,
    TorrentRow,
    change_each,
)

DAEMON_SOCKET: Final = "daemon.sock"
POLL_S: Final = 0.2
_TORRENTS: Final = "/api/v1/torrents"
_PAGE: Final = 5_000
_FIELDS: Final = {
    "hash": "info_hash",
    "name": "name",
    "status": "state",
    "priority": "priority",
    "save_path": "save_path",
    "total_bytes": "total_bytes",
    "wanted_bytes": "wanted_bytes",
    "completed_bytes": "completed_bytes",
    "download_bytes_per_s": "download_bytes_per_s",
    "upload_bytes_per_s": "upload_bytes_per_s",
    "peers": "peers",
    "error": "error",
    "downloaded_bytes": "downloaded_bytes",
    "uploaded_bytes": "uploaded_bytes",
    "eta_s": "eta_s",
    "labels": "labels",
    "category": "category",
}
"""Fields of the interface, and of a row."""
_CHECKING: Final = frozenset({"checking", "check_queued"})
_AT_WORK: Final = frozenset({"pending", "running", "paused"})
_EACH: Final = frozenset({TorrentAction.MOVE, TorrentAction.PRIORITY, TorrentAction.LIMIT})
"""Actions that need a request for each torrent."""


class DaemonTorrents:
    """A :class:`TorrentControl` over the interface of the daemon; raises NetworkError."""

    def __init__(self, requests: SocketRequests) -> None:
        self._requests = requests

    async def is_ready(self) -> bool:
        """Return whether torrents are restored."""
        return (await self._requests.answer("GET", "/healthz")).status == 200

    async def rows(self) -> list[TorrentRow]:
        """Return all torrents, in the order of the queue."""
        rows: list[TorrentRow] = []
        target = f"{_TORRENTS}?sort=queue_position&limit={_PAGE}&fields={','.join(_FIELDS)}"
        cursor = ""
        while True:
            found = await self._requests.ask("GET", target + cursor)
            rows += map(_row, found["items"])
            if found["next"] is None:
                return rows
            cursor = f"&cursor={quote(found['next'])}"

    async def change(self, change: Change) -> "list[Failure]":
        """Do something with torrents; return with which it failed."""
        if change.action in _EACH:
            return await change_each(change, partial(self._change, change))
        body = {
            "action": _action_of(change),
            "ids": [each.hex() for each in change.ids],
            "args": _arguments_of(change),
        }
        found = await self._requests.ask("POST", f"{_TORRENTS}/actions", body, is_long=True)
        failed = [Failure(each["id"], each["code"], each["detail"]) for each in found["failed"]]
        if change.action is TorrentAction.RECHECK:
            await self._wait_checked(change.ids)
        return failed

    async def add(self, torrent: NewTorrent) -> AdditionReport:
        """Add a torrent."""
        found = await self._requests.ask("POST", _TORRENTS, torrent.to_json(), is_long=True)
        return AdditionReport(found["hash"], found["name"], not found["existing"])

    async def details(
        self, info_hash: InfoHash, detail: TorrentDetail
    ) -> "list[Mapping[str, Any]]":
        """Return the files, peers or trackers of a torrent."""
        found = await self._requests.ask("GET", f"{_TORRENTS}/{info_hash.hex()}/{detail}")
        return list(found["items"])

    async def stats(self) -> Mapping[str, Any]:
        """Return numbers of all torrents together."""
        return await self._requests.ask("GET", "/api/v1/stats")

    # -- one torrent ------------------------------------------------------------------------------

    async def _change(self, change: Change, info_hash: InfoHash) -> None:
        path = f"{_TORRENTS}/{info_hash.hex()}"
        if change.action is TorrentAction.MOVE:
            await self._move(info_hash, change.path)
        elif change.action is TorrentAction.LIMIT:
            await self._requests.ask("PATCH", path, {"limits": _limits_of(change)})
        elif change.files:
            await self._prioritise_files(path, change)
        else:
            await self._requests.ask("PATCH", path, {"priority": change.priority})

    async def _move(self, info_hash: InfoHash, folder: str) -> None:
        """Move files, and wait until they are there."""
        path, body = f"{_TORRENTS}/{info_hash.hex()}/move", {"path": folder}
        found = await self._requests.ask("POST", path, body, is_long=True)
        if found["done"] or found["job"] is None:
            return
        while True:
            job = await self._job(info_hash, found["job"])
            if job["status"] not in _AT_WORK:
                break
            await anyio.sleep(POLL_S)
        if job["error"]:
            raise StorageError(folder, str(job["error"]))

    async def _job(self, info_hash: InfoHash, job_id: str) -> Mapping[str, Any]:
        """Return the record of a move; one that is gone has ended well."""
        target = f"/api/v1/jobs?kind=move&torrent={info_hash.hex()}"
        jobs = (await self._requests.ask("GET", target))["items"]
        gone = {"status": "completed", "error": None}
        return next((job for job in jobs if job["id"] == job_id), gone)

    async def _prioritise_files(self, path: str, change: Change) -> None:
        answer = await self._requests.answer("GET", f"{path}/torrent_file")
        if answer.status != 200:
            raise StateTransitionError("which files there are is not known before the metadata")
        chosen = selected_files(Metainfo.from_bytes(answer.body).files, change.files, "files")
        changes = [{"index": index, "priority": change.priority} for index in sorted(chosen)]
        await self._requests.ask("PATCH", f"{path}/files", changes)

    async def _wait_checked(self, ids: Sequence[InfoHash]) -> None:
        """Wait until all checks have ended."""
        wanted = {each.hex() for each in ids}
        while True:
            rows = await self.rows()
            if not any(row.state in _CHECKING for row in rows if row.info_hash in wanted):
                return
            await anyio.sleep(POLL_S)


def _row(found: Mapping[str, Any]) -> TorrentRow:
    try:
        values = {name: found[field] for field, name in _FIELDS.items()}
    except LookupError as error:
        raise NetworkError(f"the daemon names no {error}") from None
    problem = values["error"]
    return TorrentRow.from_json({**values, "error": problem["message"] if problem else None})


def _action_of(change: Change) -> str:
    match change.action:
        case TorrentAction.QUEUE:
            return f"queue_{change.place}"
        case TorrentAction.LABEL:
            return "set_labels"
        case TorrentAction.CATEGORY:
            return "set_category"
        case action:
            return str(action)


def _arguments_of(change: Change) -> dict[str, Any]:
    match change.action:
        case TorrentAction.REMOVE:
            return {"delete_files": change.delete_files}
        case TorrentAction.LABEL:
            return {"labels": list(change.labels)}
        case TorrentAction.CATEGORY:
            return {"category": change.category}
        case _:
            return {}


def _limits_of(change: Change) -> dict[str, int]:
    limits = {
        "download_bytes_per_s": change.download_bytes_per_s,
        "upload_bytes_per_s": change.upload_bytes_per_s,
        "peer_limit": change.max_peers,
    }
    return {name: limit for name, limit in limits.items() if limit is not None}
