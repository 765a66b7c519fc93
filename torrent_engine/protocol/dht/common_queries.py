"""A fast decoder of the most frequent queries: ping, find_node, get_peers.

The result is that of :func:`~torrent_engine.protocol.dht.krpc.decode_message`, to which queries
with any further key are left.
"""

import re
from typing import Final

from torrent_engine.codec.bencode import BencodeValue

_QUERY: Final = re.compile(
    rb"d1:ad2:id20:(.{20})(?:(9:info_hash|6:target)20:(.{20}))?e"
    rb"1:q(4:ping|9:find_node|9:get_peers)"
    rb"1:t([1-9]):(.{1,9}?)(?:1:v4:(.{4}))?1:y1:qe",
    re.DOTALL,
)

CommonQuery = tuple[bytes, bytes, bytes, dict[bytes, BencodeValue], bytes]


def decode_common_query(data: bytes) -> CommonQuery | None:
    """Return transaction, method, sender, arguments and client of a common query, or None."""
    match = _QUERY.fullmatch(data)
    if match is None:
        return None
    sender, name, key, method, length, transaction, client = match.groups(b"")
    if len(transaction) != int(length):
        return None
    arguments: dict[bytes, BencodeValue] = {b"id": sender}
    if name:
        arguments[name[2:]] = key
    return transaction, method[2:], sender, arguments, client
