"""The files and pieces of a torrent, its .torrent, and moves of its files."""

import hashlib
import mimetypes
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

import anyio
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.api.answers import answers_of_kinds
from torrent_engine.daemon.api.requests import MAX_FILES, FileNumber, Input, principal_in
from torrent_engine.daemon.api.torrent_control import row_of
from torrent_engine.daemon.common.replies import (
    is_unchanged,
    json_bytes,
    json_reply,
    listed,
    not_modified,
    torrent_bytes,
    weak_etag,
)
from torrent_engine.daemon.engine_port.facts import FileFacts, JobQuery
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MOVE_WAIT_S: Final = 1.0  # ours: a rename on one file system is done by then
MAX_COUNT: Final = 255
_OCTETS: Final = "application/octet-stream"
_TYPES: Final = mimetypes.MimeTypes()


class FileChange(Input):
    """What changes of one file."""

    index: FileNumber
    priority: int | None = Field(default=None, ge=0, le=7)
    path: str | None = Field(default=None, min_length=1, max_length=4_096)


class RenameInput(Input):
    """A folder of the torrent, or its root, and its other path below the save path."""

    old: str = Field(alias="from", min_length=1, max_length=4_096)
    new: str = Field(alias="to", min_length=1, max_length=4_096)


class MoveInput(Input):
    """Where the files belong; without ``move_data`` they are looked for there."""

    path: str = Field(min_length=1, max_length=4_096)
    move_data: bool = True


FileChanges = Annotated[list[FileChange], Field(max_length=MAX_FILES)]


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/torrents/{info_hash}", tags=["files"])
    details = FileDetails(context)
    _add_file_routes(routes, details)
    _add_piece_routes(routes, context, details)
    _add_move_routes(routes, context, details)
    return routes


def _add_file_routes(routes: APIRouter, details: "FileDetails") -> None:
    @routes.get("/files")
    @needs(Scope.READ)
    async def list_files(request: Request, info_hash: str) -> Response:
        """Return the files; none before the metadata."""
        return await json_reply(request, await details.files(info_hash))

    @routes.patch("/files")
    @needs(Scope.CONTROL)
    async def change_files(request: Request, info_hash: str, given: FileChanges) -> Response:
        """Change priorities and paths of files; nothing changes if one of them is not there."""
        await details.change(info_hash, given)
        return await json_reply(request, await details.files(info_hash))

    @routes.post("/rename", status_code=204)
    @needs(Scope.CONTROL)
    async def rename_folder(info_hash: str, given: RenameInput) -> Response:
        """Give a folder of the torrent, or its root, another path."""
        await details.rename(info_hash, given)
        return Response(status_code=204)


def _add_piece_routes(routes: APIRouter, context: "DaemonContext", details: "FileDetails") -> None:
    @routes.get(
        "/pieces",
        response_class=Response,
        responses=answers_of_kinds(_OCTETS, "application/json"),
    )
    @needs(Scope.READ)
    async def get_pieces(
        request: Request,
        info_hash: str,
        format: Literal["bits", "runs"] = "bits",  # noqa: A002
    ) -> Response:
        """Return the verified pieces as a bitfield, or as lengths of runs."""
        return await details.pieces(request, info_hash, is_runs=format == "runs")

    @routes.get("/availability", response_class=Response, responses=answers_of_kinds(_OCTETS))
    @needs(Scope.READ)
    async def get_availability(info_hash: str) -> Response:
        """Return how many peers have each piece, a byte each, 255 for more."""
        counts = context.port.torrents.availability(row_of(context.state, info_hash).info_hash)
        return Response(bytes(min(each, MAX_COUNT) for each in counts), media_type=_OCTETS)

    @routes.get(
        "/torrent_file",
        response_class=Response,
        responses=answers_of_kinds("application/x-bittorrent"),
    )
    @needs(Scope.READ)
    async def get_torrent_file(request: Request, info_hash: str) -> Response:
        """Return the .torrent; without its trackers for whoever may not control torrents."""
        torrent = await details.metainfo(info_hash)
        is_trusted = principal_in(request).allows(Scope.CONTROL)
        headers = {"Content-Disposition": attachment(f"{torrent.name}.torrent")}
        body = await torrent_bytes(torrent, has_trackers=is_trusted)
        return Response(body, 200, headers, "application/x-bittorrent")


def _add_move_routes(routes: APIRouter, context: "DaemonContext", details: "FileDetails") -> None:
    @routes.post("/move", status_code=202)
    @needs(Scope.CONTROL)
    async def move_torrent(request: Request, info_hash: str, given: MoveInput) -> Response:
        """Move the files: 200 if that is done at once, else 202 with its job."""
        return await details.move(request, info_hash, given)

    @routes.delete("/move", status_code=204)
    @needs(Scope.CONTROL)
    async def cancel_move(info_hash: str) -> Response:
        """Undo the move that is under way."""
        if not context.port.control.cancel_move(row_of(context.state, info_hash).info_hash):
            raise ProblemError(Problem("state_conflict", "no move is under way"))
        return Response(status_code=204)


