"""Rules of announces to HTTP trackers: what is sent, when, and what of an answer is used.

Source: BEP 3, 7, 23, 31, 48.
"""

from typing import Final

import anyio

from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.http_tracker import (
    KitHttpAnnounce,
    answer_with,
    failure,
    listed_answer,
    packed_peers,
)
from torrent_engine.conformance.swarm.kit_seed import SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
CLIENT: Final = Role.HTTP_TRACKER_CLIENT
NUMBERS: Final = ("uploaded", "downloaded", "left")
END_S: Final = 10.0
TOLERANCE_S: Final = 2.0
DIALLED: Final = "connects to the peer"
NOT_DIALLED: Final = "does not connect"
DIALS: Final = {DIALLED: P, NOT_DIALLED: F}


async def _connects(case: SwarmCase) -> str:
    """Start the program with one seed in the answers of the tracker."""
    seed = await case.seed(SeedScript(unchokes=False))
    await case.start()
    return DIALLED if await case.dials(seed, case.limit_s) else NOT_DIALLED


@rule("BEP3-TK-01", Level.STATED, 60, {"complete": P, "wrong": F}, role=CLIENT)
async def parameters_of_an_announce(case: SwarmCase) -> Outcome:
    """Announce info-hash, peer id, port, and three amounts in base ten.

    BEP 3: "Tracker GET requests have the following keys", among them peer_id, "A string of length
    20 which this downloader uses as its id", and "left", "encoded in base ten ascii".
    """
    await case.start()
    first = (await case.announces(1, case.limit_s))[0]
    wrong = [key for key in NUMBERS if first.number(key) is None]
    wrong += ["info_hash"] * (first.value("info_hash") != case.torrent.info_hash)
    wrong += ["peer_id"] * (len(first.value("peer_id")) != 20)
    wrong += ["port"] * (first.number("port") != case.program.port)
    return Outcome("wrong" if wrong else "complete", ", ".join(wrong))


@rule("BEP3-TK-02", Level.STATED, 60, {"started": P, "another": F}, role=CLIENT)
async def first_announce(case: SwarmCase) -> Outcome:
    """Announce the beginning of a download as "started".

    BEP 3: "An announcement using started is sent when a download first begins".
    """
    await case.start()
    event = (await case.announces(1, case.limit_s))[0].event
    return Outcome("started" if event == "started" else "another", event)


@rule("BEP3-TK-03", Level.STATED, 60, {"stopped": P, "none": F}, role=CLIENT)
async def announce_of_the_end(case: SwarmCase) -> str:
    """Announce "stopped" when the program ends.

    BEP 3: "Downloaders send an announcement using stopped when they cease downloading."
    """
    await case.seed(SeedScript(unchokes=False))
    await case.start()
    asked = await case.announces(1, case.limit_s)
    await anyio.sleep(TOLERANCE_S)
    await case.end()
    is_told = await case.until(lambda: asked[-1].event == "stopped", END_S)
    return "stopped" if is_told else "none"


@rule(
    "BEP3-TK-04",
    Level.STATED,
    60,
    {"once": P, "never": F, "more than once": F, "when complete at the start": F},
    role=CLIENT,
)
async def announce_of_completion(case: SwarmCase) -> str:
    """Announce "completed" when a download completes, and not when it was complete before.

    BEP 3: "one using completed is sent when the download is complete. No completed is sent if the
    file was complete when started."
    """
    await case.link_to(await case.seed())
    if not await case.completes(case.limit_s):
        raise UndecidedError("the download did not complete")
    await case.until(lambda: _completions(case) > 0, END_S)
    await anyio.sleep(TOLERANCE_S)
    await case.end()
    if (count := _completions(case)) != 1:
        return "more than once" if count else "never"
    before = len(case.tracker.announces)
    await case.start()
    await case.announces(before + 1, case.limit_s)
    await anyio.sleep(END_S)
    return "once" if _completions(case) == 1 else "when complete at the start"


def _completions(case: SwarmCase) -> int:
    return sum(each.event == "completed" for each in case.tracker.announces)


@rule("BEP3-TK-05", Level.STATED, 60, {"right": P, "wrong": F}, role=CLIENT)
async def amounts_of_a_download(case: SwarmCase) -> Outcome:
    """Announce what is left, all of it at first and nothing at the end, and what was downloaded.

    BEP 3: left is "The number of bytes this peer still has to download"; downloaded is "The total
    amount downloaded so far".
    """
    await case.link_to(await case.seed())
    if not await case.completes(case.limit_s):
        raise UndecidedError("the download did not complete")
    await case.until(lambda: _completions(case) > 0, END_S)
    await case.end()
    first, last = case.tracker.announces[0], case.tracker.announces[-1]
    if last is first:
        raise UndecidedError("it announced once only")
    size = len(case.torrent.data)
    downloaded = last.number("downloaded") or 0
    detail = f"left {first.number('left')}, {last.number('left')}, downloaded {downloaded}"
    is_right = (first.number("left"), last.number("left")) == (size, 0)
    is_right = is_right and size <= downloaded <= 2 * size
    return Outcome("right" if is_right else "wrong", detail)


