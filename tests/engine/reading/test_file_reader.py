"""Reading files that are not whole yet, from real seeds on loopback."""

import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.support.scripted_peer import Wire, listening
from tests.support.swarm import reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import KIB, MIB, ReaderConfig, SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    LocalProtocolError,
    SessionError,
    StateTransitionError,
    StorageError,
)
from torrent_engine.codec.bencode import BencodeValue, encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files import immediate_reads
from torrent_engine.engine.events import PieceCompleted
from torrent_engine.engine.reading import file_reader
from torrent_engine.engine.reading.file_reader import FileReader
from torrent_engine.engine.reading.readers import Readers
from torrent_engine.engine.runs import recheck as run_check
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.protocol.wire.messages import HandshakeReceived, PeerInterested

pytestmark = pytest.mark.anyio

Address = tuple[str, int]
PIECE_BYTES = 64 * KIB
PATIENCE_S = 50.0
FILES = {"a.bin": payload_of(300_000, 1), "empty": b"", "b/c.bin": payload_of(500_000, 2)}
METAINFO, PAYLOAD = make_torrent(FILES, piece_bytes=PIECE_BYTES)
LARGE, LARGE_PAYLOAD = make_torrent(payload_of(12 * MIB, 3), piece_bytes=PIECE_BYTES)


@asynccontextmanager
async def leech(
    folder: Path, metainfo: Metainfo | Magnet, *peers: Address, **settings: Any
) -> AsyncIterator[Session]:
    """Run a download with services of its own."""
    config = SessionConfig(peers=peers, **settings)
    async with resources(folder, reader=ReaderConfig(min_read_ahead_bytes=512 * KIB)) as shared:
        session = await Session.create(metainfo, shared, save_path=folder / "files", config=config)
        async with session:
            yield session


def slow_seed(folder: Path, bytes_per_s: int) -> Any:
    """Run a seed of the large torrent; at full speed it would be over before anything is seen."""
    return seed(folder, LARGE, LARGE_PAYLOAD, max_upload_bytes_per_s=bytes_per_s)


async def read(reader: FileReader, count: int = -1) -> bytes:
    """Read, but not for ever."""
    with anyio.fail_after(PATIENCE_S):
        return await reader.read(count)


def share(session: Session) -> float:
    stats = session.stats()
    return stats.completed_bytes / stats.wanted_bytes


async def completed_pieces(
    session: Session, until_seen: Callable[[list[int]], object]
) -> list[int]:
    """Return the pieces that are completed from now on, until that is enough."""
    pieces: list[int] = []
    with anyio.fail_after(PATIENCE_S):
        async for event in session.events.stream("piece.completed"):
            assert isinstance(event, PieceCompleted)
            pieces.append(event.piece_index)
            if until_seen(pieces):
                break
    return pieces


# -- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.bin", "b/c.bin", "payload/a.bin", PurePath("b", "c.bin")])
async def test_a_file_is_read_while_it_comes(tmp_path: Path, name: str | PurePath) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, METAINFO, address) as session,
        session.open(name) as reader,
    ):
        expected = FILES[str(name).removeprefix("payload/")]
        assert (reader.size, reader.tell()) == (len(expected), 0)
        assert await read(reader, 100_000) == expected[:100_000]
        assert await read(reader) == expected[100_000:]
        assert (reader.tell(), await read(reader)) == (len(expected), b"")


async def test_a_file_can_be_iterated_over_and_read_in_what_is_here(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, METAINFO, address) as session,
        session.open(2) as reader,
    ):
        with anyio.fail_after(PATIENCE_S):
            first = await reader.read1(10)
            chunks = [chunk async for chunk in reader]
        assert 1 <= len(first) <= 10
        assert first + b"".join(chunks) == FILES["b/c.bin"]
        assert await reader.read1() == b""
        assert await read(reader, 0) == b""


async def test_seek_and_tell_are_those_of_a_file(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, METAINFO, address) as session,
        session.open("a.bin") as reader,
    ):
        assert reader.seek(-100, os.SEEK_END) == 299_900
        assert await read(reader, 1_000) == FILES["a.bin"][-100:]
        assert reader.seek(5) == 5
        assert reader.seek(5, os.SEEK_CUR) == reader.tell() == 10
        assert await read(reader, 7) == FILES["a.bin"][10:17]
        assert reader.seek(1_000_000) == 1_000_000
        assert await read(reader) == b""
        with pytest.raises(ConfigError, match="offset"):
            reader.seek(-1)
        with pytest.raises(ConfigError, match="whence"):
            reader.seek(0, 9)
        assert reader.tell() == 1_000_000


