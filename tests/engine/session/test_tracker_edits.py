"""The trackers of a torrent as an editor sees them: at any time, whole, and replaced at once."""

from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.errors import TrackerError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.tracker.embedded import EmbeddedTracker

pytestmark = pytest.mark.anyio

PASSKEY = "http://a.invalid/0123456789abcdef0123/announce"
OTHER = "udp://b.invalid:1"
THIRD = "http://c.invalid/announce"
PAYLOAD = payload_of(50_000, 3)
METAINFO, _ = make_torrent(PAYLOAD, tiers=[[PASSKEY], [OTHER]])


def urls(session: Session) -> list[str]:
    return [each.url for each in session.trackers(secrets=True)]


async def test_a_round_trip_of_the_list_changes_nothing(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        assert session.tracker_tiers() == [[PASSKEY], [OTHER]]
        assert urls(session) == [PASSKEY, OTHER]
        assert "0123456789abcdef" not in repr(session.trackers())
        assert not session.set_trackers(session.tracker_tiers())
        assert session.admin.extras() == {}
        await session.close()


async def test_the_whole_list_is_replaced_and_stays_so(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        number = {each.url: each.tracker_id for each in session.trackers(secrets=True)}
        assert session.set_trackers([[OTHER, THIRD, OTHER], [], [PASSKEY]])
        assert session.tracker_tiers() == [[OTHER, THIRD], [PASSKEY]]
        after = {each.url: each.tracker_id for each in session.trackers(secrets=True)}
        assert after[OTHER] == number[OTHER]
        assert after[THIRD] not in number.values()
        async with session:
            await reach(session, State.DOWNLOADING)
            assert urls(session) == [OTHER, THIRD, PASSKEY]
            assert session.add_tracker("http://d.invalid/a", 1)
            assert session.remove_tracker(OTHER)
            assert session.tracker_tiers() == [[THIRD], [PASSKEY, "http://d.invalid/a"]]
            await session.stop()
            assert session.tracker_tiers() == [[THIRD], [PASSKEY, "http://d.invalid/a"]]
            assert session.set_trackers([])
            assert session.trackers() == []


async def test_a_bad_url_changes_nothing(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        with pytest.raises(TrackerError):
            session.set_trackers([[THIRD], ["gopher://x.invalid/"]])
        with pytest.raises(TypeError):
            session.set_trackers([THIRD])
        assert session.tracker_tiers() == [[PASSKEY], [OTHER]]
        await session.close()


async def test_urls_that_are_no_trackers_survive_a_round_trip(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(PAYLOAD, tiers=[["udp://no-port.invalid/"], [OTHER]])
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out")
        assert session.set_trackers([*session.tracker_tiers(), [THIRD]])
        async with session:
            await reach(session, State.DOWNLOADING)
            assert session.trackers()[0].state == "disabled"
            assert urls(session) == ["udp://no-port.invalid/", OTHER, THIRD]


async def test_a_running_torrent_announces_to_the_new_list_and_by_hand(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "out")
    async with EmbeddedTracker() as tracker, resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        assert session.reannounce() is None
        async with session:
            await reach(session, State.SEEDING)
            assert session.set_trackers([[tracker.announce_url]])
            await until(lambda: session.trackers()[0].state == "working")
            (status,) = session.trackers()
            last = status.last_announce
            assert last is not None
            assert last.is_success
            assert status.next_announce_at is not None
            assert status.next_announce_at > last.began_at
            wait_s = session.reannounce()
            assert wait_s is not None
            assert 0 < wait_s <= 60  # the minimum interval
            (scrape,) = await session.scrape()
            assert scrape.counts is not None
            assert scrape.counts.seeds == 1
            await session.pause()
            assert session.reannounce() is None
            (paused,) = session.trackers()
            assert (paused.next_announce_at, paused.seeds) == (None, 1)
            assert paused.last_scrape is not None
            assert paused.last_scrape.is_success


async def test_trackers_of_a_torrent_at_rest_and_after_a_restart(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with EmbeddedTracker() as tracker:
        tiers = [[tracker.announce_url], [PASSKEY]]
        async with manager(tmp_path) as torrents:
            session = await torrents.add_torrent(METAINFO)
            await reach(session, State.SEEDING)
            session.set_trackers(tiers)
            await until(lambda: session.is_resting)
            assert session.tracker_tiers() == tiers
            await until(lambda: session.trackers()[0].state == "working")
            assert session.reannounce() is not None
            await session.stop()
            first = session.trackers()[0]
            assert first.last_announce is not None
            assert first.last_announce.is_success
        async with manager(tmp_path) as torrents:
            (session,) = torrents.sessions
            assert session.tracker_tiers() == tiers
            assert urls(session) == [tracker.announce_url, PASSKEY]
            (scrape, _) = await session.scrape()
            assert scrape.counts is not None
