"""Rules of announces to UDP trackers (BEP 15, 41)."""

import itertools
from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.swarm_case import DIAL_S, SwarmCase
from torrent_engine.conformance.swarm.udp_tracker import (
    ANNOUNCE,
    CONNECT,
    MAGIC,
    KitUdpAnnounce,
    KitUdpRequest,
    KitUdpTracker,
    connected,
    parse_udp_announce,
    udp_error,
    url_data,
    usual_answers,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
CLIENT: Final = Role.UDP_TRACKER_CLIENT
WATCH_S: Final = 5.0
STARTED: Final = 2
VALID_S: Final = 60.0
FIRST_RETRY_S: Final = 15.0
TOLERANCE_S: Final = 2.0
SOON_S: Final = FIRST_RETRY_S / 2
"""Half of what a tracker has for an answer."""
MAX_INT: Final = 2**31


async def _first(case: SwarmCase, action: int) -> KitUdpRequest:
    """Wait for the first request of a kind. Raises UndecidedError."""
    tracker = case.udp_tracker
    if not await case.until(lambda: bool(tracker.of(action)), DIAL_S):
        raise UndecidedError("no such request came")
    return tracker.of(action)[0]


async def _announce(case: SwarmCase) -> KitUdpAnnounce:
    """Wait for the first announce. Raises UndecidedError."""
    found = parse_udp_announce(await _first(case, ANNOUNCE))
    if found is None:
        raise UndecidedError("the announce is too short")
    return found


@rule("BEP15-UT-01", Level.STATED, 60, {"connect": P, "another": F}, role=CLIENT)
async def first_packet(case: SwarmCase) -> Outcome:
    """Send a connect with the magic number first.

    BEP 15: "Before announcing or scraping, you have to obtain a connection ID"; its request has the
    protocol_id 0x41727101980, "magic constant".
    """
    await case.start_udp()
    if not await case.until(lambda: bool(case.udp_tracker.requests), case.limit_s):
        raise UndecidedError("no packet came")
    first = case.udp_tracker.requests[0]
    is_right = (first.connection_id, first.action) == (MAGIC, CONNECT)
    return Outcome("connect" if is_right else "another", first.data[:16].hex())


@rule("BEP15-UT-02", Level.STATED, 60, {"right": P, "wrong": F}, role=CLIENT)
async def fields_of_an_announce(case: SwarmCase) -> Outcome:
    """Announce with the connection id that was given, and the fields at their places.

    BEP 15: the announce request has connection_id, action 1, transaction_id, info_hash, peer_id,
    downloaded, left, uploaded, event, IP address, key, num_want and port, 98 bytes.
    """
    await case.start_udp()
    request = await _first(case, ANNOUNCE)
    found = parse_udp_announce(request)
    if found is None:
        return Outcome("wrong", f"{len(request.data)} bytes")
    wrong = ["connection_id"] * (request.connection_id >> 32 != 0x0123_4567)
    wrong += ["info_hash"] * (found.info_hash != case.torrent.info_hash)
    wrong += ["left"] * (found.left != len(case.torrent.data))
    wrong += ["port"] * (found.port != case.program.port)
    return Outcome("wrong" if wrong else "right", ", ".join(wrong))


@rule("BEP15-UT-03", Level.STATED, 60, {"ignored": P, "used": F}, role=CLIENT)
async def answer_to_something_else(case: SwarmCase) -> str:
    """Ignore an answer with another transaction id.

    BEP 15: "Check whether the transaction ID is equal to the one you chose."
    """
    forged = 0x6666_6666_6666_6666

    def answer(_: KitUdpTracker, request: KitUdpRequest) -> Sequence[bytes]:
        packet = connected(request, forged)
        return (packet[:4] + bytes([packet[4] ^ 0x55]) + packet[5:],)

    case.udp_tracker.answer = answer
    await case.start_udp()
    await _first(case, CONNECT)
    await anyio.sleep(WATCH_S)
    is_used = any(each.connection_id == forged for each in case.udp_tracker.requests)
    return "used" if is_used else "ignored"


@rule("BEP15-UT-04", Level.STATED, 30, {"taken": P, "not taken": F}, role=CLIENT)
async def answer_that_is_longer(case: SwarmCase) -> str:
    """Take an answer that is longer than today's.

    BEP 15: "Do not expect packets to be exactly of a certain size."
    """

    def answer(tracker: KitUdpTracker, request: KitUdpRequest) -> Sequence[bytes]:
        tail = bytes(8) if request.action == CONNECT else b""
        return [each + tail for each in usual_answers(tracker, request)]

    case.udp_tracker.answer = answer
    await case.start_udp()
    await _first(case, CONNECT)
    is_taken = await case.until(lambda: bool(case.udp_tracker.of(ANNOUNCE)), case.limit_s)
    return "taken" if is_taken else "not taken"


@rule(
    "BEP15-UT-05",
    Level.SHOULD,
    50,
    {"after 15 s": P, "at another time": N, "never": F, "sooner than 5 s": F},
    role=CLIENT,
)
async def no_answer(case: SwarmCase) -> Outcome:
    """Send a request again when no answer came for 15 seconds.

    BEP 15: "If a response is not received after 15 * 2 ^ n seconds, the client should retransmit
    the request".
    """
    case.udp_tracker.answer = lambda _, __: ()
    await case.start_udp()
    first = await _first(case, CONNECT)
    requests = case.udp_tracker.requests
    if not await case.until(lambda: len(requests) > 1, case.limit_s):
        return Outcome("never")
    waited = requests[1].at - first.at
    is_usual = abs(waited - FIRST_RETRY_S) <= TOLERANCE_S
    name = "sooner than 5 s" if waited < WATCH_S else "at another time"
    return Outcome("after 15 s" if is_usual else name, f"after {waited:.1f} s")


@rule("BEP15-UT-06", Level.STATED, 130, {"asks for a new one": P, "uses the old": F}, role=CLIENT)
async def connection_id_that_is_old(case: SwarmCase) -> str:
    """Ask for a new connection id when the one you have is a minute old.

    BEP 15: "A client can use a connection ID until one minute after it has received it."
    """
    case.udp_tracker.interval_s = 70
    await case.start_udp()
    first, tracker = await _first(case, ANNOUNCE), case.udp_tracker
    end_s = first.at + VALID_S + TOLERANCE_S

    def late() -> list[KitUdpRequest]:
        return [each for each in tracker.of(ANNOUNCE) if each.at > end_s]

    if not await case.until(lambda: bool(late()), case.limit_s):
        raise UndecidedError("it announced once only")
    is_old = late()[0].connection_id == first.connection_id
    return "uses the old" if is_old else "asks for a new one"


@rule("BEP15-UT-07", Level.ROBUST, 28, {"waits": P, "soon": N, "hammers": F}, role=CLIENT)
async def error_of_the_tracker(case: SwarmCase) -> Outcome:
    """Wait before asking a tracker again that answered with an error.

    BEP 15: "If the tracker encounters an error, it might send an error packet"; how long to wait is
    stated nowhere.
    """

    def answer(tracker: KitUdpTracker, request: KitUdpRequest) -> Sequence[bytes]:
        is_announce = request.action == ANNOUNCE
        return (udp_error(request),) if is_announce else usual_answers(tracker, request)

    case.udp_tracker.answer = answer
    await case.start_udp()
    await _first(case, ANNOUNCE)
    asked = case.udp_tracker
    await case.until(lambda: len(asked.of(ANNOUNCE)) > 3, case.limit_s)
    times = [each.at for each in asked.of(ANNOUNCE)]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    detail = "again after " + ", ".join(f"{each:.0f}" for each in gaps) + " s"
    if len(times) > 3:
        return Outcome("hammers", detail)
    is_soon = any(each < SOON_S for each in gaps)
    return Outcome("soon" if is_soon else "waits", detail if gaps else "1 announce")


@rule("BEP15-UT-08", Level.STATED, 60, {"as stated": P, "others": N}, role=CLIENT)
async def small_fields_of_an_announce(case: SwarmCase) -> Outcome:
    """Announce "started" as 2, an address of 0, and a number of peers, or -1.

    BEP 15: event is "0: none; 1: completed; 2: started; 3: stopped", IP address "0 // default",
    num_want "-1 // default".
    """
    await case.start_udp()
    found = await _announce(case)
    is_right = found.event == STARTED and found.address == 0 and -1 <= found.num_want < MAX_INT
    detail = f"event {found.event}, address {found.address}, num_want {found.num_want}"
    return Outcome("as stated" if is_right else "others", detail)


@rule("BEP15-UT-11", Level.STATED, 60, {"differ": P, "are equal": F}, role=CLIENT)
async def transaction_ids(case: SwarmCase) -> Outcome:
    """Choose a transaction id for each request.

    BEP 15: "Choose a random transaction ID."
    """
    await case.start_udp()
    await _first(case, ANNOUNCE)
    await anyio.sleep(TOLERANCE_S)
    await case.end()
    found = {each.transaction for each in case.udp_tracker.requests}
    detail = f"{len(found)} of {len(case.udp_tracker.requests)}"
    return Outcome("differ" if len(found) > 1 else "are equal", detail)


@rule("BEP41-UT-12", Level.STATED, 60, {"path and query": P, "others": F}, role=CLIENT)
async def path_and_query_of_the_url(case: SwarmCase) -> Outcome:
    """Send path and query of the URL in the option URLData.

    BEP 41: "The data field contains the concatenated PATH and QUERY portion of the UDP tracker
    URL."
    """
    await case.start_udp("/announce?pass=12")
    options = (await _announce(case)).options
    if not options:
        raise NotOfferedError("the announce has no options")
    is_right = url_data(options) == b"/announce?pass=12"
    return Outcome("path and query" if is_right else "others", options.hex())
