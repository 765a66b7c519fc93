"""Torrents that are added, or only looked at: ``POST /api/v1/torrents`` and ``inspect``."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.config.units import KIB
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.api.add_options import (
    AddInput,
    TorrentData,
    engine_options,
    existing_parent,
    options_of_query,
    owner_of_header,
)
from torrent_engine.daemon.api.answers import further_answers
from torrent_engine.daemon.api.idempotency import Idempotency
from torrent_engine.daemon.api.requests import Input, checked_json, principal_in
from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.add_sources import SourceReader
from torrent_engine.daemon.common.replies import json_bytes, json_reply, listed, with_field
from torrent_engine.daemon.engine_port.facts import JobFacts
from torrent_engine.daemon.jobs.own_jobs import RunningJob
from torrent_engine.daemon.jobs.port_torrents import category_options
from torrent_engine.daemon.problems import InputError, Problem, ProblemError, code_of
from torrent_engine.daemon.security.access import JSON, MAX_BODY_BYTES, needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.labels import check_name
from torrent_engine.net.http.torrent_fetch import is_url
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.sources import shown

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

TORRENT: Final = "application/x-bittorrent"
FORM: Final = "multipart/form-data"
MAX_FORM_FILES: Final = 100
MAX_KEPT_BYTES: Final = 64 * KIB  # ours: of what a retry needs; a longer one is sent again
FETCH_WAIT_S: Final = 1.0  # ours: most servers answer by then; else the job is answered
BODY_TYPES: Final = frozenset({JSON, TORRENT, FORM})


class SourceInput(Input):
    """A torrent: a magnet link, an info-hash, a URL, a path on the server, or a .torrent."""

    source: str | TorrentData
    cookies: str = Field(default="", max_length=8_192)
    """For the host of a URL."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/torrents", tags=["torrents"])
    adder = TorrentAdder(context)
    idempotency = Idempotency(context.state.store.table("idempotency"))
    types = {"media_types": BODY_TYPES, "max_json_bytes": MAX_BODY_BYTES}

    @routes.post(
        "",
        status_code=201,
        responses=further_answers(200, 202),
        openapi_extra=_body_of(AddInput),
    )
    @needs(Scope.ADD, **types)
    async def add_torrents(request: Request) -> Response:
        """Add a torrent; several of a form. One that is there already is named with 200.

        What a URL does not give at once is fetched as a job, which is named with 202. With a
        body of JSON the options are in it, else they are in the query.
        """
        body = await request.body()
        return await idempotency.answer(request, body, lambda: adder.answer(request, body))

    @routes.post("/inspect", openapi_extra=_body_of(SourceInput))
    @needs(Scope.ADD, **types)
    async def inspect_torrent(request: Request) -> Response:
        """Return what a torrent has, without adding it."""
        return await json_reply(request, await adder.inspect(request, await request.body()))

    return routes


