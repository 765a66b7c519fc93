"""What the application is: versions, the machine, the log, and tabs that stay empty."""

import logging
import os
import ssl
import struct
import zlib
from typing import Final

from anyio.to_thread import run_sync

from torrent_engine import __version__
from torrent_engine.daemon.common.folder_entries import is_folder_entry
from torrent_engine.daemon.qbittorrent.errors import bad_request, not_found
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
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.net.sockets.interfaces import interfaces
from torrent_engine.service.system import PLATFORM_NAME

APP_VERSION: Final = "v5.1.4"
API_VERSION: Final = "2.11.4"
BITS: Final = 8 * struct.calcsize("P")
MAX_ENTRIES: Final = 10_000
_EMPTY: Final[dict[str, list[object] | dict[str, object]]] = {
    "rss/items": {},
    "rss/rules": {},
    "search/plugins": [],
    "search/status": [],
    "torrentcreator/status": [],
    "app/cookies": [],
}
"""What is asked for by interfaces with tabs for it, and is not there."""
NORMAL, INFO, WARNING, CRITICAL = 1, 2, 4, 8
_LOG_TYPES: Final = {"normal": NORMAL, "info": INFO, "warning": WARNING, "critical": CRITICAL}


class ApplicationFacts:
    """Versions, folders and interfaces, and the end of the daemon."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._context = parts.context

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            reads("app/version", _telling(APP_VERSION)),
            reads("app/webapiVersion", _telling(API_VERSION)),
            reads("app/buildInfo", self.build_info),
            reads("app/defaultSavePath", self.save_path),
            reads("app/networkInterfaceList", self.interfaces),
            reads("app/networkInterfaceAddressList", self.addresses),
            reads("app/getDirectoryContent", self.folder),
            writes("app/shutdown", self.shut_down, Scope.ADMIN),
            *(reads(path, _nothing(value)) for path, value in _EMPTY.items()),
        ]

    async def build_info(self, call: WebApiCall) -> WebApiResult:
        """Return what it was built with; Qt and Boost are not there."""
        return {
            "bitness": BITS,
            "boost": "",
            "libtorrent": f"torrent_engine {__version__}",
            "openssl": ssl.OPENSSL_VERSION.split(" ")[1],
            "platform": PLATFORM_NAME,
            "qt": "",
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        }

    async def save_path(self, call: WebApiCall) -> WebApiResult:
        """Return the folder of downloads."""
        return TextReply(str(download_folder(self._context.settings())))

    async def interfaces(self, call: WebApiCall) -> WebApiResult:
        """Return the network interfaces."""
        names = dict.fromkeys(each.name for each in await run_sync(interfaces))
        return [{"name": name, "value": name} for name in names]

    async def addresses(self, call: WebApiCall) -> WebApiResult:
        """Return the addresses of an interface; "": of all."""
        wanted = call.params.text("iface")
        return [
            str(address.ip)
            for each in await run_sync(interfaces)
            if wanted in {"", each.name}
            for address in each.addresses
        ]

    async def folder(self, call: WebApiCall) -> WebApiResult:
        """Return what is in a folder of those that may be named."""
        path = call.params.needed("dirPath")
        if not path.startswith("/"):
            raise bad_request("Invalid directory path")
        mode = call.params.text("mode") or "all"
        if mode not in {"all", "dirs", "files"}:
            raise bad_request('Invalid mode, allowed values: "all", "dirs", "files"')
        paths = self._context.paths
        if not await paths.allows(path):
            raise not_found("Directory does not exist")
        try:
            return await paths.look(path, _entries, str(await paths.checked(path)), mode)
        except OSError:
            raise not_found("Directory does not exist") from None

    async def shut_down(self, call: WebApiCall) -> WebApiResult:
        """Stop the daemon."""
        self._context.life.stop()
        return None


def _entries(path: str, mode: str) -> list[str]:
    with os.scandir(path) as found:
        chosen = [
            each.path
            for each in found
            if mode == "all" or is_folder_entry(each) is (mode == "dirs")
        ]
    names = (each.encode("utf-8", "replace").decode() for each in sorted(chosen))
    return list(names)[:MAX_ENTRIES]


def _telling(text: str) -> WebApiHandler:
    async def handle(call: WebApiCall) -> WebApiResult:
        return TextReply(text)

    return handle


def _nothing(value: list[object] | dict[str, object]) -> WebApiHandler:
    async def handle(call: WebApiCall) -> WebApiResult:
        return value

    return handle


class LogReading:
    """The log, and the addresses that are banned."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            WebApiRoute("log/main", self.main, Scope.ADMIN),
            WebApiRoute("log/peers", self.peers, Scope.ADMIN),
        ]

    async def main(self, call: WebApiCall) -> WebApiResult:
        """Return records of some types behind a number."""
        types = sum(bit for name, bit in _LOG_TYPES.items() if call.params.flag(name) is not False)
        return [
            {
                "id": each.number,
                "message": each.text,
                "timestamp": int(each.at),
                "type": _log_type(each.level),
            }
            for each in self._parts.context.log.after(_last_id(call), logging.INFO)
            if _log_type(each.level) & types
        ]

    async def peers(self, call: WebApiCall) -> WebApiResult:
        """Return the addresses with which there are no connections."""
        now = int(self._parts.wall_clock())
        told = [
            {
                "blocked": True,
                "id": number,
                "ip": ban.host,
                "reason": "banned by the user" if ban.is_by_user else "banned for what it did",
                "timestamp": now,
            }
            for number, ban in enumerate(self._parts.port.engine.bans())
        ]
        after = _last_id(call)
        return [each for each in told if int(str(each["id"])) > after]


def _log_type(level: int) -> int:
    if level >= logging.ERROR:
        return CRITICAL
    return WARNING if level >= logging.WARNING else NORMAL


def _last_id(call: WebApiCall) -> int:
    found = call.params.integer("last_known_id")
    return -1 if found is None else found
