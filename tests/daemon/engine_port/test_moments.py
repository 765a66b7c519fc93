"""Moments in the life of torrents, as the port reports those of a real manager."""

from pathlib import Path

import anyio
import pytest

from tests.cli import torrents
from torrent_engine.base.config import ManagerConfig, SharedConfig
from torrent_engine.base.ids import FileIndex, InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.events import port_event
from torrent_engine.daemon.engine_port.facts import Moment, MomentNotice, Notice
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.engine import events
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio

ONE = InfoHash(b"1" * 20)
EVENTS = {
    "metadata": (events.MetadataReceived(ONE, "n", 1, 1, 1), Moment.METADATA, ""),
    "completed": (events.DownloadFinished(ONE, "/there"), Moment.COMPLETED, ""),
    "stopped": (events.SessionStopped(ONE, "ratio"), Moment.STOPPED, "ratio"),
    "failed": (events.SessionErrored(ONE, "disk"), Moment.FAILED, "disk"),
    "file": (events.FileCompleted(ONE, FileIndex(0), "a/b"), Moment.FILE_COMPLETED, "a/b"),
}


@pytest.mark.parametrize(("event", "moment", "text"), EVENTS.values(), ids=EVENTS)
def test_an_event_of_the_engine_is_a_moment(event: events.Event, moment: Moment, text: str) -> None:
    assert port_event(event) == MomentNotice(ONE, moment, text)


async def test_a_manager_reports_the_end_of_a_torrent_and_its_bar(tmp_path: Path) -> None:
    metainfo = Metainfo.read(torrents.multi(tmp_path))
    shared = SharedConfig.local(state_dir=tmp_path / "state")
    ports, seen = ManagerPort(), list[Notice]()
    ports.port.events.subscribe(seen.append)
    async with ports.open(ManagerConfig(shared=shared, save_path=tmp_path / "to")):
        port = ports.port
        added = await port.engine.add(metainfo, AddOptions())
        port.engine.bar_downloads({added.info_hash})
        with anyio.fail_after(30):
            while not port.torrents.facts(added.info_hash).progress.is_held:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            port.engine.bar_downloads(())
            while port.torrents.facts(added.info_hash).progress.is_held:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            await port.control.stop(added.info_hash)
            stopped = MomentNotice(added.info_hash, Moment.STOPPED, "stopped")
            while stopped not in seen:  # noqa: ASYNC110 - the bus has a task of its own
                await anyio.sleep(0.01)
    assert seen.count(stopped) == 1
