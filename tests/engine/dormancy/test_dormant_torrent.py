"""Torrents without work rest: nothing of them runs, and whoever finds them wakes them."""

import inspect
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.managers import manager
from tests.support.swarm import (
    address_of,
    content,
    download,
    reach,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DormancyConfig, SessionConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.dormancy.dormant_torrent import DormantTorrent
from torrent_engine.engine.dormancy.metadata_cache import read_first_whole
from torrent_engine.engine.events import Event
from torrent_engine.engine.session import core as session_core
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.tracker.client import TrackerClient
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.policy.peers.candidate import Source

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(300_000)
TORRENT, _ = make_torrent(PAYLOAD)
RESTS = DormancyConfig(after_s=0.3, max_announces_per_s=1_000.0)


def _rest_of(session: Session) -> DormantTorrent:
    rest = session._core.dormant
    assert rest is not None
    return rest


async def resting(session: Session) -> None:
    """Wait until a torrent rests."""
    await until(lambda: session.is_resting)


async def test_a_torrent_of_which_nothing_is_there_rests_from_the_start(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        assert session.is_resting
        assert session.state is State.DOWNLOADING
        stats = session.stats()
        assert (stats.name, stats.total_bytes) == (TORRENT.name, len(PAYLOAD))
        assert (stats.completed_bytes, stats.pieces_total) == (0, TORRENT.piece_count)
        assert stats.have == bytes((TORRENT.piece_count + 7) // 8)
        assert not (tmp_path / "files").exists()
        await many.flush()
        assert session._core.held_metainfo is None
        assert session.metainfo == TORRENT


async def test_a_session_of_its_own_never_rests(tmp_path: Path) -> None:
    async with resources(tmp_path, dormancy=RESTS) as shared:
        session = await Session.create(TORRENT, shared, save_path=tmp_path / "files")
        async with session:
            await reach(session, State.DOWNLOADING)
            await anyio.sleep(3 * RESTS.after_s)
            assert not session.is_resting


async def test_who_dials_a_torrent_at_rest_wakes_it_and_is_served(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        assert session.stats().have == bytes([0xFF] * 2 + [0xE0])
        async with resources(tmp_path / "leech") as other:
            await download(other, TORRENT, tmp_path / "leech" / "files", address_of(many.shared))
        assert content(TORRENT, tmp_path / "leech" / "files") == PAYLOAD
        assert session.stats().uploaded_bytes == len(PAYLOAD)
        await resting(session)
        assert session.stats().uploaded_bytes == len(PAYLOAD)


async def test_peers_that_a_tracker_names_wake_a_torrent_and_it_goes_on_to_its_end(
    tmp_path: Path,
) -> None:
    async with EmbeddedTracker("127.0.0.1") as tracker:
        torrent, _ = make_torrent(PAYLOAD, tiers=[[tracker.announce_url]])
        async with (
            seed(tmp_path / "seed", torrent, PAYLOAD) as (_, _address),
            manager(tmp_path, dormancy=RESTS) as many,
        ):
            session = await many.add_torrent(torrent)
            assert session.is_resting
            assert [each.url for each in session.trackers()] == [tracker.announce_url]
            await reach(session, State.SEEDING)
            assert content(torrent, tmp_path / "files") == PAYLOAD
            await resting(session)
            assert session.stats().completed_bytes == len(PAYLOAD)


async def test_our_own_address_out_of_a_tracker_wakes_nobody(tmp_path: Path) -> None:
    async with EmbeddedTracker("127.0.0.1") as tracker:
        torrent, _ = make_torrent(PAYLOAD, tiers=[[tracker.announce_url]])
        async with manager(tmp_path, dormancy=RESTS) as many:
            session = await many.add_torrent(torrent)
            rest = session._core.dormant
            assert rest is not None
            port = many.shared.listen_port
            assert not rest.add([PeerAddress("127.0.0.1", port)], Source.TRACKER)
            assert session.is_resting


async def test_b5_announces_of_neighbours_wake_so_many_torrents_at_a_time(tmp_path: Path) -> None:
    rest = replace(RESTS, after_s=60.0, max_wakes_per_ip_per_s=0.001, wake_burst_per_ip=2)
    async with manager(tmp_path, dormancy=rest) as many:
        torrents = [make_torrent(payload_of(20_000, i), name=f"{i}")[0] for i in range(6)]
        sessions = [await many.add_torrent(torrent) for torrent in torrents]
        for each in map(_rest_of, sessions):
            assert each.add([PeerAddress("127.0.0.9", 9)], Source.LSD) == 1
        assert all(session.is_resting for session in sessions)  # not in the turn of the datagram
        await until(lambda: sum(not session.is_resting for session in sessions) == 2)
        waiting = [session for session in sessions if session.is_resting]
        assert all(each.waking is not None for each in map(_rest_of, waiting))
        await many.shared.wake_gate.turn("127.0.0.10")  # another address has a turn of its own
        assert all(session.is_resting for session in waiting)
        await waiting[0].pause()  # it does not wait any more
        assert _rest_of(waiting[0]).waking is None
        _rest_of(waiting[1]).add([PeerAddress("127.0.0.9", 9)], Source.TRACKER)  # was asked
        assert not waiting[1].is_resting


async def test_a_peer_that_the_user_names_wakes_it(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", TORRENT, PAYLOAD) as (_, address),
        manager(tmp_path, dormancy=RESTS) as many,
    ):
        session = await many.add_torrent(TORRENT)
        assert session.is_resting
        await session.add_peer(*address)
        await reach(session, State.SEEDING)
        assert content(TORRENT, tmp_path / "files") == PAYLOAD


async def test_paused_torrents_rest_silently_and_go_on(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await session.pause()
        await resting(session)
        assert session.state is State.PAUSED
        assert len(many.shared.announcer) == 0
        await session.resume()
        assert state_of(session) is State.SEEDING
        assert len(many.shared.announcer) == 1
        async with resources(tmp_path / "leech") as other:
            await download(other, TORRENT, tmp_path / "leech" / "files", address_of(many.shared))
        assert session.stats().uploaded_bytes == len(PAYLOAD)


async def test_files_that_changed_during_a_rest_are_hashed_before_anything_is_served(
    tmp_path: Path,
) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        path = tmp_path / "files" / TORRENT.name
        path.write_bytes(bytes(16_384) + PAYLOAD[16_384:])
        async with seed(tmp_path / "seed", TORRENT, PAYLOAD) as (_, address):
            await session.add_peer(*address)
            await reach(session, State.CHECKING)
            await reach(session, State.SEEDING)
        assert path.read_bytes() == PAYLOAD


async def test_a_check_of_a_torrent_at_rest_hashes_it(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        (tmp_path / "files" / TORRENT.name).write_bytes(bytes(len(PAYLOAD)))
        await session.recheck()
        assert session.state is State.CHECKING
        await reach(session, State.DOWNLOADING)
        assert session.stats().completed_bytes == 0


async def test_priorities_changed_at_rest_change_what_is_wanted(tmp_path: Path) -> None:
    torrent, payload = make_torrent({"a": payload_of(100_000), "b": payload_of(100_000, 1)})
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(torrent)
        assert session.is_resting
        await session.set_file_priorities([0, 4])
        await resting(session)
        assert 0 < session.stats().wanted_bytes < len(payload)


async def test_f11_no_control_of_a_torrent_at_rest_parses_its_metainfo_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []

    def read(*arguments: Any) -> Metainfo | None:
        readers.append(threading.get_ident())
        return read_first_whole(*arguments)

    monkeypatch.setattr(session_core, "read_first_whole", read)
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        controls: list[Callable[[], object]] = [
            lambda: session.add_tracker("http://127.0.0.1:9/announce"),
            session.web_seeds,
            lambda: session.set_file_priorities([4]),
            lambda: session.move_storage(tmp_path / "elsewhere"),
        ]
        (tmp_path / "elsewhere").mkdir()
        for control in controls:
            await until(lambda: session.is_resting and session._core.held_metainfo is None)
            result = control()
            if inspect.isawaitable(result):
                await result
        await resting(session)
        await many.remove_torrent(TORRENT.info_hash)
    assert readers
    assert threading.get_ident() not in readers


async def test_a_torrent_at_rest_stops_starts_and_is_removed_with_its_files(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    (tmp_path / "files" / "foreign").write_bytes(b"x")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        await session.stop()
        assert (session.state, session.is_resting) == (State.STOPPED, False)
        await session.start()
        await reach(session, State.SEEDING)
        await resting(session)
        await many.remove_torrent(TORRENT.info_hash, delete_files=True)
        assert [path.name for path in (tmp_path / "files").iterdir()] == ["foreign"]
        assert many.get_session(TORRENT.info_hash) is None


async def test_whoever_comes_while_a_run_ends_for_rest_is_not_lost(tmp_path: Path) -> None:
    """The peer is named in every moment around the end of the run, one after the other."""
    async with seed(tmp_path / "seed", TORRENT, PAYLOAD) as (_, address):
        for turn in range(6):
            folder = tmp_path / str(turn)
            write_files(TORRENT, bytes(len(PAYLOAD)), folder / "files")
            async with manager(folder, dormancy=RESTS) as many:
                session = await many.add_torrent(TORRENT)
                await reach(session, State.DOWNLOADING)
                run = session.admin.run
                assert run is not None
                run.stop("rest")
                for _ in range(turn * 3):
                    await anyio.lowlevel.checkpoint()
                await session.add_peer(*address)
                await reach(session, State.SEEDING)
                assert content(TORRENT, folder / "files") == PAYLOAD


async def test_what_was_fetched_before_a_rest_is_not_fetched_again(tmp_path: Path) -> None:
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        limited = SessionConfig(max_upload_bytes_per_s=120_000)
        async with seed(tmp_path / "one", TORRENT, PAYLOAD, config=limited) as (_, address):
            await session.add_peer(*address)
            await until(lambda: session.stats().pieces_have >= 3)
        await resting(session)
        got = session.stats().completed_bytes
        assert 0 < got < len(PAYLOAD)
        async with seed(tmp_path / "two", TORRENT, PAYLOAD) as (_, address):
            await session.add_peer(*address)
            await reach(session, State.SEEDING)
        assert content(TORRENT, tmp_path / "files") == PAYLOAD
        assert session.totals.downloaded_bytes <= len(PAYLOAD) + 16_384 * 8


def _dial(address: tuple[str, int]) -> socket.socket:
    """Return a connection that names the torrent, and is interested in it."""
    sock = socket.create_connection(address)
    sock.sendall(
        b"\x13BitTorrent protocol" + bytes(8) + TORRENT.info_hash + b"-XX0000-" + bytes(12)
    )
    sock.sendall(b"\0\0\0\1\2")
    return sock


@pytest.mark.parametrize("ends_by", ["pause", "error"])
async def test_who_dialled_a_torrent_that_woke_to_no_transfer_is_let_go(
    tmp_path: Path, ends_by: str
) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path, dormancy=RESTS) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        if ends_by == "error":
            path = tmp_path / "files" / TORRENT.name
            path.unlink()
            path.mkdir()
        with _dial(address_of(many.shared)):
            await until(lambda: not session.is_resting)
            if ends_by == "pause":
                await session.pause()
                await resting(session)
            else:
                await reach(session, State.ERROR)
                await until(session._core.ended.is_set)
            assert not many.shared.router._held
            assert not many.shared.router._torrents


async def test_a_folder_that_cannot_be_looked_at_is_an_error_of_one_torrent(
    tmp_path: Path,
) -> None:
    folder = "/".join([str(tmp_path), *["x" * 200] * 30])
    async with manager(tmp_path) as many:
        with anyio.fail_after(30):
            session = await many.add_torrent(TORRENT, save_path=folder)
            await reach(session, State.ERROR)
            await many.remove_torrent(TORRENT.info_hash)
        assert many.sessions == ()


async def test_a_recheck_while_a_run_ends_for_a_move_hashes_the_data(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        run, checked = session.admin.run, list[Event]()
        assert run is not None
        session.events.subscribe("check.progress", checked.append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.move_storage, tmp_path / "other")
            await until(lambda: run.stop_reason == "between")
            await session.recheck()
        await reach(session, State.SEEDING)
        await until(lambda: checked)
        assert content(TORRENT, tmp_path / "other") == PAYLOAD


async def test_f10_a_bug_in_the_last_announce_of_one_reaches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_args: object) -> None:
        raise ValueError("a bug")

    async with EmbeddedTracker("127.0.0.1") as tracker:
        torrent, _ = make_torrent(PAYLOAD, name="told", tiers=[[tracker.announce_url]])
        async with manager(tmp_path) as many:
            session, other = [await many.add_torrent(each) for each in (torrent, TORRENT)]
            await until(lambda: tracker.stats().peers)
            await until(lambda: not many.shared.announcer._under_way)
            monkeypatch.setattr(TrackerClient, "announce", fail)
            await session.pause()
            with anyio.fail_after(30):
                await session.stop()
            assert (state_of(other), other.is_resting) == (State.DOWNLOADING, True)
