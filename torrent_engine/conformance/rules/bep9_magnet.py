"""Rules of a program that has only a magnet link (BEP 9, 53)."""

from base64 import b32encode
from typing import Final

import anyio

from torrent_engine.conformance.case import CLOSED, REJECTED, SILENT
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import (
    DATA,
    OWN_METADATA_ID,
    REJECT,
    KitMetadataMessage,
    read_metadata,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.rules.bep3_picking import pieces_in_order
from torrent_engine.conformance.rules.bep12_tiers import break_off
from torrent_engine.conformance.swarm.kit_seed import KitSeed, SeedLink
from torrent_engine.conformance.swarm.metadata import (
    KitMetadata,
    reject_metadata,
)
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import multi_torrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
U, X = Verdict.UNSUPPORTED, Verdict.CRASH
MAGNET: Final = Role.MAGNET
COMPLETE: Final = "complete"
STALLED: Final = "not complete"
COMPLETES: Final = {COMPLETE: P, STALLED: F}
SAME_HASH: Final = {"same hash": P, "another hash": F, "refused": F}
WATCH_S: Final = 6.0
SETTLE_S: Final = 3.0
MORE_BYTES: Final = 20_000
ODD_SIZES: Final = (2**31, 2**62, -1)
ODD_SELECTIONS: Final = ("9999999999", "3-1", "a", "0-9999999999", ",,-")


async def _seed(
    case: SwarmCase, metadata: KitMetadata | None = None, *, is_listed: bool = True
) -> KitSeed:
    """Let a seed with (honest) metadata listen."""
    script = (metadata or KitMetadata(case.torrent)).script()
    return await case.seed(script, is_listed=is_listed)


async def _completed(case: SwarmCase) -> str:
    return COMPLETE if await case.completes(case.limit_s) else STALLED


async def _bad_seed(case: SwarmCase, bad: KitMetadata) -> KitSeed:
    """Start with a seed of bad metadata, and wait until it was asked."""
    seed = await _seed(case, bad)
    await case.start_magnet()
    await case.link_of(seed)
    if not await case.until(lambda: bool(bad.requests), case.limit_s):
        raise UndecidedError("it requested no metadata")
    await anyio.sleep(SETTLE_S)
    return seed


async def _completed_after(case: SwarmCase, bad: KitMetadata) -> str:
    """Start with a seed of bad metadata, and introduce a good one later."""
    await _bad_seed(case, bad)
    await case.introduce(await _seed(case, is_listed=False))
    return await _completed(case)


@rule(
    "BEP9-MD-11",
    Level.MUST,
    15,
    {REJECTED: P, SILENT: F, CLOSED: F, "data": F, "another piece": F},
    role=MAGNET,
)
async def request_of_metadata_that_is_not_there(case: SwarmCase) -> str:
    """Reject requests of metadata while you have none.

    BEP 9: "Peers that do not have the entire metadata MUST respond with a reject message to any
    metadata request."
    """

    async def ask(metadata: KitMetadata, link: SeedLink) -> None:
        await metadata.request(link, 0)

    seed = await _seed(case, KitMetadata(case.torrent, size=0, after_handshake=ask))
    await case.start_magnet()
    link = await case.link_of(seed)
    if not link.is_extended:
        raise NotOfferedError("the extension protocol is not offered")
    await case.until(lambda: bool(_metadata(link)) or link.peer.is_closed, case.limit_s)
    answers = _metadata(link)
    if not answers:
        return CLOSED if link.peer.is_closed else SILENT
    if answers[0].kind != REJECT:
        return "data"
    return REJECTED if answers[0].piece == 0 else "another piece"


def _metadata(link: SeedLink) -> list[KitMetadataMessage]:
    """Return the answers of ut_metadata that came."""
    found = (read_metadata(each, OWN_METADATA_ID) for each in link.peer.seen)
    return [each for each in found if each is not None and each.kind in {DATA, REJECT}]


@rule("BEP9-MD-12", Level.STATED, 60, {COMPLETE: P, STALLED: F, "no requests": F}, role=MAGNET)
async def metadata_is_downloaded(case: SwarmCase) -> str:
    """Download the metadata from a peer, then the torrent.

    BEP 9: "allow clients to join a swarm and complete a download without the need of downloading a
    .torrent file first."
    """
    metadata = KitMetadata(case.torrent)
    await _seed(case, metadata)
    await case.start_magnet()
    if await case.completes(case.limit_s):
        return COMPLETE
    return STALLED if metadata.requests else "no requests"


@rule("BEP9-MD-13", Level.STATED, 60, {COMPLETE: P, "used": F, STALLED: N}, role=MAGNET)
async def metadata_with_a_wrong_byte(case: SwarmCase) -> str:
    """Check the metadata, and get it from another peer when it is wrong.

    BEP 9: "This part can be validated by the info-hash."
    """
    bad = KitMetadata(case.torrent)
    bad.info = bad.info[:-5] + b"x" + bad.info[-4:]
    seed = await _bad_seed(case, bad)
    if seed.requests:
        return "used"
    await case.introduce(await _seed(case, is_listed=False))
    return await _completed(case)


@rule(
    "BEP9-MD-14",
    Level.SHOULD,
    15,
    {"1 a second or fewer": P, "10 a second or fewer": N, "more": F},
    role=MAGNET,
)
async def metadata_that_is_rejected(case: SwarmCase) -> Outcome:
    """Do not ask again and again for metadata that a peer rejects.

    BEP 9: a reject "SHOULD be interpreted as the peer does not have the piece of metadata that was
    requested."
    """
    mean = KitMetadata(case.torrent, reject_metadata)
    await _seed(case, mean)
    await case.start_magnet()
    if not await case.until(lambda: bool(mean.requests), case.limit_s):
        raise UndecidedError("it requested no metadata")
    await anyio.sleep(WATCH_S)
    rate = len(mean.requests) / WATCH_S / mean.piece_count
    name = "1 a second or fewer" if rate <= 1 else "10 a second or fewer" if rate <= 10 else "more"
    return Outcome(name, f"{len(mean.requests)} requests in {WATCH_S:.0f} s")


@rule("BEP9-MD-15", Level.ROBUST, 60, COMPLETES, role=MAGNET)
async def impossible_sizes_of_metadata(case: SwarmCase) -> str:
    """Ignore sizes of metadata that are huge or negative, and use another peer.

    No BEP states a limit.
    """
    seeds = [
        await _seed(case, KitMetadata(case.torrent, reject_metadata, size=each))
        for each in ODD_SIZES
    ]
    await case.start_magnet()
    await case.link_of(seeds[0])
    await anyio.sleep(SETTLE_S)
    await case.introduce(await _seed(case, is_listed=False))
    return await _completed(case)


@rule("BEP9-MD-16", Level.ROBUST, 90, COMPLETES, role=MAGNET)
async def peers_that_disagree_about_the_size(case: SwarmCase) -> str:
    """Get the metadata although one of two peers tells a wrong size.

    No BEP states it.
    """
    longer = KitMetadata(case.torrent, size=len(case.torrent.info) + MORE_BYTES)
    longer.info += bytes(MORE_BYTES)
    return await _completed_after(case, longer)


@rule("BEP9-MD-17", Level.ROBUST, 90, COMPLETES, role=MAGNET)
async def pieces_of_metadata_that_are_short(case: SwarmCase) -> str:
    """Get the metadata although one of two peers sends a piece that is a byte short.

    BEP 9: "If it is not the last piece of the metadata, it MUST be 16kiB."
    """

    async def answer(metadata: KitMetadata, link: SeedLink, piece: int) -> None:
        await metadata.send(link, piece, metadata.part(piece)[:-1])

    return await _completed_after(case, KitMetadata(case.torrent, answer))


@rule("BEP9-MD-18", Level.ROBUST, 60, COMPLETES, role=MAGNET)
async def metadata_that_nobody_requested(case: SwarmCase) -> str:
    """Ignore pieces of metadata that you did not request.

    No BEP states what follows.
    """

    async def push(metadata: KitMetadata, link: SeedLink) -> None:
        for piece in range(metadata.piece_count):
            await metadata.send(link, piece, bytes(len(metadata.part(piece))))

    bad = KitMetadata(case.torrent, after_handshake=push)
    seed = await _seed(case, bad)
    await case.start_magnet()
    await case.link_of(seed)
    if await case.until(case.is_complete, SETTLE_S * 2):
        return COMPLETE
    await case.introduce(await _seed(case, is_listed=False))
    return await _completed(case)


@rule("BEP9-MD-19", Level.STATED, 45, {"requests": P, "no requests": F}, role=MAGNET)
async def bitfield_before_the_metadata(case: SwarmCase) -> str:
    """Remember what peers announced before you had the metadata.

    BEP 3: "'bitfield' is only ever sent as the first message."
    """
    holder = await case.seed()
    librarian = await case.seed(KitMetadata(case.torrent).script(pieces=()), is_listed=False)
    await case.start_magnet()
    await case.link_of(holder)
    await anyio.sleep(1.0)
    await case.introduce(librarian)
    is_asked = await case.until(lambda: bool(holder.requests), case.limit_s)
    return "requests" if is_asked else "no requests"


async def _hash_announced(case: SwarmCase, spelling: str) -> str:
    """Start with a spelling of the info-hash; return what is announced."""
    await case.start_magnet(case.torrent.magnet(spelling))
    announces = case.tracker.announces
    await case.until(lambda: bool(announces) or case.program.has_refused(), case.limit_s)
    if announces:
        is_same = announces[0].value("info_hash") == case.torrent.info_hash
        return "same hash" if is_same else "another hash"
    if await case.refuses(0):
        return "refused"
    raise UndecidedError("it announced nothing")


@rule("BEP9-MD-20", Level.STATED, 30, SAME_HASH, role=MAGNET)
async def hash_in_hex(case: SwarmCase) -> str:
    """Take an info-hash of 40 hex digits, also of capital letters.

    BEP 9: "Is the info-hash hex encoded, for a total of 40 characters."
    """
    return await _hash_announced(case, case.torrent.info_hash.hex().upper())


@rule("BEP9-MD-21", Level.SHOULD, 30, SAME_HASH, role=MAGNET)
async def hash_in_base32(case: SwarmCase) -> str:
    """Take an info-hash of 32 characters of base32.

    BEP 9: "clients should also support the 32 character base32 encoded info-hash."
    """
    return await _hash_announced(case, b32encode(case.torrent.info_hash).decode())


@rule("BEP9-MD-22", Level.STATED, 40, {"dialled": P, "not dialled": N}, role=MAGNET)
async def peer_of_the_link(case: SwarmCase) -> str:
    """Connect to the peers that a link names.

    BEP 9, x.pe: "This parameter can be included to initiate a direct metadata transfer between two
    clients".
    """
    seed = await _seed(case, is_listed=False)
    link = f"{case.torrent.magnet()}&x.pe={seed.address}:{seed.port}"
    await case.start_magnet(link, is_tracked=False)
    is_there = await case.until(lambda: bool(seed.attempts), case.limit_s)
    return "dialled" if is_there else "not dialled"


@rule("BEP9-MD-23", Level.STATED, 30, {"both": P, "one": F, "none": F}, role=MAGNET)
async def two_trackers_of_a_link(case: SwarmCase) -> str:
    """Use the second tracker of a link when the first does not work.

    BEP 9: "If there are multiple trackers, multiple tr entries may be included."
    """
    other = await case.new_tracker()
    other.respond = break_off
    await case.start_magnet(f"{case.torrent.magnet()}&tr={other.url}")
    counts = (other.announces, case.tracker.announces)
    await case.until(lambda: all(counts), case.limit_s)
    return ("none", "one", "both")[sum(map(bool, counts))]


@rule(
    "BEP9-MD-24",
    Level.STATED,
    60,
    {"only those": P, "others": F, "all": U, "not those": F},
    role=MAGNET,
)
async def files_that_a_link_selects(case: SwarmCase) -> Outcome:
    """Download only the files that a link selects.

    BEP 53: "so=0,2,4,6-8 means select only, and the numbers are the file indices. Files are
    zero-indexed."
    """
    case.torrent = multi_torrent()
    wanted = set(case.torrent.file_pieces(0))
    seed = await _seed(case)
    await case.start_magnet(f"{case.torrent.magnet()}&so=0,2")
    is_there = await case.until(lambda: wanted <= set(pieces_in_order(seed)), case.limit_s)
    await anyio.sleep(SETTLE_S)
    asked = set(pieces_in_order(seed))
    detail = f"pieces {sorted(asked)} for {sorted(wanted)}"
    if not is_there:
        return Outcome("not those", detail)
    if asked == set(range(case.torrent.piece_count)):
        return Outcome("all", detail)
    return Outcome("only those" if asked == wanted else "others", detail)


@rule("BEP9-MD-25", Level.ROBUST, 8, {"survived": P, "ended": X}, role=MAGNET)
async def selections_that_make_no_sense(case: SwarmCase) -> Outcome:
    """Survive selections of files that do not exist, or are no numbers.

    No BEP states what follows; a program may ignore them, or refuse the link.
    """
    seen: list[str] = []
    for each in ODD_SELECTIONS:
        metadata = KitMetadata(case.torrent)
        await _seed(case, metadata)
        await case.start_magnet(f"{case.torrent.magnet()}&so={each}")
        await case.until(lambda: bool(metadata.requests) or _is_over(case), case.limit_s)  # noqa: B023
        await anyio.sleep(SETTLE_S if metadata.requests else 0)
        if _is_over(case) and not case.program.has_refused():
            return Outcome("ended", f"with so={each}")
        seen.append("refused" if case.program.has_refused() else "goes on")
        await case.end()
    return Outcome("survived", f"{seen.count('refused')} of {len(seen)} refused")


def _is_over(case: SwarmCase) -> bool:
    return not case.program.is_running()
