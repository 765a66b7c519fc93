"""Limits of the state that unverified uTP senders can create.

Source addresses may be spoofed: a SYN creates a connection that may never be used, a packet without
a connection causes a RESET. Real hosts may open many connections and abandon them. Rows C3 and C4.
"""

from typing import Final

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.net.utp.transport import UtpTransport
from torrent_engine.policy.limits.packet_budget import IgnoredSenders, PacketBudget
from torrent_engine.policy.rate import TokenBucket

RESET_MEMORY_S: Final = 30.0  # ours: time after which a RESET may be repeated
MAX_REMEMBERED_RATES: Final = 1_000  # ours: operators; the least recent is dropped first


def _full_bucket(per_s: int) -> TokenBucket:
    """Return a full bucket with a burst of one second."""
    bucket = TokenBucket(per_s, per_s)
    bucket.give_back(per_s)
    return bucket


class UnverifiedConnections:
    """Unconfirmed incoming connections, limited in total and for each network."""

    def __init__(self, config: UtpConfig) -> None:
        self._config = config
        self._syns = _full_bucket(config.max_syns_per_s)
        self._unconfirmed: dict[UtpTransport, None] = {}
        self._networks: dict[str, dict[UtpTransport, None]] = {}
        """The same by network, the oldest first."""
        self._rates: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        """Return the number of unconfirmed connections."""
        return len(self._unconfirmed)

    def __contains__(self, transport: UtpTransport) -> bool:
        """Return whether a connection is unconfirmed."""
        return transport in self._unconfirmed

    def admits(self, address: PeerAddress, now: float) -> bool:
        """Return whether a SYN may create a connection."""
        return self._rate_of(address).take(1, now) == 1 and self._syns.take(1, now) == 1

    def _rate_of(self, address: PeerAddress) -> TokenBucket:
        """Return the SYN rate of an operator, and mark it as the most recent."""
        operator = operator_of(address.host)
        rate = self._rates.pop(operator, None) or _full_bucket(self._config.max_syns_per_ip_per_s)
        self._rates[operator] = rate
        if len(self._rates) > MAX_REMEMBERED_RATES:
            del self._rates[next(iter(self._rates))]
        return rate

    def add(self, transport: UtpTransport) -> UtpTransport | None:
        """Count a connection; return the one to evict, if there are too many.

        That is the oldest one, of its network if that has too many. To refuse new ones instead
        would let few forged SYNs shut a whole network out.
        """
        of_network = self._networks.setdefault(network_of(transport.address.host), {})
        self._unconfirmed[transport] = of_network[transport] = None
        if len(of_network) > self._config.max_unconfirmed_per_network:
            return next(iter(of_network))
        if len(self._unconfirmed) <= self._config.max_unconfirmed:
            return None
        return next(iter(self._unconfirmed))

    def drop(self, transport: UtpTransport) -> None:
        """Stop counting a connection that is confirmed or has ended; may be called twice."""
        if transport in self._unconfirmed:
            network = network_of(transport.address.host)
            del self._unconfirmed[transport], self._networks[network][transport]
            if not self._networks[network]:
                del self._networks[network]


class OperatorConnections:
    """Limits on the incoming and closing connections of each operator."""

    def __init__(self, config: UtpConfig) -> None:
        self._config = config
        self._incoming: dict[str, set[UtpTransport]] = {}
        self._closing: dict[UtpTransport, None] = {}
        self._closing_of: dict[str, dict[UtpTransport, None]] = {}

    def admits(self, address: PeerAddress) -> bool:
        """Return whether another incoming connection of an address is allowed."""
        begun = self._incoming.get(operator_of(address.host), ())
        return len(begun) < self._config.max_incoming_per_ip

    def began(self, transport: UtpTransport) -> None:
        """Count an incoming connection."""
        self._incoming.setdefault(operator_of(transport.address.host), set()).add(transport)

    def closed(self, transport: UtpTransport) -> UtpTransport | None:
        """Count a closing connection; return the one to reset, if there are too many."""
        if transport in self._closing:
            return None
        of_one = self._closing_of.setdefault(operator_of(transport.address.host), {})
        self._closing[transport] = of_one[transport] = None
        if len(of_one) > self._config.max_closing_per_ip:
            return next(iter(of_one))
        return next(iter(self._closing)) if len(self._closing) > self._config.max_closing else None

    def drop(self, transport: UtpTransport) -> None:
        """Stop counting a connection that has ended; may be called twice."""
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


class StrangerBudget:
    """Limits the packets of hosts without a connection, malformed ones and those for nobody.

    Their senders may be forged: what is charged here is never held against a connection.
    """

    def __init__(self, config: UtpConfig) -> None:
        self._packets = PacketBudget(config)
        self._ignored = IgnoredSenders[str]()
        """Operators over their budget."""

    def ignores(self, host: str, now: float) -> bool:
        """Return whether packets of a host are to be dropped unread."""
        return bool(self._ignored) and self._ignored.has(operator_of(host), now)

    def charge(self, host: str, packets: int, now: float) -> None:
        """Charge packets that did nothing for a connection."""
        if wait_s := self._packets.charge(host, packets, now):
            self._ignored.add(operator_of(host), now + wait_s)


class ResetMemory:
    """Recently sent RESETs, which are not repeated."""

    def __init__(self, config: UtpConfig) -> None:
        self._max = config.max_remembered_resets
        self._rate = _full_bucket(config.max_resets_per_s)
        self._sent: dict[tuple[PeerAddress, int], float] = {}

    def __len__(self) -> int:
        """Return the number of remembered RESETs."""
        return len(self._sent)

    def admits(self, address: PeerAddress, connection_id: int, now: float) -> bool:
        """Return whether a RESET may be sent; if so, it counts as sent."""
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
