"""Torrents that are added, or only looked at: ``POST /api/v1/torrents`` and ``inspect``."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from fastapi import APIRouter
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

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
from torrent_engine.daemon.api.idempotency import Idempotency
from torrent_engine.daemon.api.requests import Input, checked_json
from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.add_sources import SourceReader
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.jobs.port_torrents import category_options
from torrent_engine.daemon.problems import InputError, Problem, ProblemError, code_of
from torrent_engine.daemon.security.access import JSON, MAX_BODY_BYTES, needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.labels import check_name
from torrent_engine.service.add_options import AddOptions

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

TORRENT: Final = "application/x-bittorrent"
FORM: Final = "multipart/form-data"
MAX_FORM_FILES: Final = 100
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

    @routes.post("", status_code=201, openapi_extra=_body_of(AddInput))
    @needs(Scope.ADD, **types)
    async def add_torrents(request: Request) -> Response:
        """Add a torrent; several of a form. One that is there already is named with 200.

        With a body of JSON the options are in it, else they are in the query.
        """
        body = await request.body()
        return await idempotency.answer(request, body, lambda: adder.answer(request, body))

    @routes.post("/inspect", openapi_extra=_body_of(SourceInput))
    @needs(Scope.ADD, **types)
    async def inspect_torrent(request: Request) -> Response:
        """Return what a torrent has, without adding it."""
        told = await adder.inspect(request, await request.body())
        return await json_reply(request, json_bytes(told))

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
        self._sources = SourceReader(context)

    async def answer(self, request: Request, body: bytes) -> Response:
        """Add what a request has."""
        kind = _media_type(request)
        if kind == FORM:
            return await self._add_form(request)
        if kind == TORRENT:
            given = options_of_query(request.query_params)
            options = self._options(request, given)
            torrent: Metainfo | Magnet = await self._sources.read_bytes(body)
        else:
            given = checked_json(AddInput, body)
            if given.source is None:
                missing = InputError("/source", "is needed")
                raise ProblemError(Problem("input_invalid", "no torrent", errors=[missing]))
            options = self._options(request, given)  # before anything is fetched
            torrent = await self._read(given.source, given.cookies)
        told = await self._add(torrent, given, options)
        return _reply(told, [told])

    async def _add_form(self, request: Request) -> Response:
        given = options_of_query(request.query_params)
        options = self._options(request, given)
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

    def _options(self, request: Request, given: AddInput) -> AddOptions:
        """Return the options of a request over those of its category. Raises ProblemError."""
        header = request.headers.get("te-owner")
        owner = None if header is None else owner_of_header(header)
        options = engine_options(self._context, given, owner)
        self._state.owners.check(options.owner)
        for label in options.labels or ():
            check_name("label", label)
        if options.category is None:
            return options
        category = self._state.labels.category(options.category)
        if category is None:
            raise ProblemError(Problem("setting_invalid", "there is no such category"))
        return options.over(category_options(category, self._folder()))

    def _folder(self) -> Path:
        return download_folder(self._context.settings())

    async def _read(self, source: str | TorrentData, cookies: str) -> Metainfo | Magnet:
        if isinstance(source, TorrentData):
            return await self._sources.read_base64(source.torrent)
        return await self._sources.read_text(source, cookies)

    async def _add(
        self, torrent: Metainfo | Magnet, given: AddInput, options: AddOptions
    ) -> dict[str, Any]:
        added = await self._port.engine.add(torrent, options)
        key = added.info_hash
        self._state.look(key)
        if added.is_new:
            self._describe(key, given, options)
        row = self._state.torrents.get(key)
        return {
            "hash": key.hex(),
            "name": added.name if row is None else row.name,
            "existing": not added.is_new,
            "links": {"self": f"/api/v1/torrents/{key.hex()}"},
        }

    def _describe(self, key: InfoHash, given: AddInput, options: AddOptions) -> None:
        """Set what is not among the engine's own options of a new torrent."""
        labels = self._state.labels
        if options.labels:
            labels.set_labels(key, options.labels)
        if options.category:
            labels.set_category(key, options.category)
        if options.rename:
            labels.set_user_data(key, name=options.rename)
        row = self._state.torrents.get(key)
        if row is not None and given.limits is not None and given.limits.peer_limit:
            limits = replace(row.settings.limits, max_peers=given.limits.peer_limit)
            self._port.settings.set_limits(key, limits)
        self._state.look(key)

    # -- looking only -------------------------------------------------------------------------

    async def inspect(self, request: Request, body: bytes) -> dict[str, Any]:
        """Return what a torrent has. Raises ProblemError or what the engine raises."""
        kind = _media_type(request)
        if kind == FORM:
            _, data = (await _files_of(request))[0]
            torrent: Metainfo | Magnet = await self._sources.read_bytes(data)
        elif kind == TORRENT:
            torrent = await self._sources.read_bytes(body)
        else:
            asked = checked_json(SourceInput, body)
            torrent = await self._read(asked.source, asked.cookies)
        told = _magnet_value(torrent) if isinstance(torrent, Magnet) else _metainfo_value(torrent)
        folder = self._folder()
        return {
            **told,
            "exists": self._port.torrents.has(torrent.info_hash),
            "save_path": str(folder),
            "free_bytes": await anyio.to_thread.run_sync(free_bytes, folder),
        }


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


def _magnet_value(magnet: Magnet) -> dict[str, Any]:
    return {
        "hash": str(magnet.info_hash),
        "name": magnet.name,
        "has_metadata": False,
        "total_bytes": magnet.total_bytes,
        "piece_bytes": None,
        "piece_count": None,
        "files": None,
        "trackers": [[url] for url in magnet.trackers],
        "web_seeds": list(magnet.web_seeds),
        "is_private": None,
        "comment": None,
        "creator": None,
        "created_at": None,
    }


def _metainfo_value(torrent: Metainfo) -> dict[str, Any]:
    files = [
        {"index": index, "path": "/".join(entry.path), "size_bytes": entry.length_bytes}
        for index, entry in enumerate(torrent.files)
        if not entry.is_pad
    ]
    return {
        "hash": str(torrent.info_hash),
        "name": torrent.name,
        "has_metadata": True,
        "total_bytes": torrent.total_bytes,
        "piece_bytes": torrent.geometry.piece_bytes,
        "piece_count": torrent.piece_count,
        "files": files,
        "trackers": [list(tier) for tier in torrent.tiers],
        "web_seeds": [*torrent.web_seeds, *torrent.http_seeds],
        "is_private": torrent.is_private,
        "comment": torrent.comment,
        "creator": torrent.created_by,
        "created_at": timestamp(float(torrent.creation_time_s or 0)),
    }
