"""The kit's UDP tracker: notes what is asked, and answers as it is told.

Source: BEP 15, 41.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.swarm.http_tracker import KitPeerAddress, packed_peers
from torrent_engine.conformance.wire_log import WireLog

MAGIC: Final = 0x417_2710_1980
CONNECT, ANNOUNCE, SCRAPE, ERROR = range(4)
HEAD_BYTES: Final = 16
ANNOUNCE_BYTES: Final = 98
INTERVAL_S: Final = 60
URL_DATA: Final = 2
NOP: Final = 1
END_OF_OPTIONS: Final = 0
_HEAD = struct.Struct(">QII")
_ANNOUNCE = struct.Struct(">20s20sQQQIIIiH")


@dataclass(frozen=True, slots=True)
class KitUdpRequest:
    """One packet as it came."""

    at: float
    data: bytes
    connection_id: int
    action: int
    transaction: int


@dataclass(frozen=True, slots=True)
class KitUdpAnnounce:
    """The fields of an announce."""

    options: bytes
    """What follows the others (BEP 41)."""
    info_hash: bytes
    peer_id: bytes
    downloaded: int
    left: int
    uploaded: int
    event: int
    address: int
    key: int
    num_want: int
    port: int


def parse_udp_request(data: bytes, at: float) -> KitUdpRequest | None:
    """Return the head of a packet; None if it is too short for one."""
    if len(data) < HEAD_BYTES:
        return None
    return KitUdpRequest(at, data, *_HEAD.unpack_from(data))


def parse_udp_announce(request: KitUdpRequest) -> KitUdpAnnounce | None:
    """Return the fields of an announce; None if the packet is too short for one."""
    if len(request.data) < ANNOUNCE_BYTES:
        return None
    fields = _ANNOUNCE.unpack_from(request.data, HEAD_BYTES)
    return KitUdpAnnounce(request.data[ANNOUNCE_BYTES:], *fields)


def url_data(options: bytes) -> bytes | None:
    """Return the path and query of the options; None if they are cut off (BEP 41)."""
    found, place = b"", 0
    while place < len(options) and options[place] != END_OF_OPTIONS:
        if options[place] == NOP:
            place += 1
            continue
        length = options[place + 1] if place + 1 < len(options) else len(options)
        if place + 2 + length > len(options):
            return None
        if options[place] == URL_DATA:
            found += options[place + 2 : place + 2 + length]
        place += 2 + length
    return found


UdpAnswerFunction = Callable[["KitUdpTracker", KitUdpRequest], Sequence[bytes]]


class KitUdpTracker:
    """One tracker; ``peers`` are named to everybody who announces."""

    def __init__(self, log: WireLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._connections = 0
        self.url = ""
        """Where it is, once it listens."""
        self.peers: list[KitPeerAddress] = []
        self.requests: list[KitUdpRequest] = []
        """Every packet that is long enough for one."""
        self.answer: UdpAnswerFunction = usual_answers
        self.interval_s = INTERVAL_S

    def of(self, action: int) -> list[KitUdpRequest]:
        """Return the requests of one kind."""
        return [each for each in self.requests if each.action == action]

    def take(self, data: bytes) -> Sequence[bytes]:
        """Take a packet; return the packets to send back."""
        self._log.add("u<", f"{len(data)} bytes {data[:HEAD_BYTES].hex()}")
        request = parse_udp_request(data, self._clock())
        if request is None:
            return ()
        self.requests.append(request)
        answers = self.answer(self, request)
        for each in answers:
            self._log.add("u>", f"{len(each)} bytes {each[:HEAD_BYTES].hex()}")
        return answers

    def new_connection(self) -> int:
        """Return a connection id that was not given before."""
        self._connections += 1
        return 0x0123_4567_0000_0000 + self._connections


def usual_answers(tracker: KitUdpTracker, request: KitUdpRequest) -> Sequence[bytes]:
    """Return what a tracker answers that does what it should."""
    if request.action == CONNECT:
        return (connected(request, tracker.new_connection()),)
    if request.action == ANNOUNCE:
        return (announced(request, tracker.interval_s, packed_peers(tracker.peers)),)
    return ()


def connected(request: KitUdpRequest, connection_id: int) -> bytes:
    """Return the answer to a connect."""
    return struct.pack(">IIQ", CONNECT, request.transaction, connection_id)


def announced(request: KitUdpRequest, interval_s: int, peers: bytes) -> bytes:
    """Return the answer to an announce."""
    head = struct.pack(">IIIII", ANNOUNCE, request.transaction, interval_s, 1, 1)
    return head + peers


def udp_error(request: KitUdpRequest, text: str = "not today") -> bytes:
    """Return an error."""
    return struct.pack(">II", ERROR, request.transaction) + text.encode()
