"""The network of all torrents: listening sockets, TCP, uTP and routes.

Source: BEP 29 (uTP).
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from torrent_engine.base.config import NetworkConfig, SharedConfig, TransportProtocol
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.transport import TcpTransport, Transport
from torrent_engine.net.proxy.routes import Routes
from torrent_engine.net.proxy.socks_datagrams import SocksDatagrams
from torrent_engine.net.sockets.datagrams import DatagramRelay, Datagrams
from torrent_engine.net.sockets.descriptors import is_reserved
from torrent_engine.net.sockets.keep_running import keep_running
from torrent_engine.net.sockets.listening import Listening, listen_on_port
from torrent_engine.net.sockets.resolver import Resolver, resolve
from torrent_engine.net.sockets.tcp import close
from torrent_engine.net.utp.service import UtpService
from torrent_engine.policy.peers.dial_strategy import DialStrategy

IncomingHandler = Callable[[Transport, PeerAddress], None]
"""Called with each incoming connection."""


class Network:
    """What torrents dial with and are reached at; shared by all of them."""

    def __init__(self, config: NetworkConfig, resolver: Resolver = resolve) -> None:
        """Raise ConfigError if the proxy cannot be used as configured."""
        self.config = config
        self.dial_outcomes: Counter[str] = Counter()
        """How often dials ended in which way, in small letters; one for each way that was tried."""
        self.dial_strategy = DialStrategy(config.encryption.outgoing)
        self.routes = Routes(config, resolver=resolver)
        self.listening = Listening()
        self.udp: Datagrams | None = None
        """The UDP sockets of the listening port."""
        self.datagrams: DatagramRelay | None = None
        """Of peers and the DHT; None: there is no UDP."""
        self.tracker_datagrams: DatagramRelay | None = None
        """Of UDP trackers; None: sockets of their own, if they need not go through a proxy."""
        self.utp: UtpService | None = None

    def set_config(self, config: NetworkConfig, incoming: IncomingHandler) -> None:
        """Dial and accept as another configuration says; ``incoming`` takes uTP connections.

        What it says of proxies, interfaces and addresses has no effect, nor does it open sockets.
        """
        self.config = config
        self.dial_strategy.set_policy(config.encryption.outgoing)
        if self.utp is not None:
            self.utp.set_incoming(incoming if config.utp.incoming else None)

    @property
    def dials_tcp(self) -> bool:
        """Whether peers are dialled over TCP."""
        return self.config.tcp

    @property
    def dials_utp(self) -> bool:
        """Whether peers are dialled over uTP."""
        return self.utp is not None and self.config.utp.outgoing

    @property
    def protocols(self) -> tuple[TransportProtocol, ...]:
        """What peers are dialled over, the preferred first."""
        ours = {TransportProtocol.TCP: self.dials_tcp, TransportProtocol.UTP: self.dials_utp}
        return tuple(protocol for protocol, is_there in ours.items() if is_there)

    async def dial_tcp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over TCP. Raises NetworkError if that fails or takes longer."""
        sock = await self.routes.peers.dial(address, timeout_s)
        if is_reserved(sock):
            close(sock)
            raise NetworkError(f"{address}: too many open files")
        return TcpTransport(sock)

    async def dial_utp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over uTP. Raises NetworkError if that fails or takes longer."""
        if self.utp is None:
            raise NetworkError(f"{address}: there is no uTP")
        return await self.utp.dial(address, timeout_s)


@asynccontextmanager
async def open_network(
    config: SharedConfig,
    incoming: IncomingHandler,
    *,
    clock: Callable[[], float],
    resolver: Resolver = resolve,
) -> AsyncIterator[Network]:
    """Bind the port and serve UDP until the end; ``incoming`` gets uTP connections.

    Whoever accepts on the TCP sockets closes them. Without a host to listen at nobody is listened
    to. Raises NetworkError if none of them can be bound, ConfigError if the proxy cannot be used as
    it is asked for.
    """
    network = Network(config.network, resolver)
    if config.listen_hosts:
        network.listening = _listen(config, network.routes)
    try:
        async with anyio.create_task_group() as tasks:
            _open_datagrams(network, tasks)
            if network.datagrams is not None and _wants_utp(config.network):
                taker = incoming if config.network.utp.incoming else None
                network.utp = UtpService(
                    config.network.utp,
                    network.datagrams,
                    clock=clock,
                    rng=random.SystemRandom(),  # rows C3, C4: numbers that nobody guesses
                    incoming=taker,
                )
                tasks.start_soon(keep_running, "uTP", network.utp.run)
            try:
                yield network
            finally:
                tasks.cancel_scope.cancel()
    finally:
        network.listening.close()


def _listen(config: SharedConfig, routes: Routes) -> Listening:
    return listen_on_port(
        config.listen_hosts,
        config.listen_port,
        tcp=config.network.tcp,
        udp=routes.peers.is_direct and (_wants_utp(config.network) or config.dht.enabled),
        binding=routes.binding,
    )


def _open_datagrams(network: Network, tasks: anyio.abc.TaskGroup) -> None:
    """Open and run the UDP transports of peers, the DHT and trackers."""
    routes, udp = network.routes, network.listening.udp
    network.udp = straight = Datagrams(udp) if udp else None
    through: SocksDatagrams | None = None
    if routes.proxy is not None and routes.proxy.carries_datagrams:
        through = SocksDatagrams(routes.proxy, binding=routes.binding)
    network.datagrams = straight if routes.peers.is_direct else through
    network.tracker_datagrams = straight if routes.trackers.is_direct else through
    for used in (straight, through):
        if used is not None and used in (network.datagrams, network.tracker_datagrams):
            tasks.start_soon(keep_running, "datagrams", used.run)


def _wants_utp(config: NetworkConfig) -> bool:
    return config.utp.incoming or config.utp.outgoing
