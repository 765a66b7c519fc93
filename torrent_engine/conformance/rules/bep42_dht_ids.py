"""Rules of node ids that fit their addresses, and of nodes that only ask (BEP 42, 43)."""

import ipaddress
from collections.abc import Sequence
from typing import Final

from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.dht.kit_node import KitNode, usual_values
from torrent_engine.conformance.dht.krpc import ID_BYTES, KrpcMessage, NodeAddress, response
from torrent_engine.conformance.dht.secure_ids import fits, fitting_id, is_exempt
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
WATCH_S: Final = 10.0
KEPT_S: Final = 45.0  # until a node that is kept is asked something
VOTERS: Final = 8
OF_EACH: Final = 4


def _packed(address: NodeAddress) -> bytes:
    host, port = address
    return ipaddress.ip_address(host).packed + port.to_bytes(2, "big")


def _answer_with_address(node: KitNode, asked: KrpcMessage) -> Sequence[bytes]:
    """Answer as usual, and say where the query came from."""
    values = usual_values(node, asked)
    return (response(asked.transaction, values, ip=_packed(asked.sender)),)


def _need_public(case: DhtCase) -> None:
    """Raise NotOfferedError if the rules of ids do not hold for where the program is."""
    if is_exempt(case.target[0]):
        raise NotOfferedError("addresses of this machine are exempt: --own-network")


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
    is_right = told == _packed((host, port))
    return Outcome("right" if is_right else "another", repr(told))


@rule("BEP42-ID-02", Level.MUST, 120, {"fits": P, "does not fit": N}, role=DHT)
async def own_id(case: DhtCase) -> Outcome:
    """Have an id that fits the address that others see you at.

    BEP 42: "The first (most significant) 21 bits of the node ID used in the DHT MUST match the
    first 21 bits of the resulting hash."
    """
    _need_public(case)
    nodes = [await case.node() for _ in range(VOTERS)]
    for each in nodes:
        each.node_id = fitting_id(each.address[0])
        each.contacts = [other for other in nodes if other is not each]
        each.answer = _answer_with_address
    program = await case.start(*nodes)
    host = program.address[0]

    def ids() -> set[bytes]:
        return {asked.argument(b"id") for each in nodes for asked in each.queries}

    does_fit = await case.until(lambda: any(fits(each, host) for each in ids()), case.limit_s)
    return Outcome("fits" if does_fit else "does not fit", f"{len(ids())} ids")


@rule(
    "BEP42-ID-04",
    Level.SHOULD,
    60,
    {"those that fit": P, "others, too": N, "others only": N},
    role=DHT,
)
async def announce_to_ids_that_do_not_fit(case: DhtCase) -> Outcome:
    """Announce only to nodes whose ids fit their addresses, however close the others are.

    BEP 42: "responses to get_peers requests whose node ID does not match its external IP should be
    considered to not contain a token and thus not be eligible as storage target." Before that is
    enforced everywhere, and beside nodes that fit, announces to others are allowed.
    """
    _need_public(case)
    good = [await case.node() for _ in range(OF_EACH)]
    bad = [await case.node() for _ in range(OF_EACH)]
    info_hash = case.program.torrent.info_hash
    for number, (first, second) in enumerate(zip(good, bad, strict=True)):
        first.node_id = fitting_id(first.address[0])
        second.node_id = info_hash[: ID_BYTES - 1] + bytes([info_hash[-1] ^ number + 1])
    nodes = [*good, *bad]
    for each in nodes:
        each.contacts = [other for other in nodes if other is not each]
        each.answer = _answer_with_address
    await case.start(*nodes)
    await case.until(lambda: any(map(_was_told, good)), case.limit_s)
    await case.until(lambda: False, WATCH_S)
    counts = [sum(map(_was_told, each)) for each in (good, bad)]
    detail = f"{counts[0]} that fit, {counts[1]} others"
    if not any(counts):
        raise UndecidedError("it announced nothing")
    if not counts[1]:
        return Outcome("those that fit", detail)
    return Outcome("others, too" if counts[0] else "others only", detail)


def _was_told(node: KitNode) -> bool:
    """Return whether the program announced its torrent to a node."""
    return any(each.method == "announce_peer" for each in node.queries)


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


@rule("BEP43-RO-01", Level.SHOULD, 60, {"not in its table": P, "in its table": F}, role=DHT)
async def node_that_only_asks_is_not_kept(case: DhtCase) -> Outcome:
    """Keep no node in the table that says that it only asks.

    BEP 43: "the node should not add the message sender to its routing table." The program is one of
    its own, whose table has room: in a full one there would be no place for anybody.
    """
    node, other = await case.node(), await case.node()
    program = await case.start(other)
    for method in ("ping", "find_node", "ping"):
        await node.ask(program.address, method, {b"target": node.node_id}, ro=1)
    await case.until(lambda: bool(node.queries), KEPT_S)
    found = await other.ask(program.address, "find_node", {b"target": node.node_id})
    is_known = bool(node.queries) or node.node_id in found.node_ids
    return Outcome("in its table" if is_known else "not in its table", f"{len(node.queries)} asked")


@rule("BEP43-RO-02", Level.STATED, 10, {"answered": P, "an error": F}, role=DHT)
async def node_that_only_asks_is_answered(case: DhtCase) -> str:
    """Answer a node that says that it only asks.

    BEP 43: "Instead it should merely service the query as usual."
    """
    node = await case.node()
    found = await node.ask(case.target, "find_node", {b"target": random_hash()}, ro=1)
    return "answered" if found.kind == b"r" else "an error"
