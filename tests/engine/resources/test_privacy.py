"""What a required proxy, an interface and anonymity leave of a configuration and of our words."""

from dataclasses import replace

import pytest

from tests.support.small_proxy import small_proxy
from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    NetworkConfig,
    PortMappingConfig,
    ProxyConfig,
    ProxyKind,
    SharedConfig,
)
from torrent_engine.base.errors import ConfigError, NetworkError
from torrent_engine.base.ids import CLIENT_NAME, CLIENT_PREFIX, PeerAddress
from torrent_engine.engine.resources.privacy import (
    UNREACHABLE_PORT,
    client_name,
    has_datagrams,
    look_up,
    new_peer_id,
    restricted,
)
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.net.dht.bootstrap import routers_for
from torrent_engine.net.sockets.resolver import resolve

EVERYTHING = SharedConfig(
    dht=DhtConfig(enabled=True, bootstrap=(("router.test", 6881), ("192.0.2.1", 6881))),
    lsd=LsdConfig(enabled=True),
    port_mapping=PortMappingConfig(enabled=True),
)
SOCKS5 = ProxyConfig(ProxyKind.SOCKS5, "127.0.0.1", 1080)


def config_with(proxy: ProxyConfig | None = None, **network: object) -> SharedConfig:
    return restricted(replace(EVERYTHING, network=NetworkConfig(proxy=proxy, **network)))  # type: ignore[arg-type]


def test_nothing_is_taken_out_without_a_reason() -> None:
    assert config_with() == EVERYTHING


@pytest.mark.parametrize("kind", ProxyKind)
def test_a_required_proxy_leaves_nothing_that_goes_around_it(kind: ProxyKind) -> None:
    config = config_with(replace(SOCKS5, kind=kind, required=True))
    assert config.listen_hosts == ()
    assert not config.lsd.enabled
    assert not config.port_mapping.enabled
    assert config.dht.bootstrap == (("192.0.2.1", 6881),)
    assert routers_for(config.dht, config.listen_hosts) == config.dht.bootstrap
    is_socks5 = kind is ProxyKind.SOCKS5
    assert config.dht.enabled is is_socks5
    assert config.network.utp.outgoing is is_socks5
    assert has_datagrams(config.network) is is_socks5
    assert restricted(config) == config


def test_a_required_proxy_and_the_usual_routers_ask_nobody_by_name() -> None:
    network = NetworkConfig(proxy=replace(SOCKS5, required=True))
    config = restricted(replace(EVERYTHING, dht=DhtConfig(), network=network))
    assert routers_for(config.dht, config.listen_hosts) == ()


def test_a_proxy_for_peers_takes_out_what_it_cannot_carry() -> None:
    config = config_with(replace(SOCKS5, kind=ProxyKind.HTTP))
    assert not config.dht.enabled
    assert not config.network.utp.outgoing
    assert config.listen_hosts == EVERYTHING.listen_hosts
    assert config.lsd.enabled


def test_a_proxy_for_trackers_only_changes_nothing_of_peers() -> None:
    config = config_with(replace(SOCKS5, kind=ProxyKind.HTTP, for_peers=False))
    assert config.dht.enabled
    assert config.network.utp.outgoing


def test_an_address_is_where_we_listen() -> None:
    assert config_with(interface="192.0.2.7").listen_hosts == ("192.0.2.7",)
    assert config_with(interface="eth0").listen_hosts == EVERYTHING.listen_hosts


def test_anonymity_says_nothing_of_the_program_and_nothing_to_neighbours() -> None:
    config = config_with(anonymous=True)
    assert not config.lsd.enabled
    assert not config.port_mapping.enabled
    assert not config.dht.send_client_version
    assert "torrent" not in config.user_agent
    assert client_name(config) == ""
    first, second = new_peer_id(config), new_peer_id(config)
    assert first != second
    for peer_id in (first, second):
        assert len(peer_id) == 20
        assert peer_id.isalnum()
    assert config.listen_hosts == EVERYTHING.listen_hosts


def test_without_anonymity_the_program_says_its_name() -> None:
    assert client_name(EVERYTHING) == CLIENT_NAME
    assert new_peer_id(EVERYTHING).startswith(CLIENT_PREFIX)
    assert len(new_peer_id(EVERYTHING)) == 20


@pytest.mark.anyio
async def test_with_a_required_proxy_no_name_of_a_peer_is_looked_up() -> None:
    config = config_with(replace(SOCKS5, required=True))
    with pytest.raises(NetworkError, match="is not resolved"):
        await look_up(config, resolve, "localhost", 6881)
    literal = PeerAddress("192.0.2.1", 6881)
    assert await look_up(config, resolve, *literal) == [literal]
    assert PeerAddress("127.0.0.1", 6881) in await look_up(EVERYTHING, resolve, "127.0.0.1", 6881)


@pytest.mark.anyio
async def test_with_a_required_proxy_nobody_is_listened_to(tmp_path) -> None:
    async with small_proxy() as proxy:
        config = replace(SOCKS5, port=proxy.port, required=True)
        shared_config = SharedConfig(
            state_dir=str(tmp_path),
            dht=DhtConfig(bootstrap=()),
            network=NetworkConfig(proxy=config),
        )
        async with SharedResources(shared_config) as shared:
            assert shared.listen_port == 0
            assert shared.announced_port == UNREACHABLE_PORT
            assert shared.dht is not None
            assert shared.dht_port() is None
            assert shared.network.listening.udp == []
            assert shared.network.dials_utp


@pytest.mark.anyio
async def test_a_proxy_that_cannot_work_is_said_at_the_start(tmp_path) -> None:
    config = SharedConfig(
        state_dir=str(tmp_path), network=NetworkConfig(proxy=replace(SOCKS5, host=""))
    )
    with pytest.raises(ConfigError, match="proxy"):
        async with SharedResources(config):
            pass


@pytest.mark.anyio
async def test_an_interface_that_is_not_there_is_said_at_the_start(tmp_path) -> None:
    config = SharedConfig(state_dir=str(tmp_path), network=NetworkConfig(interface="none0"))
    with pytest.raises(NetworkError, match="cannot listen"):
        async with SharedResources(config):
            pass
