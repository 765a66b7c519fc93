"""What is done to torrents: start, stop, delete, check, announce, places in the queue, limits."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.common.queue_order import QueueOrder
from torrent_engine.daemon.engine_port.facts import Limits, SeedRules
from torrent_engine.daemon.qbittorrent.errors import bad_request, conflict
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.torrent_add import MAX_RATE, clean_name, rule_of
from torrent_engine.daemon.qbittorrent.torrent_fields import AUTO_TMM
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiCall,
    WebApiHandler,
    WebApiResult,
    WebApiRoute,
    reads,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import DoneToRow, WebApiParts
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus

_MINUTE_S: Final = 60.0
QueueMove = Callable[[Collection[InfoHash]], Awaitable[None]]


class TorrentCommands:
    """Does things to torrents."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._control = parts.port.control

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        order = QueueOrder(self._parts.port, self._parts.state)
        simple: dict[str, DoneToRow] = {
            "pause": self._stop,
            "stop": self._stop,
            "resume": self._start,
            "start": self._start,
            "recheck": self._recheck,
            "reannounce": self._reannounce,
        }
        moves: dict[str, QueueMove] = {
            "topPrio": order.top,
            "bottomPrio": order.bottom,
            "increasePrio": order.up,
            "decreasePrio": order.down,
        }
        return [
            *(writes(f"torrents/{name}", self._to_each(each)) for name, each in simple.items()),
            *(writes(f"torrents/{name}", self._moving(each)) for name, each in moves.items()),
            writes("torrents/delete", self.delete),
            writes("torrents/setForceStart", self.set_forced),
            writes("torrents/rename", self.rename),
        ]

    def _to_each(self, action: DoneToRow) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            await self._parts.each(self._parts.rows(call.params), action)
            return None

        return handle

    def _moving(self, move: QueueMove) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            rows = self._parts.rows(call.params)
            if not self._parts.general().is_queueing:
                raise conflict("Torrent queueing must be enabled")
            await move({row.info_hash for row in rows})
            return None

        return handle

    async def _stop(self, row: StateRow) -> None:
        await self._control.pause(row.info_hash)

    async def _start(self, row: StateRow) -> None:
        if row.settings.is_forced:
            self._control.set_forced(row.info_hash, is_forced=False)
        await self._control.start(row.info_hash)

    async def _recheck(self, row: StateRow) -> None:
        if row.status is not TorrentStatus.CHECKING:
            await self._control.recheck(row.info_hash)

    async def _reannounce(self, row: StateRow) -> None:
        self._control.reannounce(row.info_hash)

    async def delete(self, call: WebApiCall) -> WebApiResult:
        """Remove torrents, with their files if asked for."""
        rows, delete_files = self._parts.rows(call.params), bool(call.params.flag("deleteFiles"))

        async def remove(row: StateRow) -> None:
            await self._control.remove(row.info_hash, delete_files=delete_files)

        await self._parts.each(rows, remove)
        return None

    async def set_forced(self, call: WebApiCall) -> WebApiResult:
        """Let torrents run whatever the queue says, or as it says."""
        call.params.needed("value")
        is_forced = bool(call.params.flag("value"))

        async def change(row: StateRow) -> None:
            if is_forced:
                await self._control.start_now(row.info_hash)
            else:
                await self._start(row)

        await self._parts.each(self._parts.rows(call.params), change)
        return None

    async def rename(self, call: WebApiCall) -> WebApiResult:
        """Give a torrent another displayed name."""
        name = clean_name(call.params.needed("name"))
        row = self._parts.row_of(call.params)
        if not name:
            raise conflict("Incorrect torrent name")
        self._parts.state.labels.set_user_data(row.info_hash, name=name)
        return None


