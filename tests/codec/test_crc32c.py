"""The checksum of BEP 40 and 42, against its check value and the samples of RFC 3720."""

from torrent_engine.codec.crc32c import crc32c


def test_crc32c_matches_the_check_value_and_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0
