"""A program in memory that downloads by the rules, and breaks those that it is told to break."""

import base64
import hashlib
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs

import anyio
import anyio.abc

from tests.conformance.scripted_announcer import ScriptedAnnouncer
from tests.conformance.scripted_content import OddTorrentError, ScriptedContent
from tests.conformance.scripted_extensions import EndedError, Quirks
from tests.conformance.scripted_lsd import MemoryGroup, ScriptedLsd
from tests.conformance.scripted_metadata import LeechExtensions
from tests.conformance.scripted_mse import offered
from tests.conformance.scripted_seed import TORRENT, MemoryBytes, memory_pair
from tests.conformance.scripted_v2 import AlignedContent, is_aligned
from tests.conformance.scripted_web import ScriptedWebSeeds
from torrent_engine.conformance.bencoding import Bencodable, bencode, parse, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError, SubjectUnreachableError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    EXTENDED,
    FAST,
    FAST_EXTENDED,
    HAVE_ALL,
    HAVE_NONE,
    HEADER,
    INTERESTED,
    NOT_INTERESTED,
    Frame,
    FrameReader,
    FrameType,
    HandshakeBytes,
    cancel,
    have,
    message,
    piece,
    request,
)
from torrent_engine.conformance.swarm.kit_seed import bitfield
from torrent_engine.conformance.swarm.network import DatagramAnswers, GroupTaker
from torrent_engine.conformance.swarm.subject import FileKind
from torrent_engine.conformance.utp.packets import KitUtpPacket, UtpKind

