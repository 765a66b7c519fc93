"""BEP 11: the messages in which peers name their other peers."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import PexConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.protocol.wire.exchange import (
    PexContact,
    PexFlag,
    PexMessage,
    decode_pex,
    encode_pex,
)

FOUR = PeerAddress("8.8.4.4", 6881)
SIX = PeerAddress("2001:db8::1", 51413)
PACKED_FOUR = bytes([8, 8, 4, 4, 0x1A, 0xE1])
PACKED_SIX = bytes.fromhex("20010db8000000000000000000000001") + bytes([0xC8, 0xD5])
MAX_BYTES = PexConfig().max_message_bytes


def blob(count: int) -> bytes:
    return b"".join((8 << 24 | number).to_bytes(4, "big") + b"\1\1" for number in range(count))


def blob6(count: int) -> bytes:
    return b"".join(
        PACKED_SIX[:14] + number.to_bytes(2, "big") + b"\1\1" for number in range(count)
    )


def test_bep11_message_of_both_families_is_as_the_bep_says() -> None:
    message = PexMessage(
        added=(
            PexContact(SIX, PexFlag.REACHABLE | PexFlag.SUPPORTS_UTP),
            PexContact(FOUR, PexFlag.UPLOAD_ONLY),
        ),
        dropped=(SIX, FOUR),
    )
    payload = encode_pex(message)
    assert decode(payload) == {
        b"added": PACKED_FOUR,
        b"added.f": b"\x02",
        b"added6": PACKED_SIX,
        b"added6.f": b"\x14",
        b"dropped": PACKED_FOUR,
        b"dropped6": PACKED_SIX,
    }
    read = decode_pex(payload)
    assert set(read.added) == set(message.added)
    assert set(read.dropped) == set(message.dropped)


@pytest.mark.parametrize(
    ("bit", "flag"),
    [
        (0x01, PexFlag.PREFERS_ENCRYPTION),
        (0x02, PexFlag.UPLOAD_ONLY),
        (0x04, PexFlag.SUPPORTS_UTP),
        (0x08, PexFlag.SUPPORTS_HOLEPUNCH),
        (0x10, PexFlag.REACHABLE),
    ],
)
def test_bep11_flags_have_the_bits_of_the_bep(bit: int, flag: PexFlag) -> None:
    read = decode_pex(encode({b"added": PACKED_FOUR, b"added.f": bytes([bit])}))
    assert read.added == (PexContact(FOUR, flag),)


@pytest.mark.parametrize("flags", [b"", b"\x02", b"\x02\x10\x10\x10", 7, [b"\x02"]])
def test_bep11_flags_that_are_missing_or_nonsense_are_none(flags: Any) -> None:
    read = decode_pex(encode({b"added": blob(2), b"added.f": flags}))
    assert len(read.added) == 2
    assert read.added[0].flags in {PexFlag.NONE, PexFlag.UPLOAD_ONLY}
    assert read.added[1].flags in {PexFlag.NONE, PexFlag.REACHABLE}


def test_bep11_unknown_flags_and_keys_are_no_error() -> None:
    read = decode_pex(encode({b"added": PACKED_FOUR, b"added.f": b"\xff", b"new": [1]}))
    assert read.added[0].flags & PexFlag.UPLOAD_ONLY


def test_bep11_an_empty_message_names_nobody() -> None:
    assert decode_pex(b"de") == PexMessage()
    assert encode_pex(PexMessage()) == b"de"


def test_bep11_what_is_no_literal_address_is_not_sent() -> None:
    nonsense = (
        PexContact(PeerAddress("example.org", 1)),
        PexContact(PeerAddress("8.8.8.8", 70_000)),
    )
    assert encode_pex(PexMessage(nonsense, (PeerAddress("", 1),))) == b"de"


def test_b9_only_so_many_contacts_of_a_message_are_read_and_both_families_have_their_share() -> (
    None
):
    lists = {b"added": blob(60), b"added6": blob6(60), b"dropped": blob(70)}
    read = decode_pex(encode(lists))
    assert len(read.added) == len(read.dropped) == 50
    assert sum(":" in each.address.host for each in read.added) == 25


def test_b9_a_first_message_may_name_many_and_only_the_first_are_read() -> None:
    payload = encode({b"added": blob(80_000)})
    assert MAX_BYTES - 40_000 < len(payload) <= MAX_BYTES
    assert len(decode_pex(payload).added) == 50


MALFORMED = {
    "empty": b"",
    "no_bencoding": b"\xff" * 10,
    "cut": b"d5:added6:1234",
    "a_list": b"le",
    "a_number": b"i5e",
    "too_deep": b"d1:a" + b"l" * 50 + b"e" * 50 + b"e",
    "too_many_tokens": b"d1:al" + b"i0e" * 20_000 + b"ee",
    "too_long": encode({b"added": bytes(6 * (MAX_BYTES // 6 + 1))}),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep11_malformed_message_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pex(payload)
    assert caught.value.bep == 11


KEYS = st.sampled_from(["added", "added.f", "added6", "added6.f", "dropped", "dropped6", "x"])
VALUES = st.binary(max_size=60) | st.integers(-9, 9) | st.lists(st.binary(max_size=6), max_size=3)
NEARLY_GOOD = st.dictionaries(KEYS.map(str.encode), VALUES).map(encode)


@given(st.binary(max_size=200) | NEARLY_GOOD)
def test_bep11_decoding_raises_nothing_but_remote_protocol_error(payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        read = decode_pex(payload)
        assert len(read.added) <= 50
        assert decode_pex(encode_pex(read)) is not None


ADDRESSES = st.builds(PeerAddress, st.ip_addresses().map(str), st.integers(0, 65_535))
CONTACTS = st.builds(PexContact, ADDRESSES, st.integers(0, 255).map(PexFlag))


@given(st.lists(CONTACTS, max_size=20), st.lists(ADDRESSES, max_size=20))
def test_bep11_what_is_sent_is_what_is_read(
    added: list[PexContact], dropped: list[PeerAddress]
) -> None:
    read = decode_pex(encode_pex(PexMessage(tuple(added), tuple(dropped))))
    assert sorted(read.added) == sorted(map(_unmapped, added))
    assert len(read.dropped) == len(dropped)


def _unmapped(contact: PexContact) -> PexContact:
    """Return a contact as it is read: an IPv4 address in IPv6 clothes becomes IPv4."""
    if contact.address.host.startswith("::ffff:"):
        return decode_pex(encode_pex(PexMessage((contact,)))).added[0]
    return contact
