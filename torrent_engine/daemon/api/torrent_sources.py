"""Where a torrent is downloaded from: its peers, trackers and web seeds."""

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.api.add_options import PeerInput, check_trackers
from torrent_engine.daemon.api.requests import Input, principal_in
from torrent_engine.daemon.api.torrent_control import row_of
from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.engine_port.facts import (
    PeerFacts,
    TrackerFacts,
    TrackerRequestFacts,
    WebSeedFacts,
)
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.service.sources import shown

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

_Url = Annotated[str, Field(min_length=1, max_length=4_096)]
_Tier = Annotated[list[_Url], Field(max_length=1_000)]
_Tiers = Annotated[list[_Tier], Field(max_length=1_000)]


class BanInput(Input):
    """An address with which there shall be no connections; of all torrents."""

    address: str = Field(min_length=1, max_length=64)
    seconds: int | None = Field(default=None, ge=1, le=31_536_000)
    """None: for good."""


class TrackerInput(Input):
    """One more tracker."""

    url: _Url
    tier: int | None = Field(default=None, ge=0, le=1_000)
    """None: a tier of its own behind the others."""


class WebSeedInput(Input):
    """One more web server with the files."""

    url: _Url


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/torrents/{info_hash}", tags=["sources"])
    sources = TorrentSources(context)
    _add_peer_routes(routes, context, sources)
    _add_tracker_routes(routes, context, sources)
    _add_web_seed_routes(routes, context, sources)
    return routes


def _add_peer_routes(
    routes: APIRouter, context: "DaemonContext", sources: "TorrentSources"
) -> None:
    @routes.get("/peers")
    @needs(Scope.READ)
    async def list_peers(request: Request, info_hash: str) -> Response:
        """Return the connected peers."""
        peers = context.port.torrents.peers(sources.key(info_hash))
        return await json_reply(request, json_bytes({"items": list(map(peer_value, peers))}))

    @routes.post("/peers", status_code=204)
    @needs(Scope.CONTROL)
    async def add_peer(info_hash: str, given: PeerInput) -> Response:
        """Try a peer."""
        await context.port.settings.add_peer(sources.key(info_hash), given.host, given.port)
        return Response(status_code=204)

    @routes.post("/peers/ban", status_code=204)
    @needs(Scope.CONTROL)
    async def ban_peer(info_hash: str, given: BanInput) -> Response:
        """Have no connections with an address, for a time or for good, over restarts too."""
        sources.key(info_hash)
        context.state.bans.ban(given.address, given.seconds)
        context.state.announcements.alert("banned", given.address, seconds=given.seconds)
        return Response(status_code=204)


def _add_tracker_routes(
    routes: APIRouter, context: "DaemonContext", sources: "TorrentSources"
) -> None:
    @routes.get("/trackers")
    @needs(Scope.READ)
    async def list_trackers(request: Request, info_hash: str) -> Response:
        """Return the trackers; secrets in their URLs are for whoever may control torrents."""
        return await sources.tracker_reply(request, sources.key(info_hash))

    @routes.put("/trackers")
    @needs(Scope.CONTROL)
    async def replace_trackers(request: Request, info_hash: str, given: _Tiers) -> Response:
        """Replace all trackers, tier by tier; If-Match guards against changes of others."""
        key = sources.key(info_hash)
        sources.check_match(request, key)
        check_trackers(url for tier in given for url in tier)
        context.port.settings.set_trackers(key, given)
        context.state.look(key)
        return await sources.tracker_reply(request, key)

    @routes.post("/trackers", status_code=201)
    @needs(Scope.CONTROL)
    async def add_tracker(request: Request, info_hash: str, given: TrackerInput) -> Response:
        """Announce to one more tracker; 200 if it is there already."""
        key = sources.key(info_hash)
        sources.check_match(request, key)
        check_trackers([given.url])
        is_new = context.port.settings.add_tracker(key, given.url, given.tier)
        context.state.look(key)
        return await sources.tracker_reply(request, key, status=201 if is_new else 200)

    @routes.delete("/trackers/{tracker_id}", status_code=204)
    @needs(Scope.CONTROL)
    async def remove_tracker(request: Request, info_hash: str, tracker_id: int) -> Response:
        """Announce to a tracker no more."""
        key = sources.key(info_hash)
        sources.check_match(request, key)
        urls = {each.id: each.url for each in context.port.torrents.trackers(key)}
        url = urls.get(tracker_id)
        if url is None or not context.port.settings.remove_tracker(key, url):
            raise ProblemError(Problem("not_found", "there is no such tracker"))
        context.state.look(key)
        return Response(status_code=204)


