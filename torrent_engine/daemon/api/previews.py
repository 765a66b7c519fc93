"""Looking at the files of a magnet link before it is added: ``/api/v1/previews``."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.api.add_options import AddInput, OwnerInput, owner_of_header
from torrent_engine.daemon.api.adding import TorrentAdder, metainfo_bytes
from torrent_engine.daemon.api.requests import Input, principal_in
from torrent_engine.daemon.common.replies import json_bytes, json_reply, with_field
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.state.previews import Preview
from torrent_engine.service.add_options import AddOptions, Ephemeral, StopAfter

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


class PreviewInput(Input):
    """A magnet link or an info-hash, and the tab that wants to look at it."""

    source: str = Field(min_length=1, max_length=65_536)
    owner: OwnerInput | None = None
    """Or the field ``TE-Owner``; with its end the preview goes."""


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/previews", tags=["previews"])
    previews = Previews(context)

    @routes.get("")
    @needs(Scope.ADD)
    async def list_previews(request: Request) -> Response:
        """Return the previews that there are."""
        told = [preview_value(each) for each in context.state.previews]
        return await json_reply(request, json_bytes({"items": told}))

    @routes.post("", status_code=201)
    @needs(Scope.ADD)
    async def begin_preview(request: Request, given: PreviewInput) -> Response:
        """Fetch the metadata of a link; nothing of its files. 200 if it is known already."""
        return await previews.begin(request, given)

    @routes.get("/{preview_id}")
    @needs(Scope.ADD)
    async def get_preview(request: Request, preview_id: str) -> Response:
        """Return a preview; with its files once it is ready."""
        return await json_reply(request, await previews.value(request, preview_id))

    @routes.post("/{preview_id}/add", status_code=201)
    @needs(Scope.ADD)
    async def add_preview(
        request: Request, preview_id: str, given: AddInput | None = None
    ) -> Response:
        """Add the torrent of a preview, with the options of other torrents."""
        return await previews.add(request, preview_id, given or AddInput())

    @routes.delete("/{preview_id}", status_code=204)
    @needs(Scope.ADD)
    async def end_preview(preview_id: str) -> Response:
        """End a preview."""
        key = previews.find(preview_id).info_hash
        await context.port.control.remove(key, delete_files=True)
        context.state.look(key)
        return Response(status_code=204)

    return routes


class Previews:
    """Begins previews, and adds their torrents."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._adder = TorrentAdder(context)

    def find(self, preview_id: str) -> Preview:
        """Return a preview. Raises ProblemError."""
        state = self._context.state
        try:
            key = InfoHash.parse(preview_id)
        except ValueError:
            found = None
        else:
            state.look(key)  # it may be a torrent that stays by now
            found = state.previews.get(key)
        if found is None:
            raise ProblemError(Problem("not_found", "there is no such preview"))
        return found

    async def begin(self, request: Request, given: PreviewInput) -> Response:
        """Begin one. Raises ProblemError, MagnetError or OwnerChangedError."""
        context, magnet = self._context, Magnet.parse(given.source)
        tie = self._tie(request, given)
        context.state.owners.check(tie)
        key = magnet.info_hash
        is_new = not context.port.torrents.has(key)
        if is_new:
            options = AddOptions(
                owner=tie, stop_after=StopAfter.METADATA, ephemeral=Ephemeral.PREVIEW
            )
            await context.port.engine.add(magnet, options)
        context.state.look(key)
        preview = context.state.previews.get(key)
        if preview is None:  # a torrent that was added
            links = {"torrent": f"/api/v1/torrents/{key.hex()}"}
            told: dict[str, Any] = {"id": None, "hash": key.hex(), "links": links}
        else:
            told = preview_value(preview)
        status = 201 if is_new else 200
        answer = await json_reply(request, json_bytes(told), status=status)
        answer.headers["Location"] = next(iter(told["links"].values()))
        return answer

    @staticmethod
    def _tie(request: Request, given: PreviewInput) -> OwnerTie:
        if given.owner is not None:
            return OwnerTie(given.owner.id, given.owner.generation)
        if (header := request.headers.get("te-owner")) is not None:
            return owner_of_header(header)
        missing = InputError("/owner", "is needed: a preview ends with its owner")
        raise ProblemError(Problem("input_invalid", "no owner", errors=[missing]))

    async def value(self, request: Request, preview_id: str) -> bytes:
        """Return a preview with its files, as JSON. Raises ProblemError."""
        preview = self.find(preview_id)
        torrent = await self._context.port.torrents.metainfo(preview.info_hash)
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        told = b"null"
        if torrent is not None:
            told = await metainfo_bytes(torrent, {}, has_secrets=has_secrets)
        return with_field(preview_value(preview), "torrent", told)

    async def add(self, request: Request, preview_id: str, given: AddInput) -> Response:
        """Add the torrent of a preview. Raises ProblemError."""
        if given.source is not None:
            wrong = InputError("/source", "is that of the preview")
            raise ProblemError(Problem("input_invalid", "source", errors=[wrong]))
        key = self.find(preview_id).info_hash
        return await self._adder.add(request, Magnet(key), given)


def preview_value(preview: Preview) -> dict[str, Any]:
    """Return a preview as it is told."""
    owner = preview.facts.settings.owner
    hexadecimal = preview.info_hash.hex()
    base = f"/api/v1/previews/{hexadecimal}"
    return {
        "id": hexadecimal,
        "hash": hexadecimal,
        "name": preview.name,
        "status": preview.status,
        "error": preview.error or None,
        "owner": None if owner is None else {"id": owner.owner_id, "generation": owner.generation},
        "links": {"self": base, "add": f"{base}/add"},
    }
