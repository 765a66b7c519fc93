"""The CRC-32C checksum of peer priorities (BEP 40) and node ids (BEP 42).

Source: CRC-32C (Castagnoli) as RFC 3720 appendix B.4 describes it.
"""

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bits reversed


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_table_entry, range(256)))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
