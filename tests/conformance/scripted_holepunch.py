"""The relay of the scripted seed for hole punching, with its quirks."""

import ipaddress
import struct
from collections.abc import Awaitable, Callable, Mapping

from tests.conformance.scripted_extensions import Quirks
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.frames import extended

OWN = ("127.0.0.1", 9_000)
Send = Callable[[bytes], Awaitable[None]]
Endpoint = tuple[str, int]


class ScriptedRelay:
    """Who is connected, by endpoint, and what each offers."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._links: dict[Endpoint, tuple[Mapping[bytes, int], Send]] = {}

    def join(self, endpoint: Endpoint, numbers: Mapping[bytes, int], send: Send) -> None:
        self._links[endpoint] = numbers, send

    async def take(
        self, payload: bytes, own: Endpoint, numbers: Mapping[bytes, int], send: Send
    ) -> None:
        if len(payload) not in {8, 12} or payload[0] > 2 or payload[1] > 0:
            raise KitBencodeError("ut_holepunch")
        if payload[0] or (b"ut_holepunch" not in numbers and "answers all" not in self._quirks):
            return
        host = str(ipaddress.IPv4Address(payload[2:6]))
        target = host, int.from_bytes(payload[6:8], "big")
        error = self._error(target)
        if error and "silent relay" not in self._quirks:
            endpoint = ("9.9.9.9", 9) if "other endpoint" in self._quirks else target
            await _tell(numbers, send, 2, endpoint, error)
        if not error:
            await _tell(numbers, send, 1, target)
            if "tells one" not in self._quirks:
                await _tell(*self._links[target], 1, own)

    def _error(self, target: Endpoint) -> int:
        if target == OWN and "knows not itself" not in self._quirks:
            return 4
        if target not in self._links:
            return 2
        knows = b"ut_holepunch" in self._links[target][0]
        return 0 if knows or "punches all" in self._quirks else 3


async def _tell(
    numbers: Mapping[bytes, int], send: Send, kind: int, endpoint: Endpoint, error: int = 0
) -> None:
    body = struct.pack(">BB", kind, 0) + ipaddress.IPv4Address(endpoint[0]).packed
    body += struct.pack(">HI", endpoint[1], error)
    await send(extended(numbers.get(b"ut_holepunch", 9), body))
