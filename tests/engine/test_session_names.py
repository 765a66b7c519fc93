"""Downloads to where two names of the torrent are one (row A10), or cannot be had (row A9)."""

from functools import partial
from pathlib import Path

import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import download, files_below, resources
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.codec.paths import COARSEST, EXACT, NameFolding
from torrent_engine.disk.filesystem import NameFoldings

pytestmark = pytest.mark.anyio

FILES = {"A.bin": payload_of(40_000, 1), "a.bin": payload_of(40_000, 2)}


def _answer(folding: NameFolding, _: Path) -> NameFolding:
    return folding


def below(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


@pytest.mark.parametrize(
    ("folding", "second", "other"),
    [(COARSEST, "a.1.bin", EXACT), (EXACT, "a.bin", COARSEST)],
    ids=["folds", "tells apart"],
)
async def test_a10_both_files_arrive_and_a_later_run_finds_them(
    tmp_path: Path, folding: NameFolding, second: str, other: NameFolding
) -> None:
    metainfo, payload = make_torrent(FILES)
    script = Script(metainfo, payload)
    expected = {"payload/A.bin": FILES["A.bin"], f"payload/{second}": FILES["a.bin"]}
    for answer in (folding, other):
        async with listening(script) as address, resources(tmp_path) as shared:
            shared.name_foldings = NameFoldings(partial(_answer, answer))
            session = await download(shared, metainfo, tmp_path / "out", address)
        assert below(tmp_path / "out") == expected
    assert session.stats().downloaded_bytes == 0


async def test_a9_files_arrive_under_names_that_windows_can_have(tmp_path: Path) -> None:
    files = {"nul.bin": payload_of(40_000, 1), "a:b.": payload_of(40_000, 2)}
    metainfo, payload = make_torrent(files)
    script = Script(metainfo, payload)
    expected = {"payload/_nul.bin": files["nul.bin"], "payload/a_b": files["a:b."]}
    for _ in range(2):
        async with listening(script) as address, resources(tmp_path) as shared:
            shared.name_foldings = NameFoldings(partial(_answer, EXACT), windows=True)
            session = await download(shared, metainfo, tmp_path / "out", address)
            assert below(tmp_path / "out") == expected
    assert session.stats().downloaded_bytes == 0
