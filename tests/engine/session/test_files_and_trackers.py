"""What a Session tells of its files and trackers at any time, and seeding rules that change."""

from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.base.errors import ConfigError, SessionError, StorageError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

TIERS = (("http://a.invalid/secretpasskey0123456789abcdef/announce", "udp://b.invalid:1"),)
METAINFO, PAYLOAD = make_torrent(
    {"a": payload_of(70_000), "b/c": payload_of(90_000, 1)}, tiers=TIERS
)
SKIPS_B = SessionConfig(file_priorities=(7, 0))


def shown(session: Session) -> list[tuple[str, int, int]]:
    return [(str(each.path), each.completed_bytes, each.priority) for each in session.files()]


async def test_files_are_told_before_during_and_after_a_run(tmp_path: Path) -> None:
    name = METAINFO.name
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(file_priorities=(7, 0), peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        assert shown(session) == [(f"{name}/a", 0, 7), (f"{name}/b/c", 0, 0)]
        await session.start()
        await session.wait_complete()
        during = shown(session)
        assert during[0] == (f"{name}/a", 70_000, 7)
        await session.rename_file(0, f"{name}/renamed")
        with pytest.raises(ConfigError, match="no file 2 of 2"):
            await session.set_file_priorities({2: 4})
        await session.set_file_priorities({1: 4})
        assert session.config.file_priorities == (7, 4)
        await session.set_file_priorities((4, 4))
        await session.wait_complete()
        assert shown(session) == [(f"{name}/renamed", 70_000, 4), (f"{name}/b/c", 90_000, 4)]
        await session.stop()
        assert shown(session) == [(f"{name}/renamed", 70_000, 4), (f"{name}/b/c", 90_000, 4)]
        await session.wait_complete()  # returns at once
        await session.close()


async def refuse_only(*_: object) -> None:
    raise StorageError("/file", "it is another's")


async def test_priorities_that_are_refused_undo_no_change_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path)
    async with resources(tmp_path) as shared:
        config = SessionConfig(file_priorities=(4, 4))
        session = await Session.create(METAINFO, shared, save_path=tmp_path, config=config)

        async def refuse(*_: object) -> None:
            monkeypatch.undo()
            await session.set_file_priorities({0: 1})
            raise StorageError("/file", "it is another's")

        async with session:
            await session.wait(State.SEEDING)
            await until(lambda: session._core.live_run is not None)
            monkeypatch.setattr(TorrentRun, "set_file_priorities", refuse)
            with pytest.raises(StorageError):
                await session.set_file_priorities({1: 7})
            assert session.config.file_priorities == (1, 7)
            monkeypatch.setattr(TorrentRun, "set_file_priorities", refuse_only)
            with pytest.raises(StorageError):
                await session.set_file_priorities({1: 3})
            assert session.config.file_priorities == (1, 7)


async def test_priorities_of_some_files_take_the_place_of_those_that_do_not_fit(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path) as shared:
        config = SessionConfig(file_priorities=(7,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path, config=config)
        await session.set_file_priorities({0: 0})
        assert session.config.file_priorities == (0, 4)
        await session.close()


async def test_a_magnet_link_has_no_files_before_its_metadata(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(Magnet.of(METAINFO), shared, save_path=tmp_path)
        assert session.files() == []
        await session.close()


async def test_to_wait_for_a_torrent_that_is_stopped_is_an_error(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        await session.start()
        await session.stop()
        with pytest.raises(SessionError, match="stopped before it was seeding"):
            await session.wait_complete()
        await session.close()


async def test_trackers_are_told_before_during_and_after_a_run_without_secrets(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        before = session.trackers()
        assert [(each.tier, each.state) for each in before] == [(0, "waiting"), (0, "waiting")]
        assert "secretpasskey" not in repr(before)
        session.add_tracker("udp://added.invalid:1", 0)
        session.add_tracker("udp://own-tier.invalid:1")
        session.remove_tracker("udp://b.invalid:1")
        tiers = [(each.tier, each.url.split("/")[2].split(":")[0]) for each in session.trackers()]
        assert tiers == [(0, "a.invalid"), (0, "added.invalid"), (1, "own-tier.invalid")]
        await session.start()
        running = {each.url for each in session.trackers()}
        await session.stop()
        assert {each.url for each in session.trackers()} == running
        await session.close()


async def test_rules_that_end_seeding_change_while_a_torrent_seeds(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path)
    async with resources(tmp_path / "state") as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path)
        await session.start()
        await reach(session, State.SEEDING)
        session.set_seeding_rules(SeedingConfig(seed_time_s=1e9))
        assert session.state is State.SEEDING
        session.set_seeding_rules(SeedingConfig(seed_time_s=0.01))
        assert await session.wait_stopped() == "time"
        await session.close()


async def test_rules_of_all_torrents_change_but_not_over_those_of_one(tmp_path: Path) -> None:
    other, data = make_torrent({"d": payload_of(50_000, 3)}, name="other")
    write_files(METAINFO, PAYLOAD, tmp_path)
    write_files(other, data, tmp_path)
    async with manager(tmp_path / "state") as many:
        first = await many.add_torrent(METAINFO, save_path=tmp_path)
        own = SessionConfig(seed_time_s=1e9)
        second = await many.add_torrent(other, save_path=tmp_path, config=own)
        await reach(first, State.SEEDING)
        await reach(second, State.SEEDING)
        many.set_seeding_rules(SeedingConfig(seed_time_s=0.01))
        await until(lambda: first.state is State.STOPPED)
        assert first.stop_reason == "time"
        assert second.state is State.SEEDING