def _body_of(kind: type[Input]) -> dict[str, Any]:
    """Return what the OpenAPI document says of the body of a route."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"torrent": {"type": "array", "items": binary}}}
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    content = {JSON: {"schema": reference}, TORRENT: {"schema": binary}, FORM: {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


class TorrentAdder:
    """Adds the torrents of requests."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._port = context.port
        self._state = context.state
        self._sources = SourceReader(context, self._fetches_private)
        self._sources_of_jobs = context.state.store.table("job_sources")

    def _fetches_private(self) -> bool:
        now = self._context.settings()
        return now.network.loopback_only or now.adding.from_private_networks

    async def answer(self, request: Request, body: bytes) -> Response:
        """Add what a request has."""
        kind = _media_type(request)
        if kind == FORM:
            return await self._add_form(request)
        if kind == TORRENT:
            given = options_of_query(request.query_params)
            options = await self._options(request, given)
            torrent: Metainfo | Magnet = await self._sources.read_bytes(body)
        else:
            given = checked_json(AddInput, body)
            if given.source is None:
                missing = InputError("/source", "is needed")
                raise ProblemError(Problem("input_invalid", "no torrent", errors=[missing]))
            options = await self._options(request, given)  # before anything is fetched
            if isinstance(given.source, str) and is_url(given.source.strip()):
                return await self._answer_fetch(self.fetch(given, options))
            torrent = await self._read(given.source, given.cookies)
        told = await self._add(torrent, given, options)
        return _reply(told, [told])

    async def add(self, request: Request, torrent: Metainfo | Magnet, given: AddInput) -> Response:
        """Add a torrent with the options of a request. Raises ProblemError."""
        told = await self._add(torrent, given, await self._options(request, given))
        return _reply(told, [told])

    def fetch(self, given: AddInput, options: AddOptions) -> RunningJob:
        """Begin the job that fetches a torrent from a URL, and adds it."""
        url = str(given.source).strip()
        kept = given.model_dump(mode="json", exclude={"cookies", "owner"}, exclude_unset=True)

        async def work(job: RunningJob) -> dict[str, Any]:
            torrent = await self._read(url, given.cookies)
            self._port.jobs.identify(job.id, torrent.info_hash, torrent.name or "")
            return await self._add(torrent, given, options)

        job = self._context.own_jobs.start("add", shown(url), work, owner=options.owner)
        if len(json_bytes(kept)) <= MAX_KEPT_BYTES:
            self._sources_of_jobs.put(job.id, kept)
        return job

    async def _answer_fetch(self, job: RunningJob) -> Response:
        if not await job.wait(FETCH_WAIT_S):
            return accepted(job.id)
        if job.result is None:
            raise ProblemError(Problem("state_conflict", "the job was cancelled"))
        return _reply(job.result, [job.result])

    async def retry(self, job: JobFacts) -> RunningJob | None:
        """Fetch the torrent of a failed job again; None if it was not from a URL."""
        kept = self._sources_of_jobs.get(job.id)
        if kept is None:
            return None
        given = checked_json(AddInput, json_bytes(kept))
        options = await engine_options(self._context, given, None)
        return self.fetch(given, self._with_category(options))

    async def add_again(self, info_hash: InfoHash) -> None:
        """Add a torrent again that was removed, by its magnet link."""
        removed = self._state.removed.get(info_hash)
        await self._state.add(removed.magnet, removed.options)

    async def _add_form(self, request: Request) -> Response:
        given = options_of_query(request.query_params)
        options = await self._options(request, given)
        added, failed = [], []
        for name, data in await _files_of(request):
            try:
                torrent = await self._sources.read_bytes(data)
                added.append(await self._add(torrent, given, options))
            except ProblemError as error:
                failed.append(_failure(name, error.problem.code, error.problem.detail))
            except TorrentEngineError as error:
                failed.append(_failure(name, code_of(error), str(error)))
        return _reply({"added": added, "failed": failed}, added)

    async def _options(self, request: Request, given: AddInput) -> AddOptions:
        """Return the options of a request over those of its category. Raises ProblemError."""
        header = request.headers.get("te-owner")
        owner = None if header is None else owner_of_header(header)
        options = await engine_options(self._context, given, owner)
        self._state.owners.check(options.owner)
        for label in options.labels or ():
            check_name("label", label)
        return self._with_category(options)

    def _with_category(self, options: AddOptions) -> AddOptions:
        if options.category is None:
            return options
        category = self._state.labels.category(options.category)
        if category is None:
            raise ProblemError(Problem("setting_invalid", "there is no such category"))
        return options.over(category_options(category, self._folder()))

    def _folder(self) -> Path:
        return download_folder(self._context.settings())

    async def _free_bytes(self, folder: Path) -> int | None:
        try:
            return await self._context.paths.look(folder, free_bytes, folder)
        except ProblemError:  # its disk does not answer
            return None

    async def _read(self, source: str | TorrentData, cookies: str) -> Metainfo | Magnet:
        if isinstance(source, TorrentData):
            return await self._sources.read_base64(source.torrent)
        return await self._sources.read_text(source, cookies)

    async def _add(
        self, torrent: Metainfo | Magnet, given: AddInput, options: AddOptions
    ) -> dict[str, Any]:
        added = await self._state.add(torrent, options.over(self._defaults(torrent)))
        key = added.info_hash
        if added.is_new:
            self._state.labels.note_labels(options.labels or ())
        row = self._state.torrents.get(key)
        return {
            "hash": key.hex(),
            "name": added.name if row is None else row.name,
            "existing": not added.is_new,
            "links": {"self": f"/api/v1/torrents/{key.hex()}"},
        }

    def _defaults(self, torrent: Metainfo | Magnet) -> AddOptions:
        """Return what the settings say of torrents of which nothing else is said."""
        adding = self._context.settings().adding
        is_private = isinstance(torrent, Metainfo) and torrent.is_private
        return AddOptions(
            paused=adding.paused or None,
            sequential=adding.sequential or None,
            trackers=None if is_private else adding.trackers or None,
        )

    # -- looking only -------------------------------------------------------------------------

    async def inspect(self, request: Request, body: bytes) -> bytes:
        """Return what a torrent has, as JSON. Raises ProblemError or what the engine raises."""
        kind = _media_type(request)
        if kind == FORM:
            _, data = (await _files_of(request))[0]
            torrent: Metainfo | Magnet = await self._sources.read_bytes(data)
        elif kind == TORRENT:
            torrent = await self._sources.read_bytes(body)
        else:
            asked = checked_json(SourceInput, body)
            torrent = await self._read(asked.source, asked.cookies)
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        folder = self._folder()
        about = {
            "exists": self._port.torrents.has(torrent.info_hash),
            "save_path": str(folder),
            "free_bytes": await self._free_bytes(folder),
        }
        if isinstance(torrent, Magnet):
            return json_bytes({**_magnet_value(torrent, has_secrets=has_secrets), **about})
        return await metainfo_bytes(torrent, about, has_secrets=has_secrets)


