"""The events of a conversation do not depend on how its bytes were cut into reads."""

import pytest

from tests.support.peer_pair import (
    GEOMETRY,
    TINY_BUFFERS,
    feed,
    make_connection,
    plain,
    their_handshake,
)
from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    AllowedFast,
    BlockReceived,
    BlockRequest,
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    HandshakeReceived,
    KeepAliveReceived,
    MessageId,
    PeerBitfield,
    PeerChoked,
    PeerHas,
    PeerInterested,
    PeerLost,
    PeerNotInterested,
    PeerUnchoked,
    PieceSuggested,
    PortReceived,
    ProtocolViolated,
    RequestCancelled,
    RequestRejected,
    UnrequestedBlock,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
)

M = MessageId
EXTENSIONS = {"ut_pex": 1, "lt_donthave": 7}
REQUEST = BlockRequest(3, 16_384, 16_384)
LAST_BLOCK = BlockRequest(10, 16_384, 3_616)
ASKED = [BlockRequest(1, 0, BLOCK_BYTES), LAST_BLOCK, BlockRequest(2, 0, BLOCK_BYTES)]
FORSAKEN = BlockRequest(4, 0, BLOCK_BYTES)


def block(request: BlockRequest, fill: int) -> bytes:
    data = bytes((fill + at) & 255 for at in range(251)) * (request.length_bytes // 251 + 1)
    return encode_piece_header(*request) + data[: request.length_bytes]


EVERY_MESSAGE = b"".join(
    [
        encode_extended(0, encode({"m": {"ut_pex": 3}, "reqq": 500, "v": "x"})),
        encode_bitfield(Bitfield.from_int(0b101, GEOMETRY.piece_count)),
        encode_piece_index(M.HAVE, 3),
        encode_plain(M.UNCHOKE),
        KEEP_ALIVE,
        block(ASKED[0], 7),
        encode_plain(M.INTERESTED),
        encode_block_message(M.REQUEST, REQUEST),
        encode_block_message(M.REQUEST, LAST_BLOCK),
        encode_block_message(M.CANCEL, REQUEST),
        block(FORSAKEN, 9),
        block(BlockRequest(5, 0, 500), 1),
        KEEP_ALIVE,
        encode_piece_index(M.SUGGEST_PIECE, 4),
        encode_piece_index(M.ALLOWED_FAST, 5),
        (1 + 300).to_bytes(4, "big") + bytes((22,)) + bytes(300),
        (1).to_bytes(4, "big") + bytes((21,)),
        encode_extended(1, b"pex payload"),
        encode_extended(99, b"nobody named this"),
        encode_extended(7, (3).to_bytes(4, "big")),
        block(LAST_BLOCK, 3),
        encode_port(6881),
        encode_plain(M.CHOKE),
        encode_block_message(M.REJECT_REQUEST, ASKED[2]),
        encode_plain(M.NOT_INTERESTED),
        encode_plain(M.HAVE_NONE),  # the violation
        encode_piece_index(M.HAVE, 1),
    ]
)


def ready(transfer: TransferConfig | None) -> PeerConnection:
    connection = make_connection(extensions=EXTENSIONS, transfer=transfer)
    connection.sender.unchoke()
    connection.state.peer_choking = False
    connection.sender.request_blocks([*ASKED, FORSAKEN])
    connection.state.abandon([FORSAKEN])
    connection.state.peer_choking = True
    return connection


def talk(chunk_bytes: int | None, transfer: TransferConfig | None = None) -> list[object]:
    data = their_handshake() + EVERY_MESSAGE
    return plain(feed(ready(transfer), data, chunk_bytes=chunk_bytes))


WHOLE = talk(None)


def test_bep3_every_message_has_its_event_in_the_order_of_the_wire() -> None:
    kinds = [event[0] if type(event) is tuple else type(event) for event in WHOLE]
    assert kinds == [
        HandshakeReceived,
        ExtensionHandshakeReceived,
        PeerBitfield,
        PeerHas,
        PeerUnchoked,
        KeepAliveReceived,
        BlockReceived,
        PeerInterested,
        BlockRequest,
        BlockRequest,
        RequestCancelled,
        BlockReceived,
        UnrequestedBlock,
        KeepAliveReceived,
        PieceSuggested,
        AllowedFast,
        ExtensionMessageReceived,
        PeerLost,
        BlockReceived,
        PortReceived,
        PeerChoked,
        RequestRejected,
        PeerNotInterested,
        ProtocolViolated,
    ]
    assert WHOLE[6] == (BlockReceived, *ASKED[0], block(ASKED[0], 7)[13:])
    assert WHOLE[11] == (BlockReceived, *FORSAKEN, block(FORSAKEN, 9)[13:])
    assert WHOLE[18] == (BlockReceived, *LAST_BLOCK, block(LAST_BLOCK, 3)[13:])


@pytest.mark.parametrize("transfer", [None, TINY_BUFFERS], ids=["buffers", "tiny_buffers"])
@pytest.mark.parametrize("chunk_bytes", [None, 1, 3, 13, 17, 4096, 16_397])
def test_bep3_any_chunking_gives_the_same_events(
    chunk_bytes: int | None, transfer: TransferConfig | None
) -> None:
    assert talk(chunk_bytes, transfer) == WHOLE


def test_bep3_cut_at_any_byte_gives_the_same_events() -> None:
    data = their_handshake() + EVERY_MESSAGE
    headers = [at for at in range(len(data)) if at < 700 or len(data) - at < 700]
    for cut in headers:
        connection = ready(None)
        events = feed(connection, data[:cut]) + feed(connection, data[cut:])
        assert plain(events) == WHOLE


def test_bep3_zero_copy_path_gives_the_same_events_as_receive_data() -> None:
    data = memoryview(their_handshake() + EVERY_MESSAGE)
    connection = ready(None)
    events: list[object] = []
    while data:
        room = connection.receive_buffer()[:1000]
        room[: len(data)] = data[: len(room)]
        taken = min(len(room), len(data))
        events += plain(connection.bytes_received(taken, now=0.0))
        data = data[taken:]
    assert events == WHOLE
