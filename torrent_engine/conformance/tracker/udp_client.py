"""Requests of the kit to a UDP tracker, and its answers.

Source: BEP 15, 41.
"""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.dht.network import DatagramPort
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.swarm.udp_tracker import ANNOUNCE, CONNECT, ERROR, MAGIC, SCRAPE
from torrent_engine.conformance.wire_log import WireLog

ANSWER_S: Final = 5.0
HEAD_BYTES: Final = 8
ANNOUNCED_BYTES: Final = 20
NONE, COMPLETED, STARTED, STOPPED = range(4)


@dataclass(frozen=True, slots=True)
class TrackerPeer:
    """Who the kit is in an announce."""

    info_hash: bytes
    peer_id: bytes
    port: int
    host: str = ""
    """Where it announces from over HTTP and IPv4."""
    left: int = 1
    event: int = STARTED
    num_want: int = -1


@dataclass(frozen=True, slots=True)
class UdpTrackerAnswer:
    """A datagram that is long enough for an action and a transaction id."""

    data: bytes

    @property
    def action(self) -> int:
        """The action; 3 is an error."""
        return int.from_bytes(self.data[:4], "big")

    @property
    def transaction(self) -> int:
        """The transaction id."""
        return int.from_bytes(self.data[4:8], "big")

    @property
    def is_error(self) -> bool:
        """Whether it is an error."""
        return self.action == ERROR

    @property
    def is_announced(self) -> bool:
        """Whether it is the answer to an announce, and long enough."""
        return self.action == ANNOUNCE and len(self.data) >= ANNOUNCED_BYTES

    @property
    def peers(self) -> bytes:
        """What follows the numbers of an answer to an announce."""
        return self.data[ANNOUNCED_BYTES:]


class KitUdpClient:
    """A socket at an address of its own, which asks one tracker."""

    def __init__(
        self, port: DatagramPort, target: NodeAddress, log: WireLog, patience: float
    ) -> None:
        self.address = port.address
        self._port = port
        self._target = target
        self._log = log
        self._answer_s = ANSWER_S * patience

    async def exchange(self, data: bytes, within_s: float | None = None) -> UdpTrackerAnswer | None:
        """Send a datagram; return the next one that comes, or None."""
        self._log.add("u>", f"{len(data)} bytes {data[:16].hex()}")
        await self._port.send(data, self._target)
        with anyio.move_on_after(within_s or self._answer_s):
            while True:
                answer, _ = await self._port.receive()
                self._log.add("u<", f"{len(answer)} bytes {answer[:20].hex()}")
                if len(answer) >= HEAD_BYTES:
                    return UdpTrackerAnswer(answer)
        return None

    async def connect(self) -> int:
        """Return a connection id. Raises UndecidedError."""
        answer = await self.exchange(connect_request(new_transaction()))
        if answer is None or answer.action != CONNECT or len(answer.data) < 16:
            raise UndecidedError("it answered no connect")
        return int.from_bytes(answer.data[8:16], "big")

    async def announce(
        self, connection: int, peer: TrackerPeer, tail: bytes = b""
    ) -> UdpTrackerAnswer | None:
        """Announce a peer; return the answer, or None."""
        return await self.exchange(announce_request(connection, peer) + tail)

    async def scrape(self, connection: int, hashes: Sequence[bytes]) -> UdpTrackerAnswer | None:
        """Ask for the numbers of torrents; return the answer, or None."""
        head = struct.pack(">QII", connection, SCRAPE, new_transaction())
        return await self.exchange(head + b"".join(hashes))

    async def aclose(self) -> None:
        """Close the socket."""
        await self._port.aclose()


def new_transaction() -> int:
    """Return a random transaction id."""
    return random.randrange(2**32)  # noqa: S311 - nothing is secret


def connect_request(transaction: int) -> bytes:
    """Return a connect."""
    return struct.pack(">QII", MAGIC, CONNECT, transaction)


def announce_request(connection: int, peer: TrackerPeer, transaction: int | None = None) -> bytes:
    """Return an announce of 98 bytes."""
    number = new_transaction() if transaction is None else transaction
    head = struct.pack(">QII", connection, ANNOUNCE, number)
    sizes = struct.pack(">QQQI", 0, peer.left, 0, peer.event)
    tail = struct.pack(">IIiH", 0, 7, peer.num_want, peer.port)
    return head + peer.info_hash + peer.peer_id + sizes + tail
