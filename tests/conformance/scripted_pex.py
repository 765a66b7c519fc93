"""The swarm that the scripted seed tells its peers about, with its quirks."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.frames import extended

FIRST_S = 5.0
INTERVAL_S = 61.0
MOST = 50


class Named(Protocol):
    """One connection of the seed."""

    numbers: dict[bytes, int]


class Names(Protocol):
    def __contains__(self, name: str) -> bool: ...


class ScriptedSwarm:
    """Who is connected, and what each peer was told."""

    def __init__(self, quirks: Names) -> None:
        self._quirks = quirks
        self._contacts: dict[int, tuple[bytes, int]] = {}

    def join(self, link: Named, host: str, port: int, numbers: Mapping[bytes, Bencodable]) -> None:
        if "ephemeral ports" in self._quirks:
            port = 50_000
        flags = 0x08 if b"ut_holepunch" in numbers and "no flags" not in self._quirks else 0
        flags |= 0x10 if "all reachable" in self._quirks else 0
        contact = ipaddress.ip_address(host).packed + port.to_bytes(2, "big")
        self._contacts[id(link)] = contact, flags

    def leave(self, link: Named) -> None:
        self._contacts.pop(id(link), None)

    async def tell(self, link: Named, send: Callable[[bytes], Awaitable[None]]) -> None:
        known: dict[bytes, int] = {}
        pause_s = 20.0 if "often" in self._quirks else INTERVAL_S
        await anyio.sleep(130.0 if "late" in self._quirks else FIRST_S)
        is_first = True
        while True:
            number = link.numbers.get(b"ut_pex", 9 if "tells everybody" in self._quirks else 0)
            if number and (content := self._news(link, known, is_first=is_first)):
                await send(extended(number, bencode(content)))
                is_first = False
            await anyio.sleep(pause_s)

    def _news(
        self, link: Named, known: dict[bytes, int], *, is_first: bool
    ) -> dict[bytes, Bencodable]:
        now = {c: f for key, (c, f) in self._contacts.items() if key != id(link)}
        added = [each for each in now if each not in known]
        dropped = [each for each in known if each not in now]
        if not is_first and "no limit" not in self._quirks:
            added = added[:MOST]
        for each in added:
            known[each] = now[each]
        for each in dropped:
            del known[each]
        if "no lists" in self._quirks:
            return {b"x": 1}
        if "never drops" in self._quirks:
            dropped = []
        if not added and not dropped:
            return {}
        if "doubles" in self._quirks:
            added += added[:1]
        if "odd lists" in self._quirks:
            added.append(b"odd")
        flags = bytes(known.get(each, 0) for each in added)
        return {
            b"added": b"".join(added),
            b"added.f": flags,
            b"dropped": b"".join(dropped),
        }
