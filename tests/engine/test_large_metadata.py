"""Metadata of any size is read beside the event loop, and what cannot be read again is an error."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.cpu_time import cpu_time
from tests.support.managers import manager
from tests.support.swarm import finish, reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import MetainfoError, SessionError
from torrent_engine.codec._magnet_fields import LinkFields, fields_of
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import SMALL_TORRENT_BYTES, load_torrent
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.progress import piece_priorities
from torrent_engine.policy.metadata.fetch import INLINE_CHECK_BYTES, CheckedMetadata, HashCheck

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=32 * 1024)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the threads in which a Metainfo is made."""
    threads: list[int] = []
    for name in ("from_bytes", "from_info_bytes"):
        read: Callable[..., Metainfo] = getattr(Metainfo, name)

        def reads(*args: Any, read: Callable[..., Metainfo] = read, **options: Any) -> Metainfo:
            threads.append(threading.get_ident())
            return read(*args, **options)

        monkeypatch.setattr(Metainfo, name, reads)
    return threads


async def test_f11_a_long_torrent_is_read_in_a_thread(readers: list[int]) -> None:
    source = METAINFO.source[:-1] + b"4:zzzz%d:" % SMALL_TORRENT_BYTES + bytes(SMALL_TORRENT_BYTES)
    loaded = await load_torrent(source + b"e", None)  # type: ignore[arg-type]
    assert loaded.info_hash == METAINFO.info_hash
    assert readers
    assert threading.get_ident() not in readers


