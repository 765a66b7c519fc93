"""Rules of uTP (BEP 29): connections, their numbers and their end."""

import os
import random
from dataclasses import replace
from typing import Final

from torrent_engine.conformance.case import CLOSED, SILENT, WORKS, WRONG, Case
from torrent_engine.conformance.frames import KEEPALIVE
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.utp.conversation import (
    greeted,
    new_link,
    open_link,
    opened,
    peer_of,
)
from torrent_engine.conformance.utp.packets import (
    SELECTIVE_ACK,
    SEQUENCES,
    KitUtpPacket,
    UtpKind,
    distance,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
UTP: Final = Role.UTP
ACKED, NOT_ACKED = "acknowledged", "not acknowledged"
RESET: Final = "reset"
ODD_TYPE: Final = 5
ODD_EXTENSION: Final = 77
SHIFT_US: Final = 10_000_000
TOLERANCE_US: Final = 2_000_000
FLOOD: Final = 100
FLOOD_S: Final = 3.0
SYN_BYTES: Final = 20
MAX_FACTOR: Final = 5
TAKEN: Final = {WORKS: P, WRONG: F, CLOSED: F, SILENT: F, NOT_ACKED: F}


async def _goes_on(case: Case, peer: RawPeer) -> str:
    """Return what comes of a handshake that was sent, and of the requests after it."""
    if await peer.receive_greeting(case.limit_s) is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer)


@rule(
    "BEP29-UP-01", Level.STATED, 5, {"STATE": P, "wrong numbers": F, RESET: F, SILENT: F}, role=UTP
)
async def syn_is_answered(case: Case) -> Outcome:
    """Answer a SYN with a STATE that has its connection id and its number.

    "The connection ID is what the other end is expected to use in its responses."
    """
    link = await new_link(case)
    answer = await link.open(case.limit_s)
    if answer is None:
        return Outcome(SILENT)
    if answer.kind != UtpKind.STATE:
        return Outcome(RESET, answer.describe())
    is_right = (answer.connection_id, answer.ack, answer.version) == (link.own_id, 1, 1)
    return Outcome("STATE" if is_right else "wrong numbers", answer.describe())


@rule("BEP29-UP-02", Level.STATED, 5, {"they differ": P, "always the same": N}, role=UTP)
async def first_number_is_random(case: Case) -> Outcome:
    """Begin with a random number for each connection.

    "The sequence number for the return channel is initialized to a random number."
    """
    numbers = [(await open_link(case, await new_link(case))).seq for _ in range(3)]
    same = len(set(numbers)) == 1
    return Outcome("always the same" if same else "they differ", f"numbers {numbers}")


@rule(
    "BEP29-UP-03",
    Level.CONV,
    10,
    {"that of its STATE": P, "the next one": P, "another": F, NOT_ACKED: F, SILENT: F},
    role=UTP,
)
async def number_of_the_first_data(case: Case) -> str:
    """Begin your data with the number of your STATE, or the next one.

    "Packets that don't include any payload do not increase the seq_nr"; the diagram of the
    connection setup has "seq_nr=c.seq_nr++" for the STATE, so both are in use.
    """
    link = await new_link(case)
    state = await open_link(case, link)
    peer = peer_of(case, link)
    sent = await link.send_data(case.greeting(peer))
    data = await link.wait_for(lambda each: each.kind == UtpKind.DATA, case.limit_s)
    if data is None:
        return SILENT
    if distance(sent.seq, data.ack) < 0:
        return NOT_ACKED
    names = {0: "that of its STATE", 1: "the next one"}
    return names.get(distance(state.seq, data.seq), "another")


@rule("BEP29-UP-04", Level.STATED, 5, {ACKED: P, NOT_ACKED: F}, role=UTP)
async def data_is_acknowledged(case: Case) -> str:
    """Acknowledge every packet of data.

    ack_nr is "the sequence number the sender of the packet last received in the other direction".
    """
    link, _ = await greeted(case)
    for _ in range(3):
        sent = await link.send_data(KEEPALIVE)
        if await link.wait_acked(sent.seq, case.limit_s) is None:
            return NOT_ACKED
    return ACKED if distance(sent.seq, link.their_ack) == 0 else NOT_ACKED


async def _with_a_gap(case: Case) -> list[KitUtpPacket]:
    """Send four packets of which the first is lost; return what acknowledges only those before."""
    link, _ = await greeted(case)
    lost = link.packet(UtpKind.DATA, KEEPALIVE)
    link.seq += 1
    for _ in range(3):
        await link.send_data(KEEPALIVE)
    wanted, before = (lost.seq - 1) % SEQUENCES, len(link.packets)
    await link.wait_for(lambda each: each.bits is not None and each.bits[0] & 7 == 7, case.limit_s)
    return [each for each in link.packets[before:] if each.ack == wanted]


