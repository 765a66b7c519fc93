"""One attempt at the metadata (BEP 9): what is here, what is asked for, what comes next."""

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.metadata.attempt import PIECE_BYTES, MetadataCopy


def test_bep9_pieces_are_16_kib_but_for_the_last() -> None:
    copy = MetadataCopy(2 * PIECE_BYTES + 5)
    assert copy.piece_count == 3
    assert [copy.length_of(piece) for piece in range(5)] == [PIECE_BYTES, PIECE_BYTES, 5, 0, 0]
    assert MetadataCopy(PIECE_BYTES).piece_count == 1


def test_b2_each_piece_is_asked_of_one_peer_before_any_is_asked_of_two() -> None:
    copy = MetadataCopy(3 * PIECE_BYTES)
    asked: list[int | None] = []
    for _ in range(8):
        asked.append(copy.next_piece((), (), 2))
        if asked[-1] is not None:
            copy.add_request(asked[-1])
    assert asked == [0, 1, 2, 0, 1, 2, None, None]
    assert copy.next_piece((), (), 3) == 0
    copy.end_request(1)
    copy.end_request(1)
    assert copy.next_piece((), (), 2) == 1


def test_b2_a_peer_is_not_asked_twice_at_once_and_last_for_what_it_did_not_give() -> None:
    copy = MetadataCopy(2 * PIECE_BYTES)
    copy.add_request(0)
    copy.end_request(0)
    assert copy.next_piece((), (0,), 2) == 1
    copy.add_request(1)
    assert copy.next_piece((1,), (0, 1), 2) == 0
    assert copy.next_piece((0, 1), (0, 1), 2) is None


def test_b2_memory_is_taken_for_what_came_and_not_for_what_is_claimed() -> None:
    copy = MetadataCopy(30 * 1024 * 1024)
    assert copy.held_bytes == 0
    assert copy.add("a", 7, bytes(PIECE_BYTES))
    assert not copy.add("b", 7, bytes(PIECE_BYTES))
    assert copy.held_bytes == PIECE_BYTES
    assert copy.missing_bytes == 30 * 1024 * 1024 - PIECE_BYTES
    copy.clear()
    assert (copy.held_bytes, copy.count) == (0, 0)
    assert copy.next_piece((), (), 1) == 0


def test_b2_what_a_peer_gave_can_be_taken_out_and_asked_for_again() -> None:
    copy = MetadataCopy(2 * PIECE_BYTES)
    for piece, source in enumerate("ab"):
        copy.add_request(piece)
        copy.add(source, piece, source.encode() * PIECE_BYTES)
    assert copy.is_whole
    assert copy.contents() == (("a", b"a" * PIECE_BYTES), ("b", b"b" * PIECE_BYTES))
    parts = copy.parts()
    assert parts.keys() == {"a", "b"}
    part = parts["b"]
    assert part.contents() == (("b", b"b" * PIECE_BYTES),)
    assert (part.held_bytes, part.next_piece((), (), 1)) == (PIECE_BYTES, 0)
    copy.drop("a")
    assert not copy.is_whole
    assert copy.is_partial
    assert copy.held_bytes == PIECE_BYTES
    assert copy.next_piece((), (), 1) == 0


@given(data=st.binary(min_size=1, max_size=4 * PIECE_BYTES), order=st.randoms())
def test_bep9_pieces_in_any_order_make_the_whole(data: bytes, order: object) -> None:
    copy = MetadataCopy(len(data))
    pieces = list(range(copy.piece_count))
    order.shuffle(pieces)  # type: ignore[attr-defined]
    for piece in pieces:
        assert not copy.is_whole
        start = piece * PIECE_BYTES
        assert copy.add("a", piece, data[start : start + copy.length_of(piece)])
    assert b"".join(piece for _, piece in copy.contents()) == data
    assert copy.missing_bytes == 0
