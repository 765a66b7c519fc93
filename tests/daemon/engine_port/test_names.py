"""Names of files and folders that the daemon tells: those that they have on the disk."""

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.daemon.fake_port import FakeEngine
from tests.support.torrents import make_torrent
from torrent_engine.base.config import SessionConfig
from torrent_engine.daemon.engine_port import facts, reading
from torrent_engine.daemon.engine_port.facts import AboutFacts
from torrent_engine.daemon.engine_port.reading import ManagerReading
from torrent_engine.daemon.jobs.port_torrents import hook_torrent
from torrent_engine.daemon.qbittorrent.torrent_fields import content_path
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.disk.filesystem import usable_path

pytestmark = pytest.mark.anyio

LEADING_OUT = (r"\\evil.example\share\run.bat", r"C:\Windows\calc.exe", r"..\..\AppData\x.bat")


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("windows", [True, False])
async def test_a9_the_root_of_a_torrent_has_the_name_that_the_system_has(
    monkeypatch: pytest.MonkeyPatch, name: str, windows: bool
) -> None:
    monkeypatch.setattr(facts, "usable_path", partial(usable_path, windows=windows))
    [root] = usable_path((name,), windows=windows)
    assert AboutFacts(name).root == root
    engine = FakeEngine()
    key = engine.put(name=name, total_bytes=9, save_path="D:/files")
    state = DaemonState(engine.port, DaemonStore())
    await state.reload()
    row = state.torrents.get(key)
    assert row is not None
    assert content_path(row) == f"D:/files/{root}"
    assert hook_torrent(row).content_path == f"D:/files/{root}"


@pytest.mark.parametrize("few", [0, 10])
async def test_files_are_told_by_the_names_that_they_have(
    monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(reading, "FEW_FILES", few)
    metainfo, _ = make_torrent({"A": b"1", "a": b"2"})
    session = SimpleNamespace(
        is_resting=False,
        metainfo=metainfo,
        config=SessionConfig(),
        stats=lambda: SimpleNamespace(have=b""),
        admin=SimpleNamespace(file_names=SimpleNamespace(in_use=lambda: {1: ("payload", "a.1")})),
    )
    opened = SimpleNamespace(session=lambda _: session)
    told = await ManagerReading(cast("Any", opened)).files(metainfo.info_hash)
    assert [each.path for each in told] == ["payload/A", "payload/a.1"]
