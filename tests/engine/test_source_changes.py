"""Trackers and web seeds that come and go while a torrent runs, and what is due of web seeds."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.swarm import content, finish, reach, resources, until
from tests.support.torrents import make_torrent, payload_of
from tests.support.web_server import web_server
from torrent_engine.base.config import KIB, MIB, ReaderConfig, SessionConfig, WebSeedConfig
from torrent_engine.base.errors import ConfigError, TrackerError
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import WebSeedState
from torrent_engine.net.tracker.embedded import EmbeddedTracker

pytestmark = pytest.mark.anyio

PATIENCE_S = 50.0
LOCAL = WebSeedConfig(allow_local=True, backoff_first_s=0.05, backoff_max_s=0.1)
PAYLOAD = payload_of(12 * MIB, 5)
FILES = {"/pub/payload": PAYLOAD}
METAINFO, _ = make_torrent(PAYLOAD, piece_bytes=64 * KIB)
NOBODY = "http://127.0.0.1:9/announce"


def local(folder: Path, **changes: Any) -> SharedResources:
    reader = ReaderConfig(min_read_ahead_bytes=256 * KIB)
    return resources(folder, web_seed=replace(LOCAL, **changes), reader=reader)


@asynccontextmanager
async def running(shared: SharedResources, folder: Path, **settings: Any) -> AsyncIterator[Session]:
    config = SessionConfig(**settings)
    session = await Session.create(METAINFO, shared, save_path=folder / "out", config=config)
    async with session:
        yield session


def share(session: Session) -> float:
    return session.stats().completed_bytes / len(PAYLOAD)


# -- web seeds ------------------------------------------------------------------------------------


async def test_a_web_seed_is_added_to_a_torrent_that_has_none(tmp_path: Path) -> None:
    async with (
        web_server(FILES) as server,
        local(tmp_path) as shared,
        running(shared, tmp_path) as session,
    ):
        await reach(session, State.DOWNLOADING)
        assert session.web_seeds() == []
        assert session.add_web_seed(f"{server.base}/pub/")
        assert not session.add_web_seed(f"{server.base}/pub/")
        await reach(session, State.SEEDING)
        (stats,) = session.web_seeds()
        assert (stats.bep, stats.downloaded_bytes) == (19, len(PAYLOAD))
        for _ in range(2):
            assert session.web_seeds()[0].url == f"{server.base}/***/"
            assert session.web_seeds(secrets=True)[0].url == f"{server.base}/pub/"
            await session.stop()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_web_seed_that_is_removed_is_asked_no_more_not_after_a_restart_either(
    tmp_path: Path,
) -> None:
    async with web_server(FILES) as server, local(tmp_path) as shared:
        metainfo, _ = make_torrent(
            PAYLOAD, piece_bytes=64 * KIB, web_seeds=(f"{server.base}/pub/",)
        )
        config = SessionConfig(max_download_bytes_per_s=2 * MIB)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        url = f"{server.base}/pub/"
        async with session:
            await until(lambda: session.stats().completed_bytes)
            assert session.remove_web_seed(url)
            assert not session.remove_web_seed(url)
            assert session.web_seeds() == []
            await session.stop()
            asked = len(server.asked)  # requests that were on their way have come
            await session.start()
            await reach(session, State.DOWNLOADING)
            assert session.web_seeds() == []
            assert session.admin.extras() == {"no_web_seeds": [url]}
            assert len(server.asked) == asked
            assert session.add_web_seed(url)  # and back
            session.set_rate_limits(download_bytes_per_s=0)
            await reach(session, State.SEEDING)
            assert session.stats().wasted_bytes < 2 * MIB
    assert content(metainfo, tmp_path / "out") == PAYLOAD


async def test_a_web_seed_that_is_added_takes_over_from_one_that_is_given_up(
    tmp_path: Path,
) -> None:
    async with (
        web_server(FILES) as server,
        local(tmp_path) as shared,
        running(shared, tmp_path) as session,
    ):
        await reach(session, State.DOWNLOADING)
        session.add_web_seed(f"{server.base}/not/here/")
        await until(lambda: session.web_seeds()[0].state is WebSeedState.FAILED)
        session.add_web_seed(f"{server.base}/pub/")
        await reach(session, State.SEEDING)
        gave_nothing, gave_all = session.web_seeds()  # the first is asked again now and then
        assert (gave_nothing.downloaded_bytes, gave_nothing.error != "") == (0, True)
        assert gave_all.downloaded_bytes > 0


async def test_only_web_addresses_are_taken_and_local_ones_not_asked(tmp_path: Path) -> None:
    async with web_server(FILES) as server, local(tmp_path, allow_local=False) as shared:
        async with running(shared, tmp_path) as session:
            with pytest.raises(ConfigError, match="web seed"):
                session.add_web_seed("file:///etc/passwd")
            assert session.add_web_seed(f"{server.base}/pub/")
            await until(lambda: session.web_seeds()[0].state is WebSeedState.FAILED)
        assert not server.asked


async def test_web_seeds_are_known_while_nothing_runs(tmp_path: Path) -> None:
    async with local(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        assert session.add_web_seed("https://user:secret@a.example/x", 17)
        (stats,) = session.web_seeds()
        assert (stats.state, stats.bep, "secret" in stats.url) == (WebSeedState.IDLE, 17, False)
        assert session.remove_web_seed("https://user:secret@a.example/x")
        assert session.web_seeds() == []
        await session.close()


@pytest.mark.parametrize("piece_bytes", [64 * KIB, 2 * MIB])
async def test_a_reader_is_served_by_a_web_seed_before_all_else(
    tmp_path: Path, piece_bytes: int
) -> None:
    async with web_server(FILES) as server, local(tmp_path) as shared:
        metainfo, _ = make_torrent(
            PAYLOAD, piece_bytes=piece_bytes, web_seeds=(f"{server.base}/pub/",)
        )
        config = SessionConfig(max_download_bytes_per_s=3 * MIB)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session, session.open(0) as reader:
            await until(lambda: session.stats().downloaded_bytes)  # ranges elsewhere are under way
            reader.seek(-256 * KIB, os.SEEK_END)
            with anyio.fail_after(PATIENCE_S):
                assert await reader.read() == PAYLOAD[-256 * KIB :]
            assert share(session) < 0.7


# -- trackers -----------------------------------------------------------------------------------


async def test_trackers_come_and_go_while_a_torrent_runs(tmp_path: Path) -> None:
    async with (
        EmbeddedTracker() as tracker,
        local(tmp_path) as shared,
        running(shared, tmp_path) as session,
    ):
        await reach(session, State.DOWNLOADING)
        assert session.add_tracker(tracker.announce_url)
        await until(lambda: session.trackers()[0].state == "working")
        assert session.remove_tracker(tracker.announce_url)
        assert not session.remove_tracker(tracker.announce_url)
        assert session.trackers() == []
        assert session.add_tracker(NOBODY, 0)
        assert session.admin.extras() == {
            "trackers": {NOBODY: 0},
            "no_trackers": [tracker.announce_url],
        }
        with pytest.raises(TrackerError):
            session.add_tracker("gopher://a.example/")


async def test_a_tracker_of_the_torrent_stays_removed_until_it_is_added_again(
    tmp_path: Path,
) -> None:
    metainfo, _ = make_torrent(payload_of(20_000), tiers=[[NOBODY]])
    async with local(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        assert session.remove_tracker(NOBODY)
        async with session:
            await reach(session, State.DOWNLOADING)
            assert session.trackers() == []
            await session.stop()
            await session.start()
            await reach(session, State.DOWNLOADING)
            assert session.trackers() == []
            assert session.add_tracker(NOBODY)
            assert [status.url for status in session.trackers()] == [NOBODY]
            assert session.admin.extras() == {"trackers": {NOBODY: None}}
        assert await finish(
            await Session.create(
                metainfo, shared, save_path=tmp_path, config=SessionConfig(check_only=True)
            )
        )
