"""Row F11: what a start does for each file of a torrent is done in threads."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.swarm import finish, reach, resources, seed
from tests.support.torrents import make_torrent, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.files.stamps import FileStamps
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.moves import plan
from torrent_engine.disk.resume import keeper as resume
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.state import files
from torrent_engine.engine.session import relocation
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

FILES = {f"folder {n // 5}/{n}": bytes([n]) * 9_000 for n in range(30)}
WORK = [
    (resume, "new_record"),
    (ResumeKeeper, "_start_from"),
    (FileStamps, "known"),
    (OwnedFiles, "not_made"),
    (FileStamps, "at_start"),
    (FileStamps, "saved"),
    (StorageManager, "adopt_files"),
]


def spy(owner: Any, name: str, seen: dict[str, set[int]], patch: pytest.MonkeyPatch) -> None:
    """Note in which threads a function is called."""
    real = getattr(owner, name)

    def noted(*arguments: Any, **options: Any) -> Any:
        seen.setdefault(name, set()).add(threading.get_ident())
        return real(*arguments, **options)

    patch.setattr(owner, name, noted)


async def test_f11_a_start_does_its_work_on_files_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {}
    for owner, name in WORK:
        if name != "adopt_files":  # by a piece that a check found right, a few files at a time
            spy(owner, name, seen, monkeypatch)
    monkeypatch.setattr(resume, "MANY_STAMPS", -1)
    metainfo, payload = make_torrent(FILES)
    write_files(metainfo, payload, tmp_path / "files")
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "files")
        async with session:
            await reach(session, State.SEEDING)
    assert seen.keys() == {name for _, name in WORK} - {"adopt_files"}
    assert threading.get_ident() not in set().union(*seen.values())


async def test_f11_so_does_a_start_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(FILES)
    write_files(metainfo, payload, tmp_path / "files")
    seen: dict[str, set[int]] = {}
    async with resources(tmp_path) as shared:
        for is_first in (True, False):
            if not is_first:
                for owner, name in WORK:
                    spy(owner, name, seen, monkeypatch)
                monkeypatch.setattr(resume, "MANY_STAMPS", -1)
            config = SessionConfig(seed_time_s=0.0)
            session = await Session.create(
                metainfo, shared, save_path=tmp_path / "files", config=config
            )
            await finish(session)
    assert seen.keys() >= {"_start_from", "known", "adopt_files", "saved"}
    assert threading.get_ident() not in set().union(*seen.values())


async def test_f11_a_renaming_looks_at_the_renamed_file_alone_and_checks_no_torrent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(FILES)
    write_files(metainfo, payload, tmp_path / "files")
    looked: list[tuple[str, ...]] = []
    checked: list[bytes] = []
    look, is_torrent_of = plan._look, files.is_torrent_of

    def looking(folder: Any, parts: Any, *options: Any) -> Any:
        looked.append(parts)
        return look(folder, parts, *options)

    def checking(data: bytes, info_hash: bytes) -> bool:
        checked.append(info_hash)
        return is_torrent_of(data, info_hash)

    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "files")
        async with session:
            await reach(session, State.SEEDING)
            monkeypatch.setattr(plan, "_look", looking)
            monkeypatch.setattr(files, "is_torrent_of", checking)
            path = metainfo.files.path(3)
            await session.rename_file(3, "/".join((*path[:-1], "new")))
            await reach(session, State.SEEDING)
    assert (tmp_path / "files").joinpath(*path[:-1], "new").exists()
    assert {parts for parts in looked if parts in map(metainfo.files.path, range(30))} == {path}
    assert not checked


async def test_f11_a_folder_is_renamed_by_work_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {}
    spy(relocation, "stored_files", seen, monkeypatch)
    metainfo, payload = make_torrent(FILES)
    write_files(metainfo, payload, tmp_path / "files")
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "files")
        async with session:
            await reach(session, State.SEEDING)
            await session.rename_folder("payload/folder 1", "payload/folder new")
            await reach(session, State.SEEDING)
    assert len(list((tmp_path / "files/payload/folder new").iterdir())) == 5
    assert threading.get_ident() not in seen["stored_files"]


@pytest.mark.parametrize("is_listening", [True, False])
async def test_f11_of_files_that_are_complete_those_who_listen_are_told_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_listening: bool
) -> None:
    metainfo, payload = make_torrent({f"{n:03}": bytes([n % 256]) for n in range(600)})
    kinds: list[str] = []
    paths, real = list[int](), StorageManager.path_of
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)

        def path_of(storage: StorageManager, index: int) -> Path:
            if storage.save_path == tmp_path / "out":
                paths.append(index)
            return real(storage, index)

        monkeypatch.setattr(StorageManager, "path_of", path_of)
        if is_listening:
            session.events.subscribe("*", lambda event: kinds.append(event.type))
        async with session:
            await reach(session, State.SEEDING)
    assert paths == (list(range(600)) if is_listening else [])
    wanted = {"piece.completed", "file.completed", "download.finished"}
    expected = ["piece.completed", *["file.completed"] * 600, "download.finished"]
    assert [kind for kind in kinds if kind in wanted] == (expected if is_listening else [])
