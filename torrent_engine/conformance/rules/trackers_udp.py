"""Rules of programs that are UDP trackers (BEP 15, 41)."""

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Final

import anyio

from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.trackers_http import (
    NAMED,
    NOT_NAMED,
    PLACE6_BYTES,
    PLACE_BYTES,
    RIGHT,
    TRACKER,
    WRONG,
    F,
    N,
    P,
    U,
    named_ports,
    ports_of,
)
from torrent_engine.conformance.swarm.udp_tracker import CONNECT, MAGIC, SCRAPE
from torrent_engine.conformance.tracker.tracker_case import TrackerCase
from torrent_engine.conformance.tracker.udp_client import (
    STOPPED,
    KitUdpClient,
    TrackerPeer,
    UdpTrackerAnswer,
    announce_request,
    connect_request,
)
from torrent_engine.conformance.verdicts import Level

SILENT, TAKEN, NOT_TAKEN = "silence", "taken", "not taken"
CLIENTS: Final = 12
FRESH_S: Final = 110.0
OLD_S: Final = 300.0
SHORT_S: Final = 0.5
HASHES: Final = 74
NUMBERS_BYTES: Final = 12
ODD_ACTION: Final = 9
URL_OPTIONS: Final = b"\x01\x01\x02\x09/announce\x02\x07?key=12\x00"
"""Two NOPs, URLData in two parts, and the end."""


def _shown(answer: UdpTrackerAnswer | None) -> str:
    return SILENT if answer is None else answer.data[:60].hex()


async def _announced(
    client: KitUdpClient, peer: TrackerPeer, tail: bytes = b""
) -> UdpTrackerAnswer | None:
    return await client.announce(await client.connect(), peer, tail)


@rule("TRK-UD-01", Level.STATED, 5, {RIGHT: P, WRONG: F, SILENT: F}, role=TRACKER)
async def connect_is_answered(case: TrackerCase) -> Outcome:
    """Answer a connect with the same transaction id and a connection id, 16 bytes.

    BEP 15: the connect response has action, transaction_id and connection_id, 16 bytes.
    """
    answer = await (await case.udp()).exchange(connect_request(0x1234_ABCD))
    if answer is None:
        return Outcome(SILENT)
    is_right = (answer.action, answer.transaction) == (CONNECT, 0x1234_ABCD)
    return Outcome(RIGHT if is_right and len(answer.data) >= 16 else WRONG, _shown(answer))


@rule("TRK-UD-02", Level.STATED, 10, {NOT_TAKEN: P, TAKEN: F}, role=TRACKER)
async def connection_id_that_nobody_gave(case: TrackerCase) -> Outcome:
    """Take no announce with a connection id that you have not given.

    BEP 15: "The tracker verifies the connection_id and ignores the request if it doesn't match."
    """
    forged, client = case.peer(), await case.udp()
    answer = await client.announce(0x0102_0304_0506_0708, forged)
    if answer is not None and answer.is_announced:
        return Outcome(TAKEN, _shown(answer))
    ports = named_ports(await case.announce(case.peer()))
    return Outcome(TAKEN if forged.port in ports else NOT_TAKEN, _shown(answer))


@rule(
    "TRK-UD-03",
    Level.SHOULD,
    15,
    {"not guessable": P, "a pattern": F, "taken from another address": F},
    role=TRACKER,
)
async def connection_ids_cannot_be_guessed(case: TrackerCase) -> Outcome:
    """Give connection ids that nobody guesses, each for one address.

    BEP 15: "Connection IDs should not be guessable by the client."
    """
    clients = [await case.udp() for _ in range(CLIENTS)]
    numbers = [await each.connect() for each in clients]
    steps = [after - before for before, after in pairwise(numbers)]
    if len(set(numbers)) < CLIENTS or max(map(abs, steps)) < 2**16:
        return Outcome("a pattern", str(numbers[:4]))
    answer = await clients[1].announce(numbers[0], case.peer())
    if answer is not None and answer.is_announced:
        return Outcome("taken from another address", _shown(answer))
    return Outcome("not guessable")