@pytest.mark.parametrize("file", [-1, 3, "nothing", "", "b", "payload", PurePath("/a.bin")])
async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, file: int | str) -> None:
    async with leech(tmp_path, METAINFO) as session:
        with pytest.raises(ConfigError, match="file"):
            session.open(file)


async def test_among_very_many_files_a_path_is_searched_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "FEW_FILES", 2)
    threads: list[threading.Thread] = []

    def find_file(*arguments: Any) -> int:
        threads.append(threading.current_thread())
        return real(*arguments)

    real = file_reader.find_file
    monkeypatch.setattr(file_reader, "find_file", find_file)
    async with leech(tmp_path, METAINFO) as session:
        absent = session.open("nothing")
        async with session.open("payload/empty") as reader:
            assert reader.index == 1
        with pytest.raises(ConfigError, match="no nothing"):
            await read(absent)
        assert len(threads) == 2
        assert threading.main_thread() not in threads
        assert session.open(2).size == 500_000
        with pytest.raises(ConfigError, match="0 to 2"):
            session.open(3)


async def test_bep47_a_pad_file_has_nothing_to_read(tmp_path: Path) -> None:
    files: list[BencodeValue] = [
        {b"length": 10, b"path": [b"a"]},
        {b"length": 90, b"path": [b".pad", b"90"], b"attr": b"p"},
        {b"length": 5, b"path": [b"b"]},
    ]
    info: BencodeValue = {
        b"name": b"payload",
        b"files": files,
        b"piece length": 16 * KIB,
        b"pieces": bytes(20),
    }
    metainfo = Metainfo.from_bytes(encode({b"info": info}))
    async with leech(tmp_path, metainfo) as session:
        assert session.open(2).size == 5
        with pytest.raises(ConfigError, match="pad"):
            session.open(1)


async def test_an_empty_file_is_read_at_once(tmp_path: Path) -> None:
    async with leech(tmp_path, METAINFO) as session, session.open("empty") as reader:
        assert await read(reader) == b""
        assert [chunk async for chunk in reader] == []


async def test_a_seed_reads_too_and_without_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, _),
        session.open(2) as reader,
    ):
        assert await read(reader, 400_000) == FILES["b/c.bin"][:400_000]
        monkeypatch.setattr(immediate_reads, "read_file_now", lambda *_: False)
        assert await read(reader) == FILES["b/c.bin"][400_000:]


# -- what is fetched first ----------------------------------------------------------------------


async def test_the_end_of_a_large_file_comes_long_before_the_rest(tmp_path: Path) -> None:
    async with (
        slow_seed(tmp_path / "seed", 3 * MIB) as (_, address),
        leech(tmp_path, LARGE, address) as session,
        session.open(0) as reader,
    ):
        await until(lambda: session.stats().completed_bytes)  # it is under way elsewhere
        reader.seek(-MIB, os.SEEK_END)
        assert await read(reader) == LARGE_PAYLOAD[-MIB:]
        assert share(session) < 0.6


class Miser:
    """A seed that takes requests and answers none."""

    def __init__(self) -> None:
        self.owed: list[int] = []
        """The piece of each request."""

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        wire = Wire(stream, LARGE)
        wire.connection.sender.send_handshake()
        await wire.flush()
        async for event in wire:
            if isinstance(event, HandshakeReceived):
                wire.connection.sender.send_bitfield(Bitfield.full(LARGE.piece_count))
            elif isinstance(event, PeerInterested):
                wire.connection.sender.unchoke()
            self.owed.extend(request[0] for request in wire.connection.upload_requests)
            await wire.flush()


async def test_what_a_slow_seed_owes_is_asked_of_a_fast_one(tmp_path: Path) -> None:
    miser = Miser()
    async with (
        listening(miser) as slow,
        slow_seed(tmp_path / "seed", 3 * MIB) as (_, fast),
        leech(tmp_path, LARGE, slow, fast) as session,
    ):
        await until(lambda: miser.owed and session.stats().completed_bytes)
        place = miser.owed[0] * PIECE_BYTES
        async with session.open(0) as reader:
            reader.seek(place)
            with anyio.fail_after(PATIENCE_S / 2):  # it is given up after 60 s only
                data = await reader.read(PIECE_BYTES)
            assert data == LARGE_PAYLOAD[place : place + PIECE_BYTES]
        assert share(session) < 1.0


