"""What the database remembers of the files that were there before the torrent was."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.swarm import files_below
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.history import Earlier, new_record
from torrent_engine.disk.state.records import Progress, TorrentRecord

METAINFO, PAYLOAD = make_torrent(
    {f"{number}.bin": payload_of(10_000, seed=number) for number in range(10)},
    piece_bytes=16 * 1024,
)


def storage_of(metainfo: Metainfo, folder: Path) -> StorageManager:
    return StorageManager(
        metainfo, folder, disk_limiter=anyio.CapacityLimiter(1), config=DiskConfig()
    )


@given(found=st.sets(st.integers(0, 9)), others=st.dictionaries(st.text(), st.integers()))
def test_what_was_found_is_told_by_the_record_that_notes_it(
    found: set[int], others: dict[str, int]
) -> None:
    others.pop("found_files", None)
    storage = storage_of(METAINFO, Path("/nowhere"))
    first = new_record(storage, None, ())
    second = new_record(storage, replace(first, settings=others), found)
    assert Earlier.from_record(first, METAINFO) == Earlier()
    assert Earlier.from_record(second, METAINFO).found_files == found
    assert {**others, **second.settings} == second.settings
    third = new_record(storage, second, ())  # elsewhere, where nothing is
    assert (third.settings, third.added_time_s) == (others, first.added_time_s)


STRANGE: dict[str, Any] = {
    "no_text": 5,
    "no_number": "xyz",
    "empty": "",
    "negative": "-3",
    "endless": "f" * 1_000_001,
    "none": None,
    "a_list": [1, 2],
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_set_of_files_is_none(value: object) -> None:
    record = TorrentRecord(METAINFO.info_hash, "x", "/x", settings={"found_files": value})
    assert Earlier.from_record(record, METAINFO) == Earlier()


@given(st.text(max_size=40) | st.integers() | st.binary(max_size=20).map(bytes.hex))
def test_whatever_stands_there_only_files_of_the_torrent_come_out(value: object) -> None:
    record = TorrentRecord(METAINFO.info_hash, "x", "/x", settings={"found_files": value})
    assert Earlier.from_record(record, METAINFO).found_files <= set(range(10))


def test_pieces_that_may_have_been_there_count_and_those_of_another_shape_do_not() -> None:
    progress = Progress(7, b"\x80", b"\x00", b"\x40", "boot", is_clean=False)
    record = TorrentRecord(METAINFO.info_hash, "x", "/x", progress=progress)
    assert Earlier.from_record(record, METAINFO).had == 0b11
    other = replace(record, progress=replace(progress, piece_count=8))
    assert Earlier.from_record(other, METAINFO).had == 0


@pytest.mark.anyio
async def test_files_to_keep_stay_and_so_do_their_folders(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path)
    storage = storage_of(METAINFO, tmp_path)
    await storage.open(create=True)
    storage.adopt_files(range(10))
    keep = set(random.Random(1).sample(range(10), 3))
    await storage.delete_files(keep)
    left = {entry.path for entry in METAINFO.files if tmp_path.joinpath(*entry.path).exists()}
    assert left == {METAINFO.files[index].path for index in keep}
    await storage.delete_files()
    assert not files_below(tmp_path)
    await storage.close()
