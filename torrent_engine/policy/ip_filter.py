"""Owns one verdict: whether a link with an address may be, and whether limits are for it.

Source: what libtorrent calls IP filter, port filter and peer classes.
"""

from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import ClassRule
from torrent_engine.policy.address_ranges import AddressRanges
from torrent_engine.policy.addresses import is_local


@dataclass(frozen=True, slots=True)
class AddressSet:
    """The addresses of one class."""

    name: str
    rule: ClassRule
    ranges: AddressRanges


class AddressVerdicts(Protocol):
    """What is asked of a filter, whether it can be changed or not."""

    @property
    def generation(self) -> int:
        """Grows with each change: links that were allowed are looked at again."""

    def allows(self, address: PeerAddress) -> bool:
        """Tell whether there may be a link with who is at an address, whoever dialled."""

    def allows_dial(self, address: PeerAddress) -> bool:
        """Tell whether an address may be dialled."""


class IpFilter:
    """The verdicts of some classes of addresses; it does not change.

    What a class with the rule "allowed" has in it is let in whatever other classes say, and so is
    the local network on request.
    """

    generation = 0

    def __init__(
        self,
        classes: tuple[AddressSet, ...] = (),
        *,
        blocked_ports: tuple[tuple[int, int], ...] = (),
        always_allows_local: bool = False,
    ) -> None:
        self.classes = classes
        self._blocked = _with_rule(classes, ClassRule.BLOCKED)
        self._allowed = _with_rule(classes, ClassRule.ALLOWED)
        self._unlimited = _with_rule(classes, ClassRule.UNLIMITED)
        self._ports = blocked_ports
        self._allows_local = always_allows_local

    def allows(self, address: PeerAddress) -> bool:
        """Tell whether there may be a link with who is at an address, whoever dialled.

        Takes some microseconds. The port does not count: that of a peer who dials says nothing.
        """
        return self.blocked_by(address.host) is None

    def allows_dial(self, address: PeerAddress) -> bool:
        """Tell whether an address may be dialled, its port considered."""
        port = address.port
        if any(first <= port <= last for first, last in self._ports):
            return False
        return self.allows(address)

    def blocked_by(self, host: str) -> str | None:
        """Return the name of a class that keeps an address out; None if it may come."""
        for each in self._blocked:
            if host in each.ranges:
                return None if self._is_let_in(host) else each.name
        return None

    def is_unlimited(self, host: str) -> bool:
        """Tell whether the rate limits are not for an address."""
        return any(host in each.ranges for each in self._unlimited)

    def _is_let_in(self, host: str) -> bool:
        if self._allows_local and is_local(host.partition("%")[0]):
            return True
        return any(host in each.ranges for each in self._allowed)


def _with_rule(classes: tuple[AddressSet, ...], rule: ClassRule) -> tuple[AddressSet, ...]:
    return tuple(each for each in classes if each.rule is rule and len(each.ranges))
