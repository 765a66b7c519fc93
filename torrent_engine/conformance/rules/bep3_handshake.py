"""Rules of the handshake (BEP 3) for a seed."""

import re
from typing import Final

import anyio

from torrent_engine.conformance.case import CLOSED, SILENT, WORKS, Case
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import (
    FAST_EXTENDED,
    HANDSHAKE_BYTES,
    HASH_END,
    HEADER,
    INTERESTED,
    KEEPALIVE,
    PLAIN,
    FrameType,
    HandshakeBytes,
    message,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
I = Verdict.INCONCLUSIVE  # noqa: E741 - the letter of the verdict
UNKNOWN_HASH: Final = bytes(range(20))
ALL_BUT_V2: Final = b"\xff" * 7 + b"\xef"
MANY: Final = 100
SPIN_S: Final = 5.0
MAX_IDLE_CPU: Final = 0.05
_KNOWN_STYLE: Final = re.compile(
    rb"-[A-Za-z0-9~]{2}[A-Za-z0-9.+-]{4}-|[A-Z][A-Za-z0-9.-]{5}---|M\d-\d"
)


@rule("BEP3-HS-01", Level.STATED, 10, {"exact": P, "other bytes": F, "nothing": I})
async def answers_with_a_handshake(case: Case) -> Outcome:
    """Answer a handshake with 19, the name of the protocol, 8 bytes, the info-hash and an id.

    BEP 3: "The handshake starts with character nineteen (decimal) followed by the string
    'BitTorrent protocol'."
    """
    peer = await case.connect()
    await peer.send(case.greeting(peer, FAST_EXTENDED), "handshake")
    greeting = await peer.receive_greeting(case.limit_s)
    if greeting is None:
        return Outcome("nothing")
    is_exact = greeting.header == HEADER and greeting.info_hash == case.torrent.info_hash
    return Outcome("exact" if is_exact else "other bytes", greeting.encode().hex())


@rule(
    "BEP3-HS-02",
    Level.STATED,
    10,
    {
        "closed without an answer": P,
        "echoed the hash, then closed": N,
        "answered with another hash": F,
        "left open": F,
    },
)
async def unknown_hash_ends_the_connection(case: Case) -> str:
    """Close a connection whose handshake has an unknown info-hash.

    BEP 3: "If both sides don't send the same value, they sever the connection."
    """
    peer = await case.connect()
    await peer.send(HandshakeBytes(HEADER, PLAIN, UNKNOWN_HASH, peer.peer_id).encode())
    greeting = await peer.receive_greeting(case.limit_s)
    if greeting is None:
        return "closed without an answer" if peer.is_closed else "left open"
    if greeting.info_hash != UNKNOWN_HASH:
        return "answered with another hash"
    closed = await peer.wait_closed(case.limit_s)
    return "echoed the hash, then closed" if closed else "left open"


@rule("BEP3-HS-03", Level.ROBUST, 130, {CLOSED: P, SILENT: N, "answered": F})
async def other_protocol_is_not_answered(case: Case) -> str:
    """Do not answer the handshake of another protocol.

    No BEP states it; the bytes may be the beginning of an encrypted handshake.
    """
    peer = await case.connect()
    header = b"\x13BitTorrent protocox"
    await peer.send(HandshakeBytes(header, PLAIN, case.torrent.info_hash, peer.peer_id).encode())
    if await peer.receive_bytes(1, case.limit_s):
        return "answered"
    return CLOSED if peer.is_closed else SILENT


@rule("BEP3-HS-04", Level.CONV, 10, {WORKS: P, CLOSED: F})
async def unknown_reserved_bits_are_ignored(case: Case) -> str:
    """Ignore reserved bits that mean nothing to you.

    BEP 3 leaves the eight bytes to extensions: who does not know a bit has to do without.
    """
    peer = await case.connect()
    await peer.send(case.greeting(peer, ALL_BUT_V2), "handshake, all reserved bits but that of v2")
    if await peer.receive_greeting(case.limit_s) is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer)


@rule("BEP3-HS-05", Level.CONV, 10, {"none": P, "an extension message": F})
async def no_extension_without_its_bit(case: Case) -> Outcome:
    """Send no message of an extension whose bit the other side did not set.

    BEP 6: "enabled only if both ends of the connection set this bit"; BEP 10 likewise.
    """
    peer = await case.greet(PLAIN)
    await case.reaction(peer)
    strange = [each for each in peer.seen if each.number > FrameType.PORT]
    name = "an extension message" if strange else "none"
    return Outcome(name, ", ".join(each.describe() for each in strange[:3]))


@rule("BEP3-HS-06", Level.ROBUST, 15, {"answered": P, CLOSED: F})
async def handshake_in_single_bytes(case: Case) -> str:
    """Take a handshake that comes one byte at a time.

    No BEP states it: TCP has no message boundaries.
    """
    peer = await case.connect()
    await peer.send_slowly(case.greeting(peer), 0.02)
    if await peer.receive_greeting(case.limit_s):
        return "answered"
    return CLOSED if peer.is_closed else SILENT


