"""Owns the way between the gateway and what all torrents share: our address, and our port outside.

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
from torrent_engine.disk.state_files import make_private_folder, write_atomically
from torrent_engine.net.dht_service import DhtService
from torrent_engine.net.port_mapping import MapperHost, PortMapper
from torrent_engine.policy.own_address import TRACKER_VOTES, OwnAddress
from torrent_engine.protocol.nat.facts import PortKey, Transport

logger = logging.getLogger(__name__)

TELLER: Final = "the gateway"
SECRET_FILE: Final = "port_mapping.key"  # noqa: S105 - its name
SECRET_BYTES: Final = 32


async def make_port_mapper(
    config: SharedConfig,
    state_dir: Path,
    listen_port: int,
    *,
    dht: DhtService | None,
    own_address: OwnAddress,
    clock: Callable[[], float],
) -> PortMapper:
    """Return what opens the ports at which we listen; it must be run if it is switched on."""
    secret = b""
    if config.port_mapping.enabled:
        secret = await anyio.to_thread.run_sync(load_secret, state_dir)
    keys = [PortKey(Transport.TCP, listen_port)]
    if dht is not None:
        keys.append(PortKey(Transport.UDP, dht.port))

    def on_change(mapper: PortMapper) -> None:
        external_port = mapper.external_port(Transport.TCP)
        own_address.mapped_port = None if external_port == listen_port else external_port
        for host in mapper.external_hosts:
            own_address.told(host, TELLER, TRACKER_VOTES)
            if dht is not None:
                port = mapper.external_port(Transport.UDP) or dht.port
                dht.told_by_gateway(PeerAddress(host, port))

    host = MapperHost(
        clock=clock, listen_hosts=config.listen_hosts, secret=secret, on_change=on_change
    )
    return PortMapper(config.port_mapping, keys, host)


def load_secret(state_dir: Path) -> bytes:
    """Return the secret of this folder of state; made where there is none, and at least for now."""
    path = state_dir / SECRET_FILE
    try:
        secret = path.read_bytes()
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
