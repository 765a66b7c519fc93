"""Rules of downloads of torrents of version 2 and hybrids (BEP 52), and of pads (BEP 47)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.frames import BLOCK_BYTES, FAST, message, piece
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.http_tracker import (
    KitHttpAnnounce,
    KitPeerAddress,
    compact_answer,
)
from torrent_engine.conformance.swarm.kit_seed import AskedBlock, SeedLink, SeedScript
from torrent_engine.conformance.swarm.metadata import KitMetadata
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import SampleTorrent, sample_bytes
from torrent_engine.conformance.v2_torrents import (
    HASH_BYTES,
    PIECE_BYTES,
    SMALL_FILES,
    contents_of,
    padded_torrent,
    pieces_root,
    v2_magnet,
    v2_torrent,
    with_keys,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F, U = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL, Verdict.UNSUPPORTED
LEECH: Final = Role.LEECH
COMPLETE, STALLED, REFUSED = "complete", "not complete", "refused"
COMPLETES: Final = {COMPLETE: P, STALLED: F}
OTHERS: Final = {REFUSED: P, "loaded": F}
UPGRADE: Final = 0x10
HASHES: Final = 22
SETTLE_S: Final = 3.0
START_S: Final = 60.0


async def _downloads(
    case: SwarmCase, torrent: SampleTorrent, script: SeedScript | None = None
) -> str:
    """Let the program download a torrent; return what came of it.

    Who neither connects nor announces it refuses it without a word.
    """
    case.torrent = torrent
    seed = await case.seed(script)
    await case.start()
    await case.until(lambda: bool(seed.links) or case.program.has_refused(), case.limit_s)
    if case.program.has_refused() or not (seed.links or case.tracker.announces):
        case.has_started = case.has_started and not case.program.has_refused()
        return REFUSED
    return COMPLETE if await case.completes(case.limit_s) else STALLED


async def _takes(case: SwarmCase, what: str) -> None:
    """Wait for an announce of what was started. Raises NotOfferedError if none comes."""
    announces = case.tracker.announces
    await case.until(lambda: bool(announces) or case.program.has_refused(), START_S * case.patience)
    if not announces:
        case.has_started = case.has_started and not case.program.has_refused()
        raise NotOfferedError(f"it takes no {what}")


async def _downloads_v2(
    case: SwarmCase, torrent: SampleTorrent, script: SeedScript | None = None
) -> str:
    found = await _downloads(case, torrent, script)
    if found == REFUSED:
        raise NotOfferedError("it takes no torrents of version 2")
    return found


async def _is_taken(case: SwarmCase, torrent: bytes | str) -> bool:
    """Start the program, wait for an announce, and end it; return whether one came."""
    announces = case.tracker.announces
    before = len(announces)
    await case.start_with(torrent)
    await case.until(lambda: len(announces) > before or case.program.has_refused(), case.limit_s)
    if case.program.has_refused():
        case.has_started = False
    elif case.program.is_running():
        await case.end()
    return len(announces) > before


@rule("BEP52-MI-01", Level.STATED, 60, {COMPLETE: P, REFUSED: F, STALLED: F}, role=LEECH)
async def hybrid(case: SwarmCase) -> str:
    """Download a hybrid.

    BEP 52: "For interoperability with BEP 3 a torrent can be created to contain the necessary data
    for both formats."
    """
    return await _downloads(case, v2_torrent(is_hybrid=True))


@rule("BEP52-MI-02", Level.STATED, 30, {"its hash": P, "another hash": F, REFUSED: U}, role=LEECH)
async def hash_of_version_2(case: SwarmCase) -> Outcome:
    """Announce a torrent of version 2 by the SHA-256 of its info dictionary, cut to 20 bytes.

    BEP 52: "For meta version 2 SHA2-256 is used"; info_hash is "the 20byte truncated infohash".
    """
    case.torrent = v2_torrent()
    await case.start()
    announces = case.tracker.announces
    await case.until(lambda: bool(announces) or case.program.has_refused(), case.limit_s)
    if not announces:
        case.has_started = case.has_started and not case.program.has_refused()
        return Outcome(REFUSED)
    found = announces[0].value("info_hash")
    return Outcome("its hash" if found == case.torrent.info_hash else "another hash", found.hex())


@rule("BEP52-MI-03", Level.MUST, 15, OTHERS, role=LEECH)
async def newer_version(case: SwarmCase) -> str:
    """Refuse a torrent of a version that you do not know.

    BEP 52: "Implementations must check this field first and indicate that a torrent is of a newer
    version than they can handle".
    """
    case.torrent = with_keys(v2_torrent(), meta_version=3)
    await case.listen()
    return "loaded" if await _is_taken(case, case.torrent_file()) else REFUSED


def _broken_layers(torrent: SampleTorrent) -> list[SampleTorrent]:
    """Return torrents whose layers lack one, have a wrong hash, or one hash too many."""
    layers = parse_dictionary(torrent.piece_layers)
    root, content = max(
        ((key, each) for key, each in layers.items() if isinstance(each, bytes)),
        key=lambda pair: len(pair[1]),
    )
    wrong = bytes([content[0] ^ 1]) + content[1:]
    found = [bencode({**layers, root: each}) for each in (wrong, content + bytes(HASH_BYTES))]
    found.append(bencode({key: each for key, each in layers.items() if key != root}))
    return [replace(torrent, piece_layers=each) for each in found]


def _broken_infos(torrent: SampleTorrent) -> list[SampleTorrent]:
    """Return torrents with an odd piece length, a root that is a file, and a file with siblings."""
    length: dict[bytes, Bencodable] = {
        b"length": 1,
        b"pieces root": pieces_root(b"x"),
    }
    inner: dict[bytes, Bencodable] = {b"": length, b"more": {b"": length}}
    trees: tuple[dict[bytes, Bencodable], ...] = ({b"": length}, {b"a": inner})
    found = [with_keys(torrent, file_tree=each) for each in trees]
    return [*found, with_keys(torrent, piece_length=PIECE_BYTES + BLOCK_BYTES)]


@rule("BEP52-MI-04", Level.MUST, 8, {**OTHERS, "without a layer": N}, role=LEECH)
async def broken_torrents(case: SwarmCase) -> Outcome:
    """Refuse torrents of version 2 whose layers, tree or piece length are wrong.

    BEP 52: "A torrent is not valid if this field is absent, the contained hashes do not match the
    merkle roots or are not from the correct layer"; the piece length "must be a power of two"; the
    root of the tree "must not be a file"; a file "must not have any sibling entries".
    """
    torrent = v2_torrent()
    await case.listen()
    found = Outcome(REFUSED)
    for number, each in enumerate([*_broken_layers(torrent), *_broken_infos(torrent)]):
        case.torrent = each
        if await _is_taken(case, case.torrent_file()):
            is_short = len(each.piece_layers) < len(torrent.piece_layers)
            found = Outcome("without a layer" if is_short else "loaded", f"number {number}")
            if not is_short:
                break
    return found


@rule("BEP52-MI-05", Level.MUST, 20, {"one or none": P, "both": F}, role=LEECH)
async def hybrid_whose_parts_differ(case: SwarmCase) -> Outcome:
    """Join only one swarm of a hybrid whose parts differ, or none.

    BEP 52: "Before doing so they must validate that the content (file names, order, piece
    alignment) is identical."
    """
    torrent = v2_torrent(is_hybrid=True)
    files = parse_dictionary(torrent.info)[b"files"]
    first = files[0] if isinstance(files, list) else {}
    if isinstance(first, dict):
        first[b"path"] = [b"another.bin"]
    case.torrent = with_keys(torrent, files=files)
    await case.start()
    announces = case.tracker.announces
    await case.until(lambda: bool(announces) or case.program.has_refused(), case.limit_s)
    await anyio.sleep(SETTLE_S * bool(announces))
    case.has_started = case.has_started and not case.program.has_refused()
    hashes = {each.value("info_hash") for each in announces}
    return Outcome("both" if len(hashes) > 1 else "one or none", f"{len(hashes)} hashes")


@rule("BEP52-MI-06", Level.MUST, 8, {"inside": P, "outside": F}, role=LEECH)
async def names_in_a_tree(case: SwarmCase) -> Outcome:
    """Write nothing outside the folder of the download, whatever the names in the tree.

    BEP 52: "On most platforms path components exactly matching '.' and '..' must be sanitized since
    they could lead to directory traversal attacks".
    """
    for name in ("../../../stray.bin", "./stray.bin", "..\\\\..\\\\stray.bin"):
        data = sample_bytes(1_000, name)
        found = await _downloads(case, v2_torrent({name: data}))
        await anyio.sleep(SETTLE_S * (found != REFUSED))
        if strays := case.program.strays():
            return Outcome("outside", ", ".join(strays))
        if case.has_started:
            await case.end()
    return Outcome("inside")


@rule("BEP52-HS-04", Level.STATED, 15, {"goes on": P, "closes": F}, role=LEECH)
async def upgrade_of_a_connection(case: SwarmCase) -> str:
    """Go on when the answer to the hash of version 1 is that of version 2, if you set the bit.

    BEP 52: "The remote peer may then respond with the new infohash to upgrade the connect to the
    new format."
    """
    case.torrent = v2_torrent(is_hybrid=True)

    def name_to_one(asked: KitHttpAnnounce, peers: Sequence[KitPeerAddress]) -> bytes:
        """Name no seed in the swarm of version 2: otherwise, the first answer decides."""
        is_new = asked.value("info_hash") == case.torrent.info_hashes[0]
        return compact_answer(asked, () if is_new else peers)

    case.tracker.answer = name_to_one
    seed = await case.seed(SeedScript(info_hash=case.torrent.info_hashes[0]))
    await case.start()
    await _takes(case, "hybrids")
    link = await case.link_of(seed)
    greeting = link.peer.greeting
    if greeting is None or not greeting.reserved[7] & UPGRADE:
        raise NotOfferedError("it does not set the bit")
    if greeting.info_hash != case.torrent.info_hash:
        raise NotOfferedError("it connects with the hash of version 2")
    await case.until(lambda: bool(seed.requests) or link.peer.is_closed, case.limit_s)
    return "goes on" if seed.requests else "closes"


@rule("BEP52-HR-07", Level.ROBUST, 60, {COMPLETE: P, STALLED: F}, role=LEECH)
async def hashes_that_were_not_requested(case: SwarmCase) -> str:
    """Do not believe hashes that you have not requested.

    BEP 52: "This message MUST correlate with a 'hash request' message."
    """
    torrent = v2_torrent()

    async def send_hashes(link: SeedLink) -> None:
        for root in parse_dictionary(torrent.piece_layers):
            numbers = b"".join(each.to_bytes(4, "big") for each in (2, 0, 4, 0))
            await link.peer.send(message(HASHES, root + numbers + bytes(4 * HASH_BYTES)), "hashes")

    found = await _downloads_v2(case, torrent, SeedScript(after_greeting=send_hashes))
    if found != COMPLETE:
        await case.introduce(await case.seed(is_listed=False))
        found = COMPLETE if await case.completes(case.limit_s) else STALLED
    return found


@rule(
    "BEP52-RQ-01",
    Level.STATED,
    60,
    {"to the end of the file": P, "into the gap": N, "beyond the piece": F},
    role=LEECH,
)
async def requests_at_the_end_of_a_file(case: SwarmCase) -> Outcome:
    """Request no more than there is at the end of a file.

    BEP 52: "Length is generally a power of two unless it gets truncated by the end of a file."
    """
    asked: list[AskedBlock] = []

    async def answer(link: SeedLink, block: AskedBlock) -> None:
        asked.append(block)
        await link.send_block(block)

    if await _downloads_v2(case, v2_torrent(), SeedScript(answer=answer)) != COMPLETE:
        raise UndecidedError("it does not complete")
    if any(each.begin + each.length > PIECE_BYTES for each in asked):
        return Outcome("beyond the piece")
    ends = [each for each in asked if each.length < BLOCK_BYTES]
    name = "to the end of the file" if len(ends) >= 4 else "into the gap"
    return Outcome(name, f"{len(ends)} short requests")


@rule("BEP52-RQ-03", Level.MUST, 15, {"closes": P, "goes on": F}, role=LEECH)
async def piece_that_nobody_requested(case: SwarmCase) -> str:
    """Close when a piece comes that you have not requested.

    BEP 52: "If an unsolicited piece is received a peer MUST close the connection."
    """
    case.torrent = v2_torrent()

    async def send_unasked(link: SeedLink) -> None:
        await anyio.sleep(1.0)
        await link.peer.send(piece(0, 0, case.torrent.block(0, 0, BLOCK_BYTES)), "unasked piece")

    script = SeedScript(reserved=FAST, unchokes=False, after_greeting=send_unasked)
    seed = await case.seed(script)
    await case.start()
    await _takes(case, "torrents of version 2")
    link = await case.link_of(seed)
    return "closes" if await case.until(lambda: link.peer.is_closed, case.limit_s) else "goes on"


@rule("BEP52-DA-01", Level.STATED, 60, COMPLETES, role=LEECH)
async def download_of_version_2(case: SwarmCase) -> str:
    """Download a torrent of version 2.

    BEP 52: files are "mapped into this piece address space so that each non-empty file is aligned
    to a piece boundary".
    """
    return await _downloads_v2(case, v2_torrent())


@rule("BEP52-DA-02", Level.MUST, 20, {"not completed": P, "completed": F}, role=LEECH)
async def hashes_that_contradict(case: SwarmCase) -> str:
    """Complete no hybrid whose data is right by one version and wrong by the other.

    BEP 52: "During the download they must also verify that pieces match both piece hash formats. If
    any inconsistency is detected they may either abort or fall back to downloading one of the two
    formats as if the other were not present."
    """
    torrent = v2_torrent(contents_of(SMALL_FILES), is_hybrid=True)
    info = parse_dictionary(torrent.info)
    tree = info[b"file tree"]
    entry = tree[b"a.bin"] if isinstance(tree, dict) else {}
    file = entry[b""] if isinstance(entry, dict) else {}
    if isinstance(file, dict):
        file[b"pieces root"] = pieces_root(b"another")
    case.torrent = with_keys(torrent, file_tree=tree)
    await case.seed()
    await case.start()
    announces = case.tracker.announces

    def has_completed() -> bool:
        hashes = [each.value("info_hash") for each in announces if each.event == "completed"]
        return len(set(hashes)) > 1

    is_done = await case.until(has_completed, case.limit_s)
    case.has_started = case.has_started and not case.program.has_refused()
    return "completed" if is_done else "not completed"


@rule(
    "BEP52-DA-03",
    Level.STATED,
    90,
    {"only the bad one": P, "others too": N, STALLED: F},
    role=LEECH,
)
async def one_bad_sender_of_four(case: SwarmCase) -> Outcome:
    """Complete although one of four peers sends wrong bytes, and keep the others.

    BEP 52: the tree is "constructed from 16KiB blocks of the file", so that each block can be
    checked.
    """

    async def answer_wrong(link: SeedLink, asked: AskedBlock) -> None:
        await link.send_bytes(asked, bytes(asked.length))

    case.torrent = v2_torrent()
    honest = [await case.seed() for _ in range(3)]
    await case.seed(SeedScript(answer=answer_wrong))
    await case.start()
    await _takes(case, "torrents of version 2")
    if not await case.completes(case.limit_s):
        return Outcome(STALLED)
    again = sum(len(each.attempts) > 1 for each in honest)
    return Outcome("others too" if again else "only the bad one", f"{again} connected again")


@rule("BEP52-DA-04", Level.STATED, 60, {"both": P, "one only": F, "others": F}, role=LEECH)
async def files_that_are_equal(case: SwarmCase) -> str:
    """Store two files with the same root.

    BEP 52: "Note that identical files always result in the same root hash."
    """
    found = await _downloads_v2(case, v2_torrent())
    if found == COMPLETE:
        return "both"
    wanted = case.torrent.stored_files()
    right = {name for name, data in wanted.items() if case.program.stored(name) == data}
    return "one only" if all("same-" in each for each in set(wanted) - right) else "others"


@rule("BEP52-DA-05", Level.STATED, 60, {"all": P, "no empty file": N, "others": F}, role=LEECH)
async def files_of_odd_lengths(case: SwarmCase) -> str:
    """Store files without bytes, of one piece, and of a byte more.

    BEP 52: "For each file in the file tree that is larger than the piece size it contains one
    string value"; a file without bytes has no root.
    """
    found = await _downloads_v2(case, v2_torrent())
    if found == COMPLETE:
        return "all"
    wanted = case.torrent.stored_files()
    wrong = [name for name, data in wanted.items() if case.program.stored(name) != data]
    return "no empty file" if wrong == [f"{case.torrent.name}/empty.bin"] else "others"


async def _metadata_seed(case: SwarmCase, torrent: SampleTorrent) -> None:
    case.torrent = torrent
    await case.seed(KitMetadata(torrent).script())


@rule("BEP52-MG-01", Level.STATED, 60, {**COMPLETES, REFUSED: U}, role=Role.MAGNET)
async def link_of_version_2(case: SwarmCase) -> str:
    """Download by a link with the hash of version 2.

    BEP 9: a magnet link may be "magnet:?xt=urn:btmh:<tagged-info-hash>".
    """
    await _metadata_seed(case, v2_torrent(contents_of(SMALL_FILES)))
    await case.start_magnet(v2_magnet(case.torrent))
    await case.until(
        lambda: bool(case.tracker.announces) or case.program.has_refused(), case.limit_s / 2
    )
    if not case.tracker.announces:
        case.has_started = case.has_started and not case.program.has_refused()
        return REFUSED
    return COMPLETE if await case.completes(case.limit_s) else STALLED


@rule(
    "BEP52-MG-02",
    Level.STATED,
    60,
    {COMPLETE: P, "version 1 only": N, STALLED: F},
    role=Role.MAGNET,
)
async def link_with_both_hashes(case: SwarmCase) -> str:
    """Download one torrent by a link with both hashes of a hybrid.

    BEP 9: "btmh" and "btih" exact topics "may exist in the same magnet if they describe the same
    hybrid torrent".
    """
    await _metadata_seed(case, v2_torrent(contents_of(SMALL_FILES), is_hybrid=True))
    await case.start_magnet(v2_magnet(case.torrent, with_v1=True))
    await _takes(case, "links with both hashes")
    if not await case.completes(case.limit_s):
        return STALLED
    hashes = {each.value("info_hash") for each in case.tracker.announces}
    return COMPLETE if case.torrent.info_hashes[0] in hashes else "version 1 only"


@rule("BEP52-MG-03", Level.ROBUST, 10, {REFUSED: P, "loaded": F}, role=Role.MAGNET)
async def links_with_half_a_hash(case: SwarmCase) -> Outcome:
    """Refuse a link whose hash of version 2 is short, or of another kind.

    BEP 9: the tagged info-hash "is the multihash formatted, hex encoded full infohash".
    """
    case.torrent = v2_torrent(contents_of(SMALL_FILES))
    await case.listen()
    digits = case.torrent.v2_hash.hex()
    for text in (f"1220{digits[:-2]}", f"1114{digits[:40]}", f"1220{digits[:-1]}z", ""):
        link = f"magnet:?xt=urn:btmh:{text}&dn=x&tr={case.tracker.url}"
        if await _is_taken(case, link):
            return Outcome("loaded", text)
    return Outcome(REFUSED)


@rule("BEP52-AN-01", Level.CONV, 20, {"both": P, "one": N}, role=Role.HTTP_TRACKER_CLIENT)
async def announces_of_a_hybrid(case: SwarmCase) -> Outcome:
    """Announce a hybrid under both of its hashes.

    BEP 52: "Implementations supporting both formats can join both swarms".
    """
    case.torrent = v2_torrent(is_hybrid=True)
    await case.start()
    await _takes(case, "hybrids")
    announces = case.tracker.announces

    def hashes() -> set[bytes]:
        return {each.value("info_hash") for each in announces}

    wanted = set(case.torrent.info_hashes)
    is_both = await case.until(lambda: hashes() == wanted, case.limit_s)
    return Outcome("both" if is_both else "one", f"{len(hashes())} hashes")


@rule("BEP47-PF-01", Level.SHOULD, 60, {"not written": P, "written": N, STALLED: F}, role=LEECH)
async def pads_are_not_written(case: SwarmCase) -> Outcome:
    """Write no file for a pad.

    BEP 47: "Clients aware of this extension don't need to write the padding files to disk".
    """
    found = await _downloads(case, padded_torrent())
    if found != COMPLETE:
        return Outcome(STALLED, found)
    pads = [path for path, _ in case.torrent.files if path.startswith(".pad/")]
    written = [each for each in pads if case.program.stored(f"{case.torrent.name}/{each}")]
    return Outcome("written" if written else "not written", f"{len(written)} of {len(pads)}")


def _gaps(torrent: SampleTorrent) -> Sequence[tuple[int, int]]:
    """Return where the pads begin and end in the data."""
    start, found = 0, []
    for path, length in torrent.files:
        if path.startswith(".pad/"):
            found.append((start, start + length))
        start += length
    return found


@rule("BEP47-PF-02", Level.SHOULD, 60, {"none": P, "some": N, STALLED: F}, role=LEECH)
async def pads_are_not_requested(case: SwarmCase) -> Outcome:
    """Request no block that is all pad.

    BEP 47: clients "should also avoid requesting byte-ranges covering their contents, e.g. via
    request messages".
    """
    asked: list[AskedBlock] = []

    async def answer(link: SeedLink, block: AskedBlock) -> None:
        asked.append(block)
        await link.send_block(block)

    found = await _downloads(case, padded_torrent(), SeedScript(answer=answer))
    if found != COMPLETE:
        return Outcome(STALLED, found)
    starts = [(each.index * PIECE_BYTES + each.begin, each.length) for each in asked]
    inside = [
        place
        for place, length in starts
        if any(first <= place and place + length <= last for first, last in _gaps(case.torrent))
    ]
    return Outcome("some" if inside else "none", f"{len(inside)} requests")


@rule("BEP47-PF-04", Level.SHOULD, 60, {COMPLETE: P, REFUSED: F, STALLED: F}, role=LEECH)
async def pads_without_a_path(case: SwarmCase) -> str:
    """Take a torrent whose pads have no path.

    BEP 47: "To eventually allow the path field to be omitted clients implementing this BEP should
    not require it to be present on padding files."
    """
    return await _downloads(case, padded_torrent(has_paths=False))
