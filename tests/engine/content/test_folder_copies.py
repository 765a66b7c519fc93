"""Files in folders of the user are copied, and not downloaded a second time."""

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.counting import CountingTable, ShortTurn
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from tests.support.v2_torrents import hybrid_info, laid_out, torrent_around, v2_info
from torrent_engine.base.config import DiskConfig, SessionConfig
from torrent_engine.base.ids import SHA1_BYTES
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.local_files import LocalFile
from torrent_engine.engine.content import folder_copies
from torrent_engine.engine.content.folder_copies import FolderCopies
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.pieces.picker import Picker

pytestmark = pytest.mark.anyio

PIECE = 32 * 1024
FILES = {
    "a": payload_of(20 * PIECE - 100, 1),
    "c": payload_of(5, 3),
    "sub/b": payload_of(7 * PIECE + 1, 2),
}
LONG_AGO_S = 1_600_000_000
PATIENCE_S = 50.0


def v1(files: dict[str, bytes]) -> Metainfo:
    return make_torrent(files, name="p", piece_bytes=PIECE)[0]


def v2(files: dict[str, bytes]) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*v2_info(files, piece_bytes=PIECE, name="p")))


def hybrid(files: dict[str, bytes]) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*hybrid_info(files, piece_bytes=PIECE, name="p")))


Make = Callable[[dict[str, bytes]], Metainfo]


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Write files that rest since long ago."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def stamps(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.stat()
        found[str(path)] = (seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_nlink)
    return found


@asynccontextmanager
async def node(folder: Path, *local: Path) -> AsyncIterator[SharedResources]:
    disk = DiskConfig(state_reserve_bytes=0, local_data=tuple(map(str, local)))
    async with resources(folder, disk=disk) as opened:
        yield opened


def is_right(files: dict[str, bytes], folder: Path) -> bool:
    return all((folder / "p" / name).read_bytes() == data for name, data in files.items())


def payload_for(metainfo: Metainfo, files: dict[str, bytes]) -> bytes:
    """Return the bytes of the pieces."""
    if metainfo.v2 is not None:
        return laid_out(metainfo, files)
    return b"".join(files["/".join(entry.path[1:])] for entry in metainfo.files)


@pytest.mark.parametrize("make", [v1, v2, hybrid])
async def test_bep38_nobody_is_needed_for_what_a_folder_has(make: Make, tmp_path: Path) -> None:
    metainfo, local = make(FILES), tmp_path / "local"
    renamed = {"x/a": FILES["a"], "y/other name": FILES["sub/b"], "c": FILES["c"]}
    put(local, renamed)
    before = stamps(local)
    async with node(tmp_path / "node", local) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
            assert session.stats().downloaded_bytes == 0
    assert is_right(FILES, tmp_path / "out")
    assert stamps(local) == before


@pytest.mark.parametrize("make", [v1, v2])
async def test_bep38_a_file_that_is_wrong_or_missing_is_downloaded(
    make: Make, tmp_path: Path
) -> None:
    metainfo, local = make(FILES), tmp_path / "local"
    put(local, {"a": bytes(len(FILES["a"])), "z/a": FILES["a"], "b": bytes(7 * PIECE + 1)})
    async with (
        node(tmp_path / "node", local) as shared,
        seed(tmp_path / "seed", metainfo, payload_for(metainfo, FILES)) as (theirs, address),
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
        sent = theirs.stats().uploaded_bytes
    assert is_right(FILES, tmp_path / "out")
    others = len(FILES["sub/b"]) + len(FILES["c"])
    assert others <= sent <= others + 2 * PIECE


async def test_bep38_without_the_option_no_folder_is_looked_at(tmp_path: Path) -> None:
    metainfo = v2(FILES)
    put(tmp_path / "local", FILES)
    async with node(tmp_path / "node") as shared:
        assert shared.local_files.is_empty
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.DOWNLOADING)
            assert session.stats().completed_bytes == 0


@pytest.mark.parametrize("make", [v2, hybrid])
async def test_bep38_files_that_are_skipped_are_not_copied(make: Make, tmp_path: Path) -> None:
    metainfo, local = make(FILES), tmp_path / "local"
    put(local, FILES)
    names = ["/".join(entry.path[1:]) for entry in metainfo.files]
    config = SessionConfig(file_priorities=tuple(0 if name == "a" else 4 for name in names))
    async with node(tmp_path / "node", local) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
    found = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert {path.name for path in found} == {"b", "c"}  # BEP 52: no part of a file is kept apart
    assert (tmp_path / "out" / "p" / "sub" / "b").read_bytes() == FILES["sub/b"]


async def test_bep38_the_torrents_own_files_are_no_source(tmp_path: Path) -> None:
    metainfo, out = v2(FILES), tmp_path / "out"
    write_files(metainfo, payload_for(metainfo, FILES)[: PIECE * 20], out)
    (out / "p" / "sub").mkdir(exist_ok=True)
    put(out / "p", {"sub/b": FILES["sub/b"][:PIECE] + bytes(6 * PIECE + 1)})
    put(out / "p", {"c": FILES["c"]})
    async with node(tmp_path / "node", out) as shared:
        session = await Session.create(metainfo, shared, save_path=out)
        async with session:
            await reach(session, State.DOWNLOADING)
            await anyio.wait_all_tasks_blocked()
            assert session.stats().pieces_have == 20 + 1 + 1