@rule(
    "BEP29-UP-05",
    Level.STATED,
    3,
    {"the right bits": P, "no selective ack": N, "wrong bits": F, "wrong length": F, NOT_ACKED: F},
    role=UTP,
)
async def selective_ack_behind_a_gap(case: Case) -> Outcome:
    """Name what came behind a gap in a selective ack.

    "The first bit in the mask therefore represents ack_nr + 2"; the length "must be at least 4,
    and in multiples of 4".
    """
    answers = await _with_a_gap(case)
    if not answers:
        return Outcome(NOT_ACKED)
    bits = next((each.bits for each in reversed(answers) if each.bits is not None), None)
    if bits is None:
        return Outcome("no selective ack")
    if len(bits) < 4 or len(bits) % 4:
        return Outcome("wrong length", f"{len(bits)} bytes")
    is_right = int.from_bytes(bits, "little") == 0b111
    return Outcome("the right bits" if is_right else "wrong bits", bits.hex())


@rule("BEP29-UP-06", Level.STATED, 5, TAKEN, role=UTP)
async def gap_is_filled(case: Case) -> str:
    """Go on in the right order when the packet of a gap comes.

    "The sequence number tells the other end in which order packets should be served back to the
    application layer."
    """
    link = await opened(case)
    peer = peer_of(case, link)
    greeting = case.greeting(peer)
    parts = [greeting[start : start + 17] for start in range(0, len(greeting), 17)]
    packets = [link.packet(UtpKind.DATA, each, seq=link.seq + n) for n, each in enumerate(parts)]
    for each in (*packets[1:], packets[0]):
        await link.send(each)
    link.seq += len(packets)
    if await link.wait_acked(packets[-1].seq, case.limit_s) is None:
        return NOT_ACKED
    return await _goes_on(case, peer)


@rule("BEP29-UP-09", Level.STATED, 5, TAKEN, role=UTP)
async def unknown_extension(case: Case) -> str:
    """Skip extensions that you do not know.

    "Unknown extensions can be skipped by simply advancing len bytes."
    """
    link = await opened(case)
    peer = peer_of(case, link)
    extensions = ((ODD_EXTENSION, os.urandom(5)), (SELECTIVE_ACK, bytes(4)))
    sent = await link.send_data(case.greeting(peer), extensions=extensions)
    if await link.wait_acked(sent.seq, case.limit_s) is None:
        return NOT_ACKED
    return await _goes_on(case, peer)


@rule("BEP29-UP-10", Level.STATED, 10, {ACKED: P, RESET: N, NOT_ACKED: F}, role=UTP)
async def fin_is_acknowledged(case: Case) -> str:
    """Acknowledge a FIN.

    "Finalize the connection. This is the last packet. It closes the connection, similar to TCP FIN
    flag."
    """
    link, _ = await greeted(case)
    fin = link.packet(UtpKind.FIN)
    await link.send(fin)
    found = await link.wait_for(
        lambda each: each.kind == UtpKind.RESET or distance(fin.seq, each.ack) >= 0, case.limit_s
    )
    if found is None:
        return NOT_ACKED
    return RESET if found.kind == UtpKind.RESET else ACKED


@rule("BEP29-UP-11", Level.STATED, 3, {RESET: P, SILENT: N, ACKED: F}, role=UTP)
async def data_of_no_connection(case: Case) -> str:
    """Answer data of a connection that you do not know with a RESET.

    ST_RESET: "The remote host does not have any state for this connection. It is stale and should
    be terminated."
    """
    link = await new_link(case)
    link.seq, link.ack = random.randrange(SEQUENCES), random.randrange(SEQUENCES)  # noqa: S311
    await link.send_data(KEEPALIVE)
    answer = await link.receive(case.limit_s)
    if answer is None:
        return SILENT
    return RESET if answer.kind == UtpKind.RESET else ACKED


@rule("BEP29-UP-12", Level.STATED, 3, {CLOSED: P, "goes on with it": F}, role=UTP)
async def reset_ends_a_connection(case: Case) -> str:
    """End a connection when a RESET comes.

    "Terminate connection forcefully. Similar to TCP RST flag."
    """
    link, _ = await greeted(case)
    await link.send(link.packet(UtpKind.RESET))
    await link.watch(0.5)
    sent = await link.send_data(KEEPALIVE)
    found = await link.wait_for(
        lambda each: each.kind != UtpKind.RESET and each.ack == sent.seq, case.limit_s
    )
    return CLOSED if found is None else "goes on with it"


@rule("BEP29-UP-13", Level.ROBUST, 5, {**TAKEN, CLOSED: N, SILENT: N}, role=UTP)
async def reset_of_another_connection(case: Case) -> str:
    """Go on with a connection when the RESET of another one comes from its address.

    "Connections are identified by their conn_id header."
    """
    link, peer = await greeted(case)
    other_id = (link.own_id + 100) % SEQUENCES
    await link.send(link.packet(UtpKind.RESET, connection_id=other_id))
    return await case.reaction(peer)


