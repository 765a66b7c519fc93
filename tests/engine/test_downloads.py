"""Downloads of torrents of every shape, by every way that peers find each other."""

import math
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import (
    address_of,
    content,
    download,
    files_below,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.events import PeerConnected, TrackerSucceeded
from torrent_engine.engine.resources import bandwidth_manager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer import transfer
from torrent_engine.net.peers import peer_link
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.policy.rate import BURST_S

pytestmark = pytest.mark.anyio

KIB = 1024
LIMITED_S = 10


def many(count: int) -> dict[str, bytes]:
    """Return files of odd sizes, some of them empty, in a few folders."""
    return {f"d{n % 7}/f{n}.bin": payload_of(n * 37 % 2_000, n) for n in range(count)}


SHAPES: dict[str, tuple[dict[str, bytes] | bytes, int]] = {
    "one file": (payload_of(200_000), 32 * KIB),
    "one byte": (b"x", 16 * KIB),
    "whole pieces": (payload_of(4 * 16 * KIB), 16 * KIB),
    "one byte over": (payload_of(4 * 16 * KIB + 1), 16 * KIB),
    "short last block": (payload_of(70_000), 64 * KIB),
    "one large piece": (payload_of(150_000), 256 * KIB),
    "several files": (
        {"a": payload_of(50_001), "empty": b"", "b/c": payload_of(3), "z": payload_of(99_999)},
        32 * KIB,
    ),
    "a piece over many files": (many(20), 64 * KIB),
    "hundreds of files": (many(400), 16 * KIB),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_arrives_whole(tmp_path: Path, shape: str) -> None:
    files, piece_bytes = SHAPES[shape]
    metainfo, payload = make_torrent(files, piece_bytes=piece_bytes)
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await download(shared, metainfo, tmp_path / "out", address)
    assert content(metainfo, tmp_path / "out") == payload
    assert files_below(tmp_path / "out") == {str(Path(*entry.path)) for entry in metainfo.files}
    assert session.stats().pieces_have == metainfo.piece_count
    assert session.stats().wasted_bytes == 0


async def test_several_seeds_share_the_work(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(8_000_000), piece_bytes=16 * KIB)
    scripts = [Script(metainfo, payload) for _ in range(3)]
    async with (
        listening(scripts[0]) as first,
        listening(scripts[1]) as second,
        listening(scripts[2]) as third,
        resources(tmp_path) as shared,
    ):
        session = await download(shared, metainfo, tmp_path / "out", first, second, third)
    assert content(metainfo, tmp_path / "out") == payload
    assert all(script.served for script in scripts)
    assert session.stats().wasted_bytes <= len(payload) // 8  # the end game


async def test_skipped_files_are_not_fetched_and_do_not_appear(tmp_path: Path) -> None:
    files = {"a": payload_of(100_000), "b": payload_of(100_000, 1), "c": payload_of(100_000, 2)}
    metainfo, payload = make_torrent(files, piece_bytes=16 * KIB)
    script = Script(metainfo, payload)
    async with listening(script) as address, resources(tmp_path) as shared:
        session = await download(
            shared, metainfo, tmp_path / "out", address, file_priorities=(0, 4, 0)
        )
    stats = session.stats()
    assert (tmp_path / "out/payload/b").read_bytes() == files["b"]
    assert not (tmp_path / "out/payload/a").exists()
    assert not (tmp_path / "out/payload/c").exists()
    wanted = set(metainfo.layout.pieces_of(1, metainfo.geometry))
    assert {piece for piece, _ in script.served} == wanted
    assert stats.completed_bytes == stats.wanted_bytes == len(wanted) * 16 * KIB
    assert stats.pieces_have == len(wanted) < stats.pieces_total


async def test_priorities_changed_while_running_fetch_the_rest_and_last_over_a_restart(
    tmp_path: Path,
) -> None:
    files = {"a": payload_of(100_000), "b": payload_of(100_000, 1)}
    metainfo, payload = make_torrent(files, piece_bytes=16 * KIB)
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), file_priorities=(4, 0))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        await session.start()
        await reach(session, State.SEEDING)
        assert not (tmp_path / "out/payload/b").exists()
        await session.set_file_priorities((4, 1))
        assert state_of(session) is State.DOWNLOADING
        await session.stop()
        await session.start()
        await reach(session, State.SEEDING)
        assert content(metainfo, tmp_path / "out") == payload
        assert session.stats().wanted_bytes == len(payload)
        await session.close()


