"""Stamps in columns: what goes in comes out, and the garbage collector has nothing to look at."""

import gc
import os
from pathlib import Path

import pytest

from torrent_engine.disk.file_stamps import CHANGED_NS, FileStamp, StampBook, stamp_of
from torrent_engine.disk.stamp_table import StampTable

STAMPS = {
    7: FileStamp(7, 0, CHANGED_NS, 2**128 - 1, 2**64 - 1, -1),
    2: FileStamp(2, 2**62, 2**63 - 1, 0, 0, 0),
    2**40: FileStamp(2**40, 1, -(2**62), 5, 6, 1_700_000_000_123_456_789),
}


def test_a_table_is_what_a_dictionary_of_its_stamps_is() -> None:
    table = StampTable(STAMPS.values())
    assert table == STAMPS
    assert list(table) == list(STAMPS)
    assert list(table.values()) == list(STAMPS.values())
    assert len(table) == 3
    assert table.keys() - {7} == {2, 2**40}
    assert table.get(8) is None
    assert 8 not in table
    with pytest.raises(KeyError):
        table[8]


def test_the_last_stamp_of_a_file_counts() -> None:
    later = STAMPS[2]._replace(size_bytes=9)
    table = StampTable([STAMPS[2], STAMPS[7], later])
    assert table == {2: later, 7: STAMPS[7]}


def test_very_many_stamps_are_no_objects_for_the_garbage_collector() -> None:
    gc.collect()
    before = len(gc.get_objects())
    table = StampTable(FileStamp(n, n, n, n, n, n) for n in range(10_000))
    gc.collect()
    assert len(table) == 10_000
    assert len(gc.get_objects()) - before < 100


def test_a_file_of_a_year_beyond_64_bits_has_a_stamp_that_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    year_2400_ns = 13_569_465_600 * 10**9
    try:
        os.utime(path, ns=(year_2400_ns, year_2400_ns))
    except (OSError, OverflowError):
        pytest.skip("the file system has no such time")
    seen = path.stat()
    stamp = stamp_of(0, seen)
    assert StampTable([stamp])[0] == stamp
    book = StampBook(1)
    book.take(stamp)
    book.saved([0])
    book.look(0, seen, book.writes)
    assert not book.fresh
