"""``torrent_add``: a torrent by its bytes, a link, a URL or a path on the server."""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.errors import (
    BencodeError,
    HttpError,
    MagnetError,
    MetainfoError,
    TorrentEngineError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.transmission import file_changes
from torrent_engine.daemon.transmission.dialect import Call
from torrent_engine.daemon.transmission.errors import (
    DOWNLOAD_DIR_NOT_ABSOLUTE,
    NO_SOURCE,
    PATH_NOT_ALLOWED,
    PIECE_OUT_OF_RANGE,
    ErrorCode,
    RpcError,
    invalid,
)
from torrent_engine.daemon.transmission.file_fields import NORMAL_PRIORITY
from torrent_engine.daemon.transmission.groups import read_group_name
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.torrent_actions import system_error
from torrent_engine.daemon.transmission.torrent_set import MAX_PEERS, new_group, read_labels
from torrent_engine.net.http.torrent_fetch import FetchOptions, is_url
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.regular_files import read_resolved

MAX_TORRENT_BYTES: Final = 16 * 1024 * 1024  # ours: of a file on the server
Defaults = Callable[[tuple[str, ...], bool], AddOptions]


class TorrentAdd:
    """Adds one torrent at each call."""

    def __init__(
        self,
        port: EnginePort,
        state: DaemonState,
        defaults: Defaults,
        paths: PathRule,
        *,
        fetches_private: Callable[[], bool],
    ) -> None:
        """``defaults`` returns what counts where a call says nothing.

        Its arguments are the labels, and whether the torrent is private. ``paths`` are those
        that may be named; ``fetches_private`` whether URLs may lead to addresses that are not of
        the public internet.
        """
        self._port = port
        self._state = state
        self._defaults = defaults
        self._paths = paths
        self._fetches_private = fetches_private

    async def answer(self, call: Call) -> Mapping[str, Any]:
        """Add a torrent; one that is there already is named, and stays as it is."""
        params = Params(call.params)
        options = await self._read_options(params)  # before anything is fetched
        torrent = await self._read_source(params)
        if (present := self._present(torrent.info_hash)) is not None:
            return {"torrent_duplicate": present}
        options = self._completed(params, options, torrent)
        try:
            added = await self._state.add(torrent, options)
        except TorrentEngineError as error:
            raise system_error(error) from None
        self._finish(params, added.info_hash)
        name = "torrent_added" if added.is_new else "torrent_duplicate"
        return {name: self._present(added.info_hash)}

    def _present(self, info_hash: InfoHash) -> dict[str, Any] | None:
        self._state.look(info_hash)
        row = self._state.torrents.get(info_hash)
        if row is None:
            return None
        return {"hash_string": row.hash, "id": row.id, "name": row.name}

    # -- the torrent ------------------------------------------------------------------------

    async def _read_source(self, params: Params) -> Metainfo | Magnet:
        data, source = params.text("metainfo"), params.text("filename")
        try:
            if data:
                return await self._port.engine.read_torrent(_decoded(data))
            if not source:
                raise invalid(NO_SOURCE)
            return await self._read_named(source.strip(), params)
        except (BencodeError, MetainfoError) as error:
            raise RpcError(ErrorCode.CORRUPT_TORRENT, f"{_CORRUPT}: {error}") from None
        except MagnetError as error:
            raise RpcError(ErrorCode.UNRECOGNIZED_INFO, f"unrecognized info: {error}") from None

    async def _read_named(self, source: str, params: Params) -> Metainfo | Magnet:
        if MutableLink.is_link(source):
            return await self._port.engine.fetch_torrent(source, FetchOptions())
        if Magnet.is_link(source):
            return Magnet.parse(source)
        if is_url(source):
            return await self._fetched(source, params.text("cookies") or "")
        return await self._port.engine.read_torrent(await self._read_file(source))

    async def _fetched(self, url: str, cookies: str) -> Metainfo | Magnet:
        try:
            options = FetchOptions(cookies=cookies, allow_private=self._fetches_private())
            return await self._port.engine.fetch_torrent(url, options)
        except HttpError as error:
            text = f"Couldn't fetch torrent: {error} ({error.status or 0})"
            raise RpcError(ErrorCode.HTTP_ERROR, text) from None
        except (BencodeError, MetainfoError, MagnetError):
            raise
        except TorrentEngineError as error:
            raise RpcError(ErrorCode.HTTP_ERROR, f"Couldn't fetch torrent: {error} (0)") from None

    async def _read_file(self, path: str) -> bytes:
        """Return a file of the server; it says the same of one that is not there or not allowed."""
        if path.startswith("/") and await self._paths.allows(path):
            try:
                return await self._paths.look(path, self._read_allowed, path)
            except OSError:
                pass
        raise RpcError(ErrorCode.SYSTEM_ERROR, "No such file or directory")

    def _read_allowed(self, path: str) -> bytes:
        """Return what stands where a path leads, unless that changes meanwhile. Blocks."""
        where = os.path.realpath(path)
        if not self._paths.allows_now(where):
            raise FileNotFoundError(path)
        return read_resolved(Path(where), MAX_TORRENT_BYTES)

    # -- options ----------------------------------------------------------------------------

    async def _read_options(self, params: Params) -> AddOptions:
        """Return what a call says. Raises RpcError."""
        folder = params.text("download_dir")
        if folder and not folder.startswith("/"):
            raise RpcError(ErrorCode.PATH_NOT_ABSOLUTE, DOWNLOAD_DIR_NOT_ABSOLUTE)
        if folder and not await self._paths.allows(folder):
            raise invalid(PATH_NOT_ALLOWED)
        if (params.integer("sequential_download_from_piece") or 0) < 0:
            raise RpcError(ErrorCode.PIECE_INDEX_OUT_OF_RANGE, PIECE_OUT_OF_RANGE)
        read_group_name(params, "group")
        params.bounded("peer_limit", 1, MAX_PEERS)
        return AddOptions(
            save_path=folder or None,
            labels=read_labels(params.texts("labels") or ()) or None,
            paused=params.flag("paused"),
            priority=params.bounded("bandwidth_priority", -1, 1),
            sequential=params.flag("sequential_download"),
        )

    def _completed(
        self, params: Params, options: AddOptions, torrent: Metainfo | Magnet
    ) -> AddOptions:
        is_private = isinstance(torrent, Metainfo) and torrent.is_private
        options = options.over(self._defaults(options.labels or (), is_private))
        if (priorities := _priorities(params, torrent)) is not None:
            options = replace(options, file_priorities=priorities)
        return options

    def _finish(self, params: Params, info_hash: InfoHash) -> None:
        """Set what is no option of adding."""
        row, settings = self._state.torrents.get(info_hash), self._port.settings
        if row is None:
            return
        peers = params.bounded("peer_limit", 1, MAX_PEERS)
        if peers is not None:
            settings.set_limits(info_hash, replace(row.settings.limits, max_peers=peers))
        group, honors = new_group(row, params)
        if (group, honors) != (row.settings.group, row.settings.honors_session_limits):
            settings.set_group(info_hash, group, honors_session_limits=honors)
        piece = params.integer("sequential_download_from_piece")
        if piece:
            is_sequential = row.settings.is_sequential
            settings.set_sequential(info_hash, is_sequential=is_sequential, from_piece=piece)


_CORRUPT: Final = "invalid or corrupt torrent file"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise RpcError(ErrorCode.CORRUPT_TORRENT, f"{_CORRUPT}: {error}") from None


def _priorities(params: Params, torrent: Metainfo | Magnet) -> dict[int, int] | None:
    """Return what a call says of files, by their index in the torrent."""
    if isinstance(torrent, Magnet):
        return file_changes.magnet_priorities(params) or None
    indexes = [index for index, entry in enumerate(torrent.files) if not entry.is_pad]
    wanted = [NORMAL_PRIORITY] * len(indexes)
    chosen = file_changes.changed_priorities(params, wanted)
    return None if chosen is None else dict(zip(indexes, chosen, strict=True))
