"""Owns which way each kind of traffic leaves: straight or through a proxy, and bound to what.

A way through a proxy is the only one of its kind of traffic: where the proxy fails, nothing goes
around it.
"""

import socket
from typing import Protocol

from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import NetworkConfig, ProxyConfig, ProxyKind
from torrent_engine.net.binding import UNBOUND, Binding
from torrent_engine.net.proxy import Proxy
from torrent_engine.net.resolver import Resolver, refuse_names, resolve
from torrent_engine.net.socks import check_installed
from torrent_engine.net.streams import dial


class Route(Protocol):
    """One way out."""

    takes_names: bool
    """Whether names are looked up at the other end of it, and must not be here."""
    is_straight: bool
    """Whether nothing stands between."""

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""


class DirectRoute:
    """Straight to literal addresses."""

    takes_names = False
    is_straight = True

    def __init__(self, binding: Binding = UNBOUND) -> None:
        self.binding = binding

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""
        return await dial(address, timeout_s, self.binding)


class ProxyRoute:
    """Through a proxy, to literal addresses and mostly to names."""

    is_straight = False

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.takes_names = proxy.takes_names

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""
        return await self.proxy.dial(address, timeout_s)


DIRECT = DirectRoute()


class Routes:
    """The ways out of a process."""

    def __init__(self, config: NetworkConfig, *, resolver: Resolver = resolve) -> None:
        """Raise ConfigError if the proxy cannot be used as it is asked for."""
        self.binding = Binding(config.interface)
        direct = DirectRoute(self.binding)
        self.proxy: Proxy | None = None
        self.peers: Route = direct
        self.trackers: Route = direct
        self.web_seeds: Route = direct
        self.resolver = resolver
        """Looks names up that no route takes; with a proxy that is required, none."""
        if config.proxy is not None:
            check_proxy(config.proxy)
            self.proxy = Proxy(config.proxy, binding=self.binding, resolver=resolver)
            self._send_through(ProxyRoute(self.proxy), config.proxy)
            if config.proxy.required:
                self.resolver = refuse_names

    def _send_through(self, route: Route, config: ProxyConfig) -> None:
        if config.for_peers:
            self.peers = route
        if config.for_trackers:
            self.trackers = route
        if config.for_web_seeds:
            self.web_seeds = route


def check_proxy(config: ProxyConfig) -> None:
    """Raise ConfigError, which names the option, if a proxy cannot be used like this."""
    if not config.host or not 0 < config.port < 1 << 16:
        raise ConfigError(f"proxy: no address of a proxy: {config.host}:{config.port}")
    if config.required and not (config.for_peers and config.for_trackers and config.for_web_seeds):
        raise ConfigError("proxy: one that is required must be for peers, trackers and web seeds")
    if config.kind is not ProxyKind.HTTP:
        check_installed()
        _check_credentials(config)


def _check_credentials(config: ProxyConfig) -> None:
    for name, secret in (("user name", config.username), ("password", config.password)):
        if not secret.isascii() or len(secret) > 255 or "\0" in secret:
            raise ConfigError(f"proxy: a {name} for SOCKS has at most 255 characters of ASCII")
    if config.kind is ProxyKind.SOCKS5 and bool(config.username) != bool(config.password):
        raise ConfigError("proxy: SOCKS5 wants both user name and password, or neither")
