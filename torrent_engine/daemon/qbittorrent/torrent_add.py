"""Torrents that are added, by links, URLs or files: ``torrents/add``."""

import math
from typing import Final

from torrent_engine.base.config import SeedingConfig
from torrent_engine.base.errors import BencodeError, MetainfoError, TorrentEngineError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.common.add_sources import SourceReader
from torrent_engine.daemon.jobs.port_torrents import category_options
from torrent_engine.daemon.problems import ProblemError
from torrent_engine.daemon.qbittorrent.errors import BAD_DATA, WebApiError, bad_request, conflict
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.torrent_fields import (
    AUTO_TMM,
    GENERAL_RULE,
)
from torrent_engine.daemon.qbittorrent.transport import (
    FAILS,
    OK,
    TextReply,
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.labels import check_name
from torrent_engine.net.http.torrent_fetch import is_url
from torrent_engine.service.add_options import AddOptions, StopAfter

MAX_URLS: Final = 1_000
MAX_NAME_CHARS: Final = 1_024
MAX_COOKIE_CHARS: Final = 8_192
MAX_MINUTES: Final = 10_000_000
MAX_RATE: Final = 10**12
_MINUTE_S: Final = 60.0
_STOPS: Final = {"MetadataReceived": StopAfter.METADATA, "FilesChecked": StopAfter.CHECK}


class TorrentAddition:
    """Adds torrents."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._sources = SourceReader(parts.context, parts.defaults.fetches_private)

    def routes(self) -> list[WebApiRoute]:
        """Return the route."""
        return [writes("torrents/add", self.add, Scope.ADD)]

    async def add(self, call: WebApiCall) -> WebApiResult:
        """Add torrents; "Fails." if none of them is new.

        A file that is no torrent raises WebApiError, before anything is added.
        """
        params = call.params
        urls = [url.strip() for url in params.text("urls").splitlines() if url.strip()]
        if len(urls) > MAX_URLS:
            raise bad_request(f"at most {MAX_URLS} URLs")
        if not urls and not params.files:
            raise bad_request("no torrent: urls or torrents is needed")
        options = await self._options(params)
        torrents = [await self._read_file(file.name, file.data) for file in params.files]
        added = [await self._add_url(url, params, options) for url in urls]
        added += [await self._add(torrent, params, options) for torrent in torrents]
        return TextReply(OK if any(added) else FAILS)

    # -- the torrents -----------------------------------------------------------------------------

    async def _read_file(self, name: str, data: bytes) -> Metainfo:
        try:
            return await self._sources.read_bytes(data)
        except (BencodeError, MetainfoError):
            text = f"Error: '{name:.200}' is not a valid torrent file."
            raise WebApiError(BAD_DATA, text) from None

    async def _add_url(self, url: str, params: FormParams, options: AddOptions) -> bool:
        """Return whether the torrent of a link is new; False too if it cannot be had."""
        if not (Magnet.is_link(url) or is_url(url)):
            return False
        try:
            cookies = params.text("cookie")[:MAX_COOKIE_CHARS]
            torrent = await self._sources.read_text(url, cookies)
            return await self._add(torrent, params, options)
        except (ProblemError, TorrentEngineError):
            return False

    async def _add(
        self, torrent: Metainfo | Magnet, params: FormParams, options: AddOptions
    ) -> bool:
        if self._parts.port.torrents.has(torrent.info_hash):
            return False
        is_private = isinstance(torrent, Metainfo) and torrent.is_private
        defaults = self._parts.defaults.options(options.category or "", is_private=is_private)
        added = await self._parts.state.add(torrent, options.over(defaults))
        if added.is_new:
            await self._finish(added.info_hash.hex(), params)
        return added.is_new

    async def _finish(self, text: str, params: FormParams) -> None:
        """Set what is no option of adding."""
        parts, state = self._parts, self._parts.state
        row = parts.row_or_none(text)
        if row is None:
            state.look(Magnet.parse(text).info_hash)
            row = parts.row(text)
        state.labels.note_labels(row.user.labels)
        if params.flag("autoTMM"):
            parts.keep_switch(parts.row(text), AUTO_TMM, is_on=True)
        if params.flag("firstLastPiecePrio"):
            await parts.port.settings.set_first_last_first(row.info_hash, is_first=True)
        if params.flag("forced") and not _is_stopped(params):
            await parts.port.control.start_now(row.info_hash)
        state.look(row.info_hash)

    # -- options ----------------------------------------------------------------------------------

    async def _options(self, params: FormParams) -> AddOptions:
        """Return what a request says. Raises WebApiError or ProblemError."""
        category = await self._category(params.text("category").strip())
        options = AddOptions(
            save_path=await self._save_path(params.text("savepath").strip()),
            category=category or None,
            labels=_tags(params),
            paused=_is_stopped(params),
            position=0 if params.flag("addToTopOfQueue") else None,
            sequential=params.flag("sequentialDownload"),
            max_download_bytes_per_s=_rate(params, "dlLimit"),
            max_upload_bytes_per_s=_rate(params, "upLimit"),
            seed_rules=_rules(params),
            stop_after=_STOPS.get(params.text("stopCondition")),
            rename=clean_name(params.text("rename")) or None,
        )
        known = self._parts.state.labels.category(category) if category else None
        if known is None:
            return options
        folder = download_folder(self._parts.context.settings())
        return options.over(category_options(known, folder))

    async def _category(self, name: str) -> str:
        """Return a category, which is made if need be. Raises WebApiError if it cannot be one."""
        if name and self._parts.state.labels.category(name) is None:
            try:
                check_name("category", name)
            except TorrentEngineError as error:
                raise conflict(str(error)) from None
            await self._parts.make_category(name, "")
        return name

    async def _save_path(self, path: str) -> str | None:
        if not path:
            return None
        folder = download_folder(self._parts.context.settings())
        return str(await self._parts.context.paths.checked(str(folder / path)))


def clean_name(text: str) -> str:
    """Return a name without line ends and other control characters."""
    return "".join(each if each.isprintable() else " " for each in text).strip()[:MAX_NAME_CHARS]


def _is_stopped(params: FormParams) -> bool | None:
    stopped = params.flag("stopped")
    return params.flag("paused") if stopped is None else stopped


def _tags(params: FormParams) -> tuple[str, ...] | None:
    tags = tuple(dict.fromkeys(params.parts("tags", ",")))
    for tag in tags:
        check_name("label", tag)
    return tags or None


def _rate(params: FormParams, name: str) -> int | None:
    limit = params.integer(name)
    return limit if limit is not None and 0 < limit <= MAX_RATE else None


def _rules(params: FormParams) -> SeedingConfig | None:
    found = SeedingConfig(
        _rule(params.number("ratioLimit")),
        _rule(params.integer("seedingTimeLimit"), _MINUTE_S),
        _rule(params.integer("inactiveSeedingTimeLimit"), _MINUTE_S),
    )
    return None if found == SeedingConfig() else found


def _rule(value: float | None, unit: float = 1.0) -> float | None:
    if value is None or value == GENERAL_RULE:
        return None
    return rule_of(value, unit)


def rule_of(value: float, unit: float = 1.0) -> float | None:
    """Return a rule for the end of seeding: -2 is the general one, less than 0 never."""
    if value == GENERAL_RULE:
        return None
    return math.inf if value < 0 else min(value, MAX_MINUTES) * unit
