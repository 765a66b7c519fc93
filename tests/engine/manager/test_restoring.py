"""Torrents of the last run, restored."""

import gc
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager, manager_config
from tests.support.swarm import PATIENCE_S, reach
from tests.support.torrents import make_torrent, payload_of, write_files
from tests.support.v2_torrents import laid_out, layers_of, torrent_around, v2_info
from torrent_engine.base.config import DormancyConfig, MagnetLimits
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.urls import ascii_host
from torrent_engine.disk.state.session_table import load_sessions, save_sessions
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.manager import restoring
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.core import STOPPED
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.session.metadata import FEW_URLS
from torrent_engine.engine.session.saved import read_settings
from torrent_engine.engine.states import State
from torrent_engine.protocol.tracker import urls

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["on", "off"])
def collector(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the collector of cycles runs."""
    if not request.param:
        gc.disable()
    yield request.param
    gc.enable()


async def test_the_collector_of_cycles_is_paused_and_left_as_it_was(
    tmp_path: Path, collector: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    original = restoring.Restoring._restore_one

    async def watched(*arguments: object) -> None:
        seen.append(gc.isenabled())
        await original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(restoring.Restoring, "_restore_one", watched)
    async with manager(tmp_path) as first:
        await first.add_torrent(make_torrent(b"abc")[0])
    async with manager(tmp_path) as second:
        assert second.restored == 1
        assert seen == [False]
        assert gc.isenabled() is collector


@pytest.mark.parametrize("damaged", ["copy", "both"])
async def test_f6_a_torrent_whose_hashes_of_pieces_are_damaged_is_not_lost(
    tmp_path: Path, damaged: str
) -> None:
    files = {"a": payload_of(100_000)}
    info, layers = v2_info(files)
    metainfo = Metainfo.from_bytes(torrent_around(info, layers))
    write_files(metainfo, laid_out(metainfo, files), tmp_path / "files")
    async with manager(tmp_path) as many:
        await reach(await many.add_torrent(metainfo), State.SEEDING)
    ((layer, flipped),) = [(each, each[:-1] + bytes([each[-1] ^ 1])) for each in layers.values()]
    copy = tmp_path / f"state/torrents/{metainfo.info_hash.hex()}.torrent"
    wrong = copy.read_bytes().replace(layer, flipped)
    copy.write_bytes(wrong)
    if damaged == "both":
        with closing(sqlite3.connect(tmp_path / "state/state.db")) as db, db:
            db.execute("UPDATE session_metainfos SET metainfo = ?", (wrong,))
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        await reach(session, State.SEEDING)
        await session.stop()
        await session.start()  # that reads it again
        await reach(session, State.SEEDING)
        assert session.stats().pieces_have == metainfo.piece_count
        assert layers_of(session) == (layers if damaged == "copy" else {})


async def test_a_torrent_that_is_stopped_while_it_is_restored_at_rest_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TorrentManager(manager_config(tmp_path, dormancy=DormancyConfig())) as many:
        session = await many.add_torrent(make_torrent(payload_of(100_000))[0])
        assert session.is_resting
    begin = Lifecycle._open

    async def begin_and_stop(lifecycle: Lifecycle, **options: Any) -> None:
        await begin(lifecycle, **options)
        lifecycle._ask_to_stop(STOPPED, lambda run: run.stop(STOPPED))

    monkeypatch.setattr(Lifecycle, "_open", begin_and_stop)
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        with anyio.fail_after(PATIENCE_S):
            assert await session.wait_stopped() == STOPPED


async def test_f6_a_link_that_is_longer_when_it_is_written_is_not_lost(tmp_path: Path) -> None:
    urls = [f"udp://127.0.0.1:9/{number}{'/a' * 1_500}" for number in range(20)]
    link = f"magnet:?xt=urn:btih:{'ab' * 20}" + "".join(f"&tr={url}" for url in urls)
    async with manager(tmp_path) as many:
        saved = (await many.add_torrent(link)).magnet
    assert len(link) <= MagnetLimits().max_uri_bytes < len(str(saved))
    async with manager(tmp_path) as many:
        assert [session.magnet for session in many.sessions] == [saved]


@pytest.mark.parametrize("link", ["magnet:?xt=urn:btih:ab", 7])
async def test_f6_a_broken_link_costs_a_torrent_that_is_known_nothing_else(
    tmp_path: Path, link: object
) -> None:
    metainfo, payload = make_torrent(payload_of(100_000))
    write_files(metainfo, payload, tmp_path / "files")
    async with manager(tmp_path) as many:
        await reach(await many.add_torrent(metainfo), State.SEEDING)
    async with await StateStore.open(tmp_path / "state") as store:
        (record,) = await load_sessions(store)
        await save_sessions(store, [replace(record, settings={**record.settings, "magnet": link})])
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        assert session.magnet is None
        await reach(session, State.SEEDING)
    assert read_settings({**record.settings, "magnet": link, "facts": None, "about": None}) is None


async def test_f11_many_tracker_urls_are_parsed_in_a_thread_before_a_torrent_rests_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bool] = []

    def watched(host: str) -> str:
        parsed.append(threading.current_thread() is threading.main_thread())
        return ascii_host(host)

    monkeypatch.setattr(urls, "ascii_host", watched)
    # Of UDP: an HTTP request parses its URL once more, with its parameters.
    tiers = [[f"udp://127.0.0.1:1/{number}"] for number in range(FEW_URLS + 1)]
    for is_restored in (False, True):
        parsed.clear()
        urls._parsed.cache_clear()
        async with TorrentManager(manager_config(tmp_path, dormancy=DormancyConfig())) as many:
            if not is_restored:
                await many.add_torrent(make_torrent(payload_of(100_000), tiers=tiers)[0])
            assert [session.is_resting for session in many.sessions] == [True]
        assert not any(parsed)
        assert len(parsed) >= len(tiers)


@pytest.mark.parametrize("is_pipe", [False, True])
async def test_f6_an_odd_file_of_a_torrent_keeps_no_manager_from_its_start(
    tmp_path: Path, is_pipe: bool
) -> None:
    torrents = [make_torrent(payload_of(20_000, seed), name=f"t{seed}") for seed in range(2)]
    infos = [metainfo for metainfo, _ in torrents]
    async with manager(tmp_path) as first:
        for metainfo, payload in torrents:
            write_files(metainfo, payload, tmp_path / "files")
            await reach(await first.add_torrent(metainfo), State.SEEDING)
    odd = tmp_path / "state" / "torrents" / f"{infos[0].info_hash.hex()}.session"
    odd.unlink()
    if is_pipe:
        os.mkfifo(odd)
    else:
        odd.symlink_to("/nothing/there")
    async with manager(tmp_path) as second:
        for metainfo in infos:
            session = second.get_session(metainfo.info_hash)
            assert session is not None
            assert await reach(session, State.SEEDING) is State.SEEDING
    assert odd.is_file()
    assert not odd.is_symlink()
