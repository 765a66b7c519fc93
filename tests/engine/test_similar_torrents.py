"""Files of similar torrents are copied, and not downloaded, if the user wants that (BEP 38)."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager_config
from tests.support.swarm import reach, resources, seed
from tests.support.torrents import info_dict, payload_of, write_files
from tests.support.v2_torrents import hybrid_info, laid_out, v2_info
from torrent_engine.base.config import DiskConfig, DormancyConfig, SessionConfig
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.local_files import LocalFile, read_local
from torrent_engine.engine.content import folder_copies
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.idle import LOOK_AGAIN_S
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PIECE = 32 * 1024
ONE, TWO = payload_of(9 * PIECE - 100, 1), payload_of(4 * PIECE + 1, 2)
OLD = {"a": payload_of(50, 3), "old/one": ONE, "two": TWO}
NEW = {"new/one": ONE, "rest": payload_of(3 * PIECE, 4), "two": TWO}
FETCHED = len(NEW["rest"])
LONG_AGO_S = 1_600_000_000
ROOT = Path(__file__).parents[2]
Make = Callable[..., Metainfo]


def v1(files: Mapping[str, bytes], piece_bytes: int = PIECE, **hints: Any) -> Metainfo:
    info, _ = info_dict(files, piece_bytes=piece_bytes)
    return Metainfo.from_bytes(encode({"info": {**info, **hints}}))


def v2(files: Mapping[str, bytes], piece_bytes: int = PIECE, **hints: Any) -> Metainfo:
    info, layers = v2_info(files, piece_bytes=piece_bytes)
    return Metainfo.from_bytes(encode({"info": {**info, **hints}, "piece layers": layers}))


def hybrid(files: Mapping[str, bytes], piece_bytes: int = PIECE, **hints: Any) -> Metainfo:
    info, layers = hybrid_info(files, piece_bytes=piece_bytes)
    return Metainfo.from_bytes(encode({"info": {**info, **hints}, "piece layers": layers}))


def put(metainfo: Metainfo, files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a torrent, which rest since long ago."""
    write_files(metainfo, payload_for(metainfo, files), folder)
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def payload_for(metainfo: Metainfo, files: Mapping[str, bytes]) -> bytes:
    return b"".join(files.values()) if metainfo.v2 is None else laid_out(metainfo, files)


def is_right(files: Mapping[str, bytes], folder: Path) -> bool:
    return all((folder / "payload" / name).read_bytes() == data for name, data in files.items())


@asynccontextmanager
async def node(folder: Path, *, is_wanted: bool = True) -> AsyncIterator[SharedResources]:
    disk = DiskConfig(state_reserve_bytes=0, similar_torrents=is_wanted)
    async with resources(folder, disk=disk) as opened:
        yield opened


async def once_complete(shared: SharedResources, metainfo: Metainfo, folder: Path) -> None:
    """Have the database know a torrent that is complete and does not run."""
    async with await Session.create(metainfo, shared, save_path=folder) as session:
        await reach(session, State.SEEDING)


