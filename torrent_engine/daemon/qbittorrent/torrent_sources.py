"""Where torrents are downloaded from: trackers, web seeds and peers."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from torrent_engine.base.errors import TorrentEngineError, TrackerError
from torrent_engine.daemon.qbittorrent.errors import bad_request, conflict
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.states import STOPPED, state_of
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.net.http.torrent_fetch import is_url
from torrent_engine.protocol.tracker.urls import parse_tracker_url

MAX_URLS = 1_000
MAX_URL_CHARS = 2_000
MAX_PEERS = 1_000
MAX_PORT = 65_535
EVERY = "*"


class TorrentSourceCommands:
    """Changes trackers and web seeds, and adds peers."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._port = parts.port

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            writes("torrents/addTrackers", self.add_trackers),
            writes("torrents/editTracker", self.edit_tracker),
            writes("torrents/removeTrackers", self.remove_trackers),
            writes("torrents/addWebSeeds", self.add_web_seeds),
            writes("torrents/editWebSeed", self.edit_web_seed),
            writes("torrents/removeWebSeeds", self.remove_web_seeds),
            writes("torrents/addPeers", self.add_peers),
        ]

    async def add_trackers(self, call: WebApiCall) -> WebApiResult:
        """Announce to more trackers: a URL in each line, an empty line begins another tier."""
        tiers = read_tiers(call.params.needed("urls"))
        for row in self._rows(call.params):
            first = len(row.settings.trackers)
            for number, tier in enumerate(tiers):
                for url in tier:
                    self._port.settings.add_tracker(row.info_hash, url, first + number)
            self._parts.state.look(row.info_hash)
        return None

    async def edit_tracker(self, call: WebApiCall) -> WebApiResult:
        """Replace the URL of a tracker."""
        params = call.params
        params.needed("hash")
        old, new = params.needed("origUrl"), params.needed("newUrl").strip()
        row = self._parts.row_of(params)
        if old == new:
            return None
        try:
            parse_tracker_url(new)
        except TrackerError:
            raise bad_request("New tracker URL is invalid") from None
        tiers = row.settings.trackers
        urls = {url for tier in tiers for url in tier}
        if new in urls:
            raise conflict("New tracker URL already exists")
        if old not in urls:
            raise conflict("Tracker not found")
        changed = [[new if url == old else url for url in tier] for tier in tiers]
        self._port.settings.set_trackers(row.info_hash, changed)
        if state_of(row) not in STOPPED:
            self._port.control.reannounce(row.info_hash)
        self._parts.state.look(row.info_hash)
        return None

    async def remove_trackers(self, call: WebApiCall) -> WebApiResult:
        """Announce to trackers no more; those that are not there are ignored."""
        call.params.needed("urls")
        urls = call.params.parts("urls")
        for row in self._rows(call.params):
            present = {url for tier in row.settings.trackers for url in tier}
            for url in present & {*urls, *map(unquote, urls)}:
                self._port.settings.remove_tracker(row.info_hash, url)
            self._parts.state.look(row.info_hash)
        return None

    def _rows(self, params: FormParams) -> list[StateRow]:
        """Return the torrents of the parameter "hash": some, or "*" for all."""
        if params.needed("hash") == EVERY:
            return self._parts.state.torrents.rows()
        return [self._parts.row(text) for text in params.parts("hash")]

    async def add_web_seeds(self, call: WebApiCall) -> WebApiResult:
        """Download from more web servers, all or none; those that are there stay."""
        row = self._parts.row_of(call.params)
        call.params.needed("urls")
        urls = [read_web_seed(text) for text in call.params.parts("urls")[:MAX_URLS]]
        for url in urls:
            self._port.settings.add_web_seed(row.info_hash, url)
        self._parts.state.look(row.info_hash)
        return None

    async def edit_web_seed(self, call: WebApiCall) -> WebApiResult:
        """Replace the URL of a web server."""
        row, params = self._parts.row_of(call.params), call.params
        old, new = params.needed("origUrl").strip(), read_web_seed(params.needed("newUrl").strip())
        present = row.settings.web_seeds
        found = next((url for url in present if url in {old, unquote(old)}), None)
        if found is None:
            raise conflict(f'"{old:.200}" is not an existing URL')
        if new != found:
            if new in present:
                raise conflict(f'"{new:.200}" is already a web seed')
            self._port.settings.add_web_seed(row.info_hash, new)
            self._port.settings.remove_web_seed(row.info_hash, found)
            self._parts.state.look(row.info_hash)
        return None

    async def remove_web_seeds(self, call: WebApiCall) -> WebApiResult:
        """Download from web servers no more; those that are not there are ignored."""
        row = self._parts.row_of(call.params)
        call.params.needed("urls")
        urls = call.params.parts("urls")
        for url in {*row.settings.web_seeds} & {*urls, *map(unquote, urls)}:
            self._port.settings.remove_web_seed(row.info_hash, url)
        self._parts.state.look(row.info_hash)
        return None

    async def add_peers(self, call: WebApiCall) -> WebApiResult:
        """Try peers; the answer says for each torrent how many were accepted."""
        call.params.needed("peers")
        texts = call.params.parts("peers")[:MAX_PEERS]
        peers = [peer for text in texts if (peer := read_peer(text)) is not None]
        rows = self._parts.rows(call.params)
        if not peers:
            raise bad_request("No valid peers were specified")
        told: dict[str, Any] = {}
        for row in rows:
            added = [await self._add_peer(row, *peer) for peer in peers]
            told[row.hash] = {"added": sum(added), "failed": len(texts) - sum(added)}
        return told

    async def _add_peer(self, row: StateRow, host: str, port: int) -> bool:
        try:
            await self._port.settings.add_peer(row.info_hash, host, port)
        except TorrentEngineError:
            return False
        return True


def read_tiers(text: str) -> list[list[str]]:
    """Return the tiers of a text; what is no URL of a tracker is left out.

    Raises WebApiError if there are too many.
    """
    tiers: list[list[str]] = [[]]
    for line in text.splitlines():
        url = line.strip()
        if not url:
            tiers.append([])
        elif is_tracker(url):
            tiers[-1].append(url)
    if sum(map(len, tiers)) > MAX_URLS:
        raise bad_request(f"at most {MAX_URLS} trackers")
    return [tier for tier in tiers if tier]


def is_tracker(url: str) -> bool:
    """Return whether a URL can be one of a tracker."""
    try:
        parse_tracker_url(url)
    except TrackerError:
        return False
    return True


def read_web_seed(text: str) -> str:
    """Return the URL of a web server; older clients send all of it percent-encoded.

    Raises WebApiError for another text.
    """
    url = text if "://" in text else unquote(text)
    if not is_url(url) or not url.isprintable() or len(url) > MAX_URL_CHARS:
        raise bad_request(f'"{text:.200}" is not a valid URL')
    return url


def read_peer(text: str) -> tuple[str, int] | None:
    """Return the address and port of "ADDRESS:PORT" or "[ADDRESS]:PORT"; None for another text."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if is_bracketed else host)
    except ValueError:
        return None
    if not 0 < int(port) <= MAX_PORT or (address.version == 6) is not is_bracketed:
        return None
    return str(address), int(port)
