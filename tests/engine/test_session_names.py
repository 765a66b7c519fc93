"""Downloads to where two names of the torrent are one (row A10), or cannot be had (row A9)."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import download, files_below, resources
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DormancyConfig, SessionConfig
from torrent_engine.base.errors import UnknownFileError
from torrent_engine.codec.paths import COARSEST, EXACT, NameFolding
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.file_selection import renames
from torrent_engine.engine.session import download as download_module
from torrent_engine.engine.session.dormancy import Dormancy
from torrent_engine.engine.session.session import Session
from torrent_engine.service import completion_hook
from torrent_engine.service.saved_files import common_path

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


def on_windows(shared: SharedResources) -> None:
    shared.name_foldings = NameFoldings(partial(_answer, EXACT), windows=True)


async def test_a9_a_name_that_leads_out_on_windows_is_told_by_nobody(tmp_path: Path) -> None:
    name, stored = r"\\evil.example\share\run.bat", "__evil.example_share_run.bat"
    metainfo, payload = make_torrent(payload_of(40_000), name=name)
    async with listening(Script(metainfo, payload)) as address, resources(tmp_path) as shared:
        on_windows(shared)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        assert [str(each.path) for each in session.files()] == [stored]
        session = await download(shared, metainfo, tmp_path / "out", address)
        assert [str(each.path) for each in session.files()] == [stored]
        told = await completion_hook._finished(session, tmp_path / "out", tmp_path / "state")
        assert told is not None
        assert told.path == tmp_path / "out" / stored
        assert download_module._top(session) == Path(stored)


@pytest.mark.parametrize("suffix", ["", ".part"])
async def test_a9_names_of_incomplete_files_are_those_that_windows_can_have(
    tmp_path: Path, suffix: str
) -> None:
    metainfo, payload = make_torrent({"a:b": payload_of(40_000, 1), "nul": b"2"}, name="x?")
    async with listening(Script(metainfo, payload)) as address, resources(tmp_path) as shared:
        on_windows(shared)
        folders = {"incomplete_dir": str(tmp_path / "part"), "incomplete_suffix": suffix}
        session = await download(shared, metainfo, tmp_path / "out", address, **folders)
        assert below(tmp_path / "out") == {"x_/a_b": payload_of(40_000, 1), "x_/_nul": b"2"}
        assert {each.path.as_posix() for each in session.files()} == {"x_/a_b", "x_/_nul"}
    assert below(tmp_path / "part") == {}


async def test_a9_a_folder_is_renamed_by_the_name_that_it_has(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a:b/c": payload_of(40_000, 1), "d": b"2"})
    async with listening(Script(metainfo, payload)) as address, resources(tmp_path) as shared:
        on_windows(shared)
        await download(shared, metainfo, tmp_path / "out", address)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        with pytest.raises(UnknownFileError):
            await session.rename_folder("payload/a:b", "payload/e")
        await session.rename_folder("payload/a_b", "payload/C:")
        listed = [each.path.as_posix() for each in session.files()]
    assert listed == ["payload/C_/c", "payload/d"]
    assert below(tmp_path / "out").keys() == set(listed)


async def test_a9_a_folder_that_was_never_made_is_renamed_by_the_name_that_it_would_get(
    tmp_path: Path,
) -> None:
    metainfo, _ = make_torrent({"a:b/c": b"1", "d": b"2"})
    async with resources(tmp_path) as shared:
        on_windows(shared)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        await session.rename_folder("payload/a_b", "payload/e")
        assert session.admin.file_names.in_use() == {0: ("payload", "e", "c")}


def test_a9_names_of_a_configuration_are_those_that_windows_can_have() -> None:
    config = SessionConfig(renamed_files=((0, "C:/nul"), (3, "a/b")))
    assert renames(config, windows=True) == {0: ("C_", "_nul"), 3: ("a", "b")}
    assert renames(config, windows=False) == {0: ("C:", "nul"), 3: ("a", "b")}


async def test_a10_files_are_listed_by_the_names_that_they_have(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(FILES)
    stored = ["payload/A.bin", "payload/a.1.bin"]

    def listed(session: Session) -> list[str]:
        return [each.path.as_posix() for each in session.files()]

    async with listening(Script(metainfo, payload)) as address, resources(tmp_path) as shared:
        shared.name_foldings = NameFoldings(partial(_answer, COARSEST))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        assert listed(session) == list(map("payload/{}".format, FILES))
        session = await download(shared, metainfo, tmp_path / "out", address)
        assert listed(session) == stored
        config = replace(session.config, file_priorities=(0, 4))
        path = common_path(tmp_path / "out", metainfo, config, session.admin.file_names.in_use())
        assert path == tmp_path / "out" / stored[1]
    async with resources(tmp_path) as shared:
        again = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        assert listed(again) == stored
        await again.rename_file(1, "payload/other")
        assert listed(again) == ["payload/A.bin", "payload/other"]
        elsewhere = await Session.create(metainfo, shared, save_path=tmp_path / "elsewhere")
        assert listed(elsewhere) == list(map("payload/{}".format, FILES))


async def test_a_name_of_the_configuration_that_leads_out_is_not_listed(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(FILES)
    config = SessionConfig(renamed_files=((0, "../x"), (1, "y")))
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path, config=config)
        assert [each.path.as_posix() for each in session.files()] == ["payload/A.bin", "y"]


@pytest.mark.parametrize("is_there", [True, False])
async def test_a9_a_torrent_whose_files_are_there_does_not_begin_at_rest(
    tmp_path: Path, is_there: bool
) -> None:
    metainfo, payload = make_torrent(payload_of(40_000), name="a:b")
    async with resources(tmp_path) as shared:
        on_windows(shared)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a:b").touch()  # as a stream of another file: nobody looks there
        if is_there:
            (tmp_path / "out" / "a_b").write_bytes(payload)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        session._core.rest_config = DormancyConfig()
        dormancy = Dormancy(session._core, cast("Any", SimpleNamespace(has_work=False)))
        assert dormancy._may_begin_new() is not is_there
