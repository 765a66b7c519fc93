"""Rules of the queries that a node of the DHT sends itself, and of its table (BEP 5)."""

from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.conformance.dht.dht_case import DhtCase, ping, random_hash
from torrent_engine.conformance.dht.kit_node import (
    TOKEN,
    KitNode,
    answer_nothing,
    usual_answers,
    usual_values,
)
from torrent_engine.conformance.dht.krpc import (
    ID_BYTES,
    KrpcMessage,
    failure,
    response,
)
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.torrent_set import basic_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
WATCH_S: Final = 20.0
LONG_TRANSACTION: Final = 20
TARGETS: Final = {"find_node": b"target", "get_peers": b"info_hash", "get": b"target"}


@rule("BEP5-DT-20", Level.STATED, 40, {"right": P, "several ids": N, "wrong": F}, role=DHT)
async def form_of_its_own_queries(case: DhtCase) -> Outcome:
    """Send queries with an id of 20 bytes, a short transaction id, and what the method needs.

    BEP 5: "All queries have an "id" key and value containing the node ID of the querying node."
    """
    node = await case.node()
    await case.start(node)
    await case.until(lambda: len(node.queries) >= 5, WATCH_S * case.patience)
    ids = {each.argument(b"id") for each in node.queries}
    wrong = [each for each in node.queries if not _is_well_formed(each)]
    if wrong:
        return Outcome("wrong", repr(wrong[0].content))
    if len(ids) > len({each.sender for each in node.queries}):
        return Outcome("several ids", f"{len(ids)} ids")
    return Outcome("right", f"{len(node.queries)} queries")


def _is_well_formed(asked: KrpcMessage) -> bool:
    key = TARGETS.get(asked.method)
    has_target = key is None or len(asked.argument(key)) == ID_BYTES
    has_id = len(asked.argument(b"id")) == ID_BYTES
    return has_target and has_id and 0 < len(asked.transaction) <= LONG_TRANSACTION


def _with_another_transaction(node: KitNode, asked: KrpcMessage) -> Sequence[bytes]:
    other = bytes(each ^ 0xFF for each in asked.transaction)
    return (response(other, usual_values(node, asked)),)


@rule("BEP5-DT-21", Level.ROBUST, 60, {"not taken": P, "in its table": F}, role=DHT)
async def answers_to_something_else(case: DhtCase) -> Outcome:
    """Take no response with a transaction that you did not use, or from another port.

    BEP 5: the transaction id "is echoed in the response, so responses may be correlated with
    multiple queries to the same node."
    """
    wrong, moved, helper = [await case.node() for _ in range(3)]
    wrong.answer = _with_another_transaction
    other = await case.node(moved.address[0])

    def from_another_port(node: KitNode, asked: KrpcMessage) -> Sequence[bytes]:
        other.answer_soon(usual_answers(node, asked), asked.sender)
        return ()

    moved.answer = from_another_port
    program = await case.start(wrong, moved, helper)
    await case.until(lambda: bool(wrong.queries and moved.queries), case.limit_s)
    await anyio.sleep(WATCH_S)
    if not wrong.queries or not moved.queries:
        raise UndecidedError("it did not ask the nodes that it was told of")
    known: set[bytes] = set()
    for each in (wrong, moved):
        found = await helper.ask(program.address, "find_node", {b"target": each.node_id})
        known |= set(found.node_ids)
    taken = [each for each in (wrong, moved) if each.node_id in known]
    return Outcome("in its table" if taken else "not taken", f"{len(taken)} of 2")


@rule("BEP5-DT-23", Level.STATED, 60, {"announced": P, "another token": F, "never": F}, role=DHT)
async def announce_of_its_torrent(case: DhtCase) -> str:
    """Announce your torrent to the nodes close to it, with the token that each gave.

    BEP 5: "the client then inserts the peer contact information for itself onto the responding
    nodes with IDs closest to the infohash"; "it must present the token received from the same
    queried node".
    """
    node, info_hash = await case.node(), basic_torrent().info_hash
    await case.start(node)

    def announces() -> list[KrpcMessage]:
        return [each for each in node.queries if each.method == "announce_peer"]

    await case.until(lambda: bool(announces()), case.limit_s)
    if not announces():
        return "never"
    first = announces()[0]
    is_right = (first.argument(b"token"), first.argument(b"info_hash")) == (TOKEN, info_hash)
    return "announced" if is_right else "another token"


@rule("BEP5-DT-24", Level.SHOULD, 60, {"bounded": P, "hammers": F, "named to others": F}, role=DHT)
async def nodes_that_do_not_answer(case: DhtCase) -> Outcome:
    """Ask nodes that are silent or answer with errors rarely, and name them to nobody.

    BEP 5: "Nodes become bad when they fail to respond to multiple queries in a row"; "each node's
    routing table must contain only known good nodes."
    """
    silent, failing, helper = [await case.node() for _ in range(3)]
    silent.answer = answer_nothing
    failing.answer = lambda _, asked: (failure(asked.transaction, 202),)
    program = await case.start(silent, failing, helper)
    await anyio.sleep(WATCH_S)
    counts = [len(each.queries) for each in (silent, failing)]
    found = await helper.ask(program.address, "find_node", {b"target": silent.node_id})
    detail = f"{counts} queries in {WATCH_S:.0f} s"
    if silent.node_id in found.node_ids:
        return Outcome("named to others", detail)
    return Outcome("hammers" if max(counts) > WATCH_S else "bounded", detail)


ODD_LISTS: Final = (
    b"odd",
    b"\x01" * 27,
    b"\x02" * 20 + bytes(6),
    b"\x03" * 20 + b"\xff\xff\xff\xff\x00\x01",
    b"\x04" * 20 + b"\xe0\x00\x00\x01\x1a\xe1",
)


@rule("BEP5-DT-26", Level.ROBUST, 40, {"goes on": P, "silence": F}, role=DHT)
async def lists_of_nodes_that_are_none(case: DhtCase) -> str:
    """Go on after lists of nodes with odd lengths, your own id, and addresses of nobody.

    No BEP states it.
    """
    node = await case.node()

    def answer(_: KitNode, asked: KrpcMessage) -> Sequence[bytes]:
        odd = ODD_LISTS[len(node.queries) % len(ODD_LISTS)]
        values = usual_values(node, asked) | {b"nodes": asked.argument(b"id") + b"\x7f" * 6 + odd}
        return (response(asked.transaction, values),)

    node.answer = answer
    program = await case.start(node)
    await case.until(lambda: len(node.queries) >= 5, WATCH_S)
    answers = [await ping(await case.node(), program.address) for _ in range(2)]
    return "goes on" if any(answers) else "silence"


@rule("BEP5-DT-22", Level.STATED, 120, {"closer nodes": P, "not asked": F}, role=DHT)
async def lookup_goes_on(case: DhtCase) -> Outcome:
    """Ask the nodes that others name, closer and closer.

    BEP 5: "The original node iteratively queries nodes that are closer to the target infohash until
    it cannot find any closer nodes."
    """
    chain = [await case.node() for _ in range(3)]
    info_hash = basic_torrent().info_hash
    for number, each in enumerate(chain):
        kept = 1 + number * 4
        each.node_id = info_hash[:kept] + random_hash()[kept:]
        each.contacts = chain[number + 1 : number + 2]
    await case.start(chain[0])
    is_asked = await case.until(lambda: bool(chain[-1].queries), case.limit_s)
    asked = sum(bool(each.queries) for each in chain)
    return Outcome("closer nodes" if is_asked else "not asked", f"{asked} of {len(chain)} asked")