async def _files_of(request: Request) -> list[tuple[str, bytes]]:
    """Return the names and contents of the files of a form. Raises ProblemError without any."""
    async with request.form(max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FILES) as form:
        uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        found = [(each.filename or "", await each.read()) for each in uploads]
    if not found:
        raise ProblemError(Problem("input_invalid", "the form has no file"))
    return found


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepted(job_id: str) -> Response:
    """Return the answer to a request whose work goes on as a job."""
    links = {"job": f"/api/v1/jobs/{job_id}"}
    body = json_bytes({"job": job_id, "links": links})
    return Response(body, 202, {"Location": links["job"]}, media_type=JSON)


def _reply(told: dict[str, Any], added: Sequence[dict[str, Any]]) -> Response:
    """Return 201 if a torrent is new, else 200."""
    status = 201 if any(not each["existing"] for each in added) else 200
    headers = {"Location": added[0]["links"]["self"]} if len(added) == 1 else {}
    return Response(json_bytes(told), status, headers, media_type=JSON)


def _failure(name: str, code: str, detail: str) -> dict[str, str]:
    return {"name": name, "code": code, "detail": detail}


def free_bytes(folder: Path) -> int | None:
    """Return the free space where a folder is, or will be; None if that cannot be told."""
    try:
        return shutil.disk_usage(existing_parent(folder)).free
    except OSError:
        return None


def _magnet_value(magnet: Magnet, *, has_secrets: bool) -> dict[str, Any]:
    told = _teller(has_secrets=has_secrets)
    return {
        "hash": str(magnet.info_hash),
        "name": magnet.name,
        "has_metadata": False,
        "total_bytes": magnet.total_bytes,
        "piece_bytes": None,
        "piece_count": None,
        "files": None,
        "trackers": [[told(url)] for url in magnet.trackers],
        "web_seeds": list(map(told, magnet.web_seeds)),
        "is_private": None,
        "comment": None,
        "creator": None,
        "created_at": None,
    }


def _teller(*, has_secrets: bool) -> Callable[[str], str]:
    return (lambda url: url) if has_secrets else shown


async def metainfo_bytes(
    torrent: Metainfo, about: Mapping[str, Any], *, has_secrets: bool
) -> bytes:
    """Return what a .torrent says, with something about it, as JSON; of many files in a thread.

    Without its secrets, URLs have no passkeys.
    """
    told = {**_metainfo_value(torrent, has_secrets=has_secrets), **about}
    files = await listed(_without_pads(torrent), partial(_file_value, torrent))
    return with_field(told, "files", files)


def _without_pads(torrent: Metainfo) -> Sequence[int]:
    files = torrent.files
    pads = set(filter(files.is_pad, files.unstored()))
    every = range(len(files))
    return [index for index in every if index not in pads] if pads else every


def _file_value(torrent: Metainfo, index: int) -> dict[str, Any]:
    entry = torrent.files[index]
    return {"index": index, "path": "/".join(entry.path), "size_bytes": entry.length_bytes}


def _metainfo_value(torrent: Metainfo, *, has_secrets: bool) -> dict[str, Any]:
    told = _teller(has_secrets=has_secrets)
    return {
        "hash": str(torrent.info_hash),
        "name": torrent.name,
        "has_metadata": True,
        "total_bytes": torrent.total_bytes,
        "piece_bytes": torrent.geometry.piece_bytes,
        "piece_count": torrent.piece_count,
        "trackers": [list(map(told, tier)) for tier in torrent.tiers],
        "web_seeds": list(map(told, (*torrent.web_seeds, *torrent.http_seeds))),
        "is_private": torrent.is_private,
        "comment": torrent.comment,
        "creator": torrent.created_by,
        "created_at": timestamp(float(torrent.creation_time_s or 0)),
    }
