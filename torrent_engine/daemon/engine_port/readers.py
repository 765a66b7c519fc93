"""Readers of files of torrents."""

from typing import Self

from torrent_engine.engine.reading.file_reader import FileReader


class ReaderOfFile:
    """A :class:`ByteReader` over a FileReader of the engine."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        """The length of the file in bytes; inside ``async with``."""
        return self._reader.size

    def seek(self, offset: int) -> int:
        """Set the position, in bytes from the start of the file; return it."""
        return self._reader.seek(offset)

    async def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the position; b"" at the end."""
        return await self._reader.read(size)

    async def __aenter__(self) -> Self:
        """Wait for the metadata if need be."""
        await self._reader.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._reader.aclose()
