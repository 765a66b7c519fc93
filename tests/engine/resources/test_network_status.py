"""Where a process is reached, when it was, and whom it has no connections with."""

import time
from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import address_of, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.peers.incoming import Arrivals

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(200_000, 1))
SLOW = 5_000  # bytes per second


def test_arrivals_are_told_by_family_and_from_where() -> None:
    arrivals = Arrivals()
    arrivals.note("127.0.0.1", 5.0)
    arrivals.note("192.168.1.2", 6.0)
    arrivals.note("8.8.8.8", 4.0)
    arrivals.note("fe80::1", 7.0)
    assert arrivals.last == {"ipv4": 4.0, "ipv6": 7.0}
    assert arrivals.last_from_internet == {"ipv4": 4.0}


async def test_the_status_has_endpoints_and_the_last_arrival(tmp_path: Path) -> None:
    began = time.time()
    async with manager(tmp_path) as torrents:
        status = torrents.network()
        assert [each.port for each in status.tcp] == [status.listen_port]
        assert {each.host for each in status.udp} == {"127.0.0.1"}
        assert (status.dht_nodes, status.external_addresses) == (None, ())
        assert (status.last_incoming_at, status.connections) == ({}, 0)
        session = await torrents.add_torrent(METAINFO)
        await reach(session, State.DOWNLOADING)
        async with resources(tmp_path / "other") as other:
            config = SessionConfig(peers=(("127.0.0.1", status.listen_port),))
            stranger = await Session.create(
                METAINFO, other, save_path=tmp_path / "o", config=config
            )
            async with stranger:
                await until(lambda: torrents.network().last_incoming_at)
        after = torrents.network()
        assert began <= after.last_incoming_at["ipv4"] <= time.time()
        assert after.last_internet_incoming_at == {}


async def test_a_ban_ends_links_and_lasts_until_it_is_taken_back(tmp_path: Path) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeder, address):
        seeder.set_rate_limits(upload_bytes_per_s=SLOW)
        async with resources(tmp_path) as shared:
            session = await Session.create(
                METAINFO, shared, save_path=tmp_path / "o", config=SessionConfig(peers=(address,))
            )
            async with session:
                await until(session.peers)
                shared.ban("127.0.0.1")
                await until(lambda: not session.peers())
                (ban,) = shared.list_bans()
                assert (ban.host, ban.ends_in_s, ban.is_by_user) == ("127.0.0.1", None, True)
                await session.add_peer(*address)
                await seeder.add_peer(*address_of(shared))
                assert session.peers() == []
                assert shared.unban("127.0.0.1")
                assert not shared.unban("127.0.0.1")
                await session.add_peer(*address)
                await until(session.peers)


async def test_only_literal_addresses_are_banned_and_written_in_one_way(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        with pytest.raises(ConfigError):
            shared.ban("a.example")
        with pytest.raises(ConfigError):
            shared.ban("192.0.2.1", -1)
        shared.ban("2001:DB8:0::1", 60)
        shared.ban("::ffff:192.0.2.1")
        bans = shared.list_bans()
        assert [each.host for each in bans] == ["2001:db8::1", "192.0.2.1"]
        assert bans[0].ends_in_s is not None
        assert 0 < bans[0].ends_in_s <= 60
