"""Where the files of torrents are, and what they are called."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from torrent_engine.base.errors import TorrentEngineError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.transmission.dialect import Call
from torrent_engine.daemon.transmission.errors import (
    LOCATION_NOT_ABSOLUTE,
    NO_LOCATION,
    PATH_NOT_ALLOWED,
    RENAME_NEEDS_ONE,
    ErrorCode,
    RpcError,
    invalid,
)
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.torrent_actions import NOTHING, system_error
from torrent_engine.daemon.transmission.torrent_fields import STATUSES

InBackground = Callable[[str, Callable[[], Awaitable[object]]], None]
_SEPARATORS: Final = frozenset("/\\")  # what the engine reads as a step in a path


class TorrentFiles:
    """Moves and renames."""

    def __init__(
        self,
        port: EnginePort,
        state: DaemonState,
        rows: Callable[[Call], list[StateRow]],
        paths: PathRule,
        in_background: InBackground,
    ) -> None:
        """``in_background`` begins what nobody waits for; its first argument says what it is."""
        self._port = port
        self._state = state
        self._rows = rows
        self._paths = paths
        self._in_background = in_background

    async def set_location(self, call: Call) -> Mapping[str, Any]:
        """Begin to move torrents to another folder, or look for their files there."""
        params = Params(call.params)
        path = params.text("location")
        if not path:
            raise invalid(NO_LOCATION)
        if not path.startswith("/"):
            raise RpcError(ErrorCode.PATH_NOT_ABSOLUTE, LOCATION_NOT_ABSOLUTE)
        if not await self._paths.allows(path):
            raise invalid(PATH_NOT_ALLOWED)
        moves = bool(params.flag("move"))
        for row in self._rows(call):
            if moves:
                self._begin_move(row.info_hash, path)
            else:
                await self._find(row, path)
        return NOTHING

    def _begin_move(self, info_hash: InfoHash, path: str) -> None:
        async def move() -> None:
            try:
                await self._port.control.move(info_hash, path)
            finally:
                self._state.look(info_hash)

        self._in_background(f"move of {info_hash.hex()}", move)

    async def _find(self, row: StateRow, path: str) -> None:
        info_hash = row.info_hash
        try:
            await self._port.control.set_save_path(info_hash, path)
            if STATUSES[row.status] == 0:  # those that run are checked without that
                await self._port.control.recheck(info_hash)
        except UnknownTorrentError:
            return
        except TorrentEngineError as error:
            raise system_error(error) from None
        self._state.look(info_hash)

    async def rename(self, call: Call) -> Mapping[str, Any]:
        """Give a file or a folder another name."""
        params, rows = Params(call.params), self._rows(call)
        if "ids" not in params or len(rows) != 1:
            raise invalid(RENAME_NEEDS_ONE)
        path, name = params.text("path") or "", params.text("name") or ""
        told = {"id": rows[0].id, "name": name, "path": path}
        if not path or not name or name in {".", ".."} or set(name) & _SEPARATORS:
            raise RpcError(ErrorCode.SYSTEM_ERROR, "Invalid argument", told)
        try:
            await self._rename(rows[0].info_hash, path.strip("/"), name, told)
        except TorrentEngineError as error:
            raise RpcError(ErrorCode.SYSTEM_ERROR, str(error), told) from None
        self._state.look(rows[0].info_hash)
        return told

    async def _rename(
        self, info_hash: InfoHash, path: str, name: str, told: dict[str, Any]
    ) -> None:
        files = await self._port.torrents.files(info_hash)
        parent, slash, _ = path.rpartition("/")
        new = f"{parent}{slash}{name}"
        for each in files:
            if each.path == path:
                await self._port.control.rename_file(info_hash, each.index, new)
                return
        if not any(each.path.startswith(f"{path}/") for each in files):
            raise RpcError(ErrorCode.SYSTEM_ERROR, "No such file or directory", told)
        await self._port.control.rename_folder(info_hash, path, new)
