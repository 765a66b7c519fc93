"""The tracker client of the scripted program, which breaks the rules that it is told to break."""

import gzip
import ipaddress
import math
import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote_from_bytes, urlsplit

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_seed import MemoryBytes
from torrent_engine.conformance.bencoding import Bencodable, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.waiting import held_within

FAILURE_S = 60.0
LEAST_INTERVAL_S = 10.0
MAX_ANSWER_BYTES = 1_000_000
GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
Answer = dict[bytes, Bencodable]


class AnnouncingProgram(Protocol):
    """What the announcer needs of the program."""

    quirks: Quirks
    port: int
    starts: int
    own_id: bytes
    info_hash: bytes
    other_hash: bytes | None

    def is_complete(self) -> bool: ...
    def is_partial(self) -> bool: ...
    async def switch_tracker(self, url: str) -> None: ...
    def downloaded(self) -> int: ...
    def left(self) -> int: ...

    def dial(self, host: str, port: int) -> MemoryBytes: ...
    def addresses_of(self, host: str) -> Sequence[str]: ...
    def ask_udp(self, host: str, port: int, data: bytes) -> Sequence[bytes]: ...
    def connect_to(self, host: str, port: int, peer_id: bytes) -> None: ...


class ScriptedAnnouncer:
    """Announces one start of the program to its trackers."""

    def __init__(self, program: AnnouncingProgram, torrent: Answer) -> None:
        self._program = program
        self._quirks = program.quirks
        self._tiers = list(self._read_tiers(torrent))
        self._key = random.randbytes(4).hex()
        self._id = b""
        self._interval_s = LEAST_INTERVAL_S
        self._was_complete = program.is_complete()
        self._has_scraped = False
        self._has_given_up = False
        self._udp = ScriptedUdpAnnouncer(program)

    def _read_tiers(self, torrent: Answer) -> Iterator[list[str]]:
        announce = torrent.get(b"announce", b"")
        assert isinstance(announce, bytes)
        listed = torrent.get(b"announce-list")
        if announce and (not isinstance(listed, list) or "announce too" in self._quirks):
            yield [announce.decode()]
        for tier in listed if isinstance(listed, list) else []:
            assert isinstance(tier, list)
            urls = [each.decode() for each in tier if isinstance(each, bytes)]
            turn = 0 if "no shuffle" in self._quirks else self._program.starts % len(urls)
            yield urls if len(urls) == 3 else urls[turn:] + urls[:turn]

    async def run(self) -> None:
        completed = self._was_complete and "completed twice" not in self._quirks
        event = "" if "no started" in self._quirks else "started"
        while True:
            pause_s = await self._announce(event)
            event = ""
            with anyio.move_on_after(pause_s):
                while completed:
                    await anyio.sleep_forever()
                await held_within(self._program.is_complete, math.inf)
                completed, event = True, "completed"

    async def stop(self) -> None:
        if "no stopped" not in self._quirks:
            with anyio.CancelScope(shield=True):
                await self._announce("stopped")

    async def _announce(self, event: str) -> float:
        """Announce to a tracker that answers; return the seconds until the next time."""
        quirks = self._quirks
        works = False
        for tier in self._tiers[:1] if "first tier only" in quirks else self._tiers:
            for url in list(tier):
                works = await self._ask(url, event)
                if works and "old order" not in quirks:
                    tier.remove(url)
                    tier.insert(0, url)
                if works:
                    await self._program.switch_tracker(url)
                    break
            if works and not quirks.names & {"all trackers", "announce too"}:
                break
        if self._has_given_up:
            return 1e6
        if self._udp.interval_s:
            self._interval_s = self._udp.interval_s
        return 1.0 if "hammers trackers" in quirks else self._interval_s

    async def _ask(self, url: str, event: str) -> bool:
        if url.startswith("udp:"):
            return await self._udp.announce(url, event)
        start = url.partition("?")[0] if "drops query" in self._quirks else url
        answer = await self._answer_of(f"{start}{'&' if '?' in start else '?'}{self._query(event)}")
        if answer is None:
            self._interval_s = FAILURE_S
            return False
        is_warned = b"warning message" in answer and "warnings are failures" in self._quirks
        if b"failure reason" in answer or is_warned:
            minutes = answer.get(b"retry in", b"1")
            assert isinstance(minutes, bytes)
            self._interval_s = int(minutes) * 60.0
            return False
        self._take(answer)
        if (other := self._program.other_hash) is not None:
            await self._answer_of(
                f"{start}{'&' if '?' in start else '?'}{self._query(event, other)}"
            )
        if not self._has_scraped:
            self._has_scraped = True
            path = urlsplit(url)._replace(query="", path="/scrape").geturl()
            right = url.replace("announce", "scrape")
            await self._answer_of(path if "wrong scrape" in self._quirks else right)
        return True

    def _query(self, event: str, info_hash: bytes | None = None) -> str:
        quirks, program = self._quirks, self._program
        downloaded = program.downloaded()
        key = random.randbytes(4).hex() if "new keys" in quirks else self._key
        left = program.left() + (downloaded if "left stays" in quirks else 0)
        pairs = [
            ("info_hash", quote_from_bytes(info_hash or program.info_hash)),
            ("peer_id", quote_from_bytes(program.own_id)),
            ("port", str(program.port)),
            ("uploaded", "0"),
            ("downloaded", str(downloaded)),
            ("left", "-1" if "bad query" in quirks else str(left)),
            ("key", key),
        ]
        if "no compact" not in quirks:
            pairs.append(("compact", "1"))
        if program.is_partial() and not event:
            event = "paused"
        if event:
            pairs.append(("event", event))
        if self._id and "no tracker id" not in quirks:
            pairs.append(("trackerid", self._id.decode()))
        return "&".join(f"{key}={value}" for key, value in pairs)

    def _take(self, answer: Answer) -> None:
        quirks = self._quirks
        interval, least = answer[b"interval"], answer.get(b"min interval", 0)
        assert isinstance(interval, int)
        assert isinstance(least, int)
        least = 0 if "no min interval" in quirks else least
        self._interval_s = 3.0 if "announces often" in quirks else float(max(interval, least))
        if isinstance(found := answer.get(b"tracker id", b""), bytes):
            self._id = found
        packed = answer.get(b"peers", b"")
        peers = list(self._peers(packed))
        is_odd = any(not port for _, port, _ in peers)
        is_odd = is_odd or (isinstance(packed, bytes) and len(packed) % 6 > 0)
        self._has_given_up = "gives up" in quirks and is_odd
        if isinstance(packed6 := answer.get(b"peers6"), bytes) and "no peers6" not in quirks:
            peers += peers_of_ipv6(packed6)
        for host, port, peer_id in peers if not self._has_given_up else []:
            with suppress(*GONE):
                self._program.connect_to(host, port, peer_id)

    def _peers(self, peers: Bencodable) -> Iterator[tuple[str, int, bytes]]:
        if isinstance(peers, list):
            for each in peers if "compact only" not in self._quirks else []:
                assert isinstance(each, dict)
                host, port, peer_id = each[b"ip"], each[b"port"], each[b"peer id"]
                assert isinstance(host, bytes)
                assert isinstance(port, int)
                assert isinstance(peer_id, bytes)
                yield host.decode(), port, peer_id
            return
        assert isinstance(peers, bytes)
        if "lists only" in self._quirks:
            return
        for start in range(0, len(peers) - 5, 6):
            address = ".".join(map(str, peers[start : start + 4]))
            yield address, int.from_bytes(peers[start + 4 : start + 6], "big"), b""

    async def _answer_of(self, url: str) -> Answer | None:
        for _ in range(10):
            head, body = await self._fetch(url)
            if b"Location: " not in head or "no redirects" in self._quirks:
                break
            place = head.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
            url = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}{place}"
        with suppress(KitBencodeError):
            return parse_dictionary(self._decoded(head, body))
        return None

    async def _fetch(self, url: str) -> tuple[bytes, bytes]:
        parts = urlsplit(url)
        data = b""
        with suppress(*GONE):
            stream = self._program.dial(parts.hostname or "", parts.port or 0)
            try:
                head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                await stream.send(f"{head}Accept-Encoding: gzip\r\n\r\n".encode())
                while len(data) < MAX_ANSWER_BYTES or "reads all" in self._quirks:
                    data = (data + await stream.receive())[:MAX_ANSWER_BYTES]
            finally:
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
        head_bytes, _, body = data.partition(b"\r\n\r\n")
        return head_bytes, body

    def _decoded(self, head: bytes, body: bytes) -> bytes:
        if "plain http" in self._quirks:
            return body
        if b"chunked" in head:
            chunks = b""
            while body:
                length, _, rest = body.partition(b"\r\n")
                chunks += rest[: int(length, 16)]
                body = rest[int(length, 16) + 2 :]
            return chunks
        return gzip.decompress(body) if b"gzip" in head else body


