"""A seed in memory of a torrent of version 2, a hybrid, or one with pads, and what it breaks."""

from hashlib import sha256

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import EndedError, Quirks
from tests.conformance.scripted_seed import OWN_ID, MemoryBytes, memory_pair
from tests.conformance.scripted_v2 import leaves
from torrent_engine.conformance.frames import (
    FAST,
    HAVE_ALL,
    HEADER,
    Frame,
    FrameReader,
    FrameType,
    HandshakeBytes,
    message,
    piece,
    reject,
)
from torrent_engine.conformance.torrent_set import SampleTorrent

HASH_REQUEST, HASHES, HASH_REJECT = 21, 22, 23
UPGRADE = 0x10
ENDS = (EndedError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


def tree_of(data: bytes) -> list[list[bytes]]:
    """Return the layers of a file's tree, the root first."""
    bottom = leaves(data)
    width = 1
    while width < len(bottom):
        width *= 2
    layers = [bottom + [bytes(32)] * (width - len(bottom))]
    while len(layers[0]) > 1:
        below = layers[0]
        pairs = zip(below[::2], below[1::2], strict=True)
        layers.insert(0, [sha256(left + right).digest() for left, right in pairs])
    return layers


class ScriptedHashSeed:
    """The subject's side: each connection is served by a task."""

    name = "scripted"
    can_restart = True

    def __init__(self, tasks: anyio.abc.TaskGroup, torrent: SampleTorrent, *quirks: str) -> None:
        self._tasks = tasks
        self._torrent = torrent
        self._quirks = Quirks(frozenset(quirks))
        self._trees = {
            tree[0][0]: tree for data in torrent.stored_files().values() for tree in [tree_of(data)]
        }

    async def connect(self, source: str) -> MemoryBytes:
        ours, theirs = memory_pair()
        self._tasks.start_soon(self._serve, theirs)
        return ours

    def is_running(self) -> bool:
        return True

    def rss_bytes(self) -> None:
        return None

    def cpu_s(self) -> None:
        return None

    async def restart(self) -> None:
        """Do nothing: it does not end."""

    async def _serve(self, stream: MemoryBytes) -> None:
        try:
            rest = await self._greet(stream)
            await self._talk(stream, rest)
        except ENDS:
            pass
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _greet(self, stream: MemoryBytes) -> bytes:
        data = b""
        while len(data) < 68:
            data += await stream.receive()
        asked = HandshakeBytes.parse(data[:68])
        hashes = self._torrent.info_hashes
        if asked.info_hash not in hashes:
            raise EndedError
        found = asked.info_hash
        offers = bool(asked.reserved[7] & UPGRADE) and "no upgrade" not in self._quirks
        if offers or "always upgrades" in self._quirks:
            found = hashes[0]
        if "other hash" in self._quirks:
            found = bytes(20)
        await stream.send(HandshakeBytes(HEADER, FAST, found, OWN_ID).encode() + HAVE_ALL)
        return data[68:]

    async def _talk(self, stream: MemoryBytes, rest: bytes) -> None:
        reader, data, is_unchoked = FrameReader(), rest, False
        while True:
            for frame in reader.feed(data):
                if frame.number == FrameType.INTERESTED:
                    is_unchoked = True
                    await stream.send(message(FrameType.UNCHOKE))
                elif frame.number == FrameType.REQUEST:
                    await stream.send(self._block(*frame.words))
                elif frame.number == HASH_REQUEST:
                    await self._take_question(stream, frame, is_unchoked=is_unchoked)
            data = await stream.receive()

    def _block(self, index: int, begin: int, length: int) -> bytes:
        data = self._torrent.block(index, begin, length)
        if not any(data):
            if "rejects gaps" in self._quirks:
                return reject(index, begin, length)
            data = b"\1" * length if "no zeros" in self._quirks else data
        return piece(index, begin, data)

    async def _take_question(self, stream: MemoryBytes, frame: Frame, *, is_unchoked: bool) -> None:
        if "silent when choked" in self._quirks and not is_unchoked:
            return
        payload = frame.payload
        if len(payload) != 48:
            if "any length" not in self._quirks:
                raise EndedError
            payload = payload.ljust(48, b"\0")[:48]
        hashes = self._hashes(payload)
        if hashes is None and "ignores odd questions" in self._quirks:
            return
        number = HASH_REJECT if hashes is None else HASHES
        await stream.send(message(number, payload + b"".join(hashes or ())))

    def _hashes(self, payload: bytes) -> list[bytes] | None:
        tree = self._trees.get(payload[:32])
        base, index, length, proof = (
            int.from_bytes(payload[place : place + 4], "big") for place in (32, 36, 40, 44)
        )
        is_refused = (proof and "no proofs" in self._quirks) or (
            base == 0 and "no leaves" in self._quirks
        )
        if tree is None or is_refused or not length or base >= len(tree):
            return None
        if "wrong hashes" in self._quirks:
            return [bytes(32)] * length
        level = len(tree) - 1 - base
        found = tree[level][index : index + length]
        if len(found) < length:
            return None
        covered = 1
        while covered < length:  # up to the node above all of them
            level, index, covered = level - 1, index // 2, covered * 2
            proof -= 1
        proof += length > 1
        while proof > 0 and level > 0:
            found.append(tree[level][index ^ 1])
            level, index, proof = level - 1, index // 2, proof - 1
        return found
