"""Identifiers: an info-hash is its bytes, and reads and prints as digits."""

import base64
import pickle

import pytest

from torrent_engine.base.ids import InfoHash

RAW = bytes(range(236, 256))
INFO_HASH = InfoHash(RAW)


@pytest.mark.parametrize(
    "text",
    [
        RAW.hex(),
        RAW.hex().upper(),
        f"  {RAW.hex()}\n",
        base64.b32encode(RAW).decode(),
        base64.b32encode(RAW).decode().lower(),
    ],
)
def test_bep9_an_info_hash_is_read_from_hexadecimal_and_base32_digits(text: str) -> None:
    assert InfoHash.parse(text) == INFO_HASH
    assert type(InfoHash.parse(text)) is InfoHash


@pytest.mark.parametrize(
    "text",
    ["", "00" * 19, "00" * 21, "0g" * 20, "1" * 32, "A" * 31 + "=", "\u0661" * 40, "0 " * 20],
)
def test_what_is_no_info_hash_is_a_value_error_that_repeats_it(text: str) -> None:
    with pytest.raises(ValueError, match="neither 40 hexadecimal nor 32 base32 digits"):
        InfoHash.parse(text)


def test_an_info_hash_is_its_bytes() -> None:
    assert INFO_HASH == RAW
    assert hash(INFO_HASH) == hash(RAW)
    assert {RAW: 1}[INFO_HASH] == 1
    assert pickle.loads(pickle.dumps(INFO_HASH)) == RAW


def test_an_info_hash_prints_as_digits() -> None:
    assert str(INFO_HASH) == f"{INFO_HASH}" == INFO_HASH.hex() == RAW.hex()
    assert eval(repr(INFO_HASH), {"InfoHash": InfoHash}) == INFO_HASH
