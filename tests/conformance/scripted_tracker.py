"""A tracker in memory that obeys the BEPs, or breaks the rules that it is told to break."""

import hashlib
import ipaddress
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_node import MemoryDatagrams
from tests.conformance.scripted_seed import MemoryBytes, memory_pair
from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.errors import SubjectUnreachableError
from torrent_engine.conformance.swarm.http_tracker import (
    KitHttpAnnounce,
    http_response,
    parse_announce,
    receive_head,
)
from torrent_engine.conformance.swarm.udp_tracker import (
    ANNOUNCE,
    CONNECT,
    MAGIC,
    SCRAPE,
    KitUdpRequest,
    parse_udp_announce,
    parse_udp_request,
    udp_error,
)

MAX_LINKS = 150
EVENTS = ("", "completed", "started", "stopped")
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass(frozen=True)
class SwarmPeer:
    host: str
    port: int
    left: int
    is_partial: bool = False

    def packed(self) -> bytes:
        return ipaddress.ip_address(self.host).packed + self.port.to_bytes(2, "big")


class ScriptedTracker:
    """One swarm for each info-hash, of both protocols."""

    name = "scripted"
    address: NodeAddress = ("10.9.9.9", 6_969)
    address6: NodeAddress = ("::9", 6_969)

    def __init__(self, tasks: anyio.abc.TaskGroup, network: MemoryDatagrams, *quirks: str) -> None:
        self.quirks = Quirks(frozenset(quirks))
        self._tasks = tasks
        self._network = network
        self._swarms: dict[bytes, dict[bytes, SwarmPeer]] = {}
        self._downloaded: dict[bytes, int] = {}
        self._links = 0
        self.runs = False

    async def start(self, info_hashes: Sequence[bytes]) -> None:
        assert info_hashes
        self.runs = "does not start" not in self.quirks
        for address in (self.address, self.address6):
            self._network.takers[address] = self._taker(address)

    def is_running(self) -> bool:
        return self.runs

    async def connect(self, source: str) -> MemoryBytes:
        if not self.runs:
            raise SubjectUnreachableError("connection refused")
        ours, theirs = memory_pair()
        self._tasks.start_soon(self._serve, theirs, source)
        return ours

    async def connect6(self) -> MemoryBytes:
        return await self.connect("::1")

    async def _serve(self, stream: MemoryBytes, source: str) -> None:
        self._links += 1
        try:
            if self._links > MAX_LINKS and "few links" in self.quirks:
                return
            head = await receive_head(stream)
            announce = parse_announce(head, anyio.current_time())
            if "dies on junk" in self.quirks and announce.path == "*":
                self.runs = False
            body = self._scrape(announce) if announce.is_scrape else self._http(announce, source)
            await stream.send(http_response(bencode(body)))
        except GONE:
            pass
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    def _http(self, asked: KitHttpAnnounce, source: str) -> dict[bytes, Bencodable]:
        quirks = self.quirks
        info_hash, peer_id = asked.value("info_hash"), asked.value("peer_id")
        if "case matters" in quirks and re.search(r"%([0-9][a-f]|[a-f])", asked.raw_query):
            info_hash = bytes(20)
        port, left = asked.number("port") or 0, asked.number("left") or 0
        if (len(info_hash) != 20 or not 0 < port < 65_536) and "takes anything" not in quirks:
            return {b"failure reason": b"odd announce"}
        host = asked.value("ip").decode() if "believes ip" in quirks else ""
        is_partial = asked.value("event") == b"paused"
        peer = SwarmPeer(host or source, port, left, is_partial)
        self._note(info_hash, peer_id, peer, asked.event)
        wanted = asked.number("numwant")
        others = self._others(info_hash, peer_id, 50 if wanted is None else wanted)
        answer: dict[bytes, Bencodable] = {b"interval": 1_800}
        if "no interval" in quirks or (asked.event and "no events" in quirks):
            answer = {}
        if asked.value("compact") == b"0" and "compact always" not in quirks:
            listed: list[Bencodable] = [
                {b"ip": each.host.encode(), b"port": each.port} for each in others
            ]
            return {**answer, b"peers": listed}
        pad = b"x" if "odd lists" in quirks else b""
        for key, is_v6 in ((b"peers", False), (b"peers6", True)):
            found = (each.packed() for each in others if (":" in each.host) == is_v6)
            answer[key] = b"".join(found) + pad
        return answer

    def _note(self, info_hash: bytes, peer_id: bytes, peer: SwarmPeer, event: str) -> None:
        swarm = self._swarms.setdefault(info_hash, {})
        if event == "completed":
            self._downloaded[info_hash] = self._downloaded.get(info_hash, 0) + 1
        if event == "stopped" and "keeps the stopped" not in self.quirks:
            swarm.pop(peer_id, None)
            if "forgets downloads" in self.quirks:
                self._downloaded.pop(info_hash, None)
        else:
            swarm[peer_id] = peer

    def _others(self, info_hash: bytes, peer_id: bytes, wanted: int) -> list[SwarmPeer]:
        if "names nobody" in self.quirks:
            return []
        own = b"" if "names itself" in self.quirks else peer_id
        swarm = self._swarms.get(info_hash, {})
        found = [peer for each, peer in swarm.items() if each != own]
        return found if "all peers" in self.quirks else found[:wanted]

    def _numbers(self, info_hash: bytes) -> tuple[int, int, int]:
        peers = self._swarms.get(info_hash, {}).values()
        seeds = sum(each.left == 0 for each in peers)
        if "all are seeds" in self.quirks:
            seeds = len(peers)
        return seeds, self._downloaded.get(info_hash, 0), len(peers) - seeds

    def _scrape(self, asked: KitHttpAnnounce) -> dict[bytes, Bencodable]:
        files: dict[bytes, Bencodable] = {}
        for key, info_hash in asked.query:
            if key != "info_hash" or (files and "one torrent" in self.quirks):
                continue
            seeds, downloaded, leechers = self._numbers(info_hash)
            peers = self._swarms.get(info_hash, {}).values()
            partial = 0 if "partial counts" in self.quirks else sum(e.is_partial for e in peers)
            files[info_hash] = {
                b"complete": seeds,
                b"downloaded": downloaded,
                b"downloaders": leechers - partial,
                b"incomplete": leechers,
            }
        return {b"files": files}

    def _taker(self, address: NodeAddress):
        def take(data: bytes, sender: NodeAddress) -> None:
            answer = self._udp(data, sender)
            if answer is not None and self.runs:
                self._network.deliver(answer, address, sender)

        return take

    def _udp(self, data: bytes, sender: NodeAddress) -> bytes | None:
        request = parse_udp_request(data, anyio.current_time())
        if "amplifies" in self.quirks:
            return bytes(300) if request is None else udp_error(request, "x" * 300)
        if request is None:
            self.runs = self.runs and "dies on junk" not in self.quirks
            return None
        if request.action == CONNECT:
            return self._connected(request, sender) if request.connection_id == MAGIC else None
        return self._known(request, sender) if self._is_known(request, sender) else None

    def _known(self, request: KitUdpRequest, sender: NodeAddress) -> bytes | None:
        if request.action == ANNOUNCE:
            return self._udp_announce(request, sender)
        is_scrape = request.action == SCRAPE and "no scrapes" not in self.quirks
        return self._udp_scrape(request) if is_scrape else None

    def _connected(self, request: KitUdpRequest, sender: NodeAddress) -> bytes:
        transaction = 7 if "own transactions" in self.quirks else request.transaction
        number = self._number(sender, int(request.at // 60))
        return struct.pack(">IIQ", CONNECT, transaction, number)

    def _number(self, sender: NodeAddress, minute: int) -> int:
        if "counts" in self.quirks:
            return sender[1]
        minute = 0 if "for ever" in self.quirks else minute
        data = f"{'' if 'any sender' in self.quirks else sender} {minute}".encode()
        salt = str(sender).encode() if "any sender" in self.quirks else b""
        return int.from_bytes(hashlib.sha256(data + salt).digest()[:8], "big")

    def _is_known(self, request: KitUdpRequest, sender: NodeAddress) -> bool:
        if self.quirks.names & {"any connection", "any sender"}:
            return True
        now = int(request.at // 60)
        count = 1 if "impatient" in self.quirks else 3
        numbers = {self._number(sender, now - age) for age in range(count)}
        return request.connection_id in numbers

    def _udp_announce(self, request: KitUdpRequest, sender: NodeAddress) -> bytes | None:
        asked = parse_udp_announce(request)
        if asked is None or (asked.options and "exact size" in self.quirks):
            return None
        if asked.options[:1] in {b"\1", b"\2"} and "no options" in self.quirks:
            return None
        peer = SwarmPeer(sender[0], asked.port, asked.left)
        event = EVENTS[asked.event] if asked.event < len(EVENTS) else ""
        key = b"udp" if "two swarms" in self.quirks else b""
        self._note(key + asked.info_hash, asked.peer_id, peer, event)
        wanted = 50 if asked.num_want < 0 else asked.num_want
        others = self._others(key + asked.info_hash, asked.peer_id, wanted)
        is_v6 = ":" in sender[0] and "short places" not in self.quirks
        found = [each.packed() for each in others if (":" in each.host) == is_v6]
        seeds, _, leechers = self._numbers(asked.info_hash)
        if "short places" in self.quirks and ":" in sender[0]:
            found = [bytes(6)]
        transaction = 7 if "own transactions" in self.quirks else request.transaction
        head = struct.pack(">IIIII", ANNOUNCE, transaction, 1_800, leechers, seeds)
        return head + b"".join(found)

    def _udp_scrape(self, request: KitUdpRequest) -> bytes:
        hashes = request.data[16:]
        count = len(hashes) // 20
        count = 10 if "short scrapes" in self.quirks else count
        parts = (self._numbers(hashes[20 * each : 20 * each + 20]) for each in range(count))
        head = struct.pack(">II", SCRAPE, request.transaction)
        return head + b"".join(struct.pack(">III", *each) for each in parts)
