"""Restriction of a configuration by a required proxy, an interface and anonymity.

All other modules read the restricted configuration, in which everything forbidden is switched off.
What depends on a proxy at run time is in ``net/proxy/routes.py``.
"""

import os
import string
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.config import (
    AddressClass,
    ClassRule,
    NetworkConfig,
    ProxyKind,
    SharedConfig,
)
from torrent_engine.base.ids import CLIENT_NAME, CLIENT_PREFIX, PeerAddress, PeerId
from torrent_engine.net.sockets.name_resolver import LookUp
from torrent_engine.net.sockets.resolver import Resolver, is_literal, refuse_names

ANONYMOUS_USER_AGENT: Final = "curl/8.5.0"  # ours: what many programs say; none at all stands out
PEER_ID_BYTES: Final = 20
LOOPBACK: Final = ("127.0.0.0/8", "::1")
UNREACHABLE_PORT: Final = 1  # ours: announced while no port listens; some trackers refuse 0
_LETTERS: Final = (string.ascii_letters + string.digits).encode()


def restricted(config: SharedConfig) -> SharedConfig:
    """Return the configuration without what it forbids itself; the same again for its result."""
    network = config.network
    if network.interface is not None and is_literal(network.interface):
        config = replace(config, listen_hosts=(network.interface,))
    if network.loopback_only:
        config = _on_loopback(config)
    if network.anonymous:
        config = _anonymous(config)
    if network.proxy is not None and network.proxy.for_peers:
        config = _peers_through_proxy(config)
    if network.proxy is not None and network.proxy.required:
        config = _nothing_around_proxy(config)
    return config


def has_datagrams(network: NetworkConfig) -> bool:
    """Return whether UDP to peers and DHT nodes is possible without bypassing the proxy."""
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


def look_up_within(config: SharedConfig, look_up: LookUp) -> LookUp:
    """Return what looks names up: where only loopback is reached, none but localhost."""
    return _localhost if config.network.loopback_only else look_up


def _localhost(host: str) -> list[str]:
    if host.lower().rstrip(".") == "localhost":
        return ["127.0.0.1", "::1"]
    raise OSError(f"{host} is not looked up: only loopback is reached")


def _on_loopback(config: SharedConfig) -> SharedConfig:
    """Return the configuration limited to loopback addresses."""
    network = config.network
    classes = (
        AddressClass("outside of this machine", ClassRule.BLOCKED, ("0.0.0.0/0", "::/0")),
        AddressClass("loopback", ClassRule.ALLOWED, LOOPBACK),
    )
    only = replace(network.ip_filter, classes=classes, paths=(), apply_to_servers=True)
    return replace(
        config,
        listen_hosts=tuple(host for host in config.listen_hosts if ip_address(host).is_loopback),
        lsd=replace(config.lsd, enabled=False),
        port_mapping=replace(config.port_mapping, enabled=False),
        dht=replace(config.dht, enabled=False),
        network=replace(network, ip_filter=only),
    )


def _anonymous(config: SharedConfig) -> SharedConfig:
    """Return the configuration without the program's name and local announces."""
    return replace(
        config,
        user_agent=ANONYMOUS_USER_AGENT,
        lsd=replace(config.lsd, enabled=False),
        port_mapping=replace(config.port_mapping, enabled=False),
        dht=replace(config.dht, send_client_version=False),
    )


def _peers_through_proxy(config: SharedConfig) -> SharedConfig:
    """Return the configuration without DHT and uTP if the proxy cannot relay UDP."""
    if has_datagrams(config.network):
        return config
    utp = replace(config.network.utp, incoming=False, outgoing=False)
    return replace(
        config,
        dht=replace(config.dht, enabled=False),
        network=replace(config.network, utp=utp),
    )


def _nothing_around_proxy(config: SharedConfig) -> SharedConfig:
    """Return the configuration without listening, local announces and name look-ups."""
    routers = tuple(router for router in config.dht.bootstrap if is_literal(router[0]))
    return replace(
        config,
        listen_hosts=(),
        lsd=replace(config.lsd, enabled=False),
        port_mapping=replace(config.port_mapping, enabled=False),
        dht=replace(config.dht, bootstrap=routers),
    )
