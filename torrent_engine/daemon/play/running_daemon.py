"""A stream of the daemon that runs, over its unix socket."""

import errno
import os
import re
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio

from torrent_engine.base.errors import (
    DiskFullError,
    NetworkError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.play.choice import (
    PlayableFile,
    PlayRequest,
    PlayStream,
    chosen_file,
)
from torrent_engine.daemon.play.watch import PlayProgress, PlayReporter, PlayWatch, watched
from torrent_engine.service import sources
from torrent_engine.service.control_client import is_answered
from torrent_engine.service.daemon_torrents import DaemonTorrents
from torrent_engine.service.socket_requests import SocketRequests

ANSWER_S: Final = 60.0  # ours
LEASE_S: Final = 60.0
RENEW_S: Final = 15.0  # ours: a lease survives three that are lost
POLL_S: Final = 0.2
REMOVED: Final = "the torrent was removed meanwhile"
_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_PREFIX: Final = re.compile("[0-9a-f]{6,64}")
_FIELDS: Final = (
    "status,error,piece_count,completed_bytes,downloaded_bytes,wanted_bytes"
    ",download_bytes_per_s,peers"
)
_LOOKING: Final = frozenset({"metadata", "downloading"})
_ON_DISK: Final = frozenset({"disk", "missing_files"})
_FULL: Final = tuple(os.strerror(each) for each in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


async def find_daemon(path: Path) -> "RunningDaemon | None":
    """Return the daemon that listens at a socket, once it is ready; None if nobody does."""
    if not await is_answered(path):
        return None
    found = RunningDaemon(SocketRequests(path, ANSWER_S))
    await found.wait_ready()
    return found


class RunningDaemon:
    """Asks a daemon for streams."""

    def __init__(self, requests: SocketRequests) -> None:
        self._requests = requests
        self._torrents = DaemonTorrents(requests)

    async def wait_ready(self) -> None:
        """Return when its torrents are restored. Raises NetworkError."""
        with anyio.move_on_after(ANSWER_S):
            while not await self._torrents.is_ready():  # noqa: ASYNC110 - another process
                await anyio.sleep(POLL_S)
            return
        raise NetworkError("the daemon is still starting; try again later")

    @asynccontextmanager
    async def stream(
        self, request: PlayRequest, reporter: PlayReporter
    ) -> AsyncIterator[PlayStream]:
        """Give the stream of a torrent, which is added if it is not there.

        One that was added goes at the end of the block, with its files, unless it is kept.
        """
        known = {row.info_hash: row.name for row in await self._torrents.rows()}
        key = await self._named(request, known)
        if key is not None:
            async with self._kept(key), self._watched(key, request, reporter):
                yield await self._stream_of(key, request)
            return
        async with self._owner(request) as owner:
            key = await self._add(request, owner)
            async with self._kept(key, owner), self._watched(key, request, reporter):
                yield await self._stream_of(key, request, wants_only_it=key not in known)

    def _watched(
        self, key: str, request: PlayRequest, reporter: PlayReporter
    ) -> AbstractAsyncContextManager[None]:
        async def look() -> PlayProgress | None:
            return await self._progress(key)

        return watched(PlayWatch(look, reporter, request.timeout_s))

    async def _progress(self, key: str) -> PlayProgress | None:
        """Return how far a torrent is, None while the daemon restarts. Raises its error."""
        answer = await self._requests.answer("GET", f"/api/v1/torrents/{key}?fields={_FIELDS}")
        if answer.status == 503:
            return None
        if answer.status == 404:
            raise NetworkError(REMOVED)
        return progress_of(answer.value)

    # -- which torrent ----------------------------------------------------------------------------

    async def _named(self, request: PlayRequest, known: Mapping[str, str]) -> str | None:
        """Return the torrent of the daemon that is named; None for one that is to be added."""
        text = request.source
        if text == sources.STDIN or sources.is_url(text) or request.is_path:
            return None
        if sources.is_magnet(text):
            key = sources.parse_magnet(text).info_hash.hex()
            return key if key in known else None
        found = [key for key, name in known.items() if name == text]
        found = found or [key for key in known if _PREFIX.fullmatch(text) and key.startswith(text)]
        found = found or [key for key, name in known.items() if text.casefold() in name.casefold()]
        if len(found) == 1:
            return found[0]
        what = "no such file, and no torrent of the daemon has that name"
        raise FileNotFoundError(f"{text}: {what if not found else 'names several torrents'}")

    async def _add(self, request: PlayRequest, owner: Mapping[str, Any] | None) -> str:
        body = {
            "source": await _source_of(request),
            "sequential": True,
            "owner": owner,
            "ephemeral": owner is not None,
            "save_path": None if request.keep is None else str(request.keep),
            "peers": [{"host": each.host, "port": each.port} for each in request.peers] or None,
        }
        given = {name: value for name, value in body.items() if value is not None}
        added = await self._requests.ask("POST", "/api/v1/torrents", given, is_long=True)
        while "job" in added:  # it fetches a URL
            job = await self._requests.ask("GET", f"/api/v1/jobs/{added['job']}")
            if job["status"] in _ENDED:
                if job["torrent"] is None or job["status"] != "completed":
                    raise NetworkError(str(job["error"] or "the torrent was not fetched"))
                return str(job["torrent"]["hash"])
            await anyio.sleep(POLL_S)
        return str(added["hash"])

    @asynccontextmanager
    async def _owner(self, request: PlayRequest) -> AsyncIterator[Mapping[str, Any] | None]:
        """Have an owner in the block, with whose end its torrents go; none if they are kept."""
        if request.keep is not None:
            yield None
            return
        owner_id = f"stream-{secrets.token_hex(8)}"
        path = f"/api/v1/owners/{owner_id}"
        begun = await self._requests.ask("POST", f"{path}/generation", {"lease_s": LEASE_S})
        async with self._holding(owner_id):
            yield {"id": owner_id, "generation": begun["generation"]}

    @asynccontextmanager
    async def _kept(self, key: str, own: Mapping[str, Any] | None = None) -> AsyncIterator[None]:
        """Keep a torrent in the block that would go with another owner than our own."""
        told = await self._requests.ask("GET", f"/api/v1/torrents/{key}?fields=owner,ephemeral")
        owner = told["owner"] if told["ephemeral"] else None
        if owner in (None, own):
            yield
            return
        async with self._holding(owner["id"]):
            yield

    @asynccontextmanager
    async def _holding(self, owner_id: str) -> AsyncIterator[None]:
        """Hold the lease of an owner in the block; its last holder ends the owner."""
        path, holder = f"/api/v1/owners/{owner_id}", secrets.token_hex(8)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew, f"{path}/lease", holder)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._end_owner(f"{path}?holder={holder}")

    async def _renew(self, path: str, holder: str) -> None:
        body = {"lease_s": LEASE_S, "holder": holder}
        renewed_s = anyio.current_time()
        while True:
            asked_s = anyio.current_time()
            try:
                await self._requests.ask("PUT", path, body)
            except NetworkError:  # as while the engine of the daemon starts anew
                if asked_s - renewed_s >= LEASE_S:
                    raise
            else:
                renewed_s = asked_s
            await anyio.sleep(RENEW_S)

    async def _end_owner(self, path: str) -> None:
        try:
            await self._requests.ask("DELETE", path)
        except TorrentEngineError:
            return  # the daemon has ended; the lease of its next start ends too

    # -- its file ---------------------------------------------------------------------------------

    async def _stream_of(
        self, key: str, request: PlayRequest, *, wants_only_it: bool = False
    ) -> PlayStream:
        metainfo = await self._metainfo(key)
        file = chosen_file(metainfo, request.file)
        if wants_only_it:
            await self._skip_others(key, file)
        return PlayStream(key, metainfo.name, file, await self._url(key, file))

    async def _metainfo(self, key: str) -> Metainfo:
        while True:
            answer = await self._requests.answer("GET", f"/api/v1/torrents/{key}/torrent_file")
            if answer.status == 200:
                return Metainfo.from_bytes(answer.body)
            if answer.status == 404 and not await self._is_there(key):
                raise NetworkError(REMOVED)
            await anyio.sleep(POLL_S)

    async def _is_there(self, key: str) -> bool:
        return (await self._requests.answer("GET", f"/api/v1/torrents/{key}")).status == 200

    async def _skip_others(self, key: str, file: PlayableFile) -> None:
        path = f"/api/v1/torrents/{key}/files"
        files = (await self._requests.ask("GET", path))["items"]
        others = [each["index"] for each in files if each["index"] != file.index]
        if others:
            changes = [{"index": index, "priority": 0} for index in others]
            await self._requests.ask("PATCH", path, changes)

    async def _url(self, key: str, file: PlayableFile) -> str:
        """Return the signed URL of a file, with an address that a player reaches."""
        target = f"/stream/{key}/playlist.m3u8?file={file.index}"
        answer = await self._requests.answer("GET", target)
        lines = answer.body.decode("utf-8", "replace").splitlines()
        found = [line for line in lines if line.startswith("http")]
        if answer.status != 200 or not found:
            raise NetworkError("the daemon serves no streams: [stream] enabled is false")
        parts = urlsplit(found[0])
        if parts.hostname != "localhost":  # stream.public_url
            return found[0]
        return f"{await self._address()}{parts.path}?{parts.query}"

    async def _address(self) -> str:
        """Return the address of the daemon's HTTP interfaces, without a slash at the end."""
        listeners = (await self._requests.ask("GET", "/api/v1"))["interfaces"]["stream"]
        for each in listeners:
            if each.startswith("http"):
                text = str(each).rstrip("/")
                return text.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        raise NetworkError("no player can open the daemon: it serves streams at no address")


def progress_of(told: Mapping[str, Any]) -> PlayProgress:
    """Return how far a torrent is, of its REST object. Raises the error that ended it."""
    error = told["error"] or {"kind": "", "message": ""}
    if told["status"] == "error":
        raise _failure(error["kind"], error["message"])
    return PlayProgress(
        has_metadata=told["piece_count"] > 0,
        is_looking=told["status"] in _LOOKING,
        completed=told["completed_bytes"],
        received=told["downloaded_bytes"],
        wanted=told["wanted_bytes"],
        bytes_per_s=told["download_bytes_per_s"],
        peers=told["peers"],
        refusal=error["message"] if error["kind"] == "tracker_error" else "",
    )


def _failure(kind: str, message: str) -> TorrentEngineError:
    """Return an error like the daemon's, for the exit code."""
    if kind not in _ON_DISK:
        return NetworkError(message)
    path, _, reason = message.partition(": ")
    return (DiskFullError if reason.startswith(_FULL) else StorageError)(path, reason)


async def _source_of(request: PlayRequest) -> object:
    """Return what the daemon is asked to add; files are read here, by the rights of the user."""
    if sources.is_url(request.source):
        return request.source
    torrent = await sources.load(request.source, request.stdin)
    if isinstance(torrent, Metainfo):
        return {"torrent": b64encode(torrent.to_bytes()).decode("ascii")}
    return request.source if request.source != sources.STDIN else request.stdin.decode().strip()
