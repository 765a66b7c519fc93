"""Names that some file systems take for one (row A10); which ones do is injected."""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.helpers import CONFIG
from tests.support.torrents import make_torrent, piece_hashes
from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import COARSEST, EXACT, NameFolding, windows_path
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.filesystem import NameFoldings, probe_names
from torrent_engine.disk.resume.file_names import (
    found_raw_names,
    name_files_as_found,
    recorded_names,
    settle_names,
)
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.state.database import insert_rows
from torrent_engine.disk.state.records import TorrentRecord, torrent_row
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

TWINS = {"Read": b"1", "read": b"2", "\u00e9": b"3", "e\u0301": b"4", "other": b"5"}
AS_THEY_ARE = list(TWINS)
NUMBERED = ["Read", "read.1", "\u00e9", "e\u0301.1", "other"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


def storage_of(
    metainfo: Metainfo, folder: Path, renames: Mapping[int, tuple[str, ...]] | None = None
) -> StorageManager:
    return StorageManager(
        metainfo,
        folder,
        disk_limiter=anyio.CapacityLimiter(1),
        config=CONFIG,
        renames=renames,
    )


def names(storage: StorageManager) -> list[str]:
    return [storage.path_of(index).name for index in range(len(storage.metainfo.files))]


def always(folding: NameFolding) -> NameFoldings:
    return NameFoldings(lambda _: folding)


@pytest.mark.parametrize(
    ("folding", "expected"),
    [
        (EXACT, AS_THEY_ARE),
        (COARSEST, NUMBERED),
        (NameFolding(case=True), ["Read", "read.1", "\u00e9", "e\u0301", "other"]),
        (NameFolding(normal_form=True), ["Read", "read", "\u00e9", "e\u0301.1", "other"]),
    ],
    ids=str,
)
async def test_a10_only_names_that_really_collide_are_changed(
    store: StateStore, tmp_path: Path, folding: NameFolding, expected: list[str]
) -> None:
    metainfo, _ = make_torrent(TWINS)
    storage = storage_of(metainfo, tmp_path / "not yet" / "made")
    await settle_names(storage, store, always(folding))
    assert names(storage) == expected
    assert not (tmp_path / "not yet").exists()


@pytest.mark.parametrize(("first", "later"), [(EXACT, COARSEST), (COARSEST, EXACT)])
async def test_a10_a_torrent_that_was_here_keeps_its_names(
    store: StateStore, tmp_path: Path, first: NameFolding, later: NameFolding
) -> None:
    metainfo, _ = make_torrent(TWINS)
    storage = storage_of(metainfo, tmp_path / "out")
    await settle_names(storage, store, always(first))
    before = names(storage)
    await storage.open()
    keeper = ResumeKeeper(store, storage, metainfo, CONFIG)
    await keeper.plan()
    await keeper.close()
    await storage.close()
    again = storage_of(metainfo, tmp_path / "out")
    await settle_names(again, store, always(later))
    moved = storage_of(metainfo, tmp_path / "elsewhere")
    await settle_names(moved, store, always(later))
    assert names(again) == before
    assert names(moved) == (NUMBERED if later is COARSEST else AS_THEY_ARE)


async def test_a10_names_that_the_user_chose_stay_and_are_kept_clear_of(
    store: StateStore, tmp_path: Path
) -> None:
    metainfo, _ = make_torrent(TWINS)
    storage = storage_of(metainfo, tmp_path, {0: ("payload", "OTHER"), 1: ("payload", "mine")})
    await settle_names(storage, store, always(COARSEST))
    assert names(storage) == ["OTHER", "mine", "\u00e9", "e\u0301.1", "other.1"]


async def test_a10_the_folder_is_not_asked_when_no_names_are_alike(
    store: StateStore, tmp_path: Path
) -> None:
    def never(_: Path) -> NameFolding:
        raise AssertionError

    metainfo, _ = make_torrent({"a": b"1", "b": b"2"})
    storage = storage_of(metainfo, tmp_path)
    await settle_names(storage, store, NameFoldings(never))
    assert names(storage) == ["a", "b"]


async def test_a10_five_hundred_collisions_count_only_where_they_are_real(
    store: StateStore, tmp_path: Path
) -> None:
    many = {f"{number:09b}".translate({48: "x", 49: "X"}): b"1" for number in range(512)}
    metainfo, _ = make_torrent(many)
    storage = storage_of(metainfo, tmp_path)
    await settle_names(storage, store, always(EXACT))
    assert names(storage) == list(many)
    with pytest.raises(MetainfoError, match="500"):
        await settle_names(storage, store, always(COARSEST))


ODD = {"con.txt": b"1", "a:b": b"2", "end. .": b"3", "_con.txt": b"4", "fine": b"5"}
ON_WINDOWS = ["_con.txt", "a_b", "end", "_con.1.txt", "fine"]


@pytest.mark.parametrize(("windows", "expected"), [(False, list(ODD)), (True, ON_WINDOWS)])
async def test_a9_names_that_windows_cannot_have_are_changed_there_only(
    store: StateStore, tmp_path: Path, windows: bool, expected: list[str]
) -> None:
    metainfo, _ = make_torrent(ODD)
    storage = storage_of(metainfo, tmp_path / "out")
    await settle_names(storage, store, NameFoldings(lambda _: EXACT, windows=windows))
    assert names(storage) == expected


async def test_a9_names_the_user_chose_are_those_that_windows_can_have(
    store: StateStore, tmp_path: Path
) -> None:
    metainfo, _ = make_torrent({"a": b"1"})
    storage = storage_of(metainfo, tmp_path, {0: ("payload", "C:", "nul.txt ")})
    await settle_names(storage, store, NameFoldings(lambda _: EXACT, windows=True))
    assert storage.path_of(0) == tmp_path / "payload" / "C_" / "_nul.txt"


async def test_a9_names_of_a_record_that_windows_cannot_have_are_not_looked_at(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, _ = make_torrent({"a": b"1", "c:d": b"2"})
    folder = tmp_path / "out"
    record = TorrentRecord(metainfo.info_hash, "payload", str(folder), metainfo_bytes=b"x")
    store.copies.save(replace(record, renames={0: ("payload", "a:b"), 1: ("payload", "e")}))
    await store.run(lambda db: insert_rows(db, "torrents", [torrent_row(record)]))
    looked = note_looks(monkeypatch)
    storage = storage_of(metainfo, folder)
    await settle_names(storage, store, NameFoldings(lambda _: EXACT, windows=True))
    assert {Path(path).name for path in looked} == {"a", "a_b", "c_d", "e"}


def test_a9_names_of_existing_files_are_those_that_windows_can_have(tmp_path: Path) -> None:
    metainfo, _ = make_torrent({"a:b": b"1", "c": b"2"})
    storage = storage_of(metainfo, tmp_path)
    name_files_as_found(storage, {1: ("payload", "nul")}, windows=True)
    assert names(storage) == ["a_b", "_nul"]


def note_looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that is filled with the paths that are looked at."""
    looked: list[str] = []
    real = os.path.lexists

    def lexists(path: str | os.PathLike[str]) -> bool:
        looked.append(os.fspath(path))
        return real(path)

    monkeypatch.setattr(os.path, "lexists", lexists)
    return looked


def test_a9_the_platform_decides_unless_told_otherwise() -> None:
    path = ("a:b",)
    assert (NameFoldings().usable(path) == path) == (os.name != "nt")
    assert NameFoldings(windows=True).usable(path) == ("a_b",)
    assert NameFoldings(windows=False).usable(path) == path


def test_a10_the_probe_tells_names_apart_here_and_leaves_nothing(tmp_path: Path) -> None:
    if os.uname().sysname != "Linux":
        pytest.skip("other systems' folders may take names for one")
    assert probe_names(tmp_path) == EXACT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("same", "folding"),
    [(str.casefold, NameFolding(case=True)), (lambda _: "", COARSEST)],
    ids=["case", "all"],
)
def test_a10_the_probe_sees_a_folder_that_folds_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same, folding: NameFolding
) -> None:
    def lexists(path: str | os.PathLike[str]) -> bool:
        wanted = Path(path)
        return same(wanted.name) in {same(entry.name) for entry in wanted.parent.iterdir()}

    monkeypatch.setattr(os.path, "lexists", lexists)
    assert probe_names(tmp_path) == folding
    assert list(tmp_path.iterdir()) == []


def test_a10_a_folder_is_asked_once_and_one_that_refuses_again(tmp_path: Path) -> None:
    asked: list[Path] = []

    def probe(folder: Path) -> NameFolding:
        asked.append(folder)
        if len(asked) == 1:
            raise PermissionError
        return COARSEST

    foldings = NameFoldings(probe)
    assert foldings.of(tmp_path / "new") == EXACT
    assert foldings.of(tmp_path / "new") == COARSEST
    assert foldings.of(tmp_path / "other" / "new") == COARSEST
    assert asked == [tmp_path, tmp_path]


async def test_a_renamed_file_keeps_its_name_until_another_is_asked_for(
    store: StateStore, tmp_path: Path
) -> None:
    metainfo, _ = make_torrent({"a": b"1", "b": b"2"})
    seen = []
    for renames in ({0: ("payload", "x")}, None, {0: ("payload", "y")}, None):
        storage = storage_of(metainfo, tmp_path / "out", renames)
        await settle_names(storage, store, always(EXACT))
        await storage.open()
        keeper = ResumeKeeper(store, storage, metainfo, CONFIG)
        await keeper.plan()
        await keeper.close()
        await storage.close()
        seen.append(names(storage))
    assert seen == [["x", "b"], ["x", "b"], ["y", "b"], ["y", "b"]]


def raw_torrent(*paths: list[bytes], name: bytes = b"n") -> Metainfo:
    files = [{"length": 3, "path": path} for path in paths]
    pieces = piece_hashes(b"abc" * len(paths))
    info: dict[str, Any] = {"name": name, "piece length": 16_384, "pieces": pieces, "files": files}
    return Metainfo.from_bytes(encode({"info": info}))


def put(folder: Path, *raw: bytes) -> None:
    path = folder.joinpath(*map(os.fsdecode, raw))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"abc")


RAW_NAMES = {
    "newline": b"a\nb",
    "no_utf8": b"caf\xe9",
    "override": "a\u202eb".encode(),
    "escape": b"a\x1b[2Jb",
}


@pytest.mark.parametrize("raw", RAW_NAMES.values(), ids=RAW_NAMES)
@pytest.mark.parametrize("where", ["file", "folder", "top"])
async def test_a_name_that_is_cleaned_is_used_raw_where_it_is_there(
    store: StateStore, tmp_path: Path, raw: bytes, where: str
) -> None:
    path, top = {"file": ([raw], b"n"), "folder": ([raw, b"f"], b"n"), "top": ([b"f"], raw)}[where]
    metainfo = raw_torrent(path, [b"plain"], name=top)
    cleaned = metainfo.files.path(0)
    assert found_raw_names(metainfo, tmp_path) == {}
    put(tmp_path, top, *path)
    storage = storage_of(metainfo, tmp_path)
    await settle_names(storage, store, always(EXACT))
    assert storage.path_of(0) == tmp_path.joinpath(*map(os.fsdecode, (top, *path)))
    assert storage.path_of(1).name == "plain"
    tmp_path.joinpath(*cleaned).parent.mkdir(parents=True, exist_ok=True)
    tmp_path.joinpath(*cleaned).touch()  # what has the cleaned name goes first
    assert found_raw_names(metainfo, tmp_path) == {}


async def test_a_raw_name_is_not_looked_for_under_the_name_of_another_file(tmp_path: Path) -> None:
    cases = (
        ([b"x\ny"], [b"x_y"]),
        ([b"x_y"], [b"x\ny"]),
        ([b"x\ny", b"1"], [b"x_y", b"2"]),
    )
    for number, paths in enumerate(cases):
        metainfo = raw_torrent(*paths, name=b"%d" % number)
        for path in paths:
            put(tmp_path, metainfo.name.encode(), *path)
        found = found_raw_names(metainfo, tmp_path)
        for index, path in enumerate(paths):
            names = found.get(index, metainfo.files.path(index))
            assert os.fsencode("/".join(names[1:])) == b"/".join(path)


async def test_a6_a_raw_name_that_leads_out_is_never_looked_for(tmp_path: Path) -> None:
    (tmp_path / "save" / "n").mkdir(parents=True)
    put(tmp_path, b"canary")
    metainfo = raw_torrent([b"..", b"..", b"canary"], [b"../../canary"], [b"a\0", b"..", b"\n"])
    assert found_raw_names(metainfo, tmp_path / "save") == {}
    (tmp_path / "save" / "n" / "a\n").mkdir()
    metainfo = raw_torrent([b"a\n", b"..", b"..", b"..", b"canary"])
    for path in found_raw_names(metainfo, tmp_path / "save").values():
        assert ".." not in path


LEADING_OUT = (b"\\\\evil.example\\share\\a", b"C:\\Users\\x", b"..\\..\\secret", b"aux.", b"a:b")


@pytest.mark.parametrize("raw", LEADING_OUT)
@pytest.mark.parametrize("end", [b"", b"\x01", "\u202e".encode(), b"\xff"])
@pytest.mark.parametrize("where", ["file", "folder", "top"])
def test_a9_a_name_that_windows_reads_otherwise_is_never_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, end: bytes, where: str
) -> None:
    raw += end
    path, top = {"file": ([raw], b"n"), "folder": ([raw, b"f"], b"n"), "top": ([b"f"], raw)}[where]
    metainfo = raw_torrent(path, [b"plain\x01"], name=top)
    put(tmp_path, top, *path)
    looked = note_looks(monkeypatch)
    assert found_raw_names(metainfo, tmp_path, windows=True) == {}
    for each in looked:
        below = Path(each).relative_to(tmp_path).parts
        assert windows_path(below) == below
    if end:
        assert 0 in found_raw_names(metainfo, tmp_path, windows=False)


def test_a9_a_raw_name_that_windows_can_have_is_used_there(tmp_path: Path) -> None:
    raw = "a\u202eb".encode()
    metainfo = raw_torrent([b"c:d", raw], [raw])
    put(tmp_path, b"n", raw)
    assert found_raw_names(metainfo, tmp_path, windows=True) == {1: ("n", "a\u202eb")}


async def test_recorded_names_are_those_of_the_save_path(store: StateStore, tmp_path: Path) -> None:
    metainfo, _ = make_torrent(TWINS)
    folder = tmp_path / "out"
    assert recorded_names(store, metainfo.info_hash, folder) == {}
    record = TorrentRecord(metainfo.info_hash, "payload", str(folder), metainfo_bytes=b"x")
    store.copies.save(replace(record, renames={1: ("payload", "read.1")}))
    assert recorded_names(store, metainfo.info_hash, folder) == {1: ("payload", "read.1")}
    assert recorded_names(store, metainfo.info_hash, tmp_path) == {}


async def test_raw_names_survive_a_restart(store: StateStore, tmp_path: Path) -> None:
    metainfo = raw_torrent([b"caf\xe9"])
    put(tmp_path, b"n", b"caf\xe9")
    storage = storage_of(metainfo, tmp_path)
    await settle_names(storage, store, always(EXACT))
    await storage.open()
    keeper = ResumeKeeper(store, storage, metainfo, CONFIG)
    await keeper.plan()
    await keeper.close()
    await storage.close()
    again = storage_of(metainfo, tmp_path)
    await settle_names(again, store, always(EXACT))
    assert os.fsencode(again.path_of(0).name) == b"caf\xe9"


def test_f2_a_probe_that_could_not_be_removed_is_removed_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = Path.unlink, [OSError(5, "Input/output error")]

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if failures:
            raise failures.pop()
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert probe_names(tmp_path) == EXACT
    assert not failures
    assert list(tmp_path.iterdir()) == []


async def test_f6_a_file_has_the_name_of_the_copy_where_the_database_is_older(
    tmp_path: Path, store: StateStore
) -> None:
    metainfo, _ = make_torrent({"a": b"1", "b": b"2", "c": b"3"})
    folder = tmp_path / "out"
    renames = {0: ("payload", "a2"), 1: ("payload", "b2"), 2: ("..", "c2")}
    record = TorrentRecord(metainfo.info_hash, "payload", str(folder), metainfo_bytes=b"x")
    store.copies.save(replace(record, renames=renames))
    await store.run(lambda db: insert_rows(db, "torrents", [torrent_row(record)]))
    (folder / "payload").mkdir(parents=True)
    for name in ("payload/a2", "payload/b", "payload/b2", "../c2"):  # b is where it was
        (folder / name).write_bytes(b"1")
    storage = storage_of(metainfo, folder)
    await settle_names(storage, store, always(EXACT))
    assert names(storage) == ["a2", "b", "c"]
