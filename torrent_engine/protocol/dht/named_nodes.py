"""Owns the question which of the nodes that an answer names may be asked at all.

Source: BEP 5, 32; row C2: nobody makes us send queries into our own network, to ourselves, to a
whole network, or to more nodes than an honest answer has.
"""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.dht.hosts import REMEMBERED_HOSTS, is_local
from torrent_engine.protocol.dht.krpc import NodeInfo, Response, decode_nodes

_IPV4_PEER_BYTES: Final = 6
_IPV6_PEER_BYTES: Final = 18


@lru_cache(maxsize=REMEMBERED_HOSTS)
def is_unicast(host: str) -> bool:
    """Tell whether a literal address can be one host's."""
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    return not (ip.is_unspecified or ip.is_multicast or host == "255.255.255.255")


def may_be_asked(address: PeerAddress, teller: PeerAddress | None, *, is_ipv6: bool) -> bool:
    """Tell whether a query may go to an address, which somebody named, or we know (None).

    A node on the internet names no hosts of our own network.
    """
    host, port = address
    if not 0 < port <= 0xFFFF or (":" in host) != is_ipv6 or not is_unicast(host):
        return False
    is_near = is_local(host) or is_local(operator_of(host))  # also 192.168.0.1 as 64:ff9b::c0a8:1
    return teller is None or is_local(teller.host) or not is_near


def distance(first: bytes, second: bytes) -> int:
    """Return how far two ids are apart: their XOR as a number (BEP 5)."""
    return int.from_bytes(first, "big") ^ int.from_bytes(second, "big")


def named_nodes(
    response: Response,
    teller: PeerAddress,
    target: bytes,
    *,
    own: Collection[NodeId | PeerAddress],
    is_ipv6: bool,
    at_most: int,
) -> list[NodeInfo]:
    """Return the nodes of one answer that are worth asking, the closest to the target first.

    ``own`` are the ids and addresses that are ourselves. A malformed list has no nodes.
    """
    try:
        nodes = decode_nodes(
            response.values.get(b"nodes6" if is_ipv6 else b"nodes"), is_ipv6=is_ipv6
        )
    except KrpcError:
        return []
    wanted = [
        node
        for node in nodes[: 4 * at_most]
        if node.id not in own
        and node.address not in own
        and may_be_asked(node.address, teller, is_ipv6=is_ipv6)
    ]
    wanted.sort(key=lambda node: distance(node.id, target))
    return wanted[:at_most]
