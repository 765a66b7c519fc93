"""Rules of programs that are HTTP trackers (BEP 3, 7, 21, 23, 48)."""

from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import quote

from torrent_engine.conformance.errors import NotOfferedError, SubjectUnreachableError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.tracker.http_client import OK, TrackerAnswer, query_of
from torrent_engine.conformance.tracker.tracker_case import TrackerCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F, U = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL, Verdict.UNSUPPORTED
TRACKER: Final = Role.TRACKER
NAMED, NOT_NAMED = "named", "not named"
RIGHT, WRONG = "right", "wrong"
STRANGER: Final = "198.51.100.7"
STRANGER_SOURCE: Final = "127.0.0.9"
"""Where the idle connections come from."""
PLACE_BYTES: Final = 6
PLACE6_BYTES: Final = 18
LONG_BYTES: Final = 64 * 1024
IDLE_LINKS: Final = 200


def ports_of(blob: bytes, size: int = PLACE_BYTES) -> list[int]:
    """Return the ports of a compact list."""
    ends = range(size, len(blob) + 1, size)
    return [int.from_bytes(blob[end - 2 : end], "big") for end in ends]


def named_ports(answer: TrackerAnswer) -> list[int]:
    """Return the ports of the peers that an answer names, in either form."""
    peers = answer.content.get(b"peers")
    if isinstance(peers, bytes):
        return ports_of(peers)
    listed = peers if isinstance(peers, list) else []
    ports = (each.get(b"port") for each in listed if isinstance(each, dict))
    return [port for port in ports if isinstance(port, int)]


def _shown(answer: TrackerAnswer) -> str:
    return f"status {answer.status}: {answer.body[:120]!r}"


@rule("TRK-HT-01", Level.STATED, 5, {RIGHT: P, WRONG: F}, role=TRACKER)
async def announce_is_answered(case: TrackerCase) -> Outcome:
    """Answer an announce with an interval and peers, bencoded.

    BEP 3: "Tracker responses are bencoded dictionaries"; without a failure reason one "must have
    two keys: interval" and "peers".
    """
    answer = await case.announce(case.peer(), event=b"started")
    is_right = answer.is_success and isinstance(answer.content.get(b"peers"), bytes | list)
    return Outcome(RIGHT if is_right else WRONG, _shown(answer))


@rule(
    "TRK-HT-02",
    Level.STATED,
    5,
    {"failure reason": P, "an error of HTTP": N, "no answer": N, "taken": F},
    role=TRACKER,
)
async def announces_that_lack_something(case: TrackerCase) -> Outcome:
    """Answer an announce without a torrent, with half a hash, or without a port with a failure.

    BEP 3: "If a tracker response has a key failure reason, then that maps to a human readable
    string which explains why the query failed".
    """
    peer = case.peer()
    whole: dict[str, bytes | int] = {"peer_id": peer.peer_id, "left": 1, "compact": 1}
    found = "failure reason"
    lacking: tuple[dict[str, bytes | int], ...] = (
        {"port": peer.port},
        {"port": peer.port, "info_hash": peer.info_hash[:-1]},
        {"info_hash": peer.info_hash},
    )
    for values in lacking:
        answer = await case.get(f"/announce?{query_of({**whole, **values})}")
        if answer.is_success:
            return Outcome("taken", _shown(answer))
        if not answer.is_failure:
            found = "an error of HTTP" if answer.status not in {0, OK} else "no answer"
    return Outcome(found)


@rule("TRK-HT-03", Level.STATED, 5, {RIGHT: P, "a list": N, WRONG: F}, role=TRACKER)
async def compact_list(case: TrackerCase) -> Outcome:
    """Answer compact=1 with a string of six bytes for each peer.

    BEP 23: "each peer is represented using only 6 bytes. The first 4 bytes contain the 32-bit ipv4
    address. The remaining two bytes contain the port number"; "the tracker MAY return using either
    format".
    """
    other = case.peer()
    await case.announce(other)
    answer = await case.announce(case.peer(), compact=1)
    peers = answer.content.get(b"peers")
    if isinstance(peers, list):
        return Outcome("a list", _shown(answer))
    is_right = isinstance(peers, bytes) and not len(peers) % PLACE_BYTES
    return Outcome(RIGHT if is_right and other.port in named_ports(answer) else WRONG)


@rule("TRK-HT-04", Level.CONV, 5, {"a list": P, "a string": N, "neither": F}, role=TRACKER)
async def list_of_dictionaries(case: TrackerCase) -> Outcome:
    """Answer compact=0 with a list of dictionaries.

    BEP 23: "By including compact=0 in the announce URL, the client advises the tracker that is
    prefers the original format"; it "is advisory so that trackers may support only the compact
    format".
    """
    await case.announce(case.peer())
    answer = await case.announce(case.peer(), compact=0)
    peers = answer.content.get(b"peers")
    name = "a string" if isinstance(peers, bytes) else "neither"
    return Outcome("a list" if isinstance(peers, list) else name, _shown(answer))


