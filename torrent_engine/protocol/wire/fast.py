"""The allowed-fast set: which pieces a peer may request while choked.

Source: BEP 6, "Allowed Fast Set Generation".
"""

import hashlib
import ipaddress
from typing import Final

from torrent_engine.base.ids import InfoHash

ALLOWED_FAST_PIECES: Final = 10  # BEP 6 leaves k to us; libtorrent sends 5 to 10


def allowed_fast_set(
    host: str, info_hash: InfoHash, piece_count: int, size: int = ALLOWED_FAST_PIECES
) -> list[int]:
    """Return up to ``size`` piece indices for the peer at ``host``, in the order of the algorithm.

    BEP 6 defines it for IPv4 alone; for an IPv6 host the list is empty.
    """
    address = ipaddress.ip_address(host)
    if address.version != 4 or piece_count <= 0:
        return []
    wanted = min(size, piece_count)
    digest = (int(address) & 0xFFFFFF00).to_bytes(4, "big") + info_hash
    found: dict[int, None] = {}
    while len(found) < wanted:
        digest = hashlib.sha1(digest, usedforsecurity=False).digest()
        for offset in range(0, 20, 4):
            if len(found) < wanted:
                found[int.from_bytes(digest[offset : offset + 4], "big") % piece_count] = None
    return list(found)
