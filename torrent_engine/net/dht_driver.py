"""Owns one node of the DHT on real sockets: moves datagrams and time, and tells events to askers.

Knows no message: what a datagram means and when the next one is due is the business of ``DhtNode``.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.datagrams import DatagramRelay
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded, PingEnded
from torrent_engine.protocol.dht.node import DhtNode

logger = logging.getLogger(__name__)

MIN_DELAY_S: Final = 0.001  # a timer that is due again at once must not spin

OnEvent = Callable[[DhtEvent], None]


def is_last(event: DhtEvent) -> bool:
    """Tell whether a lookup or a ping says no more after this."""
    return isinstance(event, LookupEnded | PingEnded)


class DhtDriver:
    """Runs one node, of one address family."""

    def __init__(
        self,
        node: DhtNode,
        datagrams: DatagramRelay,
        *,
        is_ipv6: bool,
        clock: Callable[[], float],
        on_event: OnEvent,
        on_entered: Callable[[], None],
    ) -> None:
        self.node = node
        self.is_ipv6 = is_ipv6
        self.entered = anyio.Event()
        """Set when another node has answered for the first time."""
        self.has_start = False
        """Whether it was told of any node to begin with."""
        self._datagrams = datagrams
        self._clock = clock
        self._on_event = on_event
        self._on_entered = on_entered
        self._askers: dict[int, OnEvent] = {}
        self._wake = anyio.Event()
        self._sleeps_until = 0.0

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Take a datagram; :meth:`flush` sends what it causes."""
        self.node.receive_datagram(data, address, now=self._clock())

    def ask(self, start: Callable[[DhtNode, float], int], on_event: OnEvent) -> int:
        """Begin a lookup; ``on_event`` gets what it tells, its end last. Returns its number."""
        number = start(self.node, self._clock())
        self._askers[number] = on_event
        self.flush()
        return number

    def give_up(self, number: int) -> None:
        """End a lookup that nobody waits for any more; nothing is told of it."""
        if self._askers.pop(number, None) is not None:
            self.node.cancel(number, now=self._clock())
            self.flush()

    def bootstrap(self, addresses: Iterable[PeerAddress]) -> None:
        """Tell the node whom to ask first: those addresses that are of its family."""
        of_family = [address for address in addresses if (":" in address.host) == self.is_ipv6]
        if of_family:
            self.has_start = True
            self.node.bootstrap(of_family, now=self._clock())
            self.flush()

    def add_node(self, address: PeerAddress) -> None:
        """Tell the node of another one, which it tries."""
        self.has_start = True
        self.node.add_node(address, now=self._clock())
        self.flush()

    def flush(self) -> None:
        """Send what the node wants to send, tell what it has to tell, and look at its timer."""
        for data, address in self.node.datagrams_to_send():
            self._datagrams.send(data, address)
        for event in self.node.events():
            self._tell(event)
        if not self.entered.is_set() and self.node.node_count:
            self.entered.set()
            self._on_entered()
        timer = self.node.next_timer()
        if timer is not None and timer < self._sleeps_until:
            self._wake.set()

    def _tell(self, event: DhtEvent) -> None:
        number = getattr(event, "lookup", None)
        if number is None:
            self._on_event(event)
            return
        asker = self._askers.pop if is_last(event) else self._askers.get
        on_event = asker(number, None)
        if on_event is not None:
            on_event(event)

    async def run(self) -> None:
        """Wake the node when its timers are due, until cancelled."""
        while True:
            self.node.handle_timer(now=self._clock())
            self._sleeps_until = 0.0  # awake
            self.flush()
            await self._sleep()

    async def _sleep(self) -> None:
        timer = self.node.next_timer()
        self._wake = anyio.Event()
        self._sleeps_until = float("inf") if timer is None else timer
        delay_s = self._sleeps_until - self._clock()
        with anyio.move_on_after(max(delay_s, MIN_DELAY_S)):
            await self._wake.wait()
