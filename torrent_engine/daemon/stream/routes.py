"""The routes below ``/stream``: files, playlists and subtitles for media players."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.errors import UnknownFileError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, FileFacts
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.http.ranges import Selection, Validators, select
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import Page, needs
from torrent_engine.daemon.security.guard import principal_of
from torrent_engine.daemon.security.principals import Means, Scope
from torrent_engine.daemon.security.signed_urls import ANY_FILE
from torrent_engine.daemon.stream.media_types import file_name, is_playable, presentation_of
from torrent_engine.daemon.stream.playlist import PLAYLIST_TYPE, Entry, natural_key, playlist
from torrent_engine.daemon.stream.readers import MetadataPatience, OpenReaders
from torrent_engine.daemon.stream.response import FileStream, StreamEnds
from torrent_engine.daemon.stream.subtitles import MAX_SUBTITLE_BYTES, to_vtt

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

_FEATURES: Final = "DLNA.ORG_OP=01;DLNA.ORG_CI=0"
_SUBTITLES: Final = frozenset({".srt", ".vtt", ".ass", ".ssa", ".sub"})
_VTT: Final = "text/vtt; charset=utf-8"
_HOUR_S: Final = 3_600


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes, media = APIRouter(), _Media(context)
    demands = {"takes_signed_url": True, "page": Page.STREAM}

    @needs(Scope.STREAM, **demands)
    async def all_playlists(request: Request) -> Response:
        """Return a playlist of all playable files."""
        return await media.playlist_of_all(request)

    @needs(Scope.STREAM, **demands)
    async def torrent_playlist(
        request: Request, info_hash: str, file: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        """Return a playlist of the playable files of a torrent, or of one ``file`` of any kind."""
        return await media.playlist_of(request, media.hash_of(info_hash), file)

    @needs(Scope.STREAM, **demands)
    async def file(
        request: Request,
        info_hash: str,
        index: int,
        name: str,
        dl: Annotated[bool | None, Query()] = None,
    ) -> Response:
        """Send a file, or the ranges of it that are asked for, as its pieces arrive."""
        return await media.file(request, media.hash_of(info_hash), index, name, download=dl)

    either = ["GET", "HEAD"]
    routes.add_api_route("/stream/playlist.m3u8", all_playlists, methods=either, tags=["stream"])
    path = "/stream/{info_hash}/playlist.m3u8"
    routes.add_api_route(path, torrent_playlist, methods=either, tags=["stream"])
    path = "/stream/{info_hash}/{index}/{name:path}"
    routes.add_api_route(path, file, methods=either, tags=["stream"])
    return routes


class _Media:
    """Answers what the routes are asked."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._readers = OpenReaders(context.state.counters)
        self._patience = MetadataPatience(time.monotonic)

    @property
    def _port(self) -> EnginePort:
        return self._context.port

    def hash_of(self, text: str) -> InfoHash:
        """Return the info-hash that a torrent is known by; a hybrid is found by either one."""
        row = self._context.state.torrents.named(text)
        if row is not None:
            return row.info_hash
        try:
            return InfoHash.parse(text)
        except ValueError:
            raise ProblemError(Problem("torrent_not_found", "no such torrent")) from None

    async def file(
        self, request: Request, info_hash: InfoHash, index: int, name: str, *, download: bool | None
    ) -> Response:
        """Return the answer for one file."""
        file = await self._file(info_hash, index)
        self._refuse_stopped(info_hash, file)
        if name.endswith(".vtt") and file.path.lower().endswith(".srt"):
            return await self._subtitles(info_hash, file)
        known = Validators(f'"{info_hash.hex()}-{index}"', self._added_at(info_hash))
        wanted = select(dict(request.headers), file.size_bytes, known)
        headers = _fields(file, known, wanted, request, download=download)
        if wanted.status == 416:
            range_field = {"Content-Range": headers["Content-Range"]}
            raise ProblemError(Problem("range_not_satisfiable", headers=range_field))
        if request.method == "HEAD" or wanted.status == 304:
            answer = Response(status_code=wanted.status, headers=headers)
            if wanted.status != 304:
                answer.headers["content-length"] = str(wanted.length)
            return answer
        reader = self._readers.counted(info_hash, self._port.torrents.open(info_hash, index))
        return FileStream(reader, wanted, headers, self._ends(request))

    def _ends(self, request: Request) -> StreamEnds:
        context = self._context
        return StreamEnds(
            context.settings().stream.read_timeout_s,
            context.life.stopping,
            partial(context.authenticator.is_current, principal_of(request.scope)),
        )

    async def _file(self, info_hash: InfoHash, index: int) -> FileFacts:
        files = await self._port.torrents.files(info_hash)
        if not files:
            raise self._patience.refusal(info_hash)
        self._patience.known(info_hash)
        for each in files:
            if each.index == index:
                return each
        raise UnknownFileError(f"{info_hash}: there is no file {index}", index)

    def _refuse_stopped(self, info_hash: InfoHash, file: FileFacts) -> None:
        """Raise ProblemError for a part of a torrent that is stopped: the rest does not come."""
        if file.completed_bytes >= file.size_bytes:
            return
        progress, _ = self._port.torrents.live(info_hash)  # rows may be older
        if progress.state is EngineState.STOPPED:
            detail = "the torrent is stopped, and this file is not complete"
            raise ProblemError(Problem("state_conflict", detail))

    def _added_at(self, info_hash: InfoHash) -> int:
        row = self._context.state.torrents.get(info_hash)
        return 0 if row is None else math.floor(row.about.added_at)

    async def _subtitles(self, info_hash: InfoHash, file: FileFacts) -> Response:
        if file.size_bytes > MAX_SUBTITLE_BYTES:
            raise ProblemError(Problem("too_large", "no subtitles are that long"))
        reader = self._readers.counted(info_hash, self._port.torrents.open(info_hash, file.index))
        data = bytearray()
        try:
            with anyio.fail_after(self._context.settings().stream.read_timeout_s):
                async with reader:
                    while len(data) < file.size_bytes and (chunk := await reader.read(256 * 1024)):
                        data += chunk
        except TimeoutError:
            raise ProblemError(Problem("read_timeout", "its pieces did not come")) from None
        return Response(await run_sync(to_vtt, bytes(data)), headers={"Content-Type": _VTT})

    # -- playlists ----------------------------------------------------------------------------

    async def playlist_of(
        self, request: Request, info_hash: InfoHash, index: int | None
    ) -> Response:
        """Return the playlist of one torrent, in which subtitles are too, or of one file."""
        files = await self._port.torrents.files(info_hash)
        if not files:
            raise self._patience.refusal(info_hash)
        if index is None:
            entry = self._entry_maker(request, info_hash)
            return await _answer([_Listed(files, _is_media, entry)])
        one = [await self._file(info_hash, index)]
        entry = self._entry_maker(request, info_hash, signed_for=str(index))
        return await _answer([_Listed(one, lambda _: True, entry)])

    async def playlist_of_all(self, request: Request) -> Response:
        """Return the playlist of all torrents."""
        listed: list[_Listed] = []
        for info_hash in list(self._port.torrents.hashes()):
            with suppress(UnknownTorrentError):  # it was removed meanwhile
                files = await self._port.torrents.files(info_hash)
                listed.append(_Listed(files, is_playable, self._entry_maker(request, info_hash)))
        return await _answer(listed)

    def _entry_maker(
        self, request: Request, info_hash: InfoHash, *, signed_for: str = ANY_FILE
    ) -> Callable[[FileFacts], Entry]:
        """Return what makes entries of files, in any thread.

        A link lets in as long as the one that asks did, and makes no later one.
        """
        stream = self._context.settings().stream
        base = stream.public_url.rstrip("/") or str(request.base_url).rstrip("/")
        expires_at = int(time.time()) + stream.link_hours * _HOUR_S
        links = self._context.authenticator.links
        if principal_of(request.scope).means is Means.SIGNED_URL:
            signature = request.query_params["t"]
        else:
            signature = links.sign(info_hash.hex(), signed_for, expires_at)
        return lambda each: Entry(
            PurePosixPath(each.path).name, f"{base}{stream_path(info_hash, each)}?t={signature}"
        )


