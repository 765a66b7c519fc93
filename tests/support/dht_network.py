"""A simulated network on a virtual clock: nodes, what is between them, and those that lie.

No socket, no clock, no thread: a heap of deliveries and timers. The same seed gives the same run.
"""

import heapq
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded, PeersFound
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.node import DhtNode
from torrent_engine.protocol.dht.security import node_id_for

PORT = 6881
NAT_MEMORY_S = 60.0
SETTLE_S = 120.0


class Machine(Protocol):
    """Whatever has an address: a node, or somebody who plays one."""

    def receive_datagram(self, data: bytes, address: PeerAddress, *, now: float) -> None:
        """Take a datagram."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""

    def next_timer(self) -> float | None:
        """Return when something is due."""

    def datagrams_to_send(self) -> list[tuple[bytes, PeerAddress]]:
        """Return what is to be sent."""


@dataclass(eq=False)
class Host:
    """A machine and its link."""

    address: PeerAddress
    machine: Machine
    is_behind_nat: bool = False
    wakes_s: float = float("inf")
    sent_to: dict[PeerAddress, float] = field(default_factory=dict)
    """When a NATed host last sent there: answers pass, and nothing else."""
    events: list[DhtEvent] = field(default_factory=list)

    @property
    def info(self) -> NodeInfo:
        """The node as others know it."""
        return NodeInfo(self.node.node_id, self.address)

    @property
    def node(self) -> DhtNode:
        """The machine, which is a node."""
        assert isinstance(self.machine, DhtNode)
        return self.machine


class Neighbourhood:
    """All nodes of a network by id, to fill routing tables from."""

    def __init__(self, nodes: list[NodeInfo]) -> None:
        self._nodes = sorted(nodes)
        self._numbers = [int.from_bytes(node.id, "big") for node in self._nodes]

    def fill(self, node: DhtNode, rng: random.Random, now: float) -> None:
        """Give a node up to a bucketful of random nodes for each distance, as time does."""
        own = int.from_bytes(node.node_id, "big")
        for shared_bits in range(160):
            rest_bits = 159 - shared_bits
            prefix = own >> rest_bits ^ 1
            low = bisect_left(self._numbers, prefix << rest_bits)
            high = bisect_left(self._numbers, prefix + 1 << rest_bits)
            for at in rng.sample(range(low, high), min(high - low, node.config.bucket_nodes)):
                node._table.seen(self._nodes[at], now)
            if (
                bisect_left(self._numbers, (prefix ^ 1) + 1 << rest_bits)
                - bisect_left(self._numbers, (prefix ^ 1) << rest_bits)
                <= 1
            ):
                break
        node._upkeep._maintenance.bootstrap_ended(node.node_count, now)


class Network:
    """Delivers datagrams after a while, or not at all."""

    def __init__(
        self,
        seed: object = 1,
        *,
        latency_s: tuple[float, float] = (0.02, 0.15),
        loss: float = 0.0,
        is_ipv6: bool = False,
        config: DhtConfig | None = None,
    ) -> None:
        self.rng = random.Random(repr(seed))
        self.now = 0.0
        self.loss = loss
        self.latency_s = latency_s
        self.is_ipv6 = is_ipv6
        self.config = config or DhtConfig()
        self.hosts: dict[PeerAddress, Host] = {}
        self.datagrams = 0
        self.bytes = 0
        self.make_machine: Callable[[PeerAddress], Machine | None] | None = None
        """Makes a machine when the first datagram for it comes."""
        self._serials = count()
        self._queue: list[tuple[float, int, Host | None, tuple[bytes, PeerAddress, PeerAddress]]]
        self._queue = []
        self._addresses = self._new_addresses()

    def new_address(self) -> PeerAddress:
        """Return a public address in a /24, or /64, of its own."""
        return next(self._addresses)

    def add_node(
        self,
        *,
        address: PeerAddress | None = None,
        node_id: NodeId | None = None,
        is_behind_nat: bool = False,
        config: DhtConfig | None = None,
    ) -> Host:
        """Add a node that knows nobody, with an id that fits its address."""
        address = address or self.new_address()
        node = DhtNode(
            config or self.config,
            rng=random.Random(self.rng.random()),
            secret=self.rng.randbytes(32),
            is_ipv6=self.is_ipv6,
            node_id=node_id or node_id_for(address.host, self.rng),
            now=self.now,
        )
        return self.add(address, node, is_behind_nat=is_behind_nat)

    def add(self, address: PeerAddress, machine: Machine, *, is_behind_nat: bool = False) -> Host:
        """Connect a machine."""
        host = Host(address, machine, is_behind_nat)
        self.hosts[address] = host
        self.poke(host)
        return host

    def remove(self, host: Host) -> None:
        """Unplug a machine: what is sent to it is lost."""
        del self.hosts[host.address]

    def join(self, hosts: list[Host], *, every_s: float = 0.05) -> None:
        """Let nodes bootstrap one after the other, each from one that is there already."""
        for number, host in enumerate(hosts):
            if number:
                known = self.rng.choice(hosts[:number])
                host.node.bootstrap([known.address], now=self.now)
                self.poke(host)
            self.run(every_s)

    def fill_tables(self, hosts: list[Host], *, known: list[NodeInfo] | None = None) -> None:
        """Give nodes the routing tables that they would have after some hours among each other."""
        everybody = Neighbourhood(known or [host.info for host in hosts])
        for host in hosts:
            everybody.fill(host.node, self.rng, self.now)

    def poke(self, host: Host) -> None:
        """Send what a machine has to send, and note when it wants to be woken."""
        for data, target in host.machine.datagrams_to_send():
            self._send(host, data, target)
        if isinstance(host.machine, DhtNode):
            host.events += host.machine.events()
        due_s = host.machine.next_timer()
        if due_s is not None and due_s < host.wakes_s:
            host.wakes_s = due_s
            heapq.heappush(self._queue, (due_s, next(self._serials), host, (b"", *NOWHERE)))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; stop early, and return True, when ``until`` is true."""
        end_s = self.now + seconds
        while self._queue and self._queue[0][0] <= end_s:
            when_s, _, host, (data, source, target) = heapq.heappop(self._queue)
            self.now = max(self.now, when_s)
            if host is not None:
                self._wake(host, when_s)
            else:
                self._deliver(data, source, target)
            if until is not None and until():
                return True
        self.now = end_s
        return until is not None and until()

    def ended(self, host: Host, number: int, seconds: float = SETTLE_S) -> LookupEnded:
        """Let time pass until a lookup is over; fails if it does not end."""
        self.poke(host)
        seen = 0

        def found() -> LookupEnded | None:
            nonlocal seen
            new, seen = host.events[seen:], len(host.events)
            ends = [each for each in new if isinstance(each, LookupEnded) and each.lookup == number]
            return ends[0] if ends else None

        result: list[LookupEnded] = []

        def is_over() -> bool:
            end = found()
            if end is not None:
                result.append(end)
            return end is not None

        assert is_over() or self.run(seconds, is_over), "the lookup did not end"
        return result[0]

    def peers_of(self, host: Host, info_hash: InfoHash) -> tuple[set[PeerAddress], LookupEnded]:
        """Look for peers; return them, and the end of the lookup."""
        host.events.clear()
        end = self.ended(host, host.node.get_peers(info_hash, now=self.now))
        found = [each for each in host.events if isinstance(each, PeersFound)]
        return {peer for each in found for peer in each.peers if each.lookup == end.lookup}, end

    def announce(self, host: Host, info_hash: InfoHash, port: int = PORT) -> LookupEnded:
        """Announce a seed."""
        number = host.node.announce(info_hash, port, is_seed=True, now=self.now)
        return self.ended(host, number)

    def _wake(self, host: Host, when_s: float) -> None:
        if self.hosts.get(host.address) is not host or when_s != host.wakes_s:
            return
        host.wakes_s = float("inf")
        host.machine.handle_timer(now=self.now)
        self.poke(host)

    def _send(self, host: Host, data: bytes, target: PeerAddress) -> None:
        self.datagrams += 1
        self.bytes += len(data)
        if host.is_behind_nat:
            host.sent_to[target] = self.now
        if self.loss and self.rng.random() < self.loss:
            return
        arrives_s = self.now + self.rng.uniform(*self.latency_s)
        entry = (arrives_s, next(self._serials), None, (data, host.address, target))
        heapq.heappush(self._queue, entry)

    def _deliver(self, data: bytes, source: PeerAddress, target: PeerAddress) -> None:
        host = self.hosts.get(target)
        if host is None and self.make_machine is not None:
            machine = self.make_machine(target)
            host = None if machine is None else self.add(target, machine)
        if host is None:
            return
        if host.is_behind_nat and self.now - host.sent_to.get(source, -1e9) > NAT_MEMORY_S:
            return
        host.machine.receive_datagram(data, source, now=self.now)
        self.poke(host)

    def _new_addresses(self) -> Iterator[PeerAddress]:
        used: set[str] = set()
        while True:
            if self.is_ipv6:
                site = f"2a{self.rng.randrange(256):02x}:{self.rng.randrange(1, 1 << 16):x}"
                site += f":{self.rng.randrange(1, 1 << 16):x}:{self.rng.randrange(1, 1 << 16):x}"
                host = f"{site}::1"
            else:
                first = self.rng.choice(PUBLIC_FIRST_BYTES)
                site = f"{first}.{self.rng.randrange(256)}.{self.rng.randrange(256)}"
                host = f"{site}.{self.rng.randrange(1, 255)}"
            if site not in used:
                used.add(site)
                yield PeerAddress(host, PORT)


NOWHERE = (PeerAddress("", 0), PeerAddress("", 0))
PUBLIC_FIRST_BYTES = (*range(11, 100), *range(101, 127), *range(128, 169), *range(170, 172), 173)
