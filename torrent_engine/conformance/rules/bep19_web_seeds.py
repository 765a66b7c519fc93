"""Rules of web seeds (BEP 17, 19) for a downloading program: the kit is the web server."""

from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.frames import FrameType
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.swarm.kit_seed import SeedScript
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.swarm.web_server import (
    KitWebServer,
    WebRequest,
    WebResponse,
    cut,
    serve_pieces,
)
from torrent_engine.conformance.torrent_set import (
    PIECE_BYTES,
    SampleTorrent,
    piece_hashes,
    sample_bytes,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F, U = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL, Verdict.UNSUPPORTED
WEB: Final = Role.WEB_SEED_CLIENT
COMPLETE: Final = "complete"
STALLED: Final = "not complete"
UNASKED: Final = "no requests"
OTHER_PATH: Final = "another path"
FROM_THE_WEB: Final = {COMPLETE: P, STALLED: F, OTHER_PATH: F, UNASKED: U}
BAD: Final = 3
WATCH_S: Final = 8.0
STATUSES: Final = (404, 503, 416)
SPACED: Final = (("with space & more.bin", 100_000), ("a%20b/ü#?.bin", 70_000))


async def _reached(case: SwarmCase, server: KitWebServer) -> str:
    """Wait for the end of a download that has a web seed only; return what came of it."""
    if await case.completes(case.limit_s):
        return COMPLETE
    if not server.requests:
        return UNASKED
    return OTHER_PATH if any(_is_odd(server, each) for each in server.requests) else STALLED


def _is_odd(server: KitWebServer, asked: WebRequest) -> bool:
    return asked.path not in server.files


@rule("BEP19-WS-01", Level.STATED, 45, FROM_THE_WEB, role=WEB)
async def url_of_a_file(case: SwarmCase) -> str:
    """Download a single file from a URL that does not end with a slash.

    BEP 19: "This key will refer to a one or more URLs, and will contain a list of web addresses
    where torrent data can be retrieved."
    """
    server = await case.web_server({"/files/other-name.bin": case.torrent.data})
    await case.start_web(f"{server.url}/files/other-name.bin")
    return await _reached(case, server)


def spaced_torrent() -> SampleTorrent:
    """Return a torrent with names that have to be escaped in a URL."""
    data = sample_bytes(sum(length for _, length in SPACED), "spaced")
    files: list[Bencodable] = [
        {b"length": length, b"path": [part.encode() for part in path.split("/")]}
        for path, length in SPACED
    ]
    info: dict[bytes, Bencodable] = {
        b"files": files,
        b"name": b"my torrent",
        b"piece length": PIECE_BYTES,
        b"pieces": piece_hashes(data, PIECE_BYTES),
    }
    return SampleTorrent("my torrent", data, PIECE_BYTES, bencode(info), SPACED)


@rule("BEP19-WS-02", Level.MUST, 45, FROM_THE_WEB, role=WEB)
async def url_of_a_folder(case: SwarmCase) -> str:
    """Add the name of the torrent, and the paths of its files, to a URL that ends with a slash.

    BEP 19: "If the url-list URL ends in a slash, the client must add the name from the torrent to
    make the full URL." Names are escaped as in any URL.
    """
    case.torrent = spaced_torrent()
    files = {f"/pub/{path}": data for path, data in case.torrent.stored_files().items()}
    server = await case.web_server(files)
    await case.start_web(f"{server.url}/pub/")
    return await _reached(case, server)


@rule(
    "BEP19-WS-03",
    Level.MUST,
    30,
    {"discarded": P, "a few more times": N, "again and again": F, "taken": F, UNASKED: U},
    role=WEB,
)
async def wrong_bytes_from_the_web(case: SwarmCase) -> Outcome:
    """Discard a URL that served a piece whose hash does not match.

    BEP 19: "If it successfully downloads a piece from a HTTP/FTP server, but the SHA checksum does
    not match, the connection must be closed and that URL should be discarded."
    """
    start = BAD * PIECE_BYTES
    data = case.torrent.data[:start] + bytes(PIECE_BYTES) + case.torrent.data[start + PIECE_BYTES :]
    server = await case.web_server({"/file.bin": data})
    watcher = await case.seed(SeedScript(pieces=(), unchokes=False))
    await case.start_web(f"{server.url}/file.bin")
    if not await case.until(lambda: _covering(server, start) > 0, case.limit_s):
        return Outcome(UNASKED)
    await anyio.sleep(WATCH_S)
    haves = (each for link in watcher.links for each in link.frames(FrameType.HAVE))
    if (BAD,) in {each.words[:1] for each in haves}:
        return Outcome("taken")
    count = _covering(server, start)
    few = "a few more times" if count <= 6 else "again and again"
    return Outcome("discarded" if count <= 2 else few, f"{count} requests of it")


def _covering(server: KitWebServer, offset: int) -> int:
    """Return how many requests had a byte."""
    spans = (each.span or (0, None) for each in server.requests)
    return sum(first <= offset and (last is None or last >= offset) for first, last in spans)


@rule(
    "BEP19-WS-04",
    Level.CONV,
    15,
    {"1 a second or fewer": P, "more": F, UNASKED: U},
    role=WEB,
)
async def web_server_that_refuses(case: SwarmCase) -> Outcome:
    """Do not ask a server again and again that answers with an error.

    BEP 19: "A client does not need to discard a HTTP or FTP server URL if it gets a busy reply."
    """
    most, server = 0.0, await case.web_server({})
    for status in STATUSES:
        server.requests.clear()
        server.respond = _refusing(status)
        await case.start_web(f"{server.url}/file{status}.bin")
        if not await case.until(lambda: bool(server.requests), case.limit_s):
            return Outcome(UNASKED)
        await anyio.sleep(WATCH_S)
        most = max(most, len(server.requests) / WATCH_S)
        await case.end()
    return Outcome("1 a second or fewer" if most <= 1 else "more", f"{most:.1f} a second")


def _refusing(status: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    headers = "Retry-After: 60\r\n" if status == 503 else ""

    async def refuse(_: KitWebServer, __: WebRequest) -> WebResponse:
        return WebResponse(status, headers=headers)

    return refuse


@rule("BEP19-WS-05", Level.CONV, 60, {COMPLETE: P, STALLED: F, UNASKED: U}, role=WEB)
async def web_server_without_ranges(case: SwarmCase) -> str:
    """Store nothing at a wrong place when a server sends the whole file instead of a range.

    RFC 9110, 14.2: a server "MAY ignore the Range header field".
    """

    async def send_all(server: KitWebServer, asked: WebRequest) -> WebResponse:
        data = server.files.get(asked.path)
        return WebResponse(404) if data is None else cut(data, None)

    server = await case.web_server({"/file.bin": case.torrent.data})
    server.respond = send_all
    await case.start_web(f"{server.url}/file.bin")
    if not await case.until(lambda: bool(server.requests), case.limit_s / 2):
        return UNASKED
    if await case.until(case.is_complete, WATCH_S):
        return COMPLETE
    await case.introduce(await case.seed(is_listed=False))
    return COMPLETE if await case.completes(case.limit_s) else STALLED


@rule("BEP19-WS-06", Level.STATED, 45, {COMPLETE: P, STALLED: F, "refused": F}, role=WEB)
async def urls_of_other_schemes(case: SwarmCase) -> str:
    """Ignore URLs of schemes that you do not know.

    BEP 19: "A client should ignore any protocols it does not know from the url-list."
    """
    await case.seed()
    await case.start_web("foo://127.0.0.1/file.bin", "gopher://127.0.0.1:1/file.bin", "no url")
    if await case.completes(case.limit_s):
        return COMPLETE
    return "refused" if await case.refuses(0) else STALLED


@rule(
    "BEP17-WS-07",
    Level.STATED,
    30,
    {COMPLETE: P, "other keys": F, STALLED: F, UNASKED: U},
    role=WEB,
)
async def http_seeds(case: SwarmCase) -> str:
    """Ask HTTP seeds for pieces by info-hash, index and ranges.

    BEP 17: "<url>?info_hash=[hash]&piece=[piece]{&ranges=[start]-[end]{,[start]-[end]}...}".
    """
    server = await case.web_server({})
    server.respond = serve_pieces
    await case.start_web(http_seeds=[f"{server.url}/seed.php"])
    if await case.completes(case.limit_s):
        return COMPLETE
    if not server.requests:
        return UNASKED
    queries = [each.query for each in server.requests]
    are_right = all(each.value("info_hash") and each.value("piece") for each in queries)
    return STALLED if are_right else "other keys"
