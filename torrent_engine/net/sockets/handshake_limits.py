"""Limits of half-open incoming connections, fair among networks.

A flood of silent connections only displaces connections of its own network (row B5).
"""

from collections.abc import Callable
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of, operator_of

PATIENCE_S: Final = 2.0  # ours: a request takes a round trip, which may be a second
HALF_OPEN_PATIENCE_S: Final = 0.3  # ours: nearly all honest peers have sent data by then

Leave = Callable[[], None]


class HandshakeLimiter:
    """A limit on half-open connections.

    At the limit, a new connection evicts the oldest one of the network with the most; if none has
    more, the oldest of all, if it is older than ``patience_s``.
    """

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = lambda: 0.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._limit = limit
        self._patience_s = patience_s
        self._clock = clock
        self._order: dict[object, tuple[str, str, float]] = {}
        """Ticket -> network, operator and time of arrival, the oldest first."""
        self._networks: dict[str, dict[str, dict[object, Leave]]] = {}
        """Connections by network and operator, the oldest first, with their eviction callbacks."""
        self._sizes: dict[str, int] = {}
        """Number of connections of each network."""
        self._count = 0

    def __len__(self) -> int:
        """Return the number of half-open connections."""
        return self._count

    def enter(self, address: PeerAddress, leave: Leave) -> object | None:
        """Admit a connection; return the ticket for :meth:`left`, None if there is no room.

        ``leave()`` is called if the connection is evicted.
        """
        network, operator = network_of(address.host), operator_of(address.host)
        if self._count >= self._limit and not self._make_room(network, operator):
            return None
        ticket = object()
        self._networks.setdefault(network, {}).setdefault(operator, {})[ticket] = leave
        self._order[ticket] = network, operator, self._clock()
        self._sizes[network] = self._size_of(network) + 1
        self._count += 1
        return ticket

    def left(self, address: PeerAddress, ticket: object) -> None:
        """Release a ticket; may be called twice."""
        network, operator = network_of(address.host), operator_of(address.host)
        self._leave(network, operator, ticket)

    def _leave(self, network: str, operator: str, ticket: object) -> None:
        operators = self._networks.get(network, {})
        if operators.get(operator, {}).pop(ticket, None) is None:
            return
        del self._order[ticket]
        self._sizes[network] -= 1
        self._count -= 1
        if not operators[operator]:
            del operators[operator]
        if not operators:
            del self._networks[network], self._sizes[network]

    def _make_room(self, network: str, operator: str) -> bool:
        """Evict the oldest connection of a network with more than the new connection's network."""
        crowd = max(self._sizes, key=self._sizes.__getitem__, default=network)
        if self._size_of(crowd) > self._size_of(network) + 1:
            fullest = self._fullest_operator(crowd)
        elif network in self._networks:
            fullest, crowd = self._fullest_operator(network), network
            taken = len(self._networks[network].get(operator, ()))
            if len(self._networks[network][fullest]) <= taken + 1:
                return self._evict_slow()
        else:
            return self._evict_slow()
        self._evict(crowd, fullest)
        return True

    def _evict_slow(self) -> bool:
        """Evict the oldest connection if it waits longer than ``patience_s``."""
        if not self._order:
            return False
        network, operator, since_s = next(iter(self._order.values()))
        if self._clock() - since_s < self._patience_s:
            return False
        self._evict(network, operator)
        return True

    def _evict(self, network: str, operator: str) -> None:
        ticket, leave = next(iter(self._networks[network][operator].items()))
        self._leave(network, operator, ticket)
        leave()

    def _size_of(self, network: str) -> int:
        return self._sizes.get(network, 0)

    def _fullest_operator(self, network: str) -> str:
        operators = self._networks[network]
        return max(operators, key=lambda each: len(operators[each]))