async def test_what_is_no_longer_wanted_ends_a_download_and_its_seeding(tmp_path: Path) -> None:
    files = {"a": payload_of(50_000), "b": payload_of(50_000, 1)}
    metainfo, payload = make_torrent(files, piece_bytes=16 * KIB)
    half = Bitfield(metainfo.piece_count)
    for piece in metainfo.layout.pieces_of(0, metainfo.geometry):
        half.set(piece)
    async with (
        listening(Script(metainfo, payload, has=half)) as address,
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(peers=(address,), seed_time_s=0.0)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().pieces_have == half.count)
            assert state_of(session) is State.DOWNLOADING
            await session.set_file_priorities((4, 0))
            with anyio.fail_after(30):
                assert await session.wait_stopped() == "time"
    assert (tmp_path / "out/payload/a").read_bytes() == files["a"]


async def test_a_sequential_download_fetches_from_the_front(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(640_000), piece_bytes=16 * KIB)
    script = Script(metainfo, payload)
    async with listening(script) as address, resources(tmp_path) as shared:
        await download(shared, metainfo, tmp_path / "out", address, sequential=True)
    pieces = [piece for piece, _ in script.served]
    assert pieces == sorted(pieces)


async def test_a_renamed_file_lies_where_it_was_asked_for(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(20_000))
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        renamed = ((0, "else/where.bin"),)
        await download(shared, metainfo, tmp_path / "out", address, renamed_files=renamed)
    assert files_below(tmp_path / "out") == {"else/where.bin"}
    assert (tmp_path / "out/else/where.bin").read_bytes() == payload


# -- how peers meet ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_private", [False, True], ids=["public", "private"])
@pytest.mark.parametrize("kind", ["http", "udp"])
async def test_peers_are_found_through_a_tracker(
    tmp_path: Path, kind: str, is_private: bool
) -> None:
    async with EmbeddedTracker("127.0.0.1") as tracker:
        url = tracker.announce_url if kind == "http" else tracker.udp_url
        metainfo, payload = make_torrent(
            payload_of(100_000), tiers=((url,),), is_private=is_private
        )
        async with seed(tmp_path / "seed", metainfo, payload) as (other, _):
            await until(lambda: tracker.stats().peers == 1)
            async with resources(tmp_path / "leech") as shared:
                session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
                events = record(session)
                async with session:
                    await reach(session, State.SEEDING)
                    assert session.trackers()[0].state in {"working", "announcing"}
                    assert tracker.stats().peers == 2
                assert tracker.stats().peers == 1  # "stopped" was said
                assert any(isinstance(event, TrackerSucceeded) for event in events)
            assert other.trackers()
        assert tracker.stats().peers == 0
    assert content(metainfo, tmp_path / "out") == payload


