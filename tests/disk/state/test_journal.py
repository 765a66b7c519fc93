import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from torrent_engine.disk.file_stamps import NotedFiles
from torrent_engine.disk.state.journal import WriteJournal


def reopened(path: Path) -> set[int]:
    journal = WriteJournal(path)
    found = journal.open()
    journal.close()
    return found


def test_f4_what_is_noted_and_not_settled_is_found_again(tmp_path: Path) -> None:
    journal = WriteJournal(tmp_path / "j")
    assert journal.open() == set()
    journal.note([5, 7, 9])
    journal.note([7, 100_000])
    assert reopened(tmp_path / "j") == {5, 7, 9, 100_000}  # without a close: as after a kill
    journal.settle([5, 9])
    journal.note([1])
    journal.close()
    assert reopened(tmp_path / "j") == {1, 7, 100_000}
    assert reopened(tmp_path / "j") == {1, 7, 100_000}


def test_f4_entries_of_more_than_a_page_are_not_moved(tmp_path: Path) -> None:
    journal = WriteJournal(tmp_path / "j")
    journal.open()
    journal.note(range(3_000))
    before = (tmp_path / "j").read_bytes()
    journal.settle(range(1_000))
    assert (tmp_path / "j").read_bytes() == before
    journal.close()
    with (tmp_path / "j").open("ab") as file:
        file.write(b"torn"[:3])
    journal.open()
    journal.note([5_000])
    assert reopened(tmp_path / "j") == {*range(3_000), 5_000}
    journal.settle([*range(2_999), 5_000])
    assert (tmp_path / "j").stat().st_size == 4
    journal.close()


@pytest.mark.parametrize("call", ["fstat", "lseek"])
def test_f8_a_journal_that_cannot_be_opened_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    opened: list[int] = []
    open_file = os.open

    def opening(*arguments, **options) -> int:
        opened.append(open_file(*arguments, **options))
        return opened[-1]

    def fail(*_arguments) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opening)
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            WriteJournal(tmp_path / "j").open()
    assert len(opened) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_torn_entry_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"\5\0\0\0\7\0")
    assert reopened(tmp_path / "j") == {5}