@dataclass
class Alone:
    """The copies of a torrent of one file from a file of another content."""

    piece_count: int
    is_full: bool = False
    """Whether the disk is, so that nothing is written."""
    asked: int = 0
    copied: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        total_bytes = self.piece_count * PIECE
        info: dict[str, Any] = {
            "name": "n",
            "piece length": PIECE,
            "length": total_bytes,
            "pieces": bytes(SHA1_BYTES * self.piece_count),
        }
        metainfo = Metainfo.from_bytes(encode({"info": info}))
        self.table = CountingTable(metainfo.geometry)
        self.picker = Picker(metainfo.geometry, self.table, random.Random(1))
        torrent: Any = SimpleNamespace(metainfo=metainfo, table=self.table, picker=self.picker)
        ports: Any = SimpleNamespace(
            writer=SimpleNamespace(
                wait_for_room=anyio.lowlevel.checkpoint, write_copy=self._write_copy
            ),
            requests=SimpleNamespace(wanted_changed=self._ask),
            sharing=SimpleNamespace(share=self._share),
        )
        other = LocalFile("/none/n", total_bytes, 1, 1, 1)
        local: Any = SimpleNamespace(
            is_empty=False, like=lambda *_: [other], rests=lambda each: each is other
        )
        own: Any = SimpleNamespace(path_of=lambda _: Path("/none/own"))
        similar: Any = SimpleNamespace(may_have=lambda _: False)
        self.copies = FolderCopies(torrent, ports, own, local, similar)
        self.copies._read = self._read  # type: ignore[assignment, method-assign]

    def _ask(self) -> None:
        self.asked += 1

    async def _share(self, _: object, __: object) -> dict[int, bool]:
        return {}

    def _read(self, piece: int, _: object) -> memoryview:
        return memoryview(bytes([piece % 256]))

    def _write_copy(self, piece: int, _: object, *, on_wrong: Any, on_failed: Any) -> None:
        self.copied.append(piece)
        if self.is_full:
            on_failed()
        else:
            on_wrong()

    async def run_until_quiet(self) -> None:
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(self.copies.run)
                assert not self.table.missing
                while self.copies.is_busy:  # noqa: ASYNC110 - there is no event for it
                    await anyio.sleep(0.001)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_full", [False, True])
async def test_pieces_of_a_wrong_file_are_given_up_many_at_a_time(is_full: bool) -> None:
    alone = Alone(5000, is_full)
    await alone.run_until_quiet()
    assert alone.copied == [0]
    assert alone.table.missing == (1 << 5000) - 1
    assert alone.asked == 1
    assert alone.table.passes < 200


async def test_what_has_no_room_after_a_pause_keeps_the_next_run_from_no_copy() -> None:
    alone, held = Alone(40), list[Any]()
    is_held = anyio.Event()

    def hold(_: int, __: object, *, on_wrong: object, on_failed: Any) -> None:
        del on_wrong
        held.append(on_failed)
        is_held.set()

    alone.copies._writer = SimpleNamespace(wait_for_room=anyio.lowlevel.checkpoint, write_copy=hold)
    async with anyio.create_task_group() as tasks:
        await tasks.start(alone.copies.run)
        await is_held.wait()
        tasks.cancel_scope.cancel()
    while held:
        held.pop()()
    assert alone.table.missing == (1 << 40) - 1
    async with anyio.create_task_group() as tasks:
        await tasks.start(alone.copies.run)
        await until(lambda: not alone.copies.is_busy)
        assert len(held) == 40
        tasks.cancel_scope.cancel()


async def test_pieces_that_are_not_copied_at_the_end_are_given_up_many_at_a_time() -> None:
    alone = Alone(5000)
    reading = anyio.Event()

    async def share(_: object, __: object) -> dict[int, bool]:
        reading.set()
        await anyio.sleep_forever()
        return {}

    alone.copies._sharing = SimpleNamespace(share=share)
    async with anyio.create_task_group() as tasks:
        await tasks.start(alone.copies.run)
        await reading.wait()
        assert not alone.table.missing
        alone.table.passes = 0
        tasks.cancel_scope.cancel()
    assert alone.table.missing == (1 << 5000) - 1
    assert alone.table.passes < 20


async def test_other_tasks_run_while_pieces_are_begun_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn = ShortTurn()
    monkeypatch.setattr(folder_copies, "LOOP_TURN", turn)
    alone = Alone(2500)
    await alone.run_until_quiet()
    assert alone.table.missing == (1 << 2500) - 1
    assert turn.passed_on >= 2500 + 3  # to begin them one by one, and to give up in three parts


async def test_a_piece_in_two_files_is_begun_once(tmp_path: Path) -> None:
    files = {"a": payload_of(PIECE + 5, 1), "b": payload_of(PIECE, 2)}
    put(tmp_path / "local", files)
    async with node(tmp_path / "node", tmp_path / "local") as shared:
        session = await Session.create(v1(files), shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.SEEDING)
    assert is_right(files, tmp_path / "out")
