"""One run of one rule of a tracker: what it is asked over HTTP and UDP, and its log."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

import anyio

from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.errors import NotOfferedError, SubjectUnreachableError
from torrent_engine.conformance.lab import HOST6
from torrent_engine.conformance.tracker.http_client import (
    TrackerAnswer,
    fetch,
    parse_answer,
    query_of,
    request_of,
)
from torrent_engine.conformance.tracker.tracker_subject import TrackerPort
from torrent_engine.conformance.tracker.udp_client import KitUdpClient, TrackerPeer
from torrent_engine.conformance.wire_log import WireLog

ANSWER_S: Final = 10.0
HASHES: Final = 512
"""So many torrents a tracker with a list of them has to know."""


def known_hashes() -> list[bytes]:
    """Return the info-hashes that rules use: the same ones on every machine."""
    return [
        hashlib.sha1(b"conformance %d" % number, usedforsecurity=False).digest()
        for number in range(HASHES)
    ]


class TrackerCase:
    """What the function of a rule of a tracker works with."""

    def __init__(
        self,
        limit_s: float,
        program: TrackerPort,
        lab: DhtLab,
        hashes: Iterator[bytes],
        *,
        patience: float = 1.0,
    ) -> None:
        self.limit_s = limit_s * patience
        self.patience = patience
        self.program = program
        self.log = WireLog(anyio.current_time)
        self.info_hash = next(hashes)
        """Of a torrent that no other case announces."""
        self._hashes = hashes
        self._lab = lab
        self._own = AsyncExitStack()
        self._ports = iter(range(20_001, 30_000))

    async def close(self) -> None:
        """Close the sockets of this case."""
        with anyio.CancelScope(shield=True):
            await self._own.aclose()

    def another_hash(self) -> bytes:
        """Return the info-hash of one more torrent."""
        return next(self._hashes)

    def peer(self, **changes: int) -> TrackerPeer:
        """Return a new peer of the torrent of this case."""
        peer_id = b"-TC0100-" + random.randbytes(12)  # noqa: S311 - nothing is secret
        host = next(self._lab.addresses)
        return TrackerPeer(self.info_hash, peer_id, next(self._ports), host, **changes)

    async def get(self, target: str, *, source: str = "", over_ipv6: bool = False) -> TrackerAnswer:
        """Ask for a path and query over HTTP. Raises NotOfferedError, SubjectUnreachableError."""
        if over_ipv6:
            try:
                stream = await self.program.connect6()
            except SubjectUnreachableError as error:
                raise NotOfferedError(f"it is not there over IPv6: {error}") from error
        else:
            stream = await self.program.connect(source or next(self._lab.addresses))
        self.log.add("h>", target[:300])
        host = f"{self.program.address[0]}:{self.program.address[1]}"
        data = await fetch(stream, request_of(target, host), ANSWER_S * self.patience)
        self.log.add("h<", repr(data[:300]))
        return parse_answer(data)

    async def announce(
        self, peer: TrackerPeer, *, over_ipv6: bool = False, **others: bytes | int
    ) -> TrackerAnswer:
        """Announce a peer over HTTP, without an event; ``others`` are added or replace keys."""
        values: dict[str, bytes | int] = {
            "info_hash": peer.info_hash,
            "peer_id": peer.peer_id,
            "port": peer.port,
            "uploaded": 0,
            "downloaded": 0,
            "left": peer.left,
            "compact": 1,
            **others,
        }
        target = f"/announce?{query_of(values)}"
        return await self.get(target, source=peer.host, over_ipv6=over_ipv6)

    async def udp(self) -> KitUdpClient:
        """Return a socket at an address of its own."""
        port = await self._lab.network.open(next(self._lab.addresses))
        return self._client(KitUdpClient(port, self.program.address, self.log, self.patience))

    async def udp6(self) -> KitUdpClient:
        """Return a socket for IPv6. Raises NotOfferedError if there is none."""
        port = await self._lab.network.open(HOST6)
        return self._client(KitUdpClient(port, self.program.address6, self.log, self.patience))

    def _client(self, client: KitUdpClient) -> KitUdpClient:
        self._own.push_async_callback(client.aclose)
        return client
