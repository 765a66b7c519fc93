"""The routes of the web page: ``/`` and the files below ``/ui``."""

from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.common.replies import is_unchanged, takes_gzip
from torrent_engine.daemon.page.files import PageFile, PageFiles, read_contents
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import public

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

FOREVER: Final = "public, max-age=31536000, immutable"
ALWAYS_ASK: Final = "no-cache"


def router(_: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes, page = APIRouter(), _Page()

    @public(allows_while_starting=True)
    async def index(request: Request) -> Response:
        """Send the page."""
        return reply(request, (await page.files()).index, ALWAYS_ASK)

    @public(allows_while_starting=True)
    async def file(request: Request, version: str, name: str) -> Response:
        """Send a file of the page; under the address of another version it is not kept."""
        files = await page.files()
        found = files.get(name)
        if found is None:
            raise ProblemError(Problem("not_found", "there is no such file"))
        return reply(request, found, FOREVER if version == files.version else ALWAYS_ASK)

    methods = ["GET", "HEAD"]
    routes.add_api_route("/", index, methods=methods, include_in_schema=False)
    routes.add_api_route(
        "/ui/{version}/{name:path}", file, methods=methods, include_in_schema=False
    )
    return routes


class _Page:
    """The files, which are read when they are asked for first."""

    def __init__(self) -> None:
        self._files: PageFiles | None = None
        self._lock = anyio.Lock()

    async def files(self) -> PageFiles:
        async with self._lock:
            if self._files is None:
                self._files = await anyio.to_thread.run_sync(lambda: PageFiles(read_contents()))
            return self._files


def reply(request: Request, file: PageFile, caching: str) -> Response:
    """Return the answer to a request for a file: 304, compressed or plain."""
    etag = f'W/"{file.etag}"'
    headers = {"ETag": etag, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if is_unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = file.media_type
    if file.zipped is not None and takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(file.zipped, 200, {**headers, "Content-Encoding": "gzip"})
    return Response(file.data, 200, headers)
