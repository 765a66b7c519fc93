"""Owns what a proxy that is required, an interface and anonymity leave of a configuration.

All others read the configuration that comes out of here: what must not be done is switched off in
it. What needs a proxy's help at run time is in ``net/routes.py``.
"""

import os
import string
from dataclasses import replace
from typing import Final

from torrent_engine.base.config import SharedConfig
from torrent_engine.base.ids import CLIENT_NAME, CLIENT_PREFIX, PeerAddress, PeerId
from torrent_engine.base.network_config import NetworkConfig, ProxyKind
from torrent_engine.net.resolver import Resolver, is_literal, refuse_names

ANONYMOUS_USER_AGENT: Final = "curl/8.5.0"  # ours: what many programs say; none at all stands out
PEER_ID_BYTES: Final = 20
UNREACHABLE_PORT: Final = 1  # ours: told to trackers, some of which take no 0, while none listens
_LETTERS: Final = (string.ascii_letters + string.digits).encode()


def confined(config: SharedConfig) -> SharedConfig:
    """Return the configuration without what it forbids itself; the same again for its result."""
    network = config.network
    if network.interface is not None and is_literal(network.interface):
        config = replace(config, listen_hosts=(network.interface,))
    if network.anonymous:
        config = _anonymous(config)
    if network.proxy is not None and network.proxy.for_peers:
        config = _peers_through_proxy(config)
    if network.proxy is not None and network.proxy.required:
        config = _nothing_around_proxy(config)
    return config


def has_datagrams(network: NetworkConfig) -> bool:
    """Tell whether peers and DHT nodes can be sent datagrams without going around a proxy."""
    proxy = network.proxy
    return proxy is None or not proxy.for_peers or proxy.kind is ProxyKind.SOCKS5


async def look_up(
    config: SharedConfig, resolver: Resolver, host: str, port: int
) -> list[PeerAddress]:
    """Return the addresses of a peer. Raises NetworkError if there is none, or it may not be asked.

    Where a proxy is required no name is looked up here.
    """
    proxy = config.network.proxy
    if proxy is not None and proxy.required:
        resolver = refuse_names
    return [PeerAddress(literal, port) for literal in await resolver(host, port)]


def client_name(config: SharedConfig) -> str:
    """Return what we call ourselves to peers; empty: nothing."""
    return "" if config.network.anonymous else CLIENT_NAME


def new_peer_id(config: SharedConfig) -> PeerId:
    """Return an id for one torrent; if we are anonymous, of no program in particular."""
    if config.network.anonymous:
        random = os.urandom(PEER_ID_BYTES)
        return PeerId(bytes(_LETTERS[byte % len(_LETTERS)] for byte in random))
    return PeerId(CLIENT_PREFIX + os.urandom(PEER_ID_BYTES - len(CLIENT_PREFIX)))


def _anonymous(config: SharedConfig) -> SharedConfig:
    """Say nothing of the program, and nothing to the local network."""
    return replace(
        config,
        user_agent=ANONYMOUS_USER_AGENT,
        lsd=replace(config.lsd, enabled=False),
        port_mapping=replace(config.port_mapping, enabled=False),
        dht=replace(config.dht, tells_client=False),
    )


def _peers_through_proxy(config: SharedConfig) -> SharedConfig:
    """Have neither DHT nor uTP where the proxy cannot carry them."""
    if has_datagrams(config.network):
        return config
    utp = replace(config.network.utp, incoming=False, outgoing=False)
    return replace(
        config,
        dht=replace(config.dht, enabled=False),
        network=replace(config.network, utp=utp),
    )


def _nothing_around_proxy(config: SharedConfig) -> SharedConfig:
    """Listen to nobody, ask nobody here, look no router's name up."""
    routers = tuple(router for router in config.dht.bootstrap if is_literal(router[0]))
    return replace(
        config,
        listen_hosts=(),
        lsd=replace(config.lsd, enabled=False),
        port_mapping=replace(config.port_mapping, enabled=False),
        dht=replace(config.dht, bootstrap=routers),
    )
