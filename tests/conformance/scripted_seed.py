"""A seed in memory that obeys the rules, and breaks those that it is told to break."""

import hashlib
import struct
from collections.abc import Iterator

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import EndedError, Quirks, ScriptedExtensions
from tests.conformance.scripted_holepunch import ScriptedRelay
from tests.conformance.scripted_mse import MaybeEncrypted
from tests.conformance.scripted_pex import ScriptedSwarm
from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    EXTENDED,
    FAST,
    HASH_END,
    HAVE_ALL,
    HEADER,
    INTERESTED,
    KEEPALIVE,
    Frame,
    FrameReader,
    FrameType,
    HandshakeBytes,
    message,
    piece,
    reject,
    with_words,
)
from torrent_engine.conformance.torrent_set import basic_torrent

TORRENT = basic_torrent()
OWN_ID = b"-SC0001-abcdefghijkl"


class MemoryBytes(anyio.abc.ByteStream):
    """One end of a pair of byte streams."""

    def __init__(self, incoming, outgoing) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._rest = b""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data = self._rest or await self._incoming.receive()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def send(self, item: bytes) -> None:
        if item:
            await self._outgoing.send(item)

    async def send_eof(self) -> None:
        await self._outgoing.aclose()

    async def aclose(self) -> None:
        await self._outgoing.aclose()
        await self._incoming.aclose()


def memory_pair() -> tuple[MemoryBytes, MemoryBytes]:
    to_b, at_b = anyio.create_memory_object_stream[bytes](10_000)
    to_a, at_a = anyio.create_memory_object_stream[bytes](10_000)
    return MemoryBytes(at_a, to_b), MemoryBytes(at_b, to_a)


class ScriptedSubject:
    """The subject's side: each connection is served by a task."""

    name = "scripted"
    can_restart = True

    def __init__(self, tasks: anyio.abc.TaskGroup, *quirks: str) -> None:
        self._tasks = tasks
        self.quirks = Quirks(frozenset(quirks))
        self.peers: set[bytes] = set()
        self.swarm = ScriptedSwarm(self.quirks)
        self.relay = ScriptedRelay(self.quirks)
        self.runs = True
        self.restarts = 0
        self.memory = 10_000_000
        self.dies_on: int | None = None

    async def connect(self, source: str) -> MemoryBytes:
        if not self.runs:
            raise SubjectUnreachableError("connection refused")
        ours, theirs = memory_pair()
        stream = MaybeEncrypted(theirs, self.quirks, TORRENT.info_hash)
        self._tasks.start_soon(ScriptedSeed(self, stream, source).serve)
        return ours

    def is_running(self) -> bool:
        return self.runs

    def rss_bytes(self) -> int:
        return self.memory

    def cpu_s(self) -> float:
        return anyio.current_time() if "spins" in self.quirks else 0.0

    async def restart(self) -> None:
        if "stays dead" in self.quirks:
            raise ConformanceError("it does not start any more")
        self.runs = True
        self.restarts += 1

    def peer_id(self) -> bytes:
        if "plain id" in self.quirks:
            return b"0123456789%010d" % self.restarts
        return OWN_ID if "same id" in self.quirks else OWN_ID[:-1] + b"%d" % (self.restarts % 10)