async def test_several_readers_and_a_storm_of_jumps(tmp_path: Path) -> None:
    done: list[int] = []

    async def jump_about(session: Session, number: int) -> None:
        rng = random.Random(number)
        async with session.open(0) as reader:
            for _ in range(25):
                place, count = rng.randrange(len(LARGE_PAYLOAD)), rng.randrange(1, 40_000)
                reader.seek(place)
                if rng.random() < 0.5:  # gone before it comes
                    with anyio.move_on_after(0.005):
                        await reader.read(count)
                reader.seek(place)
                assert await read(reader, count) == LARGE_PAYLOAD[place : place + count]
        done.append(number)

    async with (
        slow_seed(tmp_path / "seed", 8 * MIB) as (_, address),
        leech(tmp_path, LARGE, address) as session,
    ):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(jump_about, session, number)
        assert sorted(done) == [0, 1, 2]
        assert not session._core.has_readers
        await reach(session, State.SEEDING)  # nothing is left half asked for


async def test_a_deadline_brings_a_piece_forward(tmp_path: Path) -> None:
    last = LARGE.piece_count - 1
    async with (
        slow_seed(tmp_path / "seed", 3 * MIB) as (_, address),
        leech(tmp_path, LARGE, address, sequential=True) as session,
    ):
        await until(lambda: session.stats().completed_bytes)
        session.set_piece_deadline(last, 0.0)
        assert await completed_pieces(session, lambda pieces: last in pieces)
        assert share(session) < 0.6
        session.set_piece_deadline(last, 1.0)  # it is here: no effect
        session.set_piece_deadline(last - 1, None)
        for piece in (-1, last + 1):
            with pytest.raises(ConfigError, match="piece"):
                session.set_piece_deadline(piece, 1.0)
    with pytest.raises(StateTransitionError):
        session.set_piece_deadline(0, 1.0)


async def test_sequence_can_be_switched_on_while_running(tmp_path: Path) -> None:
    async with (
        slow_seed(tmp_path / "seed", 3 * MIB) as (_, address),
        leech(tmp_path, LARGE) as session,
    ):
        session.set_sequential(True)
        await session.add_peer(*address)
        pieces = await completed_pieces(session, lambda pieces: len(pieces) == 40)
        assert max(pieces) < 60
        assert session.config.sequential


# -- skipped files ------------------------------------------------------------------------------


async def test_a_skipped_file_is_wanted_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "files/payload/b/c.bin"
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, METAINFO, address, file_priorities=(4, 4, 0)) as session,
    ):
        await reach(session, State.SEEDING)
        assert not path.exists()
        async with session.open("b/c.bin") as reader:
            assert await read(reader) == FILES["b/c.bin"]
            await session.set_file_priorities((4, 0, 0))  # the user's wish, and it is still read
            reader.seek(0)
            assert await read(reader) == FILES["b/c.bin"]
            assert session.stats().wanted_bytes == len(PAYLOAD)
        assert session.stats().wanted_bytes < len(PAYLOAD)
        assert path.read_bytes() == FILES["b/c.bin"]
        assert session.config.file_priorities == (4, 0, 0)


# -- what ends or delays a read -------------------------------------------------------------------


async def test_a_closed_reader_reads_no_more(tmp_path: Path) -> None:
    async with leech(tmp_path, METAINFO) as session:
        reader = session.open(0)
        async with reader:
            pass
        with pytest.raises(LocalProtocolError, match="closed"):
            await read(reader)
        with pytest.raises(LocalProtocolError, match="closed"):
            reader.seek(0)
        await reader.aclose()
        assert not session._core.has_readers


@pytest.mark.parametrize("how", ["close", "stop", "cancel", "reader"])
async def test_a_read_that_waits_ends_with_what_it_waits_for(tmp_path: Path, how: str) -> None:
    errors: list[Exception] = []

    async def wait(reader: FileReader, waits: anyio.Event) -> None:
        waits.set()
        try:
            await read(reader)
        except (SessionError, LocalProtocolError) as error:
            errors.append(error)

    async with leech(tmp_path, METAINFO) as session, session.open(0) as reader:
        await reach(session, State.DOWNLOADING)
        async with anyio.create_task_group() as tasks:
            waits = anyio.Event()
            tasks.start_soon(wait, reader, waits)
            await waits.wait()
            await anyio.wait_all_tasks_blocked()
            await {
                "close": session.close,
                "stop": session.stop,
                "cancel": session.cancel,
                "reader": reader.aclose,
            }[how]()
        assert isinstance(errors[0], LocalProtocolError if how == "reader" else SessionError)