@rule("BEP3-HS-07", Level.ROBUST, 10, {WORKS: P, CLOSED: F})
async def handshake_and_messages_in_one_segment(case: Case) -> str:
    """Take messages that come in one segment with the handshake.

    No BEP states it: TCP has no message boundaries.
    """
    peer = await case.connect()
    bitfield = message(FrameType.BITFIELD, bytes(-(-case.torrent.piece_count // 8)))
    await peer.send(case.greeting(peer) + bitfield + INTERESTED + KEEPALIVE)
    if await peer.receive_greeting(case.limit_s) is None:
        return CLOSED if peer.is_closed else SILENT
    return await case.reaction(peer)


@rule("BEP3-HS-08", Level.CONV, 5, {"answers": P, "waits for all 68 bytes": N, CLOSED: N})
async def answers_before_the_peer_id(case: Case) -> str:
    """Answer as soon as the info-hash is known.

    BEP 3: "they may wait for incoming connections to give a download hash first, and respond with
    the same one if it's in their list." Trackers that test peers send no more than that.
    """
    peer = await case.connect()
    await peer.send(case.greeting(peer)[:HASH_END], "48 bytes of a handshake")
    if len(await peer.receive_bytes(HASH_END, case.limit_s)) == HASH_END:
        return "answers"
    return CLOSED if peer.is_closed else "waits for all 68 bytes"


@rule("BEP3-HS-09", Level.CONV, 10, {CLOSED: P, WORKS: N})
async def own_peer_id_is_refused(case: Case) -> str:
    """Close a connection from your own peer id: it is one to yourself.

    No BEP states it.
    """
    first = await case.greet()
    if first.greeting is None:
        raise UndecidedError("no handshake came")
    await first.close()
    peer = await case.connect(another_address=True)
    peer.peer_id = first.greeting.peer_id
    await peer.send(case.greeting(peer), "handshake with its own peer id")
    await peer.receive_greeting(case.limit_s)
    return CLOSED if peer.is_closed else await case.reaction(peer)


@rule("BEP3-HS-10", Level.CONV, 10, {"one is closed": P, "both stay": N})
async def second_connection_of_a_peer_is_refused(case: Case) -> str:
    """Close one of two connections of the same peer id and address.

    No BEP states it: with more connections a peer would get more than its share.
    """
    first = await case.greet()
    second = await case.connect()
    second.peer_id = first.peer_id
    await second.send(case.greeting(second), "handshake with the peer id of a")
    await second.receive_greeting(case.limit_s)
    if second.is_closed or await case.reaction(second) == CLOSED:
        return "one is closed"
    await first.watch(1.0)
    return "one is closed" if first.is_closed else "both stay"


@rule("BEP3-HS-13", Level.ROBUST, 190, {"closed in 180 s": P, "closed later": N, "never closed": N})
async def silent_connection_is_closed(case: Case) -> str:
    """Close a connection that sends nothing at all.

    No BEP states it: each costs a descriptor.
    """
    peer = await case.connect()
    start = anyio.current_time()
    if not await peer.wait_closed(case.limit_s):
        return "never closed"
    took = anyio.current_time() - start
    return "closed in 180 s" if took <= 180 * case.patience else "closed later"


@rule(
    "BEP3-HS-14",
    Level.CONV,
    40,
    {"known style": P, "no known style": N, "the same after a restart": F},
    is_alone=True,
)
async def peer_id_has_a_style_and_a_random_part(case: Case) -> Outcome:
    """Make a peer id in a style of BEP 20, with a part that is random.

    BEP 20: "A number of clients begin the peer id with a dash followed by two characters to
    identify the client implementation, four ascii digits to denote version number, and a dash. As
    with mainline, the remaining bytes are random." BEP 3: "Each downloader generates its own id at
    random at the start of a new download."
    """
    first = await case.greet()
    if case.subject.can_restart:
        await case.subject.restart()
        second = await case.greet()
        if _id_of(first.greeting) == _id_of(second.greeting):
            return Outcome("the same after a restart", repr(_id_of(first.greeting)))
    is_known = _KNOWN_STYLE.match(_id_of(first.greeting)) is not None
    return Outcome("known style" if is_known else "no known style", repr(_id_of(first.greeting)))


def _id_of(greeting: HandshakeBytes | None) -> bytes:
    return greeting.peer_id if greeting is not None else b""


@rule("BEP3-HS-17", Level.ROBUST, 65, {CLOSED: P, "left open": F, "busy loop": F}, is_alone=True)
async def half_closed_connection_is_closed(case: Case) -> Outcome:
    """Close a connection whose other side has closed its half, and do not spin on it.

    No BEP states it.
    """
    peer = await case.greet()
    await peer.send_end()
    before = case.subject.cpu_s()
    await peer.watch(SPIN_S)
    after = case.subject.cpu_s()
    if before is not None and after is not None and not peer.is_closed:
        used = (after - before) / SPIN_S
        if used > MAX_IDLE_CPU:
            return Outcome("busy loop", f"{used:.0%} of a core")
    return Outcome(CLOSED if await peer.wait_closed(case.limit_s - SPIN_S) else "left open")


@rule(
    "BEP3-HS-18",
    Level.ROBUST,
    70,
    {"served in 10 s": P, "served later": N, "not served": F},
    is_alone=True,
)
async def hundred_silent_connections_do_not_shut_out_a_good_one(case: Case) -> str:
    """Serve a good peer while a hundred connections without a handshake are open.

    No BEP states it.
    """
    for _ in range(MANY):
        await case.connect(another_address=True)
    start = anyio.current_time()
    peer = await case.connect(another_address=True)
    await peer.send(case.greeting(peer), "handshake")
    data = await peer.receive_bytes(HANDSHAKE_BYTES, 60 * case.patience)
    if len(data) < HANDSHAKE_BYTES:
        return "not served"
    took = anyio.current_time() - start
    return "served in 10 s" if took <= 10 * case.patience else "served later"
