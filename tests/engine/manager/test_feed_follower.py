"""Torrents with a feed (BEP 39): signed newer versions replace them, in the same folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.feeds import WITH_A_THIRD_FILE, files_of, signed_version, version
from tests.support.managers import manager, manager_config
from tests.support.rude_server import response, rude_server
from tests.support.swarm import content, seed, until
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import FeedConfig, SessionConfig, WebSeedConfig
from torrent_engine.base.errors import HttpError, SignatureError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.feed_follower import FeedFollower
from torrent_engine.engine.manager.followed_feed import FOLLOWED_FEED, MAX_SEEN, FollowedFeed
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.http.torrent_feed import NO_VALIDATORS, FeedAnswer, FeedValidators

pytestmark = pytest.mark.anyio

PATIENCE_S = 50.0
CONFIG = FeedConfig(enabled=True, interval_s=1_000.0, first_retry_s=10.0, max_retry_s=35.0)


def payload(number: int) -> bytes:
    return b"".join(data for _, data in sorted(files_of(number).items()))


@dataclass
class FakeFeed:
    """What feeds answer, what they were asked, and the time."""

    answer: FeedAnswer | Exception = field(default_factory=lambda: FeedAnswer(None))
    asked: list[tuple[InfoHash, FeedValidators]] = field(default_factory=list)
    now: float = 0.0

    async def ask(self, metainfo: Metainfo, known: FeedValidators) -> FeedAnswer:
        self.asked.append((metainfo.info_hash, known))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def follower(self, many: TorrentManager, config: FeedConfig = CONFIG) -> FeedFollower:
        return FeedFollower(config, many._replacing, self.ask, clock=lambda: self.now)


def record_of(session: Session) -> FollowedFeed | None:
    return FollowedFeed.read(session.user_data)


@asynccontextmanager
async def seeds(folder: Path) -> AsyncIterator[SessionConfig]:
    """Seed both versions; give the configuration of who wants them."""
    async with (
        seed(folder / "old", signed_version(1), payload(1)) as (_, first),
        seed(folder / "new", signed_version(2), payload(2)) as (_, second),
    ):
        yield SessionConfig(peers=(first, second))


async def finish(session: Session) -> None:
    await until(lambda: session.state is State.SEEDING, timeout_s=PATIENCE_S)


async def replaced(many: TorrentManager, newer: Metainfo) -> Session:
    """Wait until the manager has a newer version only; return it."""
    await until(
        lambda: [each.info_hash for each in many.sessions] == [newer.info_hash],
        timeout_s=PATIENCE_S,
    )
    (session,) = many.sessions
    await until(
        lambda: (record := record_of(session)) and record.replaces is None, timeout_s=PATIENCE_S
    )
    return session


async def test_bep39_a_newer_version_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    async with seeds(tmp_path) as config, manager(tmp_path) as many:
        feed = FakeFeed(FeedAnswer(signed_version(2)))
        old = await many.add_torrent(
            signed_version(1), config=config, priority=3, user_data={"label": "news"}
        )
        await finish(old)
        await feed.follower(many).ask_due()
        assert feed.asked == [(old.info_hash, NO_VALIDATORS)]
        new = await replaced(many, signed_version(2))
        await finish(new)
        assert record_of(new) == FollowedFeed((old.info_hash[:8].hex(),))
        assert (new.user_data["label"], many.priority(new.info_hash)) == ("news", 3)
        assert not new.config.metadata_only
        assert content(signed_version(2), tmp_path / "files") == payload(2)
        assert new.stats().downloaded_bytes < len(payload(2)), "what is equal is not fetched"


async def test_bep39_a_feed_cannot_go_back_to_an_older_version(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        feed = FakeFeed(FeedAnswer(signed_version(2)))
        follower = feed.follower(many)
        await many.add_torrent(signed_version(1))
        await follower.ask_due()
        await replaced(many, signed_version(2))
    async with manager(tmp_path) as many:
        (new,) = many.sessions
        follower = feed.follower(many)
        for number in (1, 2):
            feed.answer = FeedAnswer(signed_version(number))
            feed.now += CONFIG.interval_s
            await until(lambda: new.state is State.DOWNLOADING)
            await follower.ask_due()
            assert many.sessions == (new,)
        assert len(feed.asked) == 3


async def test_bep39_a_feed_cannot_go_back_to_a_hybrid_by_its_other_info_hash(
    tmp_path: Path,
) -> None:
    hybrid = Metainfo.from_bytes(torrent_around(*hybrid_info({"a": payload(1)})))
    assert hybrid.v2_swarm is not None
    older = FollowedFeed().after(hybrid.v2_swarm)  # as a link of v2 named it
    async with manager(tmp_path) as many:
        feed = FakeFeed(FeedAnswer(hybrid))
        record = replace(older, replaces=None)
        new = await many.add_torrent(signed_version(2), user_data=record.kept({}))
        await feed.follower(many).ask_due()
        assert feed.asked
        assert many.sessions == (new,)


async def test_bep39_feeds_are_asked_at_intervals_with_what_they_said(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        tag = FeedValidators('"a"', "yesterday")
        feed = FakeFeed(FeedAnswer(None, tag))
        follower = feed.follower(many)
        session = await many.add_torrent(signed_version(1))
        await until(lambda: session.state is State.DOWNLOADING)
        for seconds in (0, CONFIG.interval_s - 1, 1):
            feed.now += seconds
            await follower.ask_due()
        assert [known for _, known in feed.asked] == [NO_VALIDATORS, tag]


@pytest.mark.parametrize("error", [HttpError("no"), SignatureError("no"), ValueError("a bug")])
async def test_bep39_a_feed_that_fails_is_asked_ever_later(
    tmp_path: Path, error: Exception
) -> None:
    async with manager(tmp_path) as many:
        feed = FakeFeed(error)
        follower = feed.follower(many)
        session = await many.add_torrent(signed_version(1))
        await until(lambda: session.state is State.DOWNLOADING)
        times = []
        for second in range(130):
            feed.now, before = float(second), len(feed.asked)
            await follower.ask_due()
            times += [second] * (len(feed.asked) - before)
        assert times == [0, 10, 30, 65, 100]
        assert many.sessions == (session,)
        feed.answer = FeedAnswer(None)
        for seconds in (20.0, CONFIG.interval_s, 0.0):
            feed.now += seconds
            await follower.ask_due()
        assert len(feed.asked) == 7, "a success ends the waiting"


async def test_torrents_without_a_feed_paused_or_without_metadata_are_not_asked_about(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        feed = FakeFeed()
        await many.add_torrent(version(2, originator=None))
        await many.add_torrent(Magnet(InfoHash(b"m" * 20)))
        paused = await many.add_torrent(signed_version(1), paused=True)
        await until(lambda: paused.state is State.PAUSED)
        follower = feed.follower(many)
        await follower.ask_due()
        await follower.ask_due()
        assert feed.asked == []


async def test_a_torrent_that_is_removed_while_its_feed_is_asked_is_not_replaced(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        old = await many.add_torrent(signed_version(1))
        await until(lambda: old.state is State.DOWNLOADING)

        async def ask(_metainfo: Metainfo, _known: FeedValidators) -> FeedAnswer:
            await many.remove_torrent(old.info_hash)
            return FeedAnswer(signed_version(2))

        await FeedFollower(CONFIG, many._replacing, ask, clock=lambda: 0.0).ask_due()
        assert many.sessions == ()


async def test_bep39_a_version_that_came_during_a_pause_is_asked_for_again(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        old = await many.add_torrent(signed_version(1))
        await until(lambda: old.state is State.DOWNLOADING)
        asked: list[FeedValidators] = []

        async def ask(_metainfo: Metainfo, known: FeedValidators) -> FeedAnswer:
            asked.append(known)
            if len(asked) == 1:
                await old.pause()
            return FeedAnswer(signed_version(2), FeedValidators('"new"'))

        now = iter([0.0] * 9)
        follower = FeedFollower(
            replace(CONFIG, interval_s=0.0), many._replacing, ask, clock=lambda: next(now)
        )
        await follower.ask_due()
        assert many.sessions == (old,)
        await old.resume()
        await follower.ask_due()
        assert asked == [NO_VALIDATORS, NO_VALIDATORS]
        assert signed_version(2).info_hash in {each.info_hash for each in many.sessions}


async def test_bep39_what_a_feed_said_is_not_told_it_after_a_failure(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        feed = FakeFeed(FeedAnswer(None, FeedValidators('"odd"')))
        follower = feed.follower(many)
        session = await many.add_torrent(signed_version(1))
        await until(lambda: session.state is State.DOWNLOADING)
        await follower.ask_due()
        for answer in (HttpError("no"), FeedAnswer(None)):
            feed.now += CONFIG.interval_s
            feed.answer = answer
            await follower.ask_due()
        assert [known.etag for _, known in feed.asked] == ["", '"odd"', ""]


async def test_files_of_the_user_are_not_overwritten_by_what_a_feed_has(tmp_path: Path) -> None:
    async with seeds(tmp_path) as config, manager(tmp_path) as many:
        old = await many.add_torrent(version(1), config=config)
        await finish(old)
        newer = signed_version(WITH_A_THIRD_FILE)
        mine = tmp_path / "files" / newer.name / "zz.bin"
        mine.write_bytes(b"my own notes")
        await FakeFeed(FeedAnswer(newer)).follower(many).ask_due()
        new = await replaced(many, newer)
        await until(lambda: new.state is State.ERROR, timeout_s=PATIENCE_S)
        assert mine.read_bytes() == b"my own notes"


async def test_bep39_a_version_that_waits_is_not_asked_for_again(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        feed = FakeFeed()
        old = await many.add_torrent(signed_version(1))
        link = Magnet(signed_version(2).info_hash)
        record = FollowedFeed().after(old.info_hash)
        await many.add(link, user_data=record.kept({}), config=SessionConfig(metadata_only=True))
        await until(lambda: old.state is State.DOWNLOADING)
        await feed.follower(many).ask_due()
        assert feed.asked == []


async def test_nothing_is_asked_unless_it_is_switched_on(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await FakeFeed().follower(many, FeedConfig()).run()  # ends at once
    assert not FeedConfig().enabled


async def test_bep39_a_manager_asks_the_server_of_the_feed(tmp_path: Path) -> None:
    newest: list[bytes] = []

    async def handler(stream: anyio.abc.ByteStream, head: bytes) -> None:
        if b'if-none-match: "' + str(len(newest)).encode() in head.lower():
            await stream.send(response(status=304))
            return
        await stream.send(response(newest[-1], ETag=f'"{len(newest)}"'))

    async with rude_server(handler) as server, seeds_of(tmp_path, server.base) as peers:
        newest.append(signed_version(1, server.base).source)
        config = manager_config(tmp_path)
        shared = replace(config.shared, web_seed=WebSeedConfig(allow_local=True))
        feeds = FeedConfig(enabled=True, interval_s=0.2, first_retry_s=0.2, max_retry_s=0.2)
        async with TorrentManager(replace(config, shared=shared, feeds=feeds)) as many:
            old = await many.add_torrent(newest[0], config=SessionConfig(peers=peers))
            await finish(old)
            seen = len(server.requests)
            await until(lambda: len(server.requests) >= seen + 3, timeout_s=PATIENCE_S)
            assert b'if-none-match: "1"' in server.requests[-1].lower()
            assert b"info_hash=" + old.info_hash.hex().encode() in server.requests[-1]
            newer = signed_version(2, server.base)
            newest.append(newer.source)
            new = await replaced(many, newer)
            await finish(new)
            assert content(newer, tmp_path / "files") == payload(2)
            newest.append(signed_version(1, server.base).source)  # the feed goes back
            seen = len(server.requests)
            await until(lambda: len(server.requests) >= seen + 3, timeout_s=PATIENCE_S)
            assert many.sessions == (new,)


async def test_feeds_at_private_addresses_are_not_asked(tmp_path: Path) -> None:
    async def handler(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        await stream.send(response(signed_version(2).source))

    async with rude_server(handler) as server:
        shared = manager_config(tmp_path).shared
        assert not shared.web_seed.allow_local
        async with manager(tmp_path) as many:
            with pytest.raises(HttpError):
                await many._ask_feed(signed_version(1, server.base), NO_VALIDATORS)
        assert server.requests == []


@asynccontextmanager
async def seeds_of(folder: Path, url: str) -> AsyncIterator[tuple[tuple[str, int], ...]]:
    """Seed both versions of a feed at another URL."""
    async with (
        seed(folder / "old", signed_version(1, url), payload(1)) as (_, first),
        seed(folder / "new", signed_version(2, url), payload(2)) as (_, second),
    ):
        yield first, second


KEPT = {
    "none": "",
    "words": "a b",
    "no_hash": "0123",
    "upper_case": "A" * 40,
    "long_hash": "- " + "0" * 18,
    "short_hash": "- " + "0" * 14,
    "two_spaces": "-  " + "0" * 16,
    "line": "-\n" + "0" * 16,
    "line_end": "-\n",
    "digits_of_another_script": "- " + "\u0661" * 16,
    "too_many": "-" + (" " + "0" * 16) * (MAX_SEEN + 1),
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_a_record_that_says_nothing_of_versions(text: str) -> None:
    assert FollowedFeed.read({FOLLOWED_FEED: text}) is None


@given(st.text(alphabet="0123456789abcdef- \n\u0660", max_size=80) | st.text(max_size=60))
def test_a_record_is_read_or_says_nothing(text: str) -> None:
    record = FollowedFeed.read({FOLLOWED_FEED: text})
    assert record is None or record.kept({}) == {FOLLOWED_FEED: text}


def test_a_record_is_read_back_and_bounded() -> None:
    record = FollowedFeed()
    for number in range(MAX_SEEN + 3):
        record = record.after(InfoHash(bytes([number]) * 20))
        assert FollowedFeed.read(record.kept({"label": "a"})) == record
    assert len(record.seen) == MAX_SEEN
    assert record.has_seen(InfoHash(b"\x03" * 20))
    assert not record.has_seen(InfoHash(b"\x02" * 20)), "the oldest is forgotten"
    assert record.kept({"label": "a"})["label"] == "a"
    assert record.replaces == InfoHash(bytes([MAX_SEEN + 2]) * 20)
