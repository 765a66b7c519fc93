import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.codec.bitfield import Bitfield

MALFORMED = {
    "too_short": (b"\xff", 9),
    "too_long": (b"\xff\x00", 8),
    "empty": (b"", 1),
    "bytes_for_nothing": (b"\x00", 0),
    "spare_bit": (b"\xff\xc0", 9),
    "lowest_spare_bit": (b"\x01", 7),
}


@pytest.mark.parametrize(("data", "count"), MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_bitfield_rejects(data: bytes, count: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Bitfield.from_bytes(data, count)
    assert caught.value.bep == 3


@given(st.binary(max_size=20), st.integers(0, 200))
def test_from_bytes_raises_only_its_own_error(data: bytes, count: int) -> None:
    try:
        bitfield = Bitfield.from_bytes(data, count)
    except RemoteProtocolError:
        return
    assert bitfield.to_bytes() == data


def test_bep3_first_piece_is_the_highest_bit() -> None:
    bitfield = Bitfield(10)
    bitfield.set(0)
    bitfield.set(9)
    assert bitfield.to_bytes() == b"\x80\x40"
    assert bitfield.as_int() == 1 << 0 | 1 << 9


@given(st.integers(0, 300), st.data())
def test_bitfield_is_a_set_of_pieces(count: int, data: st.DataObject) -> None:
    pieces = data.draw(st.sets(st.integers(0, count - 1))) if count else set()
    gone = data.draw(st.sets(st.sampled_from(sorted(pieces)))) if pieces else set()
    bitfield = Bitfield(count)
    for piece in [*pieces, *pieces]:
        bitfield.set(piece)
    for piece in [*gone, *gone]:
        bitfield.clear(piece)
    left = pieces - gone
    assert bitfield.count == len(left)
    assert [piece for piece in range(count) if bitfield.has(piece)] == sorted(left)
    assert list(bitfield.present()) == sorted(left)
    assert list(bitfield.missing()) == sorted(set(range(count)) - left)
    assert bitfield.as_int() == sum(1 << piece for piece in left)
    assert bitfield.all() == (len(left) == count)
    assert bitfield.none() == (not left)
    first = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(first, count))
    assert bitfield.has_any(first, stop) == (not left.isdisjoint(range(first, stop)))
    for twin in (
        Bitfield.from_bytes(bitfield.to_bytes(), count),
        Bitfield.from_bytes(memoryview(bitfield.to_bytes()), count),
        Bitfield.from_int(bitfield.as_int(), count),
        bitfield.copy(),
    ):
        assert twin == bitfield
        assert (twin.count, len(twin)) == (len(left), count)


def test_full_has_every_piece_and_no_spare_bit() -> None:
    full = Bitfield.full(11)
    assert full.all()
    assert full.to_bytes() == b"\xff\xe0"
    assert Bitfield.from_int(1 << 11 | 1, 11).to_bytes() == b"\x80\x00"


@pytest.mark.parametrize("piece", [-1, 10, 15, 16, 1000])
def test_pieces_outside_are_an_index_error(piece: int) -> None:
    bitfield = Bitfield.full(10)
    with pytest.raises(IndexError):
        bitfield.set(piece)
    with pytest.raises(IndexError):
        bitfield.clear(piece)
    assert bitfield.to_bytes() == b"\xff\xc0"


def test_copies_are_independent_and_unequal_kinds_differ() -> None:
    one = Bitfield(8)
    two = one.copy()
    two.set(3)
    assert one != two
    assert one != Bitfield(7)
    assert one != b"\x00"
    assert repr(two) == "Bitfield(1 of 8)"
    with pytest.raises(TypeError):
        hash(one)