def peers_of_ipv6(packed: bytes) -> list[tuple[str, int, bytes]]:
    """Return the peers of a compact list of 18 bytes each."""
    return [
        (
            ipaddress.IPv6Address(packed[start : start + 16]).compressed,
            int.from_bytes(packed[start + 16 : start + 18], "big"),
            b"",
        )
        for start in range(0, len(packed) - 17, 18)
    ]


class ScriptedUdpAnnouncer:
    """Announces to UDP trackers."""

    def __init__(self, program: AnnouncingProgram) -> None:
        self._program = program
        self._quirks = program.quirks
        self._connection_id = 0
        self._valid_until_s: dict[str, float] = {}
        self.interval_s = 0.0

    async def announce(self, url: str, event: str) -> bool:
        host = urlsplit(url).hostname or ""
        found = [
            await self._announce(url, each, event) for each in self._program.addresses_of(host)
        ]
        return all(found)

    async def _announce(self, url: str, host: str, event: str) -> bool:
        """Announce to one address of a tracker."""
        quirks = self._quirks
        if anyio.current_time() > self._valid_until_s.get(host, -1.0):
            magic = 1 if "wrong magic" in quirks else 0x41727101980
            answer = await self._ask(url, host, magic, 0, b"")
            if answer is None or ("exact size" in quirks and len(answer) != 16):
                self.interval_s = FAILURE_S
                return False
            self._connection_id = int.from_bytes(answer[8:16], "big")
            valid_s = 1e6 if "old connection" in quirks else 60.0
            self._valid_until_s[host] = anyio.current_time() + valid_s
        fields = self._fields(url, event, host)
        answer = await self._ask(url, host, self._connection_id, 1, fields)
        self.interval_s = FAILURE_S
        if answer is None or answer[3] != 1:
            return False
        self.interval_s = float(int.from_bytes(answer[8:12], "big"))
        if ":" in host and "reads as IPv4" not in quirks:
            for place in peers_of_ipv6(answer[20:]):
                with suppress(*GONE):
                    self._program.connect_to(*place)
        return True

    def _fields(self, url: str, event: str, host: str) -> bytes:
        quirks, program = self._quirks, self._program
        downloaded, left = program.downloaded(), program.left()
        amounts = (left, downloaded, 0) if "swapped fields" in quirks else (downloaded, left, 0)
        number = {"": 0, "completed": 1, "started": 2, "stopped": 3}[event]
        address = 0x7F000001 if "odd fields" in quirks else 0
        key = 8 if ":" in host and "a key for each" in quirks else 7
        head = program.info_hash + program.own_id + struct.pack(">QQQ", *amounts)
        tail = struct.pack(">IIIiH", number, address, key, -1, program.port)
        parts = urlsplit(url)
        place = f"{parts.path}?{parts.query}" if parts.query else parts.path
        place = parts.path if "path only" in quirks else place
        return head + tail + bytes([2, len(place)]) + place.encode()

    async def _ask(
        self, url: str, host: str, connection_id: int, action: int, data: bytes
    ) -> bytes | None:
        quirks, parts = self._quirks, urlsplit(url)
        transaction = 1 if "one transaction" in quirks else random.randrange(2**32)
        packet = struct.pack(">QII", connection_id, action, transaction) + data
        for turn in range(1 if "no retries" in quirks else 4):
            for each in self._program.ask_udp(host, parts.port or 0, packet):
                is_ours = int.from_bytes(each[4:8], "big") == transaction
                if is_ours or "any transaction" in quirks:
                    return each
            await anyio.sleep(15 * 2**turn)
        return None
