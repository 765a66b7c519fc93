"""Node ids derived from IP addresses (BEP 42).

Source: BEP 42: the first 21 bits come from the address and three bits of the id's last byte.
"""

import random
from functools import lru_cache
from typing import Final

from torrent_engine.base.ids import NodeId
from torrent_engine.codec.crc32c import crc32c
from torrent_engine.protocol.dht.hosts import IPV4_BYTES, is_local, packed_host

CHECKED_BITS: Final = 21
REMEMBERED_PREFIXES: Final = 8192  # ours: about 1 MiB
_IPV4_MASK: Final = 0x030F3FFF
_IPV6_MASK: Final = 0x0103070F1F3F7FFF
_CHOICE_BITS: Final = 3
_CHOICE_MASK: Final = 0x07
_UNCHECKED: Final = 24 - CHECKED_BITS
_NODE_ID_BITS: Final = 160


def node_id_for(host: str, rng: random.Random) -> NodeId:
    """Return a random node id valid for a literal address; any id for other hosts."""
    number = rng.getrandbits(_NODE_ID_BITS)
    if packed_host(host):
        rest_bits = _NODE_ID_BITS - CHECKED_BITS
        prefix = _prefix(host, number & _CHOICE_MASK)
        number = prefix << rest_bits | number & ((1 << rest_bits) - 1)
    return NodeId(number.to_bytes(20, "big"))


def is_valid_node_id(node_id: bytes, host: str) -> bool:
    """Return whether a node id is valid for an address; for a local one every id is."""
    if is_local(host):
        return True
    found = int.from_bytes(node_id[:3], "big") >> _UNCHECKED
    return bool(packed_host(host)) and found == _prefix(host, node_id[19] & _CHOICE_MASK)


@lru_cache(maxsize=REMEMBERED_PREFIXES)
def _prefix(host: str, choice: int) -> int:
    """Return the 21 bits for an address and one of its eight random values r."""
    packed = packed_host(host)
    if len(packed) == IPV4_BYTES:
        masked = int.from_bytes(packed, "big") & _IPV4_MASK | choice << 32 - _CHOICE_BITS
        checksum = crc32c(masked.to_bytes(4, "big"))
    else:
        masked = int.from_bytes(packed[:8], "big") & _IPV6_MASK | choice << 64 - _CHOICE_BITS
        checksum = crc32c(masked.to_bytes(8, "big"))
    return checksum >> 32 - CHECKED_BITS