@pytest.mark.parametrize(
    ("old", "new", "hint", "piece_bytes"),
    [
        (v1, v1, "similar", PIECE),
        (v1, v1, "collections", 2 * PIECE),
        (v1, v2, "collections", PIECE),
        (v2, v1, "similar", 2 * PIECE),
        (hybrid, v1, "similar", PIECE),
        (v1, hybrid, "similar", 2 * PIECE),
        (v2, v2, "collections", 2 * PIECE),
    ],
    ids=["v1-v1", "v1-v1-long", "v1-v2", "v2-v1-long", "hybrid-v1", "v1-hybrid-long", "v2-v2-long"],
)
async def test_bep38_files_of_a_similar_torrent_are_not_downloaded(
    old: Make, new: Make, hint: str, piece_bytes: int, tmp_path: Path
) -> None:
    first = old(OLD, collections=["many"])
    hints = {"similar": [first.info_hash]} if hint == "similar" else {"collections": ["many"]}
    second = new(NEW, piece_bytes, **hints)
    put(first, OLD, tmp_path / "old")
    payload = payload_for(second, NEW)
    async with (
        node(tmp_path / "node") as shared,
        seed(tmp_path / "seed", second, payload) as (theirs, address),
    ):
        await once_complete(shared, first, tmp_path / "old")
        config = SessionConfig(peers=(address,))
        session = await Session.create(second, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
        sent = theirs.stats().uploaded_bytes
    assert is_right(NEW, tmp_path / "out")
    assert is_right(OLD, tmp_path / "old")
    assert FETCHED <= sent <= FETCHED + 3 * piece_bytes  # pieces that hold two files come whole


async def test_bep38_without_the_option_files_of_other_torrents_are_not_looked_at(
    tmp_path: Path,
) -> None:
    first = v1(OLD)
    second = v1(NEW, similar=[first.info_hash])
    put(first, OLD, tmp_path / "old")
    async with node(tmp_path / "node", is_wanted=False) as shared:
        await once_complete(shared, first, tmp_path / "old")
        async with await Session.create(second, shared, save_path=tmp_path / "out") as session:
            await reach(session, State.DOWNLOADING)
            await anyio.wait_all_tasks_blocked()
            assert session.stats().completed_bytes == 0


async def test_f3_a_file_that_was_changed_since_is_downloaded(tmp_path: Path) -> None:
    first = v1(OLD)
    second = v1(NEW, similar=[first.info_hash])
    put(first, OLD, tmp_path / "old")
    async with (
        node(tmp_path / "node") as shared,
        seed(tmp_path / "seed", second, payload_for(second, NEW)) as (theirs, address),
    ):
        await once_complete(shared, first, tmp_path / "old")
        changed = tmp_path / "old/payload/old/one"
        changed.write_bytes(bytes(len(ONE)))
        os.utime(changed, (LONG_AGO_S, LONG_AGO_S))
        config = SessionConfig(peers=(address,))
        session = await Session.create(second, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
        sent = theirs.stats().uploaded_bytes
    assert is_right(NEW, tmp_path / "out")
    assert sent >= FETCHED + len(ONE)
    assert changed.read_bytes() == bytes(len(ONE))


async def test_bep38_a_manager_uses_the_files_of_its_torrents(tmp_path: Path) -> None:
    first = v1(OLD)
    second = v1({name: NEW[name] for name in ("new/one", "two")}, similar=[first.info_hash])
    put(first, OLD, tmp_path / "old")
    config = manager_config(tmp_path)
    disk = replace(config.shared.disk, similar_torrents=True)
    async with TorrentManager(replace(config, shared=replace(config.shared, disk=disk))) as many:
        source = await many.add_torrent(first, save_path=tmp_path / "old")
        await reach(source, State.SEEDING)
        session = await many.add_torrent(second, save_path=tmp_path / "out")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
    assert (tmp_path / "out/payload/new/one").read_bytes() == ONE


async def test_bep38_a_manager_copies_to_the_end_what_a_folder_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torrent without peers has work while it copies, however long that takes."""
    metainfo = v1({"one": ONE, "two": TWO})
    (tmp_path / "local").mkdir()
    for name, data in (("one", ONE), ("two", TWO)):
        path = tmp_path / "local" / f"other {name}"
        path.write_bytes(data)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))

    def read_slowly(file: LocalFile, offset_bytes: int, into: memoryview) -> None:
        time.sleep(2 * LOOK_AGAIN_S / metainfo.piece_count)
        read_local(file, offset_bytes, into)

    monkeypatch.setattr(folder_copies, "read_local", read_slowly)
    config = manager_config(tmp_path, dormancy=DormancyConfig(after_s=0.01))
    disk = replace(config.shared.disk, local_data=(str(tmp_path / "local"),))
    async with TorrentManager(replace(config, shared=replace(config.shared, disk=disk))) as many:
        session = await many.add_torrent(metainfo, save_path=tmp_path / "out")
        await reach(session, State.SEEDING)
        assert session.stats().downloaded_bytes == 0
    assert is_right({"one": ONE, "two": TWO}, tmp_path / "out")


def download(torrent: Path, folder: Path, *more: str) -> int:
    """Run the command until it ends; without a peer it gives up."""
    command = [sys.executable, "-m", "torrent_engine", "download", str(torrent), "-d", str(folder)]
    options = ["--state-dir", str(folder.parent / "state"), "--port", "0", "--stop-timeout", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run([*command, *options, *more], env=environment, timeout=120, check=False)
    return done.returncode


def test_bep38_the_command_copies_what_an_earlier_download_has(tmp_path: Path) -> None:
    first = v1(OLD)
    second = v1({"new/one": ONE, "two": TWO}, similar=[first.info_hash])
    for name, metainfo in (("first", first), ("second", second)):
        (tmp_path / f"{name}.torrent").write_bytes(metainfo.source)
    put(first, OLD, tmp_path / "old")
    assert download(tmp_path / "first.torrent", tmp_path / "old") == 0
    assert download(tmp_path / "second.torrent", tmp_path / "out") != 0
    assert download(tmp_path / "second.torrent", tmp_path / "out", "--use-similar") == 0
    assert is_right({"new/one": ONE, "two": TWO}, tmp_path / "out")
    assert is_right(OLD, tmp_path / "old")
