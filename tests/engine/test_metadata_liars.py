"""Liars around one honest peer, over real sockets: metadata (row B2), early words (row B3)."""

import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import pytest

from tests.support.scripted_peer import GENEROUS, listening, new_peer_id
from tests.support.swarm import content, record, resources
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import MetadataReceived, PeerBanned, PeerDisconnected
from torrent_engine.engine.session.session import Session
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.extension import ExtensionHandshake
from torrent_engine.protocol.wire.messages import (
    ExtensionMessageReceived,
    HandshakeReceived,
    MessageId,
    PeerEvent,
    PeerInterested,
    encode_bitfield,
    encode_piece_index,
    encode_plain,
)
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    UT_METADATA,
    MetadataData,
    MetadataMessage,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
    encode_metadata_message,
)

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), note="x" * 40_000)
INFO = METAINFO.info_bytes
ARRIVES_S = 10.0
Answer = Callable[[int], Sequence[MetadataMessage]]


def right(piece: int) -> MetadataData:
    data = INFO[piece * METADATA_PIECE_BYTES :][:METADATA_PIECE_BYTES]
    return MetadataData(piece, len(INFO), data)


def wrong(piece: int, size: int = len(INFO)) -> MetadataData:
    length = min(METADATA_PIECE_BYTES, size - piece * METADATA_PIECE_BYTES)
    return MetadataData(piece, size, random.Random(piece).randbytes(length))


@dataclass
class Player:
    """A peer that gives metadata in its own way, and payload if it is honest."""

    answer: Answer
    promised_bytes: int = len(INFO)
    is_honest: bool = False
    early: bytes = b""
    """What it says before its extension handshake; a seed says that it has all."""
    seen: list[PeerEvent] = field(default_factory=list)

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        connection = PeerConnection(
            geometry=METAINFO.geometry,
            info_hash=METAINFO.info_hash,
            peer_id=new_peer_id(),
            extensions={UT_METADATA: 3},
            limits=GENEROUS,
        )
        connection.state.allowed_fast_out.add(4)
        connection.sender.send_handshake()
        try:
            while True:
                if data := b"".join(connection.data_to_send()):
                    await stream.send(data)
                data = await stream.receive(65_536)
                events = connection.receive_data(data, now=anyio.current_time())
                self.seen += events
                for event in events:
                    self._hear(connection, event)
                self._serve(connection)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return

    def _hear(self, connection: PeerConnection, event: PeerEvent) -> None:
        if isinstance(event, HandshakeReceived):
            connection.state.queue._buffers.append(self.early or encode_plain(MessageId.HAVE_ALL))
            connection.sender.send_extension_handshake(
                ExtensionHandshake({UT_METADATA: 3}, metadata_bytes=self.promised_bytes)
            )
        elif isinstance(event, PeerInterested) and self.is_honest:
            connection.sender.unchoke()
        elif isinstance(event, ExtensionMessageReceived):
            request = decode_metadata_message(event.payload)
            assert isinstance(request, MetadataRequest)
            for message in self.answer(request.piece):
                connection.sender.send_extension(UT_METADATA, encode_metadata_message(message))

    @staticmethod
    def _serve(connection: PeerConnection) -> None:
        while connection.upload_requests:
            piece, begin, length = connection.upload_requests.popleft()
            start = METAINFO.geometry.piece_offset(piece) + begin
            connection.sender.send_block(piece, begin, memoryview(PAYLOAD)[start : start + length])


def honest(early: bytes = b"") -> Player:
    return Player(lambda piece: [right(piece)], is_honest=True, early=early)


def of_length(size: int) -> Player:
    return Player(lambda piece: [wrong(piece, size)], size)


LIARS: dict[str, Callable[[int], Player]] = {
    "junk": lambda _n: Player(lambda piece: [wrong(piece)]),
    "one_wrong_piece": lambda n: Player(
        lambda piece: [wrong(piece) if piece == n % 3 else right(piece)]
    ),
    "other_lengths": lambda n: of_length(len(INFO) + 1 + n),
    "giants": lambda n: of_length(30 * 1024 * 1024 - n),
    "beyond_all_bounds": lambda n: Player(lambda piece: [wrong(piece)], 2**31 - n),
    "silent": lambda _n: Player(lambda _piece: []),
    "rejecting": lambda _n: Player(lambda piece: [MetadataReject(piece)]),
    "spamming": lambda _n: Player(lambda piece: [wrong(piece)] * 60),
}
BLAMELESS = {"silent", "rejecting", "beyond_all_bounds"}


