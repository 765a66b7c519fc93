"""Rules of node ids that fit their addresses, and of nodes that only ask (BEP 42, 43)."""

import ipaddress
from typing import Final

from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
WATCH_S: Final = 10.0


@rule("BEP42-ID-01", Level.SHOULD, 10, {"right": P, "another": F}, role=DHT)
async def address_of_who_asks(case: DhtCase) -> Outcome:
    """Say which address and port a query came from, beside the response.

    BEP 42: "all DHT responses SHOULD include a top-level field called ip, containing a compact
    binary representation of the requestor's IP and port."
    """
    node = await case.node()
    found = await node.ask(case.target, "ping")
    told = found.content.get(b"ip")
    if told is None:
        raise NotOfferedError("no response has it")
    host, port = node.address
    is_right = told == ipaddress.ip_address(host).packed + port.to_bytes(2, "big")
    return Outcome("right" if is_right else "another", repr(told))


@rule("BEP42-ID-03", Level.SHOULD, 15, {"answered": P, "refused": F}, role=DHT)
async def id_that_does_not_fit(case: DhtCase) -> str:
    """Answer nodes whose id does not fit their address.

    BEP 42: "Requests from peers whose node ID does not match their external IP should always be
    serviced".
    """
    node = await case.node()
    for first in (0x00, 0xFF):
        node.node_id = bytes((first,)) * 20
        found = await node.ask(case.target, "get_peers", {b"info_hash": random_hash()})
        if found.kind != b"r":
            return "refused"
    return "answered"


@rule("BEP43-RO-01", Level.SHOULD, 30, {"not in its table": P, "in its table": F}, role=DHT)
async def node_that_only_asks_is_not_kept(case: DhtCase) -> Outcome:
    """Keep no node in the table that says that it only asks.

    BEP 43: "the node should not add the message sender to its routing table."
    """
    node, other = await case.node(), await case.node()
    for method in ("ping", "find_node", "ping"):
        await node.ask(case.target, method, {b"target": node.node_id}, ro=1)
    await case.until(lambda: False, WATCH_S)
    found = await other.ask(case.target, "find_node", {b"target": node.node_id})
    is_known = node.node_id in found.node_ids
    return Outcome("in its table" if is_known else "not in its table", f"{len(node.queries)} asked")


@rule("BEP43-RO-02", Level.STATED, 10, {"answered": P, "an error": F}, role=DHT)
async def node_that_only_asks_is_answered(case: DhtCase) -> str:
    """Answer a node that says that it only asks.

    BEP 43: "Instead it should merely service the query as usual."
    """
    node = await case.node()
    found = await node.ask(case.target, "find_node", {b"target": random_hash()}, ro=1)
    return "answered" if found.kind == b"r" else "an error"