@rule(
    "TRK-HT-05",
    Level.STATED,
    10,
    {NAMED: P, NOT_NAMED: N, "wrong length": F, "none": U},
    role=TRACKER,
)
async def peers_of_ipv6(case: TrackerCase) -> Outcome:
    """Name peers of IPv6 with 18 bytes each, under peers6.

    BEP 7: "This key has the same layout as peers in compact mode, but instead of using 6 bytes per
    endpoint, 18 bytes are used."
    """
    other = case.peer()
    await case.announce(other, over_ipv6=True)
    answer = await case.announce(case.peer(), over_ipv6=True)
    peers = answer.text(b"peers6")
    if peers is None:
        return Outcome("none", _shown(answer))
    if len(peers) % PLACE6_BYTES:
        return Outcome("wrong length", f"{len(peers)} bytes")
    return Outcome(NAMED if other.port in ports_of(peers, PLACE6_BYTES) else NOT_NAMED)


@rule("TRK-HT-06", Level.STATED, 5, {NOT_NAMED: P, NAMED: F}, role=TRACKER)
async def peer_that_has_stopped(case: TrackerCase) -> Outcome:
    """Name no peer that has announced "stopped".

    BEP 3: "Downloaders send an announcement using stopped when they cease downloading."
    """
    other = case.peer()
    await case.announce(other, event=b"started")
    await case.announce(other, event=b"stopped")
    answer = await case.announce(case.peer())
    return Outcome(NAMED if other.port in named_ports(answer) else NOT_NAMED, _shown(answer))


@rule("TRK-HT-07", Level.CONV, 10, {"no more": P, "more": N}, role=TRACKER)
async def number_of_peers_that_is_wanted(case: TrackerCase) -> Outcome:
    """Name no more peers than numwant, and none for 0.

    No BEP states it.
    """
    for _ in range(8):
        await case.announce(case.peer())
    counts = [
        len(named_ports(await case.announce(case.peer(), numwant=wanted))) for wanted in (3, 0)
    ]
    is_more = counts[0] > 3 or counts[1] > 0
    return Outcome("more" if is_more else "no more", f"{counts} for 3 and 0")


@rule("TRK-HT-08", Level.CONV, 5, {"ignored": P, "used": N}, role=TRACKER)
async def address_of_another_machine(case: TrackerCase) -> Outcome:
    """Use the address that an announce comes from, whatever its ip says.

    BEP 3: "An optional parameter giving the IP (or dns name) which this peer is at"; with it
    anybody can send peers to a machine that has nothing to do with them.
    """
    other = case.peer()
    await case.announce(other, ip=STRANGER.encode())
    answer = await case.announce(case.peer())
    packed = bytes(map(int, STRANGER.split("."))) + other.port.to_bytes(2, "big")
    return Outcome("used" if packed in answer.body else "ignored", _shown(answer))


async def _scraped(case: TrackerCase, *hashes: bytes) -> list[dict[bytes, int]]:
    """Return the numbers of torrents. Raises NotOfferedError."""
    query = "&".join(f"info_hash={quote(each, safe='')}" for each in hashes)
    answer = await case.get(f"/scrape?{query}")
    files = answer.content.get(b"files")
    if not isinstance(files, dict):
        raise NotOfferedError(f"no answer to a scrape: {_shown(answer)}")
    found = []
    for each in hashes:
        numbers = files.get(each)
        items = numbers.items() if isinstance(numbers, dict) else ()
        found.append({key: value for key, value in items if isinstance(value, int)})
    return found


@rule("TRK-HT-09", Level.STATED, 5, {RIGHT: P, "keys are missing": F, "one only": F}, role=TRACKER)
async def scrape_of_two_torrents(case: TrackerCase) -> Outcome:
    """Answer a scrape of two torrents with the three numbers of both.

    BEP 48: the key info_hash "can be appended multiple times"; the answer has "files", with
    complete, incomplete and downloaded for each.
    """
    second = case.another_hash()
    await case.announce(case.peer())
    await case.announce(case.peer(), info_hash=second)
    found = await _scraped(case, case.info_hash, second)
    if not all(found):
        return Outcome("one only", str(found))
    keys = {b"complete", b"incomplete", b"downloaded"}
    is_right = all(keys <= set(each) for each in found)
    return Outcome(RIGHT if is_right else "keys are missing", str(found))