class FileDetails:
    """Answers about the files of torrents, and changes of them."""

    def __init__(self, context: "DaemonContext") -> None:
        self._state = context.state
        self._port = context.port
        self._paths = context.paths
        self._errands = context.errands

    def _key(self, info_hash: str) -> InfoHash:
        return row_of(self._state, info_hash).info_hash

    async def files(self, info_hash: str) -> bytes:
        """Return the files of a torrent as JSON; there may be very many."""
        key = self._key(info_hash)
        files = await self._port.torrents.files(key)
        return b'{"items":%b}' % await listed(files, partial(file_value, key))

    async def metainfo(self, info_hash: str) -> Metainfo:
        """Return what the .torrent says. Raises ProblemError before the metadata."""
        torrent = await self._port.torrents.metainfo(self._key(info_hash))
        if torrent is None:
            raise ProblemError(Problem("no_metadata_yet", "which files there are is not known"))
        return torrent

    async def change(self, info_hash: str, changes: Sequence[FileChange]) -> None:
        """Change priorities, then paths. Raises ProblemError."""
        key = self._key(info_hash)
        await self.metainfo(info_hash)
        files = {each.index: each for each in await self._port.torrents.files(key)}
        for number, change in enumerate(changes):
            if change.index not in files:
                wrong = InputError(f"/{number}/index", f"there is no file {change.index}")
                raise ProblemError(Problem("file_not_found", "no such file", errors=[wrong]))
        chosen = {each.index: each.priority for each in changes if each.priority is not None}
        if chosen:
            await self._port.settings.set_file_priorities(key, chosen)
        for change in changes:
            if change.path is not None and change.path != files[change.index].path:
                await self._port.control.rename_file(key, change.index, change.path)
        self._state.look(key)

    async def rename(self, info_hash: str, given: RenameInput) -> None:
        """Rename a folder. Raises ProblemError before the metadata."""
        key = self._key(info_hash)
        if not row_of(self._state, info_hash).about.has_metadata:
            raise ProblemError(Problem("no_metadata_yet", "which files there are is not known"))
        await self._port.control.rename_folder(key, given.old, given.new)
        self._state.look(key)

    async def pieces(self, request: Request, info_hash: str, *, is_runs: bool) -> Response:
        """Return which pieces are verified; 304 if the client knows it."""
        row = row_of(self._state, info_hash)
        count, bits = row.about.piece_count, self._port.torrents.pieces(row.info_hash)
        etag = weak_etag(hashlib.sha256(bits).hexdigest()[:16] + ("r" if is_runs else "b"))
        if is_unchanged(request, etag):
            return not_modified(etag)
        if is_runs:
            told = {"piece_count": count, "runs": runs_of(bits, count)}
            return await json_reply(request, json_bytes(told), etag=etag)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        return Response(bits, 200, headers, _OCTETS)

    async def move(self, request: Request, info_hash: str, given: MoveInput) -> Response:
        """Begin a move, and wait a moment for its end; the engine goes on with it."""
        key = self._key(info_hash)
        path = str(await self._paths.checked(given.path))
        is_done = True
        if given.move_data:
            is_done = await self._begin_move(key, path)
        else:
            await self._port.control.set_save_path(key, path)
        self._state.look(key)
        if is_done:
            return await json_reply(request, json_bytes({"done": True, "job": None}))
        query = JobQuery(kinds=frozenset({"move"}), info_hash=key, limit=1)
        jobs = await self._port.jobs.list(query)
        response = await json_reply(
            request, json_bytes({"done": False, "job": jobs[0].id if jobs else None}), status=202
        )
        if jobs:
            response.headers["Location"] = f"/api/v1/jobs/{jobs[0].id}"
        return response

    async def _begin_move(self, key: InfoHash, path: str) -> bool:
        """Begin a move; return whether it ended within a moment. Raises what it raised by then.

        The wait for the end of a run, or for a plan of very many files, may take longer than that.
        """
        ended, failures = anyio.Event(), list[TorrentEngineError]()
        is_waited_for = True

        async def move() -> None:
            try:
                await self._port.control.move(key, path)
            except TorrentEngineError as error:
                if not is_waited_for:
                    raise
                failures.append(error)
            finally:
                self._state.look(key)
                ended.set()

        self._errands.start(f"move of {key.hex()}", move)
        with anyio.move_on_after(MOVE_WAIT_S):
            await ended.wait()
        is_waited_for = False
        if failures:
            raise failures[0]
        return ended.is_set()


def file_value(info_hash: InfoHash, file: FileFacts) -> dict[str, Any]:
    """Return a file as it is told."""
    name = file.path.rpartition("/")[2]
    quoted = quote(name, safe="", errors="replace")
    return {
        "index": file.index,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "completed_bytes": file.completed_bytes,
        "priority": file.priority,
        "first_piece": file.first_piece,
        "end_piece": file.end_piece,
        "media_type": _TYPES.guess_type(name)[0] or _OCTETS,
        "stream": f"/stream/{info_hash.hex()}/{file.index}/{quoted}",
    }


def runs_of(bits: bytes, count: int) -> list[list[int]]:
    """Return ``[0 or 1, length]`` of each run in a bitfield, which has ``count`` pieces."""
    each_bit: Iterable[int] = (bits[n >> 3] >> (7 - (n & 7)) & 1 for n in range(count))
    if len(bits) * 8 < count:
        return [[0, count]]
    return [[value, sum(1 for _ in run)] for value, run in groupby(each_bit)]


def attachment(name: str) -> str:
    """Return a Content-Disposition for a file name of any characters (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    encoded = quote(name, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