def test_f1_a_journal_that_cannot_be_written_only_warns(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    journal = WriteJournal(tmp_path / "j")
    journal.open()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    journal.note([1])
    monkeypatch.undo()
    journal.note([2])
    assert "No space left" in caplog.text
    journal.settle([1])
    journal.close()
    journal.note([3])
    assert reopened(tmp_path / "j") == {2}


class ShortWrites:
    """Stands in for os.write: each of the next calls writes so many bytes, or with None fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.next: list[int | None] = []
        self.calls = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.calls += 1
        room = self.next.pop(0) if self.next else len(data)
        if room is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data[:room])


def opened(path: Path) -> WriteJournal:
    journal = WriteJournal(path)
    journal.open()
    return journal


def reopened_files(path: Path) -> tuple[set[int], Mapping[int, int]]:
    journal = WriteJournal(path)
    found = (journal.open(), journal.files().inodes)
    journal.close()
    return found


@pytest.mark.parametrize("room", [0, 1, 3, 4, 6, 8, 11, None])
def test_f1_what_a_short_write_left_out_is_written_with_the_next_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int | None
) -> None:
    writes, journal = ShortWrites(monkeypatch), opened(tmp_path / "j")
    journal.note([1])
    writes.next = [room]
    journal.note([2, 3, 4])
    assert (tmp_path / "j").stat().st_size == 4 + (room or 0) // 4 * 4
    before = writes.calls
    journal.note([2])  # pending, but perhaps not in the file
    assert writes.calls == before + 1
    assert (tmp_path / "j").stat().st_size == 16
    journal.note([2])
    assert writes.calls == before + 1
    journal.note_file(3, 33)
    assert reopened_files(tmp_path / "j") == ({1, 2, 3, 4}, {3: 33})
    journal.close()


@pytest.mark.parametrize("room", [0, 3, 4, 8, 11, None])
def test_f1_a_file_that_a_short_write_left_out_is_written_with_the_next_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int | None
) -> None:
    writes, journal = ShortWrites(monkeypatch), opened(tmp_path / "j")
    journal.note([1])
    writes.next = [room]
    journal.note_file(3, 33)
    assert (tmp_path / "j").stat().st_size == 4
    assert journal.files().inodes == {3: 33}
    journal.note_file(3, 33)
    journal.note([2])
    assert reopened_files(tmp_path / "j") == ({1, 2}, {3: 33})
    journal.close()


@pytest.mark.parametrize("room", [0, 3, 4, 6, 8, 15, None])
@pytest.mark.parametrize("again", [[], [5], [None]])
def test_f1_a_short_write_as_entries_are_settled_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int | None, again: list[int | None]
) -> None:
    writes, journal = ShortWrites(monkeypatch), opened(tmp_path / "j")
    journal.note([1, 2, 3])
    journal.note_file(3, 33)
    writes.next = [room, *again]
    journal.settle([1])
    journal.note([4])
    journal.note([5])
    pieces, files = reopened_files(tmp_path / "j")
    assert (pieces - {1}, files) == ({2, 3, 4, 5}, {3: 33})
    journal.close()


def test_f1_what_could_not_be_written_is_tried_again_at_the_end_but_not_what_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, journal = ShortWrites(monkeypatch), opened(tmp_path / "j")
    writes.next = [None] * 4
    journal.note([1, 2])
    journal.note_file(3, 33)
    journal.note_file(4, 44)
    journal.settle([1], [3])
    assert (tmp_path / "j").stat().st_size == 0
    journal.close()
    assert reopened_files(tmp_path / "j") == ({2}, {4: 44})


def test_f1_entries_after_a_torn_one_of_a_long_journal_are_read_right(tmp_path: Path) -> None:
    whole = b"".join(struct.pack("<I", piece) for piece in range(2_000))
    (tmp_path / "j").write_bytes(whole + struct.pack("<II", 0b11 << 30 | 8, 88_888))
    journal = WriteJournal(tmp_path / "j")
    journal.open()
    journal.note([5_000])
    journal.close()
    assert reopened_files(tmp_path / "j") == ({*range(2_000), 5_000}, {})


def test_files_are_remembered_beside_pieces_until_they_are_settled(tmp_path: Path) -> None:
    journal = WriteJournal(tmp_path / "journal")
    journal.open()
    journal.note([3])
    journal.note_file(3, 33)
    journal.note([4])
    journal.note_file(7, 1 << 64 | 77)  # ReFS
    journal.note_file(7, 1 << 64 | 77)
    journal.close()
    assert (tmp_path / "journal").stat().st_size == 2 * 4 + 2 * 12
    with (tmp_path / "journal").open("ab") as file:
        file.write(struct.pack("<II", 0b11 << 30 | 8, 88))  # torn
    again = WriteJournal(tmp_path / "journal")
    assert again.open() == {3, 4}
    assert again.files().inodes == {3: 33, 7: 77}
    again.settle([3], [7])
    again.close()
    last = WriteJournal(tmp_path / "journal")
    assert (last.open(), last.files().inodes) == ({4}, {3: 33})
    last.close()


@pytest.mark.parametrize(
    ("inode", "born_ns", "is_it"),
    [(7, 0, True), (8, 0, False), (7, 100, True), (7, 101, False), (1 << 64 | 7, 0, True)],
)
def test_a_noted_file_is_known_by_its_inode_and_birth(
    inode: int, born_ns: int, is_it: bool
) -> None:
    noted = NotedFiles({3: 7}, time_ns=100)
    assert noted.has(3, inode, lambda time_ns: born_ns > time_ns) is is_it
    assert not noted.has(4, inode, lambda _: False)
    assert NotedFiles({3: 7}).has(3, 7, lambda _: True)
