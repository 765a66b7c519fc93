"""Message Stream Encryption: the handshake of both sides, with ours and with one made by hand."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import mse
from tests.support.mse import OtherSide
from torrent_engine.base.errors import EncryptionError, LocalProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.wire.encryption import (
    MAX_PAD_BYTES,
    Agreement,
    DiallerHandshake,
    ListenerHandshake,
)
from torrent_engine.protocol.wire.encryption_keys import KEY_BYTES, CryptoMethod, req2_hash
from torrent_engine.protocol.wire.messages import PROTOCOL_STRING

INFO_HASH = InfoHash(b"\xaa" * 20)
OTHER_HASH = InfoHash(b"\xbb" * 20)
PLAINTEXT, RC4 = CryptoMethod.PLAINTEXT, CryptoMethod.RC4
EITHER = PLAINTEXT | RC4
CHUNKS = [1, 3, 97, 4096]
PADS = [0, 1, MAX_PAD_BYTES]
DEGENERATE = [0, 1, mse.PRIME - 1, mse.PRIME, mse.PRIME + 5, 2**768 - 1]
Handshake = DiallerHandshake | ListenerHandshake


def find(torrent_hash: bytes) -> InfoHash | None:
    return {req2_hash(each): each for each in (INFO_HASH, OTHER_HASH)}.get(torrent_hash)


def dialler(offered: CryptoMethod = EITHER, *, seed: int = 1, **options) -> DiallerHandshake:
    return DiallerHandshake(INFO_HASH, offered, rng=random.Random(seed), **options)


def listener(allowed: CryptoMethod = EITHER, *, seed: int = 2, **options) -> ListenerHandshake:
    return ListenerHandshake(find, allowed, rng=random.Random(seed), **options)


def feed(handshake: Handshake, data: bytes, chunk_bytes: int) -> tuple[Agreement | None, bytes]:
    """Feed in chunks until something is agreed on; return it and what was left."""
    while data:
        agreement = handshake.receive_data(data[:chunk_bytes])
        data = data[chunk_bytes:]
        if agreement is not None:
            return agreement, data
    return None, b""


def met(handshake: Handshake, info_hash: InfoHash = INFO_HASH) -> OtherSide:
    """Return the other side, which knows our key; we do not know its key yet."""
    other = OtherSide(info_hash)
    key = handshake.data_to_send()
    if not key:  # it is dialled, and says its own when it has ours
        assert handshake.receive_data(other.public) is None
        key = handshake.data_to_send()
    assert KEY_BYTES <= len(key) <= KEY_BYTES + MAX_PAD_BYTES
    other.meet(key[:KEY_BYTES])
    return other


def go_on(agreement: Agreement, data: bytes) -> bytes:
    """Return what is received when these bytes come after the handshake."""
    is_rc4 = agreement.method is RC4
    return agreement.decryptor.update(data) if is_rc4 else data


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("method", [PLAINTEXT, RC4])
def test_mse_both_sides_agree_and_no_byte_is_lost(method: CryptoMethod, chunk_bytes: int) -> None:
    ours, theirs = dialler(method, initial=b"first words"), listener()
    assert feed(theirs, ours.data_to_send(), chunk_bytes) == (None, b"")
    assert feed(ours, theirs.data_to_send(), chunk_bytes) == (None, b"")
    accepted, rest = feed(theirs, ours.data_to_send(), chunk_bytes)
    assert accepted is not None
    assert (accepted.info_hash, accepted.method, rest) == (INFO_HASH, method, b"")
    assert accepted.received == b"first words"

    answer = b"an answer at once" * 20
    sent = accepted.encryptor.update(answer) if method is RC4 else answer
    reached, rest = feed(ours, theirs.data_to_send() + sent, chunk_bytes)
    assert reached is not None
    assert (reached.info_hash, reached.method) == (INFO_HASH, method)
    assert reached.received + go_on(reached, rest) == answer

    later = reached.encryptor.update(b"later") if method is RC4 else b"later"
    assert go_on(accepted, later) == b"later"


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("pad_bytes", PADS)
@pytest.mark.parametrize("initial", [b"", b"i" * 68, b"i" * 65_535])
def test_mse_we_are_dialled_with_padding_of_any_length(
    initial: bytes, pad_bytes: int, chunk_bytes: int
) -> None:
    ours = listener(RC4)
    other, padding = met(ours), b"\x55" * pad_bytes
    offer = other.offer(padding=b"\x66" * pad_bytes, initial=initial)
    sent = padding + offer + other.from_dialler.crypt(b"what follows")
    agreement, rest = feed(ours, sent, chunk_bytes)
    assert agreement is not None
    assert agreement.method is RC4
    assert agreement.received + go_on(agreement, rest) == initial + b"what follows"
    answer = other.from_listener.crypt(ours.data_to_send())
    assert answer[:14] == mse.VC + bytes([0, 0, 0, mse.RC4]) + (len(answer) - 14).to_bytes(2, "big")
    assert len(answer) <= 14 + MAX_PAD_BYTES
    assert other.from_listener.crypt(agreement.encryptor.update(b"ours")) == b"ours"


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("pad_bytes", PADS)
@pytest.mark.parametrize("chosen", [PLAINTEXT, RC4])
def test_mse_we_dial_and_get_padding_of_any_length(
    chosen: CryptoMethod, pad_bytes: int, chunk_bytes: int
) -> None:
    ours = dialler(EITHER, initial=b"our first")
    other = met(ours)
    assert feed(ours, other.public + b"\x55" * pad_bytes, chunk_bytes) == (None, b"")
    offer = ours.data_to_send()
    assert offer[:40] == other.start + other.torrent
    clear = other.from_dialler.crypt(offer[40:])
    pad_c = int.from_bytes(clear[12:14], "big")
    assert clear[:12] == mse.VC + bytes([0, 0, 0, mse.PLAINTEXT | mse.RC4])
    assert pad_c <= MAX_PAD_BYTES
    assert clear[14 + pad_c :] == b"\x00\x09our first"

    choice = other.choice(chosen, padding=b"\x77" * pad_bytes)
    follows = other.from_listener.crypt(b"what follows") if chosen is RC4 else b"what follows"
    agreement, rest = feed(ours, choice + follows, chunk_bytes)
    assert agreement is not None
    assert agreement.method is chosen
    assert agreement.received + go_on(agreement, rest) == b"what follows"
    assert other.from_dialler.crypt(agreement.encryptor.update(b"ours")) == b"ours"


def test_mse_torrent_is_found_by_its_hash() -> None:
    ours = listener()
    other = met(ours, OTHER_HASH)
    agreement = ours.receive_data(other.offer())
    assert agreement is not None
    assert agreement.info_hash == OTHER_HASH


@pytest.mark.parametrize(
    ("offered", "allowed", "prefers_rc4", "chosen"),
    [
        (EITHER, EITHER, False, PLAINTEXT),
        (EITHER, EITHER, True, RC4),
        (EITHER, RC4, False, RC4),
        (EITHER, PLAINTEXT, True, PLAINTEXT),
        (RC4, EITHER, False, RC4),
        (PLAINTEXT, EITHER, True, PLAINTEXT),
        (RC4, RC4, False, RC4),
        (PLAINTEXT, PLAINTEXT, True, PLAINTEXT),
        (0xFFFF_FFFF, EITHER, True, RC4),
        (0x8000_0001, EITHER, True, PLAINTEXT),
    ],
)
def test_mse_method_is_one_that_both_sides_have(
    offered: int, allowed: CryptoMethod, prefers_rc4: bool, chosen: CryptoMethod
) -> None:
    ours = listener(allowed, prefers_rc4=prefers_rc4)
    other = met(ours)
    agreement = ours.receive_data(other.offer(offered))
    assert agreement is not None
    assert agreement.method is chosen
    assert other.from_listener.crypt(ours.data_to_send())[8:12] == bytes([0, 0, 0, chosen])


def test_mse_pads_and_keys_differ_from_one_handshake_to_the_next() -> None:
    spoken = {dialler(seed=seed).data_to_send() for seed in range(40)}
    assert len({data[:KEY_BYTES] for data in spoken}) == 40
    assert len({len(data) for data in spoken}) > 20


def test_mse_data_is_to_be_sent_once() -> None:
    ours = dialler()
    assert ours.data_to_send() != b""
    assert ours.data_to_send() == b""


BAD_OFFERS: dict[str, tuple[Callable[[OtherSide], bytes], str]] = {
    "no_start": (lambda other: bytes(MAX_PAD_BYTES + 20), "padding is too long"),
    "start_one_byte_late": (
        lambda other: bytes(MAX_PAD_BYTES + 1) + other.start,
        "padding is too long",
    ),
    "unknown_torrent": (lambda other: other.start + bytes(20), "unknown torrent"),
    "wrong_vc": (lambda other: other.offer(vc=b"\0\0\0\0\0\0\0\1"), "wrong verification"),
    "no_method": (lambda other: other.offer(0), "none of the methods 0x0 allowed"),
    "methods_of_the_future": (
        lambda other: other.offer(0xFFFF_FFFC),
        "none of the methods 0xfffffffc allowed",
    ),
    "long_padding": (lambda other: other.offer(padding_bytes=513), "padding of 513 bytes"),
    "longest_padding": (lambda other: other.offer(padding_bytes=65_535), "padding of 65535 bytes"),
}
BAD_CHOICES: dict[str, tuple[Callable[[OtherSide], bytes], str]] = {
    "no_vc": (lambda other: bytes(MAX_PAD_BYTES + 8), "padding is too long"),
    "vc_one_byte_late": (
        lambda other: bytes(MAX_PAD_BYTES + 1) + other.choice(),
        "padding is too long",
    ),
    "no_method": (lambda other: other.choice(0), "method 0 of 2 chosen"),
    "not_offered": (lambda other: other.choice(mse.PLAINTEXT), "method 1 of 2 chosen"),
    "two_methods": (lambda other: other.choice(3), "method 3 of 2 chosen"),
    "method_of_the_future": (lambda other: other.choice(0x8000_0002), "method 2147483650 of 2"),
    "long_padding": (lambda other: other.choice(padding_bytes=513), "padding of 513 bytes"),
}


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize(("make", "message"), BAD_OFFERS.values(), ids=BAD_OFFERS)
def test_b11_offer_is_refused(
    make: Callable[[OtherSide], bytes], message: str, chunk_bytes: int
) -> None:
    ours = listener()
    data = make(met(ours))
    with pytest.raises(EncryptionError, match=message):
        feed(ours, data, chunk_bytes)


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize(("make", "message"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_b11_choice_is_refused(
    make: Callable[[OtherSide], bytes], message: str, chunk_bytes: int
) -> None:
    ours = dialler(RC4)
    other = met(ours)
    data = other.public + make(other)
    with pytest.raises(EncryptionError, match=message):
        feed(ours, data, chunk_bytes)


@pytest.mark.parametrize("allowed", [PLAINTEXT, RC4])
def test_b11_method_that_is_not_allowed_is_refused(allowed: CryptoMethod) -> None:
    ours = listener(allowed)
    other = met(ours)
    with pytest.raises(EncryptionError, match="none of the methods"):
        ours.receive_data(other.offer(EITHER & ~allowed))


@pytest.mark.parametrize("make", [dialler, listener])
@pytest.mark.parametrize("key", DEGENERATE)
def test_b11_degenerate_key_ends_the_handshake(key: int, make: Callable[[], Handshake]) -> None:
    with pytest.raises(EncryptionError, match="degenerate"):
        make().receive_data(key.to_bytes(KEY_BYTES, "big"))


def test_mse_answer_in_plain_text_is_told_at_once() -> None:
    with pytest.raises(EncryptionError, match="not encrypted"):
        dialler().receive_data(PROTOCOL_STRING)


def test_handshake_that_is_over_takes_nothing() -> None:
    ours = listener()
    other = met(ours)
    assert ours.receive_data(other.offer()) is not None
    with pytest.raises(LocalProtocolError, match="after the end"):
        ours.receive_data(b"more")
    broken = dialler()
    with pytest.raises(EncryptionError):
        broken.receive_data(bytes(KEY_BYTES))
    with pytest.raises(LocalProtocolError, match="after the end"):
        broken.receive_data(b"more")


@given(
    st.booleans(),
    st.lists(st.binary(max_size=700), max_size=6),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=4),
)
def test_b11_whatever_comes_only_the_declared_error_leaves(
    dials: bool, parts: list[bytes], flips: list[tuple[int, int]]
) -> None:
    ours: Handshake = dialler() if dials else listener()
    other = met(ours)
    good = other.public + other.choice(padding=b"p") if dials else other.offer(initial=b"i" * 68)
    data = bytearray(b"".join([*parts[:3], good, *parts[3:]]))
    for at, mask in flips:
        data[at % len(data)] ^= mask
    agreement = None
    with suppress(EncryptionError):
        agreement, _ = feed(ours, bytes(data), 512)
    assert agreement is None or agreement.method in {PLAINTEXT, RC4}
    assert len(ours._received) <= 65_535 + 512


@given(st.binary(min_size=KEY_BYTES, max_size=2000), st.booleans())
def test_b11_chance_is_no_handshake(data: bytes, dials: bool) -> None:
    ours: Handshake = dialler() if dials else listener()
    agreement = None
    with suppress(EncryptionError):
        agreement, _ = feed(ours, data, 300)
    assert agreement is None
    assert len(ours._received) < KEY_BYTES + MAX_PAD_BYTES + 20 + 300
