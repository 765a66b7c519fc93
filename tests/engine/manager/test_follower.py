"""Torrents that follow a public key (BEP 46): newer versions replace them, in the same folder."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from tests.net.dht.test_service import LOOPBACK, QUICK, network
from tests.support.managers import manager, manager_config
from tests.support.swarm import content, seed, until
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.engine.manager.followed_key import FOLLOWED_KEY, FollowedKey
from torrent_engine.engine.manager.follower import MutableTorrentFollower
from torrent_engine.engine.manager.replacing import Replacing, ReplacingHost, keep
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.dht.mutable_torrents import (
    FoundTorrent,
    MutableTorrentPublisher,
    MutableTorrents,
    Publication,
)
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

pytestmark = pytest.mark.anyio

SEED = b"\x07" * 32
KEY = MutableTorrent.sign(SEED, InfoHash(bytes(20)), 0, salt=b"news").key
EQUAL = payload_of(60_000, 1)
OLD, OLD_PAYLOAD = make_torrent({"equal": EQUAL, "page": payload_of(20_000, 2), "gone": b"g"})
HYBRID = Metainfo.from_bytes(torrent_around(*hybrid_info({"a": EQUAL})))
BY_V2 = HYBRID.known_by(HYBRID.v2_swarm or HYBRID.info_hash)
NEW, NEW_PAYLOAD = make_torrent({"equal": EQUAL, "page": payload_of(30_000, 3), "more": b"m" * 9})
PATIENCE_S = 50.0


@dataclass
class FakeDht:
    """What is published, and what was given to nodes."""

    newest: MutableTorrent | None = None
    copies: int = 20
    stored: list[MutableTorrent] = field(default_factory=list)
    is_down: bool = False
    lookups: int = 0
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Done while a key is looked up."""

    async def find(self, key: MutableKey) -> FoundTorrent | None:
        assert key == KEY
        self.lookups += 1
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.is_down:
            raise NetworkError("no node of the DHT answered in time")
        return None if self.newest is None else FoundTorrent(self.newest, self.copies)

    async def store(self, torrent: MutableTorrent) -> Publication:
        self.stored.append(torrent)
        return Publication(torrent, ())

    def publish(self, torrent: Metainfo, sequence: int) -> None:
        self.newest = MutableTorrent.sign(SEED, torrent.info_hash, sequence, salt=b"news")


def follower_of(many: TorrentManager, dht: FakeDht | None) -> MutableTorrentFollower:
    return MutableTorrentFollower(replacing_of(many), lambda: dht, interval_s=1_800.0)


def replacing_of(many: TorrentManager) -> Replacing:
    host = ReplacingHost(many._torrents, many.add, many.remove_torrent, lambda: False)
    return Replacing(host)


def link(torrent: Metainfo, sequence: int = 0) -> Magnet:
    return Magnet(torrent.info_hash, updates=KEY, sequence=sequence)


def record_of(session: Session) -> FollowedKey:
    record = FollowedKey.read(session.user_data)
    assert record is not None
    return record


@asynccontextmanager
async def seeds(folder: Path) -> AsyncIterator[tuple[tuple[str, int], ...]]:
    """Seed both versions."""
    async with (
        seed(folder / "old", OLD, OLD_PAYLOAD) as (_, first),
        seed(folder / "new", NEW, NEW_PAYLOAD) as (_, second),
    ):
        yield first, second


async def finish(session: Session) -> None:
    await until(lambda: session.state is State.SEEDING, timeout_s=PATIENCE_S)


async def update(many: TorrentManager, follower: MutableTorrentFollower) -> Session:
    """Look up, and wait until the manager has replaced the torrent; return the newer one."""
    await follower.look_up()
    session = many.get_session(NEW.info_hash)
    assert session is not None
    await until(lambda: many.sessions == (session,), timeout_s=PATIENCE_S)
    await until(lambda: record_of(session).replaces is None, timeout_s=PATIENCE_S)
    return session


async def test_bep46_a_newer_version_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    async with seeds(tmp_path) as peers, manager(tmp_path) as many:
        dht = FakeDht()
        follower = follower_of(many, dht)
        old = await many.add_torrent(
            link(OLD), config=SessionConfig(peers=peers), priority=3, user_data={"label": "news"}
        )
        await finish(old)
        dht.publish(OLD, 4)
        await follower.look_up()
        assert record_of(old) == FollowedKey(KEY, 4)

        dht.publish(NEW, 5)
        new = await update(many, follower)
        await finish(new)
        assert [each.info_hash for each in many.sessions] == [NEW.info_hash]
        assert record_of(new) == FollowedKey(KEY, 5)
        assert new.user_data["label"] == "news"
        assert new.save_path == tmp_path / "files"
        assert content(NEW, tmp_path / "files") == NEW_PAYLOAD
        assert (tmp_path / "files" / OLD.name / "gone").read_bytes() == b"g"
        assert new.stats().downloaded_bytes < len(NEW_PAYLOAD), "what is equal is not fetched"


