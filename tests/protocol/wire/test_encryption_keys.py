"""Message Stream Encryption: the prime, the secret, RC4 and the hashes, against a second one."""

import random

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import ciphers
from hypothesis import given
from hypothesis import strategies as st

from tests.support import mse
from torrent_engine.base.errors import EncryptionError
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.wire import encryption_keys as keys
from torrent_engine.protocol.wire.encryption_keys import KEY_BYTES, PRIME, KeyExchange

INFO_HASH = InfoHash(bytes(range(20)))
SECRET = bytes(range(96))

# RFC 6229: 16 bytes of the key stream at offsets 1024, where MSE begins, 1520 and 4096.
VECTORS = {
    "0102030405": {
        1024: "30abbcc7c20b01609f23ee2d5f6bb7df",
        1520: "3294f744d8f9790507e70f62e5bbceea",
        4096: "ff25b58995996707e51fbdf08b34d875",
    },
    "01020304050607": {
        1024: "8ecb67a9ba1f55a5a067e2b026a3676f",
        1520: "d2aa902bd42d0d7cfd340cd45810529f",
        4096: "e74b0b9731227fd37c0ec08a47ddd8b8",
    },
    "0102030405060708": {
        1024: "c6d0e7b226259fa9023490b26167ad1d",
        1520: "1fe8986713f07c3d9ae1c163ff8cf9d3",
        4096: "3fb46e2c8f0f068edce8cdcd7dfc5862",
    },
    "0102030405060708090a0b0c0d0e0f10": {
        1024: "bdf0324e6083dcc6d3cedd3ca8c53c16",
        1520: "b40110c4190b5622a96116b0017ed297",
        4096: "a36a4c301ae8ac13610ccbc12256cacc",
    },
    "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20": {
        1024: "7fec5bfd9f9b89ce6548309092d7e958",
        1520: "40f250b26d1f096a4afd4c340a588815",
        4096: "f3e4c0a2e02d1d01f7f0a74618af2b48",
    },
}

DEGENERATE = {
    "zero": 0,
    "one": 1,
    "order_two": PRIME - 1,
    "prime": PRIME,
    "one_above_the_prime": PRIME + 1,
    "two_above_the_prime": PRIME + 2,
    "all_bits": 2**768 - 1,
}


@pytest.mark.parametrize("key", VECTORS)
def test_rfc6229_stream_begins_at_byte_1024(key: str) -> None:
    stream = keys._rc4(bytes.fromhex(key)).update(bytes(4096))
    found = {offset: stream[offset - 1024 :][:16].hex() for offset in VECTORS[key]}
    assert found == VECTORS[key]


@pytest.mark.parametrize("key", VECTORS)
def test_rfc6229_holds_for_the_oracle_too(key: str) -> None:
    stream = mse.keystream(bytes.fromhex(key))
    known = bytes(next(stream) for _ in range(4096 + 16))
    found = {offset: known[offset:][:16].hex() for offset in VECTORS[key]}
    assert found == VECTORS[key]


def test_mse_prime_is_a_safe_prime_of_768_bits() -> None:
    assert PRIME == mse.PRIME
    assert PRIME.bit_length() == 768
    assert is_prime(PRIME)
    assert is_prime(PRIME // 2)


def is_prime(number: int) -> bool:
    """Euler's test with some bases."""
    rng = random.Random(1)
    bases = (rng.randrange(2, number - 1) for _ in range(20))
    return all(pow(base, number // 2, number) in {1, number - 1} for base in bases)


@given(st.randoms(use_true_random=False), st.integers(1, 2**160 - 1))
def test_mse_both_sides_share_a_secret(rng: random.Random, private: int) -> None:
    ours, theirs = KeyExchange(rng), mse.OtherSide(INFO_HASH, private=private)
    theirs.meet(ours.public)
    assert len(ours.public) == KEY_BYTES
    assert ours.secret(theirs.public) == theirs.secret


@pytest.mark.parametrize("key", DEGENERATE.values(), ids=DEGENERATE)
def test_b11_degenerate_public_keys_are_refused(key: int) -> None:
    with pytest.raises(EncryptionError, match=r"degenerate public key \(MSE\)") as caught:
        KeyExchange(random.Random(1)).secret(key.to_bytes(KEY_BYTES, "big"))
    assert caught.value.bep is None


@pytest.mark.parametrize("key", [2, PRIME - 2])
def test_b11_keys_next_to_them_are_taken(key: int) -> None:
    secret = KeyExchange(random.Random(1)).secret(key.to_bytes(KEY_BYTES, "big"))
    assert int.from_bytes(secret, "big") not in {0, 1, PRIME - 1}


@given(st.binary(min_size=96, max_size=96), st.lists(st.binary(max_size=300), max_size=5))
def test_mse_streams_are_those_of_the_oracle(secret: bytes, parts: list[bytes]) -> None:
    for make, name in ((keys.dialler_stream, b"keyA"), (keys.listener_stream, b"keyB")):
        ours, theirs = make(secret, INFO_HASH), mse.Stream(name, secret, INFO_HASH)
        assert [ours.update(part) for part in parts] == [theirs.crypt(part) for part in parts]


def test_mse_hashes_are_those_of_the_oracle() -> None:
    theirs = mse.OtherSide(INFO_HASH)
    theirs.meet(KeyExchange(random.Random(1)).public)
    assert keys.start_hash(theirs.secret) == theirs.start
    masked = keys.masked_torrent(keys.req2_hash(INFO_HASH), theirs.secret)
    assert masked == theirs.torrent
    assert keys.masked_torrent(masked, theirs.secret) == keys.req2_hash(INFO_HASH)


def test_mse_stream_works_in_place() -> None:
    data = bytearray(b"what came")
    view = memoryview(data)
    keys.dialler_stream(SECRET, INFO_HASH).update_into(view, view)
    assert bytes(data) == keys.dialler_stream(SECRET, INFO_HASH).update(b"what came")
    assert bytes(data) != b"what came"


def test_system_without_rc4_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedAlgorithm("no provider")

    monkeypatch.setattr(ciphers, "Cipher", refuse)
    with pytest.raises(EncryptionError, match="no RC4"):
        keys.dialler_stream(SECRET, INFO_HASH)
