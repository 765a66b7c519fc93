"""Bounds of the state that others can make us keep over uTP.

The source of a datagram may be forged: a SYN makes a connection that may never be used, a packet
of no connection asks for a RESET. Who is where its address says can begin many connections and
leave them. Rows C3 and C4.
"""

from collections import Counter
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import UtpConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.net.utp_transport import UtpTransport
from torrent_engine.policy.rate import TokenBucket

RESET_MEMORY_S: Final = 30.0  # ours: who was told so long ago may be told again
MAX_REMEMBERED_RATES: Final = 1_000  # ours: operators; the one that was quiet longest goes first


def network_of(host: str) -> str | bytes:
    """Return what is counted together: an IPv4 /24, an IPv6 /64."""
    if ":" in host:
        return ip_address(host.partition("%")[0]).packed[:8]
    return host.rpartition(".")[0]


def _full_bucket(per_s: int) -> TokenBucket:
    """Return what lets a second's worth through at once."""
    bucket = TokenBucket(per_s, per_s)
    bucket.give_back(per_s)
    return bucket


class Strangers:
    """Connections that somebody began and nobody confirmed yet; few, and fewer of each network."""

    def __init__(self, config: UtpConfig) -> None:
        self._config = config
        self._syns = _full_bucket(config.max_syns_per_s)
        self._unconfirmed: dict[UtpTransport, None] = {}
        self._networks: Counter[str | bytes] = Counter()
        self._rates: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        """Return how many connections are not confirmed."""
        return len(self._unconfirmed)

    def __contains__(self, transport: UtpTransport) -> bool:
        """Return whether a connection is one of them."""
        return transport in self._unconfirmed

    def admits(self, address: PeerAddress, now: float) -> bool:
        """Return whether a SYN may begin a connection."""
        of_network = self._networks[network_of(address.host)]
        if of_network >= self._config.max_unconfirmed_per_network:
            return False
        return self._rate_of(address).take(1, now) == 1 and self._syns.take(1, now) == 1

    def _rate_of(self, address: PeerAddress) -> TokenBucket:
        """Return the rate of SYNs of whose address it is, now the last to be forgotten."""
        operator = operator_of(address.host)
        rate = self._rates.pop(operator, None) or _full_bucket(self._config.max_syns_per_s_of_one)
        self._rates[operator] = rate
        if len(self._rates) > MAX_REMEMBERED_RATES:
            del self._rates[next(iter(self._rates))]
        return rate

    def add(self, transport: UtpTransport) -> UtpTransport | None:
        """Count a connection; return the one that must go for it, if there are too many."""
        self._unconfirmed[transport] = None
        self._networks[network_of(transport.address.host)] += 1
        if len(self._unconfirmed) <= self._config.max_unconfirmed:
            return None
        return next(iter(self._unconfirmed))

    def drop(self, transport: UtpTransport) -> None:
        """Forget a connection that is confirmed, or gone; twice is harmless."""
        if transport in self._unconfirmed:
            del self._unconfirmed[transport]
            network = network_of(transport.address.host)
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]


class Shares:
    """How many connections each operator has: those that it began, and those that we closed."""

    def __init__(self, config: UtpConfig) -> None:
        self._config = config
        self._incoming: dict[str, set[UtpTransport]] = {}
        self._closing: dict[UtpTransport, None] = {}
        self._closing_of: dict[str, dict[UtpTransport, None]] = {}

    def admits(self, address: PeerAddress) -> bool:
        """Return whether another connection may be begun from an address."""
        begun = self._incoming.get(operator_of(address.host), ())
        return len(begun) < self._config.max_incoming_of_one

    def began(self, transport: UtpTransport) -> None:
        """Count a connection that the other side began."""
        self._incoming.setdefault(operator_of(transport.address.host), set()).add(transport)

    def closed(self, transport: UtpTransport) -> UtpTransport | None:
        """Count a connection that we closed; return the one to be reset, if there are too many."""
        if transport in self._closing:
            return None
        of_one = self._closing_of.setdefault(operator_of(transport.address.host), {})
        self._closing[transport] = of_one[transport] = None
        if len(of_one) > self._config.max_closing_of_one:
            return next(iter(of_one))
        return next(iter(self._closing)) if len(self._closing) > self._config.max_closing else None

    def drop(self, transport: UtpTransport) -> None:
        """Forget a connection that is gone; twice is harmless."""
        operator = operator_of(transport.address.host)
        begun = self._incoming.get(operator)
        if begun is not None:
            begun.discard(transport)
            if not begun:
                del self._incoming[operator]
        if transport in self._closing:
            del self._closing[transport], self._closing_of[operator][transport]
            if not self._closing_of[operator]:
                del self._closing_of[operator]


class ResetMemory:
    """Who was told lately that there is no such connection: once is enough."""

    def __init__(self, config: UtpConfig) -> None:
        self._max = config.max_remembered_resets
        self._rate = _full_bucket(config.max_resets_per_s)
        self._sent: dict[tuple[PeerAddress, int], float] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._sent)

    def admits(self, address: PeerAddress, connection_id: int, now: float) -> bool:
        """Return whether a RESET may go out; it counts as sent then."""
        key = (address, connection_id)
        sent_s = self._sent.get(key)
        if sent_s is not None and now < sent_s + RESET_MEMORY_S:
            return False
        if not self._rate.take(1, now):
            return False
        self._sent.pop(key, None)
        self._sent[key] = now
        if len(self._sent) > self._max:
            del self._sent[next(iter(self._sent))]
        return True