OWN_ID = b"-SC0002-abcdefghijkl"
PIPELINE = 8
TWINS = ("localhost", "127.0.0.1", "::1")
ANSWER_S = 30.0
REJECT_PAUSE_S = 1.0
UPGRADE = 0x10
HASH_REQUEST, HASHES = 21, 22
HASHES_AGAIN_S = 5.0
BITS = FAST_EXTENDED
BlockKey = tuple[int, int]
Handler = Callable[[MemoryBytes], Coroutine[Any, Any, None]]
GONE = (EndedError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class MemoryNetwork:
    """Listeners by address and port; programs by port."""

    host6 = "::1"

    def twins(self) -> tuple[str, str, str]:
        return TWINS

    def __init__(self) -> None:
        self._ports = itertools.count(20_000)
        self._listeners: dict[tuple[str, int], tuple[Handler, anyio.abc.TaskGroup]] = {}
        self.programs: dict[int, ScriptedLeech] = {}
        self.datagrams: dict[tuple[str, int], DatagramAnswers] = {}
        self.group = MemoryGroup()

    async def listen(self, address: str, handler: Handler, tasks: anyio.abc.TaskGroup) -> int:
        port = next(self._ports)
        self._listeners[address, port] = handler, tasks
        return port

    def dial(self, address: str, port: int) -> MemoryBytes:
        if (address, port) not in self._listeners:
            raise ConnectionRefusedError
        handler, tasks = self._listeners[address, port]
        if tasks.cancel_scope.cancel_called:  # the case is over
            raise ConnectionRefusedError
        ours, theirs = memory_pair()
        tasks.start_soon(handler, theirs)
        return ours

    async def listen_udp(
        self, address: str, handler: DatagramAnswers, tasks: anyio.abc.TaskGroup, port: int = 0
    ) -> int:
        port = port or next(self._ports)
        self.datagrams[address, port] = handler
        return port

    async def join(self, take: GroupTaker, tasks: anyio.abc.TaskGroup) -> MemoryGroup:
        self.group.to_kit = take
        return self.group

    async def connect(self, source: str, port: int) -> MemoryBytes:
        if port not in self.programs:
            raise SubjectUnreachableError("connection refused")
        ours, theirs = memory_pair()
        self.programs[port].accept(theirs)
        return ours


class ScriptedLeech:
    """The program: what it has, and whom it talks to."""

    name = "scripted"

    def __init__(self, tasks: anyio.abc.TaskGroup, network: MemoryNetwork, *quirks: str) -> None:
        self._tasks = tasks
        self._network = network
        self.quirks = Quirks(frozenset(quirks))
        self.port = 9_000
        self.has_lsd = self.has_encryption = self.has_utp = self.has_ipv6 = False
        self._disk: dict[str, bytes] = {}
        self.runs = False
        self.blocks: dict[BlockKey, bytes] = {}
        self.owners: dict[int, LeechLink | ScriptedWebSeeds] = {}
        self.done: set[int] = set()
        self.links: list[LeechLink] = []
        self.is_stopped = False
        self.starts = 0
        self.own_id = OWN_ID
        self.info_hash = TORRENT.info_hash
        self.other_hash: bytes | None = None
        """Of version 2, for a hybrid."""
        self.content: ScriptedContent | AlignedContent | None = None
        self.selected: set[int] | None = None
        self.first_size = 0
        self._tracker = ""
        self._heard: list[tuple[str, int]] = []
        self.refused = False
        self._announcer: ScriptedAnnouncer | None = None
        self._run_scope = anyio.CancelScope()

    async def start(self, torrent: bytes | str) -> None:
        if "does not start" in self.quirks:
            raise SubjectUnreachableError("it does not start")
        before, self.refused = self.info_hash, False
        try:
            if isinstance(torrent, str):
                content = self._read_link(torrent)
            else:
                content = self._read_torrent(torrent)
        except OddTorrentError:
            self.refused = True
            return
        except EndedError:
            self.runs = False
            return
        if before != self.info_hash:
            self.forget()
        self.runs = True
        self._check_disk()
        self._network.programs[self.port] = self
        self.starts += 1
        self._run_scope = anyio.CancelScope()
        self._announcer = ScriptedAnnouncer(self, content)
        self._tasks.start_soon(self._run, content, self._announcer, self._run_scope)

    def _read_torrent(self, torrent: bytes) -> dict[bytes, Bencodable]:
        content = parse_dictionary(torrent)
        start = torrent.index(b"4:info") + 6
        info = torrent[start : start + parse(torrent[start:]).end]
        if "encodes again" in self.quirks:
            info = bencode(content[b"info"])
        self._name(info)
        self.content = self._content(info, content.get(b"piece layers"))
        return content

    def _name(self, info: bytes) -> None:
        """Note the hashes of an info dictionary."""
        old = hashlib.sha1(info, usedforsecurity=False).digest()
        new = hashlib.sha256(info).digest()[:20]
        keys = parse_dictionary(info)
        self.info_hash, self.other_hash = old, None
        if b"meta version" in keys and b"pieces" in keys:
            self.other_hash = None if "no other hash" in self.quirks else new
        elif b"meta version" in keys and "old hash" not in self.quirks:
            self.info_hash = new

    def _content(self, info: bytes, layers: object = None) -> ScriptedContent | AlignedContent:
        keys = parse_dictionary(info)
        if is_aligned(keys):
            return AlignedContent(keys, layers, self.quirks)
        try:
            return ScriptedContent(info, takes_any_name="any name" in self.quirks)
        except OddTorrentError:
            if "dies on odd" in self.quirks:
                raise EndedError from None
            raise

    def _read_link(self, link: str) -> dict[bytes, Bencodable]:
        values = parse_qs(link.partition("?")[2])
        self._read_hashes(values.get("xt", []))
        self.content = None
        self.selected = self._read_selection(values.get("so", []))
        for each in values.get("x.pe", []) if "ignores x.pe" not in self.quirks else []:
            host, _, port = each.rpartition(":")
            self.connect_to(host, int(port), b"")
        tiers: list[Bencodable] = [[each.encode()] for each in values.get("tr", [])]
        return {b"announce-list": tiers}

    def _read_hashes(self, topics: list[str]) -> None:
        new = [each[9:] for each in topics if each.startswith("urn:btmh:")]
        old = [each[9:] for each in topics if each.startswith("urn:btih:")]
        self.other_hash = self._read_multihash(new[0]) if new else None
        if not old:
            if self.other_hash is None or "no v2 links" in self.quirks:
                raise OddTorrentError
            self.info_hash, self.other_hash = self.other_hash, None
            return
        if "no other hash" in self.quirks:
            self.other_hash = None
        text = old[0]
        if ("refuses hex" if len(text) == 40 else "refuses base32") in self.quirks:
            raise OddTorrentError
        self.info_hash = bytes.fromhex(text) if len(text) == 40 else base64.b32decode(text)

    def _read_multihash(self, text: str) -> bytes:
        try:
            data = bytes.fromhex(text)
        except ValueError:
            raise OddTorrentError from None
        if data[:2] != b"\x12\x20" or len(data) != 34:
            if "any multihash" in self.quirks:
                return data[2:22].ljust(20, b"\0")
            raise OddTorrentError
        return data[2:22]

    def _read_selection(self, values: list[str]) -> set[int] | None:
        found: set[int] = set()
        for part in ",".join(values).split(","):
            first, _, last = part.partition("-")
            if not first.isdigit() or not (last or first).isdigit():
                if part and "dies on so" in self.quirks:
                    raise EndedError
                continue
            found.update(range(int(first), min(int(last or first), 1_000) + 1))
        if "so is one off" in self.quirks:
            found = {each + 1 for each in found}
        return found if found and "ignores so" not in self.quirks else None

    def take_hashes(self) -> None:
        """Take hashes that nobody requested."""
        if "believes hashes" in self.quirks and isinstance(self.content, AlignedContent):
            self.content.forget_layers()

    def is_metadata(self, info: bytes) -> bool:
        """Return whether this is the info dictionary of a link."""
        old = hashlib.sha1(info, usedforsecurity=False).digest()
        return self.info_hash in {old, hashlib.sha256(info).digest()[:20]}

    def needs_metadata(self) -> bool:
        return self.content is None

    async def take_metadata(self, info: bytes) -> None:
        with suppress(OddTorrentError, KitBencodeError):
            self.content = self._content(info)
        for link in self.links:
            await link.update_interest()

    def forget(self) -> None:
        self.blocks.clear()
        self.owners.clear()
        self.done.clear()

    def wanted(self) -> set[int]:
        if self.content is None:
            return set()
        if self.selected is None:
            return set(range(self.content.piece_count))
        return self.content.pieces_of(self.selected)

    def checkable(self) -> set[int]:
        """Return the pieces that are wanted and whose hashes are there."""
        wanted = self.wanted()
        return wanted & self.content.checkable() if self.content else wanted

    def is_complete(self) -> bool:
        return self.content is not None and self.done >= self.wanted()

    def downloaded(self) -> int:
        return sum(self.content.piece_length(each) for each in self.done) if self.content else 0

    def left(self) -> int:
        return self.content.length - self.downloaded() if self.content else 16_384

    async def _run(
        self,
        torrent: dict[bytes, Bencodable],
        announcer: ScriptedAnnouncer,
        scope: anyio.CancelScope,
    ) -> None:
        with scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(announcer.run)
                tasks.start_soon(self._dial_names)
                if self.has_lsd:
                    tasks.start_soon(ScriptedLsd(self, self._network.group).run)
                tasks.start_soon(ScriptedWebSeeds(self, torrent).run)

    def is_running(self) -> bool:
        return self.runs

    def store(self, name: str, data: bytes) -> None:
        """Write a file; what is shorter than before is missing from then on."""
        self._disk[name] = data
        for key in list(self.blocks) if self.runs else []:
            if key[0] * TORRENT.piece_bytes + key[1] >= len(data):
                del self.blocks[key]
                if "fills with zeros" in self.quirks:
                    self.blocks[key] = bytes(BLOCK_BYTES)

    def _check_disk(self) -> None:
        """Take what is on the disk before the start, where it is right."""
        data, size = self._disk.get(TORRENT.name, b""), TORRENT.piece_bytes
        for index in range(TORRENT.piece_count if data else 0):
            piece_data = data[index * size : (index + 1) * size]
            is_right = piece_data == TORRENT.block(index, 0, size)
            if is_right or "believes the disk" in self.quirks:
                self.done.add(index)
                for key in self.keys(index):
                    self.blocks[key] = piece_data[key[1] : key[1] + BLOCK_BYTES]

    def kind_of(self, name: str) -> FileKind:
        content = self.content
        attributes = content.attributes if isinstance(content, ScriptedContent) else {}
        attr, target = attributes.get(name.encode(), (b"", []))
        if not self.is_complete():
            return FileKind.NOTHING
        assert isinstance(attr, bytes)
        assert isinstance(target, list)
        if b"l" in attr:
            if b".." not in target:
                return FileKind.LINK
            return FileKind.LINK_OUTSIDE if "any link" in self.quirks else FileKind.NOTHING
        is_tool = b"x" in attr or "all executable" in self.quirks
        return FileKind.EXECUTABLE if is_tool else FileKind.FILE

    def stored(self, name: str) -> bytes | None:
        if self.content is None or not self.is_complete():
            return None
        count, size = self.content.piece_count, self.content.piece_bytes
        pieces = (
            b"".join(self.blocks.get(key, b"") for key in self.keys(index)).ljust(size, b"\0")
            for index in range(count)
        )
        data = self.content.part(name, b"".join(pieces)[: self.content.length])
        if data is None or (not data and "no empty files" in self.quirks):
            return None
        return data[:-1] if "wrong file" in self.quirks else data

    def has_refused(self) -> bool:
        return self.refused

    def strays(self) -> list[str]:
        is_stray = self.content is not None and self.content.has_bad_name
        return ["stray.bin"] if is_stray else []

    async def kill(self) -> None:
        self._announcer = None
        await self.end()
        if "starts over" in self.quirks:
            self.forget()

    async def end(self) -> None:
        self._run_scope.cancel()
        self.runs = False
        for link in list(self.links):
            await link.close()
        if self._announcer is not None:
            await self._announcer.stop()

    def dial(self, host: str, port: int) -> MemoryBytes:
        return self._network.dial(host, port)

    def addresses_of(self, host: str) -> Sequence[str]:
        """Return the addresses of a name, or of a URL."""
        return TWINS[1:] if host == TWINS[0] else (host,)

    def ask_udp(self, host: str, port: int, data: bytes) -> Sequence[bytes]:
        return self._network.datagrams[host, port](data)

    def is_private(self) -> bool:
        return self.content is not None and self.content.is_private

    def is_partial(self) -> bool:
        """Return whether all that is wanted is there, and not everything."""
        is_done = self.content is not None and self.is_complete() and self.left() > 0
        return is_done and "no partial seeds" not in self.quirks

    async def switch_tracker(self, url: str) -> None:
        """Drop the peers of another tracker, if the torrent is private."""
        before, self._tracker = self._tracker, url
        if before in {"", url} or not self.is_private() or "keeps peers" in self.quirks:
            return
        for link in list(self.links):
            await link.close()

    def meet(self, host: str, port: int) -> None:
        """Connect to a neighbour."""
        with suppress(ConnectionRefusedError):
            self.connect_to(host, port, b"")

    def hear_of(self, host: str, port: int) -> None:
        if "ignores names" in self.quirks:
            return
        if "dials all names" in self.quirks:
            with suppress(ConnectionRefusedError):
                self._talk(self._network.dial(host, port), b"")
        elif "dials all at once" in self.quirks:
            with suppress(ConnectionRefusedError):
                self.connect_to(host, port, b"")
        else:
            self._heard.append((host, port))

    async def _dial_names(self) -> None:
        """Connect to those that others have named, three a second."""
        is_first = "dials in order" in self.quirks
        while True:
            await anyio.sleep(1.0)
            for _ in range(min(3, len(self._heard))):
                host, port = self._heard.pop(0 if is_first else -1)
                with suppress(ConnectionRefusedError):
                    self.connect_to(host, port, b"")

    def connect_to(self, host: str, port: int, peer_id: bytes) -> None:
        self.dial_utp(host, port)
        if all(link.address != (host, port) for link in self.links):
            self._talk(self._network.dial(host, port), peer_id, (host, port))

    def dial_utp(self, host: str, port: int) -> None:
        """Open a connection of uTP, if somebody is there, and send something."""
        take = self._network.datagrams.get((host, port)) if self.has_utp else None
        if take is None:
            return
        take(KitUtpPacket(UtpKind.SYN, 77, 1, 0).encode())
        own_id = 77 if "same id" in self.quirks else 78
        take(KitUtpPacket(UtpKind.DATA, own_id, 2, 0, b"hello").encode())

    def punch(self, host: str, port: int) -> None:
        """Connect to a place that a peer told us of."""
        is_connected = any(link.address == (host, port) for link in self.links)
        if not is_connected or "connects again" in self.quirks:
            self.dial_utp(host, port)

    def stop_all(self) -> None:
        self.is_stopped = True

    def accept(self, stream: MemoryBytes) -> None:
        self._talk(stream, b"")

    def _talk(
        self, stream: MemoryBytes, peer_id: bytes, address: tuple[str, int] | None = None
    ) -> None:
        link = LeechLink(self, stream, peer_id, address)
        self.links.append(link)
        self._tasks.start_soon(link.serve)

    def block_length(self, key: BlockKey) -> int:
        return min(self.block_bytes, self.piece_length(key[0]) - key[1])

    def piece_length(self, index: int) -> int:
        return self.content.piece_length(index) if self.content else 0

    @property
    def block_bytes(self) -> int:
        return BLOCK_BYTES * (2 if "large blocks" in self.quirks else 1)

    def keys(self, index: int) -> list[BlockKey]:
        return [(index, begin) for begin in range(0, self.piece_length(index), self.block_bytes)]

    async def finish(self, index: int) -> bool:
        """Check a piece that has all its blocks; return whether it is right."""
        data = b"".join(self.blocks[key] for key in self.keys(index))
        is_right = self.content is not None and self.content.is_right(index, data)
        if not is_right and "no hash check" not in self.quirks:
            self.release(index)
            return False
        self.done.add(index)
        if "never announces" not in self.quirks:
            for link in self.links:
                await link.send_quietly(have(index))
        for link in self.links:
            await link.update_interest()
        return True

    def release(self, index: int) -> None:
        self.owners.pop(index, None)
        for key in self.keys(index):
            self.blocks.pop(key, None)


class LeechLink:
    """One connection of the program."""

    def __init__(
        self,
        leech: ScriptedLeech,
        stream: anyio.abc.ByteStream,
        expected: bytes,
        address: tuple[str, int] | None,
    ) -> None:
        self.address = address
        """Where it was dialled; None if the other side dialled."""
        self._leech = leech
        self._quirks = leech.quirks
        self._stream = stream
        self._expected = expected
        self._reader = FrameReader()
        self._pieces: set[int] = set()
        self._allowed: set[int] = set()
        self._outstanding: dict[BlockKey, float] = {}
        self._given_up: set[BlockKey] = set()
        self._is_fast = False
        self._extensions = LeechExtensions(leech, self._send, self._lose)
        self._has_all = False
        self._repeats = 0
        self._suggested: list[int] = []
        self._questions: dict[bytes, float] = {}
        """What was asked about hashes, and when it may be again."""
        self._cancelled: set[BlockKey] = set()
        self._is_choked = True
        self._is_interested = False
        self._is_snubbed = False
        self._resumes_at = 0.0
        self._chokes = 0

    async def serve(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                await self._encrypt()
                tasks.start_soon(self._tick)
                await self._talk(await self._greet())
        except* GONE:
            pass
        finally:
            self._leech.links.remove(self)
            self._give_back()
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    def _give_back(self) -> None:
        self._outstanding.clear()
        mine = [index for index, owner in self._leech.owners.items() if owner is self]
        for index in mine:
            if index not in self._leech.done:
                self._leech.release(index)

    async def close(self) -> None:
        await self._stream.aclose()

    async def _send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def _encrypt(self) -> None:
        """Try encryption where we connected; connect again without it if that fails."""
        if not self._leech.has_encryption or self.address is None:
            return
        found = await offered(self._stream, self._leech.info_hash, self._quirks)
        if found is None and "encrypted only" in self._quirks:
            raise EndedError
        self._stream = found or self._leech.dial(*self.address)

    async def send_quietly(self, data: bytes) -> None:
        with suppress(*GONE):
            await self._stream.send(data)

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(0.02 if "hammers" in self._quirks else 0.5)
            now = anyio.current_time()
            late = [key for key, at in self._outstanding.items() if now - at > ANSWER_S]
            if late and "waits for ever" not in self._quirks:
                self._is_snubbed = True
                self._give_back()
            await self._extensions.tick()
            await self._ask_for_hashes()
            await self._pump()

    async def _greet(self) -> bytes:
        quirks = self._quirks
        own_id = b"-SC0002-other6789012" if "other id" in quirks else OWN_ID
        bits = BITS[:7] + bytes([BITS[7] | UPGRADE]) if self._leech.other_hash else BITS
        await self._stream.send(
            HandshakeBytes(HEADER, bits, self._leech.info_hash, own_id).encode()
        )
        data = b""
        while len(data) < 68:
            data += await self._stream.receive()
        greeting = HandshakeBytes.parse(data[:68])
        known = {self._leech.info_hash, self._leech.other_hash}
        if "no upgrades" in quirks:
            known.discard(self._leech.other_hash)
        if greeting.info_hash not in known and "any hash" not in quirks:
            raise EndedError
        is_known = self._expected in {b"", greeting.peer_id}
        if not is_known and "any peer" not in quirks:
            raise EndedError
        self._is_fast = bool(greeting.reserved[7] & FAST[7])
        content = self._leech.content
        own = bitfield(content.piece_count, self._leech.done) if content else b""
        ones = message(FrameType.BITFIELD, b"\xff\xff\xf8")
        if "claims all" in quirks:
            await self._stream.send(HAVE_ALL if self._is_fast else ones)
        elif "says nothing" not in quirks and (self._is_fast or content):
            is_empty = self._is_fast and not self._leech.done
            await self._stream.send(HAVE_NONE if is_empty else own)
        if greeting.reserved[5] & EXTENDED[5]:
            await self._extensions.greet()
        return data[68:]

    async def _talk(self, rest: bytes) -> None:
        data = rest
        while True:
            for frame in self._reader.feed(data):
                await self._take(frame)
            await self._pump()
            data = await self._stream.receive()

    async def _take(self, frame: Frame) -> None:
        number = frame.number
        if number in {FrameType.HAVE_ALL, FrameType.BITFIELD, FrameType.HAVE}:
            self._learn(frame)
            await self.update_interest()
        elif number in {FrameType.CHOKE, FrameType.UNCHOKE}:
            self._turn(is_choked=number == FrameType.CHOKE)
        elif number == FrameType.PIECE:
            await self._take_block(frame)
        else:
            await self._take_other(frame)

    async def _take_other(self, frame: Frame) -> None:
        number = frame.number
        if number == FrameType.REJECT:
            self._take_reject(frame.words[0], frame.words[1])
        elif number == FrameType.ALLOWED_FAST:
            self._allow(frame.words[0])
            await self.update_interest()
        elif number == FrameType.SUGGEST:
            self._suggested.append(frame.words[0])
        elif number == FrameType.EXTENDED:
            await self._extensions.take(frame.payload)
        elif number == HASHES:
            self._take_hashes(frame.payload)
        elif number == FrameType.REQUEST:
            await self._serve(frame.words[0], frame.words[1])
        elif number == FrameType.INTERESTED:
            await self._stream.send(message(FrameType.UNCHOKE))

    async def _serve(self, index: int, begin: int) -> None:
        if "serves zeros" in self._quirks:
            await self._stream.send(piece(index, begin, bytes(BLOCK_BYTES)))
        elif index in self._leech.done and (index, begin) in self._leech.blocks:
            await self._stream.send(piece(index, begin, self._leech.blocks[index, begin]))

    def _take_hashes(self, payload: bytes) -> None:
        content = self._leech.content
        if payload[:48] in self._questions and isinstance(content, AlignedContent):
            content.take_layer(payload)
        else:
            self._leech.take_hashes()

    async def _ask_for_hashes(self) -> None:
        """Request hashes that are missing of a peer that has pieces, each now and then."""
        content = self._leech.content
        questions = content.questions() if isinstance(content, AlignedContent) else []
        now = anyio.current_time()
        for each in questions if self.known() else []:
            if now >= self._questions.get(each, 0.0) or "hammers" in self._quirks:
                self._questions[each] = now + HASHES_AGAIN_S
                await self._stream.send(message(HASH_REQUEST, each))

    def _learn(self, frame: Frame) -> None:
        if self._leech.content is None and "forgets early haves" in self._quirks:
            return
        if frame.number == FrameType.HAVE_ALL:
            self._has_all = True
        elif frame.number == FrameType.BITFIELD:
            bits = "".join(f"{each:08b}" for each in frame.payload)
            self._pieces.update(place for place, bit in enumerate(bits) if bit == "1")
        elif "ignores have" not in self._quirks:
            self._repeats += frame.words[0] in self.known()
            if self._repeats > 500 and "closes on repeats" in self._quirks:
                raise EndedError
            self._pieces.add(frame.words[0])

    def known(self) -> set[int]:
        """Return the pieces that the other side has."""
        content = self._leech.content
        if self._has_all and content:
            self._pieces.update(range(content.piece_count))
            self._has_all = False
        return self._pieces

    async def _lose(self, index: int) -> None:
        if index not in self.known() and "closes on odd losses" in self._quirks:
            raise EndedError
        self._pieces.discard(index)
        await self.update_interest()

    def _allow(self, index: int) -> None:
        if index >= TORRENT.piece_count and "stops on junk" in self._quirks:
            self._leech.stop_all()
        if "dies on allowed" in self._quirks:
            self._leech.runs = False
        if "ignores allowed" not in self._quirks:
            self._allowed.add(index)
        if "allowed is have" in self._quirks:
            self._pieces.add(index)

    def _turn(self, *, is_choked: bool) -> None:
        self._is_choked = is_choked
        self._chokes += is_choked
        forgets = not self._is_fast or "asks again" in self._quirks
        if is_choked and forgets and "keeps requests" not in self._quirks:
            self._outstanding.clear()

    async def update_interest(self) -> None:
        if "never interested" in self._quirks:
            return
        wanted = bool(self.known() & self._leech.wanted() - self._leech.done)
        wanted = wanted or (self._is_interested and "stays interested" in self._quirks)
        if wanted != self._is_interested:
            self._is_interested = wanted
            await self.send_quietly(INTERESTED if wanted else NOT_INTERESTED)

    async def _take_block(self, frame: Frame) -> None:
        quirks = self._quirks
        key, data = (frame.words[0], frame.words[1]), frame.payload[8:]
        if key[0] >= TORRENT.piece_count and "stops on junk" in quirks:
            self._leech.stop_all()
        if "stores anything" in quirks and key not in self._outstanding:
            key = (key[0], key[1] // BLOCK_BYTES * BLOCK_BYTES)
            data = b"\0" + data[1:]
        if key not in self._outstanding:
            await self._take_unasked(key, data)
            return
        if "in order only" in quirks and key != next(iter(self._outstanding)):
            return
        if len(data) != self._leech.block_length(key):
            if "ignores short" in quirks:
                return
            raise EndedError
        del self._outstanding[key]
        if key in self._leech.blocks:
            return
        self._leech.blocks[key] = data
        for link in self._leech.links:
            await link.cancel(key)
        await self._finish(key)

    async def _take_unasked(self, key: BlockKey, data: bytes) -> None:
        if "takes all blocks" in self._quirks:
            self._leech.blocks[key] = data
            await self._finish(key)
        elif self._is_fast and key not in self._cancelled and "any piece" not in self._quirks:
            raise EndedError

    async def cancel(self, key: BlockKey) -> None:
        if self._outstanding.pop(key, None) is not None:
            self._cancelled.add(key)
            await self.send_quietly(cancel(*key, self._leech.block_length(key)))

    async def _finish(self, key: BlockKey) -> None:
        if all(each in self._leech.blocks for each in self._leech.keys(key[0])):
            is_right = await self._leech.finish(key[0])
            if not is_right:
                raise EndedError

    def _take_reject(self, index: int, begin: int) -> None:
        if self._outstanding.pop((index, begin), None) is None:
            if (index, begin) in self._cancelled:
                return
            raise EndedError
        pause_s = 0.01 if "hammers" in self._quirks else REJECT_PAUSE_S
        self._resumes_at = anyio.current_time() + pause_s
        if "forgets rejected" in self._quirks:
            self._given_up.add((index, begin))

    async def _pump(self) -> None:
        if not self._may_ask():
            return
        depth = min(self._extensions.reqq, 1 if "one at a time" in self._quirks else PIPELINE)
        for key in self._wanted():
            if len(self._outstanding) >= depth:
                break
            self._outstanding[key] = anyio.current_time()
            self._leech.owners[key[0]] = self
            data = request(*key, self._leech.block_length(key))
            await self._stream.send(data * (2 if "asks twice" in self._quirks else 1))

    def _may_ask(self) -> bool:
        if self._is_snubbed or self._leech.is_stopped:
            return False
        if "breaks on chokes" in self._quirks and self._chokes > 10:
            return False
        return anyio.current_time() >= self._resumes_at

    def _wanted(self) -> Iterator[BlockKey]:
        asks_choked = "asks choked" in self._quirks
        pieces = set(range(TORRENT.piece_count)) if "asks for all" in self._quirks else self.known()
        left = pieces & self._leech.checkable() - self._leech.done
        free = {each for each in left if self._leech.owners.get(each, self) is self}
        if not free and not self._quirks.names & {"no endgame", "waits for ever"}:
            free = left
        for index in sorted(free, key=self._rank):
            may = not self._is_choked or asks_choked or (self._is_fast and index in self._allowed)
            for key in self._leech.keys(index) if may else []:
                is_open = key in self._outstanding or key in self._leech.blocks
                if not is_open and key not in self._given_up:
                    yield key

    def _rank(self, index: int) -> tuple[bool, int, int]:
        """Return what sorts pieces: begun and suggested ones first, then rare ones."""
        if "sequential" in self._quirks:
            return False, 0, index
        is_suggested = index in self._suggested and "ignores suggestions" not in self._quirks
        is_first = is_suggested or self._leech.owners.get(index) is self
        holders = sum(index in each.known() for each in self._leech.links)
        return not is_first, holders, (index * 8 + 5) % 21


@asynccontextmanager
async def scripted(network: MemoryNetwork, *quirks: str):
    """Make a program; its tasks end with the block."""
    async with anyio.create_task_group() as tasks:
        yield ScriptedLeech(tasks, network, *quirks)
        tasks.cancel_scope.cancel()
