"""What a key publishes as a torrent (BEP 46): values that name one, and values that do not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import ConfigError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.protocol.dht.items import MAX_SEQUENCE, MutableItem, sign_item
from torrent_engine.protocol.dht.krpc import Bencoded
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

SEED = b"\x07" * 32
HASH = InfoHash(b"\x5a" * 20)
VALUE = b"d2:ih20:" + HASH + b"e"

MALFORMED = {
    "empty": b"",
    "text": b"4:text",
    "number": b"i1e",
    "list": b"l2:ih20:" + HASH + b"e",
    "no_hash": b"de",
    "other_key": b"d2:IH20:" + HASH + b"e",
    "hash_of_19": b"d2:ih19:" + HASH[1:] + b"e",
    "hash_of_21": b"d2:ih21:" + HASH + b"0e",
    "hash_of_v2": b"d2:ih32:" + bytes(32) + b"e",
    "hash_is_a_number": b"d2:ihi1ee",
    "hash_is_a_list": b"d2:ihl20:" + HASH + b"ee",
    "cut": VALUE[:-1],
    "more_behind": VALUE + b"e",
    "no_bencoding": b"\xff\xff",
    "deep": b"l" * 900,
    "too_long": b"d2:ih20:" + HASH + b"1:x976:" + bytes(976) + b"e",
}


def item(value: bytes) -> MutableItem:
    return sign_item(SEED, Bencoded(value), 1)


def test_bep46_a_version_is_signed_and_read() -> None:
    torrent = MutableTorrent.sign(SEED, HASH, 4, salt=b"n")
    assert torrent.item.value == VALUE
    assert torrent.item.is_genuine()
    assert torrent.sequence == 4
    assert torrent.key == MutableKey(torrent.item.key, b"n")
    assert MutableTorrent.of(torrent.item) == torrent


def test_bep46_other_fields_of_a_value_are_ignored() -> None:
    value = b"d2:ih20:" + HASH + b"4:name4:newse"
    assert MutableTorrent.of(item(value)).info_hash == HASH


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_bep46_a_value_that_names_no_torrent_is_an_error(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        MutableTorrent.of(item(value))
    assert raised.value.bep in {44, 46}


@pytest.mark.parametrize("sequence", [-1, MAX_SEQUENCE + 1])
def test_bep44_a_sequence_number_has_63_bits(sequence: int) -> None:
    with pytest.raises(ConfigError, match="sequence"):
        MutableTorrent.sign(SEED, HASH, sequence)
    assert MutableTorrent.sign(SEED, HASH, MAX_SEQUENCE).item.is_genuine()


@given(st.binary(max_size=80) | st.binary(max_size=30).map(lambda each: b"d2:ih20:" + each))
def test_bep46_any_value_is_a_torrent_or_the_declared_error(value: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert len(MutableTorrent.of(item(value)).info_hash) == 20
