"""Where a process is reached, and what says so."""

import socket
from collections.abc import Sequence

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.resources.pools import Pools
from torrent_engine.engine.resources.services import Services
from torrent_engine.engine.stats import DhtTraffic, NetworkStatus
from torrent_engine.net.dht.service import DhtService


def network_status(services: Services, pools: Pools) -> NetworkStatus:
    """Return where peers reach us, and when they last did."""
    listening, dht, incoming = services.network.listening, services.dht, pools.router.arrivals
    return NetworkStatus(
        listen_port=services.listen_port,
        tcp=_endpoints(listening.tcp),
        udp=_endpoints(listening.udp),
        external_addresses=pools.external_addresses.hosts,
        external_port=pools.external_addresses.mapped_port,
        port_mappings=services.port_mapping.status(),
        dht_nodes=None if dht is None else dht.node_count,
        last_incoming_at=incoming.last,
        last_internet_incoming_at=incoming.last_from_internet,
        connections=pools.connection_slots.used,
        max_connections=pools.connection_slots.limit,
        dials=dict(services.network.dial_outcomes),
        dht={} if dht is None else _dht_traffic(dht),
    )


def _dht_traffic(dht: DhtService) -> dict[str, DhtTraffic]:
    found = {}
    for is_ipv6, stats in dht.stats().items():
        told = stats.traffic
        traffic = DhtTraffic(stats.nodes, told.queries_in, told.queries_out, told.timeouts)
        found["ipv6" if is_ipv6 else "ipv4"] = traffic
    return found


def _endpoints(sockets: Sequence[socket.socket]) -> tuple[PeerAddress, ...]:
    """Return the addresses that sockets are bound to; closed ones are left out."""
    names = [sock.getsockname() for sock in sockets if sock.fileno() >= 0]
    return tuple(PeerAddress(str(name[0]), int(name[1])) for name in names)
