"""Validation of the nodes in responses.

Source: BEP 5, 32; row C2: a response cannot make us query our local network, ourselves, multicast
addresses, or more nodes than a proper response has.
"""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.dht.hosts import REMEMBERED_HOSTS, is_local
from torrent_engine.protocol.dht.krpc import NodeInfo, Response, decode_nodes

_IPV4_PEER_BYTES: Final = 6
_IPV6_PEER_BYTES: Final = 18


@lru_cache(maxsize=REMEMBERED_HOSTS)
def is_unicast(host: str) -> bool:
    """Return whether a literal address is unicast."""
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    return not (ip.is_unspecified or ip.is_multicast or host == "255.255.255.255")


def may_query(address: PeerAddress, sender: PeerAddress | None, *, is_ipv6: bool) -> bool:
    """Return whether an address from a response may be queried (None: from our own table).

    Local addresses are accepted only from local nodes.
    """
    host, port = address
    if not 0 < port <= 0xFFFF or (":" in host) != is_ipv6 or not is_unicast(host):
        return False
    is_near = is_local(host) or is_local(operator_of(host))  # also 192.168.0.1 as 64:ff9b::c0a8:1
    return sender is None or is_local(sender.host) or not is_near


def distance(first: bytes, second: bytes) -> int:
    """Return the distance of two ids: their XOR as a number (BEP 5)."""
    return int.from_bytes(first, "big") ^ int.from_bytes(second, "big")


def response_nodes(
    response: Response,
    sender: PeerAddress,
    target: bytes,
    *,
    own: Collection[NodeId | PeerAddress],
    is_ipv6: bool,
    at_most: int,
) -> list[NodeInfo]:
    """Return the valid nodes of a response, the closest to the target first.

    ``own`` are our own ids and addresses. Malformed entries are skipped.
    """
    blob = response.values.get(b"nodes6" if is_ipv6 else b"nodes")
    nodes = decode_nodes(blob, is_ipv6=is_ipv6)
    wanted = [
        node
        for node in nodes[: 4 * at_most]
        if node.id not in own
        and node.address not in own
        and may_query(node.address, sender, is_ipv6=is_ipv6)
    ]
    wanted.sort(key=lambda node: distance(node.id, target))
    return wanted[:at_most]