@rule(
    "TRK-UD-04",
    Level.SHOULD,
    310,
    {"two minutes": P, "longer": N, "refused too soon": F},
    role=TRACKER,
)
async def age_of_connection_ids(case: TrackerCase) -> Outcome:
    """Take a connection id for two minutes, and not for ever.

    BEP 15: "Trackers should accept the connection ID until two minutes after it has been send."
    """
    client = await case.udp()
    number = await client.connect()
    await anyio.sleep(FRESH_S)
    answer = await client.announce(number, case.peer())
    if answer is None or not answer.is_announced:
        return Outcome("refused too soon", _shown(answer))
    await anyio.sleep(OLD_S - FRESH_S)
    answer = await client.announce(number, case.peer())
    is_longer = answer is not None and answer.is_announced
    return Outcome("longer" if is_longer else "two minutes", _shown(answer))


@rule("TRK-UD-05", Level.STATED, 10, {TAKEN: P, NOT_TAKEN: F}, role=TRACKER)
async def announce_that_is_longer(case: TrackerCase) -> Outcome:
    """Take an announce of 98 bytes, and one that is longer.

    BEP 15: "Do not expect packets to be exactly of a certain size. Future extensions could increase
    the size of packets."
    """
    client = await case.udp()
    for tail in (b"", bytes(22)):
        answer = await _announced(client, case.peer(), tail)
        if answer is None or not answer.is_announced:
            return Outcome(NOT_TAKEN, f"{98 + len(tail)} bytes: {_shown(answer)}")
    return Outcome(TAKEN)


@rule(
    "TRK-UD-06", Level.STATED, 10, {NAMED: P, NOT_NAMED: N, WRONG: F, "not there": U}, role=TRACKER
)
async def peers_over_ipv6(case: TrackerCase) -> Outcome:
    """Name peers with 18 bytes each over IPv6.

    BEP 15: "the stride size of <IP address, TCP port> pairs in the response is 18 bytes instead of
    6"; "Which format is used is determined by the address family of the underlying UDP packet."
    """
    client, other = await case.udp6(), case.peer()
    if await client.exchange(connect_request(1)) is None:
        return Outcome("not there")
    await _announced(client, other)
    answer = await _announced(client, case.peer())
    if answer is None or not answer.is_announced or len(answer.peers) % PLACE6_BYTES:
        return Outcome(WRONG, _shown(answer))
    return Outcome(NAMED if other.port in ports_of(answer.peers, PLACE6_BYTES) else NOT_NAMED)


@rule("TRK-UD-07", Level.STATED, 10, {RIGHT: P, "fewer": N, WRONG: F, SILENT: U}, role=TRACKER)
async def scrape_of_74_torrents(case: TrackerCase) -> Outcome:
    """Answer a scrape of 74 torrents with twelve bytes for each, in their order.

    BEP 15: "Up to about 74 torrents can be scraped at once."
    """
    client = await case.udp()
    await _announced(client, case.peer(left=0))
    others = [bytes([number]) * 20 for number in range(HASHES - 1)]
    answer = await client.scrape(await client.connect(), [*others, case.info_hash])
    if answer is None:
        return Outcome(SILENT)
    numbers = answer.data[8:]
    if answer.action != SCRAPE or len(numbers) % NUMBERS_BYTES:
        return Outcome(WRONG, _shown(answer))
    if len(numbers) < HASHES * NUMBERS_BYTES:
        return Outcome("fewer", f"{len(numbers)} bytes")
    seeds, _, leechers = struct.unpack(">III", numbers[-NUMBERS_BYTES:])
    return Outcome(RIGHT if (seeds, leechers) == (1, 0) else WRONG, f"{seeds} and {leechers}")


