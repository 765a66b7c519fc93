"""What we may say to a peer, and the state that saying it changes.

Source: BEP 3, BEP 6, BEP 10. An illegal move of our own raises LocalProtocolError.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.extension import ExtensionHandshake, encode_extension_handshake
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    BlockRequest,
    HandshakeReceived,
    MessageId,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_handshake,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
    encode_requests,
)
from torrent_engine.protocol.wire.upload_queue import UploadQueue

MAX_FORSAKEN: Final = 4_000  # ours: twice the longest request queue
MAX_UNSENT_HAVE_BYTES: Final = 128 * 1024  # ours: about 15,000 pieces


class Sender(ABC):
    """The sending half of a PeerConnection: messages are queued for :meth:`data_to_send`."""

    def __init__(
        self,
        *,
        info_hash: InfoHash,
        peer_id: PeerId,
        fast_extension: bool,
        extensions: Mapping[str, int] | None,
        now: float,
    ) -> None:
        self.info_hash = info_hash
        self.peer_id = peer_id
        self.offers_fast = fast_extension
        self.offers_extensions = extensions is not None
        self.extension_ids = dict(extensions or {})
        self.extension_names = {number: name for name, number in self.extension_ids.items()}
        self.handshake: HandshakeReceived | None = None
        self.fast_enabled = False
        self.extensions_enabled = False
        self.am_choking = self.peer_choking = True
        self.am_interested = self.peer_interested = False
        self.is_bitfield_over = False
        """A have or a bitfield came: "have none" may not come any more."""
        self.peer_extensions: dict[str, int] = {}
        self.outstanding: dict[tuple[int, int, int], None] = {}
        """Our requests without an answer, oldest first: (piece, begin and length in bytes)."""
        self.forsaken: dict[tuple[int, int], int] = {}
        """Requests that we gave up; their blocks may still come and are no offence."""
        self.upload_requests = UploadQueue()
        """The peer's requests that wait for our answer, oldest first."""
        self.ports_in: set[int] = set()
        """The ports of its DHT node that the peer named."""
        self.last_extension_handshake: int | None = None
        """Hash of the last extension handshake of the peer; the same again is no news."""
        self.control_units = 0
        """What the messages of the peer that are no payload cost, until somebody resets it."""
        self.allowed_fast_in: set[int] = set()
        self.allowed_fast_out: set[int] = set()
        self.last_sent_s = now
        """For whoever sends to set; what :meth:`send_keep_alive` goes by."""
        self.unsent_bytes = 0
        """What waits for :meth:`data_to_send` beside payload, "bitfield" and "have"."""
        self._out: list[bytes | memoryview] = []
        self._unsent_have_bytes = 0
        self._unsent_states: dict[MessageId, bytes] = {}
        """Messages that wait and would be taken back by their opposite."""
        self._choked_requests = 0
        self._unsent_rejects = 0
        self._fast_bytes: dict[int, int] = {}

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return the buffers to send now, in order, and forget them."""
        out, self._out = self._out, []
        self.unsent_bytes = self._unsent_rejects = self._unsent_have_bytes = 0
        if self._unsent_states:
            self._unsent_states.clear()
        return out

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would return anything."""
        return bool(self._out)

    def send_handshake(self, *, dht: bool = False) -> None:
        """Queue our handshake (BEP 3); it must be the first thing that is sent.

        ``dht`` says that we have a DHT node, whose port :meth:`send_port` tells (BEP 5).
        """
        self._queue(
            encode_handshake(
                self.info_hash,
                self.peer_id,
                fast=self.offers_fast,
                extensions=self.offers_extensions,
                dht=dht,
            )
        )

    def send_keep_alive(self) -> None:
        """Queue a message of length zero (BEP 3)."""
        self._queue(KEEP_ALIVE)

    def send_port(self, port: int) -> None:
        """Queue the UDP port of our DHT node (BEP 5)."""
        self._queue(encode_port(port))

    def send_extension_handshake(self, handshake: ExtensionHandshake) -> None:
        """Queue an extension handshake (BEP 10)."""
        self._need(allowed=self.extensions_enabled, what="extension handshake")
        self._queue(encode_extended(0, encode_extension_handshake(handshake)))

    def send_extension(self, name: str, payload: bytes) -> bool:
        """Queue a message of an extension; return whether the peer has named that extension."""
        number = self.peer_extensions.get(name, 0)
        if number:
            self._queue(encode_extended(number, payload))
        return bool(number)

    def send_bitfield(self, bitfield: Bitfield) -> None:
        """Queue what we have: "have all", "have none" or "bitfield"; nothing if BEP 3 lets us."""
        if self.fast_enabled and bitfield.all():
            self._queue(encode_plain(MessageId.HAVE_ALL))
        elif self.fast_enabled and bitfield.none():
            self._queue(encode_plain(MessageId.HAVE_NONE))
        elif not bitfield.none():
            self._out.append(encode_bitfield(bitfield))

    def send_have(self, pieces: Iterable[int]) -> None:
        """Queue one "have" for each piece, as one buffer.

        Where the peer has not read very many of them, it does not hear of these (BEP 3 lets us).
        """
        if self._unsent_have_bytes > MAX_UNSENT_HAVE_BYTES:
            return
        if messages := [encode_piece_index(MessageId.HAVE, piece) for piece in pieces]:
            self._out.append(b"".join(messages))
            self._unsent_have_bytes += len(self._out[-1])

    def choke(self) -> tuple[BlockRequest, ...]:
        """Stop answering; return the requests that were dropped.

        With the Fast extension each of them is rejected, but for those of allowed-fast pieces.
        """
        if self.am_choking:
            return ()
        self.am_choking = True
        self._say(MessageId.CHOKE, instead_of=MessageId.UNCHOKE)
        dropped = tuple(r for r in self.upload_requests if r[0] not in self.allowed_fast_out)
        for request in dropped:
            self.upload_requests.discard(request)
            self.reject(request)
        if dropped and not self.fast_enabled:
            self._unsent_states.pop(MessageId.CHOKE, None)  # nothing else says that they are gone
        return dropped

    def unchoke(self) -> None:
        """Begin to answer requests."""
        if self.am_choking:
            self.am_choking = False
            self._choked_requests = 0
            self._say(MessageId.UNCHOKE, instead_of=MessageId.CHOKE)

    def set_interested(self, *, interested: bool) -> None:
        """Say whether we want pieces of the peer, if that has changed."""
        if interested != self.am_interested:
            self.am_interested = interested
            kinds = MessageId.NOT_INTERESTED, MessageId.INTERESTED
            self._say(kinds[interested], instead_of=kinds[not interested])

    def request_blocks(self, requests: Sequence[tuple[int, int, int]]) -> None:
        """Ask for blocks, as one buffer.

        Raises LocalProtocolError if the peer chokes us and a piece is not allowed fast.
        """
        if self.peer_choking:
            allowed = all(request[0] in self.allowed_fast_in for request in requests)
            self._need(allowed=allowed, what="request while choked")
        self.outstanding.update(dict.fromkeys(requests))
        if requests:
            self._queue(encode_requests(requests))

    def cancel(self, request: BlockRequest) -> None:
        """Take back one request; its block may come all the same."""
        if request in self.outstanding:
            del self.outstanding[request]
            self._forsake_one(request)
            self._queue(encode_block_message(MessageId.CANCEL, request))

    def outstanding_requests(self) -> tuple[BlockRequest, ...]:
        """Return our requests without an answer, oldest first."""
        return tuple(map(BlockRequest._make, self.outstanding))

    def forsake(self, requests: Iterable[BlockRequest]) -> None:
        """Give requests up without telling the peer; their blocks are no offence."""
        for request in requests:
            if request in self.outstanding:
                del self.outstanding[request]
                self._forsake_one(request)

    def take_back(self, request: BlockRequest) -> bool:
        """Forget a request that the peer rejected; return whether we still waited for it.

        The reject of one that we had given up, by a cancel say, is no news; of one that was never
        made it is an offence.
        """
        key = request[:2]
        if request in self.outstanding:
            del self.outstanding[request]
            return True
        if self.forsaken.get(key) == request[2]:
            del self.forsaken[key]
        else:
            self._strike("reject of what was not requested", bep=6)
        return False

    def reject(self, request: BlockRequest) -> None:
        """Refuse a request of the peer (BEP 6); without the Fast extension nothing is said."""
        if self.fast_enabled:
            self._unsent_rejects += 1
            self._queue(encode_block_message(MessageId.REJECT_REQUEST, request))

    def reject_missing(self, requests: Sequence[BlockRequest]) -> None:
        """Refuse requests for pieces that we do not have; they cost the peer something."""
        self.control_units += len(requests)
        for request in requests:
            self.reject(request)

    def send_block(self, piece: int, begin_bytes: int, data: memoryview) -> None:
        """Queue one block; ``data`` must not change until it is sent."""
        self._out.append(encode_piece_header(piece, begin_bytes, len(data)))
        self._out.append(data)

    def send_blocks(self, requests: Iterable[BlockRequest], data: memoryview) -> None:
        """Queue the blocks of requests whose payloads follow each other in ``data``.

        See :meth:`send_block`.
        """
        out, start = self._out, 0
        for piece, begin, length in requests:
            stop = start + length
            out += (encode_piece_header(piece, begin, length), data[start:stop])
            start = stop

    def allow_fast(self, pieces: Iterable[int]) -> None:
        """Tell the peer that it may request these pieces while choked (BEP 6)."""
        self._need(allowed=self.fast_enabled, what="allowed fast")
        for piece in pieces:
            self.allowed_fast_out.add(piece)
            self._queue(encode_piece_index(MessageId.ALLOWED_FAST, piece))

    def suggest(self, piece: int) -> None:
        """Suggest a piece to the peer (BEP 6)."""
        self._need(allowed=self.fast_enabled, what="suggest piece")
        self._queue(encode_piece_index(MessageId.SUGGEST_PIECE, piece))

    def _queue(self, message: bytes) -> None:
        self._out.append(message)
        self.unsent_bytes += len(message)

    def _say(self, kind: MessageId, *, instead_of: MessageId) -> None:
        """Queue a change of state; if its opposite still waits, take that back instead."""
        opposite = self._unsent_states.pop(instead_of, None)
        if opposite is None:
            self._unsent_states[kind] = encode_plain(kind)
            self._queue(self._unsent_states[kind])
            return
        for at in range(len(self._out) - 1, -1, -1):
            if self._out[at] is opposite:
                del self._out[at]
                self.unsent_bytes -= len(opposite)
                return

    @abstractmethod
    def _strike(self, what: str, *, bep: int) -> None:
        """Count an offence of the peer; the receiving half knows the limit."""

    def _forsake_one(self, request: BlockRequest) -> None:
        if len(self.forsaken) >= MAX_FORSAKEN:
            self.forsaken.pop(next(iter(self.forsaken)))
        self.forsaken[request[:2]] = request[2]

    def _need(self, *, allowed: bool, what: str) -> None:
        if not allowed:
            raise LocalProtocolError(f"{what} is not allowed now")
