"""Contract of a storage as checks that any implementation can run in its own tests."""

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.base.storage import (
    ImmediateStorage,
    Storage,
    StorageFactory,
    StorageFiles,
    StoredFile,
)

_KIB: Final = 1024
_FILES: Final = (
    StoredFile(("folder", "a"), 100 * _KIB + 7),
    StoredFile(("folder", "empty"), 0),
    StoredFile(("folder", "in", "b"), 1),
    StoredFile((".pad", "5"), 5, is_stored=False),
    StoredFile(("c",), 3 * _KIB),
)
_LARGE: Final = 0
_SMALL: Final = 4
_THREADS: Final = 4


def check_storage(factory: StorageFactory, save_path: str) -> None:
    """Raise AssertionError, with the rule in words, if a storage breaks its contract.

    Makes several storages of five small files in empty folders below ``save_path``.
    """
    for name, rule in STORAGE_RULES.items():
        rule(factory, str(Path(save_path) / name))


def _made(factory: StorageFactory, save_path: str) -> Storage:
    Path(save_path).mkdir(parents=True)
    storage = factory(StorageFiles(InfoHash(bytes(20)), "folder", save_path, _FILES))
    storage.open()
    return storage


def _content(file_index: int) -> bytes:
    known = random.Random(file_index)  # noqa: S311 - the same at each call
    return known.randbytes(_FILES[file_index].length_bytes)


def _write(storage: Storage, index: int, start: int, end: int) -> None:
    storage.write(index, start, [memoryview(_content(index))[start:end]])


def _write_all(storage: Storage) -> None:
    for index, file in enumerate(_FILES):
        if file.length_bytes and file.is_stored:
            _write(storage, index, 0, file.length_bytes)


def _read(storage: Storage, index: int, start: int, length: int) -> bytes:
    into = memoryview(bytearray(b"\xff" * length))
    storage.read(index, start, into)
    return bytes(into)


def _expect(is_kept: object, rule: str) -> None:
    if not is_kept:
        raise AssertionError(rule)


def _expect_all(storage: Storage, when: str) -> None:
    for index, file in enumerate(_FILES):
        if file.length_bytes and file.is_stored:
            _expect(storage.size(index) == file.length_bytes, f"size() is the length {when}")
            read = _read(storage, index, 0, file.length_bytes)
            _expect(read == _content(index), f"read() returns what was written {when}")


# -- rules ------------------------------------------------------------------------------------


def _starts_empty(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _expect(not any(map(storage.size, range(len(_FILES)))), "size() is 0 before the first write")
    try:
        _read(storage, _LARGE, 0, 1)
    except (OSError, StorageError):
        return
    finally:
        storage.close()
    raise AssertionError("read() of a file of which nothing is there is an OSError or StorageError")


def _keeps_what_is_written(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _write_all(storage)
    _expect_all(storage, "after it was written")
    storage.sync()
    _expect_all(storage, "after sync()")
    content = _content(_LARGE)
    for start, length in ((0, 1), (5, 17), (16 * _KIB, 16 * _KIB), (len(content) - 1, 1)):
        read = _read(storage, _LARGE, start, length)
        _expect(read == content[start : start + length], "read() fills from the offset asked for")
    storage.close()


def _joins_views(factory: StorageFactory, save_path: str) -> None:
    storage, content = _made(factory, save_path), bytearray(_content(_LARGE))
    view, views, at = memoryview(content), list[memoryview](), 1_000
    for length in (1, 0, 4_000, 13, 16 * _KIB):
        views.append(view[at : at + length])
        at += length
    storage.write(_LARGE, 1_000, views)
    expected = bytes(view[1_000:at])
    content[:] = bytes(len(content))  # the engine uses the memory again
    read = _read(storage, _LARGE, 1_000, at - 1_000)
    _expect(read == expected, "write() keeps a copy of all its views, one behind the other")
    storage.close()


def _reads_gaps_as_zeros(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _write(storage, _LARGE, 50 * _KIB, 51 * _KIB)
    _expect(storage.size(_LARGE) >= 51 * _KIB, "size() counts what lies before a write")
    _expect(not any(_read(storage, _LARGE, 0, 50 * _KIB)), "what was not written reads as zeros")
    _write(storage, _LARGE, 0, 50 * _KIB)
    read = _read(storage, _LARGE, 0, 51 * _KIB)
    _expect(read == _content(_LARGE)[: 51 * _KIB], "writes in any order add up")
    storage.close()


def _opens_again(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    for round_ in range(3):
        if not round_:
            _write_all(storage)
        storage.close()
        storage.open()
        _expect_all(storage, "after close() and open()")
    storage.close()


def _moves(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _write_all(storage)
    storage.close()
    target = Path(save_path).with_name("moved to")
    storage.move(str(target))
    storage.open()
    _expect_all(storage, "after move()")
    _write(storage, _SMALL, 0, 10)
    storage.close()


def _removes(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _write_all(storage)
    storage.remove([_SMALL])
    _expect(not storage.size(_SMALL), "size() is 0 after remove()")
    _expect(storage.size(_LARGE), "remove() leaves the other files")
    storage.close()
    storage.open()
    _expect(not storage.size(_SMALL), "what was removed does not come back with open()")
    storage.remove([_LARGE, _SMALL])
    _expect(not storage.size(_LARGE), "remove() passes over files of which nothing is there")
    storage.close()


def _serves_threads(factory: StorageFactory, save_path: str) -> None:
    storage, step = _made(factory, save_path), 4 * _KIB
    faults: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for start in range(first * step, 100 * _KIB, _THREADS * step):
                _write(storage, _LARGE, start, start + step)
                read = _read(storage, _LARGE, start, step)
                _expect(read == _content(_LARGE)[start : start + step], "threads do not mix")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storage.close()
    if faults:
        raise AssertionError("read() and write() are safe in several threads") from faults[0]


def _reads_now_or_not(factory: StorageFactory, save_path: str) -> None:
    storage = _made(factory, save_path)
    _write_all(storage)
    if isinstance(storage, ImmediateStorage):
        into = memoryview(bytearray(_KIB))
        if storage.read_now(_SMALL, _KIB, into):
            expected = _content(_SMALL)[_KIB : 2 * _KIB]
            _expect(bytes(into) == expected, "read_now() fills as read() does, or returns False")
    storage.close()


_RULES: Final[Sequence[Callable[[StorageFactory, str], None]]] = (
    _starts_empty,
    _keeps_what_is_written,
    _joins_views,
    _reads_gaps_as_zeros,
    _opens_again,
    _moves,
    _removes,
    _serves_threads,
    _reads_now_or_not,
)
STORAGE_RULES: Final = {rule.__name__.removeprefix("_"): rule for rule in _RULES}
"""Each rule by its name, for tests that run one at a time: ``rule(factory, empty_folder)``."""
