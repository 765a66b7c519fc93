"""The storages of the package against their contract, and the contract against broken storages."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from torrent_engine import (
    STORAGE_RULES,
    InfoHash,
    MemoryStorage,
    Storage,
    StorageError,
    StorageFiles,
    StoredFile,
    check_storage,
)
from torrent_engine.base.storage import StorageFactory
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk import file_copy
from torrent_engine.disk.files.file_storage import FileStorage
from torrent_engine.disk.files.open_files import OpenFiles


def file_storage(files: StorageFiles) -> FileStorage:
    """Return the default storage of a torrent with these files."""
    entries = [
        {
            "path": list(file.path),
            "length": file.length_bytes,
            "attr": "" if file.is_stored else "p",
        }
        for file in files.files
    ]
    total = sum(file.length_bytes for file in files.files)
    info: dict[str, Any] = {"name": files.name, "piece length": 16_384, "files": entries}
    info["pieces"] = bytes(20 * -(-total // 16_384))
    metainfo = Metainfo.from_bytes(encode({"info": info}))
    return FileStorage(metainfo, Path(files.save_path), OpenFiles(2), renames={})


@pytest.mark.parametrize("rule", STORAGE_RULES)
@pytest.mark.parametrize("factory", [MemoryStorage, file_storage])
def test_each_storage_of_the_package_keeps_each_rule(
    factory: StorageFactory, rule: str, tmp_path: Path
) -> None:
    made: list[StorageFiles] = []

    def make(files: StorageFiles) -> Storage:
        made.append(files)
        return factory(files)

    STORAGE_RULES[rule](make, str(tmp_path / "work"))
    assert len(made) == 1


def test_the_whole_contract_runs_in_one_call(tmp_path: Path) -> None:
    check_storage(MemoryStorage, str(tmp_path))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == len(STORAGE_RULES)


class Forgets(MemoryStorage):
    def close(self) -> None:
        self._contents.clear()


class KeepsViews(MemoryStorage):
    """Refers to the memory of the engine until the next read."""

    def __init__(self, files: StorageFiles) -> None:
        super().__init__(files)
        self._later: list[Callable[[], None]] = []

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        self._content(file_index)
        write = super().write
        self._later.append(lambda: write(file_index, offset_bytes, views))

    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        while self._later:
            self._later.pop(0)()
        return super().read_now(file_index, offset_bytes, into)


class WritesFirstViewOnly(MemoryStorage):
    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        super().write(file_index, offset_bytes, views[:1])


class RemovesAll(MemoryStorage):
    def remove(self, file_indices: Iterable[int]) -> None:
        super().remove(range(len(self.files.files)))


class ReadsNothingAsZeros(MemoryStorage):
    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        if not super().read_now(file_index, offset_bytes, into):
            into[:] = bytes(len(into))
        return True


class MovesNothing(MemoryStorage):
    def move(self, save_path: str) -> None:
        self._contents.clear()


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Forgets, "after close"),
        (KeepsViews, "keeps a copy"),
        (WritesFirstViewOnly, "one behind the other"),
        (RemovesAll, "leaves the other files"),
        (ReadsNothingAsZeros, "nothing is there"),
        (MovesNothing, "after move"),
    ],
)
def test_a_broken_storage_is_told_which_rule_it_breaks(
    broken: StorageFactory, rule: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_storage(broken, str(tmp_path))


def test_a_move_to_a_taken_name_leaves_all_files_where_they_were(tmp_path: Path) -> None:
    files = (StoredFile(("a",), 5), StoredFile(("b",), 5))
    storage = file_storage(StorageFiles(InfoHash(bytes(20)), "two", str(tmp_path), files))
    storage.open()
    for index in (0, 1):
        storage.write(index, 0, [memoryview(b"12345")])
    storage.close()
    (tmp_path / "other/two").mkdir(parents=True)
    (tmp_path / "other/two/b").write_bytes(b"taken")
    with pytest.raises(StorageError, match="already exists"):
        storage.move(str(tmp_path / "other"))
    assert [(tmp_path / "two" / name).read_bytes() for name in "ab"] == [b"12345"] * 2
    assert [path.name for path in (tmp_path / "other/two").iterdir()] == ["b"]


@pytest.mark.parametrize("name", [".1.moving", ".0.moving"])
def test_a_file_that_is_called_like_an_incomplete_copy_moves_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(file_copy, "_try_move", lambda _: False)  # as between file systems
    files = (StoredFile((name,), 5), StoredFile(("b",), 5), StoredFile(("c",), 5))
    storage = file_storage(StorageFiles(InfoHash(bytes(20)), "two", str(tmp_path), files))
    storage.open()
    for index, data in enumerate((b"first", b"other", b"third")):
        storage.write(index, 0, [memoryview(data)])
    storage.close()
    storage.move(str(tmp_path / "other"))
    moved = {path.name: path.read_bytes() for path in (tmp_path / "other/two").iterdir()}
    assert moved == {name: b"first", "b": b"other", "c": b"third"}
    assert not (tmp_path / "two").exists()