@rule("BEP29-UP-16", Level.ROBUST, 1, {"ignored": P, RESET: N, "answered": F}, role=UTP)
async def unknown_versions_and_types(case: Case) -> str:
    """Ignore packets of other versions, and of types that nobody knows.

    "This is the protocol version. The current version is 1."; the types are 0 to 4.
    """
    found = "ignored"
    for version, kind in ((0, UtpKind.SYN), (2, UtpKind.SYN), (1, ODD_TYPE)):
        link = await new_link(case)
        await link.send(replace(link.packet(UtpKind.SYN), version=version, kind=kind))
        answer = await link.receive(case.limit_s)
        if answer is not None and answer.kind != UtpKind.RESET:
            return "answered"
        found = found if answer is None else RESET
    return found


@rule(
    "BEP29-UP-17", Level.STATED, 5, {"follows our clock": P, "does not": F, NOT_ACKED: F}, role=UTP
)
async def difference_of_clocks(case: Case) -> Outcome:
    """Say the difference between your clock and the time of the last packet.

    "The difference between the local time and the timestamp in the last received packet, at the
    time the last packet was received."
    """
    link, _ = await greeted(case)
    differences = []
    for link.clock_shift_us in (0, SHIFT_US):
        sent = await link.send_data(KEEPALIVE)
        answer = await link.wait_acked(sent.seq, case.limit_s)
        if answer is None:
            return Outcome(NOT_ACKED)
        differences.append(answer.difference)
    fell = (differences[0] - differences[1] + 2**31) % 2**32 - 2**31
    is_right = abs(fell - SHIFT_US) < TOLERANCE_US
    detail = f"fell by {fell} us when our clock rose by {SHIFT_US} us"
    return Outcome("follows our clock" if is_right else "does not", detail)


@rule("BEP29-UP-18", Level.STATED, 5, TAKEN, role=UTP)
async def data_that_comes_twice(case: Case) -> str:
    """Acknowledge data that came before, and deliver it only once.

    "Unlike TCP, sequence numbers and ACKs in uTP refers to packets": one number is one packet.
    """
    link = await opened(case)
    peer = peer_of(case, link)
    sent = await link.send_data(case.greeting(peer))
    for each in (sent, sent, link.packet(UtpKind.DATA, case.greeting(peer), seq=1)):
        await link.send(each)
    if await link.wait_acked(sent.seq, case.limit_s) is None:
        return NOT_ACKED
    return await _goes_on(case, peer)


@rule("BEP29-UP-19", Level.STATED, 2, {**TAKEN, "another connection": F, RESET: F}, role=UTP)
async def syn_that_comes_twice(case: Case) -> str:
    """Open no second connection for a SYN that comes again.

    "The ST_SYN packet will be unexpected in the existing stream, and ignored"; one that is lost
    is sent again, and may be answered as the first.
    """
    link = await new_link(case)
    first = await open_link(case, link)
    await link.send(link.packet(UtpKind.SYN, seq=1))
    again = await link.receive(case.limit_s)
    if again is not None and again.kind == UtpKind.RESET:
        return RESET
    if again is not None and again.seq != first.seq:
        return "another connection"
    peer = peer_of(case, link)
    await peer.send(case.greeting(peer), "handshake")
    return await _goes_on(case, peer)


@rule(
    "BEP29-UP-20",
    Level.ROBUST,
    15,
    {"bounded": P, "amplifies": F, "serves nobody": F},
    role=UTP,
    is_alone=True,
)
async def many_syns(case: Case) -> Outcome:
    """Send little for SYNs of an address that may be forged, and go on serving others.

    Nobody states it: 100 SYNs from one address, which answers nothing.
    """
    link = await new_link(case)
    for _ in range(FLOOD):
        link.own_id = random.randrange(SEQUENCES)  # noqa: S311 - not a secret
        await link.send(link.packet(UtpKind.SYN))
    await link.watch(FLOOD_S)
    factor = link.bytes_in / (FLOOD * SYN_BYTES)
    if factor > MAX_FACTOR:
        return Outcome("amplifies", f"{factor:.1f} times what was sent")
    _, peer = await greeted(case)
    served = await case.reaction(peer) == WORKS
    return Outcome("bounded" if served else "serves nobody", f"{factor:.1f} times what was sent")


@rule("BEP29-UP-21", Level.ROBUST, 5, {**TAKEN, CLOSED: N}, role=UTP)
async def data_far_ahead(case: Case) -> str:
    """Survive data whose numbers are far ahead.

    Nobody states what follows; the connection, if it is open still, works afterwards.
    """
    link, peer = await greeted(case)
    for ahead in (100, 60_000):
        seq = (link.seq + ahead) % SEQUENCES
        await link.send(link.packet(UtpKind.DATA, os.urandom(100), seq=seq))
    return await case.reaction(peer)