async def test_f11_a_long_link_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def reads(rest: bytes) -> LinkFields:
        threads.append(threading.get_ident())
        return fields_of(rest)

    for module in ("magnet", "mutable_link"):
        monkeypatch.setattr(f"torrent_engine.codec.{module}.fields_of", reads)
    link = f"magnet:?xt=urn:btih:{METAINFO.info_hash.hex()}&so={'1,' * SMALL_TORRENT_BYTES}"
    loaded = await load_torrent(link, None, dht=lambda: None)  # type: ignore[arg-type]
    assert loaded == Magnet(METAINFO.info_hash, selected_files=(1,))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def small_torrent_of(file: bytes) -> bytes:
    """Return a .torrent of as many times the same file as are read on the loop."""
    files = file * ((SMALL_TORRENT_BYTES - 100) // len(file))
    rest = b"4:name1:x12:piece lengthi16384e6:pieces20:" + bytes(20)
    return b"d4:infod5:filesl" + files + b"e" + rest + b"ee"


FILES_OF_ONE_NAME = small_torrent_of(b"d4:pathl1:ae6:lengthi01ee")
NAMELESS_FILES = small_torrent_of(b"d4:attr1:p6:lengthi1ee")
LINK_OF_ONE_FILE = f"magnet:?xt=urn:btih:{'ab' * 20}&so={'1,' * (SMALL_TORRENT_BYTES // 2 - 40)}"


@pytest.mark.parametrize("source", [FILES_OF_ONE_NAME, NAMELESS_FILES, LINK_OF_ONE_FILE])
async def test_f11_what_is_read_on_the_loop_holds_it_up_for_a_short_turn(
    source: bytes | str,
) -> None:
    assert len(source) <= SMALL_TORRENT_BYTES
    with cpu_time() as spent, suppress(MetainfoError):
        await load_torrent(source, None)  # type: ignore[arg-type]
    assert spent.seconds < 0.05  # it takes 5 to 15 ms


async def test_f11_metadata_from_peers_is_read_in_a_thread_and_again_after_a_restart(
    tmp_path: Path, readers: list[int]
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        readers.clear()
        for _ in range(2):
            async with resources(tmp_path / "leech") as shared:
                magnet = Magnet(METAINFO.info_hash, peers=(address,))
                session = await Session.create(
                    magnet, shared, save_path=tmp_path, config=SessionConfig(seed_time_s=0.0)
                )
                await finish(session)
            assert readers
            assert threading.get_ident() not in readers
            readers.clear()


LONG, _ = make_torrent(payload_of(40_000), note="x" * 2 * INLINE_CHECK_BYTES)


async def test_f11_long_metadata_from_peers_is_hashed_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, run = list[int](), HashCheck.run

    def noting(check: HashCheck) -> CheckedMetadata | None:
        threads.append(threading.get_ident())
        return run(check)

    monkeypatch.setattr(HashCheck, "run", noting)
    async with (
        seed(tmp_path / "seed", LONG, payload_of(40_000)) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        magnet = Magnet(LONG.info_hash, peers=(address,))
        config = SessionConfig(metadata_only=True)
        session = await Session.create(magnet, shared, save_path=tmp_path, config=config)
        await finish(session)
        assert session.metainfo is not None
        assert session.metainfo.info_bytes == LONG.info_bytes
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_f11_a_pause_while_metadata_is_hashed_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_hashing, may_go_on, run = threading.Event(), threading.Event(), HashCheck.run

    def waiting(check: HashCheck) -> CheckedMetadata | None:
        is_hashing.set()
        assert may_go_on.wait(10)
        return run(check)

    monkeypatch.setattr(HashCheck, "run", waiting)
    async with (
        seed(tmp_path / "seed", LONG, payload_of(40_000)) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        magnet = Magnet(LONG.info_hash, peers=(address,))
        config = SessionConfig(metadata_only=True)
        session = await Session.create(magnet, shared, save_path=tmp_path, config=config)
        async with session:
            try:
                with anyio.fail_after(30):
                    await until(is_hashing.is_set)
                    await session.pause()
            finally:
                may_go_on.set()
            await reach(session, State.PAUSED)
            await session.resume()
            with anyio.fail_after(30):
                await session.wait_stopped()
        assert session.metainfo is not None


@pytest.mark.parametrize("damage", ["missing", "another", "no bencoding"])
async def test_a4_a_stored_torrent_that_cannot_be_read_again_is_an_error(
    tmp_path: Path, damage: str
) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(METAINFO)
        await reach(session, State.DOWNLOADING)
        await many.flush()
    other, _ = make_torrent(b"another one")
    data = {"missing": b"", "another": other.source, "no bencoding": b"d4:info"}[damage]
    async with await StateStore.open(tmp_path / "state") as store:
        await store.run(lambda db: db.execute("UPDATE session_metainfos SET metainfo = ?", (data,)))
    for path in (tmp_path / "state").rglob(f"{METAINFO.info_hash.hex()}*.torrent"):
        path.write_bytes(data)
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        with anyio.fail_after(30):
            await session.recheck()
            await until(lambda: state_of(session) is State.ERROR)
        assert isinstance(session.error, SessionError)
        assert "state folder" in str(session.error)
        assert session.metainfo is None


async def test_f11_very_many_files_are_chosen_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(metainfo: Metainfo, priorities: tuple[int, ...]) -> bytes:
        threads.append(threading.get_ident())
        return piece_priorities(metainfo, priorities)

    for module in ("transfer.progress", "session.metadata", "runs.torrent_run"):
        monkeypatch.setattr(f"torrent_engine.engine.{module}.piece_priorities", noting)
    for module in ("session.metadata", "session.dormancy"):
        monkeypatch.setattr(f"torrent_engine.engine.{module}.MANY_FILES", 2)
    metainfo, payload = make_torrent({name: payload_of(40_000) for name in "abc"})
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        threads.clear()
        magnet = Magnet(metainfo.info_hash, peers=(address,), selected_files=(1,))
        session = await Session.create(magnet, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            assert session.config.file_priorities == (0, 4, 0)
            await session.set_file_priorities((0, 4, 4))
            await until(lambda: session.stats().completed_bytes > 80_000)
    assert len(threads) == 2
    assert threading.get_ident() not in threads
    assert {path.name for path in (tmp_path / "out" / "payload").iterdir()} == {"b", "c"}