@rule("TRK-UD-08", Level.ROBUST, 20, {"goes on": P, "amplifies": F, "stops": F}, role=TRACKER)
async def packets_that_make_no_sense(case: TrackerCase) -> Outcome:
    """Answer packets without a connection id with no more bytes than they have, and go on.

    No BEP states it; whoever forges an address could send answers there.
    """
    client, sent, received = await case.udp(), 0, 0
    packets = (
        b"",
        bytes(8),
        connect_request(1)[:15],
        struct.pack(">QII", MAGIC, ODD_ACTION, 2),
        struct.pack(">QII", 5, CONNECT, 3),
        announce_request(5, case.peer()),
        struct.pack(">QII", 5, SCRAPE, 4) + bytes(200),
    )
    for data in packets:
        sent += len(data)
        answer = await client.exchange(data, SHORT_S * case.patience)
        received += 0 if answer is None else len(answer.data)
    detail = f"{received} bytes for {sent}"
    if received > sent:
        return Outcome("amplifies", detail)
    answer = await _announced(await case.udp(), case.peer())
    return Outcome("goes on" if answer is not None and answer.is_announced else "stops", detail)


@rule("TRK-UD-09", Level.STATED, 5, {TAKEN: P, NOT_TAKEN: F}, role=TRACKER)
async def announce_with_options(case: TrackerCase) -> Outcome:
    """Take an announce with the options URLData and NOP behind it.

    BEP 41 puts options behind the fields of an announce.
    """
    answer = await _announced(await case.udp(), case.peer(), URL_OPTIONS)
    is_taken = answer is not None and answer.is_announced
    return Outcome(TAKEN if is_taken else NOT_TAKEN, _shown(answer))


@rule("TRK-UD-11", Level.STATED, 5, {RIGHT: P, WRONG: F, SILENT: F}, role=TRACKER)
async def announce_is_answered(case: TrackerCase) -> Outcome:
    """Answer an announce with its transaction id, numbers, and six bytes for each peer.

    BEP 15: the announce response has action, transaction_id, interval, leechers, seeders, then 4
    bytes of address and 2 of port for each peer.
    """
    client, other = await case.udp(), case.peer()
    await _announced(client, other)
    number = await client.connect()
    answer = await client.exchange(announce_request(number, case.peer(), 0x0BAD_CAFE))
    if answer is None:
        return Outcome(SILENT)
    is_right = answer.is_announced and answer.transaction == 0x0BAD_CAFE
    is_right = is_right and not len(answer.peers) % PLACE_BYTES
    is_named = other.port in ports_of(answer.peers)
    return Outcome(RIGHT if is_right and is_named else WRONG, _shown(answer))


@rule("TRK-UD-12", Level.STATED, 10, {NOT_NAMED: P, NAMED: F}, role=TRACKER)
async def peer_that_stops(case: TrackerCase) -> Outcome:
    """Name no peer that has announced the event 3.

    BEP 15: event is "0: none; 1: completed; 2: started; 3: stopped".
    """
    client, other = await case.udp(), case.peer()
    await _announced(client, other)
    await _announced(client, replace(other, event=STOPPED))
    answer = await _announced(client, case.peer())
    ports = [] if answer is None else ports_of(answer.peers)
    return Outcome(NAMED if other.port in ports else NOT_NAMED, _shown(answer))


@rule("TRK-UD-13", Level.CONV, 10, {NAMED: P, NOT_NAMED: N}, role=TRACKER)
async def one_swarm_of_both_protocols(case: TrackerCase) -> Outcome:
    """Name peers that announced over HTTP to those over UDP, and the other way.

    No BEP states it.
    """
    client, first, second = await case.udp(), case.peer(), case.peer()
    await case.announce(first)
    answer = await _announced(client, second)
    ports = [] if answer is None else ports_of(answer.peers)
    back = named_ports(await case.announce(case.peer()))
    is_named = first.port in ports and second.port in back
    return Outcome(NAMED if is_named else NOT_NAMED, f"{ports} over UDP, {back} over HTTP")
