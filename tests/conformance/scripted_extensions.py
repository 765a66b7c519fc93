"""The extension protocol and metadata of the scripted seed, with their quirks."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.frames import extended
from torrent_engine.conformance.torrent_set import SampleTorrent

REQQ = 300
METADATA_ID = 2
PEX_ID = 1
HOLEPUNCH_ID = 4
DONT_HAVE_ID = 5
PIECE = 16_384
SERVED_AT_MOST = 40


def read_pex(payload: bytes) -> None:
    """Read a message of ut_pex. Raises KitBencodeError if it is none."""
    content = parse_dictionary(payload)
    added = content.get(b"added", b"")
    if not isinstance(added, bytes) or len(added) % 6:
        raise KitBencodeError("added")


class EndedError(Exception):
    """The seed closes the connection."""


@dataclass
class Quirks:
    """What a scripted seed does wrong, by name."""

    names: frozenset[str] = field(default_factory=frozenset)

    def __contains__(self, name: str) -> bool:
        return name in self.names


class Relay(Protocol):
    """What the extensions need of hole punching."""

    def join(
        self,
        endpoint: tuple[str, int],
        numbers: Mapping[bytes, int],
        send: Callable[[bytes], Awaitable[None]],
    ) -> None: ...
    async def take(
        self,
        payload: bytes,
        own: tuple[str, int],
        numbers: Mapping[bytes, int],
        send: Callable[[bytes], Awaitable[None]],
    ) -> None: ...


class ScriptedExtensions:
    """One connection's extended messages."""

    def __init__(
        self,
        quirks: Quirks,
        torrent: SampleTorrent,
        source: str,
        send: Callable[[bytes], Awaitable[None]],
        join: Callable[["ScriptedExtensions", str, int, Mapping[bytes, Bencodable]], None],
        relay: Relay,
    ) -> None:
        self._join = join
        self._relay = relay
        self._endpoint = source, 0
        self._quirks = quirks
        self._torrent = torrent
        self._source = source
        self._send = send
        self.numbers: dict[bytes, int] = {}
        self._handshakes = 0
        self._requests = 0

    def greeting(self) -> bytes:
        quirks = self._quirks
        numbers: dict[bytes, Bencodable] = {
            b"ut_metadata": METADATA_ID,
            b"ut_pex": PEX_ID,
            b"ut_holepunch": HOLEPUNCH_ID,
            b"lt_donthave": DONT_HAVE_ID,
        }
        if "shared numbers" in quirks:
            numbers[b"ut_pex"] = METADATA_ID
        size = len(self._torrent.info) + ("wrong size" in quirks)
        seen = b"\1\2\3\4" if "wrong yourip" in quirks else self._packed()
        content: dict[bytes, Bencodable] = {
            b"m": numbers,
            b"metadata_size": size,
            b"reqq": 0 if "reqq 0" in quirks else REQQ,
            b"upload_only": 0 if "wants more" in quirks else 1,
            b"v": b"Scripted \xb5" if "latin version" in quirks else b"Scripted 1",
            b"yourip": seen,
        }
        payload = bencode(content)
        if "unsorted" in quirks:
            payload = b"d1:zi1e" + payload[1:]
        return extended(0, payload)

    def _packed(self) -> bytes:
        return ipaddress.ip_address(self._source).packed

    async def take(self, payload: bytes, *, is_first: bool) -> None:
        try:
            await self._take(payload, is_first=is_first)
        except (KitBencodeError, IndexError):
            if "takes junk" not in self._quirks:
                raise EndedError from None

    async def _take(self, payload: bytes, *, is_first: bool) -> None:
        if payload[0] == 0:
            self._take_handshake(payload[1:], is_first=is_first)
        elif payload[0] == METADATA_ID:
            await self._take_metadata(payload[1:])
        elif payload[0] == PEX_ID:
            read_pex(payload[1:])
        elif payload[0] == HOLEPUNCH_ID:
            await self._relay.take(payload[1:], self._endpoint, self.numbers, self._send)
        elif payload[0] == DONT_HAVE_ID:
            self._take_dont_have(payload[1:])
        elif "closes on unknown number" in self._quirks:
            raise EndedError

    def _take_dont_have(self, payload: bytes) -> None:
        if len(payload) != 4 or int.from_bytes(payload, "big") >= self._torrent.piece_count:
            raise KitBencodeError("lt_donthave")

    def _take_handshake(self, payload: bytes, *, is_first: bool) -> None:
        quirks = self._quirks
        self._handshakes += 1
        if self._handshakes > 1 and "one handshake" in quirks:
            raise EndedError
        if not is_first and "ignores late" in quirks:
            return
        content = parse_dictionary(payload)
        numbers = content.get(b"m", {})
        if not isinstance(numbers, dict):
            raise KitBencodeError("m")
        if isinstance(port := content.get(b"p"), int):
            self._join(self, self._source, port, numbers)
        if any(name.startswith(b"xx") for name in numbers) and "closes on unknown names" in quirks:
            raise EndedError
        good = {n: v for n, v in numbers.items() if isinstance(v, int) and 0 <= v <= 255}
        self.numbers.update(good)
        if isinstance(port, int):
            self._endpoint = self._source, port
            self._relay.join(self._endpoint, self.numbers, self._send)

    async def _take_metadata(self, payload: bytes) -> None:
        quirks = self._quirks
        content = parse_dictionary(payload)
        piece = content.get(b"piece")
        if content.get(b"msg_type") != 0:
            if "closes on types" in quirks:
                raise EndedError
            return
        if not isinstance(piece, int) or (len(content) > 2 and "no unknown keys" in quirks):
            return
        self._requests += 1
        if self._requests > 20 and "closes on floods" in quirks:
            raise EndedError
        piece = 0 if "always piece 0" in quirks else piece
        await self._answer(piece)

    async def _answer(self, piece: int) -> None:
        quirks = self._quirks
        info = self._torrent.info
        number = METADATA_ID if "own number" in quirks else self.numbers.get(b"ut_metadata", 0)
        if not number and "ignores zero" not in quirks:
            return
        is_there = 0 <= piece * PIECE < len(info) or "any piece number" in quirks
        if not is_there and "silent on far" in quirks:
            return
        if not is_there or self._requests > SERVED_AT_MOST:
            reject: dict[bytes, Bencodable] = {b"msg_type": 2, b"piece": piece}
            await self._send(extended(number, bencode(reject)))
            return
        data = info[max(piece, 0) * PIECE :][:PIECE]
        if "wrong metadata" in quirks:
            data = bytes(len(data))
        if "long last piece" in quirks:
            data = data.ljust(PIECE, b"\0")
        facts: dict[bytes, Bencodable] = {b"msg_type": 1, b"piece": piece, b"total_size": len(info)}
        await self._send(extended(number, bencode(facts) + data))
