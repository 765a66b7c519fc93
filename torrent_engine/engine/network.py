"""Owns how the peers of all torrents are reached: over TCP and over uTP.

Source: BEP 29 (uTP).
"""

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import NetworkConfig
from torrent_engine.net.streams import dial
from torrent_engine.net.transport import TcpTransport, Transport


class Network:
    """What a torrent dials with; shared by all of them."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config

    @property
    def dials_tcp(self) -> bool:
        """Whether peers are dialled over TCP."""
        return self.config.tcp

    @property
    def dials_utp(self) -> bool:
        """Whether peers are dialled over uTP."""
        return False

    async def dial_tcp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over TCP. Raises NetworkError if that fails or takes longer."""
        return TcpTransport(await dial(address, timeout_s))

    async def dial_utp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over uTP. Raises NetworkError if that fails or takes longer."""
        raise NetworkError(f"{address}: uTP is switched off")
