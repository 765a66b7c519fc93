"""The messages that we send to a peer, and the state that sending them changes.

Source: BEP 3, BEP 6, BEP 10, BEP 52. A message that is not allowed now raises LocalProtocolError.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.protocol.wire.connection_state import ConnectionState
from torrent_engine.protocol.wire.extension import ExtensionHandshake, encode_extension_handshake
from torrent_engine.protocol.wire.hash_messages import (
    encode_hash_reject,
    encode_hash_request,
    encode_hashes,
)
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    BlockRequest,
    MessageId,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_handshake,
    encode_haves,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
    encode_requests,
)

MAX_UNSENT_HASH_BYTES: Final = 64 * 1024  # ours: with more to send hash requests are rejected


class MessageSender:
    """The sending half of a PeerConnection: queues messages for its ``data_to_send()``."""

    __slots__ = ("_queue", "_state")

    def __init__(self, state: ConnectionState) -> None:
        self._state = state
        self._queue = state.queue

    def send_handshake(self, *, dht: bool = False) -> None:
        """Queue our handshake (BEP 3), which must be the first message.

        ``dht`` says that we have a DHT node, whose port :meth:`send_port` sends (BEP 5).
        """
        state = self._state
        self._queue.add(
            encode_handshake(
                state.info_hash,
                state.peer_id,
                fast=state.offers_fast,
                extensions=state.offers_extensions,
                dht=dht,
                v2=state.is_upgradable,
            )
        )

    def answer_handshake(self, *, dht: bool = False) -> None:
        """Queue our handshake, of a hybrid when the peer has sent its own.

        That says which swarm the link is of, and so our info-hash (BEP 52).
        """
        if self._state.v2_hash is None:
            self.send_handshake(dht=dht)
        else:
            self._state.late_handshake = dht

    def send_keep_alive(self) -> None:
        """Queue a message of length zero (BEP 3)."""
        self._queue.add(KEEP_ALIVE)

    def send_port(self, port: int) -> None:
        """Queue the UDP port of our DHT node (BEP 5)."""
        self._queue.add(encode_port(port))

    def send_extension_handshake(self, handshake: ExtensionHandshake) -> None:
        """Queue an extension handshake (BEP 10)."""
        _require(self._state.extensions_enabled, "extension handshake")
        self._queue.add(encode_extended(0, encode_extension_handshake(handshake)))

    def send_extension(self, name: str, payload: bytes) -> bool:
        """Queue a message of an extension; return whether the peer supports that extension."""
        number = self._state.peer_extensions.get(name, 0)
        if number:
            self._queue.add(encode_extended(number, payload))
        return bool(number)

    def send_bitfield(self, bitfield: Bitfield) -> None:
        """Queue what we have as "have all", "have none" or "bitfield".

        Without the Fast extension an empty bitfield is not sent (BEP 3).
        """
        if self._state.fast_enabled and bitfield.all():
            self._queue.add(encode_plain(MessageId.HAVE_ALL))
        elif self._state.fast_enabled and bitfield.none():
            self._queue.add(encode_plain(MessageId.HAVE_NONE))
        elif not bitfield.none():
            self._queue.add_uncounted(encode_bitfield(bitfield))

    def send_have(self, pieces: Collection[int]) -> None:
        """Queue one "have" message for each piece, as one buffer."""
        self.send_encoded_haves(encode_haves(pieces))

    def send_encoded_haves(self, messages: bytes) -> None:
        """Queue the result of :func:`encode_haves`, which many peers may share."""
        self._queue.add_haves(messages)

    def choke(self) -> tuple[BlockRequest, ...]:
        """Choke the peer; return its requests that were dropped.

        With the Fast extension those of allowed-fast pieces are kept, the others are rejected.
        """
        state = self._state
        if state.am_choking:
            return ()
        state.am_choking = True
        self._queue.add_state(MessageId.CHOKE, opposite=MessageId.UNCHOKE)
        dropped = tuple(r for r in state.upload_requests if r[0] not in state.allowed_fast_out)
        for request in dropped:
            state.upload_requests.discard(request)
        state.reject_all(dropped)
        if dropped and not state.fast_enabled:
            self._queue.keep_state(MessageId.CHOKE)  # nothing else says that they are dropped
        return dropped

    def unchoke(self) -> None:
        """Unchoke the peer."""
        if self._state.am_choking:
            self._state.am_choking = False
            self._state.choked_requests = 0
            self._queue.add_state(MessageId.UNCHOKE, opposite=MessageId.CHOKE)

    def set_interested(self, *, interested: bool) -> None:
        """Queue "interested" or "not interested" if that has changed."""
        if interested != self._state.am_interested:
            self._state.am_interested = interested
            kinds = MessageId.NOT_INTERESTED, MessageId.INTERESTED
            self._queue.add_state(kinds[interested], opposite=kinds[not interested])

    def request_blocks(self, requests: Sequence[tuple[int, int, int]]) -> None:
        """Queue requests for blocks, as one buffer.

        Raises LocalProtocolError if the peer chokes us and a piece is not allowed fast.
        """
        state = self._state
        if state.peer_choking:
            allowed = all(request[0] in state.allowed_fast_in for request in requests)
            _require(allowed, "request while choked")
        state.outstanding.update(dict.fromkeys(requests))
        if requests:
            state.has_requested = True
            self._queue.add(encode_requests(requests))

    def cancel(self, request: BlockRequest) -> None:
        """Cancel an outstanding request; its block may still come."""
        if request in self._state.outstanding:
            self._state.abandon((request,))
            self._queue.add(encode_block_message(MessageId.CANCEL, request))

    def cancel_blocks(self, blocks: Iterable[tuple[int, int, int]]) -> None:
        """Cancel those of some requests that are outstanding, as one buffer."""
        requests = [block for block in blocks if block in self._state.outstanding]
        if requests:
            self._state.abandon(requests)
            self._queue.add(encode_requests(requests, MessageId.CANCEL))

    def reject(self, request: BlockRequest) -> None:
        """Reject a request of the peer (BEP 6); nothing is sent without the Fast extension."""
        self._state.reject(request)

    def reject_missing(self, requests: Sequence[BlockRequest]) -> None:
        """Reject requests for pieces that we do not have, and charge the peer for them."""
        self._state.control_units += len(requests)
        self._state.reject_all(requests)

    def send_block(self, piece: int, begin_bytes: int, data: memoryview) -> None:
        """Queue one block; ``data`` must not change until it is sent."""
        self._queue.add_uncounted(encode_piece_header(piece, begin_bytes, len(data)), data)

    def send_blocks(self, requests: Iterable[BlockRequest], data: memoryview) -> None:
        """Queue the blocks of requests whose payloads follow each other in ``data``.

        ``data`` must not change until it is sent.
        """
        out: list[bytes | memoryview] = []
        start = 0
        for piece, begin, length in requests:
            stop = start + length
            out += (encode_piece_header(piece, begin, length), data[start:stop])
            start = stop
        self._queue.add_uncounted(*out)

    def request_hashes(self, wanted: HashRange) -> None:
        """Queue a request for hashes (BEP 52), of a peer in the swarm of the v2 part."""
        _require(self._state.is_v2, "hash request")
        self._state.hash_requests.add(wanted)
        self._queue.add(encode_hash_request(wanted))

    def answer_hash_request(self, wanted: HashRange, hashes: bytes | None) -> None:
        """Queue hashes that the peer asked for (BEP 52), or a reject, also for one that floods."""
        if hashes is None or self._queue.unsent_bytes > MAX_UNSENT_HASH_BYTES:
            self._queue.add(encode_hash_reject(wanted))
        else:
            self._queue.add(encode_hashes(wanted, hashes))

    def allow_fast(self, pieces: Iterable[int]) -> None:
        """Permit the peer to request these pieces while choked (BEP 6)."""
        _require(self._state.fast_enabled, "allowed fast")
        for piece in pieces:
            self._state.allowed_fast_out.add(piece)
            self._queue.add(encode_piece_index(MessageId.ALLOWED_FAST, piece))

    def suggest(self, piece: int) -> None:
        """Suggest a piece to the peer (BEP 6)."""
        _require(self._state.fast_enabled, "suggest piece")
        self._queue.add(encode_piece_index(MessageId.SUGGEST_PIECE, piece))


def _require(allowed: bool, what: str) -> None:  # noqa: FBT001 - a private check
    if not allowed:
        raise LocalProtocolError(f"{what} is not allowed now")
