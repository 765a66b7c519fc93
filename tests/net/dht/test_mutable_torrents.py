"""Published torrents (BEP 46) among nodes on loopback: found, replaced, refused, kept."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.net.dht.test_service import LOOPBACK, QUICK, network, node
from torrent_engine.base.errors import ConfigError, NetworkError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.net.dht.mutable_torrents import (
    MutableTorrentPublisher,
    MutableTorrents,
    resolve_link,
)
from torrent_engine.protocol.dht.items import sign_item
from torrent_engine.protocol.dht.krpc import Bencoded
from torrent_engine.protocol.dht.mutable_torrent import MutableTorrent

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = (InfoHash(bytes([number]) * 20) for number in (1, 2, 3))


@asynccontextmanager
async def torrents() -> AsyncIterator[tuple[MutableTorrents, MutableTorrents]]:
    """Yield access by two of four nodes."""
    async with network(4, config=replace(QUICK, max_queries_per_ip_per_s=0)) as nodes:
        yield MutableTorrents(nodes[1]), MutableTorrents(nodes[2])


async def test_bep46_the_newest_version_is_found_by_its_key_and_salt() -> None:
    async with torrents() as (writer, reader):
        publisher = MutableTorrentPublisher(writer, os.urandom(32), salt=b"news")
        assert await reader.find(publisher.key) is None
        done = await publisher.publish(FIRST)
        assert done.stored_at
        assert not done.refusals
        assert done.torrent.sequence == 0
        found = await reader.find(publisher.key)
        assert found is not None
        assert found.torrent == done.torrent
        assert found.copies >= 1
        again = await publisher.publish(SECOND)
        assert again.torrent.sequence == 1
        found = await reader.find(publisher.key)
        assert found is not None
        assert (found.torrent.info_hash, found.torrent.sequence) == (SECOND, 1)
        assert await reader.find(MutableKey(publisher.key.public_key)) is None


async def test_bep46_the_same_torrent_again_keeps_its_number() -> None:
    async with torrents() as (writer, _):
        publisher = MutableTorrentPublisher(writer, os.urandom(32))
        first = await publisher.publish(FIRST, sequence=5)
        again = await publisher.publish(FIRST)
        assert again.torrent == first.torrent
        assert again.stored_at


async def test_bep44_a_version_that_is_not_newer_or_not_expected_is_refused() -> None:
    async with torrents() as (writer, reader):
        publisher = MutableTorrentPublisher(writer, os.urandom(32))
        await publisher.publish(FIRST, sequence=5)
        with pytest.raises(ConfigError, match="version 5 cannot replace version 5"):
            await publisher.publish(SECOND, sequence=5)
        with pytest.raises(ConfigError, match="version 4 cannot"):
            await publisher.publish(FIRST, sequence=4)
        with pytest.raises(ConfigError, match="cas: the newest version is 5, not 4"):
            await publisher.publish(SECOND, cas=4)
        done = await publisher.publish(SECOND, cas=5)
        assert (done.torrent.sequence, bool(done.stored_at)) == (6, True)
        found = await reader.find(publisher.key)
        assert found is not None
        assert found.torrent == done.torrent


async def test_bep44_nodes_refuse_an_older_version_and_a_forged_one() -> None:
    seed = os.urandom(32)
    async with torrents() as (writer, reader):
        await writer.store(MutableTorrent.sign(seed, SECOND, 2))
        old = await writer.store(MutableTorrent.sign(seed, FIRST, 1))
        assert not old.stored_at
        assert "302" in old.refusals[0] or "sequence" in old.refusals[0]
        newer = MutableTorrent.sign(seed, THIRD, 3)
        forged = replace(newer, item=replace(newer.item, signature=bytes(64)))
        assert not (await writer.store(forged)).stored_at
        found = await reader.find(newer.key)
        assert found is not None
        assert found.torrent.info_hash == SECOND


async def test_bep46_what_is_no_torrent_is_an_error_for_readers_and_can_be_replaced() -> None:
    seed = os.urandom(32)
    async with torrents() as (writer, reader):
        note = sign_item(seed, Bencoded(b"4:note"), 8)
        await writer.store(MutableTorrent(FIRST, note))
        publisher = MutableTorrentPublisher(writer, seed)
        with pytest.raises(RemoteProtocolError, match="names no torrent"):
            await reader.find(publisher.key)
        assert (await publisher.publish(FIRST)).torrent.sequence == 9


async def test_bep46_a_link_leads_to_the_torrent_of_now() -> None:
    async with network(3) as nodes:
        publisher = MutableTorrentPublisher(MutableTorrents(nodes[1]), os.urandom(32))
        link = f"{publisher.key}&dn=news"
        with pytest.raises(NetworkError, match="no node of the DHT has"):
            await resolve_link(link, nodes[2])
        await publisher.publish(FIRST, sequence=3)
        magnet = await resolve_link(link, nodes[2])
        assert (magnet.info_hash, magnet.name, magnet.sequence) == (FIRST, "news", 3)
        assert magnet.updates == publisher.key


async def test_bep46_without_a_dht_or_its_nodes_there_is_an_error() -> None:
    key = MutableKey(bytes(32))
    with pytest.raises(ConfigError, match="switched off"):
        await resolve_link(str(key), None)
    async with node((LOOPBACK, 9)) as alone:
        with pytest.raises(NetworkError, match="in time"):
            await MutableTorrents(alone, timeout_s=0.1).find(key)
