"""Good peers outlive the process."""

from dataclasses import replace
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig, PoolConfig
from torrent_engine.base.errors import DiskFullError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.records import TorrentRecord
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.swarm.saved_peers import MAX_SAVED_PEERS, SavedPeer, SavedPeers
from torrent_engine.policy.peers.candidates import CandidateList

pytestmark = pytest.mark.anyio

PUBLIC, _ = make_torrent(payload_of(1_000))
PRIVATE, _ = make_torrent(payload_of(1_000), is_private=True)
PEERS = [
    SavedPeer(PeerAddress("8.8.8.8", 1), is_seed=True),
    SavedPeer(PeerAddress("2600::1", 65_535), is_seed=False),
]


def saved_peers(store: StateStore, metainfo: Metainfo) -> SavedPeers:
    return SavedPeers(store, metainfo, CandidateList(PoolConfig(), Random(1)))


async def store_with(folder: Path, metainfo: Metainfo, peers: object = None) -> StateStore:
    """Return a store that knows a torrent."""
    store = await StateStore.open(folder, config=DiskConfig(state_reserve_bytes=0))
    settings = {"other": 1} if peers is None else {"other": 1, "peers": peers}
    record = TorrentRecord(
        metainfo.info_hash, "x", "/x", settings=settings, metainfo_bytes=metainfo.source
    )
    await store.save_torrent(record)
    return store


async def test_saved_peers_are_loaded_in_order_and_nothing_else_changes(tmp_path: Path) -> None:
    async with await store_with(tmp_path, PUBLIC) as store:
        before = await store.load(PUBLIC.info_hash)
        subject = saved_peers(store, PUBLIC)
        assert await subject.load() == []
        await subject.save(PEERS)
        after = await store.load(PUBLIC.info_hash)
        assert await saved_peers(store, PUBLIC).load() == PEERS
    assert before is not None
    assert after is not None
    assert after.settings["other"] == 1
    assert replace(after, settings=before.settings) == before


async def test_what_is_saved_at_the_same_time_stays(tmp_path: Path) -> None:
    """A torrent that ends saves its peers while its keeper saves what it has learned."""
    learned = PUBLIC.edited(comment="learned").source
    async with await store_with(tmp_path, PUBLIC) as store:
        subject = saved_peers(store, PUBLIC)
        assert await subject.load() == []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subject.save, PEERS)
            tasks.start_soon(store.save_metainfo, PUBLIC.info_hash, learned)
            tasks.start_soon(store.change_settings, PUBLIC.info_hash, {"other": 2})
        assert store.copies.metainfo_bytes(PUBLIC.info_hash) == learned
        record = await store.load(PUBLIC.info_hash)
        assert await saved_peers(store, PUBLIC).load() == PEERS
    assert record is not None
    assert record.settings["other"] == 2


async def test_settings_of_an_unknown_torrent_are_not_saved(tmp_path: Path) -> None:
    async with await store_with(tmp_path, PUBLIC) as store:
        await store.change_settings(PRIVATE.info_hash, {"other": 2})
        assert await store.load(PRIVATE.info_hash) is None


async def test_bep27_of_a_private_torrent_no_peer_is_kept(tmp_path: Path) -> None:
    async with await store_with(tmp_path, PRIVATE, [["8.8.8.8", 1, False]]) as store:
        subject = saved_peers(store, PRIVATE)
        assert await subject.load() == []
        await subject.save(PEERS)
        record = await store.load(PRIVATE.info_hash)
    assert record is not None
    assert record.settings == {"other": 1}


async def test_number_is_bounded_whoever_wrote_it(tmp_path: Path) -> None:
    many = [SavedPeer(PeerAddress("8.8.8.8", port), is_seed=False) for port in range(1, 1_000)]
    async with await store_with(tmp_path, PUBLIC, [["1.1.1.1", 1, False]] * 1_000) as store:
        subject = saved_peers(store, PUBLIC)
        assert len(await subject.load()) == MAX_SAVED_PEERS
        await subject.save(many)
        assert await subject.load() == many[:MAX_SAVED_PEERS]


DAMAGED = {"text": "x", "none": [None], "short": [["8.8.8.8"]], "types": [[1, "8.8.8.8", 0]]}


@pytest.mark.parametrize("value", DAMAGED.values(), ids=DAMAGED.keys())
async def test_f6_what_is_no_peer_is_passed_over(tmp_path: Path, value: object) -> None:
    async with await store_with(tmp_path, PUBLIC, value) as store:
        assert await saved_peers(store, PUBLIC).load() == []


async def test_after_a_run_too_short_to_load_them_saved_peers_are_kept_behind_the_new(
    tmp_path: Path,
) -> None:
    old = ["9.9.9.9", 9, False]
    async with await store_with(tmp_path, PUBLIC, [old, ["8.8.8.8", 1, False]]) as store:
        await saved_peers(store, PUBLIC).save(PEERS)
        found = await saved_peers(store, PUBLIC).load()
    assert found == [*PEERS, SavedPeer(PeerAddress("9.9.9.9", 9), is_seed=False)]


async def test_f1_a_database_that_fails_costs_the_peers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **_options: object) -> None:
        raise DiskFullError(tmp_path, "no space left")

    async with await store_with(tmp_path, PUBLIC) as store:
        subject = saved_peers(store, PUBLIC)
        await subject.load()
        monkeypatch.setattr(store, "change_settings", fail)
        await subject.save(PEERS)
        monkeypatch.setattr(store, "load", fail)
        assert await subject.load() == []
    assert "not saved" in caplog.text
    assert "not loaded" in caplog.text
