"""Rules of attributes of files: links, and files that can be executed (BEP 47)."""

from collections.abc import Sequence
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.subject import FileKind
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import (
    PIECE_BYTES,
    SampleTorrent,
    piece_hashes,
    sample_bytes,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, F = Verdict.PASS, Verdict.FAIL
LEECH: Final = Role.LEECH
NAME: Final = "attributes"
FILES: Final = (("plain.bin", 70_000), ("tool.bin", 30_000))
LINK: Final = "link.bin"
SETTLE_S: Final = 3.0


def _torrent_of(more: Sequence[dict[bytes, Bencodable]], tool: bytes = b"") -> SampleTorrent:
    """Return a torrent of two files and ``more``; ``tool`` are the attributes of the second."""
    data = sample_bytes(sum(length for _, length in FILES), "attributes")
    files: list[Bencodable] = []
    for path, length in FILES:
        entry: dict[bytes, Bencodable] = {b"length": length, b"path": [path.encode()]}
        if tool and path == "tool.bin":
            entry[b"attr"] = tool
        files.append(entry)
    files += more
    info: dict[bytes, Bencodable] = {
        b"files": files,
        b"name": NAME.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": piece_hashes(data, PIECE_BYTES),
    }
    return SampleTorrent(NAME, data, PIECE_BYTES, bencode(info), FILES)


def _link_to(*target: bytes) -> dict[bytes, Bencodable]:
    return {
        b"attr": b"l",
        b"length": 0,
        b"path": [LINK.encode()],
        b"symlink path": list(target),
    }


async def _kind_after(case: SwarmCase, torrent: SampleTorrent, name: str) -> FileKind | None:
    """Return what a file is after a download; None if the torrent is refused, or stays open."""
    case.torrent = torrent
    await case.seed()
    await case.start()
    await case.until(lambda: case.is_complete() or case.program.has_refused(), case.limit_s)
    if case.program.has_refused():
        case.has_started = False
        return None
    path = f"{NAME}/{name}"
    await case.until(lambda: case.program.kind_of(path) is not FileKind.NOTHING, SETTLE_S)
    return case.program.kind_of(path)


@rule(
    "BEP47-PF-05",
    Level.STATED,
    30,
    {"inside only": P, FileKind.LINK_OUTSIDE: F},
    role=LEECH,
)
async def links_of_a_torrent(case: SwarmCase) -> Outcome:
    """Make links to files of the torrent, and none that lead outside of it.

    BEP 47: "Just like the regular path the symlink path is relative to the torrent root and must
    not contain .. elements."
    """
    evil = _torrent_of([_link_to(b"..", b"..", b"..", b"stray.bin")])
    outside = await _kind_after(case, evil, LINK)
    await case.end()
    if outside is FileKind.LINK_OUTSIDE:
        return Outcome(FileKind.LINK_OUTSIDE)
    inside = await _kind_after(case, _torrent_of([_link_to(b"plain.bin")]), LINK)
    if inside is not FileKind.LINK:
        raise NotOfferedError(f"a link becomes {inside or 'a reason to refuse the torrent'}")
    return Outcome("inside only", f"one that leads outside becomes {outside or 'a refusal'}")


@rule("BEP47-PF-06", Level.STATED, 30, {"that one": P, "another one, too": F}, role=LEECH)
async def executable_file_of_a_torrent(case: SwarmCase) -> str:
    """Make the file executable that has this attribute, and no other.

    BEP 47: "When present the characters each represent a file attribute. l = symlink, x =
    executable, h = hidden, p = padding file."
    """
    tool = await _kind_after(case, _torrent_of([], b"x"), "tool.bin")
    if tool is None or not case.is_complete():
        raise UndecidedError("the download did not complete")
    executable = FileKind.EXECUTABLE
    await case.until(lambda: case.program.kind_of(f"{NAME}/tool.bin") is executable, SETTLE_S)
    if case.program.kind_of(f"{NAME}/plain.bin") is executable:
        return "another one, too"
    if case.program.kind_of(f"{NAME}/tool.bin") is not executable:
        raise NotOfferedError("it makes no file executable")
    return "that one"
