"""Torrents that are added by what users name them."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli import torrents
from torrent_engine.base.config import ManagerConfig, SharedConfig
from torrent_engine.base.errors import ConfigError, SessionError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.states import State
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.adding import Adder

pytestmark = pytest.mark.anyio

LINK = f"magnet:?xt=urn:btih:{'1' * 40}&dn=one"


@dataclass
class FakeManager:
    names: dict[bytes, Any] = field(default_factory=dict)
    limit: int = 100
    shared: Any = field(default_factory=lambda: SimpleNamespace(http=None))
    config: ManagerConfig = field(default_factory=ManagerConfig)

    async def add(self, source: Any, **_: Any) -> Any:
        if len(self.names) >= self.limit:
            raise SessionError("no more")
        made = SimpleNamespace(name=source.name)
        session = self.names.setdefault(source.info_hash, made)
        return SimpleNamespace(session=session, is_new=session is made)


@dataclass
class Reports:
    lines: list[tuple[str, str, object]] = field(default_factory=list)

    def added(self, session: Any, source: str, *, is_new: bool) -> None:
        self.lines.append((session.name, source, is_new))

    def refused(self, error: Exception, source: str) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.lines.append(("", source, type(error)))


async def test_each_source_is_reported_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    file, reports = str(torrents.multi(tmp_path)), Reports()
    await Adder(FakeManager(), reports).add_all(["missing", file, LINK, "-"], LINK.encode())
    assert reports.lines == [
        ("", "missing", FileNotFoundError),
        ("stuff", file, True),
        ("one", "one", True),
        ("one", "-", False),
    ]


async def test_a_full_manager_is_an_error_of_the_setting() -> None:
    adder = Adder(FakeManager(limit=0), Reports())
    with pytest.raises(ConfigError, match="no more"):
        await adder.add(Magnet.parse(LINK), "one")


async def test_what_the_reporter_raises_ends_the_adding() -> None:
    class Broken(Reports):
        def added(self, session: Any, source: str, *, is_new: bool) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await Adder(FakeManager(), Broken()).add_all([LINK])


async def test_options_reach_the_torrent_and_one_that_is_there_stays_as_it_is(
    tmp_path: Path,
) -> None:
    metainfo = Metainfo.read(torrents.multi(tmp_path))
    shared = SharedConfig.local(state_dir=tmp_path / "state")
    manager = TorrentManager(ManagerConfig(shared=shared, save_path=tmp_path))
    tracker = "http://127.0.0.1:1/announce"
    first = AddOptions(
        save_path=str(tmp_path / "there"),
        paused=True,
        priority=3,
        sequential=True,
        files_wanted=(1,),
        trackers=(tracker, "wss://none"),
    )
    async with manager:
        adder = Adder(manager, Reports())
        added = await adder.add(metainfo, "file", first)
        again = await adder.add(
            metainfo, "file", AddOptions(sequential=False, trackers=("udp://x:1",))
        )
        session = added.session
        await session.wait(State.PAUSED)
        assert (added.is_new, again.is_new, again.session is session) == (True, False, True)
        assert session.save_path == tmp_path / "there"
        assert session.config.sequential
        assert session.config.file_priorities is not None
        assert session.config.file_priorities[:2] == (0, 4)
        assert manager.priority(session.info_hash) == 3
        assert [each for each in session.admin.saved(priority=0).extras.values() if each]
