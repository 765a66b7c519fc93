import os
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from torrent_engine.disk import positional
from torrent_engine.disk.positional import IOV_MAX, read_at, split_views, write_at


def open_new(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT)


def views_of(data: bytes, cuts: int, random: Random) -> list[memoryview]:
    places = sorted(random.randrange(len(data) + 1) for _ in range(cuts))
    edges = [0, *places, len(data)]
    return [memoryview(data)[a:b] for a, b in pairwise(edges)]


@pytest.fixture(params=["vectored", "seek"])
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "seek":
        monkeypatch.setattr(positional, "HAS_VECTORED_IO", False)


@pytest.mark.usefixtures("any_system")
@pytest.mark.parametrize("cuts", [0, 3, IOV_MAX - 1, 3 * IOV_MAX + 7])
def test_views_are_written_in_order_however_many(tmp_path: Path, cuts: int) -> None:
    random = Random(cuts)
    data = random.randbytes(50_000)
    descriptor = open_new(tmp_path / "f")

    write_at(descriptor, views_of(data, cuts, random), 11)

    found = bytearray(len(data))
    assert read_at(descriptor, memoryview(found), 11) == len(data)
    os.close(descriptor)
    assert found == data


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(1)
    real = os.pwritev

    def stingy(descriptor: int, views: list[memoryview], offset: int) -> int:
        data = b"".join(views)[: random.randrange(1, 700)]
        return real(descriptor, [data], offset)

    monkeypatch.setattr(os, "pwritev", stingy)
    data = random.randbytes(20_000)
    descriptor = open_new(tmp_path / "f")
    write_at(descriptor, views_of(data, 40, random), 5)
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes()[5:] == data


def test_short_reads_are_continued_and_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 4
    (tmp_path / "f").write_bytes(data)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: real(fd, [views[0][:100]], at))
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    found = bytearray(2000)
    assert read_at(descriptor, memoryview(found), 24) == 1000
    os.close(descriptor)
    assert found[:1000] == data[24:]


def test_split_views_shares_out_every_byte() -> None:
    random = Random(2)
    for _ in range(100):
        data = random.randbytes(random.randrange(1, 200))
        edges = [0, *sorted(random.sample(range(1, len(data)), min(4, len(data) - 1))), len(data)]
        lengths = [b - a for a, b in pairwise(edges)]
        shares = split_views(views_of(data, 5, random), lengths)
        assert [sum(map(len, share)) for share in shares] == lengths
        assert b"".join(b"".join(share) for share in shares) == data
