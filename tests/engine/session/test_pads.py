"""Blocks of pad files (BEP 47): nobody is asked for them, and peers that ask get zeros."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import files_below, reach, record, resources, seed, until
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import PeerBanned, PieceHashFailed
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly
from torrent_engine.policy.pieces.piece_table import PartialPiece

BLOCK = 16_384
PIECE_BYTES = 8 * BLOCK
FILES = {
    "a": payload_of(2 * PIECE_BYTES + 5),
    "b": payload_of(8 * BLOCK),
    "c": payload_of(3 * BLOCK, 1),
    "d": payload_of(PIECE_BYTES - 1, 2),
    "e": payload_of(4 * BLOCK + 1, 3),
}
METAINFO = Metainfo.from_bytes(torrent_around(*hybrid_info(FILES, piece_bytes=PIECE_BYTES)))
PAYLOAD = b"".join(data + bytes(-len(data) % PIECE_BYTES) for data in FILES.values())
PADS = {2: range(1, 8), 4: range(3, 8), 6: range(5, 8)}


def test_bep47_the_blocks_of_pads_are_known_by_their_piece() -> None:
    geometry = METAINFO.geometry
    for piece in range(geometry.piece_count):
        assert list(geometry.pad_blocks(piece)) == list(PADS.get(piece, ()))
    whole = Metainfo.from_bytes(torrent_around(*hybrid_info({"b": FILES["b"]})))
    assert whole.geometry.pads is None


def test_bep47_of_a_piece_that_is_nothing_but_a_pad_all_is_asked_for() -> None:
    info, _ = hybrid_info({"a": b"a" * PIECE_BYTES, "b": b"b"}, piece_bytes=PIECE_BYTES)
    for entry in info["files"]:
        entry["attr"] = "p" * (entry["path"] == ["a"])
    for key in ("meta version", "file tree"):
        del info[key]
    metainfo = Metainfo.from_bytes(torrent_around(info))
    assert metainfo.geometry.pads is not None
    assert list(metainfo.geometry.pad_blocks(0)) == []


def test_bep47_pads_count_as_received_and_are_never_asked_for() -> None:
    geometry = METAINFO.geometry
    for piece, pads in PADS.items():
        partial = PartialPiece(geometry, piece)
        assert partial.is_untouched
        assembly = PieceAssembly(partial, geometry, 0.0)
        assert assembly.received_bytes == 0
        blocks = partial.take(99)
        assert [begin // BLOCK for _, begin, _ in blocks] == list(range(pads.start))
        assert not partial.is_untouched
        for _, begin, length in blocks:
            start = piece * PIECE_BYTES + begin
            view = memoryview(PAYLOAD)[start : start + length]
            partial.receive(begin // BLOCK)
            assembly.add(begin // BLOCK, (view,), length, "a peer")
        assert not partial.left
        assert not partial.receive(pads.start)
        assert not partial.take_duplicates(9, lambda _: False)
        assembly.own_pads()
        assert assembly.sole_sender == "a peer"
        content = b"".join(map(bytes, assembly.all_views()))
        assert METAINFO.hashes.matches(piece, content)


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["hybrid", "v1"])
async def test_bep47_a_download_leaves_pads_out(version: str, tmp_path: Path) -> None:
    metainfo = METAINFO
    if version == "v1":
        info, _ = hybrid_info(FILES, piece_bytes=PIECE_BYTES)
        del info["meta version"], info["file tree"]
        metainfo = Metainfo.from_bytes(torrent_around(info))
    async with (
        seed(tmp_path / "seed", metainfo, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = replace(SessionConfig(), peers=(address,))
        saved = tmp_path / "saved"
        session = await Session.create(metainfo, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await reach(session, State.SEEDING)
            stats = session.stats()
    assert not [event for event in events if isinstance(event, PieceHashFailed)]
    assert stats.downloaded_bytes == len(PAYLOAD) - sum(map(len, PADS.values())) * BLOCK
    for name, data in FILES.items():
        assert (saved / "payload" / name).read_bytes() == data
    assert files_below(saved) == {f"payload/{name}" for name in FILES}


@pytest.mark.anyio
async def test_bep47_who_sends_other_bytes_than_zeros_in_a_pad_is_banned_and_ends_nothing(
    tmp_path: Path,
) -> None:
    pads = [(entry.offset_bytes, entry.length_bytes) for entry in METAINFO.files if entry.is_pad]

    def lie(piece: int, begin: int, data: bytes) -> bytes:
        first = piece * PIECE_BYTES + begin
        end = first + len(data) - 1
        is_mixed = any(first < start <= end < start + length for start, length in pads)
        return data[:-1] + bytes([data[-1] ^ is_mixed])

    async with (
        listening(Script(METAINFO, PAYLOAD, change=lie)) as liar,
        listening(Script(METAINFO, PAYLOAD)) as honest,
        resources(tmp_path / "leech") as shared,
    ):
        config = replace(SessionConfig(), peers=(liar,))
        saved = tmp_path / "saved"
        session = await Session.create(METAINFO, shared, save_path=saved, config=config)
        events = record(session)
        async with session:
            await until(lambda: any(isinstance(event, PeerBanned) for event in events))
            await session.add_peer(*honest)
            await reach(session, State.SEEDING)
    assert {event.address for event in events if isinstance(event, PeerBanned)} == {liar}
    assert not [event for event in events if isinstance(event, PieceHashFailed)]
    for name, data in FILES.items():
        assert (saved / "payload" / name).read_bytes() == data