@rule(
    "BEP3-TK-06",
    Level.STATED,
    100,
    {"after the interval": P, "later": N, "sooner": F},
    role=CLIENT,
)
async def regular_announces(case: SwarmCase) -> Outcome:
    """Wait for the interval between regular announces of a complete torrent.

    BEP 3: interval is "the number of seconds the downloader should wait between regular
    rerequests". Events and a need for more peers are reasons to announce sooner, so this looks when
    everything is there.
    """
    interval_s = 30
    case.tracker.answer = answer_with(interval=interval_s)
    await case.link_to(await case.seed())
    if not await case.completes():
        raise UndecidedError("the download did not complete")
    await case.until(lambda: _completions(case) > 0, END_S)
    asked = case.tracker.announces
    last, count = asked[-1].at, len(asked)
    if not await case.until(lambda: len(asked) > count, case.limit_s):
        return Outcome("later")
    waited = asked[count].at - last
    name = "sooner" if waited < interval_s - TOLERANCE_S else "after the interval"
    return Outcome(name, f"after {waited:.1f} s")


@rule("BEP3-TK-07", Level.CONV, 30, {"kept": P, "sooner": F}, role=CLIENT)
async def least_interval(case: SwarmCase) -> Outcome:
    """Announce not sooner again than "min interval" says, although no peer is known.

    No BEP has the key; trackers send it, and clients obey it.
    """
    case.tracker.answer = answer_with(interval=5, min_interval=int(case.limit_s + TOLERANCE_S))
    await case.start()
    return await _second_announce(case)


async def _second_announce(case: SwarmCase) -> Outcome:
    """Watch for the limit of the rule whether a second announce comes."""
    asked = await case.announces()
    if await case.until(lambda: len(asked) > 1, case.limit_s):
        return Outcome("sooner", f"after {asked[1].at - asked[0].at:.1f} s")
    return Outcome("kept")


@rule("BEP3-TK-08", Level.ROBUST, 28, {"waits": P, "soon": N, "hammers": F}, role=CLIENT)
async def after_a_failure(case: SwarmCase) -> Outcome:
    """Wait before asking a tracker again that answered with a failure.

    BEP 3: failure reason is "a human readable string which explains why the query failed"; how long
    to wait is stated nowhere.
    """
    case.tracker.answer = failure()
    await case.start()
    return await _wait_after_failure(case, "soon")


async def _wait_after_failure(case: SwarmCase, soon: str) -> Outcome:
    asked = await case.announces()
    await case.until(lambda: len(asked) > 3, case.limit_s)
    if len(asked) == 1:
        return Outcome("waits")
    return Outcome(
        "hammers" if len(asked) > 3 else soon, f"after {asked[1].at - asked[0].at:.1f} s"
    )


@rule("BEP3-TK-09", Level.MUST, 60, DIALS, role=CLIENT)
async def peers_as_dictionaries(case: SwarmCase) -> str:
    """Take peers as a list of dictionaries.

    BEP 23: "clients MUST continue to support both."
    """
    case.tracker.answer = listed_answer
    return await _connects(case)


@rule("BEP3-TK-10", Level.STATED, 60, {"asked for": P, "not asked for": N}, role=CLIENT)
async def compact_lists_are_asked_for(case: SwarmCase) -> str:
    """Ask for compact lists of peers.

    BEP 23: "compact=1 advises the tracker that the client prefers compact format."
    """
    await case.start()
    first = (await case.announces(1, case.limit_s))[0]
    return "asked for" if first.value("compact") == b"1" else "not asked for"


@rule("BEP3-TK-11", Level.MUST, 60, DIALS, role=CLIENT)
async def peers_in_a_compact_list(case: SwarmCase) -> str:
    """Take peers as a compact list.

    BEP 23: "clients MUST continue to support both."
    """
    return await _connects(case)


@rule(
    "BEP3-TK-12",
    Level.ROBUST,
    150,
    {DIALLED: P, "asks again": P, "neither in time": N},
    role=CLIENT,
)
async def compact_list_of_odd_length(case: SwarmCase) -> str:
    """Use what is whole of a compact list of a wrong length, or ask again later.

    No BEP states it.
    """

    def odd(announce: KitHttpAnnounce, _: object) -> bytes:
        return answer_with(peers=packed_peers(case.tracker.peers) + b"odd")(announce, [])

    seed = await case.seed(SeedScript(unchokes=False))
    case.tracker.answer = odd
    await case.start()
    asked = await case.announces()
    await case.until(lambda: bool(seed.attempts) or len(asked) > 1, case.limit_s)
    if seed.attempts:
        return DIALLED
    return "asks again" if len(asked) > 1 else "neither in time"


