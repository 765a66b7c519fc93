"""Downloads from web seeds, alone and beside peers (BEP 17, 19; rows A14, B6, D1)."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from tests.support.rude_server import response
from tests.support.scripted_peer import Script, listening, poison
from tests.support.swarm import (
    content,
    download,
    files_below,
    kinds,
    reach,
    record,
    resources,
    seed,
    until,
)
from tests.support.torrents import info_dict, make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, laid_out, torrent_around, v2_info
from tests.support.web_server import Answer, Asked, WebServer, web_server
from torrent_engine.base.config import SessionConfig, WebSeedConfig
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import Event, PieceHashFailed, WebSeedBanned, WebSeedFailed
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import WebSeedState

pytestmark = pytest.mark.anyio

KIB = 1024
LOCAL = WebSeedConfig(allow_local=True, backoff_first_s=0.05, backoff_max_s=0.1, read_timeout_s=5.0)
Files = dict[str, bytes] | bytes


def served(files: Files, folder: str = "/pub") -> dict[str, bytes]:
    """Return what a web server has of a torrent that is called "payload"."""
    if isinstance(files, bytes):
        return {f"{folder}/payload": files}
    return {f"{folder}/payload/{path}": data for path, data in files.items()}


def with_urls(files: Files, *urls: str, piece_bytes: int = 32 * KIB, **more: Any) -> Metainfo:
    return make_torrent(files, piece_bytes=piece_bytes, web_seeds=urls, **more)[0]


def with_http_seeds(files: Files, *urls: str, piece_bytes: int = 32 * KIB) -> Metainfo:
    """Return a torrent that names scripts (BEP 17)."""
    info, _ = info_dict(files, piece_bytes=piece_bytes)
    torrent: dict[str, Any] = {"info": info, "httpseeds": list(urls)}
    return Metainfo.from_bytes(encode(torrent))


def local(folder: Path, **changes: Any) -> SharedResources:
    return resources(folder, web_seed=replace(LOCAL, **changes))


@asynccontextmanager
async def running(
    shared: SharedResources, metainfo: Metainfo, save_path: Path, **settings: Any
) -> AsyncIterator[tuple[Session, list[Event]]]:
    """Run a Session that goes on when it is complete; gives it and its events."""
    config = SessionConfig(**settings)
    session = await Session.create(metainfo, shared, save_path=save_path, config=config)
    events = record(session)
    async with session:
        yield session, events


def of_kind(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def web_seed_stats(session: Session) -> list[Any]:
    run = session._core.run
    assert run is not None
    return [*run.transfer.web_seeds.stats(time.monotonic())]


# A torrent with only a web seed

SHAPES: dict[str, tuple[Files, int]] = {
    "one_file": (payload_of(1_000_003), 32 * KIB),
    "one_byte": (b"x", 16 * KIB),
    "one_large_piece": (payload_of(1_500_000), 2 * 1024 * KIB),
    "whole_pieces": (payload_of(8 * 16 * KIB), 16 * KIB),
    "several_files": (
        {"a": payload_of(50_001), "empty": b"", "b/c": payload_of(3), "z": payload_of(99_999)},
        32 * KIB,
    ),
    "many_files_in_a_piece": (
        {f"d{n % 3}/{n}": payload_of(n * 97, n) for n in range(40)},
        64 * KIB,
    ),
    "odd_names": (
        {
            "a b/ünï #1?.txt": payload_of(40_000),
            "50%25 & more;=+.bin": payload_of(30_000, 1),
            "tab\there\\there": payload_of(20_000, 2),
            "con.txt ": payload_of(10_000, 3),
        },
        16 * KIB,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_bep19_a_torrent_with_only_a_web_seed_completes(tmp_path: Path, shape: str) -> None:
    files, piece_bytes = SHAPES[shape]
    async with web_server(served(files)) as server, local(tmp_path) as shared:
        metainfo = with_urls(files, f"{server.base}/pub/", piece_bytes=piece_bytes)
        session = await download(shared, metainfo, tmp_path / "out")
    payload = files if isinstance(files, bytes) else b"".join(files.values())
    assert content(metainfo, tmp_path / "out") == payload
    assert files_below(tmp_path / "out") == {str(Path(*entry.path)) for entry in metainfo.files}
    assert session.stats().wasted_bytes == 0
    assert session.stats().downloaded_bytes == len(payload)
    assert sum(asked.span_bytes for asked in server.asked) == len(payload)


async def test_bep19_over_ipv6(tmp_path: Path) -> None:
    payload = payload_of(300_000)
    async with web_server({"/x.bin": payload}, host="::1") as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/x.bin")
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload
    assert server.asked


async def test_bep9_a_link_names_web_seeds(tmp_path: Path) -> None:
    """The peer has the metadata, and gives the payload too slowly for this test."""
    payload = payload_of(2_000_000)
    slow = SessionConfig(max_upload_bytes_per_s=20_000)
    metainfo = with_urls(payload)
    async with (
        web_server(served(payload)) as server,
        seed(tmp_path / "seed", metainfo, payload, config=slow) as (_, address),
        local(tmp_path) as shared,
    ):
        link = f"magnet:?xt=urn:btih:{metainfo.info_hash.hex()}&ws={server.base}/pub/"
        config = SessionConfig(peers=(address,))
        session = await Session.create(
            Magnet.parse(link), shared, save_path=tmp_path / "out", config=config
        )
        async with session:
            await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert sum(asked.span_bytes for asked in server.asked) > len(payload) / 2


async def test_bep47_pad_files_are_not_asked_for(tmp_path: Path) -> None:
    first, second = payload_of(20_000), payload_of(50_000, 1)
    pad = bytes(32 * KIB - len(first))
    files = [
        {"length": len(first), "path": ["a"]},
        {"length": len(pad), "path": [".pad", str(len(pad))], "attr": "p"},
        {"length": len(second), "path": ["b"]},
    ]
    payload = first + pad + second
    info, _ = info_dict(payload, piece_bytes=32 * KIB)
    del info["length"]
    info["files"] = files
    async with web_server({"/payload/a": first, "/payload/b": second}) as server:
        torrent: dict[str, Any] = {"info": info, "url-list": f"{server.base}/"}
        metainfo = Metainfo.from_bytes(encode(torrent))
        async with local(tmp_path) as shared:
            await download(shared, metainfo, tmp_path / "out")
    assert (tmp_path / "out/payload/a").read_bytes() == first
    assert (tmp_path / "out/payload/b").read_bytes() == second
    assert {asked.path for asked in server.asked} == {b"/payload/a", b"/payload/b"}


async def test_several_requests_run_at_once_over_kept_connections(tmp_path: Path) -> None:
    payload = payload_of(8_000_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/", piece_bytes=16 * KIB)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload
    assert 1 < server.most_open <= LOCAL.max_requests
    assert server.connections <= LOCAL.max_requests
    assert len(server.asked) < metainfo.piece_count / 4  # runs of neighbours, not single pieces


async def test_bep19_a_redirect_is_followed_for_every_file(tmp_path: Path) -> None:
    files = {"a": payload_of(60_000), "b": payload_of(70_000, 1)}
    async with web_server(served(files, "/mirror")) as mirror:

        def moved(asked: Asked) -> bytes:
            return response(status=302, Location=f"{mirror.base}/mirror{asked.target[4:]}")

        async with web_server({}, answer=moved) as server, local(tmp_path) as shared:
            metainfo = with_urls(files, f"{server.base}/pub")
            await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == b"".join(files.values())
    assert len(server.asked) < len(mirror.asked) + 4


async def test_a_server_without_ranges_serves_what_it_can(tmp_path: Path) -> None:
    payload = payload_of(500_000)

    def whole(_asked: Asked) -> bytes:
        return response(payload)

    async with web_server({}, answer=whole) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/x")
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload


# Scripts that know pieces


def script(metainfo: Metainfo, payload: bytes, *, busy: int = 0) -> Answer:
    """Answer as a BEP 17 script does, after saying "busy" a few times."""
    left = [busy]

    def answer(asked: Asked) -> bytes:
        query = parse_qs(urlsplit(asked.target).query, encoding="latin-1")
        if left[0]:
            left[0] -= 1
            return response(b"1", status=503)
        assert query["info_hash"] == [metainfo.info_hash.decode("latin-1")]
        piece = int(query["piece"][0])
        start = metainfo.geometry.piece_offset(piece)
        data = payload[start : start + metainfo.geometry.piece_length(piece)]
        if "ranges" in query:
            pairs = [each.split("-") for each in query["ranges"][0].split(",")]
            data = b"".join(data[int(first) : int(last) + 1] for first, last in pairs)
        return response(data)

    return answer


@pytest.mark.parametrize("query", ["", "?key=1"])
async def test_bep17_a_torrent_with_only_a_script_completes(tmp_path: Path, query: str) -> None:
    files = {"a": payload_of(100_001), "b": payload_of(200_000, 1)}
    payload = b"".join(files.values())
    async with web_server({}) as server, local(tmp_path) as shared:
        metainfo = with_http_seeds(files, f"{server.base}/seed.php{query}")
        server.answer = script(metainfo, payload)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload
    assert sorted(f"&piece={n}" in each.target for n in range(10) for each in server.asked)
    assert not any("ranges" in asked.target for asked in server.asked)


async def test_bep17_parts_of_a_long_piece_are_asked_for_by_ranges(tmp_path: Path) -> None:
    payload = payload_of(3_000_000)
    async with web_server({}) as server, local(tmp_path) as shared:
        metainfo = with_http_seeds(payload, f"{server.base}/seed.php", piece_bytes=4 * 1024 * KIB)
        server.answer = script(metainfo, payload)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload
    assert all("&piece=0&ranges=" in asked.target for asked in server.asked)


async def test_bep17_a_busy_script_is_asked_again_when_it_said(tmp_path: Path) -> None:
    payload = payload_of(100_000)
    async with web_server({}) as server, local(tmp_path) as shared:
        metainfo = with_http_seeds(payload, f"{server.base}/seed.php")
        server.answer = script(metainfo, payload, busy=1)
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await reach(session, State.SEEDING)
    (failed,) = of_kind(events, WebSeedFailed)
    assert (failed.message, failed.retry_in_s) == ("busy (status 503)", 1.0)
    assert content(metainfo, tmp_path / "out") == payload


def v2_with_http_seed(torrent: bytes, url: str) -> Metainfo:
    """Return a torrent that names a script."""
    found: Any = decode(torrent)
    return Metainfo.from_bytes(encode({**found, b"httpseeds": [url.encode()]}))


V2_FILES = {"a": payload_of(70_001), "b": payload_of(5, 1), "c": payload_of(65_536, 2)}


@pytest.mark.parametrize("known_by", ["v1", "v2"])
async def test_bep17_a_script_knows_a_hybrid_by_its_v1_part(tmp_path: Path, known_by: str) -> None:
    torrent = torrent_around(*hybrid_info(V2_FILES, piece_bytes=32 * KIB))
    async with web_server({}) as server, local(tmp_path) as shared:
        hybrid = v2_with_http_seed(torrent, f"{server.base}/seed.php")
        server.answer = script(hybrid, laid_out(hybrid, V2_FILES))
        v2 = hybrid.known_by(hybrid.v2_swarm or hybrid.info_hash)
        wanted = hybrid if known_by == "v1" else v2
        await download(shared, wanted, tmp_path / "out")
    assert content(v2, tmp_path / "out") == b"".join(V2_FILES.values())


async def test_bep17_a_script_is_not_asked_for_what_has_no_v1_part(tmp_path: Path) -> None:
    torrent = torrent_around(*v2_info(V2_FILES, piece_bytes=32 * KIB))
    async with web_server({}) as server, local(tmp_path) as shared:
        metainfo = v2_with_http_seed(torrent, f"{server.base}/seed.php")
        async with running(shared, metainfo, tmp_path / "out") as (session, _):
            await reach(session, State.DOWNLOADING)
            assert web_seed_stats(session) == []
        assert server.asked == []


# Bad data


def lying(server: WebServer, *, at: int = 0) -> Answer:
    """Change the byte at ``at`` of every answer."""

    def answer(asked: Asked) -> bytes:
        good = server.file_answer(asked)
        body = good.index(b"\r\n\r\n") + 4 + at
        return good[:body] + bytes((good[body] ^ 1,)) + good[body + 1 :]

    return answer


async def test_b6_a_lying_web_seed_is_banned_and_a_good_peer_completes(tmp_path: Path) -> None:
    payload = payload_of(2_000_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        server.answer = lying(server)
        metainfo = with_urls(payload, f"{server.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await until(lambda: of_kind(events, WebSeedBanned))
            peer = Script(metainfo, payload)
            async with listening(peer) as address:
                await session.add_peer(*address)
                await reach(session, State.SEEDING)
            (stats,) = web_seed_stats(session)
    assert content(metainfo, tmp_path / "out") == payload
    assert (stats.state, stats.error) == (WebSeedState.BANNED, "sent bad data")
    assert len(of_kind(events, WebSeedBanned)) == 1
    assert all(event.web_seeds == (stats.url,) for event in of_kind(events, PieceHashFailed))
    assert "peer.banned" not in kinds(events)
    asked = len(server.asked)
    assert asked <= 3 * LOCAL.max_requests


@pytest.mark.parametrize(("outdated", "is_banned"), [(1, False), (2, False), (8, True)])
async def test_b6_a_web_seed_with_older_versions_of_some_files_gives_the_others(
    tmp_path: Path, outdated: int, *, is_banned: bool
) -> None:
    files = {f"{n:02}": payload_of(64 * KIB, n) for n in range(12)}
    there = served({**files, **{f"{n:02}": payload_of(64 * KIB, 99) for n in range(outdated)}})
    async with web_server(there) as server, local(tmp_path) as shared:
        metainfo = with_urls(files, f"{server.base}/pub/", piece_bytes=32 * KIB)
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            if is_banned:
                await until(lambda: of_kind(events, WebSeedBanned))
            else:
                await until(lambda: session.stats().pieces_have == 2 * (12 - outdated))
                right = [file.completed_bytes for file in session.files()]
                assert right == [0] * outdated + [64 * KIB] * (12 - outdated)
    assert bool(of_kind(events, WebSeedBanned)) == is_banned


async def test_b6_of_two_web_seeds_the_bad_one_is_banned_and_the_good_one_completes(
    tmp_path: Path,
) -> None:
    payload = payload_of(3_000_000)
    async with (
        web_server(served(payload)) as bad,
        web_server(served(payload)) as good,
        local(tmp_path) as shared,
    ):
        bad.answer = lying(bad, at=5)
        metainfo = with_urls(payload, f"{bad.base}/pub/", f"{good.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await reach(session, State.SEEDING)
            stats = web_seed_stats(session)
    assert content(metainfo, tmp_path / "out") == payload
    assert [each.state is WebSeedState.BANNED for each in stats] == [True, False]
    assert [event.url for event in of_kind(events, WebSeedBanned)] == [stats[0].url]


async def test_b6_a_poisonous_peer_is_banned_and_the_web_seed_is_not(tmp_path: Path) -> None:
    payload = payload_of(3_000_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/")
        async with listening(Script(metainfo, payload, poison)) as address:
            settings = {"peers": (address,)}
            async with running(shared, metainfo, tmp_path / "out", **settings) as (session, events):
                await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert not of_kind(events, WebSeedBanned)


# Beside peers


async def test_web_seed_and_peers_share_the_work(tmp_path: Path) -> None:
    payload = payload_of(12_000_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/", piece_bytes=16 * KIB)
        scripts = [Script(metainfo, payload) for _ in range(2)]
        async with listening(scripts[0]) as first, listening(scripts[1]) as second:
            session = await download(shared, metainfo, tmp_path / "out", first, second)
    assert content(metainfo, tmp_path / "out") == payload
    assert server.asked
    assert all(script.served for script in scripts)
    assert session.stats().wasted_bytes <= len(payload) // 3  # the end game


async def test_a_web_seed_that_hangs_holds_up_no_peer(tmp_path: Path) -> None:
    payload = payload_of(1_000_000)

    async def hang(stream: anyio.abc.ByteStream) -> None:
        await stream.receive()
        await anyio.sleep_forever()

    async with listening(hang) as (host, port), local(tmp_path) as shared:
        metainfo = with_urls(payload, f"http://{host}:{port}/x")
        async with listening(Script(metainfo, payload)) as address:
            session = await download(shared, metainfo, tmp_path / "out", address)
    assert content(metainfo, tmp_path / "out") == payload
    assert session.stats().wasted_bytes == 0


async def test_what_a_peer_left_half_done_is_finished(tmp_path: Path) -> None:
    """One long piece of which a peer sent some blocks before it hung up."""
    payload = payload_of(1_000_000)
    async with web_server({}) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/x", piece_bytes=1024 * KIB)
        sent: list[int] = []

        def change(_piece: int, begin: int, data: bytes) -> bytes:
            sent.append(begin)
            if len(sent) == 5:
                raise anyio.BrokenResourceError
            return data

        server.answer = lambda _asked: response(status=503, Retry_After="1")
        async with listening(Script(metainfo, payload, change)) as address:
            settings = {"peers": (address,)}
            async with running(shared, metainfo, tmp_path / "out", **settings) as (session, _):
                await until(lambda: len(sent) >= 5)
                server.files = {"/x": payload}
                server.answer = server.file_answer
                await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload


async def test_skipped_files_are_not_fetched(tmp_path: Path) -> None:
    files = {"a": payload_of(100_000), "b": payload_of(100_000, 1), "c": payload_of(100_000, 2)}
    async with web_server(served(files)) as server, local(tmp_path) as shared:
        metainfo = with_urls(files, f"{server.base}/pub/", piece_bytes=16 * KIB)
        session = await download(shared, metainfo, tmp_path / "out", file_priorities=(0, 4, 0))
    wanted = metainfo.layout.pieces_of(1, metainfo.geometry)
    assert (tmp_path / "out/payload/b").read_bytes() == files["b"]
    assert not (tmp_path / "out/payload/a").exists()
    assert session.stats().downloaded_bytes == len(wanted) * 16 * KIB
    assert sum(asked.span_bytes for asked in server.asked) == len(wanted) * 16 * KIB


async def test_in_sequence_the_first_pieces_come_first(tmp_path: Path) -> None:
    payload = payload_of(4_000_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/", piece_bytes=16 * KIB)
        await download(shared, metainfo, tmp_path / "out", sequential=True)
    assert content(metainfo, tmp_path / "out") == payload
    firsts = [asked.first for asked in server.asked if asked.first is not None]
    places = {first: place for place, first in enumerate(sorted(firsts))}
    late = [abs(place - places[first]) for place, first in enumerate(firsts)]
    assert max(late) <= LOCAL.max_requests  # those that run at once overtake each other


# What a user sets


async def test_d1_a_local_web_seed_is_not_asked_unless_allowed(tmp_path: Path) -> None:
    payload = payload_of(50_000)
    async with web_server(served(payload)) as canary:
        metainfo = with_urls(payload, f"{canary.base}/pub/")
        async with (
            resources(tmp_path) as shared,
            running(shared, metainfo, tmp_path / "out") as (session, events),
        ):
            await until(lambda: of_kind(events, WebSeedFailed))
            (stats,) = web_seed_stats(session)
    (failed,) = of_kind(events, WebSeedFailed)
    assert "not a public address" in failed.message
    assert failed.retry_in_s == 5.0
    assert stats.state is WebSeedState.FAILED
    assert canary.connections == 0


async def test_switched_off_no_web_seed_is_asked(tmp_path: Path) -> None:
    payload = payload_of(50_000)
    async with web_server(served(payload)) as canary, local(tmp_path, enabled=False) as shared:
        metainfo = with_urls(payload, f"{canary.base}/pub/")
        async with listening(Script(metainfo, payload)) as address:
            await download(shared, metainfo, tmp_path / "out", address)
    assert canary.connections == 0


async def test_a_rate_limit_holds_for_web_seeds(tmp_path: Path) -> None:
    payload, limit = payload_of(600_000), 300_000
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/")
        begun_s = time.monotonic()
        session = await download(shared, metainfo, tmp_path / "out", max_download_bytes_per_s=limit)
        took_s = time.monotonic() - begun_s
    assert content(metainfo, tmp_path / "out") == payload
    # What was read and is not paid for yet may be a chunk for each request.
    allowed = LOCAL.max_requests * 64 * KIB
    assert took_s >= (len(payload) - allowed - limit * 0.2) / limit
    assert session.stats().wasted_bytes == 0


async def test_paused_nothing_is_asked_and_resumed_the_rest(tmp_path: Path) -> None:
    payload = payload_of(1_500_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/")
        settings = {"max_download_bytes_per_s": 400_000}
        async with running(shared, metainfo, tmp_path / "out", **settings) as (session, _):
            await until(lambda: server.asked)
            await session.pause()
            await until(lambda: not server.open)
            asked = len(server.asked)
            session.set_rate_limits(download_bytes_per_s=0)
            await anyio.sleep(0.7)  # longer than the tick that looks for something to ask for
            assert len(server.asked) == asked
            await session.resume()
            await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert len(server.asked) > asked


async def test_when_all_is_there_connections_are_closed(tmp_path: Path) -> None:
    payload = payload_of(100_000)
    async with web_server(served(payload)) as server, local(tmp_path, idle_close_s=0.1) as shared:
        metainfo = with_urls(payload, f"{server.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, _):
            await reach(session, State.SEEDING)
            await until(lambda: not server.open)
            (stats,) = web_seed_stats(session)
    assert (stats.state, stats.error) == (WebSeedState.IDLE, "")
    assert stats.downloaded_bytes == len(payload)


# Failures


async def test_a_failing_web_seed_is_asked_again_later(tmp_path: Path) -> None:
    payload = payload_of(200_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:
        left = [3]

        def flaky(asked: Asked) -> bytes:
            if left[0]:
                left[0] -= 1
                return response(status=500)
            return server.file_answer(asked)

        server.answer = flaky
        metainfo = with_urls(payload, f"{server.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await reach(session, State.SEEDING)
    failures = of_kind(events, WebSeedFailed)
    assert [event.retry_in_s for event in failures] == [0.05, 0.1, 0.1]
    assert {event.message for event in failures} == {"status 500"}


async def test_an_outage_of_any_length_is_outlived(tmp_path: Path) -> None:
    payload = payload_of(200_000)
    async with web_server(served(payload)) as server, local(tmp_path) as shared:

        def out_of_order(asked: Asked) -> bytes:
            is_well = len(server.asked) > 15
            return server.file_answer(asked) if is_well else response(status=502)

        server.answer = out_of_order
        metainfo = with_urls(payload, f"{server.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await reach(session, State.SEEDING)
    assert [event.retry_in_s for event in of_kind(events, WebSeedFailed)] == [0.05] + [0.1] * 14


@pytest.mark.parametrize("files", [payload_of(200_000), {"a": payload_of(90_000), "b": b"b"}])
@pytest.mark.parametrize(
    "answer",
    [response(status=404), response(status=403), response(b"we are back soon")],
    ids=["not found", "forbidden", "page"],
)
async def test_a_web_seed_that_lacked_all_files_for_a_while_gives_them_later(
    tmp_path: Path, files: Files, answer: bytes
) -> None:
    async with web_server(served(files)) as server, local(tmp_path) as shared:
        is_down = True
        server.answer = lambda asked: answer if is_down else server.file_answer(asked)
        metainfo = with_urls(files, f"{server.base}/pub/")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await until(lambda: len(of_kind(events, WebSeedFailed)) >= 4)
            await until(lambda: web_seed_stats(session)[0].state is WebSeedState.FAILED)
            is_down = False
            await reach(session, State.SEEDING)
    assert max(event.retry_in_s for event in of_kind(events, WebSeedFailed)) == 0.1


async def test_a_web_seed_that_lacks_many_files_gives_the_others(tmp_path: Path) -> None:
    files = {f"{n:02}": payload_of(16 * KIB, n) for n in range(25)}
    async with web_server(served(files)) as server, local(tmp_path, backoff_max_s=90.0) as shared:

        def lacks_the_first_ones(asked: Asked) -> bytes:
            is_there = len(server.asked) > 20
            return server.file_answer(asked) if is_there else response(status=404)

        server.answer = lacks_the_first_ones
        metainfo = with_urls(files, f"{server.base}/pub/", piece_bytes=16 * KIB)
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await until(lambda: session.stats().pieces_have == 5)
    waits = [event.retry_in_s for event in of_kind(events, WebSeedFailed)]
    assert waits == [0.0] * 7 + [0.05] + [0.0] * 7 + [0.1] + [0.0] * 4  # it is not hammered
    assert len({asked.target for asked in server.asked}) == 25


@pytest.mark.parametrize("max_active", [1, 8])
async def test_what_one_web_seed_lacks_comes_from_another(tmp_path: Path, max_active: int) -> None:
    files = {f"{n}": payload_of(60_000, n) for n in range(6)}
    everything = served(files)
    halves = [
        {path: data for path, data in everything.items() if int(path[-1]) % 2 == odd}
        for odd in (0, 1)
    ]
    async with (
        web_server(halves[0]) as even,
        web_server(halves[1]) as odd,
        local(tmp_path, max_active=max_active) as shared,
    ):
        urls = (f"{even.base}/pub/", f"{odd.base}/pub/")
        metainfo = with_urls(files, *urls, piece_bytes=20_000)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == b"".join(files.values())


async def test_only_so_many_web_seeds_are_asked_at_once(tmp_path: Path) -> None:
    payload = payload_of(4_000_000)
    async with web_server(served(payload)) as server, local(tmp_path, max_active=2) as shared:
        urls = [f"{server.base}/pub/payload?{n}" for n in range(6)]
        metainfo = with_urls(payload, *urls, piece_bytes=16 * KIB)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload
    assert server.most_open <= 2 * LOCAL.max_requests
    assert len({asked.target for asked in server.asked}) <= 2


async def test_only_so_many_of_those_that_are_added_at_once_are_asked_at_once(
    tmp_path: Path,
) -> None:
    payload = payload_of(2_000_000)
    async with web_server(served(payload)) as server, local(tmp_path, max_active=2) as shared:
        metainfo = with_urls(payload, piece_bytes=16 * KIB)
        async with running(shared, metainfo, tmp_path / "out") as (session, _):
            await reach(session, State.DOWNLOADING)
            for number in range(6):
                session.add_web_seed(f"{server.base}/pub/payload?{number}")
            await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert server.most_open <= 2 * LOCAL.max_requests


async def test_of_very_many_urls_only_the_first_are_used(tmp_path: Path) -> None:
    payload = payload_of(40_000)
    async with web_server(served(payload)) as server, local(tmp_path, max_urls=3) as shared:
        metainfo = with_urls(payload, *(f"{server.base}/{n}" for n in range(50)))
        async with running(shared, metainfo, tmp_path / "out") as (session, _):
            await reach(session, State.DOWNLOADING)
            await until(
                lambda: [each.error for each in web_seed_stats(session)] == ["status 404"] * 3
            )
    assert {asked.target for asked in server.asked} == {"/0", "/1", "/2"}


async def test_those_that_wait_take_the_place_of_those_that_fail(tmp_path: Path) -> None:
    payload = payload_of(400_000)
    async with web_server(served(payload)) as server, local(tmp_path, max_active=1) as shared:
        urls = [f"{server.base}/{n}" for n in range(4)] + [f"{server.base}/pub/payload"]
        metainfo = with_urls(payload, *urls)
        await download(shared, metainfo, tmp_path / "out")
    assert content(metainfo, tmp_path / "out") == payload


BAD_ANSWERS: dict[str, Callable[[Asked], bytes]] = {
    "nonsense": lambda _: b"nonsense\r\n\r\n",
    "another_range": lambda _: response(bytes(9), status=206, Content_Range="bytes 0-8/9"),
    "an_endless_redirect": lambda asked: response(status=302, Location=asked.target),
    "a_compressed_body": lambda asked: response(
        bytes(asked.span_bytes),
        status=206,
        Content_Range=f"bytes {asked.first}-{asked.last}/200000",
        Content_Encoding="gzip",
    ),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a14_a_rude_web_seed_harms_nobody(tmp_path: Path, answer: Answer) -> None:
    payload = payload_of(200_000)
    async with web_server({}, answer=answer) as server, local(tmp_path) as shared:
        metainfo = with_urls(payload, f"{server.base}/x")
        async with running(shared, metainfo, tmp_path / "out") as (session, events):
            await until(lambda: of_kind(events, WebSeedFailed))
            async with listening(Script(metainfo, payload)) as address:
                await session.add_peer(*address)
                await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert session.stats().wasted_bytes == 0