class ScriptedSeed:
    """One connection of the seed."""

    def __init__(self, subject: ScriptedSubject, stream: anyio.abc.ByteStream, source: str) -> None:
        self._subject = subject
        self._quirks = subject.quirks
        self._stream = stream
        self._who = b""
        self._source = source.encode()
        self._unchoked = False
        self._reader = FrameReader()
        self._reserved = bytes(8)
        self._asked: set[bytes] = set()
        self._extensions = ScriptedExtensions(
            subject.quirks, TORRENT, source, stream.send, subject.swarm.join, subject.relay
        )
        self._taken = 0

    async def serve(self) -> None:
        if "names strangers" in self._quirks:
            self._subject.swarm.join(self._extensions, self._source.decode(), 5, {})
        try:
            async with anyio.create_task_group() as tasks:
                rest = await self._greet()
                tasks.start_soon(self._exchange)
                if "no keepalive" not in self._quirks:
                    tasks.start_soon(self._keep_alive)
                await self._talk(rest)
        except* (
            EndedError,
            anyio.EndOfStream,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ):
            pass
        finally:
            self._subject.peers.discard(self._who)
            self._subject.swarm.leave(self._extensions)
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def _exchange(self) -> None:
        await self._subject.swarm.tell(self._extensions, self._stream.send)

    async def _keep_alive(self) -> None:
        while True:
            await anyio.sleep(120)
            await self._stream.send(KEEPALIVE)

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            if self._quirks.names & {"ignores the end", "spins"}:
                await anyio.sleep(10_000)
            raise

    async def _greet(self) -> bytes:
        needed = 68 if "waits for the id" in self._quirks else HASH_END
        data = b""
        with anyio.move_on_after(10_000 if "never closes" in self._quirks else 100):
            while len(data) < needed:
                if data and "one segment" in self._quirks:
                    raise EndedError
                data += await self._receive()
        if len(data) < needed:
            raise EndedError
        if not data.startswith(HEADER) and "any header" not in self._quirks:
            raise EndedError
        await self._answer_hash(data[28:48])
        while len(data) < 68:
            data += await self._receive()
        greeting = HandshakeBytes.parse(data[:68])
        self._reserved = greeting.reserved
        self._check_peer(greeting)
        if len(data) > 68 and "drops what follows" in self._quirks:
            raise EndedError
        if self._reserved[7] & 0x10 and "closes on version 2" in self._quirks:
            raise EndedError
        if self._reserved == b"\xff" * 7 + b"\xef" and "closes on bits" in self._quirks:
            raise EndedError
        await self._introduce()
        return data[68:]

    async def _answer_hash(self, info_hash: bytes) -> None:
        if "dumb" in self._quirks:
            await anyio.sleep(10_000)
        is_ours = info_hash == TORRENT.info_hash
        if not is_ours and "keeps unknown" in self._quirks:
            await anyio.sleep(10_000)
        if not is_ours and not self._quirks.names & {"other hash", "echoes"}:
            raise EndedError
        answered = info_hash if "echoes" in self._quirks else TORRENT.info_hash
        header = b"\x13BitTorrent protocop" if "wrong header" in self._quirks else HEADER
        reserved = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x04])
        own = self._subject.peer_id()
        await self._stream.send(HandshakeBytes(header, reserved, answered, own).encode())
        if not is_ours:
            raise EndedError

    def _check_peer(self, greeting: HandshakeBytes) -> None:
        own = greeting.peer_id == self._subject.peer_id()
        if own and "likes itself" not in self._quirks:
            raise EndedError
        who = greeting.peer_id + self._source
        if who in self._subject.peers and "twice" not in self._quirks:
            raise EndedError
        self._who = who
        self._subject.peers.add(who)

    @property
    def _is_fast(self) -> bool:
        return bool(self._reserved[7] & FAST[7])

    async def _introduce(self) -> None:
        quirks = self._quirks
        speaks = bool(self._reserved[5] & EXTENDED[5]) or "speaks always" in quirks
        speaks = speaks and "no extended handshake" not in quirks
        greeting = self._extensions.greeting()
        if speaks and "late bitfield" in quirks:
            await self._stream.send(greeting)
        if "have first" in quirks:
            await self._stream.send(message(FrameType.UNCHOKE))
        count = TORRENT.piece_count
        bits = ((1 << count) - 1) << (-count % 8)
        bits |= 1 if "spare bits" in quirks else 0
        bits &= ~(1 << 20) if "misses a piece" in quirks else -1
        length = -(-count // 8) + ("long bitfield" in quirks)
        bitfield = message(FrameType.BITFIELD, bits.to_bytes(length, "big"))
        await self._stream.send(HAVE_ALL if self._is_fast or "fast always" in quirks else bitfield)
        if "announces twice" in quirks:
            await self._stream.send(bitfield)
        if speaks and "late bitfield" not in quirks:
            await self._stream.send(greeting)
        if "interested" in quirks:
            await self._stream.send(INTERESTED)
        if self._is_fast and "allows nothing" not in quirks:
            for index in self._allowed:
                await self._stream.send(with_words(FrameType.ALLOWED_FAST, index))

    async def _talk(self, rest: bytes) -> None:
        data = rest
        while True:
            if "length in one" in self._quirks and len(data) == 2:
                raise EndedError
            if int.from_bytes(data[:4], "big") > 2**20 and data[4:5] == b"\x07":
                await self._swallow(int.from_bytes(data[:4], "big"))
            try:
                frames = self._reader.feed(data)
            except ValueError:
                raise EndedError from None
            if len(frames) > 500 and "small buffer" in self._quirks and len(frames) < 4_000:
                frames, self._reader = frames[:500], FrameReader()
            for frame in self._of_a_batch(frames):
                await self._take(frame)
            if any(each.number == FrameType.NOT_INTERESTED for each in frames):
                await self._choke(frames)
            data = await self._receive()

    async def _swallow(self, length: int) -> None:
        if "allocates" in self._quirks:
            self._subject.memory += 20 * 2**20
            await anyio.sleep(10_000)
        if "waits for it" in self._quirks:
            await anyio.sleep(10_000)
        raise EndedError

    def _of_a_batch(self, frames: list[Frame]) -> Iterator[Frame]:
        """Yield frames, without requests that are cancelled in the same batch."""
        cancelled = {each.payload for each in frames if each.number == FrameType.CANCEL}
        if cancelled and len(frames) > 10 and "closes on cancels" in self._quirks:
            raise EndedError
        answers_all = self._is_fast and "drops cancelled" not in self._quirks
        is_choke = self._is_fast and any(each.number == FrameType.NOT_INTERESTED for each in frames)
        for each in frames:
            is_dropped = is_choke or (each.payload in cancelled and not answers_all)
            if each.number != FrameType.REQUEST or not is_dropped:
                yield each

    async def _choke(self, frames: list[Frame]) -> None:
        """Choke a peer whose requests came with the end of its interest."""
        requests = [each for each in frames if each.number == FrameType.REQUEST]
        if not requests or not self._is_fast:
            return
        choke = message(FrameType.CHOKE)
        rejects = b"".join(reject(*each.words) for each in requests)
        rejects = b"" if "forgets on choke" in self._quirks else rejects
        is_late = "rejects, then chokes" in self._quirks
        await self._stream.send(rejects + choke if is_late else choke + rejects)

    async def _take(self, frame: Frame) -> None:
        number, quirks = frame.number, self._quirks
        if number == self._subject.dies_on:
            self._subject.runs = False
            raise EndedError
        if number < 0 and "closes on keepalives" in quirks:
            raise EndedError
        if number < 0 and "starves" in quirks:
            self._subject.quirks = Quirks(quirks.names | {"silent"})
        if number > 20 and "closes on unknown" in quirks:
            raise EndedError
        if self._is_refused(frame):
            raise EndedError
        self._taken += 1
        if number == FrameType.HAVE_ALL and self._is_fast and "likes seeds" not in quirks:
            raise EndedError
        if number == 21 and "sends hashes" in quirks:
            await self._stream.send(message(22, frame.payload + bytes(64)))
        await self._act(frame)

    async def _act(self, frame: Frame) -> None:
        number = frame.number
        if number == FrameType.EXTENDED:
            await self._extensions.take(frame.payload, is_first=self._taken == 1)
        if number == FrameType.INTERESTED:
            await self._unchoke()
        if number == FrameType.REQUEST:
            await self._serve(frame)

    def _is_refused(self, frame: Frame) -> bool:
        if FrameType.SUGGEST <= frame.number <= FrameType.ALLOWED_FAST:
            is_stray = frame.number == FrameType.REJECT and "any reject" not in self._quirks
            return is_stray if self._is_fast else f"takes {frame.number}" not in self._quirks
        if frame.number == FrameType.PIECE and self._is_fast:
            return "any piece" not in self._quirks
        if frame.number == FrameType.HAVE and "any have" not in self._quirks:
            return len(frame.payload) != 4 or frame.words[0] >= TORRENT.piece_count
        if frame.number == FrameType.BITFIELD and "any bitfield" not in self._quirks:
            return len(frame.payload) != -(-TORRENT.piece_count // 8)
        return frame.number == FrameType.CANCEL and "closes on a cancel" in self._quirks

    async def _unchoke(self) -> None:
        if "slow" in self._quirks:
            await anyio.sleep(45)
        if not self._unchoked or "unchokes again" in self._quirks:
            times = 3 if "unchokes again" in self._quirks else 1
            await self._stream.send(message(FrameType.UNCHOKE) * times)
        self._unchoked = True

    async def _serve(self, frame: Frame) -> None:
        quirks = self._quirks
        if len(frame.payload) != 12 and "any length" not in quirks:
            raise EndedError
        if "silent" in self._subject.quirks:
            return
        if "forgets others" in quirks and len(self._subject.peers) > 1:
            return
        index, begin, length = frame.words if len(frame.payload) == 12 else (2, 0, BLOCK_BYTES)
        if self._is_lost(index):
            if self._is_fast and "silent when choked" not in quirks:
                rejected = reject(index, begin, length)
                await self._stream.send(rejected * (2 if "rejects twice" in quirks else 1))
        elif self._is_bad(index, begin, length) and "serves anything" not in quirks:
            await self._refuse(index, begin, length)
        elif not self._is_forgotten(frame, index, begin):
            await self._send_block(index, begin, length)

    async def _refuse(self, index: int, begin: int, length: int) -> None:
        if "ignores bad" in self._quirks:
            return
        if not self._is_fast:
            raise EndedError
        await self._stream.send(reject(index, begin, length))

    def _is_forgotten(self, frame: Frame, index: int, begin: int) -> bool:
        """Return whether a good request gets no answer."""
        is_known = frame.payload in self._asked
        self._asked.add(frame.payload)
        if "forgets twins" in self._quirks and is_known:
            return True
        return "half of them" in self._quirks and begin > 0 and index % 2 == 1

    async def _send_block(self, index: int, begin: int, length: int) -> None:
        quirks = self._quirks
        if length != BLOCK_BYTES and "whole blocks" in quirks:
            begin, length = 0, BLOCK_BYTES
        data = TORRENT.block(index % 21, begin, length)
        data = bytes(len(data)) if "wrong bytes" in quirks else data
        times = 2 if "sends twice" in quirks else 1
        await self._stream.send(piece(index, begin, data) * times)

    def _is_lost(self, index: int) -> bool:
        """Return whether a request of a choked peer gets no piece."""
        is_allowed = self._is_fast and index in self._allowed
        is_served = is_allowed and "allows in vain" not in self._quirks
        return not (self._unchoked or is_served or "serves choked" in self._quirks)

    @property
    def _allowed(self) -> list[int]:
        """The first seven pieces of the canonical set (BEP 6), or others."""
        if "other set" in self._quirks:
            return [0, 1, 2, 3, 4, 5, 6]
        found: list[int] = []
        numbers = bytes(map(int, self._source.split(b".")[:3])) + b"\0" + TORRENT.info_hash
        while len(found) < 7:
            numbers = hashlib.sha1(numbers).digest()
            found += (each % TORRENT.piece_count for each in struct.unpack(">5I", numbers))
            found = list(dict.fromkeys(found))
        return found[:7]

    def _is_bad(self, index: int, begin: int, length: int) -> bool:
        if index >= TORRENT.piece_count or not 0 < length <= BLOCK_BYTES:
            return True
        return begin + length > TORRENT.piece_length(index)
