"""What all torrents know of their port at the gateway, whom they tell; the secret on the disk."""

import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.nat_gateway import TCP, UDP, ScriptedGateway, serve_gateway
from tests.support.swarm import LOOPBACK, PATIENCE_S, resources, shared_config, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    DhtConfig,
    NetworkConfig,
    PoolConfig,
    PortMappingConfig,
    UtpConfig,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.resources import external_port as shared_mapping
from torrent_engine.engine.resources.external_port import (
    SECRET_BYTES,
    load_secret,
    make_port_mapper,
)
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.swarm.own_addresses import OwnAddresses
from torrent_engine.net.nat.gateway import Gateway
from torrent_engine.net.nat.port_mapping import MapperHost
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.external_address import ExternalAddresses
from torrent_engine.protocol.dht.security import is_valid_node_id

pytestmark = pytest.mark.anyio

OUTSIDE = "8.8.4.4"
MAPPING = PortMappingConfig(
    enabled=True,
    protocols=("PCP", "NAT-PMP"),
    first_timeout_s=0.05,
    pcp_first_timeout_s=0.05,
)
DHT = DhtConfig(bootstrap=())


@asynccontextmanager
async def behind(
    gateway: ScriptedGateway, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> AsyncIterator[SharedResources]:
    """Yield the services of a node on loopback whose gateway is there, too."""
    async with serve_gateway(gateway) as port:
        host = partial(
            MapperHost,
            find_gateway={False: Gateway(LOOPBACK, LOOPBACK)}.get,
            gateway_port=port,
        )
        monkeypatch.setattr(shared_mapping, "MapperHost", host)
        async with resources(folder, **{"port_mapping": MAPPING, **changes}) as shared:
            yield shared


def scripted(port_offset: int = 0) -> ScriptedGateway:
    gateway = ScriptedGateway(time.monotonic, client_host=LOOPBACK)
    gateway.external_host, gateway.port_offset = OUTSIDE, port_offset
    return gateway


def is_open(shared: SharedResources, count: int = 1) -> bool:
    return sum(each.is_open for each in shared.port_mapping.status()) == count


async def test_the_listening_ports_are_opened_and_closed_with_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = scripted()
    async with behind(gateway, tmp_path, monkeypatch, dht=DHT) as shared:
        await until(lambda: is_open(shared, 2))
        assert shared.dht is not None
        assert set(gateway.opened) == {(TCP, shared.listen_port), (UDP, shared.dht.port)}
        assert shared.announced_port == shared.listen_port
        assert shared.external_addresses.mapped_port is None
    assert gateway.opened == {}


async def test_the_gateway_tells_where_we_are_and_the_dht_takes_an_id_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind(scripted(1), tmp_path, monkeypatch, dht=DHT) as shared:
        await until(lambda: is_open(shared, 2))
        assert shared.external_addresses.hosts == (OUTSIDE,)
        assert shared.dht is not None
        node = shared.dht.drivers[False].node
        assert node.external == PeerAddress(OUTSIDE, shared.dht.port + 1)
        assert is_valid_node_id(node.node_id, OUTSIDE)


async def test_trackers_are_told_the_port_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        behind(scripted(1), tmp_path, monkeypatch) as shared,
        EmbeddedTracker(LOOPBACK) as tracker,
    ):
        await until(lambda: is_open(shared))
        assert shared.announced_port == shared.listen_port + 1
        metainfo, _ = make_torrent({"a": payload_of(50_000)}, tiers=[[tracker.announce_url]])
        session = await Session.create(metainfo, shared, save_path=tmp_path / "x")
        async with session:
            await until(lambda: announced_ports(tracker, metainfo) == [shared.announced_port])


def announced_ports(tracker: EmbeddedTracker, metainfo: Metainfo) -> list[int]:
    swarm = tracker._swarms._swarms.get(metainfo.info_hash)
    return [] if swarm is None else [address.port for address in swarm.peers]


class ProxiedDht:
    """A DHT behind a proxy: nothing comes in at a port of ours."""

    port = 0

    def __init__(self) -> None:
        self.told: list[PeerAddress] = []

    def set_gateway_address(self, address: PeerAddress) -> None:
        self.told.append(address)