def _add_web_seed_routes(
    routes: APIRouter, context: "DaemonContext", sources: "TorrentSources"
) -> None:
    @routes.get("/web_seeds")
    @needs(Scope.READ)
    async def list_web_seeds(request: Request, info_hash: str) -> Response:
        """Return the web seeds."""
        return await sources.web_seed_reply(request, sources.key(info_hash))

    @routes.post("/web_seeds", status_code=201)
    @needs(Scope.CONTROL)
    async def add_web_seed(request: Request, info_hash: str, given: WebSeedInput) -> Response:
        """Download from one more web server; 200 if it is there already."""
        key = sources.key(info_hash)
        is_new = context.port.settings.add_web_seed(key, given.url)
        context.state.look(key)
        return await sources.web_seed_reply(request, key, status=201 if is_new else 200)

    @routes.delete("/web_seeds", status_code=204)
    @needs(Scope.CONTROL)
    async def remove_web_seed(
        info_hash: str, url: Annotated[str, Query(min_length=1, max_length=4_096)]
    ) -> Response:
        """Download from a web server no more."""
        key = sources.key(info_hash)
        if not context.port.settings.remove_web_seed(key, url):
            raise ProblemError(Problem("not_found", "there is no such web seed"))
        context.state.look(key)
        return Response(status_code=204)


class TorrentSources:
    """Answers about trackers and web seeds."""

    def __init__(self, context: "DaemonContext") -> None:
        self._state = context.state
        self._port = context.port

    def key(self, info_hash: str) -> InfoHash:
        """Return the info-hash of a path. Raises ProblemError if there is no such torrent."""
        return row_of(self._state, info_hash).info_hash

    def etag(self, info_hash: InfoHash) -> str:
        """Return the tag of the URLs of the trackers; what they answer does not matter."""
        trackers = self._port.torrents.trackers(info_hash)
        text = "\n".join(f"{each.tier} {each.url}" for each in trackers)
        return '"' + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] + '"'

    def check_match(self, request: Request, info_hash: InfoHash) -> None:
        """Raise ProblemError if the client changes what it does not know (RFC 9110, 13.1.1)."""
        given = request.headers.get("if-match")
        if given is None or given.strip() == "*":
            return
        if self.etag(info_hash) not in {each.strip() for each in given.split(",")}:
            raise ProblemError(Problem("precondition_failed", "the trackers have changed"))

    async def tracker_reply(
        self, request: Request, info_hash: InfoHash, *, status: int = 200
    ) -> Response:
        """Return the trackers with their tag."""
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        trackers = self._port.torrents.trackers(info_hash)
        told = [tracker_value(each, has_secrets=has_secrets) for each in trackers]
        body = json_bytes({"items": told})
        return await json_reply(request, body, etag=self.etag(info_hash), status=status)

    async def web_seed_reply(
        self, request: Request, info_hash: InfoHash, *, status: int = 200
    ) -> Response:
        """Return the web seeds."""
        has_secrets = principal_in(request).allows(Scope.CONTROL)
        seeds = self._port.torrents.web_seeds(info_hash)
        told = [web_seed_value(each, has_secrets=has_secrets) for each in seeds]
        return await json_reply(request, json_bytes({"items": told}), status=status)


def peer_value(peer: PeerFacts) -> dict[str, Any]:
    """Return a peer as it is told."""
    return {
        "host": peer.host,
        "port": peer.port,
        "client": peer.client,
        "source": peer.source,
        "transport": peer.transport,
        "encryption": peer.encryption,
        "is_incoming": peer.is_incoming,
        "is_seed": peer.is_seed,
        "is_snubbed": peer.is_snubbed,
        "is_optimistic": peer.is_optimistic,
        "am_interested": peer.am_interested,
        "am_choking": peer.am_choking,
        "peer_interested": peer.peer_interested,
        "peer_choking": peer.peer_choking,
        "progress": round(peer.progress, 4),
        "downloaded_bytes": peer.downloaded_bytes,
        "uploaded_bytes": peer.uploaded_bytes,
        "download_bytes_per_s": round(peer.download_bytes_per_s),
        "upload_bytes_per_s": round(peer.upload_bytes_per_s),
    }


def tracker_value(tracker: TrackerFacts, *, has_secrets: bool) -> dict[str, Any]:
    """Return a tracker as it is told."""
    return {
        "id": tracker.id,
        "url": tracker.url if has_secrets else shown(tracker.url),
        "tier": tracker.tier,
        "state": tracker.state,
        "message": tracker.message,
        "is_backup": tracker.is_backup,
        "peers": tracker.peers,
        "seeds": tracker.seeds,
        "leeches": tracker.leeches,
        "downloads": tracker.downloads,
        "failures": tracker.failures,
        "next_announce_at": timestamp(tracker.next_announce_at),
        "last_announce": _request_value(tracker.last_announce),
        "last_scrape": _request_value(tracker.last_scrape),
    }


def _request_value(request: TrackerRequestFacts | None) -> dict[str, Any] | None:
    if request is None:
        return None
    return {
        "began_at": timestamp(request.began_at),
        "ended_at": timestamp(request.ended_at),
        "error": request.error,
        "is_timeout": request.is_timeout,
        "peers": request.peers,
    }


def web_seed_value(seed: WebSeedFacts, *, has_secrets: bool) -> dict[str, Any]:
    """Return a web seed as it is told."""
    return {
        "url": seed.url if has_secrets else shown(seed.url),
        "bep": seed.bep,
        "state": seed.state,
        "downloaded_bytes": seed.downloaded_bytes,
        "download_bytes_per_s": round(seed.download_bytes_per_s),
        "active_requests": seed.active_requests,
        "error": seed.error,
    }
