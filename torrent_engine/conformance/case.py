"""One run of one rule: its connections, its time, and its log."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import anyio
from anyio.abc import SocketAttribute

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import (
    BLOCK_BYTES,
    HEADER,
    INTERESTED,
    PLAIN,
    Frame,
    FrameType,
    HandshakeBytes,
    request,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.subject import SubjectPort
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.verdicts import Verdict
from torrent_engine.conformance.wire_log import WireLog

GREETING_S: Final = 10.0
UNCHOKE_S: Final = 60.0  # some programs decide every ten seconds, and not for everybody at once
AGAIN_S: Final = 12.0
ANSWER_S: Final = 15.0
GRACE_S: Final = 1.0
NO_PORT: Final = 6_881  # of a connection in memory
NOWHERE: Final = ("127.0.0.1", 9_000)
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

RIGHT: Final = "right bytes"
WRONG: Final = "wrong bytes"
REJECTED: Final = "rejected"
CLOSED: Final = "closed"
SILENT: Final = "silence"
WORKS: Final = "goes on"
IGNORED_OR_CLOSED: Final = {WORKS: Verdict.PASS, CLOSED: Verdict.PASS, WRONG: Verdict.FAIL}
"""Table of rules about messages that make no sense."""

Closer = Callable[[], Coroutine[Any, Any, None]]


class Case:
    """What the function of a rule works with."""

    def __init__(
        self,
        limit_s: float,
        subject: SubjectPort,
        torrent: SampleTorrent,
        addresses: Iterator[str],
        *,
        patience: float = 1.0,
    ) -> None:
        self.subject = subject
        self.torrent = torrent
        self.patience = patience
        self.limit_s = limit_s * patience
        self.log = WireLog(anyio.current_time)
        self._addresses = addresses
        self._own_address = next(addresses)
        self._peers: list[RawPeer] = []
        self._closers: list[Closer] = []

    def new_address(self) -> str:
        """Return an address of ours that nobody has used."""
        return next(self._addresses)

    def at_end(self, closer: Closer) -> None:
        """Await ``closer`` when this case is over."""
        self._closers.append(closer)

    async def connect(self, *, another_address: bool = False) -> RawPeer:
        """Connect, and send nothing; from the address of this case, or from a new one."""
        address = next(self._addresses) if another_address else self._own_address
        stream = await self.subject.connect(address)
        local = stream.extra(SocketAttribute.local_address, (address, NO_PORT))  # noqa: S610
        remote = stream.extra(SocketAttribute.remote_address, NOWHERE)  # noqa: S610 - not Django's
        number = len(self._peers)
        label = _LETTERS[number] if number < len(_LETTERS) else str(number)
        peer = RawPeer(stream, self.log, label, str(local[0]))
        peer.port, peer.remote = int(local[1]), (str(remote[0]), int(remote[1]))
        self._peers.append(peer)
        return peer

    async def close(self) -> None:
        """Close all connections of this case."""
        with anyio.CancelScope(shield=True):
            for peer in self._peers:
                await peer.close()
            for closer in self._closers:
                await closer()

    def greeting(self, peer: RawPeer, reserved: bytes = PLAIN) -> bytes:
        """Return the handshake that a well-behaved peer sends."""
        return HandshakeBytes(HEADER, reserved, self.torrent.info_hash, peer.peer_id).encode()

    async def greet(self, reserved: bytes = PLAIN, *, another_address: bool = False) -> RawPeer:
        """Connect and exchange handshakes. Raises UndecidedError."""
        peer = await self.connect(another_address=another_address)
        await peer.send(self.greeting(peer, reserved), "handshake")
        await self.expect_greeting(peer)
        return peer

    async def expect_greeting(self, peer: RawPeer) -> HandshakeBytes:
        """Wait for the handshake of the other side. Raises UndecidedError."""
        greeting = await peer.receive_greeting(GREETING_S * self.patience)
        if greeting is None:
            raise UndecidedError("no handshake came")
        return greeting

    async def unchoked(self, reserved: bytes = PLAIN) -> RawPeer:
        """Return a peer that was unchoked. Raises UndecidedError."""
        peer = await self.greet(reserved)
        await self.wait_unchoked(peer)
        return peer

    async def wait_unchoked(self, peer: RawPeer) -> None:
        """Say that we are interested, and wait for "unchoke". Raises UndecidedError."""
        if not await self._is_unchoked(peer):
            reason = "the connection was closed" if peer.is_closed else "never unchoked"
            raise UndecidedError(reason)

    async def _is_unchoked(self, peer: RawPeer) -> bool:
        for wait_s in (AGAIN_S, UNCHOKE_S - AGAIN_S):
            await peer.send(INTERESTED, "interested")
            if peer.is_unchoked or peer.is_closed:
                break
            # said again after that: some programs lose what comes right after the handshake
            await peer.wait_for(
                lambda frame: frame.number == FrameType.UNCHOKE, wait_s * self.patience
            )
            if peer.is_unchoked:
                break
        return peer.is_unchoked and not peer.is_closed

    async def ask(
        self, peer: RawPeer, index: int = 0, begin: int = 0, length: int = BLOCK_BYTES
    ) -> str:
        """Request one block and return what came: bytes, a reject, the end, or silence."""
        await peer.send(request(index, begin, length), f"request {index} {begin} {length}")
        return await self.answer(peer, index, begin, length)

    async def answer(self, peer: RawPeer, index: int, begin: int, length: int = BLOCK_BYTES) -> str:
        """Return what came for a request that was sent."""
        frame = await peer.wait_for(
            lambda each: is_answer(each, index, begin), ANSWER_S * self.patience
        )
        if frame is None:
            return CLOSED if peer.is_closed else SILENT
        if frame.number == FrameType.REJECT:
            return REJECTED
        return RIGHT if self.is_right(frame, length) else WRONG

    def is_right(self, frame: Frame, length: int | None = None) -> bool:
        """Return whether the data of a "piece" is that of the torrent (and so long)."""
        index, begin = frame.words[:2]
        data = frame.payload[8:]
        fits = length is None or len(data) == length
        return fits and data == self.torrent.block(index, begin, len(data))

    async def reaction(self, peer: RawPeer) -> str:
        """Return whether a connection still works: it is asked for a block.

        ``goes on``, ``closed``, ``wrong bytes``, or ``silence``.
        """
        if not await self._is_unchoked(peer):
            return CLOSED if peer.is_closed else SILENT
        answer = await self.ask(peer)
        return {RIGHT: WORKS, REJECTED: WORKS}.get(answer, answer)

    async def ask_badly(self, peer: RawPeer, index: int, begin: int, length: int) -> str:
        """Send a request that nobody may answer with data, then a good one; return what came.

        ``data``, ``rejected``, ``closed``, ``silence`` (the good one was answered), or ``nothing``
        (not even that).
        """
        last = self.torrent.piece_count - 2
        await peer.send(request(index, begin, length), f"request {index} {begin} {length}")
        await peer.send(request(last, 0), f"request {last} 0")
        good = await self.answer(peer, last, 0)
        await peer.watch(GRACE_S * self.patience)
        others = [each for each in peer.seen if each.number in _ANSWERS and each.words[0] != last]
        if any(each.number == FrameType.PIECE for each in others):
            return "data"
        if others:
            return REJECTED
        if peer.is_closed:
            return CLOSED
        return SILENT if good == RIGHT else "nothing"


_ANSWERS: Final = frozenset({FrameType.PIECE, FrameType.REJECT})


def is_answer(frame: Frame, index: int, begin: int) -> bool:
    """Return whether a message is the piece or the reject of one request."""
    return frame.number in _ANSWERS and frame.words[:2] == (index, begin)