@pytest.mark.parametrize(("listen_port", "expected"), [(0, set()), (6881, {6881})])
async def test_rfc6886_only_ports_at_which_we_listen_are_asked_for(
    tmp_path: Path, listen_port: int, expected: set[int]
) -> None:
    dht: Any = ProxiedDht()
    mapper = await make_port_mapper(
        shared_config(tmp_path, port_mapping=MAPPING),
        tmp_path,
        listen_port,
        dht=dht,
        external_addresses=ExternalAddresses(),
        clock=time.monotonic,
    )
    assert {each.internal_port for each in mapper.status()} == expected
    mapper._families[0].status_board.set_external_host(OUTSIDE)
    assert mapper.external_hosts == (OUTSIDE,)
    assert dht.told == []  # the proxy is where the DHT is seen


async def test_without_a_port_no_gateway_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = NetworkConfig(tcp=False, utp=UtpConfig(incoming=False, outgoing=False))
    searches: list[bool] = []
    monkeypatch.setattr(
        shared_mapping, "MapperHost", partial(MapperHost, find_gateway=searches.append)
    )
    async with resources(tmp_path, port_mapping=MAPPING, network=off) as shared:
        assert shared.listen_port == 0
        assert shared.port_mapping.status() == ()
        with anyio.fail_after(PATIENCE_S):
            await shared.port_mapping.run()
    assert searches == []


async def test_what_is_switched_off_asks_nobody_and_writes_nothing(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        assert {each.error for each in shared.port_mapping.status()} == {"switched off"}
        assert shared.announced_port == shared.listen_port
        assert not (shared.state_dir / shared_mapping.SECRET_FILE).exists()


def test_a_secret_is_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    secret = load_secret(folder)
    assert len(secret) == SECRET_BYTES
    assert load_secret(folder) == secret
    assert (folder / shared_mapping.SECRET_FILE).stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / shared_mapping.SECRET_FILE).write_bytes(b"short")
    secret = load_secret(tmp_path)
    assert len(secret) == SECRET_BYTES
    assert load_secret(tmp_path) == secret


def test_f6_a_pipe_in_the_place_of_the_secret_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / shared_mapping.SECRET_FILE)
    secret = load_secret(tmp_path)
    assert load_secret(tmp_path) == secret


def test_where_nothing_can_be_written_there_is_a_secret_for_now(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert len(load_secret(tmp_path / "file" / "state")) == SECRET_BYTES


SEEN_BY = {
    "8.8.8.8": 7000,
    "192.168.1.9": 6881,
    "127.0.0.1": 6881,
    "100.64.1.1": 6881,
    "2600::1": 6881,
    "fe80::1": 6881,
}


@pytest.mark.parametrize(("host", "port"), SEEN_BY.items(), ids=SEEN_BY.keys())
def test_peers_outside_are_told_the_port_outside_and_those_at_home_the_one_inside(
    host: str, port: int
) -> None:
    candidates = CandidateList(PoolConfig(), random.Random(1))
    endpoints = OwnAddresses(candidates, ("0.0.0.0", "::"), ExternalAddresses())
    assert endpoints.port_seen_by(host) is None
    endpoints.public.mapped_port = 7000
    endpoints.begin(6881)
    assert endpoints.port_seen_by(host) == port


def test_our_own_address_is_known_with_the_port_outside() -> None:
    candidates = CandidateList(PoolConfig(), random.Random(1))
    told: list[PeerAddress] = []
    candidates.set_external_address = told.append  # type: ignore[method-assign,assignment]
    endpoints = OwnAddresses(candidates, ("0.0.0.0",), ExternalAddresses())
    endpoints.public.add_vote(OUTSIDE, "gateway", 3)
    endpoints.begin(6881)
    endpoints.public.mapped_port = 7000
    endpoints.update()
    endpoints.update()
    first, second = PeerAddress(OUTSIDE, 6881), PeerAddress(OUTSIDE, 7000)
    assert told == [first, second, second]  # it goes on with the priorities