@dataclass
class Outcome:
    """What came of one download of a link."""

    session: Session
    arrived_s: float
    banned: set[int]
    """Ports."""
    ended: dict[int, str]


async def fetch(
    folder: Path, players: Sequence[Player], *, whole: bool = False
) -> tuple[Outcome, list[int]]:
    """Download a link among these peers; also return their ports."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(listening(each)) for each in players]
        shared = await stack.enter_async_context(resources(folder))
        config = SessionConfig(seed_time_s=0.0, metadata_only=not whole)
        magnet = Magnet(METAINFO.info_hash, peers=tuple(addresses))
        session = await Session.create(magnet, shared, save_path=folder / "out", config=config)
        events = record(session)
        began_s = anyio.current_time()
        async with session:
            with anyio.fail_after(30):
                while not any(isinstance(each, MetadataReceived) for each in events):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            arrived_s = anyio.current_time() - began_s
            with anyio.fail_after(30):
                await session.wait_stopped()
        banned = {each.address.port for each in events if isinstance(each, PeerBanned)}
        ended = {e.address.port: e.reason for e in events if isinstance(e, PeerDisconnected)}
        return Outcome(session, arrived_s, banned, ended), [port for _, port in addresses]


@pytest.mark.parametrize("kind", LIARS)
async def test_b2_twelve_liars_and_one_honest_peer_give_the_metadata(
    tmp_path: Path, kind: str
) -> None:
    players = [*(LIARS[kind](number) for number in range(12)), honest()]
    outcome, ports = await fetch(tmp_path, players)
    assert outcome.session.metainfo is not None
    assert outcome.session.metainfo.info_bytes == INFO
    assert outcome.arrived_s <= ARRIVES_S
    assert ports[-1] not in outcome.banned
    assert not (outcome.banned and kind in BLAMELESS)


async def test_b2_liars_of_all_kinds_and_one_honest_peer_give_metadata_and_payload(
    tmp_path: Path,
) -> None:
    liars = [make(number) for make in LIARS.values() for number in range(2)]
    outcome, ports = await fetch(tmp_path, [*liars, honest()], whole=True)
    assert outcome.arrived_s <= ARRIVES_S
    assert ports[-1] not in outcome.banned
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


FIELD = encode_bitfield(Bitfield.full(METAINFO.piece_count))
EARLY = {
    "have_all": encode_plain(MessageId.HAVE_ALL),
    "bitfield": FIELD,
    "suggest": encode_piece_index(MessageId.SUGGEST_PIECE, 3),
    "allowed_fast": encode_piece_index(MessageId.ALLOWED_FAST, 4),
}
TOO_MUCH = {
    "have": encode_piece_index(MessageId.HAVE, METAINFO.piece_count),
    "bitfield": b"\0\0\0\x03\x05\xff\xff",
    "suggest": encode_piece_index(MessageId.SUGGEST_PIECE, 2**20),
    "allowed_fast": encode_piece_index(MessageId.ALLOWED_FAST, METAINFO.piece_count),
}


@pytest.mark.parametrize("order", range(0, 24, 4))
async def test_b3_what_a_peer_says_before_the_metadata_counts_in_any_order(
    tmp_path: Path, order: int
) -> None:
    words = list(itertools.permutations(EARLY.values()))[order]
    outcome, ports = await fetch(tmp_path, [honest(b"".join(words))], whole=True)
    assert ports[0] not in outcome.banned
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_b3_a_peer_that_spoke_of_pieces_that_are_not_there_is_dropped_when_that_is_known(
    tmp_path: Path, kind: str
) -> None:
    liar = Player(lambda piece: [right(piece)], early=TOO_MUCH[kind])
    outcome, ports = await fetch(tmp_path, [liar, honest()], whole=True)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert "BEP" in outcome.ended[ports[0]]


def test_the_metadata_has_several_pieces() -> None:
    assert len(INFO) > 2 * METADATA_PIECE_BYTES
    assert isinstance(METAINFO, Metainfo)
