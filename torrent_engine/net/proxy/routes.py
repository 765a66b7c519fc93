"""The route of each kind of traffic: direct or through a proxy.

Traffic that is routed through a proxy never bypasses it, also when the proxy fails.
"""

import socket
from typing import Protocol

from torrent_engine.base.config import NetworkConfig, ProxyConfig, ProxyKind
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.socks import check_installed
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.resolver import Resolver, refuse_names, resolve
from torrent_engine.net.sockets.tcp import dial


class Route(Protocol):
    """A way to open connections."""

    takes_names: bool
    """Whether names are resolved by the proxy, and must not be resolved here."""
    is_direct: bool
    """Whether connections are direct."""

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""


class DirectRoute:
    """Direct connections to literal addresses."""

    takes_names = False
    is_direct = True

    def __init__(self, binding: Binding = UNBOUND) -> None:
        self.binding = binding

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""
        return await dial(address, timeout_s, self.binding)


class ProxyRoute:
    """Connections through a proxy, to literal addresses and, mostly, names."""

    is_direct = False

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.takes_names = proxy.takes_names

    async def dial(self, address: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect and return the non-blocking socket; NetworkError if that fails."""
        return await self.proxy.dial(address, timeout_s)


DIRECT = DirectRoute()


class Routes:
    """The routes of a process."""

    def __init__(self, config: NetworkConfig, *, resolver: Resolver = resolve) -> None:
        """Raise ConfigError if the proxy cannot be used as configured."""
        self.binding = Binding(config.interface)
        direct = DirectRoute(self.binding)
        self.proxy: Proxy | None = None
        self.peers: Route = direct
        self.trackers: Route = direct
        self.web_seeds: Route = direct
        self.resolver = resolver
        """The resolver of names that no proxy resolves; refuses all if the proxy is required."""
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
    """Raise ConfigError if the options of a proxy are invalid."""
    if not config.host or not 0 < config.port < 1 << 16:
        raise ConfigError(f"proxy: invalid address {config.host}:{config.port}")
    if config.required and not (config.for_peers and config.for_trackers and config.for_web_seeds):
        raise ConfigError("proxy: a required proxy must be used for peers, trackers and web seeds")
    if config.kind is not ProxyKind.HTTP:
        check_installed()
        _check_credentials(config)


def _check_credentials(config: ProxyConfig) -> None:
    for name, secret in (("user name", config.username), ("password", config.password)):
        if not secret.isascii() or len(secret) > 255 or "\0" in secret:
            raise ConfigError(f"proxy: a {name} for SOCKS has at most 255 characters of ASCII")
    if config.kind is ProxyKind.SOCKS5 and bool(config.username) != bool(config.password):
        raise ConfigError("proxy: SOCKS5 needs both user name and password, or neither")
