"""Port mapping of a process: external address and external port for all torrents.

The nonces of PCP come from a secret in the folder of state: what a run that died has left open is
ours again at the next one.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio.to_thread

from torrent_engine.base.config import SharedConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.disk.regular_files import read_regular
from torrent_engine.disk.state.files import make_private_folder, write_atomically
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.nat.port_mapping import MapperHost, PortMapper
from torrent_engine.policy.peers.external_address import TRACKER_VOTES, ExternalAddresses
from torrent_engine.protocol.nat.facts import MappedTransport, PortKey

logger = logging.getLogger(__name__)

VOTER: Final = "the gateway"
SECRET_FILE: Final = "port_mapping.key"  # noqa: S105 - its name
SECRET_BYTES: Final = 32


async def make_port_mapper(
    config: SharedConfig,
    state_dir: Path,
    listen_port: int,
    *,
    dht: DhtService | None,
    external_addresses: ExternalAddresses,
    clock: Callable[[], float],
) -> PortMapper:
    """Return what opens the ports at which we listen; it must be run if it is switched on.

    Where we listen at none (port 0), as behind a proxy, none is opened.
    """
    secret = b""
    if config.port_mapping.enabled:
        secret = await anyio.to_thread.run_sync(load_secret, state_dir)
    ports = {MappedTransport.TCP: listen_port, MappedTransport.UDP: dht.port if dht else 0}
    keys = [PortKey(transport, port) for transport, port in ports.items() if port]

    def on_change(mapper: PortMapper) -> None:
        external_port = mapper.external_port(MappedTransport.TCP)
        external_addresses.mapped_port = None if external_port == listen_port else external_port
        for host in mapper.external_hosts:
            external_addresses.add_vote(host, VOTER, TRACKER_VOTES)
            if dht is not None and dht.port:
                port = mapper.external_port(MappedTransport.UDP) or dht.port
                dht.set_gateway_address(PeerAddress(host, port))

    host = MapperHost(
        clock=clock, listen_hosts=config.listen_hosts, secret=secret, on_change=on_change
    )
    return PortMapper(config.port_mapping, keys, host)


def load_secret(state_dir: Path) -> bytes:
    """Return the secret of this folder of state; made where there is none, and at least for now."""
    path = state_dir / SECRET_FILE
    try:
        secret = read_regular(path)
        if len(secret) == SECRET_BYTES:
            return secret
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)
    secret = os.urandom(SECRET_BYTES)
    try:
        make_private_folder(state_dir)
        write_atomically(path, secret)
    except OSError as error:
        logger.warning("%s cannot be written: %s", path, error)
    return secret