class _Listed(NamedTuple):
    """The files of a torrent for a playlist."""

    files: Sequence[FileFacts]
    is_shown: Callable[[str], bool]
    """Says of a path whether the file is in the playlist."""
    entry: Callable[[FileFacts], Entry]


def _playlist(listed: Iterable[_Listed]) -> bytes:
    entries: list[Entry] = []
    for files, is_shown, entry in listed:
        shown = [each for each in files if is_shown(each.path)]
        entries += map(entry, sorted(shown, key=lambda each: natural_key(each.path)))
    return playlist(entries)


async def _answer(listed: Iterable[_Listed]) -> Response:
    """Return a playlist, made in a thread: there may be very many files."""
    headers = {
        "Content-Type": PLAYLIST_TYPE,
        "Content-Disposition": f"inline; {file_name('playlist.m3u8')}",
    }
    return Response(await run_sync(_playlist, listed), headers=headers)


def _is_media(path: str) -> bool:
    return is_playable(path) or _is_subtitle(path)


def _is_subtitle(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _SUBTITLES


def stream_path(info_hash: InfoHash, file: FileFacts) -> str:
    """Return the path of a file; its name is for players only."""
    name = quote(PurePosixPath(file.path).name.encode("utf-8", "replace"), safe="")
    return f"/stream/{info_hash.hex()}/{file.index}/{name}"


def _fields(
    file: FileFacts,
    known: Validators,
    wanted: Selection,
    request: Request,
    *,
    download: bool | None,
) -> dict[str, str]:
    shown = presentation_of(file.path, download=download)
    fields = {
        "Content-Type": shown.media_type,
        "Content-Disposition": shown.disposition,
        "Accept-Ranges": "bytes",
        "ETag": known.etag,
        "Last-Modified": known.last_modified,
    }
    content_range = wanted.content_range(file.size_bytes)
    if content_range is not None:
        fields["Content-Range"] = content_range
    if request.headers.get("getcontentfeatures.dlna.org") == "1":
        fields["contentFeatures.dlna.org"] = _FEATURES
    if "transfermode.dlna.org" in request.headers:
        fields["transferMode.dlna.org"] = "Streaming"
    return fields
