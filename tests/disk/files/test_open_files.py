import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torrent_engine.disk.files.open_files import OPEN_TIMEOUT_S, FileKey, OpenFiles


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def opener(path: Path):
    return lambda: os.open(path, os.O_RDWR | os.O_CREAT)


def test_the_least_recently_used_file_is_closed_first(tmp_path: Path) -> None:
    pool = OpenFiles(2)
    files = []
    for index in range(2):
        file = pool.open(FileKey(1, index), opener(tmp_path / str(index)), writable=True)
        pool.give_back(file)
        files.append(file)
    again = pool.borrow(FileKey(1, 0), writable=False)
    assert again is files[0]
    pool.give_back(again)
    pool.give_back(pool.open(FileKey(2, 0), opener(tmp_path / "2"), writable=True))
    assert [is_open(file.descriptor) for file in files] == [True, False]
    assert len(pool) == 2
    assert pool.borrow(FileKey(1, 1), writable=False) is None
    pool.forget_owner(1)
    pool.forget_owner(2)
    assert len(pool) == 0


def test_a_file_in_use_is_closed_only_when_it_is_given_back(tmp_path: Path) -> None:
    pool = OpenFiles(1)
    file = pool.open(FileKey(1, 0), opener(tmp_path / "a"), writable=True)
    pool.forget([FileKey(1, 0)])
    assert is_open(file.descriptor)
    assert not pool.borrow_again(file)
    pool.give_back(file)
    assert not is_open(file.descriptor)


def test_a_file_open_for_reading_is_opened_again_for_writing(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    pool = OpenFiles()
    key = FileKey(pool.new_owner(), 0)
    read = pool.open(key, lambda: os.open(tmp_path / "a", os.O_RDONLY), writable=False)
    assert pool.borrow(key, writable=True) is None
    written = pool.open(key, opener(tmp_path / "a"), writable=True)
    assert is_open(read.descriptor)  # somebody still reads it
    pool.give_back(read)
    assert not is_open(read.descriptor)
    assert pool.borrow(key, writable=False) is written
    pool.give_back(written)
    pool.give_back(written)
    pool.forget_owner(key.owner)


def test_f9_idle_files_are_closed_when_descriptors_run_out(tmp_path: Path) -> None:
    pool, tries = OpenFiles(), []
    pool.give_back(pool.open(FileKey(1, 0), opener(tmp_path / "a"), writable=True))

    def scarce() -> int:
        tries.append(len(pool))
        if len(tries) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return os.open(tmp_path / "b", os.O_RDWR | os.O_CREAT)

    file = pool.open(FileKey(1, 1), scarce, writable=True)
    assert tries == [1, 0]
    pool.give_back(file)
    pool.forget_owner(1)


def test_f9_without_idle_files_the_error_stays(tmp_path: Path) -> None:
    def never() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    times = iter(range(100))
    pool = OpenFiles(clock=lambda: next(times), sleep=lambda _seconds: None)
    with pytest.raises(OSError, match="Too many"):
        pool.open(FileKey(1, 0), never, writable=True)
    assert next(times) > OPEN_TIMEOUT_S


def test_f9_a_file_waits_for_a_descriptor_that_others_give_back(tmp_path: Path) -> None:
    pauses: list[float] = []

    def scarce() -> int:
        if len(pauses) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)

    pool = OpenFiles(clock=lambda: 0.0, sleep=pauses.append)
    pool.give_back(pool.open(FileKey(1, 0), scarce, writable=True))
    assert len(pauses) == 3
    assert len(pool) == 1
    pool.forget_owner(1)


F9_PROGRAM = """
import os, resource, sys
from torrent_engine.disk.files.open_files import FileKey, OpenFiles
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
pool = OpenFiles(40)
for index in range(100):
    path = os.path.join(sys.argv[1], str(index))
    opener = lambda: os.open(path, os.O_RDWR | os.O_CREAT)
    file = pool.open(FileKey(1, index), opener, writable=True)
    os.write(file.descriptor, b"x")
    pool.give_back(file)
print(len(os.listdir(sys.argv[1])))
"""


def test_f9_a_low_limit_of_the_process_is_lived_with(tmp_path: Path) -> None:
    command = [sys.executable, "-c", F9_PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "100\n", "")
