"""What is known of torrents without a look at their metainfo: facts, hosts, numbers in short."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.support.managers import manager
from tests.support.swarm import seed, until
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.session_table import change_settings
from torrent_engine.engine.events import ChangedGroup, Event, TorrentChanged
from torrent_engine.engine.runs.facts import MAX_TEXT_CHARS, facts_of, facts_values, read_facts
from torrent_engine.engine.session.saved import read_settings
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SessionBrief, SessionStats

pytestmark = pytest.mark.anyio

PAYLOAD = {"big.MKV": payload_of(90_000), "small.txt": payload_of(10_000, 1)}
BARE, BYTES = make_torrent(
    PAYLOAD,
    name="a film",
    tiers=[["http://tracker.example:80/abc/announce"], ["udp://other.example:6969"]],
    web_seeds=["http://web.example/"],
    is_private=True,
    source="SITE",
)
TORRENT = BARE.edited(comment="x" * 5_000, created_by="mktorrent", creation_time_s=1_700_000_000)
QUIET = make_torrent(
    payload_of(50_000, 3), name="rests at once", tiers=[["http://127.0.0.1:1/announce"]]
)[0]


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the metainfo is read")


def test_facts_are_what_the_torrent_says() -> None:
    facts = facts_of(TORRENT)
    assert (facts.name, facts.total_bytes, facts.file_count) == ("a film", 100_000, 2)
    assert (facts.piece_bytes, facts.piece_count) == (
        TORRENT.geometry.piece_bytes,
        TORRENT.piece_count,
    )
    assert (facts.creator, facts.created_s) == ("mktorrent", 1_700_000_000)
    assert (facts.source_tag, facts.largest_suffix) == ("SITE", ".mkv")
    assert facts.is_private
    assert facts.comment == "x" * MAX_TEXT_CHARS
    assert "tracker.example" not in repr(facts)
    assert "web.example" not in repr(facts)


def test_facts_come_back_as_they_were_and_share_what_is_alike() -> None:
    facts = facts_of(TORRENT)
    again = read_facts(facts_values(facts))
    assert again == facts
    assert again.tiers is facts.tiers
    bare = facts_of(make_torrent(b"abc", name="a")[0])
    assert read_facts(facts_values(bare)) == bare
    assert (bare.comment, bare.created_s, bare.largest_suffix) == ("", None, "")


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
def test_bep52_facts_have_both_info_hashes(make: Any) -> None:
    metainfo = Metainfo.from_bytes(torrent_around(*make({"a": b"12345"})))
    facts = facts_of(metainfo)
    assert facts.info_hash_v2 == metainfo.info_hash_v2
    assert facts.info_hash_v1 == (metainfo.info_hash if make is hybrid_info else None)
    assert read_facts(facts_values(facts)) == facts
    earlier = read_facts(facts_values(facts)[:14])
    assert (earlier.info_hash_v1, earlier.info_hash_v2) == (None, None)


@pytest.mark.parametrize("values", [[], [1] * 14, ["a"] * 14, {"name": 1}, None])
def test_a_record_with_other_facts_is_not_believed(values: object) -> None:
    assert read_settings({"facts": None, "about": values}) is None


def test_a_brief_has_no_bitfield_and_calls_nothing_otherwise_than_the_statistics() -> None:
    names = {each.name for each in fields(SessionBrief)}
    own = {"left_bytes", "getting_from_us", "sending_to_us"}
    assert names - {each.name for each in fields(SessionStats)} == own
    assert "have" not in names


async def test_torrents_at_rest_and_stopped_are_known_without_their_metainfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(QUIET)
        session = await many.add_torrent(TORRENT)
        await session.stop()
        assert session.brief().total_bytes == 100_000
    monkeypatch.setattr(Metainfo, "from_bytes", never)
    async with manager(tmp_path) as many:
        resting, stopped = many.sessions
        assert resting.is_resting
        assert stopped.state is State.STOPPED
        assert resting.facts == facts_of(QUIET)
        assert stopped.facts == facts_of(TORRENT)
        assert resting.is_private is False
        assert stopped.is_private
        assert resting.tracker_hosts == ("127.0.0.1",)
        assert stopped.tracker_hosts == ("tracker.example", "other.example")
        assert [each.tier for each in resting.trackers()] == [0]
        assert [each.bep for each in stopped.web_seeds()] == [19]
        assert stopped.brief().wanted_bytes == 100_000
        assert stopped.brief().pieces_total == TORRENT.piece_count
        assert resting.brief().left_bytes == 50_000
        for session in (resting, stopped):
            brief, stats = session.brief(), session.stats()
            for name in {each.name for each in fields(SessionBrief)}:
                if hasattr(stats, name):
                    assert getattr(brief, name) == getattr(stats, name)


async def test_hosts_are_those_that_the_user_left(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        session.remove_tracker("udp://other.example:6969")
        session.add_tracker("http://third.example/announce")
        assert session.tracker_hosts == ("tracker.example", "third.example")


async def test_a_record_of_an_earlier_version_is_completed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(QUIET)
        await many.flush()
        await many.shared.store.run(
            lambda db: change_settings(
                db,
                QUIET.info_hash,
                lambda old: {name: value for name, value in old.items() if name != "about"},
            )
        )
    again = manager(tmp_path)
    seen: list[Event] = []
    again.events.subscribe(TorrentChanged, seen.append)
    async with again:
        (session,) = again.sessions
        await until(lambda: session.facts is not None)
        assert session.facts == facts_of(QUIET)
        about = TorrentChanged(QUIET.info_hash, ChangedGroup.ABOUT)
        await until(lambda: about in seen)
        await again.flush()
    monkeypatch.setattr(Metainfo, "from_bytes", never)
    async with manager(tmp_path) as many:
        assert many.sessions[0].facts == facts_of(QUIET)


async def test_a_link_has_facts_with_its_metadata(tmp_path: Path) -> None:
    plain, payload = make_torrent(payload_of(60_000), name="linked.iso")
    async with (
        seed(tmp_path / "seed", plain, payload) as (_, address),
        manager(tmp_path / "many") as many,
    ):
        config = SessionConfig(peers=(address,))
        link = Magnet(plain.info_hash, trackers=("udp://127.0.0.1:9/announce",))
        session = await many.add_torrent(link, config=config)
        assert session.tracker_hosts == ("127.0.0.1",)
        assert session.brief().total_bytes == 0
        await session.wait_complete()
        assert session.facts is not None
        assert (session.facts.name, session.facts.largest_suffix) == ("linked.iso", ".iso")
        assert session.brief().completed_bytes == 60_000


async def test_a_brief_of_a_run_says_what_its_statistics_say(tmp_path: Path) -> None:
    plain, payload = make_torrent(payload_of(60_000), name="seeded")
    async with seed(tmp_path, plain, payload) as (session, _):
        brief, stats = session.brief(), session.stats()
        assert (brief.completed_bytes, brief.pieces_have) == (60_000, plain.piece_count)
        assert (brief.ratio, brief.left_bytes) == (stats.ratio, 0)
