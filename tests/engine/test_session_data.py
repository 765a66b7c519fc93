"""What a Session does with the data on disk: recheck, cancel, resume, and faults of the disk."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import (
    content,
    download,
    files_below,
    kinds,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import FileExistsStorageError, SessionError, StorageError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

KIB = 1024
METAINFO, PAYLOAD = make_torrent(
    {
        "a.bin": payload_of(100_000, 1),
        "sub/empty": b"",
        "sub/b.bin": payload_of(70_001, 2),
        "c": b"x",
    },
    piece_bytes=32 * KIB,
)


# -- recheck --------------------------------------------------------------------------------


def damage(path: Path, offset: int) -> None:
    """Change one byte; size and times stay as they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes((byte ^ 0xFF,)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


async def test_recheck_finds_damaged_data_and_repairs_only_that(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            received = session.stats().downloaded_bytes
            damage(tmp_path / "out/payload/a.bin", 40_000)
            await session.recheck()
            assert state_of(session) is State.CHECKING
            await reach(session, State.DOWNLOADING)
            assert session.stats().pieces_have == METAINFO.piece_count - 1
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes == received + 32 * KIB
        assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_recheck_of_a_stopped_session_starts_it_and_trusts_nothing(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        await session.start()
        await reach(session, State.SEEDING)
        await session.stop()
        damage(tmp_path / "out/payload/sub/b.bin", 50_000)
        await session.start()
        await reach(session, State.SEEDING)  # size and times are the same: believed
        await session.stop()
        await session.recheck()
        assert await reach(session, State.SEEDING, State.DOWNLOADING) is State.DOWNLOADING
        assert session.stats().pieces_have == METAINFO.piece_count - 1
        await session.close()


async def test_recheck_then_stop_at_once_stops(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            await session.recheck()
            with anyio.fail_after(30):
                await session.stop()
            assert state_of(session) is State.STOPPED


async def test_recheck_while_paused_is_done_after_resume(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            await session.pause()
            damage(tmp_path / "out/payload/c", 0)
            await session.recheck()
            assert state_of(session) is State.PAUSED
            await session.resume()
            assert await reach(session, State.SEEDING, State.DOWNLOADING) is State.DOWNLOADING


async def test_use_resume_false_hashes_what_is_there(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        for expected in (State.SEEDING, State.DOWNLOADING):
            config = SessionConfig(use_resume=False)
            session = await Session.create(
                METAINFO, shared, save_path=tmp_path / "out", config=config
            )
            async with session:
                assert await reach(session, State.SEEDING, State.DOWNLOADING) is expected
            damage(tmp_path / "out/payload/a.bin", 0)


@pytest.mark.parametrize("pieces_there", [0, 3, METAINFO.piece_count])
async def test_check_only_says_what_is_there_and_stops(tmp_path: Path, pieces_there: int) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    if pieces_there == 0:
        (tmp_path / "out/payload/a.bin").unlink()
        (tmp_path / "out/payload/sub/b.bin").unlink()
        (tmp_path / "out/payload/c").unlink()
    elif pieces_there < METAINFO.piece_count:
        damage(tmp_path / "out/payload/sub/b.bin", 10)
        damage(tmp_path / "out/payload/sub/b.bin", 40_000)
        damage(tmp_path / "out/payload/a.bin", 0)
    before = files_below(tmp_path / "out")
    async with resources(tmp_path) as shared:
        config = SessionConfig(check_only=True)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            with anyio.fail_after(30):
                assert await session.wait_stopped() == "checked"
            assert session.stats().pieces_have == pieces_there
    assert files_below(tmp_path / "out") == before


async def test_check_only_of_nothing_makes_no_folder(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        config = SessionConfig(check_only=True)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            assert await session.wait_stopped() == "checked"
    assert not (tmp_path / "out").exists()


# -- cancel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["running", "stopped", "just started", "paused"])
async def test_cancel_with_delete_removes_exactly_the_torrents_files(
    tmp_path: Path, when: str
) -> None:
    mine = tmp_path / "out/payload/sub/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("not the torrent's")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        await download(shared, METAINFO, tmp_path / "out", address)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        if when != "stopped":
            await session.start()
        if when == "running":
            await reach(session, State.SEEDING)
        elif when == "paused":
            await session.pause()
        await session.cancel(delete_files=True)
        assert files_below(tmp_path / "out") == {"payload/sub/mine.txt"}
        assert await shared.store.load(METAINFO.info_hash) is None
        assert shared.references == 1
        await session.close()


async def test_cancel_of_an_incomplete_download_removes_its_partial_files(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=100_000)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().pieces_have)
            await session.cancel(delete_files=True)
            assert await session.wait_stopped() == "cancelled"
        assert files_below(tmp_path) == files_below(tmp_path) - {"out"}
    assert not (tmp_path / "out/payload").exists()


async def test_cancel_keeps_the_files_and_forgets_the_torrent(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        events = record(session)
        async with session:
            await reach(session, State.SEEDING)
            await session.cancel()
        assert content(METAINFO, tmp_path / "out") == PAYLOAD
        assert await shared.store.load(METAINFO.info_hash) is None
    assert kinds(events)[-1] == "session.stopped"


# -- resume ---------------------------------------------------------------------------------


async def test_a_stopped_download_goes_on_and_fetches_nothing_twice(tmp_path: Path) -> None:
    script = Script(METAINFO, PAYLOAD)
    async with listening(script) as address:
        async with resources(tmp_path) as shared:
            session = await Session.create(
                METAINFO,
                shared,
                save_path=tmp_path / "out",
                config=SessionConfig(peers=(address,), max_download_bytes_per_s=150_000),
            )
            async with session:
                await until(lambda: session.stats().pieces_have >= 2)
            first = session.stats()
            assert first.pieces_have < METAINFO.piece_count
        async with resources(tmp_path) as shared:
            again = await download(shared, METAINFO, tmp_path / "out", address)
        stats = again.stats()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert stats.wasted_bytes == 0
    # blocks in flight at the stop may come twice, verified and partial pieces do not
    assert first.downloaded_bytes + stats.downloaded_bytes == len(PAYLOAD)


async def test_partial_pieces_are_kept_over_a_restart(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(512 * KIB), piece_bytes=512 * KIB)
    script = Script(metainfo, payload)
    async with listening(script) as address, resources(tmp_path) as shared:
        session = await Session.create(
            metainfo,
            shared,
            save_path=tmp_path / "out",
            config=SessionConfig(peers=(address,), max_download_bytes_per_s=300_000),
        )
        await session.start()
        await until(lambda: session.stats().downloaded_bytes >= 100_000)
        await session.stop()
        before = session.stats().downloaded_bytes
        assert session.stats().pieces_have == 0
        session.set_rate_limits(download_bytes_per_s=0)
        await session.start()
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == len(payload)
        assert before >= 100_000
        assert session.stats().wasted_bytes == 0
        await session.close()
    assert content(metainfo, tmp_path / "out") == payload


# -- faults of the disk ---------------------------------------------------------------------


async def test_f3_a_save_path_below_a_file_is_an_error_of_that_torrent_only(
    tmp_path: Path,
) -> None:
    other, other_payload = make_torrent(payload_of(50_000, 7), name="other")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        seed(tmp_path / "seed2", other, other_payload) as (_, other_address),
        resources(tmp_path / "leech") as shared,
    ):
        (tmp_path / "blocked").write_bytes(b"")
        bad = await Session.create(
            METAINFO,
            shared,
            save_path=tmp_path / "blocked/out",
            config=SessionConfig(peers=(address,)),
        )
        events = record(bad)
        async with bad:
            with pytest.raises(SessionError) as caught:
                await bad.wait_stopped()
            assert isinstance(caught.value.__cause__, StorageError)
            assert str(tmp_path / "blocked") in str(bad.error)
            assert state_of(bad) is State.ERROR
            await download(shared, other, tmp_path / "fine", other_address)
            assert content(other, tmp_path / "fine") == other_payload
            (tmp_path / "blocked").unlink()
            await bad.start()
            assert bad.error is None
            await reach(bad, State.SEEDING)
        assert content(METAINFO, tmp_path / "blocked/out") == PAYLOAD
    seen = [kind for kind in kinds(events) if kind.startswith("session.")]
    assert seen == [
        "session.started",
        "session.error",
        "session.started",
        "session.completed",
        "session.stopped",
    ]


async def test_f3_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out/payload/c").mkdir(parents=True)
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()
        assert isinstance(caught.value.__cause__, FileExistsStorageError)
    assert (tmp_path / "out/payload/c").is_dir()


async def test_f3_a_file_cut_short_while_seeding_is_an_error_when_it_is_asked_for(
    tmp_path: Path,
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address):
        os.truncate(tmp_path / "seed/files/payload/a.bin", 10)
        async with resources(tmp_path / "leech") as shared:
            leech = await Session.create(
                METAINFO,
                shared,
                save_path=tmp_path / "out",
                config=SessionConfig(peers=(address,)),
            )
            async with leech:
                await reach(session, State.ERROR)
            assert "a.bin" in str(session.error)
            assert state_of(leech) is State.STOPPED


CHILD = """
import resource, signal, sys
from pathlib import Path
import anyio
from torrent_engine import *
from torrent_engine.base.config import DhtConfig, LsdConfig

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
torrent, out, state, host, port = sys.argv[1:]

async def main():
    config = SharedConfig(
        listen_port=0, listen_hosts=("127.0.0.1",), state_dir=state,
        dht=DhtConfig(enabled=False), lsd=LsdConfig(enabled=False),
    )
    async with SharedResources(config) as shared:
        session = await Session.create(
            Metainfo.read(torrent), shared, save_path=out,
            config=SessionConfig(peers=((host, int(port)),), seed_time_s=0.0),
        )
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
        async with session:
            try:
                await session.wait_stopped()
            except SessionError as error:
                print(session.state.value, type(error.__cause__).__name__, error, flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await session.start()
            print(await session.wait_stopped(), session.stats().wasted_bytes, flush=True)

anyio.run(main)
"""


async def test_f1_a_write_beyond_the_limit_stops_with_the_path_and_goes_on_later(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent(payload_of(1_500_000), piece_bytes=64 * KIB)
    torrent = tmp_path / "a.torrent"
    torrent.write_bytes(metainfo.source)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        arguments = [str(torrent), str(tmp_path / "out"), str(tmp_path / "state")]
        with anyio.fail_after(30):
            done = await anyio.run_process(
                [sys.executable, "-c", CHILD, *arguments, address[0], str(address[1])],
                check=False,
                stderr=subprocess.PIPE,
            )
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, (lines, done.stderr.decode())
    assert lines[0].startswith("error ")
    assert str(tmp_path / "out/payload") in lines[0]
    assert lines[1] == "time 0"
    assert content(metainfo, tmp_path / "out") == payload