@pytest.mark.parametrize("moment", ["metadata", "checking"])
async def test_a_read_of_what_is_not_known_yet_ends_with_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async def check_for_ever(*_: object, **__: object) -> None:
        await anyio.sleep_forever()

    ended = anyio.Event()

    async def wait_in_vain(reader: FileReader) -> None:
        with pytest.raises(LocalProtocolError, match="closed"):
            await reader.read()
        ended.set()

    monkeypatch.setattr(run_check, "check_pieces", check_for_ever)
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    source = Magnet(METAINFO.info_hash) if moment == "metadata" else METAINFO
    async with leech(tmp_path, source) as session, anyio.create_task_group() as tasks:
        reader = session.open("a.bin")
        tasks.start_soon(wait_in_vain, reader)
        await anyio.wait_all_tasks_blocked()
        await reader.aclose()
        with anyio.fail_after(PATIENCE_S):
            await ended.wait()
        assert not session._core.has_readers


async def test_a_run_that_ends_while_a_file_becomes_wanted_is_no_run_to_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wanted, calls = Readers._make_wanted, list[TorrentRun]()

    async def restart(self: Readers, run: TorrentRun) -> None:
        calls.append(run)
        if len(calls) == 1:
            await session.recheck()
            await until(lambda: not run.reads.is_open)
        await make_wanted(self, run)

    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    monkeypatch.setattr(Readers, "_make_wanted", restart)
    async with leech(tmp_path, METAINFO) as session, session.open("a.bin") as reader:
        assert await read(reader) == FILES["a.bin"]
    assert len(set(map(id, calls))) > 1


async def test_a_session_that_was_never_started_is_not_read(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        with pytest.raises(SessionError, match="does not run"):
            await read(session.open(0))
        await session.close()


async def test_what_is_here_is_read_while_paused_and_the_rest_after_that(tmp_path: Path) -> None:
    async with (
        slow_seed(tmp_path / "seed", 3 * MIB) as (_, address),
        leech(tmp_path, LARGE, address) as session,
        session.open(0) as reader,
    ):
        first = await read(reader, MIB)
        await session.pause()
        reader.seek(0)
        assert await read(reader, MIB) == first == LARGE_PAYLOAD[:MIB]
        reader.seek(-PIECE_BYTES, os.SEEK_END)
        with anyio.move_on_after(0.3) as waiting:
            await reader.read()
        assert waiting.cancelled_caught
        assert reader.tell() == len(LARGE_PAYLOAD) - PIECE_BYTES
        await session.resume()
        assert await read(reader) == LARGE_PAYLOAD[-PIECE_BYTES:]


async def test_a_reader_outlives_a_restart_and_a_recheck(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, METAINFO, address) as session,
        session.open("a.bin") as reader,
    ):
        assert await read(reader, 1_000) == FILES["a.bin"][:1_000]
        await session.stop()
        assert await read(reader, 1_000) == FILES["a.bin"][1_000:2_000]  # of a piece that is here
        await session.start()
        assert await read(reader, 1_000) == FILES["a.bin"][2_000:3_000]
        await session.recheck()
        assert await read(reader) == FILES["a.bin"][3_000:]


async def test_a_fault_of_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, _),
        session.open(0) as reader,
    ):
        monkeypatch.setattr(immediate_reads, "read_file_now", lambda *_: False)
        path = tmp_path / "seed/files/payload/a.bin"
        path.write_bytes(b"")
        with pytest.raises(StorageError, match=r"a\.bin"):
            await read(reader)
        assert reader.tell() == 0
        assert state_of(session) is State.SEEDING


async def test_bep9_a_reader_of_a_magnet_link_waits_for_the_metadata(tmp_path: Path) -> None:
    link = Magnet(METAINFO.info_hash)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leech(tmp_path, link, address) as session,
    ):
        reader, other = session.open("b/c.bin"), session.open("nothing")
        if session.metainfo is None:
            with pytest.raises(StateTransitionError, match="metadata"):
                _ = reader.size
        with anyio.fail_after(PATIENCE_S):
            async with reader:
                assert reader.size == 500_000
                assert await reader.read() == FILES["b/c.bin"]
            with pytest.raises(ConfigError, match="nothing"):
                await other.read()
