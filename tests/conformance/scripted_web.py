"""Web seeds of the scripted program, which breaks the rules that it is told to break."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlsplit

import anyio
import anyio.abc

from torrent_engine.conformance.bencoding import Bencodable

PAUSE_S = 5.0
BAD_PAUSE_S = 0.5
GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class ScriptedWebSeeds:
    """Downloads from the URLs of a torrent, a piece at a time."""

    def __init__(self, program: Any, torrent: dict[bytes, Bencodable]) -> None:
        self._program = program
        self._quirks = program.quirks
        self._urls = list(_strings(torrent.get(b"url-list")))
        self._http_seeds = list(_strings(torrent.get(b"httpseeds")))
        if (
            any(not each.startswith("http:") for each in self._urls)
            and "no odd URLs" in self._quirks
        ):
            program.stop_all()

    async def run(self) -> None:
        if "no web seeds" in self._quirks:
            return
        async with anyio.create_task_group() as tasks:
            for each in self._urls:
                if each.startswith("http:"):
                    tasks.start_soon(self._download, each, False)
            for each in self._http_seeds:
                tasks.start_soon(self._download, each, True)

    async def _download(self, url: str, is_http_seed: bool) -> None:
        program = self._program
        while not program.is_complete():
            index = next(iter(sorted(program.wanted() - program.done - set(program.owners))), None)
            if index is None:
                await anyio.sleep(PAUSE_S)
                continue
            program.owners[index] = self
            data = await (self._by_piece if is_http_seed else self._by_range)(url, index)
            if data is None:
                program.release(index)
                await anyio.sleep(0.1 if "hammers" in self._quirks else PAUSE_S)
            elif not await self._store(index, data):
                if "keeps bad URLs" not in self._quirks:
                    return
                await anyio.sleep(BAD_PAUSE_S)

    async def _store(self, index: int, data: bytes) -> bool:
        program = self._program
        for key in program.keys(index):
            program.blocks[key] = data[key[1] : key[1] + program.block_bytes]
        is_right: bool = await program.finish(index)
        return is_right

    async def _by_piece(self, url: str, index: int) -> bytes | None:
        name = "part" if "other keys" in self._quirks else "piece"
        last = self._program.piece_length(index) - 1
        query = (
            f"info_hash={quote_from_bytes(self._program.info_hash)}&{name}={index}&ranges=0-{last}"
        )
        status, body = await self._fetch(f"{url}?{query}", None)
        return body if status == 200 else None

    async def _by_range(self, url: str, index: int) -> bytes | None:
        program = self._program
        start, left = index * program.content.piece_bytes, program.piece_length(index)
        data, file_start = b"", 0
        for path, length in program.content.files:
            first = max(start + len(data), file_start)
            count = min(left - len(data), file_start + length - first)
            if count > 0 and first >= file_start:
                span = first - file_start, first - file_start + count - 1
                part = await self._part(self._url_of(url, path), span)
                if part is None:
                    return None
                data += part
            file_start += length
        return data

    def _url_of(self, url: str, path: bytes) -> str:
        if not url.endswith("/") and "adds names" not in self._quirks:
            return url
        if "no names" in self._quirks:
            path = path.partition(b"/")[2]
        return url + quote(path, safe="/")

    async def _part(self, url: str, span: tuple[int, int]) -> bytes | None:
        status, body = await self._fetch(url, span)
        if status == 206:
            return body
        if status == 200:
            start = 0 if "ignores status" in self._quirks else span[0]
            return body[start : start + span[1] - span[0] + 1]
        return None

    async def _fetch(self, url: str, span: tuple[int, int] | None) -> tuple[int, bytes]:
        parts, data = urlsplit(url), b""
        with suppress(*GONE):
            stream = self._program.dial(parts.hostname or "", parts.port or 0)
            try:
                target = f"{parts.path}?{parts.query}" if parts.query else parts.path
                head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                head += f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
                await stream.send(f"{head}\r\n".encode())
                while True:
                    data += await stream.receive()
            finally:
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
        top, _, body = data.partition(b"\r\n\r\n")
        words = top.split(b" ")
        return (int(words[1]) if len(words) > 1 else 0), body


def _strings(value: object) -> Iterator[str]:
    for each in value if isinstance(value, list) else []:
        if isinstance(each, bytes):
            yield each.decode()