async def test_a_tracker_may_be_added_while_running(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(50_000))
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        seed(tmp_path / "seed", metainfo, payload) as (other, _),
        resources(tmp_path / "leech") as shared,
    ):
        assert other.add_tracker(tracker.announce_url)
        assert not other.add_tracker(tracker.announce_url)
        await until(lambda: tracker.stats().peers == 1)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        with pytest.raises(TrackerError):
            session.add_tracker("ftp://127.0.0.1/")
        assert session.add_tracker(tracker.announce_url)  # kept until it runs
        async with session:
            await reach(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload


async def test_a_seed_may_dial_a_leech_that_listens(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(100_000))
    async with resources(tmp_path / "leech") as shared:
        leech = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        events = record(leech)
        async with leech:
            await reach(leech, State.DOWNLOADING)
            config = SessionConfig(peers=(address_of(shared),))
            async with seed(tmp_path / "seed", metainfo, payload, config=config):
                await reach(leech, State.SEEDING)
    connected = [event for event in events if isinstance(event, PeerConnected)]
    assert [event.incoming for event in connected] == [True]
    assert content(metainfo, tmp_path / "out") == payload


async def test_ipv6_loopback(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(100_000))
    async with (
        seed(tmp_path / "seed", metainfo, payload, listen_hosts=("::1",)) as (_, address),
        resources(tmp_path / "leech", listen_hosts=("::1", "127.0.0.1")) as shared,
    ):
        assert address[0] == "::1"
        session = await download(shared, metainfo, tmp_path / "out", address)
        assert session.error is None
    assert content(metainfo, tmp_path / "out") == payload


async def test_two_leeches_give_each_other_what_they_have(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(300_000), piece_bytes=16 * KIB)
    halves = [Bitfield(metainfo.piece_count) for _ in range(2)]
    for piece in range(metainfo.piece_count):
        halves[piece % 2].set(piece)
    scripts = [Script(metainfo, payload, has=half) for half in halves]
    async with (
        listening(scripts[0]) as even,
        listening(scripts[1]) as odd,
        resources(tmp_path / "a") as first_shared,
        resources(tmp_path / "b") as second_shared,
    ):
        first = await Session.create(
            metainfo, first_shared, save_path=tmp_path / "1", config=SessionConfig(peers=(even,))
        )
        async with first:
            await reach(first, State.DOWNLOADING)
            peers = (odd, address_of(first_shared))
            second = await Session.create(
                metainfo,
                second_shared,
                save_path=tmp_path / "2",
                config=SessionConfig(peers=peers),
            )
            async with second:
                await reach(first, State.SEEDING)
                await reach(second, State.SEEDING)
                assert first.stats().uploaded_bytes > 0 < second.stats().uploaded_bytes
    assert content(metainfo, tmp_path / "1") == content(metainfo, tmp_path / "2") == payload


# -- limits and rules ---------------------------------------------------------------------------


class LimitClock:
    """The real clock, but those who wait for a rate limit skip that time instead of sleeping.

    It is put in the place of anyio where the limits are waited for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.skipped_s = 0.0
        for module in (peer_link, bandwidth_manager):
            monkeypatch.setattr(module, "anyio", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(anyio, name)

    def __call__(self) -> float:
        return time.monotonic() + self.skipped_s

    async def sleep(self, delay_s: float) -> None:
        self.skipped_s += delay_s
        await anyio.lowlevel.checkpoint()

    def move_on_after(self, delay_s: float) -> anyio.CancelScope:
        """The manager waits so; for ever if nobody waits for it."""
        if delay_s == math.inf:
            return anyio.move_on_after(delay_s)
        self.skipped_s += delay_s
        return anyio.move_on_after(0)


@pytest.mark.parametrize(
    ("limited", "scope", "rate"),
    [
        ("download", "torrent", 60_000),
        ("download", "all", 400_000),
        ("upload", "torrent", 400_000),
        ("upload", "all", 60_000),
    ],
)
async def test_rate_limits_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited: str, scope: str, rate: int
) -> None:
    clock = LimitClock(monkeypatch)
    started_s, payload_bytes = clock(), rate * LIMITED_S
    metainfo, payload = make_torrent(payload_of(payload_bytes), piece_bytes=16 * KIB)
    limit = {f"max_{limited}_bytes_per_s": rate}
    settings: dict[str, Any] = {("seed" if limited == "upload" else "leech"): limit}
    of_torrent = settings if scope == "torrent" else {}
    of_all = settings if scope == "all" else {}
    async with (
        seed(
            tmp_path / "seed",
            metainfo,
            payload,
            config=SessionConfig(**of_torrent.get("seed", {})),
            clock=clock,
            **of_all.get("seed", {}),
        ) as (_, address),
        resources(tmp_path / "leech", clock=clock, **of_all.get("leech", {})) as shared,
    ):
        await download(shared, metainfo, tmp_path / "out", address, **of_torrent.get("leech", {}))
    took_s = clock() - started_s
    assert content(metainfo, tmp_path / "out") == payload
    assert took_s >= LIMITED_S - BURST_S - BLOCK_BYTES / rate
    assert clock.skipped_s <= LIMITED_S * 1.03


async def test_a_limit_over_all_torrents_reaches_peers_that_are_there(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(2_000_000), piece_bytes=16 * KIB)
    async with (
        seed(tmp_path / "seed", metainfo, payload, max_upload_bytes_per_s=100_000) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().downloaded_bytes)
            assert session._core.run is not None
            (peer,) = session._core.run.torrent.peers
            assert peer.link.download_throttle is None
            shared.set_rate_limits(download_bytes_per_s=1)
            assert peer.link.download_throttle is not None
            before = session.stats().downloaded_bytes
            await anyio.sleep(0.4)
            assert session.stats().downloaded_bytes <= before + 16 * KIB
            shared.set_rate_limits(download_bytes_per_s=0, upload_bytes_per_s=0)


@pytest.fixture
def ticks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at once a second is looked at with every tick."""
    monkeypatch.setattr(transfer, "TICKS_PER_SECOND", 1)


@pytest.mark.usefixtures("ticks_often")
async def test_seed_time_stops_a_seed(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(20_000))
    config = SessionConfig(seed_time_s=0.1)
    async with seed(tmp_path, metainfo, payload, config=config) as (session, _):
        with anyio.fail_after(30):
            assert await session.wait_stopped() == "time"


@pytest.mark.usefixtures("ticks_often")
async def test_seed_ratio_stops_a_seed_that_gave_enough(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(100_000))
    config = SessionConfig(seed_ratio=1.0)
    async with (
        seed(tmp_path / "seed", metainfo, payload, config=config) as (session, address),
        resources(tmp_path / "leech") as shared,
    ):
        await download(shared, metainfo, tmp_path / "out", address)
        assert session.stats().ratio == 1.0
        with anyio.fail_after(30):
            assert await session.wait_stopped() == "ratio"
