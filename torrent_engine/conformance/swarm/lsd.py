"""Announces on the local network: what the program sends to the groups, and what the kit sends.

Source: BEP 14.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from torrent_engine.conformance.wire_log import WireLog

GROUP4, GROUP6 = "239.192.152.143", "ff15::efc0:988f"
PORT: Final = 6_771
HOST4, HOST6 = f"{GROUP4}:{PORT}", f"[{GROUP6}]:{PORT}"
FIRST_LINE: Final = b"BT-SEARCH * HTTP/1.1\r\n"
END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class LsdPacket:
    """A packet that came to a group, or that the kit sends."""

    at: float
    data: bytes
    is_ipv6: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, whatever the case of its name."""
        found = []
        for line in self.data.split(b"\r\n")[1:]:
            key, separator, value = line.partition(b":")
            if separator and key.strip().lower() == name.lower():
                found.append(value.strip())
        return found

    def value(self, name: bytes) -> bytes:
        """Return the first value of a header; nothing if there is none."""
        return next(iter(self.values(name)), b"")

    def names(self, info_hash: bytes) -> bool:
        """Return whether it announces a torrent."""
        return info_hash.hex().encode() in {each.lower() for each in self.values(b"infohash")}

    def is_well_formed(self) -> bool:
        """Return whether it has the first line, and headers that make sense."""
        host = HOST6 if self.is_ipv6 else HOST4
        port, hashes = self.value(b"port"), self.values(b"infohash")
        is_port = port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16
        are_hashes = bool(hashes) and all(map(_is_hash, hashes))
        is_host = self.value(b"host").lower() == host.encode()
        return self.data.startswith(FIRST_LINE) and is_host and is_port and are_hashes


def _is_hash(text: bytes) -> bool:
    return len(text) == 40 and not text.lower().strip(b"0123456789abcdef")


def lsd_announce(
    port: object,
    info_hashes: Sequence[bytes | str],
    *,
    cookie: bytes = b"",
    more: bytes = b"",
    host: str = HOST4,
) -> bytes:
    """Return an announce; ``more`` are header lines before the hashes."""
    head = FIRST_LINE + f"Host: {host}\r\nPort: {port}\r\n".encode() * bool(host)
    texts = [each.hex() if isinstance(each, bytes) else each for each in info_hashes]
    lines = "".join(f"Infohash: {each}\r\n" for each in texts).encode()
    tail = b"cookie: " + cookie + b"\r\n" if cookie else b""
    return head + more + lines + tail + b"\r\n\r\n"


class GroupPort(Protocol):
    """What the kit needs to speak on a local network."""

    async def send(self, data: bytes, source: str, *, is_unicast: bool = False) -> None:
        """Send to the group of IPv4, or to the program alone, from an address of ours."""


class KitLsd:
    """The kit on the local network: what came, and what is sent."""

    def __init__(self, log: WireLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self.packets: list[LsdPacket] = []
        self.group: GroupPort | None = None
        """Where it sends, once it has joined."""

    def take(self, data: bytes, *, is_ipv6: bool) -> None:
        """Note a packet that came to a group."""
        self._log.add("l6<" if is_ipv6 else "l<", repr(data[:300]))
        self.packets.append(LsdPacket(self._clock(), data, is_ipv6))

    def of(self, info_hash: bytes, *, is_ipv6: bool = False) -> list[LsdPacket]:
        """Return the packets that announce a torrent, of one address family."""
        return [each for each in self.packets if each.is_ipv6 is is_ipv6 and each.names(info_hash)]

    async def send(self, data: bytes, source: str, *, is_unicast: bool = False) -> None:
        """Send a packet from an address."""
        self._log.add("l>", f"from {source}: {data[:300]!r}")
        if self.group is not None:
            await self.group.send(data, source, is_unicast=is_unicast)
