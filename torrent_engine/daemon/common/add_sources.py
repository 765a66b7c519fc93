"""Torrents as requests give them: links, info-hashes, URLs, paths, and .torrent files."""

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.net.http.torrent_fetch import FetchOptions, is_url
from torrent_engine.service.regular_files import read_resolved

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_FETCHED_BYTES: Final = 10 * 1024 * 1024
MAX_FILE_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes


class SourceReader:
    """Reads torrents as requests give them; what it raises beside ProblemError is the engine's."""

    def __init__(
        self, context: "DaemonContext", fetches_private: Callable[[], bool] = lambda: False
    ) -> None:
        """``fetches_private`` returns whether URLs may lead beyond the public internet."""
        self._engine = context.port.engine
        self._paths = context.paths
        self._fetches_private = fetches_private

    async def read_text(self, source: str, cookies: str = "") -> Metainfo | Magnet:
        """Return the torrent of a link, an info-hash, a URL or an absolute path.

        ``cookies`` go to the host of a URL only.
        """
        text = source.strip()
        if MutableLink.is_link(text):
            return await self._engine.fetch_torrent(text, FetchOptions())
        if Magnet.is_link(text):
            return Magnet.parse(text)
        if is_url(text):
            options = FetchOptions(
                cookies, allow_private=self._fetches_private(), max_bytes=MAX_FETCHED_BYTES
            )
            return await self._engine.fetch_torrent(text, options)
        if not text.startswith(("/", "~")):
            detail = "a magnet link, an info-hash, an http(s) URL or an absolute path is needed"
            raise ProblemError(Problem("input_invalid", detail))
        return await self._engine.read_torrent(await self._read_file(text))

    async def read_base64(self, text: str) -> Metainfo:
        """Return the torrent of a .torrent in base64."""
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ProblemError(Problem("torrent_invalid", "torrent: this is no base64")) from None
        return await self.read_bytes(data)

    async def read_bytes(self, data: bytes) -> Metainfo:
        """Return the torrent of a .torrent."""
        return await self._engine.read_torrent(data)

    async def _read_file(self, path: str) -> bytes:
        """Return a file of the server; of what may not be read it says that it is not there."""
        if await self._paths.allows(path):
            try:
                where = await self._paths.checked(path)
                return await self._paths.look(path, read_resolved, where, MAX_FILE_BYTES)
            except OSError:
                pass
        raise ProblemError(Problem("file_not_found", "there is no such file"))