async def test_bep46_an_older_or_unreachable_version_changes_nothing(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        follower = follower_of(many, dht)
        session = await many.add_torrent(link(OLD, 7))
        await follower.look_up()
        assert dht.lookups == 1
        for sequence in (7, 6, 0):
            dht.publish(NEW, sequence)
            await follower.look_up()
        dht.is_down = True
        await follower.look_up()
        await follower_of(many, None).look_up()
        assert many.sessions == (session,)
        assert record_of(session) == FollowedKey(KEY, 7)


async def test_bep46_torrents_that_are_paused_or_follow_nothing_are_not_looked_up(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        await many.add_torrent(Magnet(NEW.info_hash))
        paused = await many.add_torrent(link(OLD), paused=True)
        await until(lambda: paused.state is State.PAUSED)
        await follower_of(many, dht).look_up()
        assert dht.lookups == 0


async def test_bep44_what_few_nodes_have_is_given_to_them_again(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        follower = follower_of(many, dht)
        await many.add_torrent(link(OLD))
        dht.publish(OLD, 1)
        newest = dht.newest
        await follower.look_up()
        assert dht.stored == []
        dht.copies = 3
        await follower.look_up()
        assert dht.stored == [newest]
        dht.newest = None
        await follower.look_up()
        assert dht.stored == [newest] * 2, "it is remembered where nodes have lost it"


async def test_bep46_a_version_after_the_next_replaces_what_is_still_fetched(
    tmp_path: Path,
) -> None:
    third, _ = make_torrent(b"third", name="third")
    async with manager(tmp_path) as many:
        dht = FakeDht()
        follower = follower_of(many, dht)
        old = await many.add_torrent(link(OLD))
        for sequence, torrent in ((1, NEW), (2, third), (2, third)):
            dht.publish(torrent, sequence)
            await follower.look_up()
        assert [each.info_hash for each in many.sessions] == [OLD.info_hash, third.info_hash]
        assert record_of(many.sessions[1]) == FollowedKey(KEY, 2, OLD.info_hash)
        assert many.sessions[0] is old


async def test_bep46_a_version_that_is_there_already_becomes_the_one_that_follows(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        await many.add_torrent(link(OLD))
        own = await many.add_torrent(Magnet(NEW.info_hash))
        dht.publish(NEW, 1)
        await follower_of(many, dht).look_up()
        assert many.sessions == (own,)
        assert record_of(own) == FollowedKey(KEY, 1)


@pytest.mark.parametrize("published", [HYBRID, BY_V2], ids=["v1", "v2"])
@pytest.mark.parametrize("known", [HYBRID, BY_V2], ids=["by_v1", "by_v2"])
async def test_bep46_a_hybrid_is_the_version_that_is_published_by_either_of_its_info_hashes(
    known: Metainfo, published: Metainfo, tmp_path: Path
) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        own = await many.add_torrent(known, user_data=FollowedKey(KEY).kept({}))
        dht.publish(published, 1)
        await follower_of(many, dht).look_up()
        assert many.sessions == (own,)
        assert record_of(own) == FollowedKey(KEY, 1)


async def test_a_torrent_does_not_replace_itself(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        own = await many.add_torrent(BY_V2)
        await replacing_of(many).begin(own, HYBRID, FollowedKey(KEY, 3, own.info_hash))
        assert many.sessions == (own,)
        assert record_of(own) == FollowedKey(KEY, 3)


async def test_files_of_the_user_are_not_overwritten_by_a_newer_version(tmp_path: Path) -> None:
    async with seeds(tmp_path) as peers, manager(tmp_path) as many:
        dht = FakeDht()
        follower = follower_of(many, dht)
        old = await many.add_torrent(link(OLD), config=SessionConfig(peers=peers))
        await finish(old)
        mine = tmp_path / "files" / NEW.name / "more"
        mine.write_bytes(b"my own notes")
        dht.publish(NEW, 1)
        new = await update(many, follower)
        assert not new.config.overwrite
        await until(lambda: new.state is State.ERROR, timeout_s=PATIENCE_S)
        assert mine.read_bytes() == b"my own notes"


async def test_what_lies_in_the_place_of_a_file_that_was_skipped_stays_the_users(
    tmp_path: Path,
) -> None:
    async with seeds(tmp_path) as peers, manager(tmp_path) as many:
        mine = tmp_path / "files" / OLD.name / "page"
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"my own page")
        dht = FakeDht()
        skipped = [file.path[-1] for file in OLD.files].index("page")
        old = await many.add_torrent(OLD, config=SessionConfig(peers=peers))
        await old.set_file_priorities({skipped: 0})
        keep(old, FollowedKey(KEY, 0))
        await finish(old)
        dht.publish(NEW, 1)
        new = await update(many, follower_of(many, dht))
        await finish(new)
        assert mine.read_bytes() == b"my own page"
        assert [file.priority for file in new.files() if file.path.name == "page"] == [0]


@pytest.mark.parametrize("how", ["stop", "pause", "remove"])
async def test_bep46_what_its_user_ends_while_it_is_looked_up_is_not_replaced(
    tmp_path: Path, how: str
) -> None:
    async with manager(tmp_path) as many:
        dht = FakeDht()
        old = await many.add_torrent(OLD, config=SessionConfig())
        keep(old, FollowedKey(KEY, 0))
        await until(lambda: old.state is State.DOWNLOADING)
        dht.publish(NEW, 1)

        async def end() -> None:
            if how == "remove":
                await many.remove_torrent(old.info_hash)
            else:
                await getattr(old, how)()

        dht.meanwhile = end
        await follower_of(many, dht).look_up()
        assert dht.lookups == 1
        assert many.sessions == (() if how == "remove" else (old,))


async def test_bep46_a_restart_in_between_goes_on_with_the_newer_version(tmp_path: Path) -> None:
    async with seeds(tmp_path) as peers:
        dht = FakeDht()
        async with manager(tmp_path) as many:
            old = await many.add_torrent(link(OLD), config=SessionConfig(peers=peers))
            await finish(old)
            dht.publish(NEW, 1)
            await follower_of(many, dht).look_up()
            assert len(many.sessions) == 2
        async with manager(tmp_path) as many:
            new = many.get_session(NEW.info_hash)
            assert new is not None
            assert record_of(new) == FollowedKey(KEY, 1, OLD.info_hash)
            assert await update(many, follower_of(many, dht)) is new
            await finish(new)
            assert content(NEW, tmp_path / "files") == NEW_PAYLOAD


async def test_bep46_it_is_looked_up_at_intervals(tmp_path: Path) -> None:
    naps: list[float] = []
    turn = anyio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await turn.acquire()

    async with manager(tmp_path) as many:
        dht = FakeDht()
        await many.add_torrent(link(OLD))
        follower = MutableTorrentFollower(
            replacing_of(many), lambda: dht, interval_s=1_800.0, sleep=sleep
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.run)
            await until(lambda: naps == [30.0])
            assert dht.lookups == 0
            turn.release()
            await until(lambda: naps == [30.0, 1_800.0])
            assert dht.lookups == 1
            turn.release()
            await until(lambda: naps == [30.0, 1_800.0, 1_800.0])
            assert dht.lookups == 2
            tasks.cancel_scope.cancel()


async def test_bep46_a_link_is_looked_up_in_the_dht_and_followed_there(tmp_path: Path) -> None:
    async with network(3, config=replace(QUICK, max_queries_per_ip_per_s=0)) as nodes:
        publisher = MutableTorrentPublisher(MutableTorrents(nodes[1]), os.urandom(32))
        await publisher.publish(OLD.info_hash)
        dht = replace(QUICK, bootstrap=((LOOPBACK, nodes[0].port),), update_interval_s=0.2)
        config = manager_config(tmp_path)
        config = replace(config, shared=replace(config.shared, dht=dht))
        async with seeds(tmp_path) as peers, TorrentManager(config) as many:
            link = f"{publisher.key}&dn=news"
            added = await many.add(link, config=SessionConfig(peers=peers))
            assert (added.session.info_hash, added.session.name) == (OLD.info_hash, "news")
            await finish(added.session)
            await publisher.publish(NEW.info_hash)
            await until(lambda: many.get_session(NEW.info_hash), timeout_s=PATIENCE_S)
            await until(lambda: len(many.sessions) == 1, timeout_s=PATIENCE_S)
            await finish(many.sessions[0])
            assert content(NEW, tmp_path / "files") == NEW_PAYLOAD


KEPT = {
    "none": "",
    "words": "a b",
    "no_number": f"{KEY} x",
    "number_too_large": f"{KEY} {2**63}",
    "number_of_another_script": f"{KEY} \u0661",
    "negative": f"{KEY} -1",
    "no_key": "magnet:?xs=urn:btpk:00 1",
    "no_hash": f"{KEY} 1 xyz",
    "short_hash": f"{KEY} 1 00",
    "four_words": f"{KEY} 1 {'00' * 20} more",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_a_record_that_says_nothing_follows_nothing(text: str) -> None:
    assert FollowedKey.read({FOLLOWED_KEY: text}) is None


@pytest.mark.parametrize("replaces", [None, OLD.info_hash])
def test_a_record_is_read_back(replaces: InfoHash | None) -> None:
    record = FollowedKey(KEY, 3, replaces)
    assert FollowedKey.read(record.kept({"label": "a"})) == record
    assert record.kept({"label": "a"})["label"] == "a"