@rule("BEP7-TK-14", Level.SHOULD, 60, {"same": P, "none": N, "changes": F}, role=CLIENT)
async def key_of_announces(case: SwarmCase) -> Outcome:
    """Announce with a key that stays the same.

    BEP 7: "The key should remain the same for a particular infohash during a torrent session."
    """
    await case.seed(SeedScript(unchokes=False))
    await case.start()
    asked = await case.announces(1, case.limit_s)
    await anyio.sleep(TOLERANCE_S)
    await case.end()
    if not await case.until(lambda: len(asked) > 1, END_S):
        raise UndecidedError("it announced once only")
    keys = {each.value("key") for each in asked}
    if keys == {b""}:
        return Outcome("none")
    return Outcome("same" if len(keys) == 1 else "changes", b", ".join(sorted(keys)).decode())


@rule("BEP3-TK-15", Level.CONV, 60, {"given back": P, "not given back": N}, role=CLIENT)
async def id_of_the_tracker(case: SwarmCase) -> str:
    """Give the "tracker id" of an answer back as "trackerid".

    No BEP has it; trackers send it.
    """
    case.tracker.answer = answer_with(tracker_id=b"kit-1")
    await case.seed(SeedScript(unchokes=False))
    await case.start()
    asked = await case.announces(1, case.limit_s)
    await anyio.sleep(TOLERANCE_S)
    await case.end()
    if not await case.until(lambda: len(asked) > 1, END_S):
        raise UndecidedError("it announced once only")
    return "given back" if asked[-1].value("trackerid") == b"kit-1" else "not given back"


@rule("BEP3-TK-19", Level.CONV, 60, {"kept": P, "lost": F}, role=CLIENT)
async def query_of_the_url(case: SwarmCase) -> Outcome:
    """Keep the query that the URL of a tracker has.

    No BEP states it; trackers tell users apart by it.
    """
    await case.start("?pass=12")
    first = (await case.announces(1, case.limit_s))[0]
    is_kept = first.value("pass") == b"12" and first.value("info_hash") == case.torrent.info_hash
    return Outcome("kept" if is_kept else "lost", first.raw_query[:60])


@rule(
    "BEP31-TK-24",
    Level.STATED,
    118,
    {"waits": P, "own time": N, "hammers": F},
    role=CLIENT,
)
async def time_of_the_next_try(case: SwarmCase) -> Outcome:
    """Wait so many minutes after a failure as "retry in" says.

    BEP 31: "The new field "retry in" specifies the number of minutes in which a retry can be done
    for this tracker."
    """
    case.tracker.answer = failure(retry_in=b"2")
    await case.start()
    return await _wait_after_failure(case, "own time")


@rule("BEP48-TK-25", Level.STATED, 20, {"right place": P, "another": F}, role=CLIENT)
async def address_of_scrapes(case: SwarmCase) -> Outcome:
    """Scrape where the path of the URL has "scrape" for "announce".

    BEP 48: "This is done by locating the string announce in the Path section of the Announce URL
    and replacing it with the string scrape."
    """
    await case.start(".php?pass=12")
    await case.announces()
    scrapes = case.tracker.scrapes
    if not await case.until(lambda: bool(scrapes), case.limit_s):
        raise NotOfferedError("it does not scrape")
    is_right = scrapes[0].path == "/scrape.php"
    return Outcome("right place" if is_right else "another", scrapes[0].path)


@rule("BEP3-TK-27", Level.CONV, 60, DIALS, role=CLIENT)
async def answer_with_a_warning(case: SwarmCase) -> str:
    """Take the peers of an answer that has a "warning message".

    No BEP has the key; it is no failure.
    """
    case.tracker.answer = answer_with(warning_message=b"come back less often")
    return await _connects(case)


@rule("BEP3-TK-28", Level.ROBUST, 60, DIALS, role=CLIENT)
async def addresses_of_nobody(case: SwarmCase) -> str:
    """Take the good address among some that cannot be those of peers.

    No BEP states it: port 0, 0.0.0.0, multicast, broadcast, and the program itself.
    """

    def odd(announce: KitHttpAnnounce, _: object) -> bytes:
        own = bytes([127, 0, 0, 1]) + case.program.port.to_bytes(2, "big")
        hosts = (bytes(4), bytes([224, 0, 0, 9]), b"\xff" * 4, bytes([127, 0, 0, 1]))
        nobody = b"".join(host + port for host in hosts for port in (bytes(2), b"\x1a\xe1"))
        good = packed_peers(case.tracker.peers)
        return answer_with(peers=nobody + own + good)(announce, [])

    case.tracker.answer = odd
    return await _connects(case)
