"""Torrents that are made of files of the server: ``/api/v1/create``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine import __version__
from torrent_engine.base.ids import OwnerTie
from torrent_engine.daemon.api.add_options import OwnerInput, owner_of_header
from torrent_engine.daemon.api.answers import answers_of_kinds
from torrent_engine.daemon.api.idempotency import Idempotency
from torrent_engine.daemon.api.requests import Input
from torrent_engine.daemon.api.torrent_files import attachment
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.jobs.creating import TorrentMaker
from torrent_engine.daemon.jobs.own_jobs import RunningJob
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, check_options
from torrent_engine.service.add_options import AddOptions

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

TORRENT: Final = "application/x-bittorrent"
_Url = Annotated[str, Field(min_length=1, max_length=4_096)]
_Tier = Annotated[list[_Url], Field(max_length=100)]


class CreateInput(Input):
    """Files of the server, and what their torrent says beside them."""

    path: str = Field(min_length=1, max_length=4_096)
    """A file or folder; symbolic links in it are left out."""
    name: str | None = Field(default=None, min_length=1, max_length=255)
    """null: that of the file or folder."""
    trackers: list[_Tier] = Field(default_factory=list, max_length=100)
    """Tier by tier."""
    web_seeds: list[_Url] = Field(default_factory=list, max_length=100)
    piece_bytes: int | None = Field(default=None, ge=16_384, le=134_217_728)
    """A multiple of 16 KiB, in v2 and hybrids a power of two; null: by the size of the files."""
    format: TorrentFormat = "hybrid"
    """Versions of BitTorrent that can download it (BEP 52); a hybrid is of both."""
    private: bool = False
    comment: str | None = Field(default=None, max_length=4_096)
    source: str | None = Field(default=None, max_length=255)
    """A tag that changes the info-hash."""
    dated: bool = True
    """Whether the time is in it; without, the same files give the same bytes."""
    seed: bool = False
    """Whether the torrent is added where its files are."""
    category: str | None = Field(default=None, max_length=255)
    labels: list[str] | None = Field(default=None, max_length=64)
    owner: OwnerInput | None = None
    """Whose end cancels the work."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/create", tags=["create"])
    creation = TorrentCreation(context)
    idempotency = Idempotency(context.state.store.table("idempotency"))

    @routes.post("", status_code=202)
    @needs(Scope.ADD)
    async def create_torrent(request: Request, given: CreateInput) -> Response:
        """Begin to make a torrent of files below the allowed folders; its job has the progress."""
        body = await request.body()

        async def answer() -> Response:
            return await creation.begin(request, given)

        return await idempotency.answer(request, body, answer)

    @routes.get(
        "/{job_id}/torrent_file", response_class=Response, responses=answers_of_kinds(TORRENT)
    )
    @needs(Scope.ADD)
    async def get_created_torrent(job_id: str) -> Response:
        """Return the torrent that a job made, until the record of the job is deleted."""
        name, data = await creation.result(job_id)
        headers = {"Content-Disposition": attachment(f"{name}.torrent")}
        return Response(data, 200, headers, TORRENT)

    return routes


class TorrentCreation:
    """Begins the work, and finds its results."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._maker = TorrentMaker(context.port.jobs, lambda: context.state_dir)

    async def begin(self, request: Request, given: CreateInput) -> Response:
        """Check what is asked for, and begin. Raises ProblemError or ConfigError."""
        context = self._context
        path, options = await context.paths.checked(given.path), _options(given)
        check_options(options)
        adding = self._adding(given, path)
        header = request.headers.get("te-owner")
        tie = None if header is None else owner_of_header(header)
        if given.owner is not None:
            tie = OwnerTie(given.owner.id, given.owner.generation)
        context.state.owners.check(tie)
        await self._maker.clean()

        async def work(job: RunningJob) -> None:
            torrent = await self._maker.make(job.id, path, options)
            context.port.jobs.identify(job.id, torrent.info_hash, torrent.name)
            if adding is not None:
                await context.state.add(torrent, adding)

        job = context.own_jobs.start("create", given.name or path.name, work, owner=tie)
        links = {
            "job": f"/api/v1/jobs/{job.id}",
            "torrent_file": f"/api/v1/create/{job.id}/torrent_file",
        }
        told: dict[str, Any] = {"job": job.id, "links": links}
        answer = await json_reply(request, json_bytes(told), status=202)
        answer.headers["Location"] = links["job"]
        return answer

    def _adding(self, given: CreateInput, path: Path) -> AddOptions | None:
        if not given.seed:
            return None
        if given.name not in {None, path.name}:
            detail = "a torrent with another name than that of its files cannot be seeded"
            raise ProblemError(Problem("setting_invalid", detail))
        labels = self._context.state.labels
        if given.category and labels.category(given.category) is None:
            raise ProblemError(Problem("setting_invalid", "there is no such category"))
        return AddOptions(
            save_path=str(path.parent),
            category=given.category or None,
            labels=tuple(given.labels) if given.labels else None,
        )

    async def result(self, job_id: str) -> tuple[str, bytes]:
        """Return the name of a torrent and its bytes. Raises ProblemError if it is not there."""
        job = await self._context.port.jobs.get(job_id)
        if job is None or job.kind != "create":
            raise ProblemError(Problem("job_not_found", "no such job"))
        if job.status != "completed":
            raise ProblemError(Problem("state_conflict", f"the job is {job.status}"))
        data = await self._maker.read(job_id)
        if data is None:
            raise ProblemError(Problem("file_not_found", "the torrent is not kept any more"))
        return job.name, data


def _options(given: CreateInput) -> CreateOptions:
    return CreateOptions(
        tiers=tuple(map(tuple, given.trackers)),
        web_seeds=tuple(given.web_seeds),
        piece_bytes=given.piece_bytes,
        is_private=given.private,
        comment=given.comment,
        created_by=f"torrent_engine {__version__}",
        creation_time_s=int(time.time()) if given.dated else None,
        name=given.name,
        source=given.source,
        format=given.format,
    )
