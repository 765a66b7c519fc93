"""Extended messages of the scripted download: metadata of magnet links, "reqq", peer exchange."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from tests.conformance.scripted_extensions import EndedError, Quirks
from torrent_engine.conformance.bencoding import Bencodable, bencode, parse, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.extensions import OWN_METADATA_ID
from torrent_engine.conformance.frames import extended

METADATA_ID = 2
PEX_ID = 1
HOLEPUNCH_ID = 4
DONT_HAVE_ID = 5
PIECE = 16_384
MAX_SIZE = 1_000_000
PEX_S = 60.0
AGAIN_S = 30.0
GIVEN_UP = -2
SENSIBLE_REQQ = 250
Send = Callable[[bytes], Awaitable[None]]


class MetadataProgram(Protocol):
    """What the extensions need of the program."""

    quirks: Quirks
    port: int
    info_hash: bytes
    first_size: int

    def is_private(self) -> bool: ...
    def hear_of(self, host: str, port: int) -> None: ...
    def punch(self, host: str, port: int) -> None: ...
    def is_metadata(self, info: bytes) -> bool: ...
    def needs_metadata(self) -> bool: ...
    def is_partial(self) -> bool: ...
    async def take_metadata(self, info: bytes) -> None: ...


class LeechExtensions:
    """One connection's extended messages."""

    def __init__(
        self, program: MetadataProgram, send: Send, lose: Callable[[int], Awaitable[None]]
    ) -> None:
        self._program = program
        self._lose = lose
        self._quirks = program.quirks
        self._send = send
        self._numbers: dict[bytes, int] = {}
        self._size = 0
        self._asked: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self._is_bad = self._is_partial = False
        self._started_at = anyio.current_time()
        self._has_told_peers = False
        self.reqq = SENSIBLE_REQQ

    async def greet(self) -> None:
        if "silent extensions" in self._quirks:
            return
        port = self._program.port + ("wrong port" in self._quirks)
        numbers: dict[bytes, Bencodable] = {
            b"ut_metadata": METADATA_ID,
            b"ut_holepunch": HOLEPUNCH_ID,
            b"lt_donthave": DONT_HAVE_ID,
        }
        if self._names_peers():
            numbers[b"ut_pex"] = PEX_ID
        if "asks for metadata first" in self._quirks:
            asked = bencode({b"msg_type": 0, b"piece": 0})
            await self._send(extended(OWN_METADATA_ID, asked))
        await self._send(extended(0, bencode({b"m": numbers, b"p": port, b"v": b"Scripted 1"})))

    async def take(self, payload: bytes) -> None:
        try:
            if payload[0] == 0:
                self._take_handshake(parse_dictionary(payload[1:]))
            elif payload[0] == METADATA_ID:
                await self._take_metadata(payload[1:])
            elif payload[0] == PEX_ID and self._names_peers():
                self._take_names(parse_dictionary(payload[1:]))
            elif payload[0] == DONT_HAVE_ID and "ignores don't have" not in self._quirks:
                await self._lose(int.from_bytes(payload[1:], "big"))
            elif payload[0] == HOLEPUNCH_ID:
                await self._take_holepunch(payload[1:])
        except (KitBencodeError, IndexError):
            raise EndedError from None
        await self.tick()

    async def _take_holepunch(self, payload: bytes) -> None:
        if "answers connects" in self._quirks:
            number = self._numbers.get(b"ut_holepunch", 0)
            await self._send(extended(number, b"\2" + payload[1:]))
        elif payload[:2] == b"\1\0" and "ignores connects" not in self._quirks:
            host = ".".join(map(str, payload[2:6]))
            self._program.punch(host, int.from_bytes(payload[6:8], "big"))

    def _names_peers(self) -> bool:
        return not self._program.is_private() or "exchanges always" in self._quirks

    def _take_names(self, content: dict[bytes, Bencodable]) -> None:
        added = content.get(b"added", b"")
        assert isinstance(added, bytes)
        for start in range(0, len(added), 6):
            host = ".".join(map(str, added[start : start + 4]))
            self._program.hear_of(host, int.from_bytes(added[start + 4 : start + 6], "big"))

    def _take_handshake(self, content: dict[bytes, Bencodable]) -> None:
        numbers = content.get(b"m")
        if isinstance(numbers, dict):
            good = {name: each for name, each in numbers.items() if isinstance(each, int)}
            if "replaces numbers" in self._quirks:
                self._numbers = {}
            self._numbers.update(good)
        reqq = content.get(b"reqq", SENSIBLE_REQQ)
        is_sensible = isinstance(reqq, int) and 0 < reqq <= 2_000
        if isinstance(reqq, int) and (is_sensible or "believes reqq" in self._quirks):
            self.reqq = SENSIBLE_REQQ if "ignores reqq" in self._quirks else reqq
        size = content.get(b"metadata_size", 0)
        if not isinstance(size, int):
            return
        if "first size only" in self._quirks:
            self._program.first_size = self._program.first_size or size or -1
            size = self._program.first_size
        self._size = size if 0 < size <= MAX_SIZE else 0

    async def _take_metadata(self, payload: bytes) -> None:
        parsed = parse(payload)
        content = parsed.value
        if not isinstance(content, dict):
            raise EndedError
        kind, piece = content.get(b"msg_type"), content.get(b"piece")
        if not isinstance(piece, int):
            return
        if kind == 0 and "silent without metadata" not in self._quirks:
            reject: dict[bytes, Bencodable] = {b"msg_type": 2, b"piece": piece}
            await self._send(extended(self._numbers.get(b"ut_metadata", 0), bencode(reject)))
        elif kind == 1:
            await self._take_part(piece, payload[parsed.end :])

    async def _take_part(self, piece: int, data: bytes) -> None:
        is_asked = piece in self._asked and piece not in self._parts
        if not is_asked and "takes unasked metadata" not in self._quirks:
            return
        if not self._program.needs_metadata() or self._is_bad:
            return
        self._parts.setdefault(piece, data)
        if len(self._parts) < -(-self._size // PIECE):
            return
        info = b"".join(self._parts[each] for each in sorted(self._parts))
        is_right = self._program.is_metadata(info)
        if is_right or "no metadata check" in self._quirks:
            await self._program.take_metadata(info)
        else:
            self._is_bad = True
            if "gives up metadata" in self._quirks:
                self._program.first_size = GIVEN_UP

    async def tick(self) -> None:
        """Ask for what is missing; tell the other peers after a while."""
        if self._program.is_partial() and not self._is_partial and self._numbers:
            self._is_partial = True
            await self._send(extended(0, bencode({b"m": {}, b"upload_only": 1})))
        number = self._numbers.get(b"ut_metadata", 0)
        now = anyio.current_time()
        is_idle = "no metadata" in self._quirks or not number or self._is_bad
        is_idle = is_idle or self._program.first_size == GIVEN_UP
        if self._program.needs_metadata() and not is_idle:
            again_s = 0.0 if "hammers" in self._quirks else AGAIN_S
            for piece in range(-(-self._size // PIECE)):
                if piece not in self._parts and now - self._asked.get(piece, -1e9) > again_s:
                    self._asked[piece] = now
                    request: dict[bytes, Bencodable] = {b"msg_type": 0, b"piece": piece}
                    await self._send(extended(number, bencode(request)))
        pex = self._numbers.get(b"ut_pex", 0)
        is_due = now - self._started_at > PEX_S and not self._has_told_peers
        if pex and is_due and self._names_peers():
            self._has_told_peers = True
            await self._send(extended(pex, bencode({b"added": b"\x0a\0\0\1\x1a\xe1"})))
