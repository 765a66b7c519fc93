"""Owns the places of those who came and have not said what for; shared out among networks.

Whoever floods us with silent connections takes the places of its own network only (row B5).
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import embedded_ipv4, operator_of

PATIENCE_S: Final = 2.0  # ours: a handshake takes a round trip, and some have a second of that
NETWORK_BITS: Final = {4: 24, 6: 48}
"""How much of an address one owner usually has, by the version of IP."""

Leave = Callable[[], None]


class WaitingRoom:
    """A limited number of places; the most crowded network gives its oldest for a newcomer.

    If none is crowded, who waits longest gives place, once that is longer than anybody needs.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._limit = limit
        self._clock = clock
        self._order: dict[object, tuple[str, str, float]] = {}
        """Network and operator of each who waits, and since when; the longest first."""
        self._networks: dict[str, dict[str, dict[object, Leave]]] = {}
        """By network and operator who waits, the oldest first, and what makes it go."""
        self._count = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    def enter(self, address: PeerAddress, leave: Leave) -> object | None:
        """Take a place, and return what :meth:`left` wants back; None if there is none.

        ``leave()`` may be called once, by somebody else's ``enter``: the place is gone then.
        """
        network, operator = network_of(address.host), operator_of(address.host)
        if self._count >= self._limit and not self._make_room(network, operator):
            return None
        ticket = object()
        self._networks.setdefault(network, {}).setdefault(operator, {})[ticket] = leave
        self._order[ticket] = network, operator, self._clock()
        self._count += 1
        return ticket

    def left(self, address: PeerAddress, ticket: object) -> None:
        """Give a place back; harmless if it is gone."""
        network, operator = network_of(address.host), operator_of(address.host)
        self._leave(network, operator, ticket)

    def _leave(self, network: str, operator: str, ticket: object) -> None:
        operators = self._networks.get(network, {})
        if operators.get(operator, {}).pop(ticket, None) is None:
            return
        del self._order[ticket]
        self._count -= 1
        if not operators[operator]:
            del operators[operator]
        if not operators:
            del self._networks[network]

    def _make_room(self, network: str, operator: str) -> bool:
        """Send away who came first of those that have more than the newcomer would have."""
        crowd = max(self._networks, key=self._size_of, default=network)
        if self._size_of(crowd) > self._size_of(network) + 1:
            fullest = self._fullest_operator(crowd)
        elif network in self._networks:
            fullest, crowd = self._fullest_operator(network), network
            taken = len(self._networks[network].get(operator, ()))
            if len(self._networks[network][fullest]) <= taken + 1:
                return self._send_away_slow()
        else:
            return self._send_away_slow()
        self._send_away(crowd, fullest)
        return True

    def _send_away_slow(self) -> bool:
        """Send away who waits longest, wherever from, if that is longer than anybody needs."""
        if not self._order:
            return False
        network, operator, since_s = next(iter(self._order.values()))
        if self._clock() - since_s < PATIENCE_S:
            return False
        self._send_away(network, operator)
        return True

    def _send_away(self, network: str, operator: str) -> None:
        ticket, leave = next(iter(self._networks[network][operator].items()))
        self._leave(network, operator, ticket)
        leave()

    def _size_of(self, network: str) -> int:
        return sum(len(waiting) for waiting in self._networks.get(network, {}).values())

    def _fullest_operator(self, network: str) -> str:
        operators = self._networks[network]
        return max(operators, key=lambda each: len(operators[each]))


def network_of(host: str) -> str:
    """Return the network that an address is taken to be of; one that is not literal is its own."""
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(ip, IPv6Address):
        ip = embedded_ipv4(ip) or ip
    spare_bits = ip.max_prefixlen - NETWORK_BITS[ip.version]
    return f"{ip.version}/{int(ip) >> spare_bits:x}"
