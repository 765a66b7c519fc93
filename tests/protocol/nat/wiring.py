"""One client and one scripted gateway, joined by a clock that a test turns."""

from collections.abc import Sequence
from typing import TypeVar

from tests.support.clock import ManualClock
from tests.support.nat_gateway import ScriptedGateway
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.events import NatEvent
from torrent_engine.protocol.nat.facts import MappedTransport, MappingProtocol, PortKey
from torrent_engine.protocol.nat.natpmp import NatPmp
from torrent_engine.protocol.nat.pcp import Pcp

E = TypeVar("E", bound=NatEvent)

TCP_KEY = PortKey(MappedTransport.TCP, 6881)
UDP_KEY = PortKey(MappedTransport.UDP, 6881)
HERE = "192.168.1.2"
SECRET = b"secret"


def pcp() -> Pcp:
    return Pcp(HERE, SECRET)


class Wire:
    """Every datagram reaches the other side at once, unless the gateway is mute."""

    def __init__(
        self,
        *,
        protocols: Sequence[MappingProtocol] = (),
        keys: Sequence[PortKey] = (TCP_KEY, UDP_KEY),
        config: PortMappingConfig | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.gateway = ScriptedGateway(self.clock)
        self.config = config or PortMappingConfig()
        self.client = NatClient(protocols or [pcp(), NatPmp()], keys, self.config, now=self.clock())
        self.events: list[NatEvent] = []
        self.sent_s: list[float] = []

    def exchange(self) -> None:
        """Carry datagrams until nobody says anything."""
        while datagrams := self.client.datagrams_to_send():
            for datagram in datagrams:
                self.sent_s.append(self.clock())
                answer = self.gateway.answer(datagram)
                if answer is not None:
                    self.events += self.client.receive_datagram(answer, self.clock())

    def run(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.clock() + seconds
        while (timer := self.client.get_timer()) is not None and timer <= end:
            self.clock.now = max(self.clock.now, timer)
            self.events += self.client.handle_timer(self.clock())
            self.exchange()
        self.clock.now = end

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]
