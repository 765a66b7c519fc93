"""The numbers of all torrents together, their limits, and bans."""

from typing import Any, Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.common.disk_space import FreeSpace
from torrent_engine.daemon.qbittorrent.errors import bad_request
from torrent_engine.daemon.qbittorrent.torrent_add import MAX_RATE
from torrent_engine.daemon.qbittorrent.torrent_sources import read_peer
from torrent_engine.daemon.qbittorrent.transport import (
    TextReply,
    WebApiCall,
    WebApiHandler,
    WebApiResult,
    WebApiRoute,
    reads,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import KB, download_folder, present_rates
from torrent_engine.daemon.settings.model import DaemonSettings

REFRESH_MS: Final = 1_500
_NO_RATIO: Final = "-"
_NO_CACHE: Final[dict[str, Any]] = {
    "average_time_queue": 0,
    "queued_io_jobs": 0,
    "read_cache_hits": "0",
    "read_cache_overload": "0",
    "total_buffers_size": 0,
    "total_queued_size": 0,
    "write_cache_overload": "0",
}
"""Numbers of libtorrent's disk cache, which this engine does not have."""


class Transfers:
    """What concerns all torrents, as it is read and changed."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._context = parts.context
        self._free_space = FreeSpace()

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            reads("transfer/info", self.info),
            reads("transfer/speedLimitsMode", self.mode),
            writes("transfer/toggleSpeedLimitsMode", self.toggle_mode, Scope.SETTINGS),
            writes("transfer/setSpeedLimitsMode", self.set_mode, Scope.SETTINGS),
            reads("transfer/uploadLimit", self._telling(1)),
            reads("transfer/downloadLimit", self._telling(0)),
            writes("transfer/setUploadLimit", self._limiting("upload_kb_s"), Scope.SETTINGS),
            writes("transfer/setDownloadLimit", self._limiting("download_kb_s"), Scope.SETTINGS),
            writes("transfer/banPeers", self.ban),
        ]

    # -- numbers --------------------------------------------------------------------------------

    async def info(self, call: WebApiCall) -> WebApiResult:
        """Return rates, sums and how we are reached."""
        return self.numbers()

    def numbers(self) -> dict[str, Any]:
        """Return what "transfer/info" tells."""
        state, network = self._parts.state, self._parts.port.engine.network()
        totals, now = state.total_facts, state.totals.current
        download, upload = present_rates(self._context.settings())
        addresses = network.external_addresses
        is_reached = bool(network.internet_incoming_at) or network.mapping == "mapped"
        is_listening = bool(network.listen_port)
        status = "connected" if is_reached else "firewalled"
        return {
            "connection_status": status if is_listening else "disconnected",
            "dht_nodes": network.dht_nodes or 0,
            "dl_info_data": now.downloaded_bytes,
            "dl_info_speed": int(totals.download_bytes_per_s),
            "dl_rate_limit": download,
            "last_external_address_v4": next((each for each in addresses if ":" not in each), ""),
            "last_external_address_v6": next((each for each in addresses if ":" in each), ""),
            "up_info_data": now.uploaded_bytes,
            "up_info_speed": int(totals.upload_bytes_per_s),
            "up_rate_limit": upload,
        }

    async def server_state(self) -> dict[str, Any]:
        """Return what "sync/maindata" tells of the whole."""
        state, settings = self._parts.state, self._context.settings()
        ever = state.totals.ever
        has_moved = ever.downloaded_bytes > 0 and ever.uploaded_bytes > 0
        ratio = f"{ever.uploaded_bytes / ever.downloaded_bytes:.2f}" if has_moved else _NO_RATIO
        free = await self._free_space.of(str(download_folder(settings)))
        return {
            **self.numbers(),
            **_NO_CACHE,
            "alltime_dl": ever.downloaded_bytes,
            "alltime_ul": ever.uploaded_bytes,
            "free_space_on_disk": max(free, 0),
            "global_ratio": ratio,
            "queueing": self._parts.general().is_queueing,
            "refresh_interval": REFRESH_MS,
            "total_peer_connections": state.total_facts.peers,
            "total_wasted_session": self._parts.counts.wasted_bytes(),
            "use_alt_speed_limits": settings.limits.alt_enabled,
            "use_subcategories": False,
        }

    # -- limits ---------------------------------------------------------------------------------

    async def mode(self, call: WebApiCall) -> WebApiResult:
        """Return 1 while the alternative rates hold, else 0."""
        return TextReply(str(int(self._context.settings().limits.alt_enabled)))

    async def toggle_mode(self, call: WebApiCall) -> WebApiResult:
        """Change between the rates."""
        self._switch(call, is_on=not self._context.settings().limits.alt_enabled)
        return None

    async def set_mode(self, call: WebApiCall) -> WebApiResult:
        """Use the alternative rates (1) or the others (0)."""
        mode = call.params.needed_integer("mode")
        if mode not in {0, 1}:
            raise bad_request("mode: 0 or 1 is needed")
        self._switch(call, is_on=bool(mode))
        return None

    def _switch(self, call: WebApiCall, *, is_on: bool) -> None:
        self._context.settings_store.change({"limits.alt_enabled": is_on}, call.by)

    def _telling(self, way: int) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            return TextReply(str(present_rates(self._context.settings())[way]))

        return handle

    def _limiting(self, name: str) -> WebApiHandler:
        async def handle(call: WebApiCall) -> WebApiResult:
            limit = kilobytes(call.params.needed_integer("limit"))
            key = limit_key(self._context.settings(), name)
            self._context.settings_store.change({key: limit}, call.by)
            return None

        return handle

    async def ban(self, call: WebApiCall) -> WebApiResult:
        """Have no connections with some addresses, until the daemon ends."""
        call.params.needed("peers")
        found = [read_peer(text) for text in call.params.parts("peers")]
        for peer in found:
            if peer is not None:
                try:
                    self._parts.port.engine.ban(peer[0])
                except ConfigError as error:
                    raise bad_request(str(error)) from None
        return None


def limit_key(settings: DaemonSettings, name: str) -> str:
    """Return the setting of the rate that holds now, such as "limits.alt_upload_kb_s"."""
    return f"limits.alt_{name}" if settings.limits.alt_enabled else f"limits.{name}"


def kilobytes(rate: int) -> int:
    """Return a rate in kB/s, at least 1; 0 for what is no limit."""
    return -(-min(rate, MAX_RATE) // KB) if rate > 0 else 0
