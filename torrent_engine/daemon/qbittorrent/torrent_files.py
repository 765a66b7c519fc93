"""Where the files of torrents are, what they are called, and which are wanted."""

from collections.abc import Sequence
from typing import Final

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.qbittorrent.details import ENGINE_PRIORITIES
from torrent_engine.daemon.qbittorrent.errors import bad_request, conflict
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.rows import StateRow

NO_METADATA: Final = "Torrent's metadata has not yet downloaded"


class TorrentFileCommands:
    """Moves and renames files, and chooses them."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._port = parts.port

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            writes("torrents/setLocation", self.set_location),
            writes("torrents/setSavePath", self.set_save_path),
            writes("torrents/filePrio", self.set_priorities),
            writes("torrents/renameFile", self.rename_file),
            writes("torrents/renameFolder", self.rename_folder),
        ]

    async def set_location(self, call: WebApiCall) -> WebApiResult:
        """Begin to move torrents to another folder; one that is not absolute is below downloads."""
        location = call.params.needed("location").strip()
        await self._move(self._parts.rows(call.params), location)
        return None

    async def set_save_path(self, call: WebApiCall) -> WebApiResult:
        """Do the same by the other names of the parameters."""
        path = call.params.needed("path").strip()
        await self._move(self._parts.rows(call.params, "id"), path)
        return None

    async def _move(self, rows: Sequence[StateRow], location: str) -> None:
        context = self._parts.context
        if not location:
            raise bad_request("Save path cannot be empty")
        folder = download_folder(context.settings())
        path = str(await context.paths.checked(str(folder / location)))
        for row in rows:
            self._begin_move(row.info_hash, path)

    def _begin_move(self, info_hash: InfoHash, path: str) -> None:
        async def move() -> None:
            try:
                await self._port.control.move(info_hash, path)
            finally:
                self._parts.state.look(info_hash)

        self._parts.context.errands.start(f"move of {info_hash.hex()}", move)

    async def set_priorities(self, call: WebApiCall) -> WebApiResult:
        """Set the priority of some files: 0 not wanted, 1 normal, 6 high, 7 maximal."""
        params = call.params
        params.needed("hash")
        params.needed("id")
        chosen = ENGINE_PRIORITIES.get(params.needed_integer("priority"))
        if chosen is None:
            raise bad_request("Priority is not valid")
        row = self._parts.row_of(params)
        if await self._port.torrents.metainfo(row.info_hash) is None:
            raise conflict(NO_METADATA)
        files = {each.index for each in await self._port.torrents.files(row.info_hash)}
        priorities: dict[int, int] = {}
        for text in params.parts("id"):
            if not (text.isascii() and text.isdecimal()):
                raise bad_request("File IDs must be integers")
            if len(text) > 9 or int(text) not in files:
                raise conflict("File ID is not valid")
            priorities[int(text)] = chosen
        await self._port.settings.set_file_priorities(row.info_hash, priorities)
        self._parts.state.look(row.info_hash)
        return None

    async def rename_file(self, call: WebApiCall) -> WebApiResult:
        """Give a file another path below the save path; older clients name it by its index."""
        row = self._parts.row_of(call.params)
        files = await self._port.torrents.files(row.info_hash)
        if "oldPath" in call.params:
            old, new = call.params.needed("oldPath"), call.params.needed("newPath")
            found = next((each.index for each in files if each.path == old), None)
        else:
            index, name = call.params.needed_integer("id"), call.params.needed("name")
            facts = next((each for each in files if each.index == index), None)
            found = None if facts is None else facts.index
            new = name if facts is None else "/".join([*facts.path.split("/")[:-1], name])
        if found is None:
            raise conflict("No such file")
        _check_path(new)
        await self._port.control.rename_file(row.info_hash, found, new)
        self._parts.state.look(row.info_hash)
        return None

    async def rename_folder(self, call: WebApiCall) -> WebApiResult:
        """Give a folder another path below the save path."""
        row = self._parts.row_of(call.params)
        old, new = call.params.needed("oldPath"), call.params.needed("newPath")
        _check_path(new)
        try:
            await self._port.control.rename_folder(row.info_hash, old.strip("/"), new.strip("/"))
        except TorrentEngineError as error:
            raise conflict(str(error)) from None
        self._parts.state.look(row.info_hash)
        return None


def _check_path(path: str) -> None:
    """Raise WebApiError for a path that leads out of the folder or has an empty part."""
    parts = path.strip("/").split("/")
    if path.startswith("/") or any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise conflict("The new path is not valid")
