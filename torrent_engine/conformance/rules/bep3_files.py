"""Rules of a downloading program: odd torrents, several files, and an end at any time (BEP 3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, SeedLink, SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import (
    PIECE_BYTES,
    SampleTorrent,
    multi_torrent,
    piece_hashes,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F, X = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL, Verdict.CRASH
LEECH: Final = Role.LEECH
SLOW_S: Final = 0.1
KEPT: Final = 8
EVIL_PATHS: Final[Sequence[tuple[bytes, ...]]] = (
    (b"..", b"..", b"stray.bin"),
    (b"a/../../../stray.bin",),
    (b"/stray.bin",),
    (b"..\\..\\stray.bin",),
    (b"nul\0.bin",),
    (b"n" * 300,),
    (b"\xff\xfe.bin",),
    (b"",),
    (b".",),
)


def _torrent_of(paths: Sequence[tuple[bytes, ...]], name: bytes = b"evil") -> SampleTorrent:
    """Return a torrent with files of 1,000 bytes at such paths."""
    data = bytes(1_000 * len(paths))
    files: list[Bencodable] = [{b"length": 1_000, b"path": list(path)} for path in paths]
    info: dict[bytes, Bencodable] = {
        b"files": files,
        b"name": name,
        b"piece length": PIECE_BYTES,
        b"pieces": piece_hashes(data, PIECE_BYTES),
    }
    return SampleTorrent("evil", data, PIECE_BYTES, bencode(info))


async def _run_with(case: SwarmCase, torrent: SampleTorrent) -> str:
    """Let the program download a torrent for a while; return ``refused``, ``ended`` or ``runs``."""
    case.torrent = torrent
    seed = await case.seed()
    await case.start()
    await case.until(lambda: bool(seed.requests) or case.program.has_refused(), case.limit_s)
    await anyio.sleep(2.0 if seed.requests else 0.0)
    if case.program.has_refused():
        case.has_started = False
        return "refused"
    if not case.program.is_running():
        return "ended"
    await case.end()
    return "runs"


@rule("BEP3-IN-06", Level.ROBUST, 10, {"inside": P, "outside": F, "ended": X}, role=LEECH)
async def names_that_lead_outside(case: SwarmCase) -> Outcome:
    """Write nothing outside the folder of the download, whatever the names in the torrent.

    No BEP states it; refusing the torrent is right, too.
    """
    seen = []
    torrents = [_torrent_of([each, (b"good.bin",)]) for each in EVIL_PATHS]
    torrents.append(_torrent_of([(b"stray.bin",), (b"good.bin",)], b"../.."))
    for each in torrents:
        seen.append(await _run_with(case, each))
        if strays := case.program.strays():
            return Outcome("outside", ", ".join(strays))
        if seen[-1] == "ended":
            return Outcome("ended")
    return Outcome("inside", f"{seen.count('refused')} of {len(seen)} refused")


@rule("BEP3-IN-07", Level.MUST, 15, {"refused": P, "as it is": P, "another hash": F}, role=LEECH)
async def keys_that_are_not_sorted(case: SwarmCase) -> str:
    """Refuse an info dictionary whose keys are not sorted, or take its hash as it is.

    BEP 3: "clients must either reject invalid metainfo files or extract the substring directly.
    They must not perform a decode-encode roundtrip on invalid data."
    """
    content = parse_dictionary(case.torrent.info)
    pairs = (bencode(key) + bencode(content[key]) for key in sorted(content, reverse=True))
    case.torrent = replace(case.torrent, info=b"d%be" % b"".join(pairs))
    await case.start()
    announces = case.tracker.announces
    await case.until(lambda: bool(announces) or case.program.has_refused(), case.limit_s)
    if not announces:
        case.has_started = case.has_started and not case.program.has_refused()
        return "refused"
    is_right = announces[0].value("info_hash") == case.torrent.info_hash
    return "as it is" if is_right else "another hash"


@rule(
    "BEP3-IN-08",
    Level.STATED,
    30,
    {"complete": P, "no empty file": N, "not complete": F},
    role=LEECH,
)
async def several_files(case: SwarmCase) -> str:
    """Store all files of a torrent, also those without bytes, and those that share a piece.

    BEP 3: "For the purposes of the other keys, the multi-file case is treated as only having a
    single file by concatenating the files in the order they appear in the files list."
    """
    case.torrent = multi_torrent()
    await case.first_request(await case.seed())
    if await case.completes():
        return "complete"
    stored = {name: case.program.stored(name) for name in case.torrent.stored_files()}
    wrong = [name for name, data in case.torrent.stored_files().items() if stored[name] != data]
    is_empty = all(not case.torrent.stored_files()[name] for name in wrong)
    return "no empty file" if is_empty else "not complete"


@rule(
    "BEP3-IN-09",
    Level.ROBUST,
    60,
    {"goes on": P, "from the beginning": N, "not complete": F},
    role=LEECH,
)
async def end_at_any_time(case: SwarmCase) -> Outcome:
    """Go on with right data after an end by force in the middle of the download.

    No BEP states it.
    """
    sent: dict[int, int] = {}
    is_second = False

    async def answer(link: SeedLink, asked: AskedBlock) -> None:
        if not is_second and len(sent) > KEPT:
            return  # it is about to be ended
        await anyio.sleep(SLOW_S)
        await link.send_block(asked)
        sent[asked.index] = sent.get(asked.index, 0) + asked.length

    def finished() -> list[int]:
        return [each for each, count in sent.items() if count >= case.torrent.piece_length(each)]

    await case.first_request(await case.seed(SeedScript(answer=answer)))
    if not await case.until(lambda: len(sent) > KEPT, case.limit_s):
        raise UndecidedError("it requested too few pieces")
    await anyio.sleep(1.0)
    before = finished()
    await case.kill()
    sent.clear()
    is_second = True
    await case.start()
    if not await case.completes(case.limit_s):
        return Outcome("not complete")
    again = [each for each in before if each in sent]
    detail = f"{len(again)} of {len(before)} pieces came again"
    return Outcome("from the beginning" if len(again) == len(before) else "goes on", detail)


ODD_KEYS: Final[Sequence[dict[str, Bencodable]]] = (
    {"piece_length": 1},
    {"piece_length": 16_385},
    {"piece_length": 2**28},
    {"piece_length": 2**62},
    {"piece_length": 0},
    {"piece_length": -16_384},
    {"pieces": b""},
    {"pieces": bytes(21)},
    {"pieces": [b"hash"]},
    {"length": -1},
    {"length": 2**63},
    {"name": 7},
    {"files": []},
)


@rule("BEP3-IN-10", Level.ROBUST, 5, {"survived": P, "ended": X}, role=LEECH)
async def odd_torrents(case: SwarmCase) -> Outcome:
    """Refuse torrents with impossible numbers, or live with them.

    No BEP states what follows.
    """
    torrent, seen = case.torrent, []
    for keys in ODD_KEYS:
        seen.append(await _run_with(case, torrent.with_info(**keys)))
        if seen[-1] == "ended":
            return Outcome("ended", f"with {keys}")
    return Outcome("survived", f"{seen.count('refused')} of {len(seen)} refused")