@rule("TRK-HT-10", Level.ROBUST, 30, {"goes on": P, "stops": F}, role=TRACKER)
async def requests_that_make_no_sense(case: TrackerCase) -> str:
    """Go on after long queries, bad escapes, odd methods, and connections that ask nothing.

    No BEP states it.
    """
    async with AsyncExitStack() as idle:
        for _ in range(IDLE_LINKS):
            try:
                stream = await case.program.connect(STRANGER_SOURCE)
            except SubjectUnreachableError:
                break
            idle.push_async_callback(stream.aclose)
        for target in (
            f"/announce?info_hash={'a' * LONG_BYTES}",
            "/announce?info_hash=%zz%1&port=%%%&left=-",
            "/announce?info_hash&&&==&port=99999999999999999999",
            "*",
        ):
            await case.get(target)
    answer = await case.announce(case.peer())
    return "goes on" if answer.is_success else "stops"


@rule("TRK-HT-11", Level.STATED, 5, {RIGHT: P, WRONG: F}, role=TRACKER)
async def seeds_and_downloads_are_counted(case: TrackerCase) -> Outcome:
    """Count who has everything as complete, and the others as incomplete.

    BEP 48: complete is "the number of active peers that have completed downloading", incomplete
    "the number of active peers that have not completed downloading".
    """
    await case.announce(case.peer(left=0), event=b"started")
    for _ in range(2):
        await case.announce(case.peer(), event=b"started")
    (found,) = await _scraped(case, case.info_hash)
    is_right = (found.get(b"complete"), found.get(b"incomplete")) == (1, 2)
    return Outcome(RIGHT if is_right else WRONG, str(found))


@rule("TRK-HT-12", Level.STATED, 5, {RIGHT: P, WRONG: F}, role=TRACKER)
async def finished_downloads_are_counted(case: TrackerCase) -> Outcome:
    """Count who has completed, also when it is gone.

    BEP 48: downloaded is "the number of peers that have ever completed downloading".
    """
    peer = case.peer()
    await case.announce(peer, event=b"started")
    await case.announce(peer, left=0, event=b"completed")
    await case.announce(peer, left=0, event=b"stopped")
    await case.announce(case.peer(left=0), event=b"started")
    (found,) = await _scraped(case, case.info_hash)
    return Outcome(RIGHT if found.get(b"downloaded") == 1 else WRONG, str(found))


@rule("TRK-HT-13", Level.STATED, 5, {NAMED: P, NOT_NAMED: F, "itself too": N}, role=TRACKER)
async def others_are_named(case: TrackerCase) -> Outcome:
    """Name the other peers of the torrent, and none of other torrents.

    BEP 3: peers "maps to a list of dictionaries corresponding to peers".
    """
    other, own, stranger = case.peer(), case.peer(), case.peer()
    await case.announce(other)
    await case.announce(stranger, info_hash=case.another_hash())
    await case.announce(own)
    ports = named_ports(await case.announce(own))
    if other.port not in ports or stranger.port in ports:
        return Outcome(NOT_NAMED, str(ports))
    return Outcome("itself too" if own.port in ports else NAMED, str(ports))


@rule("TRK-HT-14", Level.STATED, 5, {NAMED: P, NOT_NAMED: F}, role=TRACKER)
async def escapes_in_lower_case(case: TrackerCase) -> Outcome:
    """Take an info-hash with every byte escaped, in lower case, for the same torrent.

    BEP 3: "This value will almost certainly have to be escaped."
    """
    other, own = case.peer(), case.peer()
    await case.announce(other)
    escaped = "".join(f"%{each:02x}" for each in own.info_hash)
    rest = query_of({"peer_id": own.peer_id, "port": own.port, "left": 1, "compact": 1})
    answer = await case.get(f"/announce?info_hash={escaped}&{rest}&uploaded=0&downloaded=0")
    return Outcome(NAMED if other.port in named_ports(answer) else NOT_NAMED, _shown(answer))


@rule("TRK-UD-10", Level.MUST, 5, {RIGHT: P, WRONG: F, "not counted": U}, role=TRACKER)
async def partial_seeds_are_counted(case: TrackerCase) -> Outcome:
    """Leave partial seeds out of the downloaders of a scrape, if you count these.

    BEP 21: "If the tracker supports this extension, it MUST add a fourth field, 'downloaders'. This
    field is the number of active downloaders in the swarm, it does not include partial seeds."
    """
    await case.announce(case.peer(), event=b"started")
    await case.announce(case.peer(), event=b"paused")
    (found,) = await _scraped(case, case.info_hash)
    if b"downloaders" not in found:
        return Outcome("not counted", str(found))
    return Outcome(RIGHT if found[b"downloaders"] == 1 else WRONG, str(found))
