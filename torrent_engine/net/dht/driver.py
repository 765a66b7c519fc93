"""Driver of one DHT node: datagrams, timers and events.

The protocol itself is in ``DhtNode``.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.datagrams import DatagramRelay
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded, PingEnded
from torrent_engine.protocol.dht.node import DhtNode, SavedTable

logger = logging.getLogger(__name__)

MIN_DELAY_S: Final = 0.001  # prevents a busy loop if a timer is always due

OnEvent = Callable[[DhtEvent], None]


def is_last(event: DhtEvent) -> bool:
    """Return whether an event is the final one of a lookup or ping."""
    return isinstance(event, LookupEnded | PingEnded)


class DhtDriver:
    """The driver of one node, of one address family."""

    def __init__(
        self,
        node: DhtNode,
        datagrams: DatagramRelay,
        *,
        is_ipv6: bool,
        clock: Callable[[], float],
        on_event: OnEvent,
        on_bootstrapped: Callable[[], None],
    ) -> None:
        self.node = node
        self.is_ipv6 = is_ipv6
        self.bootstrapped = anyio.Event()
        """Set at the first response of another node."""
        self.can_bootstrap = False
        """Whether it has bootstrap nodes, or a saved routing table."""
        self._datagrams = datagrams
        self._clock = clock
        self._on_event = on_event
        self._on_bootstrapped = on_bootstrapped
        self._listeners: dict[int, OnEvent] = {}
        self._wake = anyio.Event()
        self._wakes_at = 0.0

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Process a datagram; call :meth:`flush` afterwards."""
        self.node.receive_datagram(data, address, now=self._clock())

    def start_lookup(self, start: Callable[[DhtNode, float], int], on_event: OnEvent) -> int:
        """Start a lookup and return its id; ``on_event`` receives its events, LookupEnded last."""
        number = start(self.node, self._clock())
        self._listeners[number] = on_event
        self.flush()
        return number

    def cancel_lookup(self, number: int) -> None:
        """Cancel a lookup; no further events of it are delivered."""
        if self._listeners.pop(number, None) is not None:
            self.node.cancel(number, now=self._clock())
            self.flush()

    def restore(self, saved: SavedTable) -> None:
        """Restore a saved routing table."""
        self.can_bootstrap = self.can_bootstrap or bool(saved.nodes)
        self.node.restore(saved, now=self._clock())

    def bootstrap(self, addresses: Iterable[PeerAddress]) -> None:
        """Bootstrap from the addresses of the node's family."""
        of_family = [address for address in addresses if (":" in address.host) == self.is_ipv6]
        if of_family:
            self.can_bootstrap = True
            self.node.bootstrap(of_family, now=self._clock())
            self.flush()

    def add_node(self, address: PeerAddress) -> None:
        """Ping a node that may join the routing table."""
        self.can_bootstrap = True
        self.node.add_node(address, now=self._clock())
        self.flush()

    def flush(self) -> None:
        """Send pending datagrams, deliver events, and update the timer."""
        for data, address in self.node.datagrams_to_send():
            self._datagrams.send(data, address)
        for event in self.node.events():
            self._deliver(event)
        if not self.bootstrapped.is_set() and self.node.node_count:
            self.bootstrapped.set()
            self._on_bootstrapped()
        timer = self.node.next_timer()
        if timer is not None and timer < self._wakes_at:
            self._wake.set()

    def _deliver(self, event: DhtEvent) -> None:
        number = getattr(event, "lookup", None)
        if number is None:
            self._on_event(event)
            return
        look_up = self._listeners.pop if is_last(event) else self._listeners.get
        on_event = look_up(number, None)
        if on_event is not None:
            on_event(event)

    async def run(self) -> None:
        """Wake the node when its timers are due, until cancelled.

        It does a part at a time of what is due at once, in turns with the other tasks.
        """
        while True:
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
            self.node.handle_timer(now=self._clock())
            self._wakes_at = 0.0  # awake
            self.flush()
            await self._sleep()

    async def _sleep(self) -> None:
        timer = self.node.next_timer()
        self._wake = anyio.Event()
        self._wakes_at = float("inf") if timer is None else timer
        delay_s = self._wakes_at - self._clock()
        with anyio.move_on_after(max(delay_s, MIN_DELAY_S)):
            await self._wake.wait()