class TorrentLimits:
    """Limits of torrents, rules for the end of seeding, and switches."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._settings = parts.port.settings

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            writes("torrents/setShareLimits", self.set_share_limits),
            reads("torrents/uploadLimit", self._telling("upload_bytes_per_s")),
            reads("torrents/downloadLimit", self._telling("download_bytes_per_s")),
            writes("torrents/setUploadLimit", self._limiting("upload_bytes_per_s")),
            writes("torrents/setDownloadLimit", self._limiting("download_bytes_per_s")),
            writes("torrents/toggleSequentialDownload", self.toggle_sequential),
            writes("torrents/toggleFirstLastPiecePrio", self.toggle_first_last),
            writes("torrents/setSuperSeeding", self.set_super_seeding),
            writes("torrents/setAutoManagement", self.set_auto_management),
        ]

    async def set_share_limits(self, call: WebApiCall) -> WebApiResult:
        """Set when seeding of torrents ends; a rule that is not named stays as it is."""
        rows, params = self._parts.rows(call.params), call.params

        async def change(row: StateRow) -> None:
            self._settings.set_seed_rules(row.info_hash, new_rules(row.settings.seed_rules, params))

        check_rules(params)
        await self._parts.each(rows, change)
        return None

    def _telling(self, name: str) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            call.params.needed("hashes")
            rows = self._parts.rows(call.params)
            found = {row.hash: _limit(row.settings.limits, name) for row in rows}
            asked = {text: self._parts.row_or_none(text) for text in call.params.parts("hashes")}
            return found | {
                text: -1 for text, row in asked.items() if row is None and text != "all"
            }

        return handle

    def _limiting(self, name: str) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            limit = min(max(call.params.needed_integer("limit"), 0), MAX_RATE)

            async def change(row: StateRow) -> None:
                limits = replace(row.settings.limits, **{name: limit})
                self._settings.set_limits(row.info_hash, limits)

            await self._parts.each(self._parts.rows(call.params), change)
            return None

        return handle

    async def toggle_sequential(self, call: WebApiCall) -> WebApiResult:
        """Download pieces in their order, or the rarest first."""

        async def toggle(row: StateRow) -> None:
            is_on = not row.settings.is_sequential
            self._settings.set_sequential(row.info_hash, is_sequential=is_on)

        await self._parts.each(self._parts.rows(call.params), toggle)
        return None

    async def toggle_first_last(self, call: WebApiCall) -> WebApiResult:
        """Download the first and last pieces of files before others, or not."""

        async def toggle(row: StateRow) -> None:
            is_on = not row.settings.is_first_last_first
            await self._settings.set_first_last_first(row.info_hash, is_first=is_on)

        await self._parts.each(self._parts.rows(call.params), toggle)
        return None

    async def set_super_seeding(self, call: WebApiCall) -> WebApiResult:
        """Show pieces one by one (BEP 16), or all of them."""
        call.params.needed("value")
        is_on = bool(call.params.flag("value"))

        async def change(row: StateRow) -> None:
            self._settings.set_super_seeding(row.info_hash, is_super_seeding=is_on)

        await self._parts.each(self._parts.rows(call.params), change)
        return None

    async def set_auto_management(self, call: WebApiCall) -> WebApiResult:
        """Keep the switch for automatic folders; it has no effect."""
        call.params.needed("enable")
        is_on = bool(call.params.flag("enable"))

        async def change(row: StateRow) -> None:
            self._parts.keep_switch(row, AUTO_TMM, is_on=is_on)

        await self._parts.each(self._parts.rows(call.params), change)
        return None


def _limit(limits: Limits, name: str) -> int:
    value: int = getattr(limits, name)
    return value


RULES: Final[Sequence[tuple[str, str, float]]] = (
    ("ratioLimit", "ratio", 1.0),
    ("seedingTimeLimit", "time_s", _MINUTE_S),
    ("inactiveSeedingTimeLimit", "idle_s", _MINUTE_S),
)
"""Parameter, rule, and the unit of its value."""


def check_rules(params: FormParams) -> None:
    """Raise WebApiError if no rule is named, or one that is no number."""
    named = [name for name, _, _ in RULES if name in params]
    if not named:
        raise bad_request("Missing required parameters: ratioLimit")
    for name in named:
        if params.number(name) is None:
            raise bad_request(f"{name}: a number is needed")


def new_rules(rules: SeedRules, params: FormParams) -> SeedRules:
    """Return the rules that a torrent shall have."""
    changes = {
        field: rule_of(number, unit)
        for name, field, unit in RULES
        if (number := params.number(name)) is not None
    }
    return replace(rules, **changes)
